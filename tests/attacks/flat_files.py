"""Damaged and hostile safetensors files and indexes, Flax msgpack, and compressed files."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.attacks import opcodes as op
from tests.attacks.case import EITHER, OPENS, REFUSED, Case, data
from tests.attacks.containers import FLOATS, ext, flax_array, mp, safetensors

HUGE = 1 << 62
GOOD = {"w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}


def cases() -> Iterator[Case]:
    for name, expect, content in _headers():
        yield data(f"safetensors/{name}.safetensors", content, expect)
    for name, expect, content in _fields():
        yield data(f"safetensors/{name}.safetensors", content, expect)
    yield from _indexes()
    for name, expect, content in _msgpack():
        yield data(f"msgpack/{name}.msgpack", content, expect)
    for name, expect, content in _compressed():
        yield replace(data(f"compressed/{name}", content, expect), light="bomb" in name)


def _headers() -> Iterator[tuple[str, str, bytes]]:
    raw = json.dumps(GOOD).encode()
    yield "good", OPENS, safetensors(GOOD, FLOATS)
    yield "good-spaces", OPENS, safetensors(raw + b" " * 100, FLOATS)
    yield "good-empty", OPENS, safetensors({})
    yield "good-metadata", OPENS, safetensors({"__metadata__": {"a": "b"}, **GOOD}, FLOATS)
    for length in (
        0,
        1,
        len(raw) - 1,
        len(raw) + 1,
        len(raw) + 24,
        len(raw) + 25,
        1 << 20,
        1 << 27,
        1 << 31,
        HUGE,
        2**63 - 1,
        2**63,
        2**64 - 1,
    ):
        yield f"length-{length}", REFUSED, safetensors(GOOD, FLOATS, length=length)
    yield "length-alone", REFUSED, struct.pack("<Q", 2)
    yield "length-cut", REFUSED, b"\x02\0\0\0"
    for number, text in enumerate(
        (
            b"", b"[]", b"null", b"1", b'"x"', b"{", b"}", b'{"w"}', b'{"w":}', b"{'w': 1}", raw + b"{}", raw[:-1], raw + b"\0", b"\xff" + raw,
            raw.replace(b'"w"', b'"\xff\xfe"'), raw.replace(b'"w"', b'"\\ud800"'), raw.replace(b"24", b"NaN"), raw.replace(b"24", b"Infinity"),
            raw.replace(b"24", b"24.0"), raw.replace(b"24", b"2.4e1"), raw.replace(b"24", b"-24"), raw.replace(b"24", b'"24"'),
            raw.replace(b"24", b"null"), raw.replace(b"24", b"true"), raw.replace(b"24", b"9" * 5000), raw.replace(b"24", b"9" * 4000),
            raw.replace(b"[0, 24]", b"[0]"), raw.replace(b"[0, 24]", b"[0, 24, 24]"), raw.replace(b"[0, 24]", b"{}"), raw.replace(b"[0, 24]", b"24"),
            raw.replace(b"[0, 24]", b"[24, 0]"), raw.replace(b"[0, 24]", b"[-24, 0]"), raw.replace(b"[0, 24]", b"[0, 1e400]"), b"[" * 100_000,
            b'{"a":' * 100_000, b'{"__metadata__":' + b"[" * 50_000 + b"]" * 50_000 + b"}", codecs_bom() + raw, raw.decode().encode("utf-16"),
            raw.replace(b"}}", b'}, "w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}'),
            raw.replace(b'"shape"', b'"shape": [6], "shape"'), b'{"__metadata__": {"a": "b", "a": "c"}, ' + raw[1:],
            b'{"__metadata__": {"a": "b"}, "__metadata__": {}, ' + raw[1:],
        )
    ):  # fmt: skip
        yield f"header-{number}", REFUSED, safetensors(text, FLOATS)
    for number, metadata in enumerate(([], "x", 1, {"a": 1}, {"a": None}, {"a": {}}, {"a": ["b"]})):
        yield f"metadata-{number}", REFUSED, safetensors({"__metadata__": metadata, **GOOD}, FLOATS)
    for number, metadata in enumerate(({"ckpt_core": "{"}, {"ckpt_core": "[]"}, {"ckpt_core": '{"ckpt_core": 99}'}, {"ckpt_core": "[" * 100_000}, *(
        {"ckpt_core": json.dumps(document)} for document in _documents()))):  # fmt: skip
        yield f"document-{number}", EITHER, safetensors({"__metadata__": metadata, **GOOD}, FLOATS)


def codecs_bom() -> bytes:
    return b"\xef\xbb\xbf"


def _documents() -> Iterator[Any]:
    """Core's own description of a tree, with lies in it."""
    deep: Any = {"$array": {}}
    for _ in range(900):
        deep = [deep]
    for tree in (
        None, {}, 1, {"w": {"$array": {}}}, {"w": {"$array": {"name": "v"}}}, {"w": {"$array": {"name": 7}}}, {"w": {"$array": []}}, {"w": {"$array": None}},
        {"a": {"$array": {"name": "w"}}, "b": {"$array": {"name": "w"}}}, {"w": {"$array": {"dtype": "float64"}}}, {"w": {"$array": {"dtype": "x"}}},
        {"w": {"$array": {"lost": True}}}, {"w": {"$alias": ["w"]}}, {"w": {"$alias": "w"}}, {"w": {"$alias": []}}, {"w": {"$alias": 7}}, {"$alias": "nowhere"}, {"$alias": "x"}, {"$alias": ""}, {"$alias": "w"}, {"$alias": "[0]"}, {"$alias": "x/[0]/[0]"},
        {"w": {"$record": "os.system"}}, {"w": {"$record": 7}}, {"w": {"$record": "x", "fields": 1, "args": 2}}, {"w": {"$dict": 1}}, {"w": {"$dict": [1]}},
        {"w": {"$dict": [[{"$dict": []}, 1]]}}, {"w": {"$dict": [["a", 1], ["a", 2]]}}, {"w": {"$tuple": 1}}, {"w": {"$int": "x"}}, {"w": {"$int": 10}},
        {"w": {"$int": "0x" + "f" * 10_000}}, {"w": {"$float": "zz"}}, {"w": {"$float": ""}}, {"w": {"$str": "zz"}}, {"w": {"$bytes": 1}}, {"w": {"$numpy": ["O", "00"]}},
        {"w": {"$numpy": ["<f4", ""]}}, {"w": {"$numpy": [1, 2]}}, {"w": {"$numpy": ["V1000000000", ""]}}, {"w": {"$scalar": ["float32", "00"]}}, {"w": {"$scalar": 1}},
        {"w": {"$scalar": ["x", "00"]}}, {"w": {"$set": [[]]}}, {"w": {"$set": 1}}, {"w": {"$set": [{"$dict": []}]}}, {"w": {"$datetime": "x"}}, {"w": {"$path": 1}},
        {"w": {"$path": ["x"] * 10}}, {"w": {"$global": 1}}, {"w": {"$unknown": 1}}, {"w": {"$": 1}}, {"w": {"$complex": [1]}}, {"w": {"$complex": "x"}}, deep, [[]] * 100,
    ):  # fmt: skip
        yield {"ckpt_core": 1, "tree": tree}
        yield {"ckpt_core": 1, "tree": {"w": {"$array": {}}, "x": tree}}
    for more in (
        {"tied": 1},
        {"tied": [["w", "v"]]},
        {"tied": [[1]]},
        {"copies": 1},
        {"copies": ["w"]},
        {"copies": [1]},
        {"attributes": 1},
        {"attributes": {"a": []}},
    ):
        yield {"ckpt_core": 1, "tree": {"w": {"$array": {}}}, **more}


