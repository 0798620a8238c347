"""The safetensors container: eight bytes of length, a JSON header, the bytes of the tensors.

    u64, little-endian      N, the length of the header (at most 100 MB)
    N bytes                 a JSON object in UTF-8 that begins with "{" and may end in spaces:
                            {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, ...,
                             "__metadata__": {"text": "text", ...}}
    the rest                the tensors, little-endian, in C order; offsets count from here

The tensors must cover the rest exactly: no overlap, no hole, nothing behind. Keys must not repeat. The format
is defined by the README of the safetensors project, section "Format"; what is not written there (extra fields
of a tensor are ignored, `__metadata__` may be null) follows its library, version 0.8.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ckpt_core.arrays import MAX_DIMENSIONS, ArraySpec, LazyArray
from ckpt_core.dtypes import itemsize
from ckpt_core.errors import DamagedFileError, LimitError, UnsupportedError
from ckpt_core.source import Source
from ckpt_core.storage import FileStorage
from ckpt_core.tree import Record

__all__ = ["CODES", "MAX_HEADER", "METADATA", "Content", "begins_like_one", "build", "parse_json", "read"]

MAX_HEADER: Final = 100_000_000
"""The longest header that the format allows, in bytes."""

METADATA: Final = "__metadata__"

CODES: Final = {
    "bool": "BOOL",
    "uint8": "U8",
    "int8": "I8",
    "uint16": "U16",
    "int16": "I16",
    "uint32": "U32",
    "int32": "I32",
    "uint64": "U64",
    "int64": "I64",
    "float16": "F16",
    "bfloat16": "BF16",
    "float32": "F32",
    "float64": "F64",
    "complex64": "C64",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e4m3fnuz": "F8_E4M3FNUZ",
    "float8_e5m2": "F8_E5M2",
    "float8_e5m2fnuz": "F8_E5M2FNUZ",
    "float8_e8m0fnu": "F8_E8M0",
}
"""The format's code of every neutral dtype that it can hold."""

_NAMES: Final = {code: (name, itemsize(name)) for name, code in CODES.items()}
_TOO_MANY: Final = 1 << 63  # elements along a dimension that no file can hold
_PACKED_BITS: Final = {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6}
_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")


@dataclass(frozen=True, slots=True)
class Content:
    """What one file holds: its tensors by name, its metadata, and remarks about it."""

    tensors: dict[str, Any]
    metadata: dict[str, str]
    notes: tuple[str, ...] = ()


# Reading.


def begins_like_one(source: Source) -> bool:
    """Say whether a file begins with a plausible length and the brace of a header."""
    head = source.head
    return head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= MAX_HEADER


def read(source: Source) -> Content:
    """Read the header of a file; the tensors stay where they are.

    A tensor of less than eight bits per element (`F4`, `F6_E2M3`, `F6_E3M2`) is a Record with its `shape` and its
    packed bytes as the array `data`.

    Raises:
        DamagedFileError: the file breaks a rule of the format.
        UnsupportedError: a tensor has a dtype that the format does not define.
    """
    if source.size < 8:
        raise DamagedFileError(
            f"has {source.size} bytes, and eight for the length of the header are the least"
        )
    length = int.from_bytes(source.read(0, 8), "little")
    if length > MAX_HEADER:
        raise LimitError(
            f"a header of {length} bytes is declared, and {MAX_HEADER} are allowed", place="header"
        )
    if length > source.size - 8:
        raise DamagedFileError(
            f"a header of {length} bytes is declared, and {source.size - 8} follow",
            place="header",
        )
    header = parse_json(source.read(8, length), "header")
    metadata = _metadata(header.pop(METADATA, None))
    tensors, notes = _tensors(header, source, 8 + length)
    return Content(tensors, metadata, notes)


def parse_json(data: bytes, place: str) -> dict[str, Any]:
    """Parse a JSON object strictly: UTF-8, no repeated keys, no NaN, no lone surrogates.

    Raises:
        DamagedFileError: it is not one.
    """
    if data[:1] != b"{":
        raise DamagedFileError(f"begins with {data[:8]!r} where a JSON object is expected", place=place)
    try:
        text = data.decode()
        value: dict[str, Any] = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeError as error:
        raise DamagedFileError(f"is not valid UTF-8: {error}", place=place) from error
    except ValueError as error:
        raise DamagedFileError(f"is not valid JSON: {error}", place=place) from error
    except RecursionError:
        raise LimitError("is nested too deeply", place=place) from None
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        repeated = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {repeated[:200]!r} is there twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _metadata(value: Any) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise DamagedFileError("is not an object of texts", place=METADATA)
    return value


