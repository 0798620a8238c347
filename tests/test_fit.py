"""Fitting a tree to a container and back: whatever the container holds, the exact tree returns."""

from __future__ import annotations

import datetime
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from trees import TREES, same

from ckpt_core.aliases import unshare
from ckpt_core.arrays import LazyArray
from ckpt_core.backend import Holds, Stored
from ckpt_core.dtypes import to_numpy
from ckpt_core.fitting.fit import fit
from ckpt_core.fitting.neutral import DOCUMENT
from ckpt_core.fitting.unfit import unfit
from ckpt_core.storage import MemoryStorage
from ckpt_core.tree import Alias, Part, Record, children, flatten

FLAT = Holds(attributes="text", reserved=frozenset({"__metadata__"}))
JSONISH = Holds(
    values=frozenset({"None", "bool", "int", "float", "str"}), containers=frozenset({"dict", "list"})
)
PICKLISH = Holds(
    values=frozenset({"None", "bool", "int", "float", "complex", "str", "bytes", "scalar"}),
    containers=frozenset({"dict", "list", "tuple", "OrderedDict"}),
    keys=frozenset({"str", "int", "float", "bool", "None", "bytes", "tuple"}),
    int_bits=None,
    sharing=True,
)
CONTAINERS = {"flat": FLAT, "jsonish": JSONISH, "picklish": PICKLISH}


def check_native(tree, holds: Holds) -> None:
    """Nothing in a fitted tree may be of a kind that the container does not hold."""
    if not holds.containers:
        assert type(tree) is dict
        assert all(type(key) is str and isinstance(leaf, LazyArray) for key, leaf in tree.items())
        return
    stack = [tree]
    while stack:
        node = stack.pop()
        pairs = children(node)
        if pairs is None:
            assert (
                isinstance(node, LazyArray)
                or type(node).__name__.replace("NoneType", "None") in holds.values
                or (isinstance(node, np.generic) and "scalar" in holds.values)
            )
            continue
        kind = "OrderedDict" if isinstance(node, Record) else type(node).__name__
        assert kind in holds.containers
        stack += [child for key, child in pairs if key != Part("state")]


@pytest.mark.parametrize("name", sorted(CONTAINERS))
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(tree=TREES)
def test_the_exact_tree_returns_from_any_container(name, tree):
    holds = CONTAINERS[name]
    fitted = fit(Stored(tree, {"format": "pt"}), holds)
    assert fitted.losses == ()
    check_native(fitted.stored.tree, holds)
    json.dumps(dict(fitted.stored.attributes))
    back, _ = unfit(fitted.stored, holds)
    assert back.notes == ()
    assert same(tree, back.tree)
    assert back.attributes == {"format": "pt"}


def array(*values, dtype=np.float32) -> LazyArray:
    return LazyArray.from_numpy(np.array(values, dtype))


def test_what_fits_needs_no_document():
    tree = {"a.b": array(1), "c": array(2)}
    assert fit(Stored(tree), FLAT).stored == Stored(tree, {})
    nested = {"params": {"w": array(1)}, "step": 3, "names": ["a", None]}
    assert fit(Stored(nested), JSONISH).stored.attributes == {}
    everything = {0: {"x": (1, array(2))}, "big": 2**100, "s": np.float32(1)}
    assert fit(Stored(everything), PICKLISH).carried == ()


def test_nearest_values_are_written_for_readers_that_know_no_document():
    tree = {
        "args": Record("argparse.Namespace", {"lr": 0.1, "betas": (0.9, 0.99)}),
        "loss": np.float32(0.5),
        3: "x",
        "when": datetime.date(2026, 1, 2),
    }
    assert fit(Stored(tree), JSONISH).stored.tree == {
        "args": {"lr": 0.1, "betas": [0.9, 0.99]},
        "loss": 0.5,
        "3": "x",
        "when": "2026-01-02",
    }


def test_names_that_collide_are_kept_apart():
    tree = {"a.b": array(1), "a": {"b": array(2)}, "__metadata__": array(3)}
    fitted = fit(Stored(tree), FLAT)
    assert sorted(fitted.stored.tree) == ["__metadata__'", "a.b", "a/b"]
    back, _ = unfit(fitted.stored, FLAT)
    assert same(tree, back.tree)
    keys = {0: array(1), "0": array(2)}
    fitted = fit(Stored(keys), JSONISH)
    assert list(fitted.stored.tree) == ["(0)", "0"]
    assert same(keys, unfit(fitted.stored, JSONISH)[0].tree)


def test_unknown_dtypes_are_losses_that_still_come_back():
    holds = Holds(dtypes=frozenset({"uint8", "float32"}), attributes="text")
    tree = {
        "w": LazyArray((2, 3), "complex128", MemoryStorage(np.random.default_rng(0).bytes(96))),
        "v": array(1),
    }
    fitted = fit(Stored(tree), holds)
    assert [str(loss) for loss in fitted.losses] == [
        "dtype complex128 is unknown to the target; the bytes are written as uint8 @ w"
    ]
    assert fitted.stored.tree["w"].shape == (2, 3, 16)
    assert same(tree, unfit(fitted.stored, holds)[0].tree)


