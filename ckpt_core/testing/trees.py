"""Trees: containers, keys, order, values and metadata."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpt_core.arrays import LazyArray
from ckpt_core.source import Source
from ckpt_core.testing.case import BackendCase
from ckpt_core.testing.compare import differences
from ckpt_core.testing.samples import random_array
from ckpt_core.tree import Record

__all__ = ["TreeTests"]


class TreeTests(BackendCase):
    """Trees come back exactly, natively where the backend says so."""

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
            tree["ordered"] = Record("collections.OrderedDict", {"b": {}, "a": {}}, state={"x": {}})
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


def array_like(dtype: str, seed: int) -> LazyArray:
    """A small array of its own."""
    return random_array(dtype, (1 + seed % 3,), seed)


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
