"""ArraySpec and LazyArray: what an array is, and where its bytes are.

A LazyArray is a shape, a dtype and pieces. A piece is a region of the array and a strided window of a storage.
Most arrays are one contiguous piece of a file, which the kernel can copy; sharded checkpoints and chunked
containers have several; a transposed or expanded tensor is one piece with strides.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ckpt_core.dtypes import ITEMSIZE, itemsize, name_of, to_numpy
from ckpt_core.errors import DamagedFileError, LimitError, UnsupportedError
from ckpt_core.regions import Region, basic_index, run_of, split
from ckpt_core.storage import DecodedStorage, FileStorage, MappedStorage, MemoryStorage, Storage, swap_bytes
from ckpt_core.strided import STRIDED_TILE, TILE, contiguous_strides, is_in_order, read_strided

__all__ = ["MAX_DIMENSIONS", "ArraySpec", "LazyArray", "Piece", "contiguous_strides"]

MAX_DIMENSIONS: Final = 64
MAX_EXPANSION: Final = 1024
FREE_EXPANSION: Final = 1 << 30
_BITS: Final[dict[int, np.dtype[Any]]] = {
    1: np.dtype("u1"),
    2: np.dtype("u2"),
    4: np.dtype("u4"),
    8: np.dtype("u8"),
    16: np.dtype("V16"),
}


@dataclass(frozen=True, slots=True)
class ArraySpec:
    """Shape and dtype without data.

    Example:
        >>> ArraySpec((2, 3), "bfloat16").nbytes
        12
    """

    shape: tuple[int, ...]
    dtype: str

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """The bytes of all elements."""
        return self.size * itemsize(self.dtype)


class Piece(NamedTuple):
    """A region of an array and the window of a storage that holds it.

    `strides` are in bytes, one per dimension, and None where the window is contiguous in C order. `region`
    is a (start, stop) pair per dimension, and None where the piece is the whole array.
    """

    storage: Storage
    offset: int
    strides: tuple[int, ...] | None = None
    region: Region | None = None


class LazyArray:
    """An array whose bytes stay where they are until they are asked for.

    Arguments:
        shape: the number of elements along each dimension.
        dtype: a neutral dtype name.
        storage: where the bytes are.
        offset: the position of the first element in the storage, in bytes.
        strides: bytes from one element to the next, per dimension; None for contiguous C order.

    Raises:
        DamagedFileError: the elements do not lie within the storage.

    Example:
        >>> array = LazyArray.from_numpy(np.arange(6, dtype=np.float32).reshape(2, 3))
        >>> array
        LazyArray((2, 3), float32)
        >>> array[1:]
        array([[3., 4., 5.]], dtype=float32)
    """

    __slots__ = ("__weakref__", "dtype", "pieces", "shape")

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: str,
        storage: Storage,
        offset: int = 0,
        strides: tuple[int, ...] | None = None,
    ) -> None:
        if strides is not None and strides == contiguous_strides(shape, ITEMSIZE.get(dtype, 0)):
            strides = None
        _check_window(shape, dtype, storage, offset, strides)
        self.shape = shape
        self.dtype = dtype
        self.pieces: tuple[Piece, ...] = (Piece(storage, offset, strides),)

    @classmethod
    def filling(cls, shape: tuple[int, ...], dtype: str, pieces: tuple[Piece, ...]) -> LazyArray:
        """Make an array of pieces that the caller has checked: they fill it, and lie in their storages."""
        array = object.__new__(cls)
        array.shape, array.dtype, array.pieces = shape, dtype, pieces
        return array

    @classmethod
    def from_pieces(cls, shape: tuple[int, ...], dtype: str, pieces: Sequence[Piece]) -> LazyArray:
        """Make an array of several pieces, which must fill it without overlapping.

        Raises:
            DamagedFileError: a piece lies outside the array or its storage, or the pieces do not fill it.
        """
        filled = 0
        for piece in pieces:
            region = piece.region
            if region is None or len(region) != len(shape):
                raise DamagedFileError("a piece has no region of its own")
            if any(not 0 <= low <= high <= size for (low, high), size in zip(region, shape, strict=True)):
                raise DamagedFileError(f"a piece {region} lies outside of the array {shape}")
            extent = tuple(high - low for low, high in region)
            _check_window(extent, dtype, piece.storage, piece.offset, piece.strides)
            filled += math.prod(extent)
        if filled != math.prod(shape):
            raise DamagedFileError(f"pieces hold {filled} of the {math.prod(shape)} elements")
        return cls.filling(shape, dtype, tuple(pieces))

    @classmethod
    def from_numpy(cls, array: npt.ArrayLike) -> LazyArray:
        """Wrap an array that is in memory; its bytes are shared, not copied, where numpy allows it.

        Raises:
            UnsupportedError: the dtype has no neutral name (objects, strings, dates, structures).
        """
        data = np.asarray(array)
        dtype = name_of(data.dtype)
        if dtype is None:
            raise UnsupportedError(f"numpy dtype {data.dtype} is not an array of numbers")
        shape = data.shape
        if not data.dtype.isnative:
            data = data.astype(data.dtype.newbyteorder("="))
        if not data.flags.c_contiguous:
            data = np.array(data, order="C")
        return cls(shape, dtype, MemoryStorage(data.reshape(-1).view(np.uint8).data))

    def with_storage(self, storage: Storage) -> LazyArray:
        """Return the same window of another storage of the same length (an element-wise view)."""
        piece = self.pieces[0]
        return LazyArray(self.shape, self.dtype, storage, piece.offset, piece.strides)

    def byteswapped(self) -> LazyArray:
        """Return the array read in the other byte order."""
        width = itemsize(self.dtype) // (2 if self.dtype.startswith("complex") else 1)
        if width == 1:
            return self
        return self.with_storage(MappedStorage(self.pieces[0].storage, width, swap_bytes(width)))

    # What it is.

    @property
    def spec(self) -> ArraySpec:
        """The shape and dtype alone."""
        return ArraySpec(self.shape, self.dtype)

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """The bytes of all elements."""
        return math.prod(self.shape) * ITEMSIZE[self.dtype]

    @property
    def identity(self) -> tuple[object, ...] | None:
        """What tied arrays have in common: storage, offset, shape, strides; None for an array in pieces."""
        if len(self.pieces) != 1:
            return None
        storage, offset, strides, _ = self.pieces[0]
        return id(storage), offset, self.shape, strides, self.dtype

    def __repr__(self) -> str:
        return f"LazyArray({self.shape}, {self.dtype})"

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("a 0-d array has no length")
        return self.shape[0]

    # Reading.

    def read(self) -> np.ndarray:
        """Return all of it as a fresh numpy array in C order."""
        return self._gather(tuple((0, size) for size in self.shape)).view(to_numpy(self.dtype))

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("the bytes are in a file; reading them always makes a copy")
        data = self.read()
        return data if dtype is None else data.astype(dtype, copy=False)

    def __getitem__(self, index: Any) -> np.ndarray:
        """Read the rows and columns that a basic index (integers, slices, `...`) selects, and no others."""
        region, finish = basic_index(index, self.shape)
        data: np.ndarray = self._gather(region).view(to_numpy(self.dtype))[finish]
        return data

    def item(self) -> Any:
        """Return the one element as a Python scalar."""
        return self.read().item()

    def tiles(self, nbytes: int | None = None) -> Iterator[memoryview]:
        """Yield the bytes in C order, native byte order, about `nbytes` at a time; not to be written to.

        Without a size, tiles are TILE bytes, and STRIDED_TILE where elements do not lie in that order.
        """
        if nbytes is None:
            in_order = all(is_in_order(self.shape, piece.strides) for piece in self.pieces)
            nbytes = TILE if in_order else STRIDED_TILE
        storage, offset, strides, _ = self.pieces[0] if self.pieces else Piece(MemoryStorage(b""), 0)
        if len(self.pieces) == 1 and strides is None and isinstance(storage, (DecodedStorage, MemoryStorage)):
            data = storage.decoded() if isinstance(storage, DecodedStorage) else storage.data
            for start in range(offset, offset + self.nbytes, nbytes):
                yield data[start : min(start + nbytes, offset + self.nbytes)]
            return
        for region in split(self.shape, ITEMSIZE[self.dtype], nbytes):
            tile = self._gather(region)
            if tile.size:
                yield tile.reshape(-1).view(np.uint8).data

    def elements(self, start: int, stop: int) -> np.ndarray:
        """Return elements `start .. stop` of the array flattened in C order, as a 1-d array."""
        out = np.empty(stop - start, _BITS[ITEMSIZE[self.dtype]])
        done = 0
        for region in run_of(self.shape, start, stop):
            part = self._gather(region).reshape(-1)
            out[done : done + part.size] = part
            done += part.size
        return out.view(to_numpy(self.dtype))

    def verify(self) -> None:
        """Check what checksums the container carries for these bytes."""
        for piece in self.pieces:
            piece.storage.verify()

    def file_window(self) -> tuple[FileStorage, int, int] | None:
        """Return (storage, offset, length) where all the bytes lie in a file as they are, in C order."""
        if len(self.pieces) != 1:
            return None
        storage, offset, strides, _ = self.pieces[0]
        if strides is None and isinstance(storage, FileStorage):
            return storage, offset, self.nbytes
        return None

    def _gather(self, region: Region) -> np.ndarray:
        """Read a region as bits: an array of unsigned integers (or void) of the dtype's width."""
        bits = _BITS[ITEMSIZE[self.dtype]]
        out = np.empty([high - low for low, high in region], bits)
        if not out.size:
            return out
        for storage, offset, strides, part in self.pieces:
            where = part or tuple((0, size) for size in self.shape)
            common = [(max(a, c), min(b, d)) for (a, b), (c, d) in zip(region, where, strict=True)]
            if any(low >= high for low, high in common):
                continue
            extent = [high - low for low, high in where]
            steps = strides if strides is not None else contiguous_strides(tuple(extent), bits.itemsize)
            start = offset + sum(
                (low - origin) * step
                for (low, _), (origin, _), step in zip(common, where, steps, strict=True)
            )
            within = [slice(lo - o, hi - o) for (lo, hi), (o, _) in zip(common, region, strict=True)]
            inside: tuple[Any, ...] = (..., *within)  # without the dots a 0-d array would yield a copy
            target = out[inside]
            if storage.nbytes != target.nbytes or strides is not None:
                storage.verify()
            read_strided(storage, start, target, steps)
        return out


