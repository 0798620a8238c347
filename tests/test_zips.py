"""ckpt_core.zips and ckpt_core.zips.writer against Python's zipfile."""

from __future__ import annotations

import io
import random
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ckpt_core.arrays import LazyArray
from ckpt_core.errors import CheckpointError, DamagedFileError, LimitError, UnsafePathError, UnsupportedError
from ckpt_core.sink import Sink
from ckpt_core.source import Source
from ckpt_core.zips import Zip
from ckpt_core.zips.writer import ZipWriter

MEMBERS = {"a/data.pkl": b"pickle" * 50, "a/data/0": bytes(range(256)) * 4, "a/empty": b"", "ü": b"name"}


def build(
    members: dict[str, bytes] = MEMBERS, method: int = zipfile.ZIP_STORED, comment: bytes = b""
) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
        archive.comment = comment
    return buffer.getvalue()


def read_all(path: Path, data: bytes) -> dict[str, bytes]:
    path.write_bytes(data)
    with Source(path) as source:
        archive = Zip(source)
        return {name: archive.read(name, 1 << 24) for name in archive.entries}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "archive.zip"


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("comment", [b"", b"some comment", b"PK\x05\x06" + bytes(40)])
def test_reads_what_zipfile_writes(path: Path, method: int, comment: bytes) -> None:
    assert read_all(path, build(method=method, comment=comment)) == MEMBERS


