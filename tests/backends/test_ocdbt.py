"""OCDBT databases: our parser against tensorstore's own dump of the same bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorstore as ts
from ckpt_flax.orbax import btree, database, dump
from ckpt_flax.orbax.btree import read_manifest, read_node
from ckpt_flax.orbax.crc32c import crc32c
from ckpt_flax.orbax.database import Database

from ckpt_core.errors import DamagedFileError, LimitError, UnsafePathError
from ckpt_core.source import Source

CONFIGS = {
    "as it comes": {},
    "without compression": {"compression": None},
    "many levels": {"max_decoded_node_bytes": 400, "max_inline_value_bytes": 8},
    "all inline": {"max_inline_value_bytes": 1 << 20},
    "levels without compression": {"compression": None, "max_decoded_node_bytes": 300},
}


def write(path: Path, values: dict[str, bytes], config: dict[str, object], batch: int = 50) -> None:
    """Write a database with tensorstore, in several versions."""
    spec = {"driver": "ocdbt", "base": {"driver": "file", "path": f"{path}/"}, "config": config}
    database = ts.KvStore.open(spec).result()
    keys = list(values)
    for start in range(0, max(len(keys), 1), batch):
        with ts.Transaction() as transaction:
            for key in keys[start : start + batch]:
                database.with_transaction(transaction).write(key, values[key]).result()


def some_values(count: int = 160) -> dict[str, bytes]:
    rng = np.random.default_rng(3)
    values = {f"layers.{i}.kernel/0.{i % 3}": rng.bytes(int(rng.integers(0, 60))) for i in range(count)}
    return values | {"": b"at the root", "a/\u00e9\u4e16": b"", "z" * 300: rng.bytes(4000)}


def contents(source: Source) -> dict[str, bytes]:
    found = Database(source)
    values = found.values.items()
    return {key: value if isinstance(value, bytes) else found.read(value) for key, value in values}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=list(CONFIGS))
@pytest.mark.parametrize("by_tensorstore", [False, True])
def test_every_value_of_the_newest_version(
    tmp_path: Path, config: dict[str, object], by_tensorstore: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "has_zstandard", lambda: not by_tensorstore)
    values = some_values()
    write(tmp_path, values, config)
    write(tmp_path, {"layers.0.kernel/0.0": b"written again"}, config)
    with Source(tmp_path) as source:
        assert contents(source) == values | {"layers.0.kernel/0.0": b"written again"}


@pytest.mark.parametrize("by_tensorstore", [False, True])
def test_an_empty_by_hand(tmp_path: Path, by_tensorstore: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "has_zstandard", lambda: not by_tensorstore)
    write(tmp_path, {"a": b"1"}, {})
    spec = {"driver": "ocdbt", "base": {"driver": "file", "path": f"{tmp_path}/"}}
    ts.KvStore.open(spec).result().delete_range(ts.KvStore.KeyRange()).result()
    with Source(tmp_path) as source:
        assert contents(source) == {}


def test_nodes_are_what_tensorstore_makes_of_them(tmp_path: Path) -> None:
    write(tmp_path, some_values(), CONFIGS["many levels"])
    with Source(tmp_path) as source:
        theirs = dump.Dump(source)
        manifest = source.member("manifest.ocdbt")
        data = manifest.read(0, manifest.size)
        root = read_manifest(data)
        assert root == theirs.manifest(data)
        assert root is not None
        heights, stack = set(), [root[1]]
        while stack:
            place = stack.pop()
            file = source.member(place.file.decode())
            data = file.read(place.offset, place.length)
            mine, other = read_node(data, place.base), theirs.node(data, place)
            assert (mine.height, list(mine.entries), mine.children) == (
                other.height,
                list(other.entries),
                other.children,
            )
            heights.add(mine.height)
            stack += [child for _, child in mine.children]
        assert len(heights) > 2


def test_the_checksum_is_the_one_that_zarr_knows() -> None:
    for length in (4, 5, 255, 256, 257, 1000, 70_000, *range((1 << 20) - 1, (1 << 20) + 9), 3_000_000):
        data = np.random.default_rng(length).bytes(length)
        codecs = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
        spec = {
            "driver": "zarr3",
            "kvstore": "memory://",
            "metadata": {
                "shape": [length],
                "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [length]}},
                "data_type": "uint8",
                "codecs": codecs,
            },
        }
        context = ts.Context()
        ts.open(spec, context=context, create=True).result().write(np.frombuffer(data, np.uint8)).result()
        stored = ts.KvStore.open("memory://", context=context).result().read("c/0").result().value
        assert crc32c(data) == int.from_bytes(stored[-4:], "little")


# What is damaged or hostile.


def test_a_flipped_bit_is_found_everywhere(tmp_path: Path) -> None:
    write(tmp_path, some_values(30), {"compression": None, "max_decoded_node_bytes": 500})
    with Source(tmp_path) as source:
        manifest = source.member("manifest.ocdbt")
        data = manifest.read(0, manifest.size)
        root = read_manifest(data)
        assert root is not None
        node = source.member(root[1].file.decode()).read(root[1].offset, root[1].length)
    for whole, read in ((data, read_manifest), (node, lambda data: read_node(data, b""))):
        for position in range(len(whole)):
            flipped = bytearray(whole)
            flipped[position] ^= 1 << position % 8
            with pytest.raises(DamagedFileError):
                read(bytes(flipped))
            with pytest.raises(DamagedFileError):
                read(whole[:position])


def sealed(body: bytes, magic: int) -> bytes:
    """Put the frame of a node around what is in it, with the right length and checksum."""
    head = magic.to_bytes(4, "big") + (len(body) + 18).to_bytes(8, "little") + b"\0\0"
    return head + body + crc32c(head + body).to_bytes(4, "little")


def node(*columns: bytes) -> bytes:
    return sealed(b"".join(columns), 0x0CDB20DE)


NO_FILES = b"\0\0"
HOSTILE = {
    "more entries than bytes": (NO_FILES + b"\xff\xff\xff\xff\x0f", "entries in"),
    "no entries": (NO_FILES + b"\0", "has no entries"),
    "a number without an end": (NO_FILES + b"\xff" * 30, "within a column|early"),
    "a number of more than 64 bits": (NO_FILES + b"\xff" * 9 + b"\x02", "more than 64 bits"),
    "a number of eleven bytes": (NO_FILES + b"\x80" * 10 + b"\1\0", "within a column|more than 64 bits"),
    "an unknown kind": (NO_FILES + b"\1\1a\1\2", "unknown kind"),
    "a value that is not there": (NO_FILES + b"\1\1a\5\0abc", "other lengths"),
    "values left over": (NO_FILES + b"\1\1a\1\0abc", "other lengths"),
    "a file that is not there": (NO_FILES + b"\1\1a\1\1\0\0", "data file 0 of 0"),
    "keys out of order": (NO_FILES + b"\2\0\1\1ba\0\0\0\0", "not in their order"),
    "a key twice": (NO_FILES + b"\2\0\1\1aa\0\0\0\0", "not in their order"),
    "a longer start than the key before": (NO_FILES + b"\2\3\1\1ab\0\0\0\0", "not in their order"),
    "a base longer than its path": (b"\0\1\1\2d", "longer than itself"),
    "more files than bytes": (b"\0\xff\xff\x03", "entries in"),
}


@pytest.mark.parametrize(("body", "reason"), HOSTILE.values(), ids=list(HOSTILE))
def test_nodes_that_contradict_themselves(body: bytes, reason: str) -> None:
    with pytest.raises(DamagedFileError, match=reason):
        list(read_node(node(body), b"").entries)


def test_keys_that_share_their_starts_cannot_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(btree, "MAX_NODE", 1000)
    keys = b"\x80\x01" + b"\x65" * 19 + b"\x65" + b"\1" * 19
    with pytest.raises(LimitError, match="keys of more than 1000 bytes"):
        list(read_node(node(NO_FILES, b"\x14", keys[2:], b"k" * 200), b"").entries)


def by_hand(path: Path, data: bytes, height: int, root: tuple[int, int], file: bytes = b"d") -> Source:
    """Make a database of one data file, whose root is at (offset, length) of it."""
    files = b"\1" + varint(len(file)) + b"\0" + file
    version = b"\1\1" + bytes([height]) + b"\0" + varint(root[0]) + varint(root[1]) + b"\1\1\0" + bytes(8)
    body = bytes(16) + b"\0\0\1\4\0" + files + version + b"\0"
    (path / "manifest.ocdbt").write_bytes(sealed(body, 0x0CDB3A2A))
    (path / "d").write_bytes(data)
    return Source(path)


def interior(height: int, *places: tuple[bytes, int, int]) -> bytes:
    """Make a node of children, each a one-byte key, an offset and a length in the file `d`."""
    keys, offsets, lengths = zip(*places, strict=True)
    count = len(places)
    columns = [b"\0" * (count - 1), b"\1" * count, b"\1" * count, b"".join(keys), b"\0" * count]
    columns += [b"".join(map(varint, offsets)), b"".join(map(varint, lengths)), b"\1" * 3 * count]
    return node(bytes([height]) + b"\1\1\0d" + varint(count), *columns)


LEAF = node(NO_FILES, b"\1\1k\3\0abc")


def test_a_database_by_hand(tmp_path: Path) -> None:
    data = LEAF + interior(1, (b"a", 0, len(LEAF)))
    with by_hand(tmp_path, data, 1, (len(LEAF), len(data) - len(LEAF))) as source:
        assert contents(source) == {"ak": b"abc"}
        assert ts.KvStore.open(f"file://{tmp_path}/|ocdbt:").result().read("ak").result().value == b"abc"


def test_a_node_is_met_once(tmp_path: Path) -> None:
    data = LEAF + interior(1, (b"a", 0, len(LEAF)), (b"b", 0, len(LEAF)))
    with (
        by_hand(tmp_path, data, 1, (len(LEAF), len(data) - len(LEAF))) as source,
        pytest.raises(DamagedFileError, match="met twice"),
    ):
        contents(source)


def test_a_node_that_leads_to_itself(tmp_path: Path) -> None:
    length = len(interior(1, (b"a", 0, 99)))
    with (
        by_hand(tmp_path, interior(1, (b"a", 0, length)), 1, (0, length)) as source,
        pytest.raises(DamagedFileError, match="a node is met twice"),
    ):
        contents(source)


@pytest.mark.parametrize("file", [b"../d", b"/etc/passwd", b"x/../../d", b"d\0"])
def test_data_files_lie_in_the_directory(tmp_path: Path, file: bytes) -> None:
    (tmp_path / "c").mkdir()
    with (
        by_hand(tmp_path / "c", LEAF, 0, (0, len(LEAF)), file) as source,
        pytest.raises(UnsafePathError, match="leads out of the directory"),
    ):
        contents(source)


def test_long_keys_cannot_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "FREE_KEYS", 1000)
    monkeypatch.setattr(database, "MAX_KEYS_RATIO", 1)
    write(tmp_path, {"k" * 300 + str(i): b"" for i in range(100)}, {})
    with Source(tmp_path) as source, pytest.raises(LimitError, match="far longer than the nodes"):
        Database(source)


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])