def _fields() -> Iterator[tuple[str, str, bytes]]:
    def one(body: bytes = FLOATS, **fields: Any) -> bytes:
        return safetensors({"w": {**GOOD["w"], **fields}}, body)

    for shape in ([3, 2], [6], [1] * 60 + [6]):
        yield f"shape-right-{len(shape)}-{shape[0]}", OPENS, one(shape=shape)
    for number, shape in enumerate(
        (
            [], [5], [7], [-2, -3], [2, -3], [2.0, 3], [True, 6], [None], ["6"], [[6]], {}, "6", None, 6, [HUGE], [1 << 63], [1 << 64], [(1 << 64) + 6],
            [1 << 32, 1 << 32], [1 << 32, 1 << 32, 6], [1 << 61, 8, 6], [1 << 31] * 4, [0], [0, HUGE], [1] * 100 + [6], [10**400],
            [10] * 5000, [0] + [10] * 5000, [9] * 300_000, [10**4000] * 60,
        )
    ):  # fmt: skip
        yield f"shape-{number}", REFUSED, one(shape=shape)
    yield "shape-empty", OPENS, one(b"", shape=[0, 3], data_offsets=[0, 0])
    yield "shape-empty-huge", EITHER, one(b"", shape=[0, HUGE], data_offsets=[0, 0])
    yield "shape-empty-huger", REFUSED, one(b"", shape=[0, HUGE, HUGE], data_offsets=[0, 0])
    for number, offsets in enumerate(
        (
            [0, 23], [0, 25], [1, 25], [24, 24], [24, 48], [0, HUGE], [HUGE, HUGE + 24], [1 << 63, (1 << 63) + 24], [1 << 64, (1 << 64) + 24],
            [-24, 0], [-1, 23], [24, 0], [0.0, 24], [0, True], [False, 24], [None, 24], "ab", None, [], {"0": 0, "1": 24},
        )
    ):  # fmt: skip
        expect = EITHER if offsets == [False, 24] else REFUSED
        yield f"offsets-{number}", expect, one(data_offsets=offsets)
    for number, dtype in enumerate(
        (
            "F31",
            "",
            None,
            7,
            [],
            "f32",
            "O",
            "float32",
            "F32 ",
            "BF16",
            "F64",
            "I8",
            "BOOL",
            "F8_E4M3",
            "U128",
            "x" * 10_000,
            "C64",
            "F4",
            "F6_E2M3",
            "E8M0",
        )
    ):
        yield f"dtype-{number}", REFUSED, one(dtype=dtype)
    yield "dtype-narrow", OPENS, one(dtype="BF16", shape=[2, 6])
    for missing in ("dtype", "shape", "data_offsets"):
        yield (
            f"no-{missing}",
            REFUSED,
            safetensors({"w": {key: value for key, value in GOOD["w"].items() if key != missing}}, FLOATS),
        )
    for number, info in enumerate((None, 1, "x", [], [1, 2, 3], {}, [["dtype", "F32"]])):
        yield f"info-{number}", REFUSED, safetensors({"w": info}, FLOATS)
    yield "extra-field", EITHER, one(extra=1)
    yield "trailing", REFUSED, safetensors(GOOD, FLOATS + b"x")
    yield "missing", REFUSED, safetensors(GOOD, FLOATS[:-1])
    part = {"dtype": "F32", "shape": [3]}
    yield (
        "two",
        OPENS,
        safetensors(
            {"a": {**part, "data_offsets": [0, 12]}, "b": {**part, "data_offsets": [12, 24]}}, FLOATS
        ),
    )
    yield (
        "two-swapped",
        OPENS,
        safetensors(
            {"a": {**part, "data_offsets": [12, 24]}, "b": {**part, "data_offsets": [0, 12]}}, FLOATS
        ),
    )
    yield (
        "two-same",
        REFUSED,
        safetensors(
            {"a": {**part, "data_offsets": [0, 12]}, "b": {**part, "data_offsets": [0, 12]}}, FLOATS[:12]
        ),
    )
    yield (
        "two-overlap",
        REFUSED,
        safetensors(
            {"a": {**part, "data_offsets": [0, 12]}, "b": {**part, "data_offsets": [8, 20]}}, FLOATS[:20]
        ),
    )
    yield (
        "two-hole",
        REFUSED,
        safetensors(
            {"a": {**part, "data_offsets": [0, 12]}, "b": {**part, "data_offsets": [16, 28]}},
            FLOATS + b"abcd",
        ),
    )
    yield "hole-in-front", REFUSED, safetensors({"a": {**part, "data_offsets": [4, 16]}}, FLOATS[:16])
    for name in (
        "",
        ".",
        "..",
        "../x",
        "/",
        "a/b",
        "a\0b",
        "\u202e",
        "x" * 100_000,
        "__metadata__x",
        "a.b",
        "a",
        "__proto__",
        "\x1b[31m",
    ):
        yield f"name-{name.encode()[:10].hex()}-{len(name)}", OPENS, safetensors({name: GOOD["w"]}, FLOATS)
    yield (
        "names-that-nest",
        OPENS,
        safetensors(
            {"a": {**part, "data_offsets": [0, 12]}, "a.b": {**part, "data_offsets": [12, 24]}}, FLOATS
        ),
    )
    yield "name-that-nests-deep", OPENS, safetensors({".".join("a" * 3000): GOOD["w"]}, FLOATS)
    yield (
        "many",
        OPENS,
        safetensors(
            {f"t{n}": {"dtype": "U8", "shape": [1], "data_offsets": [n, n + 1]} for n in range(20_000)},
            bytes(20_000),
        ),
    )


