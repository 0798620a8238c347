"""`ckpt backends`: which formats and layouts are there, who brings them, and which plugins are broken."""

from __future__ import annotations

from typing import Any

import click

from ckpt_core.cli.options import json_option
from ckpt_core.cli.render import clean, emit, emit_json, table
from ckpt_core.layouts import BUILTIN
from ckpt_core.registry import Plugin, Registry, registry

__all__ = ["backends"]


@click.command(epilog="Exit codes: 0 done; 2 an error.")
@json_option
def backends(as_json: bool) -> None:
    """List the formats that can be read and written, the layouts, and plugins that failed to load."""
    found = _object(registry())
    if as_json:
        emit_json(found)
    else:
        emit("\n".join(_lines(found)))


def _object(found: Registry) -> dict[str, Any]:
    rows = [
        {
            "name": backend.name,
            **_owner(plugin),
            "suffixes": list(backend.suffixes),
            "reads": True,
            "writes": backend.holds is not None,
            "looks_for": backend.looks_for,
        }
        for plugin, backend in found.backends
    ]
    layouts = [(plugin, layout) for plugin, layout in found.layouts]
    layouts += [(Plugin("built in", "ckpt-core"), layout) for layout in BUILTIN]
    return {
        "backends": rows,
        "layouts": [
            {"name": row.name, **_owner(plugin), "describes": row.describes} for plugin, row in layouts
        ],
        "broken": [{**_owner(broken.plugin), "reason": broken.reason} for broken in found.broken],
        "conflicts": _conflicts(found),
    }


def _owner(plugin: Plugin) -> dict[str, str]:
    return {"plugin": plugin.name, "distribution": plugin.distribution}


def _conflicts(found: Registry) -> list[dict[str, Any]]:
    """Names, and suffixes of written files, that several backends claim."""
    names: dict[tuple[str, str], list[str]] = {}
    for plugin, backend in found.backends:
        names.setdefault(("name", backend.name), []).append(str(plugin))
        for suffix in backend.suffixes if backend.holds is not None else ():
            names.setdefault(("suffix", suffix), []).append(f"{backend.name} of {plugin}")
    return [{"kind": kind, "claim": claim, "by": by} for (kind, claim), by in names.items() if len(by) > 1]


def _lines(found: dict[str, Any]) -> list[str]:
    head = ("format", "reads", "writes", "suffixes", "plugin")
    rows = [
        (
            clean(row["name"]),
            "yes",
            "yes" if row["writes"] else "no",
            clean(" ".join(row["suffixes"]) or "-"),
            clean(f"{row['plugin']} ({row['distribution']})" if row["distribution"] else row["plugin"]),
        )
        for row in found["backends"]
    ]
    lines = table([head, *rows], indent="") if rows else ["no backend is installed"]
    head_layout = ("layout", "what it looks like")
    lines += [
        "",
        *table(
            [head_layout, *((clean(r["name"]), clean(r["describes"])) for r in found["layouts"])], indent=""
        ),
    ]
    for conflict in found["conflicts"]:
        by = " and ".join(conflict["by"])
        lines += [
            "",
            clean(f"conflict: the {conflict['kind']} {conflict['claim']!r} is claimed by {by}", 500),
        ]
    for broken in found["broken"]:
        lines += [
            "",
            clean(f"broken: {broken['plugin']} ({broken['distribution']}): {broken['reason']}", 1000),
        ]
    return lines
