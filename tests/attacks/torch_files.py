"""Damaged and hostile torch files: the ZIP container, tensors outside of their storages, legacy and tar files."""

from __future__ import annotations

import io
import struct
import tarfile
import zlib
from collections.abc import Iterator
from typing import Any

from tests.attacks import opcodes as op
from tests.attacks.case import EITHER, OPENS, REFUSED, Case, data
from tests.attacks.containers import FLOATS, Member, storage, tensor, torch_legacy, torch_zip, zip_bytes

HUGE = 1 << 62


def tree(code: bytes) -> bytes:
    return op.dict_({"w": code}, 2)


def cases() -> Iterator[Case]:
    for name, expect, code in _tensors():
        yield data(f"torch/{name}.pth", torch_zip(tree(code)), expect)
        legacy = code.replace(b"X\x03\x00\x00\x00cpuK\x06t", b"X\x03\x00\x00\x00cpuK\x06Nt")
        if legacy != code:
            yield data(f"legacy/{name}.pth", torch_legacy(tree(legacy)), expect)
    for name, expect, content in _zips():
        yield data(f"zip/{name}.pth", content, expect)
    for name, expect, content in _legacy():
        yield data(f"legacy/{name}.pth", content, expect)
    for name, expect, content in _tars():
        yield data(f"tar/{name}.pth", content, expect)
    yield from _shared()