def _indexes() -> Iterator[Case]:
    shard = safetensors(GOOD, FLOATS)

    def made(
        name: str,
        expect: str,
        index: Any,
        files: dict[str, bytes] | None = None,
        links: dict[str, str] | None = None,
    ) -> Case:
        def make(path: Path) -> None:
            path.mkdir()
            for file, content in {"a.safetensors": shard, **(files or {})}.items():
                (path / file).parent.mkdir(parents=True, exist_ok=True)
                (path / file).write_bytes(content)
            for link, target in (links or {}).items():
                (path / link).unlink(missing_ok=True)
                (path / link).symlink_to(target)
            raw = index if isinstance(index, bytes) else json.dumps(index).encode()
            (path / "model.safetensors.index.json").write_bytes(raw)

        return Case(f"index/{name}", make, expect)

    yield made("good", OPENS, {"metadata": {"total_size": 24}, "weight_map": {"w": "a.safetensors"}})
    yield made(
        "link-inside", OPENS, {"weight_map": {"w": "b.safetensors"}}, links={"b.safetensors": "a.safetensors"}
    )
    for number, file in enumerate(
        (
            "../a.safetensors", "/etc/passwd", "/a.safetensors", "./a.safetensors", "x/../a.safetensors", "..", ".", "", "a.safetensors/", "//a.safetensors",
            "missing.safetensors", "a.safetensors\0", "..\\a.safetensors", "C:\\a", "file:///etc/passwd", "~/x", "model.safetensors.index.json", "x" * 5000, 7, None, ["a.safetensors"], {},
        )
    ):  # fmt: skip
        yield made(f"file-{number}", REFUSED, {"weight_map": {"w": file}})
    for number, index in enumerate(
        ([], 1, "x", None, {}, {"weight_map": []}, {"weight_map": None}, {"weight_map": {"v": "a.safetensors"}}, {"metadata": [], "weight_map": {"w": "a.safetensors"}},
         b"", b"{", b"[" * 100_000, b"\xff", b'{"weight_map": {"w": "a.safetensors", "w": "a.safetensors"}}', b'{"weight_map": {"w": "a.safetensors"}, "x": NaN}')
    ):  # fmt: skip
        yield made(f"text-{number}", REFUSED, index)
    yield made("empty-map", EITHER, {"weight_map": {}})
    both = {"weight_map": {"w": "a.safetensors", "v": "b.safetensors"}}
    yield made("in-two-shards", REFUSED, both, {"b.safetensors": shard})
    yield made("shard-is-a-folder", REFUSED, both, {"b.safetensors/x": b""})
    yield made("shard-is-damaged", REFUSED, both, {"b.safetensors": shard[:-1]})
    yield made("shard-is-empty", REFUSED, both, {"b.safetensors": b""})
    yield made("shard-is-a-pickle", REFUSED, both, {"b.safetensors": op.pickled(b"N")})
    outside = {"weight_map": {"w": "b.safetensors"}}
    for name, target in {"passwd": "/etc/passwd", "up": "../../x", "zero": "/dev/zero", "random": "/dev/urandom", "itself": "b.safetensors", "proc": "/proc/self/mem",
                         "folder": "/", "dangling": "nowhere"}.items():  # fmt: skip
        yield made(f"link-{name}", REFUSED, outside, links={"b.safetensors": target})


