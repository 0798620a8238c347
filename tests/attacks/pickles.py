"""Damaged and hostile pickles: the machine's own limits, and numpy arrays that lie."""

from __future__ import annotations

import pickle
import random
import struct
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from tests.attacks import opcodes as op
from tests.attacks.case import EITHER, OPENS, REFUSED, Case, data
from tests.attacks.containers import FLOATS

DEEP = 500_000
MANY = 200_000
HUGE = 1 << 62
TORCH_MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"
LONG_TEXT = struct.pack("<I", 1_000_000) + b"a" * 1_000_000


def cases() -> Iterator[Case]:
    for name, expect, body in _machine():
        yield replace(data(f"pickle/{name}.pkl", op.pickled(body), expect), light=name.startswith("deep-"))
    for name, expect, content in _whole():
        yield data(f"pickle/{name}.pkl", content, expect)
    for name, expect, array in _arrays():
        yield data(f"numpy/{name}.pkl", op.pickled(op.dict_({"w": array, "after": op.integer(1)})), expect)
    for name, expect, content in _joblib():
        yield data(f"joblib/{name}.joblib", content, expect)
    yield from _benign()


def _machine() -> Iterator[tuple[str, str, bytes]]:
    """(name, expectation, opcodes between PROTO and STOP)"""
    # Depth: nothing may recurse, in reading or in freeing.
    yield "deep-tuple", REFUSED, b")" + b"\x85" * DEEP
    yield "deep-tuple-2", REFUSED, b")" + b"N\x86" * DEEP
    yield "deep-list", REFUSED, b"]" * DEEP + b"a" * (DEEP - 1)
    yield "deep-dict", REFUSED, b"}" + b"K\x00}" * DEEP + b"s" * DEEP
    yield "deep-marks", REFUSED, b"(" * DEEP + b"l" * DEEP
    yield "deep-marks-tuple", REFUSED, b"(" * DEEP + b"t" * DEEP
    yield "deep-marks-frozenset", REFUSED, b"(" * DEEP + b"\x91" * DEEP
    yield "marks-only", REFUSED, b"(" * (2 << 20)
    yield "deep-calls", REFUSED, b"c__main__\nX\n" + b")R" * DEEP
    yield (
        "deep-arguments",
        REFUSED,
        b"c__main__\nX\nq\x00)R" + (b"\x85h\x00h\x00R" + b"0") * 10 + b"\x85" * DEEP,
    )
    yield "deep-call-arguments", REFUSED, (b"c__main__\nX\n" * 300 + b")" + b"R\x85" * 300) * 1
    yield "deep-build", REFUSED, b"c__main__\nX\n)R" + b"c__main__\nX\n)R" * 9000 + b"b" * 9000
    yield (
        "deep-reduce-tuple1",
        REFUSED,
        b"c__main__\nX\nq\x00" + b")Rq\x01" + b"0h\x00h\x01\x85Rq\x01" * 100_000,
    )
    yield (
        "deep-ordered-dict",
        REFUSED,
        b"ccollections\nOrderedDict\nq\x00)R" + b"h\x00)R" * 9000 + b"K\x00" * 0 + b"\x85" * 600,
    )
    yield "deep-newobj", REFUSED, b"c__main__\nX\n" + b")\x81" * 1000
    yield "deep-persistent", REFUSED, b"N" + b"Q" * DEEP
    yield "deep-key", REFUSED, b"}" + b")" + b"\x85" * DEEP + b"Ns"
    yield "deep-key-shared", REFUSED, b"}" + b")" + b"2\x86" * 64 + b"Ns"
    yield "deep-element", REFUSED, b"\x8f(" + b")" + b"\x85" * DEEP + b"\x90"
    yield "deep-frozen-element", REFUSED, b"()" + b"\x85" * DEEP + b"\x91"
    yield "deep-frozen-key", EITHER, b"}" + b"(" * 10_000 + b"\x91" * 10_000 + b"Ns"
    yield "deep-dropped", EITHER, b")" + b"\x85" * DEEP + b"0N"
    yield "deep-list-dropped", EITHER, b"]" * DEEP + b"a" * (DEEP - 1) + b"0N"
    yield "deep-call-dropped", EITHER, b"c__main__\nX\n" + b"\x85" * DEEP + b"0N"
    yield "depth-allowed", OPENS, b"]" * 450 + b"a" * 449
    # Sharing that grows exponentially when it is written out.
    yield "billion-laughs-list", EITHER, _laughs(b"]", b"(", b"e")
    yield (
        "billion-laughs-tuple",
        EITHER,
        b")q\x00" + b"".join(b"(" + b"h\x00" * 10 + b"tq\x00" for _ in range(60)) + b"h\x00\x86",
    )
    yield "billion-laughs-dup", EITHER, b"N" + b"2\x86" * 400
    yield "billion-laughs-dup-3", EITHER, b"N" + b"22\x87" * 400
    yield (
        "billion-laughs-call",
        EITHER,
        b"c__main__\nX\nq\x00h\x00N\x85Rq\x01" + b"0h\x00h\x01h\x01\x86Rq\x01" * 200,
    )
    yield (
        "billion-laughs-ordered",
        EITHER,
        b"ccollections\nOrderedDict\nq\x00)R" + b"q\x010h\x00]]K\x00ah\x01aa\x85R" * 100,
    )
    yield (
        "billion-laughs-state",
        EITHER,
        b"c__main__\nX\nq\x000" + b"h\x00)Rq\x01" + b"0h\x00)Rh\x01h\x01\x86bq\x01" * 200,
    )
    yield "billion-laughs-key", EITHER, b"}" + b"N" + b"2\x86" * 7 + b"Ns"
    yield "dup-bomb", EITHER, b"]" + b"N" * 0 + b"(" + b"N" + b"2" * 100_000 + b"e"
    yield "memo-bomb", EITHER, b"N" + b"".join(b"r" + struct.pack("<I", n) for n in range(MANY))
    yield "memo-far", EITHER, b"Nr\xff\xff\xff\xff"
    yield "memo-text-huge", EITHER, b"Np" + b"9" * 4000 + b"\n"
    yield "memo-text-huger", REFUSED, b"Np" + b"9" * 100_000 + b"\n"
    yield "memo-negative", REFUSED, b"Np-1\n"
    yield "memo-missing", REFUSED, b"h\x05"
    yield "memo-missing-long", REFUSED, b"j\xff\xff\xff\xff"
    yield "memo-missing-text", REFUSED, b"g123\n"
    yield "memoize-nothing", REFUSED, b"\x94N"
    yield "copy-bomb", EITHER, _copy_bomb()
    yield (
        "copy-bomb-set",
        EITHER,
        b"]("
        + b"".join(op.integer(n) for n in range(3000))
        + b"eq\x00("
        + b"cbuiltins\nset\nh\x00\x85R" * 3000
        + b"l",
    )
    yield "copy-bomb-frozen-dict", EITHER, _copies("flax.core.frozen_dict", "FrozenDict")
    yield "copy-bomb-counter", EITHER, _copies("collections", "Counter")
    yield "copy-bomb-reconstructor", EITHER, _reconstructor_bomb()
    yield "copy-bomb-newobj-ex", EITHER, _newobj_ex_bomb()
    yield "copy-bomb-build", EITHER, _build_bomb()
    yield "copy-bomb-build-again", EITHER, _again_bomb()
    yield "copy-bomb-names-of-a-dtype", EITHER, _names_bomb()
    yield "copy-bomb-state-of-an-array", EITHER, _state_bomb()
    yield "copy-bomb-look-for-calls", EITHER, _looking_bomb()
    for name, key in (
        ("flax.core.frozen_dict\nFrozenDict", "_dict"),
        ("flax.nnx.statelib\nState", "_mapping"),
    ):
        yield f"copy-bomb-slots-{key}", EITHER, _slots_bomb(name, key)
    yield "copy-bomb-mapping-of-mapping", EITHER, _nested_bomb()
    for module, name, args in (
        ("_codecs", "encode", b"X" + LONG_TEXT + op.text("latin1") + b"\x86"),
        ("builtins", "bytearray", b"B" + LONG_TEXT + b"\x85"),
        ("numpy.core.multiarray", "scalar", op.call("numpy", "dtype", op.text("V1000000")) + b"B" + LONG_TEXT + b"\x86"),
        ("numpy.core.multiarray", "scalar", op.call("numpy", "dtype", op.text("U250000")) + b"B" + LONG_TEXT + b"\x86"),
        ("pathlib", "PurePosixPath", op.tuple_(*(op.text(f"a{n}") for n in range(1000)))),
    ):  # fmt: skip
        yield f"copy-bomb-{name}-{len(args)}", EITHER, _over_and_over(module, name, args)
    inner = b"".join(b"\x80\x02" + part + b"." for part in (TORCH_MAGIC, b"M\xe9\x03", b"N", b"N", b"]"))
    embedded = b"C" + bytes([len(inner)]) + inner + b"\x85"
    yield "torch-file-again", OPENS, _over_and_over("torch.storage", "_load_from_bytes", embedded, 300_000)
    yield (
        "appends-to-shared",
        EITHER,
        b"]q\x00" + b"(" + b"h\x00" * 1000 + b"e" + (b"(" + b"h\x00" * 1000 + b"e") * 50,
    )
    # Cycles.
    yield "list-in-itself", OPENS, b"]q\x00h\x00a"
    yield "dict-in-itself", OPENS, b"}q\x00K\x00h\x00s"
    yield "object-in-itself", OPENS, b"c__main__\nX\n)Rq\x00}X\x01\x00\x00\x00ah\x00sb"
    yield "state-is-itself", OPENS, b"c__main__\nX\n)Rq\x00h\x00b"
    yield "tuple-around-itself", OPENS, b"]q\x00h\x00\x85a"
    yield "object-array-in-itself", EITHER, _self_array()
    yield (
        "dtype-in-itself",
        EITHER,
        b"cnumpy\ndtype\n(X\x02\x00\x00\x00V4I00\nI01\ntRq\x00(K\x03X\x01\x00\x00\x00|Nh\x00\x85}X\x01\x00\x00\x00ah\x00K\x00\x86sK\x04K\x01K\x00tb",
    )
    yield (
        "frozen-dict-in-itself",
        EITHER,
        b"cflax.core.frozen_dict\nFrozenDict\n)Rq\x00}X\x05\x00\x00\x00_dicth\x00sb",
    )
    yield "ordered-dict-in-itself", EITHER, b"ccollections\nOrderedDict\n)Rq\x00h\x00b"
    # Numbers.
    yield "long4-huge", REFUSED, b"\x8b" + struct.pack("<i", 1_000_000) + b"\x7f" * 1_000_000
    yield "long4-beyond", REFUSED, b"\x8b" + struct.pack("<i", 2**31 - 1)
    yield "long4-negative", REFUSED, b"\x8b" + struct.pack("<i", -1)
    yield "long1-cut", REFUSED, b"\x8a\xff\x01"
    yield "long-text-huge", REFUSED, b"L" + b"9" * 1_000_000 + b"L\n"
    yield "int-text-huge", REFUSED, b"I" + b"9" * 5000 + b"\n"
    yield "int-text-4200", OPENS, b"I" + b"9" * 4200 + b"\n"
    yield "int-text-odd", REFUSED, b"I0x10\n"
    yield "int-text-empty", REFUSED, b"I\n"
    yield "int-text-underscore", REFUSED, b"I1_0\n"
    yield "int-text-arabic", REFUSED, b"I\xd9\xa1\n"
    yield "int-text-no-end", REFUSED, b"I12345"
    yield "float-text-odd", REFUSED, b"Fnumber\n"
    yield "float-text-long", EITHER, b"F" + b"1" * 8000 + b"\n"
    yield "float-text-nan", OPENS, b"Fnan\n"
    yield "long-text-no-digits", REFUSED, b"LL\n"
    # Lengths.
    for code, width in (
        (b"X", "<I"),
        (b"B", "<I"),
        (b"T", "<i"),
        (b"\x8d", "<Q"),
        (b"\x8e", "<Q"),
        (b"\x96", "<Q"),
        (b"\x95", "<Q"),
    ):
        for length in (
            100,
            2**31 - 1,
            *((1 << 40, HUGE, 2**63 - 1, 2**63, 2**64 - 1) if width == "<Q" else ()),
        ):
            yield f"length-{code.hex()}-{length}", REFUSED, code + struct.pack(width, length) + b"abc"
    yield "length-54-negative", REFUSED, b"T" + struct.pack("<i", -5) + b"abc"
    yield "short-string-cut", REFUSED, b"U\xffabc"
    yield "short-text-cut", REFUSED, b"\x8c\xffabc"
    yield "short-bytes-cut", REFUSED, b"C\xffabc"
    yield "text-not-utf8", REFUSED, b"X\x04\x00\x00\x00\xff\xfe\xfd\xfc"
    yield "long-text-not-utf8", EITHER, b"X" + struct.pack("<I", 5000) + b"\xff" * 5000
    yield "text-surrogate", OPENS, b"X\x03\x00\x00\x00\xed\xa0\x80"
    yield "line-no-end", REFUSED, b"V" + b"x" * 100_000
    yield "line-bad-escape", REFUSED, b"V\\u12\n"
    yield "line-bad-escape-long", EITHER, b"V" + b"x" * 5000 + b"\\U12345678" + b"\n"
    yield "string-no-quotes", REFUSED, b"Sabc\n"
    yield "string-one-quote", REFUSED, b"S'\n"
    yield "string-bad-escape", EITHER, b"S'\\x'\n"
    yield "string-long-bad-escape", EITHER, b"S'" + b"\\x" * 2000 + b"'\n"
    # Names.
    yield "name-huge", REFUSED, b"c" + b"a" * 1_000_000 + b"\nb\n"
    yield (
        "name-huge-stack",
        REFUSED,
        op.text("m") + b"X" + struct.pack("<I", 100_000) + b"b" * 100_000 + b"\x93",
    )
    yield "name-long", REFUSED, b"c" + b"a" * 5000 + b"\nb\n"
    yield "name-not-text", REFUSED, b"K\x01K\x02\x93"
    yield "name-not-utf8", REFUSED, b"c\xff\xfe\nb\n"
    yield "name-empty", EITHER, b"c\n\n)R"
    yield "name-control", EITHER, b"c\x1b[31m\n\x07\n)R"
    yield "name-dots", EITHER, b"c....\n....\n)R"
    yield "names-many", EITHER, b"(" + b"".join(b"cm%d\nX\n)R" % n for n in range(20_000)) + b"l"
    # Structure.
    yield "empty", REFUSED, b""
    yield "two-values", REFUSED, b"NN"
    yield "open-mark", REFUSED, b"(N"
    yield "unknown-opcode", REFUSED, b"\xff"
    yield "pop-nothing", REFUSED, b"0"
    yield "pop-mark-nothing", REFUSED, b"1"
    yield "tuple-nothing", REFUSED, b"t"
    yield "tuple1-nothing", REFUSED, b"\x85"
    yield "reduce-nothing", REFUSED, b"R"
    yield "reduce-not-callable", REFUSED, b"K\x01)R"
    yield "reduce-not-tuple", REFUSED, b"cos\nsystem\nK\x01R"
    yield "build-on-number", REFUSED, b"K\x01}b"
    yield "build-on-list", REFUSED, b"]}b"
    yield "obj-nothing", REFUSED, b"(o"
    yield "append-to-dict", REFUSED, b"}Na"
    yield "append-to-tuple", REFUSED, b")Na"
    yield "items-of-list", REFUSED, b"]NNs"
    yield "odd-items", REFUSED, b"}(Nu"
    yield "odd-dict", REFUSED, b"(Nd"
    yield "add-to-list", EITHER, b"](N\x90"
    yield "key-list", REFUSED, b"}]Ns"
    yield "key-dict", REFUSED, b"}}Ns"
    yield "key-set", REFUSED, b"}\x8fNs"
    yield "key-tuple-with-list", REFUSED, b"}]\x85Ns"
    yield "key-nan", EITHER, b"}" + (b"G" + struct.pack(">d", float("nan")) + b"Ns") * 100
    yield "key-array", EITHER, b"}" + op.ndarray(FLOATS, (2, 3)) + b"Ns"
    yield "key-dtype", EITHER, b"}" + op.call("numpy", "dtype", op.text("f4")) + b"Ns"
    yield "key-global", EITHER, b"}cos\nsystem\nNs"
    yield "key-long-text", OPENS, b"}X" + struct.pack("<I", 3000) + b"k" * 3000 + b"Ns"
    yield "key-wide-tuple", REFUSED, b"}(" + b"N" * 1000 + b"tNs"
    yield "element-list", REFUSED, b"\x8f(]\x90"
    yield "keys-colliding", REFUSED, _collisions()
    yield (
        "keys-colliding-in-a-set",
        REFUSED,
        b"\x8f(" + b"".join(op.integer(n * (2**61 - 1)) for n in range(1, 3000)) + b"\x90",
    )
    yield (
        "keys-colliding-tuples",
        EITHER,
        b"}(" + b"".join(op.integer(n * (2**61 - 1)) + b"\x85N" for n in range(1, 3000)) + b"u",
    )
    yield (
        "keys-colliding-floats",
        EITHER,
        b"}("
        + b"".join(b"G" + struct.pack(">d", float(2**61 - 1) * n) + b"N" for n in range(1, 3000))
        + b"u",
    )
    yield "buffer-elsewhere", REFUSED, b"\x97"
    yield "proto-6", REFUSED, b"\x80\x06N"
    yield "frame-beyond", REFUSED, b"\x95" + struct.pack("<Q", 1 << 40) + b"N"
    yield "frame-beyond-stop", REFUSED, b"\x95" + struct.pack("<Q", 3) + b"N.N"
    yield "frame-inside", EITHER, b"\x95" + struct.pack("<Q", 1) + b"N"
    yield "extension-zero", EITHER, b"\x82\x00"
    # Constructors of the table with arguments that are none.
    for name in _TABLE:
        for kind, args in (("none", b")"), ("numbers", b"(K\x01K\x02K\x03K\x04K\x05t"), ("globals", b"(" + b"cos\nsystem\n" * 4 + b"t"),
                           ("lists", b"(]]]]t"), ("huge", b"(" + op.integer(HUGE) * 3 + b"t"), ("self", None), ("nones", b"(NNNt"), ("dicts", b"(}}}t")):  # fmt: skip
            module, _, last = name.rpartition(".")
            called = b"c" + f"{module}\n{last}\n".encode()
            code = called + (args if args is not None else called + b"\x85" + b"2\x86") + b"R"
            yield f"table/{name}-{kind}", EITHER, code
            yield f"table/{name}-{kind}-built", EITHER, code + b"(K\x01K\x02NNNK\x06tb"


