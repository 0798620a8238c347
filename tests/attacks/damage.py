"""Real files cut off at every byte, and with random bytes flipped.

Cut off, a file is refused, or what is missing says nothing and the tree is the whole one. Flipped, it is refused
or still well-formed; where the container carries checksums, nothing of it may differ.
"""

from __future__ import annotations

import functools
import pickle
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ckpt_core import open_checkpoint, save_checkpoint
from tests.attacks.case import EITHER, OPENS, Case
from tests.attacks.containers import tensor, torch_legacy, torch_zip
from tests.attacks.inspecting import BrokenRuleError, well_formed

GOLDEN = Path(__file__).parents[1] / "golden"
FLIPS = 60
TREE = {
    "model": {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(2, np.float16)},
    "epoch": 3,
    "note": "a text",
    "t": (1, None, 2.5),
}


@functools.cache
def samples() -> dict[str, bytes]:
    """Small real files, by file name."""
    found: dict[str, bytes] = {}
    with tempfile.TemporaryDirectory() as folder:
        for to, name in {
            "torch": "torch.pth",
            "pickle": "pickle.pkl",
            "safetensors": "safetensors.safetensors",
            "msgpack": "msgpack.msgpack",
        }.items():
            path = Path(folder) / name
            save_checkpoint(path, TREE, to=to)
            found[name] = path.read_bytes()
    for protocol in (0, 1, 2, 5):
        found[f"numpy{protocol}.pkl"] = pickle.dumps(TREE, protocol)
    body = b"(X\x01\x00\x00\x00w" + tensor() + b"d"
    found["by-hand.pth"] = torch_zip(body)
    found["legacy.pth"] = torch_legacy(
        body.replace(b"X\x03\x00\x00\x00cpuK\x06t", b"X\x03\x00\x00\x00cpuK\x06Nt")
    )
    for name in (
        "pickle/small.pkl.gz",
        "pickle/small.pkl.bz2",
        "pickle/small.pkl.xz",
        "safetensors/numpy.safetensors",
    ):
        path = GOLDEN / name
        if path.exists():
            found[path.name] = path.read_bytes()
    return found


@functools.cache
def digest(name: str) -> str:
    """The digest of a whole sample."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(samples()[name])
        with open_checkpoint(path) as ckpt:
            return well_formed(ckpt.tree)[0]


def same_as(name: str) -> Any:
    def check(tree: Any) -> None:
        found, refused = well_formed(tree)
        if not refused and found != digest(name):
            raise BrokenRuleError("it opens, and not as the tree that was written")

    return check


def cases() -> Iterator[Case]:
    for name in samples():
        digest(name)
        yield Case(f"whole/{name}", _writer(samples()[name]), OPENS, same_as(name))
        yield from _cut(name)
        yield from _flipped(name)


def _writer(content: bytes) -> Any:
    return lambda path: path.write_bytes(content)


def _cut(name: str) -> Iterator[Case]:
    content = samples()[name]
    lengths = (
        range(len(content))
        if len(content) < 1500
        else sorted(random.Random(name).sample(range(len(content)), 400))
    )
    for length in lengths:
        yield Case(f"cut/{length}/{name}", _writer(content[:length]), EITHER, same_as(name), light=True)


def _flipped(name: str) -> Iterator[Case]:
    content = samples()[name]
    rng = random.Random(f"flips of {name}")
    is_checked = name.endswith((".gz", ".bz2", ".xz")) or name == "torch.pth"
    for number in range(FLIPS):
        damaged = bytearray(content)
        for _ in range(rng.choice((1, 1, 1, 4))):
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        check = same_as(name) if is_checked else None
        yield Case(f"flip/{number}/{name}", _writer(bytes(damaged)), EITHER, check, light=True)
