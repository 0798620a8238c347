"""The error texts of Flax, NNX and Orbax (flax 0.8 to 0.12, orbax-checkpoint 0.6 to 0.12)."""

from __future__ import annotations

import re
from typing import Final

from ckpt_core.keypath import join_name
from ckpt_core.validation.explaining.facts import FileFault, Mismatch, Shapes

__all__ = ["parse"]

_SHAPE: Final = r"\((?P<{}>[\d, ]*)\)"
_PARAM_SHAPE: Final = re.compile(
    r'[Ff]or parameter "(?P<name>[^"]+)" in "(?P<scope>[^"]*)".*?expected to generate shape '
    + _SHAPE.format("expected")
    + r".*?has shape "
    + _SHAPE.format("found"),
    re.DOTALL,
)
_PARAM_SHAPE_BEFORE: Final = re.compile(
    r"expected to generate shape "
    + _SHAPE.format("expected")
    + r" but got shape "
    + _SHAPE.format("found")
    + r' instead for parameter "(?P<name>[^"]+)" in "(?P<scope>[^"]*)"',
    re.DOTALL,
)
_SHORT_SHAPE: Final = re.compile(
    r"ScopeParamShapeError.*?expected "
    + _SHAPE.format("expected")
    + r",? received "
    + _SHAPE.format("found"),
    re.DOTALL,
)
_PARAM_MISSING: Final = re.compile(
    r'(?:Could not find parameter named|No parameter named) "(?P<name>[^"]+)"(?: exists)? in (?:scope )?"(?P<scope>[^"]*)"'
)
_COLLECTION: Final = re.compile(
    r'Tried to access "(?P<name>[^"]+)" from collection "(?P<collection>[^"]+)" in "(?P<scope>[^"]*)" but the collection is empty'
)
_TARGET_KEYS: Final = re.compile(
    r"target dict contains keys \{(?P<names>[^}]*)\} which are not present in state dict at path (?P<path>\S*)"
)
_FIELD: Final = re.compile(
    r"Missing field (?P<name>\S+) in state dict while restoring an instance of (?P<kind>\w+)"
)
_UNKNOWN_FIELDS: Final = re.compile(
    r"Unknown field\(s\) (?P<names>.*?) in state dict while restoring an instance of (?P<kind>\w+)"
)
_NAMED_TUPLE: Final = re.compile(
    r"The field names of the state dict and the named tuple do not match.*?at path (?P<path>\S+)", re.DOTALL
)
_LIST_SIZE: Final = re.compile(
    r"The size of the list and the state dict do not match, got (?P<expected>\d+) and (?P<found>\d+)"
    r"(?: at path (?P<path>\S+))?"
)
_ORBAX_SHAPE: Final = re.compile(
    r"Requested shape: "
    + _SHAPE.format("expected")
    + r" is not compatible with the stored shape: "
    + _SHAPE.format("found")
)
_ORBAX_PATH: Final = re.compile(r"Target path \((?P<path>[^)]*)\) not found in metadata_tree")
_ORBAX_TREES: Final = re.compile(r"tree structures do not match")
_ORBAX_ENTRY: Final = re.compile(
    r"^(?P<path>[^\s:][^:\n]*):\n\s+- Source: (?P<source>.*?)\n\s+- Target: (?P<target>.*)",
    re.MULTILINE | re.DOTALL,
)
_PURE_DICT: Final = re.compile(r"key in pure_dict not available in state: \((?P<path>[^)]*)\)")
_NNX_STATIC: Final = re.compile(r"assigned to static attribute '(?P<name>[^']+)' of Pytree type")
_MSGPACK: Final = re.compile(
    r"Unpack failed: incomplete input|unpack\(b\) received extra data|MessagePack data|"
    r"^(msgpack\.exceptions\.)?(FormatError|StackError|OutOfData):",
    re.MULTILINE,
)

_TOPS: Final = frozenset({"params", "state"})


def parse(text: str) -> Mismatch | FileFault | None:
    """Return what an error text of Flax, NNX or Orbax says, or None where it is none that is known."""
    for read in (_scope, _serialization, _orbax, _nnx):
        found = read(text)
        if found is not None:
            return found
    return None


# linen


