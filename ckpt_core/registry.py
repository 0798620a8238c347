"""Plugins: found through entry points, loaded one by one, and reported when they fail."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any, Final

import pluggy

from ckpt_core import hookspecs
from ckpt_core.backend import Backend
from ckpt_core.errors import AmbiguousFormatError, UnknownFormatError
from ckpt_core.families import Family
from ckpt_core.framework import Framework
from ckpt_core.layers import Layer
from ckpt_core.layouts.base import Layout
from ckpt_core.pickles import Constructor
from ckpt_core.shapes import ShapeRules
from ckpt_core.source import Source

__all__ = ["GROUP", "Broken", "Plugin", "Registry", "registry"]

GROUP: Final = "ckpt_core"
"""The entry-point group of plugins."""


Table = Callable[[Source], Mapping[str, Constructor]]


@dataclass(frozen=True, slots=True)
class Plugin:
    """Where something comes from: an entry point and the distribution that declares it."""

    name: str
    distribution: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.distribution})" if self.distribution else self.name


@dataclass(frozen=True, slots=True)
class Broken:
    """A plugin that did not load, and why."""

    plugin: Plugin
    reason: str


@dataclass
class Registry:
    """What the installed plugins bring.

    Arguments:
        backends: (plugin, backend) pairs, in the order of the plugins' names.
        layouts: (plugin, layout) pairs.
        frameworks: (plugin, framework) pairs.
        rules: (plugin, shape rules) pairs.
        layers: (plugin, row of the table of layers) pairs.
        families: (plugin, family of update rules) pairs.
        tables: (plugin, function) pairs: what pickles may construct.
        broken: the plugins that failed.
    """

    backends: list[tuple[Plugin, Backend]] = field(default_factory=list)
    layouts: list[tuple[Plugin, Layout]] = field(default_factory=list)
    frameworks: list[tuple[Plugin, Framework]] = field(default_factory=list)
    rules: list[tuple[Plugin, ShapeRules]] = field(default_factory=list)
    layers: list[tuple[Plugin, Layer]] = field(default_factory=list)
    families: list[tuple[Plugin, Family]] = field(default_factory=list)
    tables: list[tuple[Plugin, Table]] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)

    def foreign(self, format: str, source: Source) -> tuple[str, ...]:
        """Return what lies in a directory of a format and is no part of the checkpoint; see `Backend.foreign`."""
        return next((backend.foreign(source) for _, backend in self.backends if backend.name == format), ())

    def backend(self, name: str) -> Backend:
        """Return the backend of that name, or of `plugin:name`.

        Raises:
            UnknownFormatError: there is none; lists those there are.
            AmbiguousFormatError: two plugins bring one of that name; names both.
        """
        owner, _, short = name.rpartition(":")
        found = [
            (p, b) for p, b in self.backends if b.name == short and owner in ("", p.name, p.distribution)
        ]
        if not found:
            known = ", ".join(sorted({b.name for _, b in self.backends})) or "none"
            raise UnknownFormatError(
                f"unknown format {name!r}", remedy=f"Known formats: {known}.{self.broken_text()}"
            )
        if len(found) > 1:
            options = " or ".join(f"{p.name}:{short}" for p, _ in found)
            raise AmbiguousFormatError(
                f"format {short!r} is brought by {' and by '.join(str(p) for p, _ in found)}",
                remedy=f"Say which is meant: {options}.",
            )
        return found[0][1]

    def for_suffix(self, name: str) -> list[Backend]:
        """Return the writable backends whose suffixes fit a file name, longest suffix first."""
        lowered = name.lower()
        fits = [(len(s), b) for _, b in self.backends if b.holds for s in b.suffixes if lowered.endswith(s)]
        longest = max((length for length, _ in fits), default=0)
        return [backend for length, backend in fits if length == longest]

    def broken_text(self) -> str:
        """Return a line for each plugin that failed, to stand below what cannot be done."""
        return "".join(f"\n  The plugin {b.plugin} is broken: {b.reason}" for b in self.broken)

    def add(self, plugin: Plugin, module: Any) -> None:
        """Register one plugin; a failure is recorded and touches no other plugin."""
        manager = pluggy.PluginManager("ckpt_core")
        manager.add_hookspecs(hookspecs)
        try:
            manager.register(module, plugin.name)
            backends = _collect(manager.hook.ckpt_core_backends(), Backend)
            layouts = _collect(manager.hook.ckpt_core_layouts(), Layout)
            frameworks = _collect(manager.hook.ckpt_core_frameworks(), Framework)
            rules = _collect(manager.hook.ckpt_core_rules(), ShapeRules)
            layers = _collect(manager.hook.ckpt_core_layers(), Layer)
            families = _collect(manager.hook.ckpt_core_optimizers(), Family)
            tables = _collect(manager.hook.ckpt_core_constructors(), Callable)
        except (Exception, SystemExit) as error:  # noqa: BLE001  # a stranger's code: whatever it raises is reported, not passed on
            self.broken.append(Broken(plugin, f"{type(error).__name__}: {error}"))
            return
        self.backends += [(plugin, backend) for backend in backends]
        self.layouts += [(plugin, layout) for layout in layouts]
        self.frameworks += [(plugin, framework) for framework in frameworks]
        self.rules += [(plugin, one) for one in rules]
        self.layers += [(plugin, layer) for layer in layers]
        self.families += [(plugin, family) for family in families]
        self.tables += [(plugin, table) for table in tables]

    def constructors(self, source: Source) -> dict[str, Constructor]:
        """Return what plugins let a pickle in `source` construct, by dotted name."""
        return {name: entry for _, table in self.tables for name, entry in table(source).items()}


def _collect(results: Sequence[Any], kind: Any) -> list[Any]:
    found = [item for result in results for item in result]
    for item in found:
        if not isinstance(item, kind):
            raise TypeError(f"{item!r} is no {kind.__name__}")
    return found


@functools.cache
def registry() -> Registry:
    """Return the registry of all installed plugins, loaded at the first call."""
    found = Registry()
    points = sorted(metadata.entry_points(group=GROUP), key=lambda point: point.name)
    seen = set()
    for point in points:
        plugin = Plugin(point.name, point.dist.name if point.dist is not None else "")
        if (plugin, point.value) in seen:  # one distribution, listed twice on the path
            continue
        seen.add((plugin, point.value))
        try:
            module = point.load()
        except (Exception, SystemExit) as error:  # noqa: BLE001  # as above
            found.broken.append(Broken(plugin, f"{type(error).__name__}: {error}"))
            continue
        found.add(plugin, module)
    return found