def _tensors() -> Iterator[tuple[str, str, bytes]]:
    yield "good", OPENS, tensor()
    yield "good-transposed", OPENS, tensor(size=(3, 2), stride=(1, 3))
    yield "good-expanded", OPENS, tensor(size=(1000, 3), stride=(0, 1))
    yield "good-0d", OPENS, tensor(offset=5, size=(), stride=())
    yield "good-empty", OPENS, tensor(size=(0, 3), stride=(3, 1))
    for offset in (1, 6, 100, -1, -6, 1 << 31, HUGE, 1 << 63, 1 << 64, -(1 << 63)):
        yield f"offset-{offset}", REFUSED, tensor(offset=offset)
    for name, offset in {"float": 0.5, "none": None, "text": "0", "list": [0], "bool": True}.items():
        yield f"offset-{name}", REFUSED, tensor(offset=offset)
    for number, (size, stride) in enumerate(
        (
            ((3, 3), (3, 1)), ((2, 4), (3, 1)), ((7,), (1,)), ((1 << 31,), (1,)), ((HUGE,), (1,)), ((1 << 40, 1 << 40), (1 << 40, 1)),
            ((1 << 32, 1 << 32), (0, 1)), ((-2, 3), (3, 1)), ((-2, -3), (3, 1)), ((2, 3), (4, 1)), ((2, 3), (3, 2)), ((2, 3), (3, HUGE)),
            ((2, 3), (-3, 1)), ((2, 3), (3, -1)), ((6,), (-1,)), ((2, 3), (1 << 63, 1)), ((2, 3), (3,)), ((2,), (3, 1)), ((2, 3), ()),
            ((), (3, 1)), ((2.0, 3), (3, 1)), ((2, 3), (3.0, 1)), (("2", 3), (3, 1)), ((None, 3), (3, 1)), (6, 1), ("ab", "cd"), (None, None),
            ((1,) * 65, (1,) * 65), ((1,) * 10_000, (0,) * 10_000), ((2, (3,)), (3, 1)), ((1 << 100,), (0,)), ((1 << 63,), (0,)),
        )
    ):  # fmt: skip
        yield f"window-{number}", REFUSED, tensor(size=size, stride=stride)
    yield "expanded-huge", REFUSED, tensor(size=(1 << 40, 3), stride=(0, 1))
    yield "expanded-huge-2", REFUSED, tensor(size=(1 << 20, 1 << 20, 1 << 20), stride=(0, 0, 0))
    yield "empty-huge", EITHER, tensor(size=(0, HUGE), stride=(1, 1))
    yield "empty-wild-strides", EITHER, tensor(size=(0, 3), stride=(HUGE, HUGE))
    yield "empty-wild-offset", EITHER, tensor(offset=HUGE, size=(0,), stride=(1,))
    yield "overlapping-strides", OPENS, tensor(size=(2, 3), stride=(1, 1))
    for numel in (5, 7, 0, -1, -6, 1 << 31, HUGE, 1 << 63, 1 << 64):
        yield f"numel-{numel}", REFUSED, tensor(storage(numel=numel))
    for name, numel in {"none": None, "float": 6.0, "text": "6", "list": [6]}.items():
        yield f"numel-{name}", REFUSED, tensor(storage(numel=numel))
    for key in (
        "1",
        "",
        "../data.pkl",
        "../../x",
        "/etc/passwd",
        "0/0",
        ".",
        "0\0",
        "x" * 10_000,
        "\u202e",
        "00",
    ):
        yield f"key-{key.encode()[:8].hex()}", REFUSED, tensor(storage(key))
    for name, odd in {"number": 0, "none": None, "list": ["0"], "tuple": ("0",)}.items():
        yield f"key-{name}", EITHER, tensor(storage(odd))  # type: ignore[arg-type]  # that is the attack
    for kind in (
        "DoubleStorage",
        "BoolStorage",
        "ByteStorage",
        "UntypedStorage",
        "ComplexFloatStorage",
        "QInt8Storage",
        "QUInt4x2Storage",
    ):
        yield f"kind-{kind}", EITHER, tensor(storage(kind=kind))
    for module, kind in (
        ("os", "system"),
        ("torch", "NoStorage"),
        ("torch", ""),
        ("builtins", "eval"),
        ("torch.cuda", "FloatStorage"),
    ):
        yield (
            f"kind-{module}-{kind}",
            REFUSED if module != "torch.cuda" else EITHER,
            tensor(storage(kind=kind, module=module)),
        )
    for dtype in (
        "float32",
        "uint8",
        "bfloat16",
        "float8_e4m3fn",
        "complex128",
        "quint4x2",
        "bits8",
        "nothing",
        "int4",
        "uint1",
    ):
        yield f"dtype-{dtype}", EITHER, tensor(storage(kind="UntypedStorage", numel=24), v3=dtype)
    yield "dtype-untyped-short", REFUSED, tensor(storage(kind="UntypedStorage", numel=23), v3="float32")
    yield "dtype-untyped-offset", REFUSED, tensor(storage(kind="UntypedStorage", numel=24), 1, v3="float32")
    yield "flags-odd", EITHER, tensor(storage(), 0, (2, 3), (3, 1), {"conj": True, "neg": [1]})
    yield "flags-number", EITHER, tensor(storage(), 0, (2, 3), (3, 1), 7)
    made = op.global_("torch._utils", "_rebuild_tensor_v2", 2)
    yield "no-storage", EITHER, made + op.value((1, 0, (2, 3), (3, 1), False, {}), 2) + b"R"
    yield "no-arguments", EITHER, made + b")R"
    yield "few-arguments", EITHER, made + b"(" + storage() + b"tR"
    yield "storage-alone", EITHER, storage()
    yield (
        "storage-of-itself",
        EITHER,
        made + op.value((op.Raw(tensor()), 0, (2, 3), (3, 1), False, {}), 2) + b"R",
    )
    for number, pid in enumerate(
        (
            None,
            7,
            "storage",
            (),
            ("storage",),
            ("storage", 1, 2, 3, 4),
            ("x",) * 5,
            ("storage", None, "0", "cpu", 6),
            ["storage"] * 5,
            ("storage",) * 500,
        )
    ):
        yield f"persistent-{number}", REFUSED, op.value(pid, 2) + b"Q"
    again = storage(numel=3)
    yield "two-lengths", EITHER, op.list_(tensor(), tensor(again, size=(3,), stride=(1,)))
    yield "two-kinds", EITHER, op.list_(tensor(), tensor(storage(kind="IntStorage")))
    parameter = op.global_("torch._utils", "_rebuild_parameter", 2)
    for number, arg in enumerate((None, 7, "x", [], {}, (op.Raw(tensor()),))):
        yield f"parameter-{number}", EITHER, parameter + op.value((arg, True, {}), 2) + b"R"
    deep = tensor()
    for _ in range(2000):
        deep = parameter + b"(" + deep + b"\x88}tR"
    yield "parameter-deep", EITHER, deep
    size = op.global_("torch", "Size", 2)
    for number, arg in enumerate(((1, 2), (HUGE,), (-1,), ("x",), 5, None, ((1,),))):
        yield f"size-{number}", EITHER, size + op.value((arg,), 2) + b"R"
    sparse = op.global_("torch._utils", "_rebuild_sparse_tensor", 2)
    layout = op.global_("torch", "sparse_coo", 2)
    yield (
        "sparse-huge",
        EITHER,
        sparse
        + op.value((op.Raw(layout), (op.Raw(tensor()), op.Raw(tensor()), (HUGE, HUGE), True)), 2)
        + b"R",
    )
    yield "sparse-odd", EITHER, sparse + op.value((op.Raw(layout), 7), 2) + b"R"
    kind = op.global_("torch._tensor", "_rebuild_from_type_v2", 2)
    inner = kind
    yield (
        "from-type-of-itself",
        EITHER,
        inner + op.value((op.Raw(kind), op.Raw(kind), (op.Raw(kind),), {}), 2) + b"R",
    )


