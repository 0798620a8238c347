"""BackendTests: what every backend must do, as tests to subclass.

    class TestNpz(BackendTests):
        backend = NpzBackend()
        suffix = ".npz"

A backend without `holds` only reads; the tests of writing are skipped for it. The suite calls the backend the way
core does: a tree is fitted to `holds`, saved into a Sink, and read back from a Source.
"""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from ckpt_core.arrays import LazyArray, Piece
from ckpt_core.backend import Backend, Holds, Stored
from ckpt_core.dtypes import ITEMSIZE
from ckpt_core.errors import CheckpointError, ClosedError
from ckpt_core.fit import Fitted, fit, unfit
from ckpt_core.sink import Sink
from ckpt_core.source import Source
from ckpt_core.storage import MemoryStorage, Storage
from ckpt_core.testing.compare import differences, same_leaf
from ckpt_core.testing.samples import FOREIGN, random_array
from ckpt_core.tree import Record, flatten

__all__ = ["BackendTests"]

SHAPES = [(), (1,), (0,), (3, 0, 2), (7,), (2, 3, 4)]


class BackendTests:
    """The tests of one backend; override what is said here, and add your own beside them."""

    backend: ClassVar[Backend]
    """The object under test."""
    suffix: ClassVar[str] = ""
    """What the names of its files end with."""
    kindred: ClassVar[frozenset[str]] = frozenset()
    """The names in FOREIGN that are of this very format."""
    volatile: ClassVar[tuple[str, ...]] = ()
    """Names of files in a directory format whose content may differ from save to save (times)."""
    official_dtypes: ClassVar[frozenset[str] | None] = None
    """The dtypes that `official_load` gives; all that the backend holds when None."""

    def official_load(self, path: Path) -> Mapping[str, Any] | None:  # noqa: ARG002  # for those who override it
        """Load a file with the format's own library: arrays by name. None where there is no library."""
        return None

    # Helpers.

    @property
    def holds(self) -> Holds:
        if self.backend.holds is None:
            pytest.skip(f"{self.backend.name} only reads")
        return self.backend.holds

    @property
    def dtype(self) -> str:
        """A dtype that the format holds, float32 if possible."""
        return "float32" if "float32" in self.holds.dtypes else min(self.holds.dtypes)

    def target(self, folder: Path, name: str = "checkpoint") -> Path:
        return folder / f"{name}{self.suffix}"

    def save(
        self, path: Path, tree: Any, attributes: Mapping[str, Any] | None = None, *, force: bool = False
    ) -> Fitted:
        """Fit and write a tree."""
        fitted = fit(Stored(tree, attributes or {}), self.holds)
        with Sink(path, force=force) as sink:
            self.backend.save(fitted.stored, sink, {})
        return fitted

    def open(self, source: Source) -> Stored:
        """Open a source, and bring back what its metadata describes."""
        return unfit(self.backend.open(source), self.backend.holds)[0]

    def check(self, folder: Path, tree: Any, attributes: Mapping[str, Any] | None = None) -> None:
        """Write a tree, claim it, read it back, and compare everything that the report does not name."""
        path = self.target(folder)
        fitted = self.save(path, tree, attributes)
        with Source(path) as source:
            assert self.backend.sniff(source), "sniff denies what save wrote"
            stored = self.open(source)
            if self.holds.attributes == "none":
                stored, tree = Stored(_arrays(stored.tree)), _arrays(tree)
            else:
                assert not fitted.losses, [str(loss) for loss in fitted.losses]
                assert dict(stored.attributes) == dict(attributes or {})
            assert differences(tree, stored.tree) == []

    # What it is.

    def test_states_what_it_is(self) -> None:
        assert self.backend.name and self.backend.name == self.backend.name.strip().lower()
        assert self.backend.looks_for != Backend.looks_for, "say in looks_for what sniff looks for"
        assert all(suffix.startswith(".") for suffix in self.backend.suffixes)
        if self.backend.holds is not None:
            assert self.backend.holds.dtypes <= set(ITEMSIZE)
            assert self.backend.holds.attributes in ("json", "text", "none")

    # Claiming.

    @pytest.mark.parametrize("kind", sorted(FOREIGN))
    def test_denies_other_formats(self, tmp_path: Path, kind: str) -> None:
        if kind in self.kindred:
            pytest.skip("its own format")
        path = self.target(tmp_path)
        path.write_bytes(FOREIGN[kind])
        with Source(path) as source:
            assert not _sniff(self.backend, source)

    def test_denies_short_files(self, tmp_path: Path) -> None:
        for length in range(9):
            path = self.target(tmp_path, str(length))
            path.write_bytes(bytes(range(length)))
            with Source(path) as source:
                assert not _sniff(self.backend, source)

    def test_denies_strange_directories(self, tmp_path: Path) -> None:
        path = self.target(tmp_path)
        path.mkdir()
        with Source(path) as source:
            assert not _sniff(self.backend, source)
        (path / "readme.txt").write_text("hello")
        with Source(path) as source:
            assert not _sniff(self.backend, source)

    @pytest.mark.parametrize("kind", sorted(FOREIGN))
    def test_refuses_other_formats_that_it_is_told_to_open(self, tmp_path: Path, kind: str) -> None:
        if kind in self.kindred:
            pytest.skip("its own format")
        path = self.target(tmp_path)
        path.write_bytes(FOREIGN[kind])
        with Source(path) as source, pytest.raises(CheckpointError):
            self.backend.open(source)

    # Arrays.

    @pytest.mark.parametrize("dtype", sorted(ITEMSIZE))
    def test_keeps_the_bits_of_every_dtype(self, tmp_path: Path, dtype: str) -> None:
        if dtype not in self.holds.dtypes:
            pytest.skip(f"{self.backend.name} does not hold {dtype}")
        tree = {f"a{i}": random_array(dtype, shape, seed=i) for i, shape in enumerate(SHAPES)}
        self.check(tmp_path, tree)
        with Source(self.target(tmp_path)) as source:  # and without core's description of the tree
            arrays = [leaf for _, leaf in flatten(self.backend.open(source).tree)]
            assert sorted(str(array.spec) for array in arrays) == sorted(str(a.spec) for a in tree.values())

    def test_keeps_signalling_nans_and_signed_zeros(self, tmp_path: Path) -> None:
        if "float32" not in self.holds.dtypes:
            pytest.skip("no float32")
        bits = np.array([0x7F800001, 0xFFC12345, 0x80000000, 0x7F800000, 1], np.uint32)
        self.check(tmp_path, {"a": LazyArray.from_numpy(bits.view(np.float32))})
        with Source(self.target(tmp_path)) as source:
            assert self.open(source).tree["a"].read().view(np.uint32).tolist() == bits.tolist()

    def test_writes_arrays_that_are_not_contiguous(self, tmp_path: Path) -> None:
        storage, width = _storage_of(24, self.dtype), ITEMSIZE[self.dtype]
        whole = LazyArray((4, 6), self.dtype, storage)
        transposed = LazyArray((6, 4), self.dtype, storage, 0, (width, 6 * width))
        backwards = LazyArray((24,), self.dtype, storage, 23 * width, (-width,))
        expanded = LazyArray((5, 3), self.dtype, storage, 0, (0, width))
        halves = [
            Piece(storage, 0, None, ((0, 1), (0, 6))),
            Piece(storage, 12 * width, None, ((1, 2), (0, 6))),
        ]
        pieces = LazyArray.from_pieces((2, 6), self.dtype, halves)
        path = self.target(tmp_path)
        views = {"t": transposed, "b": backwards, "e": expanded, "p": pieces, "w": whole}
        self.save(path, views)
        data = whole.read()
        expected = {
            "t": data.T,
            "b": data.reshape(-1)[::-1],
            "e": np.stack([data[0, :3]] * 5),
            "p": data[::2],
            "w": data,
        }
        with Source(path) as source:
            tree = self.open(source).tree
            for name, array in expected.items():
                assert tree[name].shape == array.shape
                assert tree[name].read().tobytes() == array.tobytes(), name

    def test_writes_arrays_in_the_other_byte_order(self, tmp_path: Path) -> None:
        array = LazyArray.from_numpy(
            np.arange(6, dtype=np.float32 if "float32" in self.holds.dtypes else np.int32)
        )
        swapped = LazyArray(
            array.shape, array.dtype, MemoryStorage(array.read().byteswap().tobytes())
        ).byteswapped()
        self.save(self.target(tmp_path), {"a": swapped})
        with Source(self.target(tmp_path)) as source:
            assert same_leaf(array, self.open(source).tree["a"])

    def test_reads_slices(self, tmp_path: Path) -> None:
        array = random_array(self.dtype, (5, 4, 3), seed=3)
        self.save(self.target(tmp_path), {"a": array})
        indices: list[Any] = [
            0,
            -1,
            slice(1, 3),
            slice(None, None, -2),
            (..., 1),
            (2, slice(1, None), 0),
            ...,
            slice(4, 2),
        ]
        with Source(self.target(tmp_path)) as source:
            lazy = self.open(source).tree["a"]
            for index in indices:
                assert lazy[index].tobytes() == array.read()[index].tobytes(), index

    def test_tied_arrays(self, tmp_path: Path) -> None:
        array = random_array(self.dtype, (3, 4))
        other = random_array(self.dtype, (3, 4), seed=1)
        path = self.target(tmp_path)
        fitted = self.save(path, {"a": array, "b": other, "c": array})
        with Source(path) as source:
            stored, tied = unfit(self.backend.open(source), self.holds)
            assert differences({"a": array, "b": other, "c": array}, stored.tree) == []
            if self.holds.sharing:
                assert stored.tree["a"].identity == stored.tree["c"].identity != stored.tree["b"].identity
            elif self.holds.attributes != "none":
                assert tied == ((("a",), ("c",)),)
            else:
                assert fitted.losses

    # Trees.

    def test_keeps_nested_trees(self, tmp_path: Path) -> None:
        array = random_array(self.dtype, (2, 3))
        tree = {
            "model": {
                "encoder": {"0": {"weight": array, "bias": random_array(self.dtype, (3,), 1)}, "1": {}}
            },
            "state": [array_like(self.dtype, 2), (array_like(self.dtype, 3), [], ()), {"x": (1, 2)}],
            7: {True: "yes", None: "nothing", (1, "a"): 2.5},
            "record": Record("argparse.Namespace", {"lr": 0.1, "seed": array_like(self.dtype, 4)}),
            "values": [
                None,
                True,
                1,
                -1,
                2**40,
                2**70,
                0.5,
                float("-inf"),
                1 + 2j,
                "text",
                b"bytes",
                np.float32(1.5),
            ],
        }
        self.check(tmp_path, tree)

    @pytest.mark.parametrize(
        "tree", [{}, {"a": {}}, {"a": {"b": []}}, [], (), {"a": None}, None, 5], ids=repr
    )
    def test_keeps_trees_without_arrays(self, tmp_path: Path, tree: Any) -> None:
        self.check(tmp_path, tree)

    def test_keeps_a_bare_array(self, tmp_path: Path) -> None:
        if self.holds.attributes == "none":
            pytest.skip("the shape of the tree is lost where there is no metadata")
        self.check(tmp_path, random_array(self.dtype, (2, 3)))

    def test_keeps_awkward_names(self, tmp_path: Path) -> None:
        names = [
            "a",
            "a.b",
            "a/b",
            "",
            ".",
            "..",
            "../x",
            "/x",
            "a\\b",
            "ä 漢字",
            "'",
            "%2F",
            "\n",
            "$x",
            "~",
            "x" * 200,
        ]
        self.check(tmp_path, {name: random_array(self.dtype, (2,), seed) for seed, name in enumerate(names)})

    def test_keeps_names_that_meet_when_joined(self, tmp_path: Path) -> None:
        if self.holds.unique_names:
            pytest.skip("names must be unique once they are joined")
        self.check(
            tmp_path,
            {
                "a": {"b": random_array(self.dtype, (2,), 1)},
                "a.b": random_array(self.dtype, (2,), 2),
                "x": {"0": random_array(self.dtype, (2,), 3), 0: random_array(self.dtype, (2,), 4)},
            },
        )

    def test_keeps_reserved_names(self, tmp_path: Path) -> None:
        self.check(
            tmp_path, {name: random_array(self.dtype, (2,)) for name in [*sorted(self.holds.reserved), "x"]}
        )

    def test_keeps_the_order_of_keys(self, tmp_path: Path) -> None:
        names = ["b", "a", "10", "9", "Z", "c"]
        self.check(
            tmp_path, {name: random_array(self.dtype, (seed,), seed) for seed, name in enumerate(names)}
        )

    def test_holds_natively_what_it_states(self, tmp_path: Path) -> None:
        values = _values(self.holds.values)
        kinds = self.holds.containers
        if not kinds:
            pytest.skip("a flat table of arrays")
        tree: dict[Any, Any] = {"array": random_array(self.dtype, (2,)), "values": values}
        if "list" in kinds:
            tree["list"] = [1, [2, []]] if "int" in self.holds.values else [[], [[]]]
        if "tuple" in kinds:
            tree["tuple"] = ((), ((),))
        if "OrderedDict" in kinds:
            tree["ordered"] = Record("collections.OrderedDict", {"b": {}, "a": {}})
        keys = {"int": 3, "float": 0.5, "bytes": b"k", "None": None, "bool": True, "tuple": (1, "a")}
        tree["keys"] = {key: {} for kind, key in keys.items() if kind in self.holds.keys}
        fitted = self.save(self.target(tmp_path), tree)
        assert not fitted.carried and not fitted.losses, [str(r) for r in (*fitted.carried, *fitted.losses)]
        with Source(self.target(tmp_path)) as source:
            assert differences(tree, self.backend.open(source).tree, ordered=self.holds.order) == []

    def test_keeps_integers_of_the_stated_width(self, tmp_path: Path) -> None:
        bits = self.holds.int_bits or 200
        self.check(
            tmp_path,
            {"a": random_array(self.dtype, ()), "ints": [-(1 << (bits - 1)), (1 << (bits - 1)) - 1, 0]},
        )

    def test_keeps_attributes(self, tmp_path: Path) -> None:
        if self.holds.attributes == "none":
            pytest.skip("no attributes")
        attributes = {"format": "pt", "text": 'ä "quoted" \n', "long": "x" * 100_000}
        nested = {"number": 3, "nested": {"list": [1, None, True, 0.5]}, "empty": {}}
        for index, tree in enumerate(
            [{"a": random_array(self.dtype, (2,))}, {"n": {"a": random_array(self.dtype, ())}}, {}]
        ):
            folder = tmp_path / str(index)
            folder.mkdir()
            self.check(folder, tree, {**attributes, **nested})
            if self.holds.attributes == "json":
                with Source(self.target(folder)) as source:
                    assert self.backend.open(source).attributes.items() >= nested.items()

    def test_many_leaves(self, tmp_path: Path) -> None:
        self.check(
            tmp_path,
            {
                f"layer{i}": {"w": random_array(self.dtype, (2, i % 3), i), "b": array_like(self.dtype, i)}
                for i in range(600)
            },
        )

    # Files.

    def test_reading_after_close_is_an_error(self, tmp_path: Path) -> None:
        self.save(self.target(tmp_path), {"a": random_array(self.dtype, (64, 64))})
        with Source(self.target(tmp_path)) as source:
            array = self.open(source).tree["a"]
            array[:1]
        with pytest.raises(ClosedError, match="closed"):
            array.read()

    def test_saving_is_deterministic(self, tmp_path: Path) -> None:
        tree = {
            "b": {"w": random_array(self.dtype, (3, 4))},
            "a": random_array(self.dtype, ()),
            "n": [1, None, "x"],
        }
        contents = []
        for name in ("first", "second"):
            folder = tmp_path / name
            folder.mkdir()
            self.save(self.target(folder), tree, {"key": "value"})
            contents.append(
                {name: data for name, data in _files(folder).items() if Path(name).name not in self.volatile}
            )
        assert contents[0] == contents[1]

    @pytest.mark.parametrize("has_old", [False, True])
    def test_an_aborted_save_leaves_nothing(self, tmp_path: Path, has_old: bool) -> None:
        path = self.target(tmp_path)
        if has_old:
            self.save(path, {"old": random_array(self.dtype, (2,))})
        before = _files(tmp_path)
        broken = LazyArray((64,), self.dtype, _Failing(64 * ITEMSIZE[self.dtype]))
        tree = {"a": random_array(self.dtype, (2,)), "broken": broken, "z": random_array(self.dtype, (2,))}
        with pytest.raises(_DiskError):
            self.save(path, tree, force=True)
        gc.collect()
        assert _files(tmp_path) == before

    def test_truncated_files_are_refused(self, tmp_path: Path) -> None:
        tree = self._small_tree()
        path = self.target(tmp_path)
        self.save(path, tree, {"note": "x"} if self.holds.attributes != "none" else {})
        for file in _regular_files(path):
            data = file.read_bytes()
            for length in sorted({*np.linspace(0, len(data) - 1, 60).astype(int).tolist(), len(data) - 1}):
                file.write_bytes(data[:length])
                self._same_or_refused(path, tree, f"{file.name} cut to {length} of {len(data)} bytes")
            file.write_bytes(data)

    def test_missing_files_are_refused(self, tmp_path: Path) -> None:
        tree = self._small_tree()
        path = self.target(tmp_path)
        self.save(path, tree)
        if not path.is_dir():
            pytest.skip("a single file")
        for file in _regular_files(path):
            data = file.read_bytes()
            file.unlink()
            self._same_or_refused(path, tree, f"without {file.name}")
            file.write_bytes(data)

    def test_damaged_files_raise_no_other_errors(self, tmp_path: Path) -> None:
        path = self.target(tmp_path)
        self.save(path, self._small_tree())
        random = np.random.default_rng(11)
        for file in _regular_files(path):
            data = file.read_bytes()
            for _ in range(150):
                damaged = bytearray(data)
                for _ in range(int(random.integers(1, 4))):
                    damaged[int(random.integers(len(data)))] = int(random.integers(256))
                file.write_bytes(damaged)
                with _Damaged(self, path) as tree:
                    del tree
            file.write_bytes(data)

    def _small_tree(self) -> dict[str, Any]:
        return {
            "model": {"w": random_array(self.dtype, (5, 7)), "b": random_array(self.dtype, (7,), 1)},
            "step": 3,
            "name": "x",
        }

    def _same_or_refused(self, path: Path, tree: Any, what: str) -> None:
        with _Damaged(self, path) as opened:
            if opened is not None:
                found = differences(
                    *(map(_arrays, (tree, opened)) if self.holds.attributes == "none" else (tree, opened))
                )
                assert not found, f"{what}: {found}"

    # The official library.

    def test_the_official_library_reads_it(self, tmp_path: Path) -> None:
        wanted = self.official_dtypes if self.official_dtypes is not None else self.holds.dtypes
        tree = {
            f"{dtype}_{len(shape)}_{int(np.prod(shape))}": random_array(dtype, shape, seed)
            for seed, dtype in enumerate(sorted(wanted))
            for shape in SHAPES
        }
        self.save(self.target(tmp_path), tree, {"note": "x"} if self.holds.attributes != "none" else {})
        loaded = self.official_load(self.target(tmp_path))
        if loaded is None:
            pytest.skip("no official library")
        assert sorted(loaded) == sorted(tree)
        for name, array in tree.items():
            official = np.asarray(loaded[name])
            assert (official.shape, official.dtype.name) == (array.shape, array.dtype), name
            assert official.tobytes() == array.read().tobytes(), name


