"""Inputs of the conformance suite: arrays of every dtype, and files of other formats."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import pickle
import tarfile
import zipfile
import zlib
from collections.abc import Sequence
from typing import Final

import numpy as np

from ckpt_core.arrays import LazyArray
from ckpt_core.dtypes import itemsize, to_numpy

__all__ = ["FOREIGN", "random_array"]

_BITS: Final = {"float4_e2m1fn": 4, "float6_e2m3fn": 6, "float6_e3m2fn": 6}


def random_array(dtype: str, shape: Sequence[int], seed: int = 0) -> LazyArray:
    """Return an array of random bits, NaN payloads included; bool and sub-byte types have valid values only."""
    random = np.random.default_rng(seed)
    shape = tuple(shape)
    if dtype == "bool":
        return LazyArray.from_numpy(random.integers(0, 2, shape).astype(bool))
    if dtype in ("int2", "int4", "uint2", "uint4"):
        low, high = {"int2": (-2, 2), "int4": (-8, 8), "uint2": (0, 4), "uint4": (0, 16)}[dtype]
        return LazyArray.from_numpy(random.integers(low, high, shape).astype(np.int8).astype(to_numpy(dtype)))
    width = itemsize(dtype)
    raw = random.integers(0, 1 << _BITS.get(dtype, 8), (*shape, width)).astype(np.uint8)
    return LazyArray.from_numpy(raw.view(to_numpy(dtype)).reshape(shape))


def _npy() -> bytes:
    file = io.BytesIO()
    np.save(file, np.arange(3))
    return file.getvalue()


def _npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, a=np.arange(3))
    return file.getvalue()


def _zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("readme.txt", "hello")
    return file.getvalue()


def _tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        info = tarfile.TarInfo("readme.txt")
        info.size = 5
        archive.addfile(info, io.BytesIO(b"hello"))
    return file.getvalue()


def _safetensors() -> bytes:
    header = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(4)


_TEXT: Final = b"epoch,loss\n1,0.5\n2,0.25\n"

FOREIGN: Final[dict[str, bytes]] = {
    "text": _TEXT,
    "json": b'{"epoch": 3, "loss": [0.5, 0.25]}\n',
    "html": b"<!DOCTYPE html>\n<html><body>Not Found</body></html>\n",
    "lfs pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n",
    "utf-16": "\ufeffepoch".encode("utf-16-le"),
    "zeros": bytes(4096),
    "ones": b"\xff" * 4096,
    "random": np.random.default_rng(7).bytes(4096),
    "pickle 0": pickle.dumps({"a": [1, 2.5, "x"]}, 0),
    "pickle 2": pickle.dumps({"a": [1, 2.5, "x"]}, 2),
    "pickle 4": pickle.dumps({"a": [1, 2.5, "x"]}, 4),
    "pickle 5": pickle.dumps({"a": [1, 2.5, "x"]}, 5),
    "npy": _npy(),
    "npz": _npz(),
    "zip": _zip(),
    "tar": _tar(),
    "safetensors": _safetensors(),
    "msgpack": b"\x82\xa5epoch\x03\xa4loss\xcb?\xe0\x00\x00\x00\x00\x00\x00",
    "gzip": gzip.compress(_TEXT, mtime=0),
    "bz2": bz2.compress(_TEXT),
    "xz": lzma.compress(_TEXT),
    "zlib": zlib.compress(_TEXT),
    "hdf5": b"\x89HDF\r\n\x1a\n\x00\x00\x00\x00\x00\x08\x08\x00" + bytes(80),
    "png": b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(64),
    "gguf": b"GGUF\x03\x00\x00\x00" + bytes(64),
    "elf": b"\x7fELF\x02\x01\x01" + bytes(64),
    "sqlite": b"SQLite format 3\x00" + bytes(84),
    "zstd": b"(\xb5/\xfd\x04\x00" + bytes(32),
}
"""The first bytes, or small whole files, of formats that are easily taken for one another."""
