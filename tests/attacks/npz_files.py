"""Damaged and hostile `.npz` files, for the backend of the example: core's ZIP and `.npy` readers from outside."""

from __future__ import annotations

import importlib
import io
import random
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ckpt_core import open_checkpoint
from ckpt_core.registry import Plugin, registry
from tests.attacks.case import EITHER, OPENS, REFUSED, Case, data
from tests.attacks.inspecting import BrokenRuleError, well_formed

EXAMPLE = Path(__file__).parents[2] / "examples" / "third_party_backend"
HUGE = 1 << 62


def register() -> None:
    """Let this process know the example, as its entry point would."""
    if any(backend.name == "npz" for _, backend in registry().backends):
        return
    sys.path.append(str(EXAMPLE))
    registry().add(Plugin("npz_example", "ckpt-npz-example"), importlib.import_module("ckpt_npz_example"))


def npz(*members: tuple[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, compression)
    return out.getvalue()


def npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def header(text: str, content: bytes = bytes(24), version: bytes = b"\1\0") -> bytes:
    """A `.npy` file with any text as its header."""
    padded = text.encode("latin-1")
    padded += b" " * (-(len(padded) + 11) % 64) + b"\n"
    length = len(padded).to_bytes(2 if version == b"\1\0" else 4, "little")
    return b"\x93NUMPY" + version + length + padded + content


def described(descr: Any = "<f4", order: Any = False, shape: Any = (2, 3)) -> str:
    return f"{{'descr': {descr!r}, 'fortran_order': {order!r}, 'shape': {shape!r}, }}"


GOOD = np.arange(6, dtype=np.float32).reshape(2, 3)


def cases() -> Iterator[Case]:
    register()
    whole = npz(("w.npy", npy(GOOD)), ("b.npy", npy(np.ones(3, ">i2"))))
    digest = _digest_of(whole)

    def same(tree: Any) -> None:
        found, refused = well_formed(tree)
        if not refused and found != digest:
            raise BrokenRuleError("it opens, and not as the tree that was written")

    yield data("npz/whole/a.npz", whole, OPENS, same)
    for length in range(0, len(whole), 4):
        yield Case(f"npz/cut/{length}/a.npz", _writer(whole[:length]), EITHER, same, light=True)
    rng = random.Random("npz")
    for at in range(0, len(whole), 2):
        flipped = bytearray(whole)
        flipped[at] ^= 1 << rng.randrange(8)
        yield Case(f"npz/flip/{at}/a.npz", _writer(bytes(flipped)), EITHER, light=True)
    for name, content in _headers():
        yield data(f"npz/header-{name}/a.npz", npz(("w.npy", content)), REFUSED)
    yield from _archives()


def _writer(content: bytes) -> Any:
    return lambda path: path.write_bytes(content)


def _digest_of(content: bytes) -> str:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.npz"
        path.write_bytes(content)
        with open_checkpoint(path) as ckpt:
            return well_formed(ckpt.tree)[0]


def _headers() -> Iterator[tuple[str, bytes]]:
    """Headers that declare what is not there, or what is no array of numbers."""
    for number, shape in enumerate(
        ((2, 4), (2,), (HUGE,), (HUGE, HUGE), (-2, -3), (2, 3.0), (2, True + 1, 3), [2, 3], "23", (1,) * 100 + (6,), (1 << 70,))
    ):  # fmt: skip
        if shape != (2, 2, 3):
            yield f"shape-{number}", header(described(shape=shape))
    for number, descr in enumerate(
        ("|O", "O", "<U1", "|S4", "<M8[ns]", "|V4", "<f3", "f400", [("a", "<f4")], "<f4,<f4", "no", 4, None, ("<f4", (2,)), "<c4", "(2,)<f4")
    ):  # fmt: skip
        yield f"descr-{number}", header(described(descr=descr))
    for number, text in enumerate(
        (
            "", "{}", "[]", "1", "{'descr': '<f4'}", "{'descr': '<f4', 'fortran_order': 2, 'shape': (2, 3)}", "x" * 60_000,
            "__import__('os').system('touch ckpt-attack-canary')", "{'descr': __import__('os'), 'fortran_order': False, 'shape': ()}",
            "(" * 5000, "{" * 5000, "-" * 5000 + "1", "{'descr': '<f4', 'fortran_order': False, 'shape': (" + "9" * 5000 + ",)}", "\0", "{'descr': '<f4'\n",
        )
    ):  # fmt: skip
        yield f"text-{number}", header(text)
    for number, raw in enumerate(
        (
            b"", b"\x93NUMPY", b"\x93NUMPY\1\0", b"\x93NUMPY\1\0\xff\xff{}", b"\x93NUMPY\2\0\xff\xff\xff\xff{}", b"\x93NUMPY\x09\0\0\0", b"\x93NUMPX\1\0\2\0{}",
            npy(GOOD)[:-1], npy(GOOD) + b"x", npy(GOOD)[:80],
        )
    ):  # fmt: skip
        yield f"raw-{number}", raw
    yield "version-2", header(described(shape=(7, 7)), version=b"\2\0")


def _archives() -> Iterator[Case]:
    """Archives whose members are the trick."""
    member = npy(GOOD)
    yield data("npz/deflated/a.npz", npz(("w.npy", member), compression=zipfile.ZIP_DEFLATED), OPENS)
    yield data("npz/bzip2/a.npz", npz(("w.npy", member), compression=zipfile.ZIP_BZIP2), REFUSED)
    yield data("npz/lzma/a.npz", npz(("w.npy", member), compression=zipfile.ZIP_LZMA), REFUSED)
    yield data("npz/version-3/a.npz", npz(("w.npy", header(described(), version=b"\3\0"))), OPENS)
    yield data("npz/big-endian/a.npz", npz(("w.npy", npy(GOOD.astype(">f8")))), OPENS)
    yield data("npz/fortran/a.npz", npz(("w.npy", npy(np.asfortranarray(GOOD)))), OPENS)
    yield data("npz/empty-huge/a.npz", npz(("w.npy", header(described(shape=(0, HUGE)), b""))), EITHER)
    yield data("npz/empty/a.npz", npz(), EITHER)
    yield data("npz/objects/a.npz", npz(("w.npy", npy(np.array([{"a": 1}, None])))), REFUSED)
    yield data("npz/two-for-one/a.npz", npz(("w.npy", member), ("%77.npy", member)), REFUSED)
    for name in ("../w.npy", "/etc/w.npy", "a\\b.npy", ".npy", "a/../../w.npy", "w.npy/x.npy"):
        yield data(f"npz/name-{name.encode().hex()}/a.npz", npz((name, member)), EITHER)
    for number, text in enumerate(
        (b"", b"[]", b"{", b"nan", b"{" * 5000, b'{"ckpt_core": 1}', b'{"ckpt_core": "{}"}', b"\xff")
    ):
        yield data(
            f"npz/attributes-{number}/a.npz", npz(("w.npy", member), ("attributes.json", text)), EITHER
        )
    bomb = header(described(descr="|u1", shape=(1 << 27,)), bytes(1 << 27))
    yield data("npz/bomb/a.npz", npz(("w.npy", bomb), compression=zipfile.ZIP_DEFLATED), EITHER)
    with_header = header(described(descr="|u1", shape=(HUGE,)), b"")
    yield data("npz/declared/a.npz", npz(("w.npy", with_header)), REFUSED)
