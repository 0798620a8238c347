"""Lazy arrays: any window of any storage reads like numpy's own."""

from __future__ import annotations

import itertools
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ckpt_core.arrays import LazyArray, Piece
from ckpt_core.casting import cast
from ckpt_core.dtypes import ITEMSIZE, name_of, to_numpy
from ckpt_core.errors import DamagedFileError, LimitError, UnsupportedError
from ckpt_core.source import Source
from ckpt_core.storage import DecodedStorage, FileStorage, MemoryStorage

CUBE = np.random.default_rng(0).integers(0, 2**32, (37, 41, 5), dtype=np.uint32)


def lazy_of(view: np.ndarray, base: np.ndarray) -> LazyArray:
    offset = view.__array_interface__["data"][0] - base.__array_interface__["data"][0]
    return LazyArray(view.shape, name_of(view.dtype), MemoryStorage(base.tobytes()), offset, view.strides)


VIEWS = [CUBE.transpose(p) for p in itertools.permutations(range(3))]
VIEWS += [
    CUBE[3:9, ::2],
    CUBE[:, 5],
    CUBE[..., :1],
    np.broadcast_to(CUBE[:, :1], CUBE.shape),
    CUBE[1, 2, 3:4],
]


@pytest.mark.parametrize("view", VIEWS, ids=[str(i) for i in range(len(VIEWS))])
def test_strided_windows_read_like_numpy(view):
    lazy = lazy_of(view, CUBE)
    assert np.array_equal(lazy.read(), view)
    assert b"".join(map(bytes, lazy.tiles(1000))) == view.tobytes()
    flat = view.reshape(-1)
    for start, stop in [
        (0, flat.size),
        (flat.size // 4, flat.size - 1),
        (flat.size // 3, flat.size // 2),
        (2, 2),
    ]:
        assert np.array_equal(lazy.elements(start, stop), flat[start:stop])


@given(st.data())
def test_basic_indices_read_like_numpy(data):
    index = []
    for size in CUBE.shape[: data.draw(st.integers(0, 3))]:
        index.append(data.draw(st.one_of(st.integers(-size, size - 1), st.slices(size))))
    if data.draw(st.booleans()):
        index.append(Ellipsis)
    lazy = lazy_of(CUBE, CUBE)
    assert np.array_equal(lazy[tuple(index)], CUBE[tuple(index)])


@pytest.mark.parametrize("index", [None, [0, 1], np.array([True]), True, "a", 1.5])
def test_fancy_indices_are_refused(index):
    with pytest.raises(IndexError, match="only integers, slices"):
        lazy_of(CUBE, CUBE)[index]


def test_an_index_beyond_the_array_is_told_as_numpy_does():
    lazy = lazy_of(CUBE, CUBE)
    for index in (37, (0, -42), (0, 0, np.int64(5))):
        with pytest.raises(IndexError) as expected:
            CUBE[index]
        with pytest.raises(IndexError, match=f"^{expected.value}$"):
            lazy[index]
    assert np.array_equal(lazy[torch.tensor(1)], CUBE[1])


@pytest.mark.parametrize("dtype", sorted(ITEMSIZE))
def test_every_dtype_reads_bit_for_bit(dtype):
    bits = np.random.default_rng(1).integers(0, 256, 6 * ITEMSIZE[dtype], dtype=np.uint8).tobytes()
    array = LazyArray((2, 3), dtype, MemoryStorage(bits))
    assert array.read().dtype == to_numpy(dtype)
    assert array.read().tobytes() == bits
    assert array.nbytes == len(bits)


def test_scalars_and_empty_arrays_keep_their_shape():
    storage = MemoryStorage(b"\0\0\x80?")
    assert LazyArray((), "float32", storage).read().shape == ()
    assert LazyArray((), "float32", storage).item() == 1.0
    assert LazyArray((0, 3), "float32", storage).read().shape == (0, 3)
    assert list(LazyArray((0, 3), "float32", storage).tiles()) == []
    assert LazyArray.from_numpy(np.float32(1)).shape == ()


@pytest.mark.parametrize(
    "window",
    [
        {"offset": -1},
        {"offset": 1},
        {"shape": (2**62,)},
        {"shape": (2**31, 2**31)},
        {"shape": (-1,)},
        {"strides": (8,)},
        {"strides": (-4,)},
        {"strides": (4, 4)},
        {"shape": (1,) * 65},
        {"strides": (2**62,), "shape": (2,)},
    ],
)
def test_windows_outside_of_their_storage_are_refused(window):
    arguments = {"shape": (4,), "dtype": "float32", "storage": MemoryStorage(bytes(16)), **window}
    with pytest.raises(DamagedFileError):
        LazyArray(**arguments)


def test_expansion_is_capped():
    with pytest.raises(LimitError, match="expanded"):
        LazyArray((2**40,), "uint8", MemoryStorage(b"1"), 0, (0,))
    assert LazyArray((1000, 1000), "uint8", MemoryStorage(b"1"), 0, (0, 0))[-1, -1] == ord("1")


def test_unknown_dtypes_are_refused():
    with pytest.raises(UnsupportedError, match="float7"):
        LazyArray((1,), "float7", MemoryStorage(bytes(16)))
    with pytest.raises(UnsupportedError, match="object"):
        LazyArray.from_numpy(np.array([None]))


@pytest.mark.parametrize("dtype", [">f4", ">c8", ">u2", ">c16", "<f8", "|u1"])
def test_byte_order_is_no_part_of_the_dtype(dtype):
    values = np.arange(5).astype(dtype)
    assert np.array_equal(LazyArray.from_numpy(values).read(), values)
    lazy = LazyArray((5,), name_of(values.dtype), MemoryStorage(values.tobytes()))
    read = lazy.byteswapped() if dtype[0] == ">" else lazy
    assert np.array_equal(read.read(), values)
    assert np.array_equal(read[1:3], values[1:3])
    assert np.array_equal(read.elements(2, 5), values[2:5])


def test_arrays_in_pieces_read_as_one():
    whole = np.arange(6 * 8, dtype=np.int16).reshape(6, 8)
    pieces = []
    for rows, columns in itertools.product([(0, 4), (4, 6)], [(0, 3), (3, 8)]):
        part = np.ascontiguousarray(whole[slice(*rows), slice(*columns)])
        pieces.append(Piece(MemoryStorage(part.tobytes()), 0, None, (rows, columns)))
    array = LazyArray.from_pieces((6, 8), "int16", pieces)
    assert np.array_equal(array.read(), whole)
    assert np.array_equal(array[2:5, 1:7:2], whole[2:5, 1:7:2])
    with pytest.raises(DamagedFileError, match="pieces hold"):
        LazyArray.from_pieces((6, 8), "int16", pieces[1:])
    with pytest.raises(DamagedFileError, match="outside of the array"):
        LazyArray.from_pieces((5, 8), "int16", pieces)


def test_checksums_are_checked_before_bytes_are_handed_on(tmp_path):
    data = np.random.default_rng(2).bytes(4096)
    (tmp_path / "a").write_bytes(data)
    good, bad = zlib.crc32(data), zlib.crc32(data) ^ 1
    with Source(tmp_path / "a") as source:
        assert LazyArray((4096,), "uint8", FileStorage(source, 0, 4096, good)).read().tobytes() == data
        assert LazyArray((4096,), "uint8", FileStorage(source, 0, 4096, good))[7] == data[7]
        for read in (lambda a: a.read(), lambda a: a[7], lambda a: list(a.tiles()), lambda a: a.verify()):
            with pytest.raises(DamagedFileError, match="checksum mismatch"):
                read(LazyArray((4096,), "uint8", FileStorage(source, 0, 4096, bad)))
        transposed = LazyArray((64, 64), "uint8", FileStorage(source, 0, 4096, bad), 0, (1, 64))
        with pytest.raises(DamagedFileError, match="checksum mismatch"):
            transposed.read()
    with Source(tmp_path / "a", verify=False) as source:
        assert LazyArray((4096,), "uint8", FileStorage(source, 0, 4096, bad)).read().tobytes() == data


def test_decoders_that_lie_about_the_length_are_caught():
    array = LazyArray((4,), "uint8", DecodedStorage(4, lambda: b"123"))
    with pytest.raises(DamagedFileError, match="decodes to 3 bytes"):
        array.read()


@pytest.mark.parametrize("target", ["bfloat16", "float16", "float64", "float8_e4m3fn"])
def test_casting_rounds_like_numpy(target):
    values = np.random.default_rng(3).standard_normal((50, 7)).astype(np.float32)
    lazy = cast(LazyArray.from_numpy(values), target)
    assert lazy.dtype == target
    assert lazy.read().tobytes() == values.astype(to_numpy(target)).tobytes()
    assert lazy[3:5].tobytes() == values.astype(to_numpy(target))[3:5].tobytes()
    ints = LazyArray.from_numpy(np.arange(3))
    assert cast(ints, target) is ints
