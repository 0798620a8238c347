"""Comparing what a checkpoint is taken to mean with the `.layout.json` beside a golden file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ckpt_core.layouts.base import paths_of, places
from ckpt_core.schema import Checkpoint
from ckpt_core.schema.claims import unclaimed
from ckpt_core.tree import KeyPath, flatten

GOLDEN = Path(__file__).parents[1] / "golden"
SUFFIX = ".layout.json"
OF_PLUGINS = ("big_vision",)
"""Layouts that only an installed plugin knows."""


def golden_layouts() -> list[str]:
    """Return the names of the golden files whose meaning is written beside them."""
    found = sorted(str(path.relative_to(GOLDEN)).removesuffix(SUFFIX) for path in GOLDEN.rglob("*" + SUFFIX))
    return [name for name in found if name.split("/")[0] not in OF_PLUGINS]


def facts_of(name: str) -> dict[str, Any]:
    """Return what is known of a golden file."""
    content: dict[str, Any] = json.loads((GOLDEN / (name + SUFFIX)).read_text())
    return content


def differences(ckpt: Checkpoint, facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each fact that is not what the checkpoint says."""
    exact = {key: facts[key] for key in ("layout", "weights", "step", "epoch") if key in facts}
    for key, value in exact.items():
        if getattr(ckpt, key) != value:
            yield f"{key} is {getattr(ckpt, key)!r}, not {value!r}"
    sections = {"params": ckpt.params, "buffers": ckpt.buffers}
    for key, tree in sections.items():
        wanted = {name: tuple(entry) for name, entry in facts.get(key, {}).items()}
        yield from _different(
            key, _digests(tree.leaves()), {k: (d, tuple(s), h) for k, (d, s, h) in wanted.items()}
        )
    if set(ckpt.ema) != set(facts.get("copies", {})):
        yield f"copies are {list(ckpt.ema)}, not {list(facts.get('copies', {}))}"
    for name, copy in facts.get("copies", {}).items():
        wanted = {key: (d, tuple(s), h) for key, (d, s, h) in copy.items()}
        got = {key.removeprefix("module/"): entry for key, entry in _digests(ckpt.ema[name].leaves()).items()}
        yield from _different(f"copy {name}", {key: got[key] for key in got if key in wanted}, wanted)
    for key in ("metrics", "config"):
        yield from _missing(key, getattr(ckpt, key), facts.get(key, {}))
    yield from _other_optimizers(ckpt, facts.get("opt_states"))
    for key in ("schedulers", "rng"):
        if sorted(getattr(ckpt, key)) != sorted(facts.get(key, getattr(ckpt, key))):
            yield f"{key} are {list(getattr(ckpt, key))}"
    if "scaler" in facts and (ckpt.scaler is not None) != facts["scaler"]:
        yield f"the scaler is {ckpt.scaler!r}"
    for note in facts.get("notes", ()):
        if not any(note in said for said in ckpt.metadata.notes):
            yield f"no note says {note!r}: {ckpt.metadata.notes}"
    for path in facts.get("extra", ()):
        if path not in ckpt.metadata.extra:
            yield f"{path} is not in extra: {list(ckpt.metadata.extra)}"


def _other_optimizers(ckpt: Checkpoint, wanted: Mapping[str, Any] | None) -> Iterator[str]:
    """An update rule that is certain in the library is one of the candidates that the file allows."""
    if wanted is None:
        return
    if set(ckpt.opt_states) != set(wanted):
        yield f"opt_states are {list(ckpt.opt_states)}, not {list(wanted)}"
        return
    for name, (kind, step) in wanted.items():
        state = ckpt.opt_states[name]
        if not set(kind) <= set(state.kind) or state.step != step:
            yield f"{name} is {state.kind} at step {state.step}, not {kind} at {step}"


def _digests(leaves: list[tuple[str, Any]]) -> dict[str, tuple[Any, ...]]:
    return {
        name: (array.dtype, array.shape, hashlib.sha256(b"".join(map(bytes, array.tiles()))).hexdigest())
        for name, array in leaves
    }


def _different(title: str, got: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted(got.keys() | wanted.keys()):
        if got.get(name) != wanted.get(name):
            yield f"{title}/{name} is {got.get(name)}, not {wanted.get(name)}"


def _missing(title: str, got: Any, wanted: Any) -> Iterator[str]:
    if isinstance(wanted, dict):
        for key, value in wanted.items():
            yield from _missing(f"{title}/{key}", got.get(key) if isinstance(got, Mapping) else None, value)
    elif (list(got) if isinstance(got, tuple) else got) != wanted:
        yield f"{title} is {got!r}, not {wanted!r}"


def owners(ckpt: Checkpoint) -> dict[KeyPath, list[str]]:
    """Return, for every leaf of the tree, the roles that have it: those with the longest path above it, and extra."""
    above: dict[KeyPath, list[str]] = {}
    for role, name, place in places(ckpt.roles):
        for path in paths_of(place):
            above.setdefault(path, []).append(f"{role}.{name}" if name else role)
    extra = {path for path, _ in unclaimed(ckpt.tree, ckpt.roles)}
    found: dict[KeyPath, list[str]] = {}
    for path, _ in flatten(ckpt.tree):
        claims = next(
            (above[path[:depth]] for depth in range(len(path), -1, -1) if path[:depth] in above), []
        )
        is_extra = any(path[:depth] in extra for depth in range(len(path) + 1))
        found[path] = [*claims, *(["extra"] if is_extra else [])]
    return found