def test_ties_are_declared_where_bytes_cannot_be_shared():
    shared = array(1, 2)
    tree = {"a": shared, "b": shared, "c": shared, "d": array(1, 2)}
    fitted = fit(Stored(tree), FLAT)
    assert [str(remark) for remark in fitted.carried] == [
        "tied to a, written as a copy @ b",
        "tied to a, written as a copy @ c",
    ]
    assert unfit(fitted.stored, FLAT)[1] == ((("a",), ("b",), ("c",)),)
    assert fit(Stored(tree), PICKLISH).carried == ()


def test_overlapping_arrays_are_losses_where_bytes_cannot_be_shared():
    storage = MemoryStorage(bytes(16))
    tree = {"a": LazyArray((3,), "float32", storage), "b": LazyArray((3,), "float32", storage, 4)}
    assert [loss.path for loss in fit(Stored(tree), FLAT).losses] == ["b"]
    apart = {"a": LazyArray((2,), "float32", storage), "b": LazyArray((2,), "float32", storage, 8)}
    assert fit(Stored(apart), FLAT).losses == ()


def test_shared_containers_are_shared_or_copied_or_left_out():
    inner = {"w": array(1)}
    tree = unshare({"model": inner, "ema": inner})
    shared = fit(Stored(tree), PICKLISH).stored.tree
    assert shared["ema"] is shared["model"]
    copied = fit(Stored(tree), JSONISH)
    assert set(copied.stored.tree["ema"]) == {"w"}
    assert unfit(copied.stored, JSONISH)[0].tree["ema"] == Alias(("model",))
    cycle = [1]
    cycle.append(cycle)
    fitted = fit(Stored(unshare({"c": cycle})), JSONISH)
    assert fitted.stored.tree == {"c": [1, None]}
    assert unfit(fitted.stored, JSONISH)[0].tree == {"c": [1, Alias(("c",))]}


def test_sharing_bombs_do_not_expand():
    node = {"w": array(1)}
    for _ in range(60):
        node = {"a": node, "b": node}
    fitted = fit(Stored(unshare(node)), JSONISH)
    assert len(flatten(fitted.stored.tree)) < 30_000
    assert len(fitted.carried) == 60, "of a copy nothing more is said than that it is one"


def test_a_description_that_does_not_match_is_set_aside_with_a_note():
    fitted = fit(Stored({"a": (array(1), array(2))}), FLAT).stored
    edited = Stored({"a.0": array(1)}, fitted.attributes)
    back, _ = unfit(edited, FLAT)
    assert list(back.tree) == ["a.0"]
    assert "set aside" in back.notes[0]
    extra = Stored({**fitted.tree, "new": array(3)}, fitted.attributes)
    assert "set aside" in unfit(extra, FLAT)[0].notes[0]
    garbage = Stored(fitted.tree, {DOCUMENT: '{"ckpt_core": 1, "tree": {"$nothing": 1}}'})
    assert "set aside" in unfit(garbage, FLAT)[0].notes[0]


@pytest.mark.parametrize(
    "form",
    [
        {"$alias": "nowhere"},
        {"$alias": "w"},
        {"$alias": 7},
        {"$record": "x.Y", "fields": {}, "args": {"$array": {"name": "w"}}},
        {"$record": "x.Y", "fields": {}, "args": 5},
        {"$record": "x.Y", "fields": {}, "appended": {"a": 1}},
        {"$array": {"name": "absent"}},
        {"$int": "ten"},
        {"$unknown": 1},
    ],
)
def test_a_description_that_leads_nowhere_is_set_aside(form):
    tree = {"w": LazyArray.from_numpy(np.float32(1))}
    document = {"ckpt_core": 1, "tree": {"w": {"$array": {}}, "x": form}}
    back, tied = unfit(Stored(tree, {DOCUMENT: json.dumps(document)}), FLAT)
    assert (back.tree, tied) == (tree, ())
    assert "set aside" in back.notes[0]


def test_deep_trees_are_named_as_a_loss_where_json_cannot_carry_them():
    node = (array(1),)
    for _ in range(200):
        node = (node,)
    fitted = fit(Stored(node), FLAT)
    assert any("JSON cannot describe" in str(loss) for loss in fitted.losses)
    assert len(fitted.stored.tree) == 1


def test_extended_dtypes_return_as_scalars():
    value = np.array([1.5], to_numpy("bfloat16"))[0]
    back = unfit(fit(Stored({"x": value, "w": array(1)}), FLAT).stored, FLAT)[0].tree
    assert type(back["x"]) is type(value)
    assert back["x"] == value