def _msgpack() -> Iterator[tuple[str, str, bytes]]:
    good = mp({"w": flax_array(), "n": 1})
    yield "good", OPENS, good
    yield "trailing", REFUSED, good + b"\xc0"
    yield "twice", REFUSED, good + good
    for depth in (600, 5000, 500_000):
        yield f"deep-list-{depth}", REFUSED, b"\x81\xa1w" + b"\x91" * depth + b"\xc0"
        yield f"deep-map-{depth}", REFUSED, b"\x81\xa1w" * depth + b"\xc0"
        yield f"deep-cut-{depth}", REFUSED, b"\x81\xa1w" * depth
    for code, width in (
        (0xDC, 2),
        (0xDD, 4),
        (0xDE, 2),
        (0xDF, 4),
        (0xDA, 2),
        (0xDB, 4),
        (0xC5, 2),
        (0xC6, 4),
        (0xC8, 2),
        (0xC9, 4),
        (0xD9, 1),
        (0xC4, 1),
        (0xC7, 1),
    ):
        yield f"length-{code:x}-full", REFUSED, b"\x81\xa1w" + bytes([code]) + b"\xff" * width + b"\x01\x02"
        yield (
            f"length-{code:x}-some",
            REFUSED,
            b"\x81\xa1w" + bytes([code]) + (100).to_bytes(width, "big") + b"\x01\x02",
        )
    yield "many-maps", EITHER, b"\x81\xa1w\xdd\x00\x00\xc3\x50" + b"\x80" * 50_000
    yield "many-arrays", EITHER, b"\x81\xa1w" + b"\xdc\x40\x00" + b"\x90" * 16_384
    yield "never-used", REFUSED, b"\x81\xa1w\xc1"
    yield "text-not-utf8", REFUSED, b"\x81\xa1w\xa2\xff\xfe"
    yield "key-not-utf8", REFUSED, b"\x81\xa2\xff\xfe\xc0"
    yield "key-twice", REFUSED, b"\x82\xa1w\xc0\xa1w\xc0"
    for number, key in enumerate(
        (b"\x90", b"\x80", b"\xc0", b"\x01", b"\xcb\x7f\xf8\0\0\0\0\0\0", b"\xc4\x01a", flax_array().code)
    ):
        yield f"key-{number}", EITHER, b"\x82\xa1w\xc0" + key + b"\xc0"
    for number, shape in enumerate(
        (
            (3, 3),
            (7,),
            (5,),
            (1 << 31,),
            (HUGE,),
            (1 << 32, 1 << 32),
            (2**64 - 1,),
            (0, HUGE),
            (0,),
            (-2, -3),
            (-6,),
            (1,) * 65 + (6,),
            (2.0, 3),
            ("6",),
            (None,),
            (True, 6),
        )
    ):
        yield f"shape-{number}", REFUSED if number not in (7, 15) else EITHER, mp({"w": flax_array(shape)})
    for number, shape in enumerate((6, None, "6", {}, [[6]], 1.5)):
        yield f"shape-odd-{number}", REFUSED, mp({"w": flax_array(shape)})
    for number, dtype in enumerate(
        (
            "float31",
            "",
            "O",
            "object",
            "V4",
            "S4",
            "f4",
            "<f4",
            ">f4",
            "float64",
            "bfloat16",
            "float8_e4m3fn",
            "int4",
            7,
            None,
            [],
            "x" * 2000,
            "float32\0",
            b"float32",
            "M8[ns]",
            "U1",
        )
    ):
        yield f"dtype-{number}", EITHER, mp({"w": flax_array(dtype=dtype)})
    for number, raw in enumerate((b"", FLOATS[:-1], FLOATS + b"x", "text", 7, None, [], "x" * 24)):
        yield f"bytes-{number}", EITHER if number == 7 else REFUSED, mp({"w": flax_array(raw=raw)})
    whole = mp([[2, 3], "float32", FLOATS])
    for number, payload in enumerate(
        (
            b"",
            b"\xc0",
            mp([]),
            mp([[2, 3], "float32"]),
            mp([[2, 3], "float32", FLOATS, 1]),
            mp({}),
            whole + b"x",
            whole[:-1],
            whole[:3],
        )
    ):
        for code in (1, 3):
            yield f"extension-{code}-{number}", REFUSED, mp({"w": ext(code, payload)})
    for length in (0, 5, 10_000, 2**32 - 1):
        yield f"extension-length-{length}", REFUSED, mp({"w": ext(1, whole, length)})
    for code in (0, 4, 5, 127, 128, 255):
        yield f"extension-code-{code}", EITHER, mp({"w": ext(code, b"abc")})
    for number, payload in enumerate(
        (mp([1.0, 2.0]), mp([1.0]), mp([1.0, "x"]), mp(1.0), b"", mp([True, False]), mp([1 << 63, 0]))
    ):
        yield f"complex-{number}", EITHER, mp({"w": ext(2, payload)})
    scalar = [[], "float32", FLOATS[:4]]
    yield "scalar", OPENS, mp({"w": ext(3, mp(scalar))})
    yield "scalar-short", REFUSED, mp({"w": ext(3, mp([[], "float32", b"abc"]))})
    yield "scalar-wide", EITHER, mp({"w": ext(3, mp([[6], "float32", FLOATS]))})
    half = flax_array((3,), raw=FLOATS[:12])

    def chunked(shape: Any, chunks: Any) -> bytes:
        return mp({"w": {"__msgpack_chunked_array__": True, "shape": shape, "chunks": chunks}})

    yield "chunks", OPENS, chunked({"0": 2, "1": 3}, {"0": half, "1": half})
    for number, (shape, chunks) in enumerate(
        (
            ({"0": 3, "1": 3}, {"0": half, "1": half}), ({"0": HUGE}, {"0": half}), ({"0": -2, "1": -3}, {"0": half, "1": half}), ({"1": 6}, {"0": half, "1": half}),
            ({}, {"0": half}), ([2, 3], {"0": half, "1": half}), ({"0": 6}, {"0": half}), ({"0": 6}, {"0": half, "2": half}), ({"0": 6}, {}), ({"0": 6}, {"0": 1, "1": 2}),
            ({"0": 6}, {"0": half, "1": flax_array((6,), "float16", FLOATS[:12])}), ({"0": 6.0}, {"0": half, "1": half}), (None, None), ({"0": "6"}, {"0": half, "1": half}),
            ({"0": 1 << 32, "1": 1 << 32}, {"0": half, "1": half}),
        )
    ):  # fmt: skip
        yield f"chunks-{number}", REFUSED, chunked(shape, chunks)
    for number, text in enumerate(
        ("", "{", "[]", "[" * 100_000, '{"ckpt_core": 7}', '{"ckpt_core": "{"}', '{"a": NaN}')
    ):
        yield f"metadata-{number}", EITHER, b"\x82\xa1w" + mp("ckpt_core:" + text) + b"\xa1w\xc0"
        yield f"metadata-alone-{number}", EITHER, mp({"ckpt_core": "ckpt_core:" + text})
    yield (
        "metadata-thrice",
        REFUSED,
        b"\x83\xa1w" + mp("ckpt_core:{}") + b"\xa1w" + mp("ckpt_core:{}") + b"\xa1w\xc0",
    )
    yield (
        "numbers",
        OPENS,
        mp({"a": 2**63, "b": -(2**63), "c": float("nan"), "d": None, "e": b"", "f": "", "g": {}, "h": []}),
    )


