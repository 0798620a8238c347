"""Damaged and hostile Orbax directories, links, and files that are no regular files."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.attacks import opcodes as op
from tests.attacks.case import EITHER, OPENS, REFUSED, Case
from tests.attacks.containers import FLOATS, safetensors

HUGE = 1 << 62
GOLDEN = Path(__file__).parents[1] / "golden"
ZARRAY: dict[str, Any] = {
    "zarr_format": 2, "shape": [2, 3], "chunks": [2, 3], "dtype": "<f4", "order": "C", "compressor": None, "filters": None,
    "fill_value": None, "dimension_separator": ".",
}  # fmt: skip
ZARR3: dict[str, Any] = {
    "zarr_format": 3, "node_type": "array", "shape": [2, 3], "data_type": "float32", "fill_value": 0,
    "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [2, 3]}},
    "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
    "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
}  # fmt: skip


def leaf(*names: Any, value_type: Any = "np.ndarray", **more: Any) -> dict[str, Any]:
    keys = [{"key": name, "key_type": 2} for name in names]
    return {
        str(tuple(names)): {
            "key_metadata": keys,
            "value_metadata": {"value_type": value_type, "skip_deserialize": False},
            **more,
        }
    }


def orbax(
    path: Path,
    *,
    tree: Any = None,
    document: Any = None,
    chunk: bytes | None = FLOATS,
    files: dict[str, Any] | None = None,
    metadata: dict[str, Any] | bytes | None = None,
    name: str = "w",
) -> None:
    """Write a directory of plain zarr with one array; every part can be replaced."""
    path.mkdir()
    whole = {
        "tree_metadata": leaf("w") if tree is None else tree, "use_ocdbt": False, "use_zarr3": False,
        "store_array_data_equal_to_fill_value": True, "custom_metadata": None, **(metadata if isinstance(metadata, dict) else {}),
    }  # fmt: skip
    _write(path / "_METADATA", metadata if isinstance(metadata, bytes) else whole)
    _write(
        path / "_CHECKPOINT_METADATA",
        {"item_handlers": "x", "commit_timestamp_nsecs": 1, "custom_metadata": {}},
    )
    (path / name).mkdir()
    document = ZARRAY if document is None else document
    is_3 = isinstance(document, dict) and document.get("zarr_format") == 3
    _write(path / name / ("zarr.json" if is_3 else ".zarray"), document)
    if chunk is not None:
        at = path / name / ("c/0/0" if is_3 else "0.0")
        at.parent.mkdir(exist_ok=True, parents=True)
        at.write_bytes(chunk)
    for file, content in (files or {}).items():
        _write(path / file, content)


def _write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())


def cases() -> Iterator[Case]:
    for name, expect, parts in _orbax():
        yield Case(f"orbax/{name}", lambda path, parts=parts: orbax(path, **parts), expect)
    yield from _links()
    yield from _special_files()
    yield from _odd_directories()
    yield from _ocdbt()


def _orbax() -> Iterator[tuple[str, str, dict[str, Any]]]:
    yield "good", OPENS, {}
    yield "good-3", OPENS, {"document": ZARR3, "metadata": {"use_zarr3": True}}
    for version, base in (("2", ZARRAY), ("3", ZARR3)):
        for key in base:
            for kind, value in (
                ("none", None),
                ("number", -1),
                ("text", "x"),
                ("list", [[]]),
                ("object", {}),
                ("huge", HUGE),
            ):
                yield f"zarr{version}-{key}-{kind}", EITHER, {"document": {**base, key: value}}
            yield (
                f"zarr{version}-{key}-missing",
                EITHER,
                {"document": {k: v for k, v in base.items() if k != key}},
            )
        yield f"zarr{version}-shape-differs", REFUSED, {"document": {**base, "shape": [2, 3, 1]}}
    for number, (shape, chunks) in enumerate(
        (
            ([2, 3], [0, 3]), ([2, 3], [-1, 3]), ([2, 3], [HUGE, 3]), ([HUGE], [1]), ([HUGE], [HUGE]), ([1 << 40], [1]), ([1 << 31, 1 << 31], [1, 1]),
            ([2, 3], [1, 3]), ([4, 3], [2, 3]), ([2.0, 3], [2, 3]), ([True, 3], [2, 3]), ([-2, 3], [2, 3]), ([1 << 64], [1 << 64]), ([1] * 100, [1] * 100),
            ([2, 3], [2, 3, 1]), ([1 << 22], [1]), ([100, 3], [100, 3]), (["2", 3], [2, 3]), ([10**30, 0], [1, 1]),
        )
    ):  # fmt: skip
        yield (
            f"sizes-{number}",
            EITHER if number in (10, 18) else REFUSED,
            {"document": {**ZARRAY, "shape": shape, "chunks": chunks}},
        )
    yield "sizes-empty-huge", EITHER, {"document": {**ZARRAY, "shape": [0, HUGE], "chunks": [1, 1]}}
    for number, dtype in enumerate(
        (
            "O",
            "|O",
            "<O8",
            "<f5",
            "<f3",
            "f4",
            "<M8[ns]",
            "|V4",
            "<U1",
            "|S4",
            [["a", "<f4"]],
            {"x": 1},
            "<f400",
            "float32",
            "bfloat16",
            "int4",
            "uint4",
            ">f4",
            "|f4",
            "=f4",
            "<i8",
            "<c16",
            "",
        )
    ):
        yield f"dtype-{number}", EITHER, {"document": {**ZARRAY, "dtype": dtype}}
    for number, compressor in enumerate(
        (
            {"id": "zstd", "level": 1},
            {"id": "blosc"},
            {"id": "gzip", "level": 99},
            {"id": "zlib", "level": 1},
            {"id": "os.system"},
            {"id": 7},
            [],
            "zstd",
            1,
            {"id": "bz2", "level": 1},
        )
    ):
        yield (
            f"compressor-{number}",
            REFUSED if number != 6 else EITHER,
            {"document": {**ZARRAY, "compressor": compressor}},
        )
    yield "filters", EITHER, {"document": {**ZARRAY, "filters": [{"id": "delta", "dtype": "<f4"}]}}
    for number, codecs in enumerate(
        (
            [], [{}], [{"name": "os.system"}], ["bytes"], [{"name": "bytes"}, {"name": "gzip", "configuration": {"level": 1}}], [{"name": "bytes"}, {"name": "crc32c"}],
            [{"name": "transpose", "configuration": {"order": [5, 6]}}, {"name": "bytes"}], [{"name": "bytes", "configuration": {"endian": "middle"}}],
            [{"name": "sharding_indexed", "configuration": {"chunk_shape": [HUGE, 1], "codecs": [{"name": "bytes"}], "index_codecs": [{"name": "bytes"}]}}],
            [{"name": "bytes"}] * 1000,
        )
    ):  # fmt: skip
        yield (
            f"codecs-{number}",
            EITHER if number in (0, 3) else REFUSED,
            {"document": {**ZARR3, "codecs": codecs}},
        )
    yield "chunk-missing", REFUSED, {"chunk": None}
    yield "chunk-missing-3", REFUSED, {"chunk": None, "document": ZARR3}
    for cut in (b"", FLOATS[:-1], FLOATS + b"x"):
        yield f"chunk-{len(cut)}", REFUSED, {"chunk": cut}
        yield f"chunk-3-{len(cut)}", REFUSED, {"chunk": cut, "document": ZARR3}
    yield "chunk-is-a-folder", REFUSED, {"chunk": None, "files": {"w/0.0/x": b""}}
    for number, text in enumerate(
        (
            b"",
            b"{",
            b"[]",
            b"null",
            b"[" * 100_000,
            b'{"a":' * 100_000,
            b"\xff",
            b'{"shape": NaN}',
            b'{"zarr_format": 2, "zarr_format": 2}',
            bytes(2 << 20),
        )
    ):
        yield f"document-{number}", REFUSED, {"document": text}
        yield f"metadata-{number}", REFUSED, {"metadata": text}
    for number, tree in enumerate(
        (
            [], 7, "x", {"x": 1}, {"('w',)": None}, {"('w',)": {}}, {"('w',)": {"key_metadata": 7}}, {"('w',)": {"key_metadata": [7], "value_metadata": {}}},
            {"('w',)": {"key_metadata": [{"key": 7, "key_type": 2}], "value_metadata": {"value_type": "np.ndarray"}}},
            {"('w',)": {"key_metadata": [{"key": "w", "key_type": 99}], "value_metadata": {"value_type": "np.ndarray"}}},
            {"('w',)": {"key_metadata": [{"key": "w", "key_type": "2"}], "value_metadata": {"value_type": "np.ndarray"}}},
            {"('w',)": {"key_metadata": [{"key": str(HUGE), "key_type": 1}], "value_metadata": {"value_type": "np.ndarray"}}},
            {"('w',)": {"key_metadata": [{"key": "-1", "key_type": 1}], "value_metadata": {"value_type": "np.ndarray"}}},
            {"('w',)": {"key_metadata": [{"key": "9" * 10_000, "key_type": 1}], "value_metadata": {"value_type": "np.ndarray"}}},
            leaf("w", value_type=7), leaf("w", value_type="os.system"), leaf("w", value_type="scalar"), leaf("w", value_type="string"), leaf("w", value_type="None"), leaf("v"),
            leaf("w", "x"), {**leaf("w"), **leaf("w", "x")}, leaf(".."), leaf("..", "..", "x"), leaf("/etc/passwd"), leaf("../../x"), leaf("w/../w"), leaf(""), leaf("."), leaf("\0"), leaf("a\\b"),
            leaf(*["x"] * 5000), {**leaf("w", value_type="Dict"), **leaf("w", "x")}, {"('w',)": leaf("w")["('w',)"], "(w)": leaf("w")["('w',)"]},
        )
    ):  # fmt: skip
        yield f"tree-{number}", EITHER, {"tree": tree}
    for key in ("use_ocdbt", "use_zarr3", "store_array_data_equal_to_fill_value", "custom_metadata"):
        for kind, value in (
            ("none", None),
            ("true", True),
            ("number", 7),
            ("text", "x"),
            ("list", []),
            ("object", {"ckpt_core": "{"}),
            ("deep", {"ckpt_core": "[" * 50_000}),
        ):
            yield f"{key}-{kind}", EITHER, {"metadata": {key: value}}
    for number, strings in enumerate((b"{", [], {"w": 7}, {"s": "x"}, {"w": "x"}, b"[" * 100_000)):
        yield (
            f"strings-{number}",
            EITHER,
            {"files": {"_strings.json": strings}, "tree": leaf("w", value_type="string")},
        )
    yield "sharding", EITHER, {"files": {"_sharding": {"dw==": "{"}}}
    yield "sharding-odd", EITHER, {"files": {"_sharding": b"\xff"}}
    yield "checkpoint-metadata", EITHER, {"files": {"_CHECKPOINT_METADATA": b"["}}
    yield "array-metadatas", EITHER, {"files": {"array_metadatas/process_0": b"{"}}
    yield "manifest-too", EITHER, {"files": {"manifest.ocdbt": b"garbage"}}
    bomb = _zstd_bomb()
    if bomb:
        yield (
            "chunk-bomb",
            REFUSED,
            {
                "document": {
                    **ZARRAY,
                    "compressor": {"id": "zlib", "level": 1},
                    "shape": [1 << 36],
                    "chunks": [1 << 36],
                },
                "chunk": bomb,
            },
        )
    yield (
        "chunk-lies",
        REFUSED,
        {"document": {**ZARRAY, "compressor": {"id": "zlib", "level": 1}}, "chunk": bomb},
    )


def _zstd_bomb() -> bytes:
    import zlib

    return zlib.compress(bytes(1 << 20), 9)


def _links() -> Iterator[Case]:
    def linked(name: str, target: str) -> Callable[[Path], None]:
        def make(path: Path) -> None:
            orbax(path)
            place = path / name
            if place.is_dir():
                shutil.rmtree(place)
            else:
                place.unlink(missing_ok=True)
            place.symlink_to(target)

        return make

    for name in ("w", "w/0.0", "w/.zarray", "_METADATA"):
        for number, target in enumerate(
            (
                "/etc/passwd",
                "/etc",
                "..",
                "../..",
                "/",
                "/dev/zero",
                "/proc/self/environ",
                "nowhere",
                name.rpartition("/")[2],
            )
        ):
            expect = REFUSED if name != "_METADATA" else EITHER
            yield Case(f"links/{name.replace('/', '-')}-{number}", linked(name, target), expect)

    def hub(path: Path) -> None:
        """The form of a hub cache: the snapshot links to blobs beside it, which is followed."""
        blobs, snapshot = path / "blobs", path / "snapshots" / "abc"
        blobs.mkdir(parents=True)
        snapshot.mkdir(parents=True)
        header = {"w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}
        (blobs / "0123").write_bytes(safetensors(header, FLOATS))
        _write(blobs / "4567", {"weight_map": {"w": "a.safetensors"}})
        (snapshot / "a.safetensors").symlink_to("../../blobs/0123")
        (snapshot / "model.safetensors.index.json").symlink_to("../../blobs/4567")

    def hub_snapshot(path: Path) -> None:
        hub(path.parent / "cache")
        path.symlink_to(path.parent / "cache" / "snapshots" / "abc")

    def hub_out(path: Path) -> None:
        hub_snapshot(path)
        (path / "a.safetensors").unlink()
        (path.parent / "outside").write_bytes(b"secret")
        (path / "a.safetensors").symlink_to("../../blobs/../../outside")

    yield Case("links/hub", hub_snapshot, OPENS)
    yield Case("links/hub-out", hub_out, REFUSED)

    def link_to_file(path: Path) -> None:
        (path.parent / "real.pkl").write_bytes(op.pickled(op.value({"a": 1})))
        path.symlink_to("real.pkl")

    yield Case("links/file", link_to_file, OPENS)
    yield Case("links/itself", lambda path: path.symlink_to(path.name), REFUSED)
    yield Case("links/dangling", lambda path: path.symlink_to("nowhere"), REFUSED)


def _special_files() -> Iterator[Case]:
    def bind(path: Path) -> None:
        here = os.getcwd()
        os.chdir(path.parent)  # the address of a socket is short
        with socket.socket(socket.AF_UNIX) as unix:
            unix.bind(path.name)
        os.chdir(here)

    yield Case("special/fifo", os.mkfifo, REFUSED)
    yield Case("special/socket", bind, REFUSED)
    for device in ("zero", "null", "urandom", "full", "tty"):
        yield Case(
            f"special/{device}", lambda path, device=device: path.symlink_to(f"/dev/{device}"), REFUSED
        )
    yield Case("special/proc", lambda path: path.symlink_to("/proc/self/mem"), REFUSED)
    yield Case("special/nothing", lambda path: None, REFUSED)
    yield Case("special/empty", lambda path: path.write_bytes(b""), REFUSED)

    def sparse(path: Path) -> None:
        path.write_bytes(b"\x80\x04")
        os.truncate(path, 1 << 40)

    yield Case("special/terabyte", sparse, REFUSED)

    def inside(name: str) -> Callable[[Path], None]:
        def make(path: Path) -> None:
            orbax(path)
            (path / name).unlink(missing_ok=True)
            os.mkfifo(path / name)

        return make

    for name in (
        "w/0.0",
        "w/.zarray",
        "_METADATA",
        "_CHECKPOINT_METADATA",
        "_strings.json",
        "_sharding",
        "other",
    ):
        expect = REFUSED if name in ("w/0.0", "w/.zarray") else EITHER
        yield Case(f"special/fifo-{name.replace('/', '-')}", inside(name), expect)

    def only_fifo(path: Path) -> None:
        path.mkdir()
        os.mkfifo(path / "a.pth")

    yield Case("special/folder-of-a-fifo", only_fifo, REFUSED)


def _odd_directories() -> Iterator[Case]:
    yield Case("folders/empty", lambda path: path.mkdir(), REFUSED)

    def deep(path: Path) -> None:
        (path / "/".join(["0"] * 500)).mkdir(parents=True)
        _write(path / "_CHECKPOINT_METADATA", {})

    def steps_in_steps(path: Path) -> None:
        place = path
        for _ in range(60):
            place.mkdir(exist_ok=True)
            _write(place / "_CHECKPOINT_METADATA", {"item_handlers": {"1": "x"}})
            place /= "1"

    def looped(path: Path) -> None:
        orbax(path)
        (path / "again").symlink_to(".")

    def many(path: Path) -> None:
        path.mkdir()
        for number in range(3000):
            (path / f"{number}").mkdir()
        _write(path / "_CHECKPOINT_METADATA", {})

    def unfinished(path: Path) -> None:
        path.mkdir()
        orbax(path / "1.orbax-checkpoint-tmp")

    for name, make in {
        "deep": deep,
        "steps-in-steps": steps_in_steps,
        "looped": looped,
        "many": many,
        "unfinished": unfinished,
    }.items():
        yield Case(f"folders/{name}", make, EITHER)


def _ocdbt() -> Iterator[Case]:
    """A golden OCDBT directory with one of its files damaged."""
    golden = GOLDEN / "orbax" / "0.12.8_keys_ocdbt"
    names = sorted(
        str(path.relative_to(golden)) for path in golden.rglob("*") if path.is_file() and path.stat().st_size
    )
    rng = np.random.default_rng(5)

    def damaged(name: str, change: Callable[[bytes], bytes | None]) -> Callable[[Path], None]:
        def make(path: Path) -> None:
            shutil.copytree(golden, path)
            content = change((golden / name).read_bytes())
            if content is None:
                (path / name).unlink()
            else:
                (path / name).write_bytes(content)

        return make

    for number, name in enumerate(names):
        size = (golden / name).stat().st_size
        changes: list[Callable[[bytes], bytes | None]] = [
            lambda raw: None,
            lambda raw: b"",
            lambda raw: raw[: len(raw) // 2],
            lambda raw: raw[:-1],
            lambda raw: raw + b"x",
        ]
        for at in rng.integers(0, size, 6):
            changes.append(lambda raw, at=int(at): raw[:at] + bytes([raw[at] ^ 0x5A]) + raw[at + 1 :])
        for kind, change in enumerate(changes):
            yield Case(f"ocdbt/{number}-{kind}", damaged(name, change), EITHER)
    yield Case("ocdbt/whole", lambda path: shutil.copytree(golden, path), OPENS)