def test_reads_streamed_members_with_descriptors(path: Path) -> None:
    class Unseekable(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def seek(self, *_: object) -> int:
            raise OSError

        def tell(self) -> int:
            raise OSError

    buffer = Unseekable()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in MEMBERS.items():
            archive.writestr(name, data)
    assert read_all(path, buffer.getvalue()) == MEMBERS


def test_reads_zip64_headers(path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, archive.open("big", "w", force_zip64=True) as member:
        member.write(b"x" * 100)
    assert read_all(path, buffer.getvalue()) == {"big": b"x" * 100}


def test_reads_more_than_65535_entries(path: Path) -> None:
    members = {f"d/{i}": b"" for i in range(70_000)}
    assert read_all(path, build(members)) == members


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_flipped_bit_in_a_member_is_noticed(path: Path, method: int) -> None:
    data = bytearray(build({"m": bytes(random.Random(0).randbytes(4000))}, method))
    data[2000] ^= 1
    with pytest.raises(DamagedFileError, match=r"checksum mismatch|does not inflate"):
        read_all(path, bytes(data))


def test_opens_members_as_sources(path: Path) -> None:
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        path.write_bytes(build(method=method))
        with Source(path) as source:
            archive = Zip(source)
            for name, data in MEMBERS.items():
                member = archive.open(name)
                assert member.read(0, member.size) == data
                assert member.path == f"{path}!{name}"


def test_truncated_anywhere_is_damaged(path: Path) -> None:
    whole = build()
    for length in range(1, len(whole)):
        with pytest.raises(CheckpointError):
            read_all(path, whole[:length])


def test_any_byte_changed_never_gives_other_content(path: Path) -> None:
    whole = build({"a": b"0123456789", "b": b"abcdefgh"})
    for at in range(len(whole)):
        for value in (0, 1, 0x7F, 0xFF, whole[at] ^ 4):
            changed = bytearray(whole)
            changed[at] = value
            try:
                found = read_all(path, bytes(changed))
            except CheckpointError:
                continue
            assert list(found.values()) == [b"0123456789", b"abcdefgh"]


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/x", "\\x", "a\\..\\x", "C:x", ".."])
def test_names_that_lead_out_are_refused(path: Path, name: str) -> None:
    with pytest.raises(UnsafePathError, match="member name"):
        read_all(path, build({name: b"x"}))


def test_names_with_dots_inside_are_fine(path: Path) -> None:
    assert read_all(path, build({"a..b/...": b"x"})) == {"a..b/...": b"x"}


def test_duplicate_names_are_refused(path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a", b"1")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a", b"2")
    with pytest.raises(DamagedFileError, match="two members 'a'"):
        read_all(path, buffer.getvalue())


def central(data: bytes | bytearray) -> int:
    return data.rindex(b"PK\x01\x02")


def test_overlapping_members_are_refused(path: Path) -> None:
    data = bytearray(build({"aa": b"x" * 100, "bb": b"x" * 100}))
    struct.pack_into("<L", data, central(data) + 42, 0)
    with pytest.raises(DamagedFileError, match="overlaps"):
        read_all(path, bytes(data))


def test_encrypted_members_are_refused(path: Path) -> None:
    data = bytearray(build({"a": b"x"}))
    data[6] |= 1
    data[central(data) + 8] |= 1
    with pytest.raises(UnsupportedError, match="encrypted"):
        read_all(path, bytes(data))


def test_unknown_methods_are_refused(path: Path) -> None:
    with pytest.raises(UnsupportedError, match="method 12"):
        read_all(path, build({"a": b"x" * 1000}, zipfile.ZIP_BZIP2))


def edit_end(field: int, value: int) -> Callable[[bytes], bytes]:
    def edit(data: bytes) -> bytes:
        changed = bytearray(data)
        struct.pack_into("<H" if field < 12 else "<L", changed, data.rindex(b"PK\x05\x06") + field, value)
        return bytes(changed)

    return edit


@pytest.mark.parametrize(
    ("edit", "match"),
    [
        (edit_end(4, 1), "several files"),
        (edit_end(8, 3), "entries"),
        (edit_end(10, 1), "entries"),
        (edit_end(12, 10), "does not end at"),
        (edit_end(16, 0), "does not end at"),
        (lambda data: b"prefix" + data, "does not end at"),
        (lambda data: data + b"x", "missing"),
    ],
)
def test_a_directory_that_contradicts_itself_is_damaged(
    path: Path, edit: Callable[[bytes], bytes], match: str
) -> None:
    with pytest.raises(CheckpointError, match=match):
        read_all(path, edit(build()))


def test_local_header_must_agree(path: Path) -> None:
    data = bytearray(build({"name": b"x"}))
    data[30:34] = b"nama"
    with pytest.raises(DamagedFileError, match="disagrees"):
        read_all(path, bytes(data))


@pytest.mark.parametrize(
    ("at", "change"),
    [(6, 0x8), (6, 0x1), (8, 0x8), (14, 0x1), (18, 0x1), (22, 0x1)],
    ids=["descriptor", "encrypted", "method", "crc", "compressed", "size"],
)
def test_each_field_of_a_local_header_must_agree(path: Path, at: int, change: int) -> None:
    data = bytearray(build())
    data[at] ^= change
    path.write_bytes(data)
    with Source(path) as source, pytest.raises(DamagedFileError, match="disagrees"):
        Zip(source)


@pytest.mark.parametrize("at", [4, 12])
def test_the_sizes_beside_a_local_header_must_agree(path: Path, at: int) -> None:
    """Both headers say that the sizes are elsewhere; the directory's and the member's own are two places."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, archive.open("big", "w", force_zip64=True) as member:
        member.write(b"x" * 1000)
    data = bytearray(buffer.getvalue())
    data[30 + len("big") + at] ^= 1
    path.write_bytes(data)
    with Source(path) as source, pytest.raises(DamagedFileError, match="disagrees"):
        Zip(source)


def wide(size: int, local_size: int) -> bytes:
    """Return an archive of one member whose sizes stand in ZIP64 fields, in the directory and in its own header."""
    data, name, full = b"x" * size, b"big", 0xFFFFFFFF
    common = (45, 0, 0, 0, 0, zlib.crc32(data), full, full, len(name), 20)
    header = struct.pack("<4s5H3L2H", b"PK\x03\x04", *common) + name
    member = header + struct.pack("<2H2Q", 1, 16, local_size, local_size) + data
    entry = struct.pack("<4sH5H3L5H2L", b"PK\x01\x02", 45, *common, 0, 0, 0, 0, 0) + name
    entry += struct.pack("<2H2Q", 1, 16, size, size)
    return member + entry + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, len(entry), len(member), 0)


def test_sizes_in_zip64_fields_are_compared_where_both_headers_have_them(path: Path) -> None:
    assert read_all(path, wide(1000, 1000)) == {"big": b"x" * 1000}
    with zipfile.ZipFile(path) as archive:
        assert archive.read("big") == b"x" * 1000
    with pytest.raises(DamagedFileError, match="disagrees"):
        read_all(path, wide(1000, 999))


def test_an_inflate_bomb_is_refused_before_it_inflates(path: Path) -> None:
    data = bytearray(build({"bomb": bytes(1 << 20)}, zipfile.ZIP_DEFLATED))
    for at in (22, central(data) + 24):
        struct.pack_into("<L", data, at, 1 << 31)
    path.write_bytes(data)
    with Source(path) as source:
        archive = Zip(source)
        with pytest.raises(LimitError, match="declared to inflate"):
            archive.storage("bomb")


def test_structure_may_inflate_less_than_arrays(path: Path) -> None:
    path.write_bytes(build({"zeros": bytes(5 << 20)}, zipfile.ZIP_DEFLATED))
    with Source(path) as source:
        archive = Zip(source)
        assert archive.storage("zeros").read(0, 100) == bytes(100)
        with pytest.raises(LimitError, match="declared to inflate"):
            archive.open("zeros")


@pytest.mark.parametrize("size", [0, 999, 1001])
def test_a_member_must_inflate_to_its_declared_size(path: Path, size: int) -> None:
    data = bytearray(build({"m": b"ab" * 500}, zipfile.ZIP_DEFLATED))
    for at in (22, central(data) + 24):
        struct.pack_into("<L", data, at, size)
    path.write_bytes(data)
    with Source(path) as source:
        archive = Zip(source)
        storage = archive.storage("m")
        if size:
            with pytest.raises(DamagedFileError, match="does not inflate to"):
                storage.read(0, 1)
        with pytest.raises(DamagedFileError, match="does not inflate to"):
            archive.open("m")


# Writing.


def test_writes_what_zipfile_reads(path: Path) -> None:
    big = np.random.default_rng(0).integers(0, 256, 5 << 20, dtype=np.uint8)
    with Sink(path) as sink, sink.file() as file:
        archive = ZipWriter(file)
        for name, data in MEMBERS.items():
            archive.add(name, data)
        archive.add_array("big", LazyArray.from_numpy(big))
        archive.add_array("small", LazyArray.from_numpy(big[:7]))
        archive.finish()
    with zipfile.ZipFile(path) as judge:
        assert judge.testzip() is None
        assert {name: judge.read(name) for name in MEMBERS} == MEMBERS
        assert judge.read("big") == big.tobytes()
        assert judge.read("small") == big[:7].tobytes()
    with Source(path) as source:
        assert all(entry.start % 64 == 0 for entry in Zip(source).entries.values())


def test_copies_members_and_checks_them_on_the_way(path: Path, tmp_path: Path) -> None:
    data = np.random.default_rng(0).integers(0, 256, 6 << 20, dtype=np.uint8).tobytes()
    for size in (5000, len(data)):
        whole = bytearray(build({"m": data[:size]}))
        path.write_bytes(whole)
        assert _copied(path, tmp_path / f"good{size}") == data[:size]
        whole[whole.index(data[:100]) + size // 2] ^= 1
        path.write_bytes(whole)
        with pytest.raises(DamagedFileError, match="checksum mismatch"):
            _copied(path, tmp_path / f"bad{size}")
        assert not (tmp_path / f"bad{size}").exists()


def _copied(path: Path, target: Path) -> bytes:
    with Source(path) as source, Sink(target) as sink, sink.file() as file:
        storage = Zip(source).storage("m")
        archive = ZipWriter(file)
        archive.add_array("copy", LazyArray((storage.nbytes,), "uint8", storage))
        archive.finish()
    with zipfile.ZipFile(target) as judge:
        assert judge.testzip() is None
        return judge.read("copy")


def test_writes_more_than_65535_members_and_members_beyond_4_gib(path: Path) -> None:
    """A hole of 5 GiB in the file stands for members before it."""
    with Sink(path) as sink, sink.file() as file:
        archive = ZipWriter(file)
        for index in range(66_000):
            archive.add(f"d/{index}", b"%d" % index)
        hole = 5 << 30
        file._position += hole
        import os

        os.lseek(file.fd, hole, os.SEEK_CUR)
        archive.add("late", b"late")
        archive.finish()
    with zipfile.ZipFile(path) as judge:
        assert judge.read("d/65999") == b"65999"
        assert judge.read("late") == b"late"
    with Source(path) as source:
        ours = Zip(source)
        assert ours.read("late") == b"late"
        assert len(ours.entries) == 66_001
    path.unlink()


def test_two_members_of_one_name_are_a_mistake(path: Path) -> None:
    with Sink(path) as sink, sink.file() as file:
        archive = ZipWriter(file)
        archive.add("a", b"")
        with pytest.raises(CheckpointError, match="named 'a'"):
            archive.add("a", b"")
