"""The neutral JSON form of a tree: what a container cannot hold natively travels in its metadata.

`docs/neutral-schema.md` is the normative text. A document is

    {"ckpt_core": 1, "tree": ..., "tied": [[name, ...], ...], "copies": [name, ...], "attributes": {...}}

in which `tree` describes the whole tree and refers to arrays by their name in the container.
"""

from __future__ import annotations

import base64
import datetime
import json
import math
import operator
import struct
from collections.abc import Callable, Mapping
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from typing import Any, Final

import numpy as np

from ckpt_core.arrays import LazyArray
from ckpt_core.dtypes import name_of, to_numpy
from ckpt_core.errors import DamagedFileError, UnsupportedError, UsageError
from ckpt_core.fitting.kinds import is_text
from ckpt_core.tree import Alias, Global, Index, KeyPath, Part, Record, children, parse_path, render_path

__all__ = ["DOCUMENT", "VERSION", "decode", "encode", "encode_value", "parse"]

VERSION: Final = 1

DOCUMENT: Final = "ckpt_core"
"""The attribute that carries the document, as text."""

_EXACT: Final = 1 << 53
_MAX_DIGITS: Final = 3550
"""Hexadecimal digits of an integer, its sign and `0x` included: as long as Python prints (4300 decimal digits)."""

NameOf = Callable[[KeyPath, LazyArray], Mapping[str, Any]]


def encode(tree: Any, array: NameOf) -> Any:
    """Return the JSON form of a tree.

    Arguments:
        tree: any tree.
        array: returns the fields of the `$array` object that stands for the array at a path.
    """
    box: list[Any] = []
    stack: list[tuple[KeyPath, Any, Any, Any]] = [((), tree, box, None)]
    while stack:
        path, node, into, key = stack.pop()
        pairs = children(node)
        if isinstance(node, LazyArray):
            _place(into, key, {"$array": dict(array(path, node))})
        elif pairs is None:
            _place(into, key, encode_value(node))
        else:
            _place(into, key, _open_container(path, node, pairs, stack))
    return box[0]


def _place(into: Any, key: Any, value: Any) -> None:
    if isinstance(into, list):
        if key is None:
            into.append(value)
        else:
            into[key] = value
    else:
        into[key] = value


def _open_container(path: KeyPath, node: Any, pairs: list[tuple[Any, Any]], stack: list[Any]) -> Any:
    """Make the JSON container of a node with room for its children, and queue these."""
    if isinstance(node, Record):
        shell: dict[str, Any] = {"$record": node.type_name}
        fields = [(key, child) for key, child in pairs if not isinstance(key, Part)]
        shell["fields"] = _mapping(path, fields, stack)
        for key, child in pairs:
            if isinstance(key, Part):
                shell[key.name] = None
                stack.append(((*path, key), child, shell, key.name))
        return shell
    if isinstance(node, dict):
        return _mapping(path, pairs, stack)
    values: list[Any] = [None] * len(pairs)
    stack.extend([((*path, key), child, values, int(key)) for key, child in pairs])
    return values if isinstance(node, list) else {"$tuple": values}


def _mapping(path: KeyPath, pairs: list[tuple[Any, Any]], stack: list[Any]) -> Any:
    if all(type(key) is str and key[:1] != "$" and is_text(key) for key, _ in pairs):
        shell: dict[str, Any] = dict.fromkeys([key for key, _ in pairs])
        stack.extend([((*path, key), child, shell, key) for key, child in pairs])
        return shell
    rows: list[list[Any]] = [[encode_value(key), None] for key, _ in pairs]
    stack.extend([((*path, key), child, row, 1) for (key, child), row in zip(pairs, rows, strict=True)])
    return {"$dict": rows}


def encode_value(value: Any) -> Any:
    """Return the JSON form of a leaf that is not an array (or of a dictionary key).

    Raises:
        UnsupportedError: no JSON form is defined for its type.
    """
    if value is None or (isinstance(value, (bool, str)) and type(value) in (bool, str)):
        return value if not isinstance(value, str) or is_text(value) else {"$str": _hex(value)}
    if type(value) is int:
        return value if -_EXACT <= value <= _EXACT else {"$int": hex(value)}
    if type(value) is float:
        return value if math.isfinite(value) else {"$float": struct.pack(">d", value).hex()}
    if isinstance(value, np.generic):
        return _encode_scalar(value)
    for kind, encoder in _ENCODERS:
        if isinstance(value, kind):
            return encoder(value)
    raise UnsupportedError(f"a {type(value).__name__} has no neutral form")


