"""Arrays: every dtype to the bit, views of any strides, slices, tied arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpt_core.arrays import LazyArray, Piece
from ckpt_core.dtypes import ITEMSIZE
from ckpt_core.fitting.unfit import unfit
from ckpt_core.source import Source
from ckpt_core.storage import MemoryStorage, Storage
from ckpt_core.testing.case import BackendCase
from ckpt_core.testing.compare import differences, same_leaf
from ckpt_core.testing.samples import random_array
from ckpt_core.tree import flatten

__all__ = ["ArrayTests"]

SHAPES = [(), (1,), (0,), (3, 0, 2), (7,), (2, 3, 4)]


class ArrayTests(BackendCase):
    """Arrays come back with the same shape, dtype and bits."""

    @pytest.mark.parametrize("dtype", sorted(ITEMSIZE))
    def test_keeps_the_bits_of_every_dtype(self, tmp_path: Path, dtype: str) -> None:
        if dtype not in self.holds.dtypes:
            pytest.skip(f"{self.backend.name} does not hold {dtype}")
        tree = {f"a{i}": random_array(dtype, shape, seed=i) for i, shape in enumerate(SHAPES)}
        self.check(tmp_path, tree)
        with Source(self.target(tmp_path)) as source:  # and without core's description of the tree
            arrays = [leaf for _, leaf in flatten(self.backend.open(source).tree)]
            assert sorted(str(array.spec) for array in arrays) == sorted(str(a.spec) for a in tree.values())

    def test_keeps_signalling_nans_and_signed_zeros(self, tmp_path: Path) -> None:
        if "float32" not in self.holds.dtypes:
            pytest.skip("no float32")
        bits = np.array([0x7F800001, 0xFFC12345, 0x80000000, 0x7F800000, 1], np.uint32)
        self.check(tmp_path, {"a": LazyArray.from_numpy(bits.view(np.float32))})
        with Source(self.target(tmp_path)) as source:
            assert self.open(source).tree["a"].read().view(np.uint32).tolist() == bits.tolist()

    def test_writes_arrays_that_are_not_contiguous(self, tmp_path: Path) -> None:
        storage, width = _storage_of(24, self.dtype), ITEMSIZE[self.dtype]
        whole = LazyArray((4, 6), self.dtype, storage)
        transposed = LazyArray((6, 4), self.dtype, storage, 0, (width, 6 * width))
        backwards = LazyArray((24,), self.dtype, storage, 23 * width, (-width,))
        expanded = LazyArray((5, 3), self.dtype, storage, 0, (0, width))
        halves = [
            Piece(storage, 0, None, ((0, 1), (0, 6))),
            Piece(storage, 12 * width, None, ((1, 2), (0, 6))),
        ]
        pieces = LazyArray.from_pieces((2, 6), self.dtype, halves)
        path = self.target(tmp_path)
        views = {"t": transposed, "b": backwards, "e": expanded, "p": pieces, "w": whole}
        self.save(path, views)
        data = whole.read()
        expected = {
            "t": data.T,
            "b": data.reshape(-1)[::-1],
            "e": np.stack([data[0, :3]] * 5),
            "p": data[::2],
            "w": data,
        }
        with Source(path) as source:
            tree = self.open(source).tree
            for name, array in expected.items():
                assert tree[name].shape == array.shape
                assert tree[name].read().tobytes() == array.tobytes(), name

    def test_writes_arrays_in_the_other_byte_order(self, tmp_path: Path) -> None:
        array = LazyArray.from_numpy(
            np.arange(6, dtype=np.float32 if "float32" in self.holds.dtypes else np.int32)
        )
        swapped = LazyArray(
            array.shape, array.dtype, MemoryStorage(array.read().byteswap().tobytes())
        ).byteswapped()
        self.save(self.target(tmp_path), {"a": swapped})
        with Source(self.target(tmp_path)) as source:
            assert same_leaf(array, self.open(source).tree["a"])

    def test_reads_slices(self, tmp_path: Path) -> None:
        array = random_array(self.dtype, (5, 4, 3), seed=3)
        self.save(self.target(tmp_path), {"a": array})
        indices: list[Any] = [
            0,
            -1,
            slice(1, 3),
            slice(None, None, -2),
            (..., 1),
            (2, slice(1, None), 0),
            ...,
            slice(4, 2),
        ]
        with Source(self.target(tmp_path)) as source:
            lazy = self.open(source).tree["a"]
            for index in indices:
                assert lazy[index].tobytes() == array.read()[index].tobytes(), index

    def test_tied_arrays(self, tmp_path: Path) -> None:
        array = random_array(self.dtype, (3, 4))
        other = random_array(self.dtype, (3, 4), seed=1)
        path = self.target(tmp_path)
        fitted = self.save(path, {"a": array, "b": other, "c": array})
        with Source(path) as source:
            stored, tied = unfit(self.backend.open(source), self.holds)
            assert differences({"a": array, "b": other, "c": array}, stored.tree) == []
            if self.holds.sharing:
                assert stored.tree["a"].identity == stored.tree["c"].identity != stored.tree["b"].identity
            elif self.holds.attributes != "none":
                assert tied == ((("a",), ("c",)),)
            else:
                assert fitted.losses

    def test_the_official_library_reads_it(self, tmp_path: Path) -> None:
        wanted = self.official_dtypes if self.official_dtypes is not None else self.holds.dtypes
        tree = {
            f"{dtype}_{len(shape)}_{int(np.prod(shape))}": random_array(dtype, shape, seed)
            for seed, dtype in enumerate(sorted(wanted))
            for shape in SHAPES
        }
        self.save(self.target(tmp_path), tree, {"note": "x"} if self.holds.attributes != "none" else {})
        loaded = self.official_load(self.target(tmp_path))
        if loaded is None:
            pytest.skip("no official library")
        assert sorted(loaded) == sorted(tree)
        for name, array in tree.items():
            official = np.asarray(loaded[name])
            assert (official.shape, official.dtype.name) == (array.shape, array.dtype), name
            assert official.tobytes() == array.read().tobytes(), name


def _storage_of(count: int, dtype: str) -> Storage:
    return random_array(dtype, (count,), seed=5).pieces[0].storage