def _shared() -> Iterator[Case]:
    """A storage that states fewer bytes than the member has, in every place."""
    for nbytes in (0, 1, 23, 25, 28, 1000):
        expect = REFUSED if nbytes < 24 else EITHER
        yield data(f"torch/member-{nbytes}.pth", torch_zip(tree(tensor()), {"0": bytes(nbytes)}), expect)
    for order in (b"big", b"little", b"", b"middle", b"BIG", b"\xff\xfe", b"little" * 1000):
        yield data(
            f"torch/byteorder-{order[:8].hex()}-{len(order)}.pth",
            torch_zip(tree(tensor()), byteorder=order),
            EITHER,
        )
    inner = torch_zip(tree(tensor()))
    for depth in range(1, 12):
        inner = torch_zip(
            tree(
                op.call(
                    "torch.storage",
                    "_load_from_bytes",
                    b"B" + struct.pack("<I", len(inner)) + inner,
                    protocol=2,
                )
            )
        )
        yield data(f"torch/nested-{depth}.pth", inner, EITHER)


def _good(**options: Any) -> bytes:
    return torch_zip(tree(tensor()), **options)


def _two(*members: Member, **options: Any) -> bytes:
    """A torch archive with these members behind its own."""
    return _good(more=list(members), **options)


def _zips() -> Iterator[tuple[str, str, bytes]]:
    pkl = op.pickled(tree(tensor()), 2)
    yield "good", OPENS, _good()
    yield "comment", OPENS, _good(comment=b"made by hand")
    yield "comment-longest", OPENS, _good(comment=b"c" * 0xFFFF)
    yield "comment-with-an-end", EITHER, _good(comment=b"PK\x05\x06" + bytes(18))
    yield "comment-with-an-archive", EITHER, _good(comment=_good())
    yield "comment-too-short", REFUSED, _good(comment=b"abc", end={"comment_length": 2})
    yield "comment-too-long", REFUSED, _good(comment=b"abc", end={"comment_length": 9})
    yield "before", EITHER, _good(before=b"#!/bin/sh\n")
    yield "before-an-archive", EITHER, _good(before=_good())
    yield "after", REFUSED, _good() + b"trailing"
    yield "after-zeros", REFUSED, _good() + bytes(100_000)
    yield "twice", EITHER, _good() + _good()
    yield (
        "deflated",
        EITHER,
        zip_bytes(
            [
                Member("archive/data.pkl", pkl, method=8),
                Member("archive/data/0", FLOATS, method=8),
                Member("archive/version", b"3\n"),
            ]
        ),
    )
    for name in (
        "archive/../evil", "../evil", "../../../../etc/passwd", "/etc/passwd", "\\evil", "C:\\evil", "C:evil", "archive\\..\\..\\evil",
        "archive/data/..", "", "archive/\0evil", "..",
    ):  # fmt: skip
        yield f"name-{name.encode().hex()}", REFUSED, _two(Member(name, b"x"))
    yield "name-not-utf8", REFUSED, _two(Member(b"archive/\xff\xfe", b"x", flags=0x800))
    yield "name-cp437", EITHER, _two(Member(b"archive/\xff\xfe", b"x"))
    yield "name-long", EITHER, _two(Member("archive/" + "x" * 60_000, b"x"))
    yield "name-differs", REFUSED, _two(Member("archive/a", b"x", local={"name": b"archive/b"}))
    yield "name-longer", REFUSED, _two(Member("archive/a", b"x", local={"name": b"archive/aa"}))
    yield "duplicate", REFUSED, _two(Member("archive/data/0", b"y" * 24))
    yield "duplicate-pickle", REFUSED, _two(Member("archive/data.pkl", pkl))
    yield "two-roots", REFUSED, _two(Member("other/data.pkl", pkl))
    yield (
        "no-pickle",
        REFUSED,
        zip_bytes([Member("archive/version", b"3\n"), Member("archive/data/0", FLOATS)]),
    )
    yield "empty-archive", REFUSED, zip_bytes([])
    yield (
        "member-is-a-folder",
        REFUSED,
        zip_bytes([Member("archive/data.pkl/", b""), Member("archive/version", b"3\n")]),
    )
    for flag in (0x1, 0x40, 0x2000, 0x41):
        yield f"encrypted-{flag:x}", REFUSED, _two(Member("archive/x", b"x", flags=flag))
        yield f"encrypted-local-{flag:x}", REFUSED, _two(Member("archive/x", b"x", local={"flags": flag}))
        yield (
            f"encrypted-pickle-{flag:x}",
            REFUSED,
            zip_bytes(
                [
                    Member("archive/data.pkl", pkl, flags=flag),
                    Member("archive/data/0", FLOATS),
                    Member("archive/version", b"3"),
                ]
            ),
        )
    for method in (1, 9, 12, 14, 93, 95, 99, 0xFFFF):
        yield f"method-{method}", REFUSED, _two(Member("archive/x", b"x", method=method))
    yield "method-differs", REFUSED, _two(Member("archive/x", b"x" * 100, method=8, local={"method": 0}))
    for field in ("crc", "compressed", "size"):
        for name, value in {"zero": 0, "one": 1, "more": 1000, "max": 0xFFFFFFFE, "full": 0xFFFFFFFF}.items():
            for place in ("local", "central"):
                yield (
                    f"{field}-{place}-{name}",
                    REFUSED,
                    _two(Member("archive/x", b"some bytes", **{place: {field: value}})),
                )
            if value != 0xFFFFFFFF and field != "crc":
                yield (
                    f"{field}-both-{name}",
                    REFUSED,
                    _two(Member("archive/x", b"some bytes", **{field: value})),
                )
    yield (
        "crc-of-storage",
        REFUSED,
        torch_zip(tree(tensor()), {}, more=[Member("archive/data/0", FLOATS, crc=1)]),
    )
    yield (
        "crc-of-pickle",
        REFUSED,
        zip_bytes(
            [
                Member("archive/data.pkl", pkl, crc=1),
                Member("archive/data/0", FLOATS),
                Member("archive/version", b"3"),
            ]
        ),
    )
    for offset in (0, 1, 10, 1 << 20, 0xFFFFFFFE, 0xFFFFFFFF):
        yield (
            f"offset-{offset}",
            REFUSED,
            _two(Member("archive/x", b"some bytes", central={"offset": offset})),
        )
    yield "disk", REFUSED, _two(Member("archive/x", b"x", central={"disk": 1}))
    yield "disk-full", REFUSED, _two(Member("archive/x", b"x", central={"disk": 0xFFFF}))
    yield "extra-beyond", EITHER, _two(Member("archive/x", b"x", extra=b"\x01\x00\xff\xff"))
    yield "extra-odd", EITHER, _two(Member("archive/x", b"x", extra=b"\x01"))
    for name, wide in {"huge": (HUGE, HUGE, HUGE), "max": (2**64 - 1,) * 3, "right": (10, 10, 0)}.items():
        extra = struct.pack("<HH3Q", 1, 24, *wide)
        yield (
            f"zip64-{name}",
            REFUSED,
            _two(
                Member(
                    "archive/x",
                    b"some bytes",
                    central={
                        "extra": extra,
                        "size": 0xFFFFFFFF,
                        "compressed": 0xFFFFFFFF,
                        "offset": 0xFFFFFFFF,
                    },
                )
            ),
        )
    yield (
        "zip64-short",
        REFUSED,
        _two(
            Member(
                "archive/x",
                b"x",
                central={"extra": struct.pack("<HHQ", 1, 8, 1), "size": 0xFFFFFFFF, "compressed": 0xFFFFFFFF},
            )
        ),
    )
    yield (
        "zip64-missing",
        REFUSED,
        _two(Member("archive/x", b"x", central={"size": 0xFFFFFFFF, "compressed": 0xFFFFFFFF})),
    )
    yield "descriptor", EITHER, _two(Member("archive/x", b"x", flags=8))
    yield "descriptor-local", REFUSED, _two(Member("archive/x", b"x", local={"flags": 8}))
    for field in ("here", "count"):
        for value in (0, 1, 3, 5, 100, 0xFFFE):
            yield f"end-{field}-{value}", REFUSED, _good(end={field: value})
    for value in (0, 5, 100, 0xFFFF):
        yield f"end-both-{value}", REFUSED, _good(end={"here": value, "count": value})
    for field in ("size", "start"):
        for value in (0, 1, 10, 1 << 30, 0xFFFFFFFE, 0xFFFFFFFF):
            yield f"end-{field}-{value}", REFUSED, _good(end={field: value})
    yield "end-disk", REFUSED, _good(end={"disk": 1, "cd_disk": 1})
    yield "end-cd-disk", REFUSED, _good(end={"cd_disk": 7})
    for at in (0, 1 << 40, HUGE, 2**64 - 1):
        locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, at, 1)
        yield f"locator-{at}", REFUSED, _good(end={"locator": locator})
    whole = _good()
    start = whole.index(b"PK\x01\x02")
    size = len(whole) - 22 - start
    for name, (count, length, at) in {"right": (4, size, start), "count": (1 << 40, size, start), "size": (4, HUGE, start), "start": (4, size, HUGE),
                                      "negative": (4, 2**64 - 46, start)}.items():  # fmt: skip
        end64 = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, length, at)
        locator = end64 + struct.pack("<4sLQL", b"PK\x06\x07", 0, start + size, 1)
        full = {"here": 0xFFFF, "count": 0xFFFF, "size": 0xFFFFFFFF, "start": 0xFFFFFFFF}
        yield f"end64-{name}", OPENS if name == "right" else REFUSED, _good(end={"locator": locator, **full})
        yield (
            f"end64-disagrees-{name}",
            OPENS if name == "right" else REFUSED,
            _good(end={"locator": locator}),
        )
    yield "no-end", REFUSED, whole[:-22]
    yield "no-directory", REFUSED, whole[:start]
    yield "end-only", REFUSED, whole[-22:]
    yield from _overlaps(pkl)
    yield from _inflation(pkl)
    yield "many-members", EITHER, zip_bytes([Member("archive/data.pkl", pkl), Member("archive/data/0", FLOATS), Member("archive/version", b"3"),
                                             *(Member(f"archive/x{n}", b"") for n in range(30_000))])  # fmt: skip


