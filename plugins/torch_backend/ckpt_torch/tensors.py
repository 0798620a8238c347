"""Storages and tensors of torch as lazy arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ckpt_core.arrays import MAX_DIMENSIONS, LazyArray, Piece, contiguous_strides
from ckpt_core.dtypes import ITEMSIZE
from ckpt_core.errors import DamagedFileError
from ckpt_core.pickles.constructors import holds_inert
from ckpt_core.storage import Storage
from ckpt_core.tree import Global, Record
from ckpt_torch.names import BITS, DTYPES, StorageClass, storage_class
from ckpt_torch.views import Variants

__all__ = ["OpenBytes", "StorageArray", "Tensors", "are_ints", "text_of"]

OpenBytes = Callable[[Any], Any]

_SEQUENCES: Final = (tuple, list)

_UNTYPED: Final = "torch.uint8"


class StorageArray(LazyArray):
    """A torch storage: a one-dimensional array that tensors are windows of.

    Raises:
        DamagedFileError: its elements do not lie within the bytes.
    """

    __slots__ = ("torch_dtype",)

    def __init__(self, kind: StorageClass, numel: int, raw: Storage, offset: int = 0) -> None:
        if numel < 0 or offset < 0 or offset + numel * kind.width > raw.nbytes:
            raise DamagedFileError(
                f"a storage of {numel} elements at {offset} lies outside of its {raw.nbytes} bytes"
            )
        self.shape = (numel,)
        self.dtype = kind.dtype
        self.pieces = (Piece(raw, offset),)
        self.torch_dtype = kind.torch_dtype


class _Extent(Storage):
    """A length without bytes, to check windows against."""

    __slots__ = ()

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes

    def read_into(self, offset: int, buffer: memoryview) -> None:
        raise DamagedFileError("has no bytes")


class Tensors:
    """The tensors over the storages of one file.

    Arguments:
        swapped: the storages are in the other byte order.
        open_bytes: opens a torch file that lies as bytes inside of a pickle; None leaves it as it is.
    """

    def __init__(self, *, swapped: bool = False, open_bytes: OpenBytes | None = None) -> None:
        self._swapped = swapped
        self.open_bytes = open_bytes
        self._variants = Variants()
        self._kinds: dict[int, tuple[StorageClass, Any]] = {}

    # Storages.

    def kind(self, kind: Any) -> StorageClass:
        """Return what a storage class holds, given the global; raises DamagedFileError where it is none."""
        known = self._kinds.get(id(kind))
        if known is None:
            found = storage_class(kind.name) if isinstance(kind, Global) else None
            if found is None:
                raise DamagedFileError("a storage is of a type that is no storage class")
            known = self._kinds[id(kind)] = found, kind
        return known[0]

    def storage(self, kind: StorageClass, raw: Storage, numel: int, offset: int = 0) -> StorageArray:
        """Return `numel` elements of `raw` from a byte offset on.

        Raises:
            DamagedFileError: they do not lie within `raw`.
        """
        if self._swapped:
            raw = self._variants.swapped(raw, kind.dtype)
        return StorageArray(kind, numel, raw, offset)

    # Tensors.

    def window(
        self,
        storage: StorageArray,
        offset: Any,
        size: Any,
        stride: Any,
        torch_dtype: str | None = None,
        flags: Any = None,
    ) -> Any:
        """Return the window of a storage that a tensor is; offset and strides count elements.

        Returns:
            A LazyArray, or a Record with the bits of a dtype that arrays do not have; NotImplemented where a call
            that was not made stands for a number.

        Raises:
            DamagedFileError: it does not lie within the storage.
        """
        torch_dtype = torch_dtype or storage.torch_dtype
        dtype = DTYPES.get(torch_dtype)
        bits = dtype or BITS.get(torch_dtype)
        if bits is None:
            raise DamagedFileError(f"a tensor has the unknown dtype {torch_dtype[:200]}")
        is_contiguous = _is_contiguous(size, stride)
        if type(offset) is not int or offset < 0 or is_contiguous is None:
            if holds_inert((offset, size, stride)):
                return NotImplemented
            raise DamagedFileError("the offset, size or stride of a tensor is not made of integers")
        shape = tuple(size)
        strides = None if is_contiguous else tuple([step * ITEMSIZE[bits] for step in stride])
        raw, base, _, _ = storage.pieces[0]
        start = offset * ITEMSIZE[bits]
        if 0 in shape:  # the offset of an empty view may lie anywhere, and means nothing
            start, strides = 0, None
        if raw.nbytes != storage.shape[0] * ITEMSIZE[storage.dtype]:
            LazyArray(shape, bits, _Extent(storage.nbytes), start, strides)
        if self._swapped and storage.torch_dtype == _UNTYPED:
            raw = self._variants.swapped(raw, bits)
        if flags and isinstance(flags, dict):
            if flags.get("conj"):
                raw = self._variants.conjugated(raw, bits)
            if flags.get("neg"):
                raw = self._variants.negated(raw, bits)
        array = LazyArray(shape, bits, raw, base + start, strides)
        if dtype is None:
            return Record("torch.Tensor", {"dtype": Global(torch_dtype), "bits": array})
        return array

    def whole(self, storage: Any, shape: tuple[int, ...]) -> Any:
        """Return all of a storage as one tensor in C order, of a shape with as many elements."""
        if type(storage) is not StorageArray:
            return NotImplemented
        if self._swapped or DTYPES.get(storage.torch_dtype) != storage.dtype:
            return self.window(storage, 0, shape, contiguous_strides(shape, 1))
        return LazyArray.filling(shape, storage.dtype, storage.pieces)


def text_of(value: Any) -> Any:
    """Return a text that Python 2 wrote as bytes; anything else as it is."""
    return value.decode("latin1") if isinstance(value, bytes) else value


def are_ints(values: Any) -> bool:
    """Say whether it is a tuple or a list of integers, no longer than arrays have dimensions."""
    if type(values) not in _SEQUENCES or len(values) > MAX_DIMENSIONS:
        return False
    return all([type(value) is int for value in values])


def _is_contiguous(size: Any, stride: Any) -> bool | None:
    """Say whether elements lie in C order without gaps; None where size or stride is not made of integers."""
    if type(size) not in _SEQUENCES or type(stride) not in _SEQUENCES or len(size) > MAX_DIMENSIONS:
        return None
    if len(size) != len(stride):
        return False if are_ints(size) and are_ints(stride) else None
    is_contiguous, expected = True, 1
    for length, step in zip(reversed(size), reversed(stride), strict=True):
        if type(length) is not int or type(step) is not int:
            return None
        if step != expected and length > 1:
            is_contiguous = False
        expected *= length or 1
    return is_contiguous
