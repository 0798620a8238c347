"""Damaged and hostile `.eqx` files, and directories whose JSON files and indexes lie."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tests.attacks.case import EITHER, OPENS, REFUSED, Case, data
from tests.attacks.containers import FLOATS, safetensors

HUGE = 1 << 62
SHARD = {"w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}


def record(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def header(text: str, content: bytes = bytes(24), version: bytes = b"\1\0") -> bytes:
    """A record with any text as its header."""
    padded = text.encode("latin-1")
    padded += b" " * (-(len(padded) + 11) % 64) + b"\n"
    length = len(padded).to_bytes(2 if version == b"\1\0" else 4, "little")
    return b"\x93NUMPY" + version + length + padded + content


def described(descr: object = "<f4", order: object = False, shape: object = (2, 3)) -> str:
    return f"{{'descr': {descr!r}, 'fortran_order': {order!r}, 'shape': {shape!r}, }}"


GOOD = record(np.arange(6, dtype=np.float32).reshape(2, 3))
FILE = b'{"width": 4, "act": "gelu"}\n' + GOOD + record(np.ones(3, np.int16)) + record(np.float64(0.5))


def cases() -> Iterator[Case]:
    yield data("good/settings.eqx", FILE, OPENS)
    yield data("good/plain.eqx", GOOD + GOOD, OPENS)
    yield data("good/one.eqx", GOOD, OPENS)
    yield data("good/empty-arrays.eqx", record(np.zeros((0, 3), np.float32)) * 3, OPENS)
    yield data("good/many.eqx", record(np.float32(1)) * 2000, OPENS)
    for name, expect, content in _headers():
        yield data(f"header/{name}.eqx", GOOD + content, expect)
        yield data(f"header-first/{name}.eqx", content + GOOD, EITHER)
    for name, expect, line in _lines():
        yield data(f"line/{name}.eqx", line + b"\n" + GOOD, expect)
    for end in range(len(FILE)):
        yield data(f"cut/{end}.eqx", FILE[:end], EITHER)
    draw = random.Random(7)
    for number in range(400):
        damaged = bytearray(FILE)
        damaged[draw.randrange(len(FILE))] ^= 1 << draw.randrange(8)
        yield data(f"flip/{number}.eqx", bytes(damaged), EITHER)
    yield from _directories()


def _headers() -> Iterator[tuple[str, str, bytes]]:
    yield "huge", REFUSED, header(described(shape=(HUGE, 3)))
    yield "overflow", REFUSED, header(described(shape=(HUGE, HUGE, HUGE)))
    yield "huge-times-nothing", EITHER, header(described(shape=(0, HUGE)), b"")
    yield "negative", REFUSED, header(described(shape=(-2, -3)))
    yield "negative-dimension", REFUSED, header(described(shape=(2, -3)))
    yield "text-shape", REFUSED, header(described(shape="6"))
    yield "float-shape", REFUSED, header(described(shape=(2.0, 3.0)))
    yield "many-dimensions", REFUSED, header(described(shape=(1,) * 2000))
    yield "one-byte-short", REFUSED, header(described(), bytes(23))
    yield "one-byte-long", REFUSED, header(described(), bytes(25))
    for descr in (
        "|O",
        "<U4",
        "|S3",
        "<M8[s]",
        "|V3",
        "|V0",
        "<f16",
        "<c32",
        "nothing",
        7,
        [("a", "<f4")],
        ("<f4", 2),
    ):
        yield f"dtype-{descr}".replace("/", "_"), REFUSED, header(described(descr))
    yield "version-9", REFUSED, header(described(), version=b"\x09\0")
    yield "version-3", OPENS, header(described(), version=b"\3\0")
    yield "expression", REFUSED, header("__import__('os').system('touch ckpt-attack-canary')")
    yield "deep", REFUSED, header("(" * 9000)
    yield "no-text", REFUSED, b"\x93NUMPY\1\0\0\0"
    yield "length", REFUSED, b"\x93NUMPY\2\0\xff\xff\xff\x7f{"
    yield "zeros", REFUSED, bytes(1000)


def _lines() -> Iterator[tuple[str, str, bytes]]:
    yield "empty-object", OPENS, b"{}"
    yield "nan", OPENS, b'{"a": NaN, "b": -Infinity}'
    yield "twice", OPENS, b'{"a": 1, "a": 2}'
    yield "deep", REFUSED, b'{"a": ' + b"[" * 3000 + b"]" * 3000 + b"}"
    yield "levels", REFUSED, b'{"a": ' + b"[" * 600 + b"]" * 600 + b"}"
    yield "digits", REFUSED, b'{"a": ' + b"9" * 5000 + b"}"
    yield "cut", REFUSED, b'{"a": '
    yield "not-utf8", REFUSED, b'{"a": "\xff"}'
    yield "long", EITHER, b'{"a": "' + b"x" * (1 << 16) + b'"}'


def _directories() -> Iterator[Case]:
    good = safetensors(SHARD, FLOATS)
    index = {"weight_map": {"w": "model-1.safetensors"}}
    yield _directory("json", OPENS, {"model.safetensors": good, "config.json": b'{"a": 1}'})
    yield _directory("json-deep", OPENS, {"model.safetensors": good, "config.json": b"[" * 100_000})
    yield _directory(
        "json-levels", OPENS, {"model.safetensors": good, "config.json": b"[" * 600 + b"]" * 600}
    )
    yield _directory(
        "json-lists", OPENS, {"model.safetensors": good, "config.json": b"[" + b"[]," * 1_000_000 + b"1]"}
    )
    yield _directory("json-digits", OPENS, {"model.safetensors": good, "config.json": b"9" * 100_000})
    yield _directory(
        "json-large", OPENS, {"model.safetensors": good, "config.json": b"[" + b"1," * (9 << 20) + b"1]"}
    )
    yield _directory("json-alone", REFUSED, {"config.json": b"{}"})
    for name, content in _indexes(index):
        files = {"model-1.safetensors": good, "model.safetensors.index.json": content, "config.json": b"{}"}
        yield _directory(f"index-{name}", REFUSED, files)
        yield _directory(
            f"torch-index-{name}", REFUSED, {"a.pkl": b"\x80\x02}.", "pytorch_model.bin.index.json": content}
        )
    many = {"weight_map": {f"w{i}": f"shard-{i}.bin" for i in range(20_000)}}
    yield _directory("index-of-many", REFUSED, {"x.bin.index.json": json.dumps(many).encode()})
    itself = {"weight_map": {"w": "x.bin.index.json"}}
    yield _directory("index-of-itself", REFUSED, {"x.bin.index.json": json.dumps(itself).encode()})
    first, second = ({"weight_map": {"w": f"{name}.bin.index.json"}} for name in "ba")
    files = {"a.bin.index.json": json.dumps(first).encode(), "b.bin.index.json": json.dumps(second).encode()}
    yield _directory("indexes-in-a-ring", REFUSED, files)


def _indexes(index: dict) -> Iterator[tuple[str, bytes]]:
    text = json.dumps(index).encode()
    yield "cut", b'{"weight_map": ' + text[:10]
    yield "list", b'{"weight_map": ["model-1.safetensors"]}'
    yield "numbers", b'{"weight_map": {"w": 1}}'
    yield "outside", b'{"weight_map": {"w": "../../etc/passwd.safetensors"}}'
    yield "absolute", b'{"weight_map": {"w": "/etc/passwd.safetensors"}}'
    yield "absent", b'{"weight_map": {"w": "model-2.safetensors"}}'
    yield "other-name", b'{"weight_map": {"v": "model-1.safetensors"}}'
    yield "nul", b'{"weight_map": {"w": "a\\u0000.safetensors"}}'


def _directory(name: str, expect: str, files: dict[str, bytes]) -> Case:
    def make(path: Path) -> None:
        path.mkdir()
        for file, content in files.items():
            (path / file).write_bytes(content)

    return Case(f"directory/{name}", make, expect)
