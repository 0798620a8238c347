"""A backend for NumPy's `.npz`: a ZIP archive with one `.npy` member per array, and `attributes.json`."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping
from urllib.parse import quote, unquote

import numpy as np

from ckpt_core import LazyArray
from ckpt_core.arrays import Piece, contiguous_strides
from ckpt_core.backend import Backend, Holds, Stored
from ckpt_core.dtypes import ITEMSIZE, is_extended, name_of, to_numpy
from ckpt_core.errors import DamagedFileError, UnsupportedError
from ckpt_core.hookspecs import hookimpl
from ckpt_core.sink import Sink
from ckpt_core.source import Source
from ckpt_core.storage import MemoryStorage
from ckpt_core.zip_writer import ZipWriter
from ckpt_core.zips import Zip

ATTRIBUTES = "attributes.json"


class NpzBackend(Backend):
    name = "npz"
    suffixes = (".npz",)
    looks_for = "ZIP archive of .npy members"
    holds = Holds(dtypes=frozenset(name for name in ITEMSIZE if not is_extended(name)))

    def sniff(self, source: Source) -> bool:
        if source.head[:4] not in (b"PK\x03\x04", b"PK\x05\x06"):
            return False
        return all(name.endswith(".npy") or name == ATTRIBUTES for name in Zip(source).entries)

    def open(self, source: Source) -> Stored:
        archive = Zip(source)
        names = [name for name in archive.entries if name != ATTRIBUTES]
        tree = {unquote(name.removesuffix(".npy")): _read_npy(archive, name) for name in names}
        if len(tree) < len(names):
            raise DamagedFileError("two members stand for one name")
        return Stored(tree, _read_attributes(archive))

    def save(self, stored: Stored, sink: Sink, options: Mapping[str, object]) -> None:
        with sink.file() as file:
            archive = ZipWriter(file)
            for name, array in stored.tree.items():
                archive.add_array(quote(name, safe=" ") + ".npy", _as_npy(array))
            if stored.attributes:
                archive.add(ATTRIBUTES, json.dumps(dict(stored.attributes)).encode())
            archive.finish()


def _read_attributes(archive: Zip) -> dict[str, object]:
    try:
        attributes = json.loads(archive.read(ATTRIBUTES, limit=1 << 28)) if ATTRIBUTES in archive else {}
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(f"is not valid JSON: {error}", place=ATTRIBUTES) from error
    if not isinstance(attributes, dict):
        raise DamagedFileError("is no JSON object", place=ATTRIBUTES)
    return attributes


def _read_npy(archive: Zip, name: str) -> LazyArray:
    """Parse the header of a `.npy` member; its bytes stay in the archive."""
    storage = archive.storage(name)
    head = io.BytesIO(storage.read(0, min(storage.nbytes, 1 << 14)))
    try:
        version = np.lib.format.read_magic(head)
        parse = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, is_fortran, dtype = parse(head)
    except Exception as error:  # numpy's parser has many ways to refuse a header
        raise DamagedFileError(f"has no valid header: {error}", place=name) from error
    neutral = name_of(dtype)
    if neutral is None:
        raise UnsupportedError(f"holds numpy {dtype}, which is no array of numbers", place=name)
    if storage.nbytes - head.tell() != math.prod(shape) * dtype.itemsize:
        raise DamagedFileError(f"does not hold the {shape} of {neutral} that its header declares", place=name)
    strides = contiguous_strides(shape[::-1], dtype.itemsize)[::-1] if is_fortran else None
    array = LazyArray(shape, neutral, storage, head.tell(), strides)
    return array if dtype.isnative else array.byteswapped()


def _as_npy(array: LazyArray) -> LazyArray:
    """Return the bytes of a `.npy` file with this array: a header in memory, then the array where it is."""
    head = io.BytesIO()
    descr = np.lib.format.dtype_to_descr(to_numpy(array.dtype))
    np.lib.format.write_array_header_1_0(head, {"descr": descr, "fortran_order": False, "shape": array.shape})
    if array.file_window() is None:
        array = LazyArray.from_numpy(array.read())
    start, stop = head.tell(), head.tell() + array.nbytes
    body = array.pieces[0]
    pieces = [
        Piece(MemoryStorage(head.getvalue()), 0, region=((0, start),)),
        Piece(body.storage, body.offset, region=((start, stop),)),
    ]
    return LazyArray.from_pieces((stop,), "uint8", pieces)


@hookimpl
def ckpt_core_backends() -> list[Backend]:
    return [NpzBackend()]