def _overlaps(pkl: bytes) -> Iterator[tuple[str, str, bytes]]:
    first = Member("archive/data.pkl", pkl)
    inner = zip_bytes([Member("archive/data/0", FLOATS)])
    at = 30 + len("archive/data.pkl") + 30 + len("archive/x")  # the header inside of the member x
    holder = Member("archive/x", inner)
    inside = Member("archive/data/0", FLOATS, central={"offset": at + len(pkl)})
    yield "overlap-inside", REFUSED, zip_bytes([first, holder, inside, Member("archive/version", b"3")])
    same = [Member(f"archive/x{n}", b"y" * 1000, central={"offset": 0}) for n in range(50)]
    yield "overlap-quoted", REFUSED, zip_bytes([first, *same])
    grown = Member("archive/x", b"y" * 100, compressed=400, size=400, crc=zlib.crc32(b"y" * 100))
    yield (
        "overlap-next",
        REFUSED,
        zip_bytes([first, grown, Member("archive/z", b"z" * 1000), Member("archive/version", b"3")]),
    )
    yield "overlap-directory", REFUSED, zip_bytes([first, Member("archive/version", b"3"), grown])


def _inflation(pkl: bytes) -> Iterator[tuple[str, str, bytes]]:
    version = Member("archive/version", b"3")

    def deflated(content: bytes) -> bytes:
        deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
        return deflater.compress(content) + deflater.flush()

    small = deflated(FLOATS)
    for name, fields in {
        "says-less": {"size": 23}, "says-more": {"size": 25}, "says-huge": {"size": 0xFFFFFFF0}, "says-nothing": {"size": 0},
        "wrong-crc": {"crc": 1}, "cut": {"packed": small[:-2]}, "trailing": {"packed": small + b"xx"}, "garbage": {"packed": b"\xff" * 20},
        "empty": {"packed": b""}, "never-ends": {"packed": b"\x00" + struct.pack("<HH", 24, 0xFFFF ^ 24) + FLOATS},
    }.items():  # fmt: skip
        member = Member("archive/data/0", FLOATS, method=8, **fields)
        yield f"inflate-{name}", REFUSED, zip_bytes([Member("archive/data.pkl", pkl), member, version])
    for name, fields in {
        "says-less": {"size": len(pkl) - 1},
        "says-huge": {"size": 0xFFFFFFF0},
        "garbage": {"packed": b"\xff" * 20},
    }.items():
        member = Member("archive/data.pkl", pkl, method=8, **fields)
        yield (
            f"inflate-pickle-{name}",
            REFUSED,
            zip_bytes([member, Member("archive/data/0", FLOATS), version]),
        )
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    zeros = bytes(1 << 20)
    bomb = b"".join(deflater.compress(zeros) for _ in range(1024)) + deflater.flush()
    head = op.pickled(tree(tensor(storage(numel=1 << 28), size=(1 << 28,), stride=(1,))), 2)
    whole = Member("archive/data/0", b"", method=8, packed=bomb, size=1 << 30, crc=0)
    yield "inflate-bomb", REFUSED, zip_bytes([Member("archive/data.pkl", head), whole, version])
    hidden = Member("archive/data/0", b"", method=8, packed=bomb, size=24)
    yield "inflate-bomb-hidden", REFUSED, zip_bytes([Member("archive/data.pkl", pkl), hidden, version])
    pickle_bomb = Member("archive/data.pkl", b"", method=8, packed=bomb, size=1 << 30)
    yield "inflate-bomb-pickle", REFUSED, zip_bytes([pickle_bomb, Member("archive/data/0", FLOATS), version])