def _scope(text: str) -> Mismatch | None:
    match = _PARAM_SHAPE.search(text) or _PARAM_SHAPE_BEFORE.search(text)
    if match is not None:
        return Mismatch("flax: ScopeParamShapeError", shapes={_scoped(match): _shapes(match)})
    match = _SHORT_SHAPE.search(text)
    if match is not None:
        return Mismatch("flax: ScopeParamShapeError", nameless=_shapes(match))
    match = _PARAM_MISSING.search(text)
    if match is not None:
        return Mismatch("flax: ScopeParamNotFoundError", missing=(_scoped(match),))
    match = _COLLECTION.search(text)
    if match is not None:
        hint = (
            f"the variables have no collection {match['collection']!r}: pass it to apply() beside the params, "
            "or restore the whole variables"
        )
        return Mismatch("flax: ScopeCollectionNotFound", hint=hint)
    return None


def _scoped(match: re.Match[str]) -> str:
    scope = [part for part in match["scope"].split("/") if part]
    return join_name((*scope, match["name"]))


# flax.serialization


def _serialization(text: str) -> Mismatch | FileFault | None:
    match = _TARGET_KEYS.search(text)
    if match is not None:
        above = _plain_path(match["path"].strip("./").split("/"))
        names = re.findall(r"'([^']*)'", match["names"])
        return Mismatch("flax: from_state_dict", missing=tuple("/".join([*above, name]) for name in names))
    match = _FIELD.search(text)
    if match is not None:
        hint = (
            f"the target is a {match['kind']}, and the file has no {match['name']!r} beside its weights: "
            "it was saved from something else"
        )
        return Mismatch("flax: from_state_dict", hint=hint)
    match = _UNKNOWN_FIELDS.search(text)
    if match is not None:
        hint = f"the file has fields that a {match['kind']} has not: {match['names']}"
        return Mismatch("flax: from_state_dict", hint=hint)
    match = _NAMED_TUPLE.search(text) or _LIST_SIZE.search(text)
    if match is not None:
        hint = f"the optimizer's state was saved by another chain of transformations (at {match['path']})"
        return Mismatch("flax: from_state_dict", hint=hint)
    if _MSGPACK.search(text):
        cause = "the bytes are no whole msgpack document: the file is cut off, or of another format"
        return FileFault("flax: from_bytes", cause, ("ckpt inspect {quoted} says what it is",))
    return None


# Orbax


def _orbax(text: str) -> Mismatch | None:
    match = _ORBAX_SHAPE.search(text)
    if match is not None:
        return Mismatch("orbax: restore", nameless=_shapes(match))
    match = _ORBAX_PATH.search(text)
    if match is not None:
        return Mismatch("orbax: restore", missing=("/".join(_tuple_path(match["path"])),))
    if _ORBAX_TREES.search(text):
        missing: list[str] = []
        unexpected: list[str] = []
        for entry in _entries(text):
            path, source, target = entry
            (missing if target == "MISSING" else unexpected if source == "MISSING" else []).append(path)
        return Mismatch("orbax: restore", tuple(missing), tuple(unexpected))
    return None


def _entries(text: str) -> list[tuple[str, str, str]]:
    """The entries of Orbax's comparison: a dotted path, and on which side it is missing."""
    found = []
    for block in re.split(r"\n(?=\S[^\n]*:\n\s+- Source)", text):
        match = _ORBAX_ENTRY.search(block)
        if match is not None:
            path = "/".join(_plain_path(match["path"].split(".")))
            sides = ("MISSING" if match[side].startswith("MISSING") else "" for side in ("source", "target"))
            found.append((path, *sides))
    return found  # type: ignore[return-value]  # two sides each


# NNX


def _nnx(text: str) -> Mismatch | None:
    match = _PURE_DICT.search(text)
    if match is not None:
        return Mismatch("nnx: replace_by_pure_dict", unexpected=("/".join(_tuple_path(match["path"])),))
    match = _NNX_STATIC.search(text)
    if match is not None:
        return Mismatch(
            "nnx: update",
            unexpected=(match["name"],),
            hint=f"the model has no attribute {match['name']!r} with arrays",
        )
    return None


# Both.


def _tuple_path(text: str) -> list[str]:
    return _plain_path([part.strip().strip("'\"") for part in text.split(",") if part.strip()])


def _plain_path(parts: list[str]) -> list[str]:
    """A path as the neutral view names it: from the weights on, without what only wraps an array."""
    parts = [part for part in parts if part]
    while len(parts) > 1 and parts[0] in _TOPS:
        parts = parts[1:]
    if parts and parts[0] in _TOPS:
        return []
    return parts[:-1] if len(parts) > 1 and parts[-1] == "value" else parts


def _shapes(match: re.Match[str]) -> Shapes:
    expected, found = (
        tuple(int(size) for size in match[side].split(",") if size.strip()) for side in ("expected", "found")
    )
    return expected, found
