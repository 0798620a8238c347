"""The pickle machine: pickle and numpy themselves as judges, and hostile files built by hand."""

from __future__ import annotations

import argparse
import collections
import dataclasses
import datetime
import decimal
import enum
import gc
import itertools
import pathlib
import pickle
import random
import struct
import subprocess
import sys
import textwrap
import types
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckpt_core.arrays import LazyArray
from ckpt_core.errors import CheckpointError, DamagedFileError, LimitError, UnsupportedError
from ckpt_core.pickles import PLAIN, Constructor, unpickle
from ckpt_core.pickles.opcodes import OPCODES, unknown
from ckpt_core.source import Source
from ckpt_core.tree import Alias, Global, Record, walk

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


@pytest.fixture
def read(tmp_path: Path) -> Callable[[bytes], Any]:
    """Return a reader of pickled bytes."""
    sources: list[Source] = []

    def read_bytes(data: bytes) -> Any:
        path = tmp_path / f"{len(sources)}.pkl"
        path.write_bytes(data)
        sources.append(Source(path))
        return unpickle(sources[-1], PLAIN).value

    return read_bytes


# Plain values.

atoms = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**40), 10**40),
    st.floats(allow_nan=False),
    st.complex_numbers(allow_nan=False),
    st.text(max_size=300),
    st.binary(max_size=1200),
)
keys = st.one_of(
    st.text(max_size=8),
    st.integers(),
    st.tuples(st.integers(0, 9), st.text(max_size=3)),
    st.binary(max_size=4),
)
trees = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.lists(inner, max_size=5).map(tuple),
        st.dictionaries(keys, inner, max_size=5),
        st.sets(st.integers(-5, 300), max_size=4),
        st.frozensets(st.text(max_size=3), max_size=4),
    ),
    max_leaves=20,
)


def without_sharing(value: Any) -> Any:
    """Return a copy in which no container occurs twice, as small ones do when hypothesis reuses them."""
    if type(value) in (list, tuple):
        return type(value)([without_sharing(child) for child in value])
    return {key: without_sharing(child) for key, child in value.items()} if type(value) is dict else value


def typed(value: Any) -> Any:
    """Return the types in a tree; where `==` takes 1, 1.0 and True for the same, these differ."""
    if type(value) in (list, tuple):
        return type(value), [typed(child) for child in value]
    if type(value) is dict:
        return dict, [(typed(key), typed(child)) for key, child in value.items()]
    return type(value), repr(value) if type(value) in (float, complex) else None


@settings(max_examples=300, deadline=None)
@given(tree=trees, protocol=st.sampled_from(list(PROTOCOLS)))
def test_plain_trees_read_as_pickle_reads_them(
    tmp_path_factory: pytest.TempPathFactory, tree: Any, protocol: int
) -> None:
    tree = without_sharing(tree)
    path = tmp_path_factory.mktemp("plain") / "tree.pkl"
    data = pickle.dumps(tree, protocol)
    path.write_bytes(data + b"rest")
    with Source(path) as source:
        value, end = unpickle(source, PLAIN)
    assert value == tree and typed(value) == typed(tree)
    assert end == len(data)


@dataclasses.dataclass
class Config:
    lr: float = 0.1
    layers: tuple[int, ...] = (1, 2)


class Slotted:
    __slots__ = ("__dict__", "rate")

    def __init__(self) -> None:
        self.rate = 3
        self.name = "n"


class Color(enum.Enum):
    RED = 1


class Table(dict[str, int]):
    pass


class Rows(list[int]):
    pass