_TABLE = (
    "collections.OrderedDict", "collections.Counter", "builtins.set", "builtins.frozenset", "builtins.bytes",
    "builtins.bytearray", "builtins.complex", "_codecs.encode", "datetime.date", "datetime.datetime", "datetime.time",
    "datetime.timedelta", "datetime.timezone", "pathlib.PosixPath", "pathlib.PureWindowsPath", "copyreg._reconstructor",
    "copyreg.__newobj__", "copyreg.__newobj_ex__", "numpy.dtype", "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar", "numpy._core.numeric._frombuffer", "numpy.ma.core._mareconstruct",
    "jax._src.array._reconstruct_array", "flax.core.frozen_dict.FrozenDict", "joblib.numpy_pickle.NumpyArrayWrapper",
    "cloudpickle.cloudpickle._class_setstate", "optax._src.transform.ScaleByAdamState", "optax._src.base.EmptyState",
    "jax.interpreters.xla.reconstruct_device_array", "joblib.numpy_pickle.NDArrayWrapper",
)  # fmt: skip


def _laughs(start: bytes, mark: bytes, end: bytes) -> bytes:
    code = start + b"q\x00"
    for _ in range(60):
        code += start + mark + b"h\x00" * 10 + end + b"q\x00"
    return b"(" + code + b"l"


