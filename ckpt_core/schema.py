"""Checkpoint: what a tree means, whichever framework wrote it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import numpy as np

from ckpt_core.arrays import LazyArray
from ckpt_core.backend import Stored
from ckpt_core.errors import UsageError
from ckpt_core.layouts.base import Roles
from ckpt_core.layouts.spelling import CONFIG_KEYS
from ckpt_core.layouts.values import is_optimizer, number
from ckpt_core.optimizers import OptimizerState, read_optimizer
from ckpt_core.source import Source
from ckpt_core.tree import KeyPath, Record, children, flatten, get, map_with_path, plain, render_path
from ckpt_core.view import Nested, Weights, named_weights, nest

__all__ = ["Checkpoint", "Metadata", "OptimizerState"]

PREFIXES = ("module", "_orig_mod")
"""First segments that wrappers put before every name (DataParallel, torch.compile)."""


@dataclass(frozen=True)
class Metadata:
    """What a checkpoint says besides its weights, optimizer, counters and config.

    Arguments:
        extra: the entries that no role claims, by rendered path.
        attributes: the free metadata of the container.
        notes: what a reader should be told, one sentence each.
        prefixes: wrapper prefixes that every parameter's name begins with.
        replicas: the leading dimension that all leaves share, when they look replicated over devices.
    """

    extra: Mapping[str, Any] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    replicas: int | None = None


class Checkpoint:
    """An open checkpoint: its parts by meaning, and its tree exactly as it was saved.

    Nothing is read until it is asked for. Use it in a `with` block, or call `close`.

    Arguments:
        stored: the tree and the container's metadata.
        roles: which part of the tree plays which role.
        layout: the name of the layout that was recognised, or None.
        format: the name of the backend.
        path: where it was opened, or "" for one in memory.
        source: what to close.
        tied: groups of paths that were tied before a container separated them.
    """

    def __init__(
        self,
        stored: Stored,
        roles: Roles,
        *,
        layout: str | None,
        format: str,
        path: str = "",
        source: Source | None = None,
        tied: tuple[tuple[KeyPath, ...], ...] = (),
    ) -> None:
        self.stored = stored
        self.roles = roles
        self.layout = layout
        self.format = format
        self.path = path
        self.declared_ties = tied
        self._source = source

    @property
    def tree(self) -> Any:
        """Everything, with exactly the keys that were saved."""
        return self.stored.tree

    def _at(self, path: KeyPath) -> Any:
        return get(self.tree, path)

    # Weights.

    @functools.cached_property
    def _weights(self) -> Weights:
        return named_weights(self.tree, self.roles.params) + named_weights(
            self.tree, self.roles.buffers, True
        )

    @functools.cached_property
    def params(self) -> Nested:
        """The learned weights, nested by module path."""
        return nest((segments, array) for segments, array, is_buffer in self._weights if not is_buffer)

    @functools.cached_property
    def buffers(self) -> Nested:
        """Model state that is not learned (torch's buffers, Flax's batch_stats)."""
        return nest((segments, array) for segments, array, is_buffer in self._weights if is_buffer)

    @functools.cached_property
    def ema(self) -> Mapping[str, Nested]:
        """Averaged copies of the weights, by the name they were saved under."""
        return {
            name: nest((segments, array) for segments, array, _ in named_weights(self.tree, [path]))
            for name, path in self.roles.ema.items()
        }

    # Training.

    @functools.cached_property
    def opt_states(self) -> Mapping[str, OptimizerState]:
        """The optimizers, by the name they were saved under."""
        found: dict[str, OptimizerState] = {}
        for name, path in self.roles.opt_states.items():
            node = self._at(path)
            if isinstance(node, Mapping) and node and all(is_optimizer(item) for item in node.values()):
                found.update({f"{name}[{key}]": read_optimizer(item) for key, item in node.items()})
            elif isinstance(node, list) and node and all(isinstance(item, Mapping) for item in node):
                if len(node) == 1:
                    found[name] = read_optimizer(node[0])
                else:
                    found.update({f"{name}[{i}]": read_optimizer(item) for i, item in enumerate(node)})
            else:
                found[name] = read_optimizer(node)
        return found

    @property
    def opt_state(self) -> OptimizerState | None:
        """The single optimizer's state, or None.

        Raises:
            UsageError: there are several; names them.
        """
        states = self.opt_states
        if len(states) > 1:
            raise UsageError(
                f"holds {len(states)} optimizers: {', '.join(states)}",
                path=self.path or None,
                remedy="Choose one from opt_states.",
            )
        return next(iter(states.values()), None)

    @property
    def schedulers(self) -> Mapping[str, Any]:
        """The states of learning-rate schedulers, by name, as saved."""
        return {name: self._at(path) for name, path in self.roles.schedulers.items()}

    @property
    def scaler(self) -> Any:
        """The state of a gradient scaler, as saved, or None."""
        return None if self.roles.scaler is None else self._at(self.roles.scaler)

    @property
    def rng(self) -> Mapping[str, Any]:
        """The states of random generators, by name, as saved."""
        return {name: self._at(path) for name, path in self.roles.rng.items()}

    @functools.cached_property
    def step(self) -> int | None:
        """The number of optimizer steps, as saved."""
        return _counter(self._role(self.roles.step))

    @functools.cached_property
    def epoch(self) -> int | None:
        """The epoch, as saved."""
        return _counter(self._role(self.roles.epoch))

    @functools.cached_property
    def timestamp(self) -> Any:
        """When it was saved, as saved (a number or text), or None."""
        value = number(self._role(self.roles.timestamp))
        return value.isoformat() if hasattr(value, "isoformat") else value

    def _role(self, path: KeyPath | None) -> Any:
        return None if path is None else self._at(path)

    @functools.cached_property
    def metrics(self) -> Mapping[str, Any]:
        """Losses, accuracies and the like, as Python numbers."""
        values = {name: as_plain(self._at(path)) for name, path in self.roles.metrics.items()}
        return _spread(values, {name for name, value in values.items() if isinstance(value, Mapping)})

    @functools.cached_property
    def config(self) -> Mapping[str, Any]:
        """The saved hyperparameters as plain data; empty when none were saved."""
        values = {name: as_plain(self._at(path)) for name, path in self.roles.config.items()}
        groups = {name for name, value in values.items() if name in CONFIG_KEYS and isinstance(value, dict)}
        return _spread(values, groups) if len(groups) == 1 else values

    @functools.cached_property
    def metadata(self) -> Metadata:
        """Everything else that was saved, with what was noticed."""
        extra = {render_path(path): node for path, node in self._unclaimed()}
        prefixes = _common_prefixes([segments for segments, _, _ in self._weights])
        notes = [*self.stored.notes, *self.roles.notes]
        if self.layout is None:
            notes.append("no layout recognised; every array counts as a parameter")
        for prefix in prefixes:
            notes.append(
                f"every parameter's name begins with {prefix!r} (--strip-prefix {prefix} removes it)"
            )
        replicas = self._replicas()
        if replicas:
            notes.append(
                f"all leaves have a leading dimension of {replicas}: they look replicated over devices"
            )
        return Metadata(extra, dict(self.stored.attributes), tuple(notes), prefixes, replicas)

    def _unclaimed(self) -> list[tuple[KeyPath, Any]]:
        """The nodes that lie in no role, the highest ones of each."""
        roles = self.roles
        claimed = [*roles.params, *roles.buffers]
        for named in (roles.ema, roles.opt_states, roles.schedulers, roles.rng, roles.metrics, roles.config):
            claimed += named.values()
        claimed += [
            path for path in (roles.scaler, roles.step, roles.epoch, roles.timestamp) if path is not None
        ]
        whole = set(claimed)
        above = {path[:depth] for path in claimed for depth in range(len(path))}
        found: list[tuple[KeyPath, Any]] = []
        stack: list[tuple[KeyPath, Any]] = [((), self.tree)]
        while stack:
            path, node = stack.pop()
            if path in whole:
                continue
            if path not in above:
                found.append((path, node))
                continue
            stack.extend([((*path, key), child) for key, child in reversed(children(node) or [])])
        return found

    @functools.cached_property
    def ties(self) -> tuple[tuple[str, ...], ...]:
        """Groups of rendered paths whose arrays share all their bytes."""
        same: dict[Any, list[KeyPath]] = {}
        for path, leaf in flatten(self.tree):
            if isinstance(leaf, LazyArray) and leaf.nbytes and leaf.identity is not None:
                same.setdefault(leaf.identity, []).append(path)
        groups = [tuple(map(render_path, paths)) for paths in same.values() if len(paths) > 1]
        return (*groups, *(tuple(map(render_path, group)) for group in self.declared_ties))

    # Replicas.

    def _replicas(self) -> int | None:
        step = self._role(self.roles.step)
        if not isinstance(step, LazyArray) or step.ndim != 1 or step.shape[0] < 1:
            return None
        count = step.shape[0]
        arrays = [array for _, array, _ in self._weights]
        return count if arrays and all(array.shape[:1] == (count,) for array in arrays) else None

    def unreplicated(self) -> Checkpoint:
        """Return the checkpoint with one copy of leaves that pmap replicated, once they are proven equal.

        Raises:
            UsageError: it does not look replicated, or the copies differ; names the first leaf that does.
        """
        count = self.metadata.replicas
        if not count:
            raise UsageError("does not look replicated over devices", path=self.path or None)

        def first(path: KeyPath, leaf: Any) -> Any:
            if not isinstance(leaf, LazyArray) or leaf.shape[:1] != (count,):
                return leaf
            one = leaf[0]
            bits = one.tobytes()
            if any(leaf[i].tobytes() != bits for i in range(1, count)):
                raise UsageError(f"the copies of {render_path(path)} differ", path=self.path or None)
            return LazyArray.from_numpy(np.asarray(one))

        return self.with_tree(map_with_path(first, self.tree))

    def with_tree(self, tree: Any) -> Checkpoint:
        """Return a checkpoint of another tree with the same roles, over the same files."""
        stored = Stored(tree, self.stored.attributes, self.stored.notes)
        return Checkpoint(
            stored, self.roles, layout=self.layout, format=self.format, path=self.path, source=self._source
        )

    # Life.

    def close(self) -> None:
        """Close the files; arrays that were not read can no longer be."""
        if self._source is not None:
            self._source.close()

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Checkpoint {self.path or 'in memory'}: {self.format}, {self.layout or 'no layout'}>"


def as_plain(node: Any) -> Any:
    """Return plain data: objects as dicts of their fields, numpy and 0-d array scalars as Python numbers."""

    def leaf(_: KeyPath, value: Any) -> Any:
        return number(value) if isinstance(value, (np.generic, LazyArray)) and _is_single(value) else value

    return map_with_path(leaf, plain(_unwrapped(node)))


def _spread(values: Mapping[str, Any], groups: set[str]) -> Mapping[str, Any]:
    """Put the entries of groups beside the other values, unless two would have one name."""
    names = [key for name, value in values.items() for key in (value if name in groups else (name,))]
    if len(set(names)) < len(names):
        return values
    found: dict[str, Any] = {}
    for name, value in values.items():
        found.update(value if name in groups else {name: value})
    return found


def _is_single(value: Any) -> bool:
    return isinstance(value, np.generic) or value.shape == ()


def _unwrapped(node: Any) -> Any:
    """An OmegaConf node's content without its bookkeeping; anything else as it is."""
    return (
        omegaconf_content(node)
        if isinstance(node, Record) and node.type_name.startswith("omegaconf.")
        else node
    )


