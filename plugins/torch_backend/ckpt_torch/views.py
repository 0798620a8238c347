"""Lazily conjugated, negated and byte-swapped views: what torch keeps as a flag on a tensor, applied on reading."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from ckpt_core.dtypes import ITEMSIZE, is_complex, is_float
from ckpt_core.errors import UnsupportedError
from ckpt_core.storage import MappedStorage, Storage, swap_bytes

__all__ = ["Variants"]

_HAS_NEGATIVE_ZERO: Final = frozenset(
    {"float16", "bfloat16", "float32", "float64", "complex64", "complex128"}
)


class Variants:
    """Element-wise views of storages, each made once, so that tied tensors stay tied."""

    def __init__(self) -> None:
        self._made: dict[tuple[int, int, str], tuple[Storage, Storage]] = {}

    def swapped(self, storage: Storage, dtype: str) -> Storage:
        """Return the storage in the other byte order, for elements of `dtype`."""
        width = ITEMSIZE[dtype] // (2 if is_complex(dtype) else 1)
        return storage if width == 1 else self._make(storage, width, "swapped", swap_bytes(width))

    def conjugated(self, storage: Storage, dtype: str) -> Storage:
        """Return the storage with the imaginary parts negated; torch's `conj` flag."""
        if not is_complex(dtype):
            return storage
        half = ITEMSIZE[dtype] // 2

        def change(data: np.ndarray) -> None:
            _flip_sign(data, half, slice(1, None, 2))

        return self._make(storage, ITEMSIZE[dtype], "conjugated", change)

    def negated(self, storage: Storage, dtype: str) -> Storage:
        """Return the storage with every element negated; torch's `neg` flag."""
        width = ITEMSIZE[dtype]
        if dtype in _HAS_NEGATIVE_ZERO:
            part = width // 2 if is_complex(dtype) else width

            def change(data: np.ndarray) -> None:
                _flip_sign(data, part, slice(None))

        elif dtype == "bool" or is_float(dtype):
            raise UnsupportedError(f"a negated view of {dtype} is nothing that torch makes")
        else:

            def change(data: np.ndarray) -> None:
                words = data.view(f"u{width}")
                np.negative(words, out=words)

        return self._make(storage, width, f"negated {dtype}", change)

    def _make(self, storage: Storage, width: int, what: str, change: Callable[[np.ndarray], None]) -> Storage:
        key = (id(storage), width, what)
        if key not in self._made:
            self._made[key] = (MappedStorage(storage, width, change), storage)
        return self._made[key][0]


def _flip_sign(data: np.ndarray, width: int, which: slice) -> None:
    words = data.view(f"u{width}")
    words[which] ^= words.dtype.type(1 << (8 * width - 1))
