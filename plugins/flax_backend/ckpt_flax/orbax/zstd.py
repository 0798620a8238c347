"""Unpack zstd frames with `zstandard`, where it is installed: nodes of a database, and plain chunks.

A chunk that is one frame of plain elements is how Orbax writes by default. It is decoded in one step and without a
copy in between. tensorstore decodes it as well, and everything else; it needs several copies.
"""

from __future__ import annotations

import functools
import importlib
import json
import math
from typing import Any

import numpy as np

__all__ = ["decode_frame", "has_zstandard", "is_one_frame", "unpack_frame"]


@functools.lru_cache(maxsize=1024)
def is_one_frame(spec: str) -> bool:
    """Say whether the chunks of a description are one zstd frame of little-endian elements in C order."""
    parsed = json.loads(spec)
    metadata = parsed["metadata"]
    if parsed["driver"] == "zarr":
        compressor = metadata.get("compressor")
        return (
            isinstance(compressor, dict)
            and compressor.get("id") == "zstd"
            and not metadata.get("filters")
            and metadata.get("order") == "C"
            and isinstance(metadata.get("dtype"), str)
            and metadata["dtype"][:1] in {"<", "|"}
        )
    codecs = metadata.get("codecs")
    if not isinstance(codecs, list) or len(codecs) != 2:
        return False
    inner, outer = codecs
    endian = inner.get("configuration", {}).get("endian", "little")
    return (inner.get("name"), endian, outer.get("name")) == ("bytes", "little", "zstd")


def decode_frame(spec: str, data: bytes, nbytes: int, extent: tuple[int, ...]) -> memoryview | None:
    """Return the elements of a chunk within `extent`, or None where this cannot be done here.

    Arguments:
        spec: the description that `is_one_frame` was asked about.
        data: the stored bytes.
        nbytes: the decoded length of the whole chunk.
        extent: how much of the chunk lies within the array, per dimension.
    """
    decoded = unpack_frame(data, nbytes) if has_zstandard() else None
    if decoded is None or len(decoded) != nbytes:
        return None
    shape = tuple(json.loads(spec)["metadata"]["shape"])
    if shape == extent:
        return memoryview(decoded)
    width = nbytes // math.prod(shape)
    elements = np.frombuffer(decoded, np.dtype(f"V{width}")).reshape(shape)
    return np.ascontiguousarray(elements[tuple(map(slice, extent))]).reshape(-1).view(np.uint8).data


def has_zstandard() -> bool:
    """Say whether frames can be unpacked here."""
    return _zstandard() is not None


def unpack_frame(data: bytes | memoryview, limit: int) -> bytes | None:
    """Return what one zstd frame unpacks to, or None where it is damaged, or more than `limit` bytes."""
    zstandard = _zstandard()
    try:
        if zstandard.frame_content_size(data) > limit:
            return None
        unpacked: bytes = zstandard.ZstdDecompressor().decompress(
            data, max_output_size=max(limit, 1), allow_extra_data=False
        )
    except (zstandard.ZstdError, MemoryError):
        return None
    return unpacked


@functools.cache
def _zstandard() -> Any:
    try:
        return importlib.import_module("zstandard")
    except ImportError:
        return None