def omegaconf_content(node: Any) -> Any:
    """Return what an OmegaConf container or value node holds, as plain data."""
    if isinstance(node, Record) and node.type_name.startswith("omegaconf."):
        if "_content" in node:
            return omegaconf_content(node["_content"])
        if "_val" in node:
            return omegaconf_content(node["_val"])
        return dict(node)
    if isinstance(node, dict):
        return {key: omegaconf_content(child) for key, child in node.items()}
    if isinstance(node, (list, tuple)):
        return [omegaconf_content(child) for child in node]
    return node


def _counter(value: Any) -> int | None:
    """A step or epoch as an int; a replicated one is its first copy."""
    if isinstance(value, Mapping) and set(value) == {"value"}:
        value = value["value"]
    if isinstance(value, LazyArray) and value.ndim == 1 and value.shape[0] >= 1:
        value = value[0]
    value = number(value)
    return int(value) if isinstance(value, (int, float, np.number)) and np.isfinite(value) else None


def _common_prefixes(names: list[tuple[str, ...]]) -> tuple[str, ...]:
    found: list[str] = []
    while names and all(len(name) > len(found) + 1 for name in names):
        first = names[0][len(found)]
        if first not in PREFIXES or any(name[len(found)] != first for name in names):
            break
        found.append(first)
    return tuple(found)