def _legacy() -> Iterator[tuple[str, str, bytes]]:
    good = tree(tensor(storage("0", 6, "FloatStorage", "torch", None)))
    yield "whole", OPENS, torch_legacy(good)
    yield "wrong-magic", REFUSED, torch_legacy(good, magic=0x1950A86A20F9469CFC6D)
    yield "wrong-version", REFUSED, torch_legacy(good, version=1002)
    for number, keys in enumerate(
        ((), ("1",), ("0", "0"), ("0", "1"), (0,), (None,), (["0"],), None, 7, {"0": 1}, ("0",) * 100_000)
    ):
        yield f"keys-{number}", REFUSED, torch_legacy(good, keys)
    for count in (0, 5, 7, -1, 1 << 31, HUGE, -(1 << 63)):
        yield f"count-{count}", REFUSED, torch_legacy(good, storages=struct.pack("<q", count) + FLOATS)
    yield "cut", REFUSED, torch_legacy(good, storages=struct.pack("<q", 6) + FLOATS[:-1])
    yield "no-storages", REFUSED, torch_legacy(good, storages=b"")
    yield "trailing", EITHER, torch_legacy(good, storages=struct.pack("<q", 6) + FLOATS + b"trailing")
    for number, view in enumerate(
        (
            ("v", 0, 6),
            ("v", 3, 3),
            ("v", 3, 6),
            ("v", -1, 3),
            ("v", HUGE, 3),
            ("v", 0, HUGE),
            ("v", 0),
            5,
            ("v", 0.0, 1),
            ("v", None, None),
        )
    ):
        code = tree(tensor(storage("0", 6, "FloatStorage", "torch", view), size=(3,), stride=(1,)))
        yield f"view-{number}", OPENS if number < 2 else REFUSED, torch_legacy(code)