def _hex(value: str) -> str:
    return value.encode("utf-8", "surrogatepass").hex()


def _encode_scalar(value: np.generic) -> Any:
    name = name_of(value.dtype)
    if name is None:
        return {"$numpy": [value.dtype.str, value.tobytes().hex()]}
    native = np.asarray(value, value.dtype.newbyteorder("<"))
    return {"$scalar": [name, native.tobytes().hex()]}


def _values(values: Any) -> list[Any]:
    return [encode_value(value) for value in values]


def _encode_date(value: Any) -> Any:
    text, tag = value.isoformat(), f"${type(value).__name__}"
    zone = getattr(value, "tzinfo", None)
    if type(value) is datetime.date or repr(type(value).fromisoformat(text)) == repr(value):
        return {tag: text}
    if zone is not None and type(zone) is not datetime.timezone:
        return {tag: text}
    local = value.replace(tzinfo=None, fold=0)
    return {tag: [local.isoformat(), None if zone is None else _encode_zone(zone), value.fold]}


def _encode_delta(value: datetime.timedelta) -> Any:
    return {"$timedelta": [value.days, value.seconds, value.microseconds]}


def _encode_zone(value: datetime.timezone) -> Any:
    offset, name = value.utcoffset(None), value.tzname(None)
    named = [] if datetime.timezone(offset).tzname(None) == name else [name]
    return {"$timezone": [offset.days, offset.seconds, offset.microseconds, *named]}


def _encode_path(value: PurePath) -> Any:
    return {"$path": ["windows" if isinstance(value, PureWindowsPath) else "posix", str(value)]}


def _encode_keys(path: KeyPath) -> Any:
    """A key path as text, or as a list of its keys where one of them has a text that is not read back."""
    text = render_path(path)
    try:
        if is_text(text) and parse_path(text) == path:
            return text
    except UsageError:
        pass
    return [_encode_key(key) for key in path]


def _encode_key(key: Any) -> Any:
    if isinstance(key, Index):
        return {"$index": int(key)}
    return {"$part": key.name} if isinstance(key, Part) else encode_value(key)


_ENCODERS: Final[list[tuple[Any, Callable[[Any], Any]]]] = [
    (bytes, lambda value: {"$bytes": base64.b64encode(value).decode()}),
    (complex, lambda value: {"$complex": [encode_value(value.real), encode_value(value.imag)]}),
    (tuple, lambda value: {"$tuple": _values(value)}),
    (set, lambda value: {"$set": _values(sorted(value, key=repr))}),
    (frozenset, lambda value: {"$frozenset": _values(sorted(value, key=repr))}),
    (datetime.datetime, _encode_date),
    (datetime.date, _encode_date),
    (datetime.time, _encode_date),
    (datetime.timedelta, _encode_delta),
    (datetime.timezone, _encode_zone),
    (PurePath, _encode_path),
    (Global, lambda value: {"$global": value.name}),
    (Alias, lambda value: {"$alias": _encode_keys(value.path)}),
    (slice, lambda value: {"$slice": _values([value.start, value.stop, value.step])}),
    (range, lambda value: {"$range": [value.start, value.stop, value.step]}),
]


# Back.


def decode(form: Any, array: Callable[[KeyPath, Mapping[str, Any]], LazyArray]) -> Any:
    """Return the tree that a JSON form describes.

    Arguments:
        form: what `encode` made.
        array: returns the array that an `$array` object at a path refers to.

    Raises:
        DamagedFileError: the form is not one.
    """
    try:
        return _decode(form, (), array)
    except (
        KeyError, ValueError, TypeError, IndexError, AttributeError, OverflowError, RecursionError, struct.error
    ) as error:  # fmt: skip
        raise DamagedFileError(f"the neutral description is damaged ({error!r})") from error