def _copy_bomb() -> bytes:
    """A thousand OrderedDicts of one list of a thousand pairs."""
    pairs = b"](" + b"".join(b"](" + op.integer(n) + b"Ne" for n in range(1000)) + b"eq\x000"
    return pairs + b"(" + b"ccollections\nOrderedDict\nh\x00\x85R" * 1000 + b"l"


def _copies(module: str, name: str) -> bytes:
    entries = b"}(" + b"".join(op.integer(n) + b"N" for n in range(3000)) + b"uq\x000"
    return entries + b"(" + (b"c" + f"{module}\n{name}\n".encode() + b"h\x00\x85R") * 3000 + b"l"


def _reconstructor_bomb() -> bytes:
    entries = b"}(" + b"".join(op.integer(n) + b"N" for n in range(3000)) + b"uq\x000"
    return entries + b"(" + b"ccopy_reg\n_reconstructor\n(cm\nX\nc__builtin__\ndict\nh\x00tR" * 3000 + b"l"


def _newobj_ex_bomb() -> bytes:
    entries = b"}(" + b"".join(op.text(f"k{n}") + b"N" for n in range(3000)) + b"uq\x000"
    return entries + b"(" + b"cm\nX\n)h\x00\x92" * 3000 + b"l"


def _build_bomb() -> bytes:
    entries = b"}(" + b"".join(op.text(f"k{n}") + b"N" for n in range(3000)) + b"uq\x000"
    return entries + b"(" + b"cm\nX\n)Rh\x00b" * 3000 + b"l"


