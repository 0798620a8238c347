"""template_of: what a target expects, from anything that can say so; and templates as JSON files."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from ckpt_core.arrays import ArraySpec, LazyArray
from ckpt_core.backend import Stored
from ckpt_core.dtypes import ITEMSIZE, name_of
from ckpt_core.errors import DamagedFileError, UsageError
from ckpt_core.extra_state import extra_states, is_in_extra_state
from ckpt_core.flat import flat_names
from ckpt_core.framework import Slot, Template
from ckpt_core.keypath import join_name, split_name
from ckpt_core.layouts.base import paths_of
from ckpt_core.opening import checkpoint_of, open_checkpoint
from ckpt_core.paths import found
from ckpt_core.registry import registry
from ckpt_core.schema import Checkpoint
from ckpt_core.slots import abstract
from ckpt_core.tree import KeyPath, map_with_path, render_path

__all__ = ["Slot", "Template", "abstract_tree", "read_template", "template_json", "template_of"]

KIND: Final = "ckpt-template"
VERSION: Final = 1
_MAX_BYTES: Final = 256 << 20


def template_of(like: Any) -> Template:
    """Return what a target expects.

    Arguments:
        like: a Template; a Checkpoint; the path of a checkpoint or of a JSON template; a live model of a
            framework whose plugin is installed; or a tree of arrays or of shapes and dtypes (ArraySpec,
            `jax.ShapeDtypeStruct`, tensors on the meta device).

    Raises:
        UsageError: it is none of these; says how to make one.
        CheckpointError: the file it names cannot be opened.

    Example:
        >>> template_of({"w": ArraySpec((2, 3), "float32")}).slots[0].name
        'w'
    """
    if isinstance(like, Template):
        return like
    if isinstance(like, Checkpoint):
        return _of_checkpoint(like, like.path or "the checkpoint")
    if isinstance(like, (str, os.PathLike)):
        return _of_path(os.fspath(like))
    for _, framework in registry().frameworks:
        if framework.owns(like):
            return framework.template(like)
    if isinstance(like, (Mapping, list, tuple)):
        return _of_tree(like)
    raise UsageError(
        f"{_described(like)} does not say what a model expects",
        remedy="Pass a model, a tree of arrays or shapes, an open checkpoint, or a path.",
    )


def _of_checkpoint(ckpt: Checkpoint, title: str) -> Template:
    weights = ckpt.named_weights
    sections = [
        (role, flat_names((segments, array) for segments, array, other in weights if other == is_buffer))
        for role, is_buffer in (("param", False), ("buffer", True))
    ]
    extra = extra_states(ckpt)
    first: dict[Any, tuple[str, ...]] = {}
    slots = []
    for role, section in sections:
        for name, array in section:
            if is_in_extra_state(name):
                continue
            path = split_name(name)
            tied = None if array.identity is None else first.setdefault(array.identity, path)
            slots.append(Slot(path, array.spec, role, tied=None if tied == path else tied))
    return Template(tuple(slots), framework_of(ckpt), title, extra=tuple(extra))


def framework_of(ckpt: Checkpoint) -> str:
    """Return the name of the framework whose names a checkpoint's weights have, or "" where nothing says so."""
    return {"pt": "torch", "flax": "flax"}.get(label_of(ckpt), "")


def label_of(ckpt: Checkpoint) -> str:
    """Return what a checkpoint says of the framework of its weights, as metadata has it ("pt", "flax"), or ""."""
    format, attributes = ckpt.format, ckpt.stored.attributes
    if ckpt.members:  # a directory: what the file with the weights says
        paths = [path for place in ckpt.roles.params for path in paths_of(place)]
        starts = itertools.accumulate(map(str, paths[0] if paths else ()), "{}/{}".format)
        file = next((start for start in starts if start in ckpt.members), "")
        format, attributes = ckpt.members.get(file, ""), attributes.get(file, {})
    for _, backend in registry().backends:
        if backend.name == format:
            named = attributes.get(backend.framework_key) if backend.framework_key else None
            return str(named or backend.framework)
    return ""


def _of_path(path: str) -> Template:
    path = found(path)
    if os.path.isfile(path):
        with open(path, "rb") as file:
            is_json = file.read(256).lstrip()[:1] == b"{"
        if is_json:
            return read_template(path)
    with open_checkpoint(path) as ckpt:
        return _of_checkpoint(ckpt, path)


def _plain(like: Any) -> Any:
    """Plain dicts for mappings of other classes (FrozenDict), so that a tree's walkers see them."""
    if isinstance(like, dict):
        return like
    return {key: _plain(child) for key, child in like.items()} if isinstance(like, Mapping) else like


def _of_tree(like: Any) -> Template:
    """A tree whose leaves are arrays or specs; arrays of one framework say that the names are its own."""
    tree, framework = abstract_tree(like)
    template = _of_checkpoint(checkpoint_of(Stored(tree), format="memory"), "the model")
    return replace(template, framework=framework)