def _decode(form: Any, path: KeyPath, array: Callable[[KeyPath, Mapping[str, Any]], LazyArray]) -> Any:
    # JSON that a parser accepted is nested no deeper than Python's own limit, so recursion is bounded.
    if isinstance(form, list):
        return [_decode(child, (*path, Index(i)), array) for i, child in enumerate(form)]
    if not isinstance(form, dict):
        return form
    tag = next(iter(form), "")
    if tag[:1] != "$":
        return {key: _decode(child, (*path, key), array) for key, child in form.items()}
    body = form[tag]
    if tag == "$array":
        return array(path, body)
    if tag == "$tuple":
        return tuple(_decode(child, (*path, Index(i)), array) for i, child in enumerate(body))
    if tag == "$dict":
        keys = [_decode(key, (), array) for key, _ in body]
        return {key: _decode(child, (*path, key), array) for key, (_, child) in zip(keys, body, strict=True)}
    if tag == "$record":
        parts = {
            name: _decode(form[name], (*path, Part(name)), array)
            for name in ("args", "appended", "state")
            if form.get(name) is not None
        }
        if type(parts.get("args", ())) not in (tuple, Alias) or type(parts.get("appended", [])) not in (
            list,
            Alias,
        ):
            raise ValueError("the parts of a record are no tuple and no list")
        return Record(_text(body), _decode(form["fields"], path, array), **parts)
    return _DECODERS[tag](body)


def _text(body: Any) -> str:
    if type(body) is not str:
        raise TypeError(f"a {type(body).__name__} where a name is expected")
    return body


def _decode_int(body: Any) -> int:
    if len(_text(body)) > _MAX_DIGITS:
        raise ValueError(f"an integer has {len(body)} hexadecimal digits")
    return int(body, 16)


def _decode_scalar(body: Any) -> Any:
    name, data = body
    return np.frombuffer(bytes.fromhex(data), to_numpy(name))[0]


def _decode_numpy(body: Any) -> Any:
    dtype = np.dtype(body[0])
    if dtype.hasobject:
        raise ValueError("objects have no bytes")
    return np.frombuffer(bytes.fromhex(body[1]), dtype)[0]


def _decode_moment(kind: Any, body: Any) -> Any:
    if isinstance(body, str):
        return kind.fromisoformat(body)
    text, zone, fold = body
    return kind.fromisoformat(text).replace(tzinfo=_decode(zone, (), _no_array), fold=fold)


def _decode_all(body: Any) -> list[Any]:
    return [_decode(value, (), _no_array) for value in body]


def _no_array(_: KeyPath, body: Mapping[str, Any]) -> LazyArray:
    raise ValueError(f"an array {dict(body)} where a plain value is expected")


_DECODERS: Final[dict[str, Callable[[Any], Any]]] = {
    "$str": lambda body: bytes.fromhex(body).decode("utf-8", "surrogatepass"),
    "$int": _decode_int,
    "$float": lambda body: struct.unpack(">d", bytes.fromhex(body))[0],
    "$complex": lambda body: complex(*_decode_all(body)),
    "$bytes": lambda body: base64.b64decode(body, validate=True),
    "$scalar": _decode_scalar,
    "$numpy": _decode_numpy,
    "$set": lambda body: set(_decode_all(body)),
    "$frozenset": lambda body: frozenset(_decode_all(body)),
    "$datetime": lambda body: _decode_moment(datetime.datetime, body),
    "$date": datetime.date.fromisoformat,
    "$time": lambda body: _decode_moment(datetime.time, body),
    "$timedelta": lambda body: datetime.timedelta(*body),
    "$timezone": lambda body: datetime.timezone(datetime.timedelta(*body[:3]), *body[3:]),
    "$path": lambda body: (PureWindowsPath if body[0] == "windows" else PurePosixPath)(body[1]),
    "$global": lambda body: Global(_text(body)),
    "$alias": lambda body: Alias(tuple(_decode_all(body)) if isinstance(body, list) else parse_path(body)),
    "$index": lambda body: Index(operator.index(body)),
    "$part": lambda body: Part(_text(body)),
    "$slice": lambda body: slice(*_decode_all(body)),
    "$range": lambda body: range(*body),
}


def parse(text: str) -> Mapping[str, Any] | None:
    """Parse a document; None when it is not one that this version reads."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(document, dict) and document.get("ckpt_core") == VERSION and "tree" in document:
        return document
    return None