# Details.


def array_like(dtype: str, seed: int) -> LazyArray:
    """A small array of its own."""
    return random_array(dtype, (1 + seed % 3,), seed)


def _sniff(backend: Backend, source: Source) -> bool:
    try:
        return backend.sniff(source)
    except CheckpointError:
        return False


def _values(kinds: frozenset[str]) -> dict[str, Any]:
    samples: dict[str, Sequence[Any]] = {
        "None": [None],
        "bool": [True, False],
        "int": [0, 1, -1, 127, 128, -32, -33, 255, 256, 65535, 65536, -(2**31), 2**32, 2**62, -(2**62)],
        "float": [0.0, -0.0, 0.1, float("inf"), float("nan"), 1e300],
        "complex": [1 - 2j],
        "str": ["", "text", "ä" * 300, "\0"],
        "bytes": [b"", b"\x00\xff" * 200],
        "scalar": [np.float32(0.1), np.int8(-3), np.bool_(True), np.float64(2.5), np.uint64(2**63)],
    }
    return {f"{kind}{i}": value for kind in sorted(kinds) for i, value in enumerate(samples.get(kind, ()))}


def _arrays(tree: Any) -> dict[str, LazyArray]:
    return {".".join(map(str, path)): leaf for path, leaf in flatten(tree) if isinstance(leaf, LazyArray)}


def _storage_of(count: int, dtype: str) -> Storage:
    return random_array(dtype, (count,), seed=5).pieces[0].storage


def _files(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def _regular_files(path: Path) -> list[Path]:
    return [path] if path.is_file() else [file for file in sorted(path.rglob("*")) if file.is_file()]


class _Damaged:
    """Open a file that may be damaged and read all of it: the tree, or None where it was refused."""

    def __init__(self, tests: BackendTests, path: Path) -> None:
        self.tests = tests
        self.path = path

    def __enter__(self) -> Any:
        self.source = Source(self.path)
        try:
            if not self.tests.backend.sniff(self.source):
                return None
            tree = self.tests.open(self.source).tree
            for _, leaf in flatten(tree):
                if isinstance(leaf, LazyArray):
                    leaf.read()
            return tree
        except CheckpointError:
            return None

    def __exit__(self, *_: object) -> None:
        self.source.close()


class _DiskError(Exception):
    """What a disk that fails raises."""


class _Failing(Storage):
    """A storage that cannot be read."""

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes

    def read_into(self, offset: int, buffer: memoryview) -> None:  # noqa: ARG002  # the signature is Storage's
        raise _DiskError