@pytest.mark.parametrize("name", sorted(CONTAINERS))
def test_keys_that_are_objects_are_written_as_their_text_and_named(name):
    """A pickled optimizer holds its state by live parameters."""
    first, second = (LazyArray.from_numpy(np.full(2, fill, np.float32)) for fill in (1, 2))
    mode = Record("app.Mode", args=("train",))
    shared = {"exp_avg": first}
    tree = {"state": {first: shared, second: {"exp_avg": second}, ("a", mode): [1], 3: (2,)}, "again": shared}
    holds = CONTAINERS[name]
    fitted = fit(Stored(unshare(tree)), holds)
    assert [str(remark.text) for remark in fitted.losses] == [
        "a key that is an object, written as its text"
    ] * 3
    check_native(fitted.stored.tree, holds)
    back, _ = unfit(fitted.stored, holds)
    assert not back.notes
    assert [type(key) for key in back.tree["state"]] == [str, str, str, int]
    kept = list(back.tree["state"].values())
    assert [slot["exp_avg"].read().tolist() for slot in kept[:2]] == [[1, 1], [2, 2]]
    assert kept[2:] == [[1], (2,)]
    assert unshare(back.tree)["again"] == Alias(("state", next(iter(back.tree["state"]))))


@pytest.mark.parametrize("name", sorted(CONTAINERS))
@pytest.mark.parametrize(
    "key", [np.int64(3), datetime.date(2024, 1, 1), ("a", np.float32(0.5)), b"a/b"], ids=str
)
def test_shared_containers_are_found_again_below_any_key(name, key):
    """The text of such a key need not be a literal, so that the path of the alias is none either."""
    shared = [1, {"x": LazyArray.from_numpy(np.ones(2))}]
    tree = {
        "m": Record("app.State", {key: shared}, args=({key: [shared]},)),
        "again": shared,
        "inner": shared[1],
    }
    stored = Stored(unshare(tree))
    fitted = fit(stored, CONTAINERS[name])
    assert not fitted.losses
    opened = Stored(unshare(fitted.stored.tree), fitted.stored.attributes)  # as a backend returns it
    back, _ = unfit(opened, CONTAINERS[name])
    assert not back.notes
    assert unshare(back.tree)["again"] == Alias(("m", key))
    assert same(unshare(back.tree), stored.tree)


@pytest.mark.parametrize("holds", [FLAT, JSONISH], ids=["flat", "jsonish"])
@pytest.mark.parametrize(
    "zone", [None, datetime.timezone.utc, datetime.timezone(datetime.timedelta(hours=2), "two")]
)
@pytest.mark.parametrize("fold", [0, 1])
def test_moments_keep_the_name_of_their_zone(holds, zone, fold):
    when = datetime.datetime(2026, 10, 25, 2, 30, 0, 7, tzinfo=zone, fold=fold)
    tree = {"w": array(1), "when": when, "time": when.timetz(), "day": when.date()}
    fitted = fit(Stored(tree), holds)
    assert not fitted.losses
    assert repr(unfit(fitted.stored, holds)[0].tree) == repr(tree)


def test_a_structure_in_itself_is_copied_once_wherever_it_stands():
    parent: dict = {"w": array(1), "child": {}}
    parent["child"]["parent"] = parent
    tree = unshare({"first": {"p": parent}, "again": parent, "child": parent["child"]})
    fitted = fit(Stored(tree), JSONISH)
    assert len(flatten(fitted.stored.tree)) == 6
    assert fitted.stored.tree["again"]["child"] == {"parent": None}
    assert list(fitted.stored.tree["child"]["parent"]) == ["w", "child"]
    assert same(unfit(fitted.stored, JSONISH)[0].tree, tree)


def test_copies_end_before_a_tree_is_too_deep():
    node: list = [array(1)]
    nodes = [node]
    for _ in range(1000):
        node = [node]
        nodes.append(node)
    tree = unshare({"nodes": nodes})
    fitted = fit(Stored(tree), JSONISH)
    assert max(len(path) for path, _ in flatten(fitted.stored.tree)) <= 402
    assert same(unfit(fitted.stored, JSONISH)[0].tree, tree)


def test_a_tuple_that_holds_itself_returns_from_any_container():
    inner: dict = {"w": array(1)}
    looped = (inner, 1)
    inner["t"] = looped
    tree = unshare({"a": looped, "b": looped, "c": inner})
    for holds in CONTAINERS.values():
        stored = fit(Stored(tree), holds).stored
        if holds is PICKLISH:
            native = stored.tree
            assert (
                native["a"][0]["t"] is None and native["b"] is native["a"] and native["c"] is native["a"][0]
            )
        stored = Stored(unshare(stored.tree), stored.attributes)  # as it is read from a file
        assert same(unfit(stored, holds)[0].tree, tree)