class Point(NamedTuple):
    x: int
    y: int


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_values_of_the_standard_library(read: Callable[[bytes], Any], protocol: int) -> None:
    zone = datetime.timezone(datetime.timedelta(hours=2), "two")
    values = [
        datetime.datetime(2026, 11, 21, 8, 31, 49, 123456, tzinfo=zone, fold=1),
        datetime.datetime(1, 1, 1),  # noqa: DTZ001  # without a zone on purpose
        datetime.date(2024, 2, 29),
        datetime.time(23, 59, 59, 999999, tzinfo=datetime.timezone.utc),
        datetime.timedelta(-3, 5, 7),
        pathlib.PurePosixPath("runs/a b/é.pth"),
        pathlib.PureWindowsPath("c:/x"),
        complex(1.5, -0.0),
        {1, "a", (2, None)},
        frozenset(),
        b"",
        bytes(range(256)) * 5,
    ]
    assert read(pickle.dumps(values, protocol)) == values
    assert read(pickle.dumps(bytearray(b"ab" * 300), protocol)) == b"ab" * 300
    assert read(pickle.dumps(pathlib.Path("a/b"), protocol)) == pathlib.PurePath("a/b")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_objects_become_records(read: Callable[[bytes], Any], protocol: int) -> None:
    name = __name__
    config = read(pickle.dumps(Config(), protocol))
    assert config == Record(f"{name}.Config", {"lr": 0.1, "layers": (1, 2)})
    if protocol >= 2:
        assert read(pickle.dumps(Slotted(), protocol)) == Record(f"{name}.Slotted", {"name": "n", "rate": 3})
    assert read(pickle.dumps(Color.RED, protocol)) == Record(f"{name}.Color", args=(1,))
    assert read(pickle.dumps(argparse.Namespace(lr=0.1, dims=[1, 2]), protocol)) == {
        "lr": 0.1,
        "dims": [1, 2],
    }
    assert read(pickle.dumps(types.SimpleNamespace(a=1), protocol)) == {"a": 1}
    assert read(pickle.dumps(decimal.Decimal("1.5"), protocol)).args == ("1.5",)
    assert read(pickle.dumps(uuid.UUID(int=7), protocol))["int"] == 7
    assert read(pickle.dumps(Rows([1, 2]), protocol)) == Record(f"{name}.Rows", appended=[1, 2])
    assert read(pickle.dumps(Point(1, 2), protocol)) == Record(f"{name}.Point", args=(1, 2))
    counter = read(pickle.dumps(collections.Counter("aab"), protocol))
    assert (counter.type_name, dict(counter)) == ("collections.Counter", {"a": 2, "b": 1})
    factory = read(pickle.dumps(collections.defaultdict(list, {"a": [1]}), protocol))
    assert dict(factory) == {"a": [1]} and factory.args[0].name.endswith(".list")
    assert read(pickle.dumps(collections.deque([1, 2], 5), protocol)).appended == [1, 2]
    assert read(pickle.dumps(Config, protocol)) == Global(f"{name}.Config")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_mappings_with_attributes_keep_both(read: Callable[[bytes], Any], protocol: int) -> None:
    plain = collections.OrderedDict(b=1, a=2)
    assert type(read(pickle.dumps(plain, protocol))) is dict
    assert list(read(pickle.dumps(plain, protocol))) == ["b", "a"]
    plain._metadata = {"": {"version": 1}}  # type: ignore[attr-defined]  # torch's state dicts do this
    record = read(pickle.dumps([plain, plain], protocol))[0]
    assert record == Record(
        "collections.OrderedDict", {"b": 1, "a": 2}, state={"_metadata": {"": {"version": 1}}}
    )
    table = Table(x=1)
    table.note = "n"  # type: ignore[attr-defined]  # an attribute beside the entries
    record = read(pickle.dumps(table, protocol))
    assert dict(record)["x"] == 1 and (record.state or record)["note"] == "n"


def test_shared_and_cyclic_containers_become_aliases(read: Callable[[bytes], Any]) -> None:
    inner = {"w": 1}
    tree: dict[str, Any] = {"a": inner, "b": inner, "shape": (1, 2), "again": (1, 2)}
    tree["self"] = tree
    found = read(pickle.dumps(tree))
    assert found["b"] == Alias(("a",)) and found["self"] == Alias(())
    config = Config()
    config.lr = config  # type: ignore[assignment]  # a cycle through an object
    assert read(pickle.dumps([config]))[0]["lr"] == Alias((0,))
    array = np.arange(3.0)
    weights = read(pickle.dumps({"a": array, "b": array, "t": (array, [array])}, 4))
    assert {weights[k].identity for k in "ab"} == {weights["t"][0].identity, weights["t"][1][0].identity}


