"""A tree as a torch archive, as `torch.save` of torch 2.13 lays it out (`torch/serialization.py`, `_save`).

Left out on purpose is the member `.format_version`: from "1" on, torch computes where storages are from miniz's habits
(data descriptors) and not from the headers. Without it every loader reads the headers.
"""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any, Final

from ckpt_core.arrays import LazyArray
from ckpt_core.backend import Stored
from ckpt_core.dtypes import ITEMSIZE
from ckpt_core.errors import UnsupportedError
from ckpt_core.pickles.emit import Emitter, emit_tree
from ckpt_core.writer import FileWriter
from ckpt_core.zips.writer import ZipWriter
from ckpt_torch.archive import ATTRIBUTES
from ckpt_torch.sharing import Block, place

__all__ = ["CLASSES", "UNTYPED", "save_zip"]

_ROOT: Final = "archive"
_ALIGNMENT: Final = 64

CLASSES: Final = {
    "bool": "BoolStorage",
    "uint8": "ByteStorage",
    "int8": "CharStorage",
    "int16": "ShortStorage",
    "int32": "IntStorage",
    "int64": "LongStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "float32": "FloatStorage",
    "float64": "DoubleStorage",
    "complex64": "ComplexFloatStorage",
    "complex128": "ComplexDoubleStorage",
}
"""The dtypes that have a storage class."""

UNTYPED: Final = frozenset(
    {
        "uint16",
        "uint32",
        "uint64",
        "float8_e4m3fn",
        "float8_e4m3fnuz",
        "float8_e5m2",
        "float8_e5m2fnuz",
        "float8_e8m0fnu",
    }
)
"""The dtypes whose tensors lie in untyped storages (`torch/storage.py`, `_new_dtypes`)."""


def save_zip(stored: Stored, file: FileWriter) -> None:
    """Write a tree into a file.

    Raises:
        UnsupportedError: the tree holds what `TorchBackend.holds` does not name.
    """
    tensors = _Tensors(stored.tree)
    pickled = bytearray()
    emitter = Emitter(pickled.extend, protocol=2)
    emitter.start()
    emit_tree(stored.tree, emitter, array=tensors.emit)
    emitter.stop()

    archive = ZipWriter(file, _ALIGNMENT)
    checksums = [archive.add(f"{_ROOT}/data.pkl", bytes(pickled))]
    del pickled
    archive.add(f"{_ROOT}/.storage_alignment", str(_ALIGNMENT).encode())
    archive.add(f"{_ROOT}/byteorder", b"little")
    if stored.attributes:
        text = json.dumps(stored.attributes, separators=(",", ":"))
        archive.add(f"{_ROOT}/{ATTRIBUTES}", text.encode())
    for block in tensors.blocks:
        checksums.append(archive.add_array(f"{_ROOT}/data/{block.key}", block.data))
    archive.add(f"{_ROOT}/version", b"3\n")
    archive.add(f"{_ROOT}/.data/serialization_id", _identifier(checksums))
    archive.finish()


def _identifier(checksums: list[int]) -> bytes:
    """Return 40 digits that differ between contents, as torch's do, and are equal for equal ones."""
    joined = b"".join(crc.to_bytes(4, "big") for crc in checksums)
    return f"{zlib.crc32(joined):020d}{zlib.adler32(joined):020d}".encode()


class _Tensors:
    """Writes arrays as the calls that rebuild tensors, and lists the storages in the order of their keys."""

    def __init__(self, tree: Any) -> None:
        self._placed = place(tree)
        self.blocks: list[Block] = []

    def emit(self, array: LazyArray, emitter: Emitter) -> None:
        if emitter.recall(id(array)):
            return
        if array.dtype not in CLASSES and array.dtype not in UNTYPED:
            raise UnsupportedError(f"torch files hold no {array.dtype} arrays")
        block, offset, strides = self._placed[id(array)]
        is_typed = block.dtype in CLASSES
        emitter.global_("torch._utils", "_rebuild_tensor_v2" if is_typed else "_rebuild_tensor_v3")
        emitter.mark()
        self._emit_storage(block, emitter)
        emitter.int_(offset)
        emitter.ints(array.shape)
        emitter.ints(strides)
        emitter.bool_(False)
        emitter.global_("collections", "OrderedDict")
        emitter.op(b")R")
        if not is_typed:
            emitter.global_("torch", array.dtype)
        emitter.tuple_()
        emitter.reduce()
        emitter.memoize(id(array))

    def _emit_storage(self, block: Block, emitter: Emitter) -> None:
        if block.key is None:
            block.key = str(len(self.blocks))
            self.blocks.append(block)
        emitter.mark()
        emitter.text("storage")
        if block.dtype in CLASSES:
            emitter.global_("torch", CLASSES[block.dtype])
            numel = block.data.nbytes // ITEMSIZE[block.dtype]
        else:
            emitter.global_("torch.storage", "UntypedStorage")
            numel = block.data.nbytes
        key = block.key.encode()
        emitter.op(b"X" + struct.pack("<I", len(key)) + key)
        emitter.text("cpu")
        emitter.int_(numel)
        emitter.tuple_()
        emitter.persistent()