def _again_bomb() -> bytes:
    """A state restored again and again into one dictionary of many entries."""
    entries = b"h\x00(" + b"".join(op.integer(n) + b"N" for n in range(100_000)) + b"u0"
    return b"}q\x00}K\x01NsbN" + b"00" + entries + b"}K\x01Nsq\x010" + b"h\x00h\x01b0" * 100_000 + b"N"


def _names_bomb() -> bytes:
    """Many dtypes of structures that share one table of many fields."""
    fields = range(20_000)
    names = op.tuple_(*(op.text(f"k{n}") for n in fields)) + b"q\x000"
    parts = b"cnumpy\ndtype\n" + op.text("f4") + b"\x85RK\x00\x86q\x010"
    table = b"}(" + b"".join(op.text(f"k{n}") + b"h\x01" for n in fields) + b"uq\x020"
    state = b"(K\x03" + op.text("|") + b"Nh\x00h\x02K\x08K\x01K\x00tq\x030"
    dtype = b"cnumpy\ndtype\nq\x040" + op.text("V8") + b"\x85q\x050"
    return names + parts + table + state + dtype + b"(" + b"h\x04h\x05Rh\x03b" * 20_000 + b"l"


def _state_bomb() -> bytes:
    """Many arrays with one table as their state, in which a call stands that was not made."""
    state = (
        b"}("
        + b"".join(op.text(f"k{n}") + b"N" for n in range(20_000))
        + op.text("x")
        + b"cos\nsystem\n)Ruq\x000"
    )
    made = op.tuple_(op.global_("numpy", "ndarray"), b"K\x00\x85", op.value(b"b")) + b"q\x010"
    return (
        state + made + b"cnumpy.core.multiarray\n_reconstruct\nq\x020(" + b"h\x02h\x01Rh\x00b" * 20_000 + b"l"
    )