def _check_window(
    shape: tuple[int, ...], dtype: str, storage: Storage, offset: int, strides: tuple[int, ...] | None
) -> None:
    """Raise DamagedFileError unless every element lies within the storage."""
    width = ITEMSIZE.get(dtype)
    if width is None:
        raise UnsupportedError(f"unknown dtype {dtype!r}")
    if len(shape) > MAX_DIMENSIONS or (shape and min(shape) < 0):
        raise DamagedFileError(f"impossible shape {shape[:8]}")
    nbytes = width
    for size in shape:
        nbytes *= size
    if nbytes == 0 and math.prod(size or 1 for size in shape) * width >= 1 << 63:
        # empty, and still beyond what numpy can address
        raise DamagedFileError(f"impossible shape {shape[:8]}")
    if strides is None:
        if offset < 0 or offset + nbytes > storage.nbytes:
            raise DamagedFileError(
                f"an array of {nbytes} bytes at offset {offset} lies outside of its storage of {storage.nbytes}"
            )
        return
    if len(strides) != len(shape):
        raise DamagedFileError(f"{len(strides)} strides for {len(shape)} dimensions")
    if nbytes == 0:
        return
    reach = [(size - 1) * step for size, step in zip(shape, strides, strict=True)]
    low, high = offset + sum(min(r, 0) for r in reach), offset + sum(max(r, 0) for r in reach) + width
    if low < 0 or high > storage.nbytes:
        raise DamagedFileError(f"strides reach bytes {low} to {high} of a storage of {storage.nbytes}")
    if nbytes > FREE_EXPANSION and nbytes > MAX_EXPANSION * storage.nbytes:
        raise LimitError(f"an array of {nbytes} bytes is expanded from a storage of {storage.nbytes}")