def _tar(members: dict[str, Any], **fields: Any) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
                for field, value in fields.items():
                    setattr(info, field, value)
                archive.addfile(info, io.BytesIO(content))
            else:
                info.type, info.linkname = content
                archive.addfile(info)
    return out.getvalue()


def _tars() -> Iterator[tuple[str, str, bytes]]:
    def pickles(*items: Any) -> bytes:
        return b"".join(op.pickled(op.value(item, 2), 2) for item in items)

    kind = op.Raw(op.global_("torch", "FloatStorage", 2))
    storages = pickles(1, (7, "cpu", kind)) + struct.pack("<q", 6) + FLOATS + pickles([])
    float_tensor = op.Raw(op.global_("torch", "FloatTensor", 2))
    geometry = (
        struct.pack("<i", 2)
        + bytes(4)
        + struct.pack("<2q", 2, 3)
        + struct.pack("<2q", 3, 1)
        + struct.pack("<q", 0)
    )
    tensors = pickles(1, (1, 7, float_tensor)) + geometry
    body = op.pickled(op.dict_({"w": op.value(1, 2) + b"Q"}, 2), 2)
    whole = {"sys_info": pickles({}), "storages": storages, "tensors": tensors, "pickle": body}
    yield "made", EITHER, _tar(whole)
    for name in ("storages", "tensors", "pickle"):
        yield f"no-{name}", REFUSED, _tar({key: content for key, content in whole.items() if key != name})
        yield f"link-{name}", REFUSED, _tar({**whole, name: (tarfile.SYMTYPE, "/etc/passwd")})
        yield f"device-{name}", REFUSED, _tar({**whole, name: (tarfile.CHRTYPE, "")})
        yield f"empty-{name}", REFUSED, _tar({**whole, name: b""})
        for cut in (1, 7):
            yield f"cut-{name}-{cut}", REFUSED, _tar({**whole, name: whole[name][:-cut]})
    yield "many-storages", REFUSED, _tar({**whole, "storages": pickles(HUGE)})
    yield "negative-storages", REFUSED, _tar({**whole, "storages": pickles(-1)})
    yield "many-tensors", REFUSED, _tar({**whole, "tensors": pickles(HUGE)})
    yield (
        "huge-storage",
        REFUSED,
        _tar({**whole, "storages": pickles(1, (7, "cpu", kind)) + struct.pack("<q", HUGE) + FLOATS}),
    )
    yield (
        "many-dimensions",
        REFUSED,
        _tar({**whole, "tensors": pickles(1, (1, 7, float_tensor)) + struct.pack("<i", 2**31 - 1)}),
    )
    yield (
        "huge-dimensions",
        REFUSED,
        _tar(
            {
                **whole,
                "tensors": pickles(1, (1, 7, float_tensor))
                + struct.pack("<ii", 2, 0)
                + struct.pack("<5q", HUGE, HUGE, 3, 1, 0),
            }
        ),
    )
    yield (
        "outside",
        REFUSED,
        _tar({**whole, "tensors": pickles(1, (1, 7, float_tensor)) + geometry[:-8] + struct.pack("<q", 1)}),
    )
    good = bytearray(_tar(whole))
    good[124:136] = b"77777777777\0"
    yield "member-beyond", REFUSED, bytes(good)
    good[124:136] = b"-0000000001\0"
    yield "member-negative", REFUSED, bytes(good)
    good[124:136] = b"\x80" + b"\xff" * 11
    yield "member-binary", REFUSED, bytes(good)
    yield "dots", REFUSED, _tar({"../storages": storages, "../tensors": tensors, "../pickle": body})
