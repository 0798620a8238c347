"""From a zarr layout and stored chunks to a LazyArray."""

from __future__ import annotations

import math
from typing import Final

from ckpt_core.arrays import LazyArray, Piece
from ckpt_core.dtypes import itemsize
from ckpt_core.errors import CheckpointError, DamagedFileError, LimitError
from ckpt_core.storage import DecodedStorage, MappedStorage, MemoryStorage, Storage, swap_bytes
from ckpt_flax.orbax.ahead import Chunk, Coding, Series, length_of
from ckpt_flax.orbax.store import Found, Store
from ckpt_flax.orbax.zarr import ZarrArray, parse_zarr

__all__ = ["ArrayReader"]

MAX_CHUNKS: Final = 1 << 21
"""Chunks that all arrays of an item may have together."""

FREE_CHUNK: Final = 1 << 30
MAX_RATIO: Final = 1 << 16
"""A chunk may decode to FREE_CHUNK bytes, or to MAX_RATIO times its stored length (zstd reaches half of it)."""


class ArrayReader:
    """Makes the arrays of one item.

    Arguments:
        store: where documents and chunks are found.
        omits_fill: chunks that hold nothing but the fill value were not stored.
        path: the directory, for errors.
    """

    def __init__(self, store: Store, omits_fill: bool, path: str) -> None:
        self.store = store
        self.omits_fill = omits_fill
        self.path = path
        self._layouts: dict[bytes, ZarrArray] = {}
        self._codings: dict[str, Coding] = {}
        self._chunks = 0
        self._series = Series(path)

    def read(self, name: str) -> LazyArray:
        """Return the array of that name.

        Raises:
            DamagedFileError: it is not there, or its description and its chunks contradict each other.
            LimitError: it declares more than its stored bytes can hold.
        """
        try:
            found = self.store.find(name)
            if found is None:
                raise DamagedFileError("the array is missing")
            layout = self._layouts.get(found[0]) or self._layout(found[0])
            if layout.chunks == layout.shape:
                self._count(1)
                storage = self._chunk(name, found, layout, layout.first_key, layout.shape)
                if storage is not None:
                    strides = layout.whole if layout.raw else None
                    return LazyArray(layout.shape, layout.dtype, storage, 0, strides)
            return self._of_chunks(name, found, layout)
        except CheckpointError as error:
            raise error.located(self.path, name) from error.__cause__

    def _layout(self, document: bytes) -> ZarrArray:
        """Parse the document of an array, once for all that have the same."""
        layout = self._layouts[document] = parse_zarr(document)
        return layout

    def _of_chunks(self, name: str, found: Found, layout: ZarrArray) -> LazyArray:
        if 0 in layout.shape:
            return LazyArray(layout.shape, layout.dtype, MemoryStorage(b""))
        self._count(math.prod(layout.grid))
        pieces = []
        for key, region in layout.regions():
            extent = tuple([high - low for low, high in region])
            storage = self._chunk(name, found, layout, key, extent)
            strides = layout.strides if layout.raw else None
            if storage is None:
                storage, strides = MemoryStorage(layout.fill_bytes()), (0,) * len(region)
            pieces.append(Piece(storage, 0, strides, region))
        if len(pieces) == 1:
            return LazyArray(layout.shape, layout.dtype, pieces[0].storage, 0, pieces[0].strides)
        return LazyArray.from_pieces(layout.shape, layout.dtype, pieces)

    def _count(self, chunks: int) -> None:
        self._chunks += chunks
        if self._chunks > MAX_CHUNKS:
            raise LimitError(f"more than {MAX_CHUNKS} chunks are declared")

    def _chunk(
        self, name: str, found: Found, layout: ZarrArray, key: str, extent: tuple[int, ...]
    ) -> Storage | None:
        """Return the elements of one chunk: raw, all of them; decoded, those within the array.

        None when it is not stored because it holds nothing but the fill value.
        """
        stored = self.store.chunk(found, key)
        nbytes = layout.chunk_nbytes
        if stored is None:
            if self.omits_fill:
                return None
            raise DamagedFileError(
                f"chunk {key} is missing", remedy="A file of the checkpoint was not copied or was removed."
            )
        if layout.raw:
            return _elements(MemoryStorage(stored) if isinstance(stored, bytes) else stored, layout, key)
        if nbytes > FREE_CHUNK and nbytes > MAX_RATIO * length_of(stored):
            raise LimitError(f"chunk {key} declares {nbytes} bytes and stores {length_of(stored)}")
        coding = self._codings.get(layout.spec)
        if coding is None:
            coding = self._codings[layout.spec] = Coding(layout.spec, self.omits_fill)
        chunk = Chunk(self._series, coding, stored, extent, nbytes, name, key)
        if extent != layout.chunks:
            nbytes = math.prod(extent) * itemsize(layout.dtype)
        return DecodedStorage(nbytes, chunk)


def _elements(stored: Storage, layout: ZarrArray, key: str) -> Storage:
    """Return the elements of a raw chunk in native byte order."""
    if stored.nbytes != layout.chunk_nbytes:
        raise DamagedFileError(
            f"chunk {key} has {stored.nbytes} bytes where {layout.chunk_nbytes} are declared"
        )
    if not layout.swapped:
        return stored
    width = itemsize(layout.dtype) // (2 if layout.dtype.startswith("complex") else 1)
    return MappedStorage(stored, width, swap_bytes(width))