def _compressed() -> Iterator[tuple[str, str, bytes]]:
    good = op.pickled(op.dict_({"w": op.ndarray(FLOATS, (2, 3))}))
    packers = {
        "gz": gzip.compress,
        "bz2": bz2.compress,
        "xz": lzma.compress,
        "zlib": zlib.compress,
        "lzma": lambda raw: lzma.compress(raw, lzma.FORMAT_ALONE),
    }
    for name, pack in packers.items():
        packed = pack(good)
        yield f"good.pkl.{name}", OPENS, packed
        for cut in (1, 4, len(packed) // 2, len(packed) - 20):
            yield f"cut-{cut}.pkl.{name}", REFUSED, packed[:-cut]
        yield f"trailing.pkl.{name}", EITHER, packed + b"trailing"
        yield f"zeros-after.pkl.{name}", EITHER, packed + bytes(1000)
        yield f"two-members.pkl.{name}", EITHER, packed + packed
        yield f"head-only.pkl.{name}", REFUSED, packed[:14]
        yield f"empty-inside.{name}", REFUSED, pack(b"")
        yield f"garbage-inside.{name}", REFUSED, pack(b"this is no checkpoint" * 10)
        yield f"zeros-inside.{name}", REFUSED, pack(bytes(16 << 20))
        yield f"twice.pkl.{name}", EITHER, pack(packed)
        yield f"cut-inside.pkl.{name}", REFUSED, pack(good[:-1])
        for at in (len(packed) // 3, len(packed) // 2, len(packed) - 3):
            damaged = bytearray(packed)
            damaged[at] ^= 0x10
            yield f"flip-{at}.pkl.{name}", REFUSED if name != "lzma" else EITHER, bytes(damaged)
    layers = good
    for _ in range(100):
        layers = gzip.compress(layers)
    yield "hundred-layers.gz", EITHER, layers
    yield "bomb.gz", REFUSED, _gzip_bomb(512)
    yield "bomb-pickle.gz", REFUSED, _gzip_bomb(512, b"\x80\x04B" + struct.pack("<I", 2**31))
    header = bytearray(lzma.compress(good, lzma.FORMAT_ALONE))
    header[1:5] = struct.pack("<I", 2**32 - 1)
    yield "huge-dictionary.lzma", REFUSED, bytes(header)


def _gzip_bomb(megabytes: int, start: bytes = b"") -> bytes:
    deflater = zlib.compressobj(9, zlib.DEFLATED, 31)
    zeros = bytes(1 << 20)
    first = deflater.compress(start)
    block = [deflater.compress(zeros) for _ in range(megabytes)]
    return first + b"".join(block) + deflater.flush()
