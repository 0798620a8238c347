"""Arrays in compressed chunks that lie side by side: every byte at its place, and each chunk decoded once."""

from __future__ import annotations

import errno
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore
import torch
from ckpt_flax.orbax.ahead import Chunk
from hypothesis import given, settings
from hypothesis import strategies as st

from ckpt_core import arrays, convert, open_checkpoint, scattered
from ckpt_core.arrays import LazyArray, Piece
from ckpt_core.errors import CheckpointError, TargetError
from ckpt_core.scattered import is_scattered, runs
from ckpt_core.storage import DecodedStorage, MemoryStorage
from ckpt_core.writer import FileWriter
from tests.attacks.directories import ZARR3, ZARRAY, leaf, orbax

FORMATS = ["torch", "safetensors", "pickle", "msgpack", "orbax"]
RNG = np.random.default_rng(11)
SHARDS: dict[str, Any] = {
    "name": "sharding_indexed",
    "configuration": {
        "chunk_shape": [50, 1],
        "codecs": [
            {"name": "bytes", "configuration": {"endian": "little"}},
            {"name": "zstd", "configuration": {"level": 1}},
        ],
        "index_codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}],
    },
}
DOCUMENTS = {
    "columns": {**ZARRAY, "chunks": [700, 300], "compressor": {"id": "zstd", "level": 1}},
    "grid": {**ZARRAY, "chunks": [150, 256], "compressor": {"id": "zstd", "level": 1}},
    "gzip": {**ZARRAY, "chunks": [300, 400], "compressor": {"id": "gzip", "level": 1}},
    "blosc": {**ZARRAY, "chunks": [300, 400], "compressor": {"id": "blosc"}},
    "rows": {**ZARRAY, "chunks": [90, 1000], "compressor": {"id": "zstd", "level": 1}},
    "one": {**ZARRAY, "chunks": [700, 1000], "compressor": {"id": "zstd", "level": 1}},
    "zarr 3": {
        **ZARR3,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [400, 300]}},
        "codecs": SHARDS["configuration"]["codecs"],
    },
    "shards": {
        **ZARR3,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [400, 300]}},
        "codecs": [SHARDS],
    },
}


@pytest.fixture(params=DOCUMENTS)
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """An array of 700 x 1000 beside a small one, written by tensorstore; chunks reach beyond its edges."""
    values = RNG.standard_normal((700, 1000), dtype=np.float32)
    document = {**DOCUMENTS[request.param], "shape": values.shape}
    is_3 = document["zarr_format"] == 3
    orbax(
        tmp_path / "run",
        tree={**leaf("w"), **leaf("b")},
        document=document,
        chunk=None,
        metadata={"use_zarr3": is_3},
        files={
            "b/.zarray": {**ZARRAY, "shape": [3], "chunks": [3]},
            "b/0": np.arange(3, dtype=np.float32).tobytes(),
        },
    )
    store = {"driver": "zarr3" if is_3 else "zarr", "kvstore": f"file://{tmp_path}/run/w/"}
    tensorstore.open(store).result().write(values).result()
    np.save(tmp_path / "values.npy", values)
    return tmp_path / "run"


@pytest.mark.parametrize("to", FORMATS)
def test_every_format_gets_each_chunk_once(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str
) -> None:
    decoded: list[str] = []
    decode = Chunk.decode
    for module in (arrays, scattered):
        monkeypatch.setattr(module, "TILE", 1 << 16)
    monkeypatch.setattr(Chunk, "decode", lambda self, room: decoded.append(self.key) or decode(self, room))
    convert(source, tmp_path / "out", to=to)
    assert len(set(decoded)) == len(decoded)
    values = np.load(tmp_path / "values.npy")
    with open_checkpoint(tmp_path / "out") as ckpt:
        assert np.array_equal(ckpt.params["w"].read(), values)
        assert np.array_equal(ckpt.params["b"].read(), np.arange(3, dtype=np.float32))
    if to == "torch":
        loaded = torch.load(tmp_path / "out", weights_only=True)
        assert np.array_equal(loaded["w"].numpy(), values)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_pieces_of_any_grid_are_put_together(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=4), "shape"))
    chunks = tuple(data.draw(st.integers(1, size), "chunk") for size in shape)
    values = RNG.integers(0, 1 << 16, shape, np.uint16)
    pieces = []
    for index in np.ndindex(*(-(-size // chunk) for size, chunk in zip(shape, chunks, strict=True))):
        region = tuple((i * c, min((i + 1) * c, n)) for i, c, n in zip(index, chunks, shape, strict=True))
        part = values[tuple(slice(*pair) for pair in region)]
        if data.draw(st.booleans(), "is filled"):
            part[...] = 7
            pieces.append(Piece(MemoryStorage(np.uint16(7).tobytes()), 0, (0,) * len(shape), region))
        else:
            whole = part.tobytes()
            pieces.append(Piece(DecodedStorage(len(whole), lambda whole=whole: whole), 0, None, region))
    array = LazyArray.from_pieces(shape, "uint16", pieces)
    found = bytearray(array.nbytes)
    for count, parts in runs(array):
        assert count == sum(len(run) for _, run in parts)
        for place, run in parts:
            found[place : place + len(run)] = run
    assert bytes(found) == values.tobytes()
    path = tmp_path_factory.mktemp("runs") / "out"
    with pytest.MonkeyPatch.context() as patch, FileWriter(str(path)) as file:
        patch.setattr(scattered, "TILE", 1)
        patch.setattr(scattered, "_RUN", 0)
        file.write(b"before")
        crc = file.write_array(array, checksum=True)
        file.write(b"after")
    assert path.read_bytes() == b"before" + values.tobytes() + b"after"
    assert crc == zlib.crc32(values.tobytes())


@pytest.mark.parametrize("source", ["columns", "grid"], indirect=True)
def test_damage_and_a_full_disk_leave_nothing(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scattered, "TILE", 1 << 16)
    with open_checkpoint(source) as ckpt:
        assert is_scattered(ckpt.params["w"])
    write = os.pwrite

    def full(fd: int, data: memoryview, position: int) -> int:
        if position > 1 << 21:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(fd, data, position)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(TargetError, match="No space left"):
            convert(source, tmp_path / "out", to="safetensors")
    last = max(name for name in os.listdir(source / "w") if name[0] != ".")
    stored = (source / "w" / last).read_bytes()
    (source / "w" / last).write_bytes(stored[:-3])
    with pytest.raises(CheckpointError, match=f"w/{last}"):
        convert(source, tmp_path / "out", to="safetensors")
    assert sorted(os.listdir(tmp_path)) == ["run", "values.npy"]


def test_an_empty_piece_among_others_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.arange(40, dtype=np.uint8).reshape(4, 10)
    regions = (((0, 4), (0, 6)), ((0, 4), (6, 6)), ((0, 4), (6, 10)))
    parts = [values[tuple(slice(*pair) for pair in region)].tobytes() for region in regions]
    pieces = [
        Piece(DecodedStorage(len(part), lambda part=part: part), 0, None, region)
        for part, region in zip(parts, regions, strict=True)
    ]
    array = LazyArray.from_pieces(values.shape, "uint8", pieces)
    monkeypatch.setattr(scattered, "TILE", 1)
    monkeypatch.setattr(scattered, "_RUN", 0)
    assert is_scattered(array)
    with FileWriter(str(tmp_path / "out")) as file:
        file.write_array(array)
    assert (tmp_path / "out").read_bytes() == values.tobytes()
