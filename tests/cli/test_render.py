from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpt_core.cli.fold import branch_of, tree_rows
from ckpt_core.cli.redact import hide, hide_paths
from ckpt_core.cli.render import (
    clean,
    clean_lines,
    count_text,
    duration_text,
    size_text,
    table,
    time_text,
    value_text,
)
from ckpt_core.rendering.folding import fold_names, number_ranges


def leaf(path: str, shape: tuple[int, ...] = (2,), dtype: str = "float32") -> dict[str, Any]:
    return {"path": path, "shape": list(shape), "dtype": dtype, "nbytes": 8}


def names(*leaves: dict[str, Any]) -> list[str]:
    return [row[0].strip() for row in tree_rows(branch_of(leaves))]


def test_equal_blocks_fold():
    assert names(*(leaf(f"h/{i}/{w}") for i in range(24) for w in ("a", "b"))) == ["h.{0..23}", "a", "b"]


def test_numbers_inside_of_names_fold():
    assert names(*(leaf(f"layer_{i}/w") for i in sorted(range(12), key=str)), leaf("head")) == [
        "layer_{0..11}.w",
        "head",
    ]


def test_gaps_are_shown():
    assert names(*(leaf(f"h/{i}") for i in (0, 1, 2, 5, 7, 8))) == ["h.{0..2,5,7,8}"]


@pytest.mark.parametrize("odd", [leaf("h/1/w", (3,)), leaf("h/1/w", dtype="int8"), leaf("h/1/v")])
def test_blocks_that_differ_do_not_fold(odd):
    shown = names(leaf("h/0/w"), odd, leaf("h/2/w"))
    assert shown[0] == "h"
    assert shown[1].startswith("{0,2}")
    assert shown[2].startswith("1")


def test_folded_sizes_count_every_copy():
    rows = tree_rows(branch_of([leaf(f"h/{i}/{j}/w") for i in range(3) for j in range(4)]))
    assert rows == [("h.{0..2}.{0..3}.w", "[2]", "float32  x 12", "96 B")]


def test_a_leaf_and_a_branch_of_one_name_both_stay():
    root = branch_of([leaf("a"), leaf("a/b"), leaf("a/c/d"), leaf("a")])
    assert root.arrays == 4


@given(st.lists(st.text(st.sampled_from("ab0123/."), min_size=1, max_size=8), max_size=20))
def test_nothing_is_lost_by_folding(paths):
    root = branch_of([leaf(path) for path in paths])
    assert (root.arrays, root.nbytes) == (len(paths), 8 * len(paths))
    assert sum(count for _, count, _ in fold_names([(path, "x") for path in paths])) == len(paths)


def test_a_large_tree_folds_in_linear_work():
    # Quadratic work on this many leaves would run into the test's timeout.
    leaves = [leaf(f"layer_{i}/part{'abcdefghij'[i % 7]}/{i}/w") for i in range(100_000)]
    root = branch_of(leaves)
    assert len(tree_rows(root)) == root.arrays == 100_000


def test_deep_names_need_no_stack():
    assert tree_rows(branch_of([leaf("/".join("a" * 5000)), leaf("/".join("a" * 4000 + "b"))]))


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        (["0"], "{0}"),
        (["1", "0"], "{0,1}"),
        (["00", "01", "02"], "{00..02}"),
        (list("13579"), "{1,3,5,...,9}"),
    ],
)
def test_number_ranges(numbers, text):
    assert number_ranges(numbers) == text


def test_fold_names():
    items = [(f"h/{i}/{j}", "gone") for i in range(2) for j in range(3)] + [
        ("h/0/0", "kept"),
        ("x\x1b", "gone"),
    ]
    assert fold_names(items) == [("h/{0,1}/{0..2}", 6, 0), ("h/0/0", 1, 6), ("x\\x1b", 1, 7)]


@given(st.text())
def test_clean_text_is_printable(text):
    assert clean(text).isprintable()
    assert len(clean(text, 20)) <= 20 * 10
    assert all(line.isprintable() for line in clean_lines(text).split("\n"))


def test_numbers_for_people():
    assert [size_text(n) for n in (0, 999, 1000, 999_960, 1_400_000_000)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "1.0 MB",
        "1.4 GB",
    ]
    assert [count_text(n) for n in (1, 12_345, 124_400_000)] == ["1", "12,345", "124 M"]
    assert [duration_text(s) for s in (0.0123, 2.5, 125)] == ["12 ms", "2.5 s", "2 min 5 s"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1714739696, "2024-05-03 12:34:56 UTC (1714739696)"),
        (1714739696000, "2024-05-03 12:34:56 UTC (1714739696000)"),
        ("2024-05-03T12:00:00", "2024-05-03T12:00:00"),
        (12, "12"),
        (1e300, "1e+300"),
    ],
)
def test_time_text(value, text):
    assert time_text(value) == text


def test_value_text():
    assert value_text([1.0, 0.5] * 50) == "[1, 0.5, 1, ... 0.5] (100 values)"
    assert value_text({"shape": [2], "dtype": "int8", "nbytes": 2}) == "int8[2]"
    assert value_text("") == '""'
    assert len(value_text("x" * 10_000)) <= 100


def test_table_aligns():
    assert table([("a", "1"), ("bbb", "22")], right=frozenset({1})) == ["  a     1", "  bbb  22"]
    assert table([]) == []


def test_hide_keeps_structure_alone():
    assert hide({"a": [1, "x", None, 0.5, True], "/home/jane": {"b": "y"}}) == {
        "a": ["<int>", "<str>", None, "<float>", "<bool>"],
        "<key 1>": {"b": "<str>"},
    }


@pytest.mark.parametrize(
    "text", ["at /home/jane/x.pth: gone", "Looked at ~/jane.", "see ../jane/x", "jane.pth: bad"]
)
def test_hide_paths(text):
    assert "jane" not in hide_paths(text, "jane.pth")