def _slots_bomb(name: str, key: str) -> bytes:
    """Many mappings that get the same entries, from a state with slots."""
    entries = b"}(" + b"".join(op.text(f"k{n}") + b"N" for n in range(20_000)) + b"uq\x000"
    state = b"N}" + op.text(key) + b"h\x00s\x86q\x010"
    return entries + state + b"c" + name.encode() + b"\nq\x020(" + b"h\x02)Rh\x01b" * 20_000 + b"l"


def _nested_bomb() -> bytes:
    """Many mappings made of one mapping."""
    entries = b"}(" + b"".join(op.text(f"k{n}") + b"N" for n in range(20_000)) + b"u"
    frozen = b"cflax.core.frozen_dict\nFrozenDict\nq\x00"
    return frozen + entries + b"\x85R\x85q\x010(" + b"h\x00h\x01R" * 20_000 + b"l"


def _looking_bomb() -> bytes:
    """Many calls whose arguments are a thousand lists of a thousand, with a call that was not made behind them."""
    lists = b"](" + b"N" * 1000 + b"eq\x000](cos\nsystem\n)R" + b"h\x00" * 1000 + b"eq\x010"
    args = b"cnumpy\nndarray\nh\x01N\x87q\x020"
    return lists + args + b"cnumpy.core.multiarray\n_reconstruct\nq\x030(" + b"h\x03h\x02R" * 20_000 + b"l"