def abstract_tree(like: Any) -> tuple[Any, str]:
    """Return a tree of arrays or specs with abstract arrays in their places, and the framework that all are of, or "".

    Raises:
        UsageError: a leaf is neither; names it.
    """
    frameworks: set[str] = set()

    def leaf(path: KeyPath, value: Any) -> Any:
        spec, framework = _spec(value)
        if spec is not None:
            frameworks.add(framework)
            return abstract(spec)
        if value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
            return value
        raise UsageError(
            f"{_described(value)} is neither an array nor a shape and dtype", place=render_path(path)
        )

    tree = map_with_path(leaf, _plain(like))
    return tree, frameworks.pop() if len(frameworks) == 1 else ""


def _spec(leaf: Any) -> tuple[ArraySpec | None, str]:
    """The shape and dtype of an array, and the framework that it is of."""
    if isinstance(leaf, ArraySpec):
        return leaf, ""
    if isinstance(leaf, LazyArray):
        return leaf.spec, ""
    if isinstance(leaf, (np.ndarray, np.generic)):
        dtype = name_of(leaf.dtype)
        return (None if dtype is None else ArraySpec(leaf.shape, dtype)), ""
    for _, framework in registry().frameworks:
        spec = framework.spec(leaf)
        if spec is not None:
            return spec, framework.name
    return None, ""


def _described(value: Any) -> str:
    kind = type(value)
    return "None" if value is None else f"a {kind.__module__}.{kind.__qualname__}"


# JSON.


def template_json(template: Template) -> dict[str, Any]:
    """Return a template as one JSON object.

    Its members: `kind` ("ckpt-template"), `version` (1), `framework`, and `slots`, a list of objects with `path`
    (the name, segments joined by `/`), `shape`, `dtype`, `role`, and, where known, `layer` and `tied`; and, where
    there is any, `extra`, the names of free-form states.
    """
    rows = []
    for slot in template.slots:
        row: dict[str, Any] = {
            "path": slot.name,
            "shape": list(slot.spec.shape),
            "dtype": slot.spec.dtype,
            "role": slot.role,
        }
        if slot.layer:
            row["layer"] = dict(slot.layer)
        if slot.tied is not None:
            row["tied"] = join_name(slot.tied)
        rows.append(row)
    extra = {"extra": list(template.extra)} if template.extra else {}
    return {"kind": KIND, "version": VERSION, "framework": template.framework, **extra, "slots": rows}


def read_template(path: str | os.PathLike[str]) -> Template:
    """Read a template from the JSON file that `ckpt inspect --template` writes.

    Raises:
        DamagedFileError: it is no such file; says what is wrong in it.
    """
    if os.path.getsize(path) > _MAX_BYTES:
        raise DamagedFileError("is too large for a template", path=path)
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(f"is no JSON: {error}", path=path) from None
    if not isinstance(data, dict) or data.get("kind") != KIND:
        raise DamagedFileError(
            "is JSON, and no template", path=path, remedy="`ckpt inspect CHECKPOINT --template` writes one."
        )
    if data.get("version") != VERSION:
        raise DamagedFileError(f"is a template of version {data.get('version')!r}, not {VERSION}", path=path)
    rows = data.get("slots")
    if not isinstance(rows, list):
        raise DamagedFileError("has no list of slots", path=path)
    extra = data.get("extra") or []
    if not isinstance(extra, list) or not all(isinstance(name, str) for name in extra):
        raise DamagedFileError("has names of free-form states that are no texts", path=path)
    slots = tuple(_slot(row, f"slots[{i}]", path) for i, row in enumerate(rows))
    return Template(slots, str(data.get("framework") or ""), os.fspath(path), extra=tuple(extra))


def _slot(row: Any, place: str, path: str | os.PathLike[str]) -> Slot:
    problem = _problem(row)
    if problem:
        raise DamagedFileError(problem, path=path, place=place)
    tied = row.get("tied")
    return Slot(
        split_name(row["path"]),
        ArraySpec(tuple(row["shape"]), row["dtype"]),
        row.get("role", "param"),
        row.get("layer") or {},
        None if tied is None else split_name(tied),
    )


def _problem(row: Any) -> str | None:
    if not isinstance(row, dict) or not isinstance(row.get("path"), str):
        return "has no path"
    shape = row.get("shape")
    if not isinstance(shape, list) or not all(type(size) is int and 0 <= size < 1 << 62 for size in shape):
        return f"has no shape: {shape!r}"
    if row.get("dtype") not in ITEMSIZE:
        return f"has an unknown dtype: {row.get('dtype')!r}"
    if row.get("role", "param") not in ("param", "buffer"):
        return f"has an unknown role: {row['role']!r}"
    if not isinstance(row.get("layer", {}), dict):
        return "has a layer that is no object"
    return None if isinstance(row.get("tied", ""), str) else "is tied to what is no path"
