"""Ops: shapes, arrays and inverses agree with numpy, and nothing is copied where strides can say it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpt_core.arrays import ArraySpec, LazyArray
from ckpt_core.errors import UsageError
from ckpt_core.transfer import views
from ckpt_core.transfer.ops import (
    OPS,
    Arrange,
    Cast,
    Concat,
    Constant,
    Copy,
    Deal,
    Flip,
    Initial,
    Op,
    Reshape,
    Resize,
    Skip,
    Split,
    Spread,
    Stack,
    Sum,
    Tie,
    Transpose,
    Unstack,
    chain_specs,
    inverse_chain,
)
from ckpt_core.transfer.optext import parse_op

rng = np.random.default_rng(0)
Arrays = tuple[np.ndarray, ...]


def arrays(*shapes: tuple[int, ...], dtype: str = "float32") -> Arrays:
    return tuple(rng.normal(size=shape).astype(dtype) for shape in shapes)


def run(ops: tuple[Op, ...], given: tuple[LazyArray, ...]) -> tuple[LazyArray, ...]:
    for op in ops:
        given = op.apply(given)
    return given


def lazy(given: Arrays) -> tuple[LazyArray, ...]:
    return tuple(LazyArray.from_numpy(array) for array in given)


CASES: dict[str, tuple[tuple[Op, ...], Arrays, Callable[[Arrays], list[np.ndarray]]]] = {
    "transpose": ((Transpose(),), arrays((2, 3, 4)), lambda a: [a[0].transpose()]),
    "axes": ((Transpose((2, 0, 1)),), arrays((2, 3, 4)), lambda a: [a[0].transpose(2, 0, 1)]),
    "reshape": ((Reshape((6, -1)),), arrays((2, 3, 4)), lambda a: [a[0].reshape(6, 4)]),
    "flip": ((Flip((0, -1)),), arrays((2, 3, 4)), lambda a: [a[0][::-1, :, ::-1]]),
    "split": ((Split(1, 3),), arrays((2, 6)), lambda a: np.split(a[0], 3, 1)),
    "split by sizes": ((Split(-1, sizes=(1, 5)),), arrays((2, 6)), lambda a: np.split(a[0], [1], 1)),
    "concat": ((Concat(0),), arrays((2, 3), (4, 3)), lambda a: [np.concatenate(a)]),
    "stack": ((Stack(1),), arrays((2, 3), (2, 3)), lambda a: [np.stack(a, 1)]),
    "unstack": ((Unstack(1),), arrays((2, 3)), lambda a: [a[0][:, i] for i in range(3)]),
    "arrange": ((Arrange((2, 0, 1)),), arrays((1,), (2,), (3,)), lambda a: [a[2], a[0], a[1]]),
    "copy": ((Copy(2),), arrays((2,)), lambda a: [a[0], a[0]]),
    "spread": ((Spread((2,)),), arrays((3,)), lambda a: [a[0], np.zeros(3, np.float32)]),
    "packed": (
        (Split(0, 3), Transpose(), Reshape((4, 2, -1)), Stack()),
        arrays((18, 4)),
        lambda a: [np.stack([part.T.reshape(4, 2, 3) for part in np.split(a[0], 3)])],
    ),
    "groups": (
        (Concat(0, 2), Stack(0)),
        arrays((1, 2), (1, 2), (1, 2), (1, 2)),
        lambda a: [np.stack([np.concatenate(a[:2]), np.concatenate(a[2:])])],
    ),
    "flattened image": (
        (Reshape((5, 2, 3, 4)), Transpose((2, 3, 1, 0)), Reshape((24, 5))),
        arrays((5, 24)),
        lambda a: [a[0].reshape(5, 2, 3, 4).transpose(2, 3, 1, 0).reshape(24, 5)],
    ),
    "turned twice": (
        (Transpose(), Reshape((12, 2)), Transpose(), Flip((1,))),
        arrays((4, 6)),
        lambda a: [a[0].T.reshape(12, 2).T[:, ::-1]],
    ),
    "a wider dtype": ((Cast("float64"),), arrays((2, 3)), lambda a: [a[0].astype(np.float64)]),
}


@pytest.mark.parametrize("name", CASES)
def test_a_chain_does_what_numpy_does_and_its_inverse_gives_every_bit(name: str) -> None:
    ops, sources, expected = CASES[name]
    given = lazy(sources)
    specs = tuple(array.spec for array in given)
    results = run(ops, given)
    assert tuple(array.spec for array in results) == chain_specs(ops, specs)
    for result, wanted in zip(results, expected(sources), strict=True):
        np.testing.assert_array_equal(result.read(), wanted)
    back = inverse_chain(ops, specs)
    assert isinstance(back, tuple)
    for returned, source in zip(run(back, results), sources, strict=True):
        assert (returned.shape, returned.read().tobytes()) == (source.shape, source.tobytes())


@given(
    st.permutations(range(4)), st.permutations(range(4)), st.lists(st.integers(0, 3), max_size=4, unique=True)
)
def test_views_of_views_are_those_of_numpy(first: list[int], second: list[int], flips: list[int]) -> None:
    source = np.arange(2 * 3 * 4 * 5, dtype=np.int32).reshape(2, 3, 4, 5)
    array = views.transposed(
        views.flipped(views.transposed(LazyArray.from_numpy(source), first), flips), second
    )
    np.testing.assert_array_equal(array.read(), np.flip(source.transpose(first), flips).transpose(second))
    joined = views.joined([array, array], 2)
    np.testing.assert_array_equal(
        views.flipped(joined, (2,)).read(), np.flip(np.concatenate([array.read()] * 2, 2), 2)
    )
    np.testing.assert_array_equal(joined.elements(7, 91), joined.read().reshape(-1)[7:91])


def test_what_strides_can_say_stays_a_window_of_the_same_storage() -> None:
    (source,) = lazy(arrays((6, 4)))
    for result in run((Split(0, 2), Transpose(), Reshape((4, 3, 1)), Flip((0,))), (source,)):
        assert [piece.storage for piece in result.pieces] == [source.pieces[0].storage]


def test_a_sum_adds_in_the_dtype_and_goes_back_by_its_convention() -> None:
    a, b, c, d = arrays((5,), (5,), (5,), (5,))
    ops = (Sum((2, 1, 1), reverse="last"),)
    results = run(ops, lazy((a, b, c, d)))
    np.testing.assert_array_equal([r.read() for r in results], [a + b, c, d])
    back = inverse_chain(ops, tuple(array.spec for array in lazy((a, b, c, d))))
    assert back == (Spread((2, 1, 1), "last"),)
    zero, total, *rest = (array.read() for array in run(back, results))
    np.testing.assert_array_equal([zero, total, *rest], [np.zeros(5), a + b, c, d])


def test_a_sum_with_its_zeros_gives_back_a_negative_zero() -> None:
    source = np.array([-0.0, 0.0, 1.0, np.inf, np.nan], np.float32)
    parts = Spread((2,)).apply(lazy((source,)))
    assert Sum((2,)).apply(parts)[0].read().tobytes() == source.tobytes()


def test_copies_are_independent_unless_they_are_tied() -> None:
    (source,) = lazy(arrays((2, 3)))
    first, second = Copy(2).apply((source,))
    assert first.identity != second.identity
    first, second = Copy(2, tied=True).apply((source,))
    assert first.identity == second.identity


def test_only_equal_arrays_are_tied() -> None:
    a, b = lazy(arrays((2, 3), (2, 3)))
    assert Tie(2).apply((a, views.independent(a))) == (a,)
    with pytest.raises(UsageError, match="the arrays differ"):
        Tie(2).apply((a, b))


@pytest.mark.parametrize(("old", "new"), [((3, 2), (5, 2)), ((3, 2), (2, 4)), ((2, 2, 2), (3, 1, 4))])
def test_resize_keeps_what_both_have(old: tuple[int, ...], new: tuple[int, ...]) -> None:
    source, initial = arrays(old, new)
    expected = initial.copy()
    common = tuple(slice(0, min(a, b)) for a, b in zip(old, new, strict=True))
    expected[common] = source[common]
    op = Resize(new)
    np.testing.assert_array_equal(op.over(*lazy((source, initial))).read(), expected)
    expected = np.full(new, 0.5, np.float32)
    expected[common] = source[common]
    np.testing.assert_array_equal(Resize(new, 0.5).apply(lazy((source,)))[0].read(), expected)


def test_what_was_cut_off_does_not_come_back() -> None:
    assert Resize((2, 2)).inverse((ArraySpec((3, 2), "float32"),)) is None
    assert Resize((5, 2)).inverse((ArraySpec((3, 2), "float32"),)) == Resize((3, 2), 0)
    assert Cast("bfloat16").inverse((ArraySpec((3,), "float32"),)) is None
    assert inverse_chain((Cast("float16"),), (ArraySpec((3,), "float32"),)) == Cast("float16")


def test_ends_turn_into_each_other() -> None:
    assert Skip("x").inverse(()) == Initial("x")
    assert Skip("x", back=0).inverse(()) == Constant(0)
    assert Constant(1.0).inverse(()) == Skip("constant(1.0)", 1.0)


@pytest.mark.parametrize(
    ("op", "shapes", "problem"),
    [
        (Transpose((0, 1)), [(2, 3, 4)], r"\[0, 1\] is no order of 3 axes"),
        (Reshape((5, -1)), [(2, 3)], r"\[2, 3\] has 6 elements"),
        (Flip((2,)), [(2, 3)], r"there is no axis 2 in \[2, 3\]"),
        (Split(0, 4), [(6, 2)], r"axis 0 of \[6, 2\] has 6"),
        (Split(0), [(6, 2)], r"axis 0 of \[6, 2\] has 6"),
        (Concat(1), [(2, 3), (3, 3)], r"float32\[2, 3\] and float32\[3, 3\] differ"),
        (Stack(), [(2, 3), (3, 2)], "differ"),
        (Stack(parts=2), [(2,), (2,), (2,)], "3 arrays do not make groups of 2"),
        (Sum((2, 1)), [(2,), (2,)], r"2 arrays do not make groups of \[2, 1\]"),
        (Arrange((0, 2)), [(2,), (2,)], r"\[0, 2\] is no order"),
        (Deal(2), [(2,), (2,), (2,)], "3 arrays cannot be dealt into 2 hands"),
    ],
)
def test_what_does_not_fit_is_said(op: Op, shapes: list[tuple[int, ...]], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        chain_specs((op,), tuple(ArraySpec(shape, "float32") for shape in shapes))


TEXTS = [
    "transpose",
    "transpose(1, 0)",
    "reshape",
    "reshape(-1, 8)",
    "flip(0, 1)",
    "cast('bfloat16')",
    "resize(5, 3, fill=0.0)",
    "split(axis=0, parts=3)",
    "split(axis=1, sizes=[1, 2])",
    "concat(axis=0)",
    "stack",
    "unstack(axis=1)",
    "sum(sizes=[2, 1], reverse='last')",
    "spread(sizes=[2])",
    "arrange(1, 0)",
    "deal(2)",
    "copy(2, tied=True)",
    "tie(2)",
    "skip('by request', back=0)",
    "initial('new head')",
    "constant(1.0)",
]


@pytest.mark.parametrize("text", TEXTS)
def test_ops_are_read_from_what_they_are_written_as(text: str) -> None:
    assert str(parse_op(text)) == text


def test_every_op_is_written_in_a_test() -> None:
    assert {text.partition("(")[0] for text in TEXTS} == set(OPS)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("rotate(1)", "there is no op 'rotate'\n  The ops: transpose, reshape"),
        ("split", "'split' is no op\n  split takes axis, parts, sizes"),
        ("split(axis=0, foo=1)", "split takes axis, parts, sizes"),
        ("transpose('a')", "is no tuple"),
        ("cast('int8')", "no floating-point dtype"),
        ("__import__('os').system('true')", "is no op"),
        ("transpose(" + "(" * 300 + ")" * 300 + ")", "is no op"),
        ("split(axis=10**9)", "is no op"),
    ],
)
def test_what_is_no_op_is_refused(text: str, problem: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_op(text)
    assert problem in str(error.value)
