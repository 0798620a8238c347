"""What a `.zarray` (zarr 2) or `zarr.json` (zarr 3) document says about one array, checked.

The documents are those of the zarr specifications, with the dtypes that tensorstore adds (`bfloat16`, the
float8 types, `int4`). Only what places the elements is interpreted here; how a compressed chunk is decoded is
left to tensorstore, which gets the checked part of the document and one chunk's bytes (`codec.py`).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from ckpt_core.arrays import MAX_DIMENSIONS, contiguous_strides
from ckpt_core.dtypes import is_extended, is_known, itemsize, name_of, to_numpy
from ckpt_core.errors import DamagedFileError, LimitError, UnsupportedError
from ckpt_flax.orbax.jsontext import parse_object

__all__ = ["ZarrArray", "parse_zarr"]

_MAX_BYTES: Final = 1 << 62
_TYPESTR: Final = re.compile(r"[<>|=][biufc]\d{1,2}\Z")


@dataclass(frozen=True, slots=True)
class ZarrArray:
    """One array's layout.

    Arguments:
        shape: elements per dimension.
        dtype: a neutral dtype name.
        chunks: elements of one chunk per dimension; chunks at the edges are stored whole.
        prefix: what a chunk's key begins with (`c/` in zarr 3).
        separator: what stands between the indices of a chunk's key.
        scalar_key: the key of the only chunk of a 0-d array.
        strides: bytes from element to element within a raw chunk.
        raw: the bytes of a chunk are its elements, without compression or filters.
        swapped: they are big-endian.
        fill: the value of elements of chunks that are not stored.
        spec: what tensorstore needs to decode a chunk, as canonical JSON; empty when raw.
    """

    shape: tuple[int, ...]
    dtype: str
    chunks: tuple[int, ...]
    prefix: str
    separator: str
    scalar_key: str
    strides: tuple[int, ...]
    raw: bool
    swapped: bool
    fill: Any
    spec: str
    chunk_nbytes: int = field(init=False)
    """The bytes of one decoded chunk."""
    first_key: str = field(init=False)
    """The key of the first chunk."""
    whole: tuple[int, ...] | None = field(init=False)
    """The strides of a chunk that is the whole array; None where it is in C order."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "chunk_nbytes", math.prod(self.chunks) * itemsize(self.dtype))
        object.__setattr__(self, "first_key", self.key((0,) * len(self.shape)))
        in_order = self.strides == contiguous_strides(self.chunks, itemsize(self.dtype))
        object.__setattr__(self, "whole", None if in_order else self.strides)

    @property
    def grid(self) -> tuple[int, ...]:
        """The number of chunks along each dimension."""
        return tuple(-(-size // chunk) for size, chunk in zip(self.shape, self.chunks, strict=True))

    def key(self, index: tuple[int, ...]) -> str:
        """Return the key of a chunk below the array's own name."""
        return self.prefix + self.separator.join(map(str, index)) if index else self.scalar_key

    def regions(self) -> Iterator[tuple[str, tuple[tuple[int, int], ...]]]:
        """Yield each chunk's key and the region of the array that it fills, in C order."""
        for index in np.ndindex(*self.grid):
            region = tuple(
                (i * chunk, min((i + 1) * chunk, size))
                for i, chunk, size in zip(index, self.chunks, self.shape, strict=True)
            )
            yield self.key(index), region

    def fill_bytes(self) -> bytes:
        """Return one element of the fill value.

        Raises:
            UnsupportedError: the fill value is written in a form that is not known here.
        """
        if self.fill is None or self.fill is False or self.fill == 0:
            return bytes(itemsize(self.dtype))
        if isinstance(self.fill, (bool, int, float)) or self.fill in ("NaN", "Infinity", "-Infinity"):
            number = float(self.fill) if isinstance(self.fill, str) else self.fill
            return np.asarray(number).astype(to_numpy(self.dtype)).tobytes()
        raise UnsupportedError(f"fill value {str(self.fill)[:80]!r} of {self.dtype}")


def parse_zarr(data: bytes) -> ZarrArray:
    """Parse a `.zarray` or `zarr.json` document.

    Raises:
        DamagedFileError: it is no such document, or contradicts itself.
        UnsupportedError: the data type has no neutral name.
    """
    document = parse_object(data)
    version = document.get("zarr_format")
    if version == 2:
        return _parse_2(document)
    if version == 3:
        return _parse_3(document)
    raise DamagedFileError(f"is not a zarr 2 or 3 array: zarr_format is {str(version)[:20]}")


def _parse_2(document: dict[str, Any]) -> ZarrArray:
    dtype, swapped = _dtype_2(document.get("dtype"))
    shape, chunks = _sizes(document.get("shape"), document.get("chunks"), dtype)
    order = document.get("order", "C")
    separator = document.get("dimension_separator", ".")
    if order not in ("C", "F") or separator not in (".", "/"):
        raise DamagedFileError("order is neither C nor F, or dimension_separator neither '.' nor '/'")
    compressor, filters = document.get("compressor"), document.get("filters")
    raw = compressor is None and not filters
    strides = contiguous_strides(chunks, itemsize(dtype))
    if raw and order == "F":
        strides = tuple(reversed(contiguous_strides(chunks[::-1], itemsize(dtype))))
    spec: dict[str, Any] = {
        "driver": "zarr",
        "metadata": {
            "zarr_format": 2,
            "shape": chunks,
            "chunks": chunks,
            "dtype": document.get("dtype"),
            "order": order,
            "compressor": compressor,
            "filters": filters,
            "fill_value": None,
            "dimension_separator": ".",
        },
    }
    return ZarrArray(
        shape,
        dtype,
        chunks,
        "",
        separator,
        "0",
        strides,
        raw,
        swapped and raw,
        document.get("fill_value"),
        "" if raw else json.dumps(spec, sort_keys=True),
    )


def _parse_3(document: dict[str, Any]) -> ZarrArray:
    if document.get("node_type") != "array":
        raise DamagedFileError("is not a zarr array: node_type is not 'array'")
    dtype = document.get("data_type")
    if not isinstance(dtype, str) or not is_known(dtype):
        raise UnsupportedError(f"data type {str(dtype)[:80]!r} is none that a checkpoint can hold here")
    grid = _named(document.get("chunk_grid"), "regular")
    shape, chunks = _sizes(document.get("shape"), grid.get("chunk_shape"), dtype)
    prefix, separator, scalar_key = _keys_3(document.get("chunk_key_encoding"))
    codecs = _codecs_3(document.get("codecs"))
    raw, swapped = _raw_3(codecs, itemsize(dtype))
    spec = {
        "driver": "zarr3",
        "metadata": {
            "zarr_format": 3,
            "node_type": "array",
            "shape": chunks,
            "data_type": dtype,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunks}},
            "chunk_key_encoding": {"name": "v2"},
            "fill_value": document.get("fill_value"),
            "codecs": codecs,
        },
    }
    return ZarrArray(
        shape,
        dtype,
        chunks,
        prefix,
        separator,
        scalar_key,
        contiguous_strides(chunks, itemsize(dtype)),
        raw,
        swapped,
        document.get("fill_value"),
        "" if raw else json.dumps(spec, sort_keys=True),
    )