# Arrays.


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("size", [0, 1, 40, 300, 5000])
def test_arrays_of_every_dtype_and_order(read: Callable[[bytes], Any], protocol: int, size: int) -> None:
    bits = np.random.default_rng(size).bytes(16 * 6 * size)
    names = ["i1", "u2", ">i4", "<u8", "f2", ">f4", "f8", "c8", ">c16", "?"]
    arrays = {}
    for name in names:
        flat = np.frombuffer(bits, np.dtype(name) if name != "?" else "u1")[: 6 * size]
        flat = (flat & 1).astype("?") if name == "?" else flat
        arrays[name] = flat.reshape(2, 3, size)
        arrays[name + "F"] = np.asfortranarray(arrays[name])
        arrays[name + "T"] = arrays[name].transpose(2, 0, 1)
        arrays[name + "0"] = np.zeros((), name)
    for name in ("bfloat16", "float8_e4m3fn", "int4"):
        arrays[name] = (
            np.frombuffer(bits, "u1")[: size * 2].view(getattr(ml_dtypes, name))
            if size
            else np.zeros(0, getattr(ml_dtypes, name))
        )
    found = read(pickle.dumps(arrays, protocol))
    for name, array in arrays.items():
        lazy = found[name]
        assert isinstance(lazy, LazyArray) and lazy.shape == array.shape, name
        native = array.astype(array.dtype.newbyteorder("=")) if array.dtype.byteorder == ">" else array
        assert lazy.read().tobytes() == native.tobytes(), name
        assert lazy.read().dtype == native.dtype


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_numpy_values_without_a_neutral_dtype_stay_whole(read: Callable[[bytes], Any], protocol: int) -> None:
    structured = np.zeros(3, [("a", ">f4"), ("b", "i2", (2,))])
    tree = {
        "text": np.array(["abc", "d"]),
        "dates": np.array(["2020-01-01"], "M8[D]"),
        "structured": structured,
        "objects": np.array([1, "a", None], object),
        "masked": np.ma.array([1, 2], mask=[False, True]),
        "matrix": np.ma.array([1.5]).data.view(),
        "dtype": np.dtype(">f4"),
        "generator": np.random.default_rng(0),
    }
    found = read(pickle.dumps(tree, protocol))
    assert (
        found["text"]["dtype"] == "<U3" and found["text"]["data"].read().tobytes() == tree["text"].tobytes()
    )
    assert found["dates"]["dtype"] == "<M8[D]"
    fields = found["structured"]["dtype"]
    assert (fields["names"], fields["offsets"], fields["itemsize"]) == (["a", "b"], [0, 4], 8)
    assert found["objects"]["elements"] == [1, "a", None]
    assert found["masked"]["mask"].read().tolist() == [False, True]
    assert found["dtype"] == Record("numpy.dtype", args=(">f4",))
    assert isinstance(found["generator"], Record)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_numpy_scalars(read: Callable[[bytes], Any], protocol: int) -> None:
    scalars = [np.float32(1.5), np.int64(-3), np.bool_(True), np.complex64(1j), ml_dtypes.bfloat16(0.5)]
    for scalar in scalars:
        found = read(pickle.dumps(scalar, protocol))
        assert type(found) is type(scalar) and found.tobytes() == scalar.tobytes()
    assert read(pickle.dumps(np.str_("añb"), protocol)) == "añb"
    assert read(pickle.dumps(np.bytes_(b"ab"), protocol)) == b"ab"


class CountingSource(Source):
    """A source that counts the bytes that are read."""

    read_bytes = 0

    def read(self, offset: int, length: int) -> bytes:
        self.read_bytes += length
        return super().read(offset, length)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_array_bytes_are_not_read_at_open(tmp_path: Path, protocol: int) -> None:
    arrays = {f"w{i}": np.full((1 << 18,), i, np.float32) for i in range(16)}
    path = tmp_path / "large.pkl"
    path.write_bytes(pickle.dumps(arrays, protocol))
    source = CountingSource(path)
    found = unpickle(source, PLAIN).value
    assert source.read_bytes < 16 * (1 << 14), source.read_bytes
    assert found["w7"][100:103].tolist() == [7.0, 7.0, 7.0]
    source.close()


def test_python_2_strings_are_text_or_bytes_or_array_bytes(read: Callable[[bytes], Any]) -> None:
    assert read(b"\x80\x02}U\x03abcT\x04\x00\x00\x00\xc3\xa9\xff\x00s.") == {"abc": b"\xc3\xa9\xff\x00"}
    assert read(b"(dS'k\\xc3\\xa9y'\nS'it''s'\ns.") == {"ké" + "y": "it''s"}
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I2\ntcnumpy\ndtype\n"
        b"(S'f4'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\nS'\\x00\\x00\\x80?\\x00\\x00\\x00\\xc0'\ntb."
    )
    assert read(array).read().tolist() == [1.0, -2.0]


# Nothing runs.