def _over_and_over(module: str, name: str, args: bytes, times: int = 20_000) -> bytes:
    """The same call on the same arguments, all results kept."""
    return args + b"q\x000" + op.global_(module, name) + b"q\x010(" + b"h\x01h\x00R" * times + b"l"


def _collisions() -> bytes:
    return b"}(" + b"".join(op.integer(n * (2**61 - 1)) + b"N" for n in range(1, 100_000)) + b"u"


def _self_array() -> bytes:
    dtype = (
        op.global_("numpy", "dtype")
        + op.tuple_(op.text("O8"), b"I00\n", b"I01\n")
        + b"R(K\x03X\x01\x00\x00\x00|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x3ftb"
    )
    made = op.call(
        "numpy.core.multiarray",
        "_reconstruct",
        op.global_("numpy", "ndarray"),
        op.value((0,)),
        op.value(b"b"),
    )
    return made + b"q\x00(K\x01K\x01\x85" + dtype + b"I00\n]h\x00atb"


def _whole() -> Iterator[tuple[str, str, bytes]]:
    """(name, expectation, the whole file)"""
    good = pickle.dumps({"w": np.arange(6, dtype=np.float32), "n": 1}, 4)
    yield "no-stop", REFUSED, good[:-1]
    yield "one-byte", REFUSED, b"\x80"
    yield "two-bytes", REFUSED, b"\x80\x04"
    yield "zeros", REFUSED, bytes(1000)
    yield "proto-255", REFUSED, b"\x80\xffN."
    yield "garbage", REFUSED, random.Random(1).randbytes(5000)
    yield "garbage-after-proto", REFUSED, b"\x80\x04" + random.Random(2).randbytes(5000)
    yield "only-a-stop", REFUSED, b"."
    yield "p0-unfinished", REFUSED, b"(dp0\nS'a'\nI1\ns"
    yield "p0-deep", REFUSED, b"(" * DEEP + b"l" * DEEP + b"."
    yield "p0-long-line", REFUSED, b"S'" + b"a" * 1_000_000 + b"."
    yield "text-file", REFUSED, b"(this is some text, and it ends with a full stop.\n" * 100 + b"."
    yield "inside-out", REFUSED, good[::-1]