def _dtype_2(value: Any) -> tuple[str, bool]:
    """Return the neutral name, and whether the bytes are big-endian."""
    if isinstance(value, str):
        if is_known(value) and is_extended(value):
            return value, False
        if _TYPESTR.match(value):
            try:
                name = name_of(np.dtype(value))
            except TypeError:
                name = None
            if name is not None:
                return name, value[0] == ">" and itemsize(name) > 1
    raise UnsupportedError(f"data type {str(value)[:80]!r} is none that a checkpoint can hold here")


def _sizes(shape: Any, chunks: Any, dtype: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    for name, value, least in (("shape", shape, 0), ("chunks", chunks, 1)):
        if not isinstance(value, list) or not all(type(size) is int and size >= least for size in value):
            raise DamagedFileError(f"{name} is not a list of sizes: {str(value)[:80]}")
        nbytes = math.prod(max(size, 1) for size in value) * itemsize(dtype)
        if len(value) > MAX_DIMENSIONS or nbytes > _MAX_BYTES:
            raise LimitError(f"{name} {str(value)[:80]} is beyond what can be addressed")
    if len(shape) != len(chunks):
        raise DamagedFileError(f"shape has {len(shape)} dimensions, chunks have {len(chunks)}")
    return tuple(shape), tuple(chunks)


def _named(value: Any, name: str) -> dict[str, Any]:
    """Return the configuration of a zarr 3 extension point, which must be of the given name."""
    if not isinstance(value, dict) or value.get("name") != name:
        raise UnsupportedError(f"only {name!r} is known here, not {str(value)[:80]}")
    configuration = value.get("configuration", {})
    if not isinstance(configuration, dict):
        raise DamagedFileError(f"the configuration of {name!r} is not an object")
    return configuration


def _keys_3(encoding: Any) -> tuple[str, str, str]:
    """Return the prefix, the separator and the key of a 0-d array's chunk."""
    name = encoding.get("name") if isinstance(encoding, dict) else None
    configuration = _named(encoding, "v2" if name == "v2" else "default")
    separator = configuration.get("separator", "." if name == "v2" else "/")
    if separator not in (".", "/"):
        raise DamagedFileError("the separator of chunk_key_encoding is neither '.' nor '/'")
    return ("", separator, "0") if name == "v2" else (f"c{separator}", separator, "c")


def _codecs_3(codecs: Any) -> list[dict[str, Any]]:
    """Return a list of codecs with each as an object: one without a configuration may be its name alone.

    Inner codecs of a shard are taken care of, too.
    """
    if not isinstance(codecs, list):
        raise DamagedFileError("codecs is not a list")
    full: list[dict[str, Any]] = []
    for entry in codecs:
        codec = {"name": entry} if isinstance(entry, str) else entry
        if not isinstance(codec, dict) or not isinstance(codec.get("name"), str):
            raise DamagedFileError(f"a codec has no name: {str(codec)[:80]}")
        configuration = _named(codec, codec["name"])
        inner = {
            key: _codecs_3(configuration[key]) for key in ("codecs", "index_codecs") if key in configuration
        }
        full.append({**codec, "configuration": {**configuration, **inner}} if inner else codec)
    return full


def _raw_3(codecs: list[dict[str, Any]], width: int) -> tuple[bool, bool]:
    """Say whether chunks are plain elements, and whether they are big-endian."""
    if len(codecs) != 1 or codecs[0]["name"] != "bytes":
        return False, False
    endian = _named(codecs[0], "bytes").get("endian", "little")
    if endian not in ("little", "big"):
        raise DamagedFileError("endian is neither 'little' nor 'big'")
    return True, endian == "big" and width > 1
