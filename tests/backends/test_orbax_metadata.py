"""The `_METADATA` of an Orbax item, read entry by entry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ckpt_flax.orbax import entries
from ckpt_flax.orbax.metadata import build_tree, read_metadata

from ckpt_core.errors import DamagedFileError, LimitError
from ckpt_core.source import Source

ARRAY = {"value_type": "jax.Array", "skip_deserialize": False, "write_shape": [2, 2]}


def entry(*keys: str, value: Any = ARRAY, positions: tuple[int, ...] = ()) -> tuple[str, Any]:
    """An entry as Orbax makes it; `positions` are the places of the keys that are positions in a list."""
    parts = [{"key": key, "key_type": 1 if place in positions else 2} for place, key in enumerate(keys)]
    return str(keys), {"key_metadata": parts, "value_metadata": value}


MANY = [
    *(entry("layers", str(i), "w") for i in range(50)),
    *(entry("layers", str(i), "b", value={**ARRAY, "write_shape": [i]}) for i in range(50)),
    *(entry("state", str(i), "mu", positions=(1,)) for i in range(3)),
    entry("alone"),
    entry("100%", "%s", "%(a)s"),
    entry("it's", 'a "b"', "c"),
    entry("a\\b", "tab\t", "ü€😀"),
    entry("a', 'b", "c"),
    entry("", ""),
    entry("", "", ""),
    entry("x", "none", value={"value_type": "None", "skip_deserialize": True}),
    entry("x", "odd", value={"value_type": '}}, "', "skip_deserialize": True}),
    entry("x", "odd too", value={"value_type": '}}, "', "skip_deserialize": True}),
    entry("x", "more", value={"value_type": "jax.Array", "more": {"a": [{}, {"b": 1}]}}),
    entry("x", "long", value={"value_type": "jax.Array", "more": "x" * 1000}),
    entry("x", "long too", value={"value_type": "jax.Array", "more": "x" * 1000}),
    entry(*map(str, range(400))),
    *(entry("layers", str(i), "c") for i in range(50)),
]
"""Entries in the form that Orbax gives them, and some that try it."""


def expected(found: list[tuple[str, Any]]) -> list[Any]:
    leaves = []
    for _, value in found:
        keys = tuple(part["key"] for part in value["key_metadata"])
        positions = tuple(part["key_type"] == 1 for part in value["key_metadata"])
        metadata = value["value_metadata"]
        leaves.append((keys, (positions, metadata["value_type"], metadata.get("skip_deserialize") is True)))
    return leaves


def written(found: list[tuple[str, Any]], **form: Any) -> str:
    text = json.dumps({"custom_metadata": {"a": 1}, "tree_metadata": dict(found), "use_ocdbt": True}, **form)
    assert len(dict(found)) == len(found)
    return text


FORMS: list[dict[str, Any]] = [{}, {"indent": 2}, {"separators": (",", ":")}, {"ensure_ascii": False}]


@pytest.mark.parametrize("block", [1, 64, 1000, 1 << 18])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32-le"])
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_entries_however_they_are_written(
    form: dict[str, Any], encoding: str, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entries, "_BLOCK", block)
    monkeypatch.setattr(entries, "_AHEAD", block // 4)
    path = tmp_path / "_METADATA"
    path.write_bytes(f" \n{written(MANY, **form)}\n".encode(encoding))
    metadata = read_metadata(Source(path))
    assert metadata.leaves == expected(MANY)
    assert metadata.custom == {"a": 1}


@pytest.mark.parametrize("length", [0, 1, 100, (1 << 14) - 1, 1 << 14, 1 << 18, 1 << 20])
def test_entries_at_the_ends_of_blocks(length: int, tmp_path: Path) -> None:
    found = [entry("x" * length, "w"), *(entry("layers", str(i), "w") for i in range(3000)), *MANY[50:]]
    path = tmp_path / "_METADATA"
    path.write_text(written(found))
    assert read_metadata(Source(path)).leaves == expected(found)


def spoiled(old: str, new: str) -> str:
    """The text of the entries with something else in the fortieth, which is like those before it."""
    name, value = MANY[40]
    text = f"{json.dumps(name)}: {json.dumps(value)}"
    whole = written(MANY)
    assert text in whole
    assert old in text
    return whole.replace(text, text.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('"key_type": 2}], ', '"key_type": 2}] ', r"is not valid JSON \(Expecting ',' delimiter at char"),
        ('{"key": "layers"', '{"key": "layers\t"', "is not valid JSON .Invalid control character"),
        ("[2, 2]}}", "[2, 2]}", "an entry of the tree is incomplete"),
        ("[2, 2]}}", "[2, 2]}}}", "is not valid JSON|an entry of the tree is incomplete"),
        ("[2, 2]}}", "[2, 2}}", "is not valid JSON"),
        ('"key_metadata"', '"keys"', "an entry of the tree is incomplete"),
        ('"value_type"', '"type"', "an entry of the tree is incomplete"),
        ('"value_metadata"', '"values"', "an entry of the tree is incomplete"),
        ('"key": "w"', '"name": "w"', "an entry of the tree is incomplete"),
        ("(", '"(', "is not valid JSON"),
    ],
)
def test_a_damaged_entry_among_many(old: str, new: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "_METADATA"
    path.write_text(spoiled(old, new))
    with pytest.raises(DamagedFileError, match=reason):
        read_metadata(Source(path))


def test_keys_are_those_of_the_entry_and_not_of_its_name(tmp_path: Path) -> None:
    path = tmp_path / "_METADATA"
    path.write_text(spoiled('"key": "40"', '"key": "other"'))
    assert read_metadata(Source(path)).leaves[40][0] == ("layers", "other", "w")
    path.write_text(spoiled('"key_type": 2}], ', '"key_type": 1}], '))
    assert read_metadata(Source(path)).leaves[40][1].positions == (False, False, True)


def test_an_entry_that_is_there_twice_is_handed_on_twice(tmp_path: Path) -> None:
    path = tmp_path / "_METADATA"
    name, value = MANY[39]
    text = f"{json.dumps(name)}: {json.dumps(value)}"
    path.write_text(written(MANY).replace(text, f"{text}, {text}"))
    leaves = read_metadata(Source(path)).leaves
    assert len(leaves) == len(MANY) + 1
    with pytest.raises(DamagedFileError, match="an entry is given twice or inside another"):
        build_tree([(keys, kind.positions, None) for keys, kind in leaves], "here")


def test_more_levels_than_there_may_be(tmp_path: Path) -> None:
    path = tmp_path / "_METADATA"
    path.write_text(written([entry(*map(str, range(501)))]))
    with pytest.raises(LimitError, match="nested deeper than 500 levels"):
        read_metadata(Source(path))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is not a JSON object"),
        ("[]", "is not a JSON object"),
        ('{"tree_metadata": {}} x', "more after its end at char 22"),
        ('{"tree_metadata": {}, }', "a name is expected|Expecting value at char"),
        ('{"tree_metadata": {1: 1}}', "a name is expected"),
        ('{"tree_metadata": {"a" 1}}', "one of : is expected at char 22"),
        ('{"tree_metadata": 12', "one of ,} is expected"),
        ('{"tree_metadata": []}', "has no tree_metadata"),
        ("{}", "has no tree_metadata"),
    ],
)
@pytest.mark.parametrize("block", [1, 1 << 18])
def test_documents_that_are_none(
    text: str, reason: str, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entries, "_BLOCK", block)
    path = tmp_path / "_METADATA"
    path.write_text(text)
    with pytest.raises(DamagedFileError, match=reason):
        read_metadata(Source(path))


# The tree.


def test_containers_and_values_are_told_apart() -> None:
    no = (False, False)
    assert build_tree([(("a", "b"), no, {}), (("a", "c"), no, 1)], "p") == {"a": {"b": {}, "c": 1}}
    with pytest.raises(DamagedFileError, match="inside another"):
        build_tree([(("a",), (False,), {}), (("a", "b"), no, 1)], "p")
    with pytest.raises(DamagedFileError, match="inside another"):
        build_tree([(("a", "b"), no, 1), (("a",), (False,), {})], "p")
    with pytest.raises(DamagedFileError, match="inside another"):
        build_tree([((), (), {}), (("a",), (False,), 1)], "p")
    with pytest.raises(DamagedFileError, match="inside another"):
        build_tree([(("a",), (False,), 1), ((), (), {})], "p")


def test_lists_are_those_whose_keys_are_all_the_positions() -> None:
    def tree(*keys: tuple[str, ...], dicts: tuple[int, ...] = ()) -> Any:
        positions = [tuple(key.isdigit() and i not in dicts for key in row) for i, row in enumerate(keys)]
        return build_tree(list(zip(keys, positions, range(len(keys)), strict=True)), "p")

    assert tree(("a", "1"), ("b",), ("a", "0")) == {"a": [2, 0], "b": 1}
    assert tree(("a", "0"), ("a", "2")) == {"a": {"0": 0, "2": 1}}
    assert tree(("a", "0"), ("a", "1"), dicts=(1,)) == {"a": {"0": 0, "1": 1}}
    assert tree(("0", "0", "x"), ("0", "1"), ("1",)) == [[{"x": 0}, 1], 2]


@pytest.mark.parametrize(("keys", "dotted"), [(("a", "b"), False), (("a.b",), True), (("a", ""), False)])
def test_dots_in_keys_are_noticed(keys: tuple[str, ...], dotted: bool, tmp_path: Path) -> None:
    path = tmp_path / "_METADATA"
    path.write_text(written([entry("x", "y"), entry(*keys), entry("x", "z")]))
    assert read_metadata(Source(path)).dotted is dotted