def _arrays() -> Iterator[tuple[str, str, bytes]]:
    yield "good", OPENS, op.ndarray(FLOATS, (2, 3))
    yield "too-short", REFUSED, op.ndarray(FLOATS[:-1], (2, 3))
    yield "too-long", REFUSED, op.ndarray(FLOATS + b"x", (2, 3))
    yield "no-bytes", REFUSED, op.ndarray(b"", (2, 3))
    for name, shape in {
        "negative": (-2, -3), "huge": (HUGE,), "huge-2": (1 << 40, 1 << 40), "wraps": (1 << 32, 1 << 32), "wraps-63": (1 << 63, 2),
        "wraps-to-six": ((1 << 64) + 6,), "huge-and-empty": (0, HUGE), "huge-and-empty-2": (1 << 40, 0, 1 << 40), "beyond": (1 << 100,),
        "minus-one": (-1,), "bools": (True, 6), "floats": (2.0, 3), "texts": ("2", 3), "nones": (None,), "nested": ((2, 3),),
        "many-dimensions": (1,) * 65 + (6,), "very-many-dimensions": (1,) * 10_000,
    }.items():  # fmt: skip
        yield (
            f"shape-{name}",
            EITHER
            if name
            in (
                "bools",
                "huge-and-empty-2",
                "floats",
                "texts",
                "nones",
                "nested",
                "many-dimensions",
                "very-many-dimensions",
            )
            else REFUSED,
            op.ndarray(FLOATS, shape),
        )
    dtypes = (
        "O", "O8", "V4", "V1000000000", "S1000000000", "U1000000000", "S0", "V0", "f4,f4", "2f4", "(2,3)f4", "f4=", "f999", "i3",
        "c16", "c32", "f16", "g", "m8", "M8[ns]", "object", "float32", "void", "", " ", "f4\0", "bfloat16", "float8_e4m3fn", "int4",
        "{'names': ['a'], 'formats': ['f4']}", "x" * 100_000, "<f4", ">f4", "|f4", "=f4", "?", "b", "B", "p", "P", "longdouble", "a8", "T",
    )  # fmt: skip
    for number, dtype in enumerate(dtypes):
        yield f"dtype-{number}", EITHER, op.ndarray(FLOATS, (2, 3), dtype)
    for name, state in {
        "none": None, "empty": (), "short": (3, "<"), "long": (3, "<", None, None, None, -1, -1, 0, None, None, None),
        "order": (3, "x", None, None, None, -1, -1, 0), "order-number": (3, 7, None, None, None, -1, -1, 0),
        "itemsize": (3, "<", None, None, None, 400, -1, 0), "itemsize-huge": (3, "<", None, None, None, HUGE, -1, 0),
        "itemsize-negative": (3, "<", None, None, None, -400, -1, 0), "itemsize-zero": (3, "|", None, None, None, 0, 1, 0),
        "subarray": (3, "<", (op.name("numpy.float32"), (HUGE,)), None, None, 4, 1, 0),
        "subarray-odd": (3, "<", (1, 2), None, None, 4, 1, 0), "subarray-not": (3, "<", 5, None, None, 4, 1, 0),
        "names": (3, "|", None, ("a",), {"a": (op.name("numpy.float32"), 0)}, 4, 1, 16),
        "names-missing": (3, "|", None, ("a", "b"), {"a": (1, 0)}, 4, 1, 16),
        "names-outside": (3, "|", None, ("a",), {"a": (op.name("numpy.float32"), 1 << 40)}, 4, 1, 16),
        "names-not": (3, "|", None, 5, 6, 4, 1, 16), "names-twice": (3, "|", None, ("a", "a"), {"a": (1, 0)}, 4, 1, 16),
        "metadata": (4, "<", None, None, None, -1, -1, 0, {"x": op.name("os.system")}),
        "unhashable": (3, ["<"], None, None, None, -1, -1, 0), "number": 5, "dict": {"a": 1},
    }.items():  # fmt: skip
        for dtype in ("f4", "V4", "S4", "O8"):
            yield f"dtype-state-{name}-{dtype}", EITHER, op.ndarray(FLOATS, (2, 3), dtype, dtype_state=state)
    yield "objects", EITHER, op.ndarray(b"", (2,), "O8", content=op.value([1, "x"]))
    yield "objects-short", REFUSED, op.ndarray(b"", (5,), "O8", content=op.value([1, "x"]))
    yield "objects-huge", REFUSED, op.ndarray(b"", (HUGE >> 8,), "O8", content=op.value([1, "x"]))
    yield "objects-as-bytes", EITHER, op.ndarray(b"\x41" * 16, (2,), "O8")
    yield "objects-hostile", EITHER, op.ndarray(b"", (1,), "O8", content=op.list_(op.call("os", "abort")))
    yield "content-number", EITHER, op.ndarray(b"", (2, 3), content=b"K\x05")
    yield "content-list", EITHER, op.ndarray(b"", (2, 3), content=op.value([1.0] * 6))
    yield "content-text", EITHER, op.ndarray(b"", (2, 3), content=op.text("x" * 24))
    yield "content-wide-text", EITHER, op.ndarray(b"", (2, 3), content=op.text("\u20ac" * 24))
    yield "content-array", EITHER, op.ndarray(b"", (2, 3), content=op.ndarray(FLOATS, (2, 3)))
    yield "order-odd", EITHER, op.ndarray(FLOATS, (2, 3), order=b"K\x07")
    yield "order-text", EITHER, op.ndarray(FLOATS, (2, 3), order=op.text("F"))
    dtype = op.call("numpy", "dtype", op.text("f4"), b"I00\n", b"I01\n")
    scalar = ("numpy.core.multiarray", "scalar")
    yield "scalar", OPENS, op.call(*scalar, dtype, op.binary(b"abcd"))
    yield "scalar-short", REFUSED, op.call(*scalar, dtype, op.binary(b"abc"))
    yield "scalar-empty", REFUSED, op.call(*scalar, dtype, op.binary(b""))
    yield (
        "scalar-object",
        EITHER,
        op.call(*scalar, op.call("numpy", "dtype", op.text("O8")), op.call("os", "abort")),
    )
    yield (
        "scalar-wide",
        EITHER,
        op.call(*scalar, op.call("numpy", "dtype", op.text("S1000000000")), op.binary(b"abc")),
    )
    yield (
        "scalar-text",
        EITHER,
        op.call(*scalar, op.call("numpy", "dtype", op.text("U1")), op.binary(b"\xff\xff\xff\xff")),
    )
    for order in ("C", "F", "K", "A", "x"):
        for axes in ((), (b"(K\x01K\x00t",), (b"(K\x05K\x00t",), (b"(K\x00K\x00t",), (op.value((-1, 0)),)):
            code = op.call(
                "numpy._core.numeric",
                "_frombuffer",
                op.binary(FLOATS),
                dtype,
                op.value((2, 3)),
                op.text(order),
                *axes,
            )
            yield f"frombuffer-{order}-{len(axes)}-{len(b''.join(axes))}-{b''.join(axes).hex()}", EITHER, code
    yield (
        "frombuffer-short",
        REFUSED,
        op.call(
            "numpy._core.numeric", "_frombuffer", op.binary(FLOATS), dtype, op.value((20, 3)), op.text("C")
        ),
    )


