"""Chunks that are decoded ahead: forks, threads, an interpreter that ends, memory that is not there."""

from __future__ import annotations

import bz2
import gc
import gzip
import json
import subprocess
import sys
import threading
import time
import weakref
import zlib
from pathlib import Path

import numpy as np
import pytest
import tensorstore
import zstandard
from ckpt_flax.orbax.streams import fill_from_stream
from safetensors.numpy import load_file

from ckpt_core import convert, open_checkpoint
from ckpt_core.dtypes import name_of, to_numpy
from ckpt_core.errors import CheckpointError, LimitError
from tests.attacks.directories import ZARR3, ZARRAY, leaf, orbax

RNG = np.random.default_rng(7)
WEIGHTS = {f"w{index}": RNG.standard_normal((500, 190), dtype=np.float32) for index in range(9)}
ROWS = 120
"""Rows of a chunk; the last one reaches beyond the array."""


def chunked(path: Path, weights: dict[str, np.ndarray] = WEIGHTS) -> Path:
    """Write a directory of plain zarr, each array several chunks of zstd."""
    tree = {key: value for name in weights for key, value in leaf(name).items()}
    files: dict[str, object] = {}
    for name, weight in weights.items():
        document = {
            **ZARRAY,
            "shape": weight.shape,
            "chunks": [ROWS, 190],
            "compressor": {"id": "zstd", "level": 1},
        }
        files[f"{name}/.zarray"] = document
        for index, row in enumerate(range(0, len(weight), ROWS)):
            chunk = np.zeros((ROWS, 190), np.float32)
            chunk[: len(weight) - row] = weight[row : row + ROWS]
            files[f"{name}/{index}.0"] = zstandard.compress(chunk.tobytes(), 1)
    orbax(path, tree=tree, name="unused", files=files)
    return path


def run(script: str, *arguments: object) -> str:
    """Run a script in an interpreter of its own and return what it printed."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.strip()


FORK = """
import os, signal, sys
from ckpt_core import open_checkpoint
with open_checkpoint(sys.argv[1]) as ckpt:
    before = [ckpt.params[f"w{index}"].read().sum() for index in range(9)]
    [ckpt.params[f"w{index}"].read() for index in range(4)]  # so that others are decoded ahead
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        after = [ckpt.params[f"w{index}"].read().sum() for index in range(4, 9)]
        os._exit(0 if after == before[4:] else 1)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""

LATE = """
import sys, threading
def job():
    threading.main_thread().join()  # from here on the interpreter waits for this thread alone
    from ckpt_core import convert
    convert(sys.argv[1], sys.argv[2], to="safetensors")
    print("converted")
threading.Thread(target=job).start()
"""

SMALL_MEMORY = """
import resource, sys
if sys.argv[2] == "without":
    sys.modules["zstandard"] = None
import tensorstore
from ckpt_core import open_checkpoint
from ckpt_core.errors import LimitError
limit = 4 << 30
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
with open_checkpoint(sys.argv[1]) as ckpt:
    try:
        ckpt.params["w"][:1]
    except LimitError as error:
        print(error)
"""


def test_a_forked_process_decodes_with_threads_of_its_own(tmp_path: Path) -> None:
    assert run(FORK, chunked(tmp_path / "run")) == "0"


def test_a_thread_that_outlives_the_main_one_converts(tmp_path: Path) -> None:
    """No thread can be added to those that the interpreter waits for at its end."""
    assert run(LATE, chunked(tmp_path / "run"), tmp_path / "out") == "converted"
    loaded = load_file(tmp_path / "out")
    assert all(np.array_equal(loaded[name], weight) for name, weight in WEIGHTS.items())


def test_conversions_and_slices_at_the_same_time(tmp_path: Path) -> None:
    """Each checkpoint is decoded ahead on its own."""
    first = chunked(tmp_path / "first")
    others = {name: weight + 1 for name, weight in WEIGHTS.items()}
    second = chunked(tmp_path / "second", others)
    failed: list[object] = []

    def read() -> None:
        with open_checkpoint(first) as ckpt:
            for row in range(0, 500, 13):
                for name, weight in WEIGHTS.items():
                    if not np.array_equal(ckpt.params[name][row : row + 5], weight[row : row + 5]):
                        failed.append((name, row))

    jobs = [threading.Thread(target=read)]
    for source, name in ((first, "one"), (second, "two"), (first, "three")):
        jobs.append(
            threading.Thread(target=convert, args=(source, tmp_path / name), kwargs={"to": "safetensors"})
        )
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert not failed
    for name, weights in (("one", WEIGHTS), ("two", others), ("three", WEIGHTS)):
        loaded = load_file(tmp_path / name)
        assert all(np.array_equal(loaded[key], weight) for key, weight in weights.items())


def test_what_was_decoded_ahead_goes_with_the_checkpoint(tmp_path: Path) -> None:
    ckpt = open_checkpoint(chunked(tmp_path / "run"))
    for name in ("w0", "w1", "w2"):
        ckpt.params[name].read()
    chunk = ckpt.params["w3"].pieces[0].storage.decode
    held = weakref.ref(chunk)
    assert chunk.ahead is not None
    ckpt.close()
    del chunk, ckpt
    for _ in range(200):  # a thread that is at work on it holds it until it is done
        gc.collect()
        if held() is None:
            break
        time.sleep(0.05)
    assert held() is None


