"""Writing a pickle that `pickle.load` reads with numpy alone (and ml_dtypes for its dtypes)."""

from __future__ import annotations

import json
from typing import Any, Final

import numpy as np

from ckpt_core.arrays import LazyArray
from ckpt_core.backend import Stored
from ckpt_core.dtypes import to_numpy
from ckpt_core.pickles.emit import Emitter, emit_tree
from ckpt_core.writer import FileWriter

__all__ = ["save_pickle"]

_INLINE: Final = 1 << 16
"""Arrays up to that many bytes are written together with the opcodes around them."""

_MULTIARRAY: Final = "numpy.core.multiarray"  # numpy 2 keeps this name for pickles, without a warning


def save_pickle(stored: Stored, file: FileWriter) -> None:
    """Write the tree as one pickle of protocol 4, and the attributes, if any, as a second one: a JSON text."""
    emitter = Emitter(file.write, protocol=4)
    arrays = _Arrays(emitter, file)
    emitter.start()
    emit_tree(stored.tree, emitter, array=arrays.array, other=arrays.other)
    emitter.stop()
    if stored.attributes:
        second = Emitter(file.write, protocol=4)
        second.start()
        second.text(json.dumps(dict(stored.attributes), ensure_ascii=False))
        second.stop()


class _Arrays:
    """Writes arrays as numpy's own pickles do: an empty one by name, then its state with the bytes."""

    def __init__(self, emitter: Emitter, file: FileWriter) -> None:
        self.emitter = emitter
        self.file = file
        self.first: dict[tuple[object, ...], LazyArray] = {}

    def array(self, array: LazyArray, emitter: Emitter) -> None:
        identity = array.identity
        if identity is not None:
            array = self.first.setdefault(identity, array)  # tied arrays are one object
        if emitter.recall(id(array)):
            return
        emitter.global_(_MULTIARRAY, "_reconstruct")
        emitter.global_("numpy", "ndarray")
        emitter.ints((0,))
        emitter.bytes_(b"b")
        emitter.tuple_(3)
        emitter.reduce()
        emitter.memoize(id(array))
        if identity is None:
            self.first[id(array), "in pieces"] = array  # alive, so that its id stays its own
        emitter.mark()
        emitter.int_(1)
        emitter.ints(array.shape)
        self.dtype(array.dtype)
        emitter.bool_(False)
        self.bytes(array)
        emitter.tuple_()
        emitter.build()

    def bytes(self, array: LazyArray) -> None:
        self.emitter.bytes_header(array.nbytes)
        if array.nbytes <= _INLINE:
            array.verify()
            for tile in array.tiles():
                self.emitter.op(bytes(tile))
        else:
            self.emitter.flush()
            self.file.write_array(array)

    def dtype(self, name: str) -> None:
        """Write a numpy dtype as it reduces itself; the same one is written once."""
        emitter = self.emitter
        key = ("dtype", name)
        if emitter.recall(key):
            return
        _, (code, align, copy), state = to_numpy(name).newbyteorder("<").__reduce__()
        emitter.global_("numpy", "dtype")
        if isinstance(code, str):
            emitter.text(code)
        else:
            emitter.global_("ml_dtypes", name)
        emitter.bool_(bool(align))
        emitter.bool_(bool(copy))
        emitter.tuple_(3)
        emitter.reduce()
        emitter.memoize(key)
        emitter.mark()
        for part in state:
            emitter.plain(part)
        emitter.tuple_()
        emitter.build()

    def other(self, value: Any, emitter: Emitter) -> None:
        if not isinstance(value, np.generic):
            raise TypeError(f"{type(value).__name__} is no value of a pickle with plain data")
        emitter.global_(_MULTIARRAY, "scalar")
        array = LazyArray.from_numpy(value)
        self.dtype(array.dtype)
        emitter.bytes_(array.read().tobytes())
        emitter.tuple_(2)
        emitter.reduce()