HOSTILE_NAMES = [
    "os system", "posix system", "nt system", "subprocess Popen", "subprocess check_output", "builtins eval",
    "builtins exec", "__builtin__ eval", "__builtin__ execfile", "builtins getattr", "builtins __import__",
    "builtins open", "importlib import_module", "runpy run_path", "pty spawn", "webbrowser open", "shutil rmtree",
    "socket socket", "timeit timeit", "pdb run", "code InteractiveConsole", "operator attrgetter", "pickle loads",
    "_pickle loads", "ctypes CDLL", "numpy load", "numpy.testing._private.utils runstring", "torch load", "torch.hub load",
    "functools partial", "types FunctionType", "types CodeType", "marshal loads", "asyncio run", "requests get",
    "builtins compile", "builtins breakpoint", "sys exit", "os _exit", "builtins help",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_hostile_calls_open_as_inert_records(read: Callable[[bytes], Any], tmp_path: Path, name: str) -> None:
    canary = tmp_path / "canary"
    command = f"touch {canary}".encode()
    module, attribute = name.encode().split()
    text = b"X" + struct.pack("<I", len(command)) + command
    reference = b"c" + module + b"\n" + attribute + b"\n"
    short = b"\x8c" + bytes([len(module)]) + module + b"\x8c" + bytes([len(attribute)]) + attribute + b"\x93"
    forms = {
        "REDUCE": b"\x80\x02" + reference + text + b"\x85R.",
        "NEWOBJ": b"\x80\x02" + reference + text + b"\x85\x81.",
        "NEWOBJ_EX": b"\x80\x04" + short + text + b"\x85}\x92.",
        "STACK_GLOBAL": b"\x80\x04" + short + text + b"\x85R.",
        "INST": b"(" + text + b"i" + module + b"\n" + attribute + b"\n.",
        "OBJ": b"(" + reference + text + b"o.",
        "inside": b"\x80\x02}X\x01\x00\x00\x00a" + reference + text + b"\x85Rs.",
        "BUILD": b"\x80\x02" + reference + b")R}X\x01\x00\x00\x00a" + text + b"sb.",
    }
    for form, data in forms.items():
        value = read(data)
        value = value["a"] if form == "inside" else value
        assert isinstance(value, Record) and value.type_name == f"{module.decode()}.{attribute.decode()}", (
            form
        )
        assert command.decode() in (*value.args, *value.values())
    assert not canary.exists()


def test_calls_on_what_a_call_returned_are_inert_too(read: Callable[[bytes], Any]) -> None:
    value = read(b"cbuiltins\ngetattr\n(cos\nsystem\nS'x'\ntR(S'y'\ntR.")
    assert value.type_name == "<call>" and value.args[0].type_name == "builtins.getattr"


def test_reading_imports_nothing_that_the_file_names(tmp_path: Path) -> None:
    path = tmp_path / "names.pkl"
    names = b"".join(
        f"c{name}\nx\n)R0".encode() for name in ("this", "antigravity", "wave", "xmlrpc.client", "turtle")
    )
    state = (
        b"cflax.training.train_state\nTrainState\n)R0coptax\nadam\n)R0cjax.numpy\narray\n)R0ctorch\nload\n)R0"
    )
    path.write_bytes(names + state + pickle.dumps({"a": np.arange(3)}, 0))
    script = f"""
        import sys
        from ckpt_core.pickles import PLAIN, unpickle
        from ckpt_core.source import Source
        import encodings.raw_unicode_escape
        before = set(sys.modules)
        print(unpickle(Source({str(path)!r}), PLAIN).value["a"].read().tolist())
        print(sorted(set(sys.modules) - before))
        print(sorted(set(sys.modules) & {{"jax", "flax", "optax", "torch", "this", "ml_dtypes", "turtle"}}))
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True
    )
    assert run.stdout.split("\n")[:3] == ["[0, 1, 2]", "[]", "[]"], run.stdout


# Hostile and damaged files.

DEEP = 500_000
REFUSED = {
    "nested lists": b"\x80\x04" + b"]" * DEEP + b"a" * (DEEP - 1) + b".",
    "nested tuples": b"\x80\x04)" + b"\x85" * DEEP + b".",
    "nested marks": b"(" * DEEP + b"t" * DEEP + b".",
    "nested dicts": b"\x80\x04" + b"}K\x01" * DEEP + b"}" + b"s" * DEEP + b".",
    "nested calls": b"\x80\x04cos\nsystem\nq\x000)q\x010"
    + b"h\x00" * DEEP
    + b"h\x01"
    + b"\x85R" * DEEP
    + b".",
    "nested states": b"\x80\x04cfoo\nBar\nq\x00)\x81"
    + b"}X\x01\x00\x00\x00ah\x00)\x81" * DEEP
    + b"sb" * DEEP
    + b".",
    "deep tuple as a key": b"\x80\x04})" + b"\x85" * DEEP + b"Ns.",
    "deep tuple in a set": b"\x80\x04\x8f()" + b"\x85" * DEEP + b"\x90.",
    "nested frozensets": b"\x80\x04" + b"(" * 100_000 + b"N" + b"\x91" * 100_000 + b".",
    "doubling tuples": b"\x80\x04]" + b"2\x86" * 100_000 + b".",
    "doubling key": b"\x80\x04})" + b"2\x86" * 60 + b"Ns.",
    "copies on the stack": b"\x80\x04N" + b"2" * 1_000_000 + b".",
    "open marks": b"\x80\x04" + b"(" * 2_000_000 + b".",
    "index of 100,000 digits": b"Np" + b"9" * 100_000 + b"\n.",
    "INT of 100,000 digits": b"I" + b"9" * 100_000 + b"\n.",
    "INT of 5,000 digits": b"I" + b"9" * 5_000 + b"\n.",
    "LONG of a million digits": b"L" + b"9" * 1_000_000 + b"L\n.",
    "LONG4 of five million bytes": b"\x80\x02\x8b"
    + struct.pack("<i", 5_000_000)
    + b"\x11" * 5_000_000
    + b".",
    "LONG4 of negative length": b"\x80\x02\x8b" + struct.pack("<i", -5) + b"\x11" * 5 + b".",
    "BINBYTES8 of 2^62": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b".",
    "BINUNICODE8 of 2^64": b"\x80\x04\x8d" + struct.pack("<Q", (1 << 64) - 1) + b".",
    "BYTEARRAY8 of 2^62": b"\x80\x05\x96" + struct.pack("<Q", 1 << 62) + b".",
    "BINUNICODE of 4 GB": b"\x80\x02X\xff\xff\xff\xff.",
    "FRAME of 2^62": b"\x80\x04\x95" + struct.pack("<Q", 1 << 62) + b"N.",
    "BINSTRING of negative length": b"T" + struct.pack("<i", -1) + b"N.",
    "a long name": b"c" + b"a" * 100_000 + b"\nb\n.",
    "a name that is no text": b"\x80\x04NN\x93.",
    "numbers of one hash": b"\x80\x04}("
    + b"".join(b"\x8a\x20" + (i * ((1 << 61) - 1)).to_bytes(32, "little") + b"N" for i in range(1, 100_000))
    + b"u.",
    "tuples of one hash": b"\x80\x04}("
    + b"".join(
        b"(" + b"".join(b"J" + struct.pack("<i", x) for x in t) + b"tN"
        for t in itertools.product((-1, -2), repeat=14)
    )
    + b"u.",
    "states copied over and over": b"\x80\x04}("
    + b"".join(b"X\x06\x00\x00\x00%06dN" % i for i in range(50_000))
    + b"uq\x00cfoo\nBar\n)\x81"
    + b"h\x00b" * 100_000
    + b".",
    "arguments copied over and over": b"\x80\x04]("
    + b"X\x01\x00\x00\x00aN\x86" * 50_000
    + b"eq\x00ccollections\nOrderedDict\nq\x01("
    + b"h\x01h\x00\x85R" * 50_000
    + b"l.",
    "an unknown opcode": b"\x80\x04\xff.",
    "protocol 9": b"\x80\x09N.",
    "an empty stack": b"\x80\x040.",
    "no value": b"\x80\x04.",
    "two values": b"\x80\x04NN.",
    "an open mark": b"\x80\x04N(.",
    "a mark that is not there": b"Nt.",
    "a memo that is not there": b"\x80\x04h\x07.",
    "a negative memo": b"Np-1\n.",
    "no STOP": b"\x80\x04N",
    "a list as a key": b"\x80\x04}]Ns.",
    "a dict in a set": b"\x80\x04\x8f(}\x90.",
    "a key without a value": b"\x80\x04}(K\x01u.",
    "items of a number": b"\x80\x04K\x01(NNu.",
    "appending to a number": b"\x80\x04K\x01Na.",
    "calling a number": b"\x80\x04K\x01)R.",
    "arguments that are no tuple": b"\x80\x04cos\nsystem\n]R.",
    "restoring a number": b"\x80\x04K\x01}b.",
    "text that is no UTF-8": b"\x80\x02X\x02\x00\x00\x00\xff\xff.",
    "a number that is none": b"Fabc\n.",
    "a string without quotes": b"Sabc\n.",
    "a string with a bad escape": b"S'\\q'\n.",
    "a line without an end": b"Vabc",
}


@pytest.mark.parametrize("name", REFUSED)
def test_hostile_files_are_refused_and_freed(tmp_path: Path, name: str) -> None:
    path = tmp_path / "hostile.pkl"
    path.write_bytes(REFUSED[name])
    gc.disable()  # as core does while it opens a file
    try:
        with Source(path) as source, pytest.raises(DamagedFileError) as caught:
            unpickle(source, PLAIN)
    finally:
        gc.enable()
    assert caught.value.path == str(path) and str(caught.value.place).startswith("byte ")
    gc.collect()


ODD = {
    "memo index of 2^32 - 1": (b"\x80\x04Nr\xff\xff\xff\xffj\xff\xff\xff\xff\x86.", (None, None)),
    "a list that holds itself": (b"\x80\x04]q\x00h\x00a.", [Alias(())]),
    "an extension code": (b"\x80\x02\x82\x05.", Global("copyreg.extension(5)")),
    "a global of one part": (b"c\nx\n.", Global("x")),
    "POP of a mark": (b"N(0.", None),
    "POP_MARK": (b"N(II1\n1.".replace(b"II", b"I"), None),
    "an ANSI escape in a name": (b"cos\n\x1b[31mx\n.", Global("os.\x1b[31mx")),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_files_that_mean_something(read: Callable[[bytes], Any], name: str) -> None:
    data, expected = ODD[name]
    assert read(data) == expected


def test_out_of_band_buffers_are_named(read: Callable[[bytes], Any]) -> None:
    buffers: list[Any] = []
    data = pickle.dumps(np.arange(1000), 5, buffer_callback=buffers.append)
    with pytest.raises(UnsupportedError, match="separate buffers"):
        read(data)


def _array(shape: bytes, dtype: bytes, data: bytes, order: bytes = b"\x89") -> bytes:
    return (
        b"\x80\x04cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85C\x01btR(K\x01" + shape
        + b"cnumpy\ndtype\n(X" + struct.pack("<I", len(dtype)) + dtype
        + b"\x89\x88tR(K\x03X\x01\x00\x00\x00<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb" + order + data + b"tb."
    )  # fmt: skip


@pytest.mark.parametrize(
    "data",
    [
        _array(b"K\x02\x85", b"f4", b"C\x04abcd"),
        _array(b"K\x01\x85", b"f4", b"C\x08abcdefgh"),
        _array(b"J\xff\xff\xff\xff\x85", b"f4", b"C\x04abcd"),
        _array(b"\x8a\x08" + struct.pack("<q", (1 << 62) - 1) + b"\x85", b"f4", b"C\x04abcd"),
        _array(b"(" + b"M\xff\xff" * 40 + b"t", b"f4", b"C\x04abcd"),
        _array(
            b"(K\x00" + b"\x8a\x07" + b"\xff" * 6 + b"\x7f" + b"\x8a\x07" + b"\xff" * 6 + b"\x7ft",
            b"f4",
            b"C\x00",
        ),
        _array(b"K\x01\x85", b"f4", b"B\x00\x10\x00\x00" + bytes(4096)),
    ],
)
def test_arrays_that_contradict_their_bytes(read: Callable[[bytes], Any], data: bytes) -> None:
    with pytest.raises(DamagedFileError):
        read(data)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (_array(b"K\x01\x85", b"O", b"C\x08abcdefgh"), "the data of an array of objects is malformed"),
        (_array(b"K\x01\x85", b"f4,f4", b"C\x04abcd"), "the code of a numpy dtype is malformed"),
        (_array(b"K\x01", b"f4", b"]"), "the data of an array is malformed"),
        (_array(b"C\x01a\x85", b"f4", b"C\x04abcd"), "the shape of an array is malformed"),
        (_array(b"N", b"f4", b"C\x04abcd"), "the shape or the dtype of an array is malformed"),
        (b"cnumpy\ndtype\n(U\x02f4U\x01xtR.", "a numpy dtype is malformed"),
        (b"cnumpy\ndtype\n)R.", "a numpy dtype is malformed"),
        (b"cnumpy\ndtype\n(N\x89\x88tR.", "a numpy dtype is malformed"),
        *(
            (b"cnumpy\ndtype\n(U\x02f4\x89\x88tR" + state + b"b.", "the state of a numpy dtype is malformed")
            for state in (
                b"N",
                b"(K\x03t",
                b"(K\x09U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t",
                b"(K\x03U\x01,NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t",
                b"(K\x03U\x01<K\x01NNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t",
                b"(K\x03U\x01<N)NJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t",
                b"(K\x03U\x01<N(U\x01at}K\x04K\x04K\x00t",
                b"(K\x03U\x01<NNNNJ\xff\xff\xff\xffK\x00t",
            )
        ),
        (b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\ntR.", "without its state is malformed"),
        (
            b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tC\x01btR(K\x02K\x00tb.",
            "the state of an array is malformed",
        ),
        (b"cnumpy.core.multiarray\nscalar\n)R.", "a numpy scalar is malformed"),
        (b"cnumpy.core.multiarray\nscalar\n(NC\x01atR.", "the dtype of a numpy scalar is malformed"),
        (b"cnumpy.core.numeric\n_frombuffer\n(C\x01aNNNtR.", "an array is malformed"),
        (b"cnumpy.ma.core\n_mareconstruct\n(cx\ny\nNNNtR)b.", "the state of a masked array is malformed"),
    ],
)
def test_what_numpy_would_refuse(read: Callable[[bytes], Any], data: bytes, reason: str) -> None:
    with pytest.raises(DamagedFileError, match=reason):
        read(data)


@pytest.mark.parametrize("spoiled", ["shape", "code", "order", "data"])
def test_an_array_made_of_a_call_is_inert(read: Callable[[bytes], Any], spoiled: str) -> None:
    call = b"cos\nsystem\n(U\x01xtR"
    parts = {"shape": b"K\x01\x85", "code": b"U\x02f4", "order": b"\x89", "data": b"C\x04abcd", spoiled: call}
    dtype = b"cnumpy\ndtype\n(" + parts["code"] + b"\x89\x88tR"
    data = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tC\x01btR"
        b"(K\x01" + parts["shape"] + dtype + parts["order"] + parts["data"] + b"tb."
    )
    array = read(data)
    assert isinstance(array, Record)
    assert [node.type_name for _, node in walk(array) if isinstance(node, Record)].count("os.system") == 1


@pytest.mark.parametrize("protocol", range(6))
def test_record_arrays_read_as_structures(read: Callable[[bytes], Any], protocol: int) -> None:
    table = np.rec.array([(1, 2.5), (3, -1.0)], dtype=[("a", "i4"), ("b", ">f8")])
    found = read(pickle.dumps(table, protocol))
    assert found.type_name.endswith(".recarray")
    assert found["array"]["data"][...].tobytes() == table.tobytes()
    assert found["array"]["dtype"]["names"] == ["a", "b"]


@pytest.mark.parametrize(
    "call", [b"cos\nsystem\n(U\x01xtR", b"(U\x01xios\nsystem\n", b"(cos\nsystem\nU\x01xo", b"cos\nsystem\n"]
)
@pytest.mark.parametrize("mark", [b"", b"("])
def test_a_call_whose_value_nobody_takes_is_no_damage(
    read: Callable[[bytes], Any], call: bytes, mark: bytes
) -> None:
    assert read(mark + call + pickle.dumps({"epoch": 3}, 2)) == {"epoch": 3}


@pytest.mark.parametrize(
    "left", [b"N", b"]", b"K\x05", b"cargparse\nNamespace\n)\x81}U\x01aK\x01sb", b"(N", b"("]
)
def test_values_that_nobody_takes_are_damage(read: Callable[[bytes], Any], left: bytes) -> None:
    with pytest.raises(DamagedFileError, match="stops with more or less than one value"):
        read(left + pickle.dumps({"epoch": 3}, 2))


@pytest.mark.parametrize("container", [b"]", b"}", b"N", b")"])
def test_only_sets_take_items_of_a_set(read: Callable[[bytes], Any], container: bytes) -> None:
    with pytest.raises(DamagedFileError, match="adds items to a "):
        read(b"\x80\x04" + container + b"(K\x01\x90.")


@pytest.mark.parametrize("seed", range(20))
def test_objects_are_numbered_in_any_order(read: Callable[[bytes], Any], seed: int) -> None:
    """Picklers number from 0 on, Python 2's from 1; a file may skip numbers, repeat them, and count on from there."""
    rng = random.Random(seed)
    whole, known = b"\x80\x04(", set()
    for value in range(40):
        number = rng.choice([len(known), len(known), rng.randrange(50), 1000 + value])
        form = rng.choice([b"\x94", b"p%d\n" % number, b"r" + number.to_bytes(4, "little")])
        known.add(len(known) if form == b"\x94" else number)
        get = rng.choice([number for number in sorted(known) if number < 256] or [1000])
        whole += b"K%c" % value + form
        whole += rng.choice([b"h%c" % (get % 256), b"g%d\n" % get, b"j" + get.to_bytes(4, "little")])
    try:
        expected = pickle.loads(whole + b"t.")
    except pickle.UnpicklingError:
        with pytest.raises(DamagedFileError, match="an object that it did not store"):
            read(whole + b"t.")
    else:
        assert read(whole + b"t.") == expected


def test_an_array_of_whatever_lies_in_memory_is_inert(read: Callable[[bytes], Any]) -> None:
    data = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x05tC\x01btR"
    assert isinstance(read(data + b"."), Record)
    state = b"(K\x01K\x01\x85cnumpy\ndtype\n(U\x02f4\x89\x88tR\x89C\x04abcdtb."
    assert read(data + state).read().tobytes() == b"abcd", "the shape is that of the state"


@pytest.mark.parametrize(
    "value",
    [
        datetime.datetime(2026, 11, 21, 8, 31),  # noqa: DTZ001  # without a zone on purpose
        datetime.date(2026, 11, 21),
        datetime.time(8, 31),
    ],
    ids=lambda value: type(value).__name__,
)
def test_dates_that_python_would_refuse_are_damage(read: Callable[[bytes], Any], value: Any) -> None:
    data = pickle.dumps(value, 4)
    packed = value.__reduce__()[1][0]
    for spoiled in (packed[:-1], packed + b"\0", b"\xff" * len(packed)):
        changed = data.replace(b"C" + bytes((len(packed),)) + packed, b"C" + bytes((len(spoiled),)) + spoiled)
        changed = changed[:3] + (len(changed) - 11).to_bytes(8, "little") + changed[11:]
        with pytest.raises((ValueError, TypeError)):
            pickle.loads(changed)
        with pytest.raises(DamagedFileError, match="a value of Python's own library is malformed"):
            read(changed)


def test_bytes_that_are_no_latin_1_are_damage(read: Callable[[bytes], Any]) -> None:
    data = b"c_codecs\nencode\nX%b%bX\x06\0\0\0latin1\x86R."
    assert read(data % (b"\x02\0\0\0", "é".encode())) == b"\xe9"
    with pytest.raises(DamagedFileError, match="a value of Python's own library is malformed"):
        read(data % (b"\x03\0\0\0", "က".encode()))


def test_a_key_may_hold_what_is_finished_later(read: Callable[[bytes], Any]) -> None:
    found = read(pickle.dumps({(np.dtype("float32"), "a"): 1, np.dtype("int8"): 2}))
    assert list(found) == [(Record("numpy.dtype", args=("<f4",)), "a"), Record("numpy.dtype", args=("|i1",))]


SAMPLE = {
    "w": np.arange(70, dtype=np.float32).reshape(7, 10),
    "order": np.asfortranarray(np.eye(3)),
    "config": Config(),
    "name": "é" * 600,
    "blob": bytes(range(256)) * 2,
    "values": [1, -5, 2**70, 0.5, None, True, (1, (2, 3)), {4, 5}],
    "when": datetime.datetime(2026, 11, 21, tzinfo=datetime.timezone.utc),
    "scalar": np.float16(2),
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_truncation_anywhere_is_a_clean_error(tmp_path: Path, protocol: int) -> None:
    data = pickle.dumps(SAMPLE, protocol)
    path = tmp_path / "cut.pkl"
    for length in [*range(300), *range(300, len(data), 7), *range(len(data) - 20, len(data))]:
        path.write_bytes(data[:length])
        with Source(path) as source, pytest.raises(DamagedFileError):
            unpickle(source, PLAIN)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_damaged_bytes_give_a_tree_or_a_clean_error(tmp_path: Path, protocol: int) -> None:
    rng = random.Random(protocol)
    data = pickle.dumps(SAMPLE, protocol)
    opcodes = [code for code in range(256) if OPCODES[code] is not unknown] + list(b"hrtRqKMX(\x85\x86\x94J")
    path = tmp_path / "damaged.pkl"
    outcomes: collections.Counter[str] = collections.Counter()
    for _ in range(300):
        damaged = bytearray(data)
        for _ in range(rng.choice([1, 1, 2, 8])):
            damaged[rng.randrange(len(damaged))] = rng.choice([rng.randrange(256), rng.choice(opcodes)])
        path.write_bytes(damaged)
        with Source(path) as source:
            try:
                for _, leaf in walk(unpickle(source, PLAIN).value):
                    if isinstance(leaf, LazyArray):
                        leaf.read()
                outcomes["read"] += 1
            except CheckpointError:
                outcomes["refused"] += 1
    assert min(outcomes["read"], outcomes["refused"]) > 20, outcomes


# The interface.


def test_start_end_and_persistent_ids(tmp_path: Path) -> None:
    path = tmp_path / "two.pkl"
    first, second = pickle.dumps("one", 2), b"\x80\x02X\x02\x00\x00\x00idQ."
    path.write_bytes(first + second + b"tail")
    with Source(path) as source:
        value, end = unpickle(source, PLAIN)
        assert (value, end) == ("one", len(first))
        assert unpickle(source, PLAIN, start=end).value == Record("pickle.persistent_id", args=("id",))
        result = unpickle(source, PLAIN, start=end, persistent_load=lambda pid: pid + "!")
        assert result == ("id!", len(first + second))
        with pytest.raises(DamagedFileError, match="ends before"):
            unpickle(source, PLAIN, start=end, end=end + 5)


def test_constructors_that_do_not_understand_give_records(tmp_path: Path) -> None:
    path = tmp_path / "call.pkl"
    path.write_bytes(b"cmy\nthing\n(I1\ntR.")

    def built(value: Any, state: Any) -> Any:
        return value + state if isinstance(state, int) else NotImplemented

    with Source(path) as source:
        assert unpickle(source, {"my.thing": Constructor(lambda args: args[0] + 1)}).value == 2
        assert unpickle(source, {"my.thing": Constructor(lambda args: NotImplemented)}).value.args == (1,)
    path.write_bytes(
        b"cmy\nthing\n(I1\ntRp0\n(I5\ng0\ntt.".replace(b"tt.", b"t.").replace(b"(I5\n", b"(I5\n")
    )
    table = {"my.thing": Constructor(lambda args: args[0], built)}
    path.write_bytes(b"(cmy\nthing\n(I1\ntRp0\nI5\nbg0\nt.")
    with Source(path) as source:
        assert unpickle(source, table).value == (6, 6)
    path.write_bytes(b"cmy\nthing\n(I1\ntRp0\nS'odd'\nb.")
    with Source(path) as source:
        assert unpickle(source, table).value == Record("my.thing", args=(1,), state="odd")


def test_limits_say_so(read: Callable[[bytes], Any]) -> None:
    with pytest.raises(LimitError, match="nested deeper than 500 levels"):
        read(b"]" * 600 + b"a" * 599 + b".")
    with pytest.raises(LimitError, match="an integer has 5000 bytes"):
        read(b"\x80\x02\x8b" + struct.pack("<i", 5000) + bytes(5000) + b".")