@pytest.mark.parametrize("zstandard_is", ["there", "without"])
@pytest.mark.parametrize("blocks", [1 << 16, 3 << 17])
def test_a_chunk_beyond_the_memory_is_refused(tmp_path: Path, zstandard_is: str, blocks: int) -> None:
    """Blocks of one byte make 8 and 48 GB of less than 2 MB, and tensorstore would end the process."""
    nbytes = blocks << 17
    block = (1 << 20 | 1 << 1).to_bytes(3, "little") + b"\0"
    last = (1 << 20 | 1 << 1 | 1).to_bytes(3, "little") + b"\0"
    frame = b"\x28\xb5\x2f\xfd\xc0\x38" + nbytes.to_bytes(8, "little") + block * (blocks - 1) + last
    size = [nbytes // 4, 1]
    document = {**ZARRAY, "shape": size, "chunks": size, "compressor": {"id": "zstd", "level": 1}}
    orbax(tmp_path / "run", document=document, chunk=frame)
    assert "does not fit into memory" in run(SMALL_MEMORY, tmp_path / "run", zstandard_is)


SHORT = {
    "all": ["bytes", "zstd"],
    "outer": [{"name": "bytes", "configuration": {"endian": "little"}}, "zstd"],
    "inner": ["bytes", {"name": "zstd", "configuration": {"level": 1}}],
}


@pytest.mark.parametrize("codecs", SHORT.values(), ids=SHORT)
def test_codecs_may_be_their_names_alone(tmp_path: Path, codecs: list[object]) -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    orbax(
        tmp_path / "run",
        document={**ZARR3, "codecs": codecs},
        chunk=zstandard.compress(values.tobytes()),
        metadata={"use_zarr3": True},
    )
    with open_checkpoint(tmp_path / "run") as ckpt:
        assert np.array_equal(ckpt.params["w"].read(), values)


def test_a_bomb_behind_the_name_of_a_codec_is_refused(tmp_path: Path) -> None:
    document = {**ZARR3, "codecs": ["bytes", "gzip"]}
    packer = zlib.compressobj(9, wbits=31)
    bomb = packer.compress(bytes(100 << 20)) + packer.flush()
    orbax(tmp_path / "run", document=document, chunk=bomb, metadata={"use_zarr3": True})
    with open_checkpoint(tmp_path / "run") as ckpt, pytest.raises(LimitError, match="unpacks to"):
        ckpt.params["w"].read()


@pytest.mark.parametrize(
    "codecs",
    [[None], ["bytes", 3], [{"name": ["bytes"]}], ["bytes", {"name": "zstd", "configuration": None}]],
)
def test_codecs_that_are_none_are_refused(tmp_path: Path, codecs: list[object]) -> None:
    orbax(tmp_path / "run", document=json.loads(json.dumps({**ZARR3, "codecs": codecs})))
    with pytest.raises(CheckpointError, match=r"codec has no name|is not an object"):
        open_checkpoint(tmp_path / "run").params["w"].read()


STREAMS = {
    "gzip": lambda data: gzip.compress(data, 1),
    "zlib": lambda data: zlib.compress(data, 1),
    "bz2": lambda data: bz2.compress(data, 1),
}


@pytest.mark.parametrize("codec", STREAMS)
def test_a_stream_unpacks_piece_by_piece(codec: str) -> None:
    """What is cut off, followed by anything, damaged, longer or shorter is left to tensorstore."""
    for content in (b"x", bytes(3 << 20), RNG.bytes(700_000), bytes(1 << 20) + RNG.bytes(300_000)):
        packed = STREAMS[codec](content)

        def filled(stored: bytes, nbytes: int = len(content)) -> memoryview | None:
            room = memoryview(bytearray(nbytes))
            read = lambda at, count: stored[at : at + count]  # noqa: E731
            return room if fill_from_stream(codec, read, len(stored), room) else None

        assert filled(packed) == content
        for bad in (packed[:-1], packed[: len(packed) // 2], packed + b"x", packed + packed, b""):
            assert filled(bad) is None
        damaged = bytearray(packed)
        damaged[len(packed) // 2] ^= 0x10
        assert filled(bytes(damaged)) in (None, content)  # a bit that pads means nothing
        assert filled(packed, len(content) + 1) is None
        assert filled(packed, len(content) - 1) is None


@pytest.mark.parametrize(
    "dtype", ["bfloat16", "float8_e4m3fn", "float8_e5m2", "<f4", "<i8", "|b1", "<c8", ">f4"]
)
@pytest.mark.parametrize("codec", ["zstd", *STREAMS, "blosc"])
def test_chunks_are_what_tensorstore_makes_of_them(tmp_path: Path, dtype: str, codec: str) -> None:
    """Tensorstore writes them, with edges; those in another byte order, or in blosc, it also decodes."""
    neutral = name_of(np.dtype(dtype)) if dtype[0] in "<>|" else dtype
    kind = to_numpy(neutral)
    values = RNG.integers(0, 2 if neutral == "bool" else 250, (70, 5 * kind.itemsize), np.uint8).view(kind)
    document = {
        **ZARRAY,
        "shape": values.shape,
        "chunks": (16, 3),
        "dtype": dtype,
        "compressor": {"id": codec},
    }
    orbax(tmp_path / "run", document=document, chunk=None)
    store = {"driver": "zarr", "kvstore": f"file://{tmp_path}/run/w/"}
    tensorstore.open(store).result().write(values).result()
    with open_checkpoint(tmp_path / "run") as ckpt:
        assert ckpt.params["w"].read().tobytes() == values.tobytes()
        assert ckpt.params["w"][15:40, 1:4].tobytes() == values[15:40, 1:4].tobytes()