def _tensors(header: dict[str, Any], source: Source, base: int) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Make the arrays of a header, and check that they cover the data from `base` on exactly."""
    tensors: dict[str, Any] = {}
    spans: list[tuple[int, int, str]] = []
    room = source.size - base
    reached, in_order = 0, True
    packed: list[str] = []
    for name, info in header.items():
        code, shape, begin, end = _fields(name, info)
        if not 0 <= begin <= end <= room:
            raise DamagedFileError(
                f"bytes {begin} to {end} are declared, and {room} are there",
                place=name[:200],
            )
        spans.append((begin, end, name))
        in_order = in_order and begin == reached
        reached = end
        known = _NAMES.get(code)
        if known is None:
            tensors[name] = _packed(name, code, shape, source, base + begin, end - begin)
            packed.append(name)
            continue
        nbytes = known[1]
        for size in shape:
            nbytes *= size
        if nbytes != end - begin:
            raise DamagedFileError(
                f"shape {shape[:16]} of {code} takes {nbytes} bytes, and {end - begin} are declared",
                place=name[:200],
            )
        tensors[name] = LazyArray(shape, known[0], FileStorage(source, base + begin, nbytes))
    if not in_order:
        reached = _check_cover(spans)
    if reached != room:
        raise DamagedFileError(f"{room - reached} bytes behind the last tensor belong to none")
    return tensors, _note(packed)


def _fields(name: str, info: Any) -> tuple[str, tuple[int, ...], int, int]:
    """Return dtype code, shape and offsets of a tensor, with their types checked."""
    try:
        code, shape, (begin, end) = info["dtype"], info["shape"], info["data_offsets"]
        good = type(code) is str and type(shape) is list and type(begin) is int and type(end) is int
    except (KeyError, TypeError, ValueError):
        good = False
    if not good:
        raise DamagedFileError("is not described by a dtype, a shape and two data_offsets", place=name[:200])
    if len(shape) > MAX_DIMENSIONS:
        raise DamagedFileError(f"impossible shape of {len(shape)} dimensions", place=name[:200])
    for size in shape:
        if type(size) is not int or not 0 <= size < _TOO_MANY:
            raise DamagedFileError(f"impossible shape {shape[:16]}", place=name[:200])
    return code, tuple(shape), begin, end


def _packed(name: str, code: str, shape: tuple[int, ...], source: Source, start: int, nbytes: int) -> Record:
    bits = _PACKED_BITS.get(code)
    if bits is None:
        raise UnsupportedError(
            f"has the dtype {code[:40]!r}, which the format does not define", place=name[:200]
        )
    if bits * math.prod(shape) != 8 * nbytes:
        raise DamagedFileError(f"shape {shape[:16]} of {code} does not take {nbytes} bytes", place=name[:200])
    data = LazyArray((nbytes,), "uint8", FileStorage(source, start, nbytes))
    return Record(f"safetensors.{code}", {"shape": list(shape), "data": data})


def _check_cover(spans: list[tuple[int, int, str]]) -> int:
    """Return where the last tensor ends; raises DamagedFileError at the first overlap or hole."""
    reached = 0
    for begin, end, name in sorted(spans):
        if begin != reached:
            fault = "overlaps the tensor before it" if begin < reached else "leaves a hole before it"
            raise DamagedFileError(
                f"{fault}: it begins at {begin}, and {reached} is expected", place=name[:200]
            )
        reached = end
    return reached


def _note(packed: list[str]) -> tuple[str, ...]:
    if not packed:
        return ()
    listed = ", ".join(packed[:3]) + (", ..." if len(packed) > 3 else "")
    return (f"{len(packed)} tensors have less than 8 bits per element and stand as packed bytes: {listed}",)


# Writing.


def build(tensors: Mapping[str, ArraySpec], metadata: Mapping[str, str]) -> tuple[bytes, list[str]]:
    """Build what stands before the data of a file.

    The header keeps the order of the tensors. Their bytes are placed by itemsize, the widest first, so that each
    is aligned to its itemsize in the file, as loaders that map it require.

    Returns:
        The length and the header, and the names in the order in which their bytes follow.

    Raises:
        UnsupportedError: the header would be longer than the format allows.
    """
    order = sorted(tensors, key=lambda name: -itemsize(tensors[name].dtype))
    begins: dict[str, int] = {}
    reached = 0
    for name in order:
        begins[name] = reached
        reached += tensors[name].nbytes
    fields: dict[str, Any] = {METADATA: dict(metadata)} if metadata else {}
    for name, spec in tensors.items():
        begin = begins[name]
        offsets = [begin, begin + spec.nbytes]
        fields[name] = {"dtype": CODES[spec.dtype], "shape": list(spec.shape), "data_offsets": offsets}
    try:
        text = json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise UnsupportedError(f"a name or a text of the metadata has no UTF-8 form: {error}") from error
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER:
        raise UnsupportedError(f"the header would have {len(text)} bytes, and the format allows {MAX_HEADER}")
    return len(text).to_bytes(8, "little") + text, order
