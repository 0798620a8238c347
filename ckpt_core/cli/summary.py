"""What `ckpt inspect` says about a checkpoint, as one JSON-able object; the text is rendered from it alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from ckpt_core.arrays import LazyArray
from ckpt_core.cli.claims import claim_rows
from ckpt_core.cli.jsonable import jsonable, leaf_row
from ckpt_core.errors import UsageError
from ckpt_core.schema import Checkpoint, OptimizerState
from ckpt_core.select import matches
from ckpt_core.stats import array_stats
from ckpt_core.tree import flatten, render_path

__all__ = ["filtered", "stats_of", "summary_of"]

_MOST_FILES: Final = 100_000


def summary_of(ckpt: Checkpoint) -> dict[str, Any]:
    """Return everything that `ckpt inspect --json` prints, statistics apart."""
    states = {name: _optimizer(state) for name, state in ckpt.opt_states.items()}
    return {
        "path": ckpt.path,
        "file_bytes": _file_bytes(ckpt.path),
        "format": ckpt.format,
        "layout": ckpt.layout,
        "weights": ckpt.weights,
        "members": ckpt.members,
        "step": jsonable(ckpt.step),
        "epoch": jsonable(ckpt.epoch),
        "timestamp": jsonable(ckpt.timestamp),
        "metrics": jsonable(ckpt.metrics),
        "config": jsonable(ckpt.config),
        "params": _section(ckpt.params.leaves()),
        "buffers": _section(ckpt.buffers.leaves()),
        "ema": {name: _section(tree.leaves()) for name, tree in ckpt.ema.items()},
        "opt_state": next(iter(states.values())) if len(states) == 1 else None,
        "opt_states": states,
        "tied": [list(group) for group in ckpt.ties],
        "claims": claim_rows(ckpt),
        "metadata": _metadata(ckpt),
    }


def filtered(summary: dict[str, Any], patterns: tuple[str, ...]) -> dict[str, Any]:
    """Return the summary with only the leaves whose names fit one of the patterns.

    A pattern fits whole segments anywhere in a name: `attn` fits `h/0/attn/weight`.

    Raises:
        UsageError: nothing fits.
    """
    keep = _filter(patterns)
    kept = {
        **summary,
        "params": _narrowed(summary["params"], keep),
        "buffers": _narrowed(summary["buffers"], keep),
        "ema": {name: _narrowed(section, keep) for name, section in summary["ema"].items()},
        "tied": [group for group in summary["tied"] if any(map(keep, group))],
    }
    if not any(section["count"] for section in (kept["params"], kept["buffers"], *kept["ema"].values())):
        there = [leaf["path"] for section in ("params", "buffers") for leaf in summary[section]["leaves"][:5]]
        raise UsageError(
            f"no name fits {' or '.join(map(repr, patterns))}",
            path=summary["path"] or None,
            remedy=f"There is, for example: {', '.join(there)}." if there else "There are no weights in it.",
        )
    return kept


def _filter(patterns: tuple[str, ...]) -> Callable[[str], bool]:
    wide = tuple(
        f"{'' if p.startswith('**') else '**/'}{p}{'' if p.endswith('**') else '/**'}" for p in patterns
    )
    return lambda name: matches(name, wide)


def _narrowed(section: dict[str, Any], keep: Callable[[str], bool]) -> dict[str, Any]:
    return _totals([leaf for leaf in section["leaves"] if keep(leaf["path"])])


def _section(leaves: Iterable[tuple[str, LazyArray]]) -> dict[str, Any]:
    return _totals([leaf_row(name, array) for name, array in leaves])


def _totals(rows: list[dict[str, Any]]) -> dict[str, Any]:
    elements = 0
    for row in rows:
        size = 1
        for length in row["shape"]:
            size *= length
        elements += size
    return {
        "count": len(rows),
        "elements": elements,
        "bytes": sum(row["nbytes"] for row in rows),
        "leaves": rows,
    }


def _optimizer(state: OptimizerState) -> dict[str, Any]:
    slots = {}
    for name, slot in state.slots.items():
        arrays = [leaf for _, leaf in flatten(slot) if isinstance(leaf, LazyArray)]
        slots[str(name)] = {
            "count": len(arrays),
            "elements": sum(array.size for array in arrays),
            "bytes": sum(array.nbytes for array in arrays),
        }
    return {
        "kind": list(state.kind),
        "step": jsonable(state.step),
        "hyperparams": jsonable(state.hyperparams),
        "groups": len(state.groups),
        "slots": slots,
        "other": list(dict.fromkeys(path.rpartition("/")[2] for path in state.other)),
        "notes": list(state.notes),
    }


def _metadata(ckpt: Checkpoint) -> dict[str, Any]:
    metadata = ckpt.metadata
    return {
        "notes": list(metadata.notes),
        "prefixes": list(metadata.prefixes),
        "replicas": metadata.replicas,
        "schedulers": jsonable(ckpt.schedulers),
        "scaler": jsonable(ckpt.scaler),
        "rng": jsonable(ckpt.rng),
        "extra": jsonable(metadata.extra),
        "attributes": jsonable(metadata.attributes),
    }


def _file_bytes(path: str) -> int | None:
    """The size of the file, or of all the files below a directory; None when there are very many."""
    if not Path(path).is_dir():
        return Path(path).stat().st_size
    total = seen = 0
    for folder, _, names in os.walk(path):
        seen += len(names) + 1
        if seen > _MOST_FILES:
            return None
        total += sum(_size(Path(folder, name)) for name in names)
    return total


def _size(path: Path) -> int:
    """The bytes of a file, also of one that is a link: a hub's cache holds nothing else."""
    return path.stat().st_size if path.exists() else 0


# Statistics.


def stats_of(
    ckpt: Checkpoint, patterns: tuple[str, ...], progress: Callable[[int, int], None] | None
) -> list[dict[str, Any]]:
    """Stream over every array, each once, and return one row of figures for each."""
    keep = _filter(patterns) if patterns else None
    arrays = [(name, array) for name, array in _all_arrays(ckpt) if keep is None or keep(name)]
    total = sum(array.nbytes for _, array in arrays)
    rows, done = [], 0
    for name, array in arrays:
        found = array_stats(array)
        rows.append(
            leaf_row(name, array)
            | {
                "nan": found.nans,
                "infinite": found.infinities,
                "zeros": found.zeros,
                "all_zero": found.is_all_zero,
            }
            | jsonable({"norm": found.norm, "mean": found.mean, "min": found.low, "max": found.high})
        )
        done += array.nbytes
        if progress is not None:
            progress(done, total)
    return rows


def _all_arrays(ckpt: Checkpoint) -> Iterable[tuple[str, LazyArray]]:
    """Every array of the tree once: weights under their names, all others under their paths."""
    sections = {"params": ckpt.params, "buffers": ckpt.buffers, **ckpt.ema}
    seen: set[int] = set()
    named = [(f"{title}/{name}", array) for title, tree in sections.items() for name, array in tree.leaves()]
    named += [(render_path(path), leaf) for path, leaf in flatten(ckpt.tree) if isinstance(leaf, LazyArray)]
    for name, array in named:
        if id(array) not in seen:
            seen.add(id(array))
            yield name, array