def _wrapper(raw: bytes = FLOATS, pad: bytes | None = None, **state: Any) -> bytes:
    descr = op.call("numpy", "dtype", op.text(state.pop("descr", "f4")), b"I00\n", b"I01\n")
    fields = {
        "subclass": op.name("numpy.ndarray"),
        "shape": (2, 3),
        "order": "C",
        "dtype": op.Raw(descr),
        "allow_mmap": True,
    }
    if pad is not None:
        fields["numpy_array_alignment_bytes"] = 16
    wrapper = (
        op.global_("joblib.numpy_pickle", "NumpyArrayWrapper")
        + b")\x81"
        + op.value({**fields, **state})
        + op.BUILD
    )
    return op.pickled(b"(" + op.text("w") + wrapper + (pad or b"") + raw + op.text("n") + b"K\x01d")


def _joblib() -> Iterator[tuple[str, str, bytes]]:
    yield "good", OPENS, _wrapper()
    yield "good-padded", OPENS, _wrapper(pad=b"\x03abc")
    yield "padding-beyond", REFUSED, _wrapper(pad=b"\xff")
    yield "cut", REFUSED, _wrapper(FLOATS[:5])
    yield "objects", REFUSED, _wrapper(descr="O8")
    for name, shape in {"huge": (HUGE,), "wraps": (1 << 32, 1 << 32, 6), "negative": (-2, -3), "floats": (2.0, 3), "list": [2, 3], "none": None,
                        "deep": (1,) * 1000, "beyond": (1 << 70, 0)}.items():  # fmt: skip
        yield f"shape-{name}", REFUSED, _wrapper(shape=shape)
    yield (
        "objects-inside",
        EITHER,
        _wrapper(op.pickled(op.ndarray(b"", (2,), "O8", content=op.value([1, 2]))), descr="O8"),
    )
    yield "objects-nested", EITHER, _wrapper(_wrapper(descr="O8"), descr="O8")
    yield "no-dtype", REFUSED, _wrapper(dtype=None)
    yield "order-odd", EITHER, _wrapper(order="x")
    yield "descr-structured", EITHER, _wrapper(descr="V24", shape=(1,))
    yield "never-built", EITHER, op.pickled(op.global_("joblib.numpy_pickle", "NumpyArrayWrapper") + b")\x81")


def _benign() -> Iterator[Case]:
    """What looks odd and is in order."""
    rng = np.random.default_rng(0)
    tree = {
        "w": rng.normal(size=(3, 4)),
        "b": np.float32(1.5),
        "e": np.zeros((0, 3)),
        "n": None,
        "t": (1, (2, 3)),
        7: "seven",
        "big": 1 << 2000,
    }
    for protocol in range(6):

        def check(found: Any) -> None:
            assert (
                found["w"].read().tobytes() == tree["w"].tobytes()
                and found["big"] == tree["big"]
                and found[7] == "seven"
            )
            assert found["t"] == tree["t"] and found["b"] == tree["b"] and found["e"].shape == (0, 3)

        yield data(f"benign/p{protocol}.pkl", pickle.dumps(tree, protocol), OPENS, check)
    yield data("benign/padded.pkl", pickle.dumps(tree, 4) + bytes(100), OPENS)
    yield data("benign/two.pkl", pickle.dumps(tree, 2) + pickle.dumps(tree, 5), OPENS)
    yield data("pickle/trailing.pkl", pickle.dumps(tree, 4) + b"trailing bytes", REFUSED)
    yield data("benign/wide.pkl", pickle.dumps(list(range(30_000)), 4), OPENS)
    yield data("benign/keys.pkl", pickle.dumps({(i, str(i)): i for i in range(5000)}, 4), OPENS)
