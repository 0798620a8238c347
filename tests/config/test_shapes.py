"""Shape rules: the language, the equations that shapes give, and their solutions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckpt_core import resolve_config
from ckpt_core.errors import ConfigConflictError, UsageError
from ckpt_core.shapes import Equation, ShapeRules, components, has_solution, is_solvable, solve
from ckpt_core.shapes.expression import HUGE, Name, Number, Operation, evaluate, names, parse, render
from ckpt_core.shapes.rules import leaf_names


def sizes(text):
    return parse(text).sizes


def equation(size, text):
    return Equation(size, sizes(text)[0])


# The language.


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("patch_size**2 * sample_size * channels", "patch_size**2 * sample_size * channels"),
        ("a-(b-c)", "a - (b - c)"),
        ("a-b-c", "a - b - c"),
        ("(a**b)**c", "(a**b)**c"),
        ("a**b**c", "a**b**c"),
        ("2*(a+1)", "2 * (a + 1)"),
        ("a//(b*c)", "a // (b * c)"),
        ("(a*b)", "a * b"),
        ("encoder.width", "encoder.width"),
    ],
)
def test_an_expression_is_rendered_as_it_groups(text, rendered):
    (size,) = sizes(text)
    assert render(size) == rendered
    assert sizes(rendered) == (size,)


def test_dimensions_stand_side_by_side():
    assert [render(size) for size in sizes("num_slots slot_dim")] == ["num_slots", "slot_dim"]
    assert [render(size) for size in sizes("a + 1 b, 3*c (d)")] == ["a + 1", "b", "3 * c", "d"]
    assert sizes("_ width") == (None, Name("width"))
    assert parse("... width").any_leading
    assert parse("count n_layer").is_count
    assert not parse("count").is_count


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "says nothing"),
        ("a +", "ends too early"),
        ("a $ b", r"has '\$ b', which is no name, number or sign"),
        ("(a", "ends too early"),
        ("(a b)", "lacks a closing parenthesis"),
        ("a )", r"has '\)' where a name or number is expected"),
        ("count a b", "goes on with 'b' after the count"),
        ("(" * 41 + "a" + ")" * 41, "is nested too deeply"),
        ("a " * 1000, "is too long"),
    ],
)
def test_what_is_not_of_the_language_is_refused(text, problem):
    with pytest.raises(UsageError, match=problem):
        parse(text)


expressions = st.recursive(
    st.sampled_from("abc").map(Name) | st.integers(0, 9).map(Number),
    lambda inner: st.builds(Operation, st.sampled_from(["+", "-", "*", "//", "**"]), inner, inner),
    max_leaves=6,
)


@given(expressions)
def test_rendering_is_inverted_by_parsing(expression):
    assert sizes(render(expression)) == (expression,)


@given(expressions, st.fixed_dictionaries(dict.fromkeys("abc", st.integers(1, 6))))
def test_values_are_those_of_python(expression, known):
    try:
        expected = eval(render(expression), {}, known)
    except (ZeroDivisionError, OverflowError, MemoryError):
        return
    if isinstance(expected, int) and abs(expected) < HUGE and "**" not in render(expression):
        assert evaluate(expression, known) == expected


def test_a_power_beyond_all_bounds_is_only_huge():
    assert evaluate(sizes("9**9**9**9")[0], {}) == HUGE
    assert evaluate(sizes("a**b")[0], {"a": 1, "b": 10**30}) == 1
    assert evaluate(sizes("2**(0 - 1)")[0], {}) is None
    assert evaluate(sizes("1 // 0")[0], {}) is None


# Solutions.


def test_what_is_known_settles_a_product():
    product = [equation(72, "patch_size**2 * sample_size * channels")]
    assert solve(product, {"patch_size": 2, "channels": 3}).single("sample_size") == 6
    assert not solve(product, {"patch_size": 5}).rows


def test_with_nothing_known_there_are_all_solutions_and_none_is_picked():
    found = solve([equation(72, "p**2 * s * c")])
    expected = {(p, s, c) for p, s, c in itertools.product(range(1, 73), repeat=3) if p * p * s * c == 72}
    assert {(row["p"], row["s"], row["c"]) for row in found.rows} == expected
    assert found.is_complete
    assert found.single("p") is None
    assert found.values("p") == (1, 2, 3, 6)


@pytest.mark.parametrize(
    ("equations", "expected"),
    [
        ([(64, "a"), (192, "3*a")], [{"a": 64}]),
        ([(64, "a"), (193, "3*a")], []),
        ([(385, "(h//2 + 1) * w"), (9, "h")], [{"h": 9, "w": 77}]),
        ([(10, "a - b"), (3, "b")], [{"a": 13, "b": 3}]),
        ([(7, "100 // b")], [{"b": 13}, {"b": 14}]),
        ([(7, "b // 100")], [{"b": b} for b in range(700, 800)]),
        ([(64, "2**k")], [{"k": 6}]),
        ([(64, "a**k")], [{"a": 64, "k": 1}, {"a": 8, "k": 2}, {"a": 4, "k": 3}, {"a": 2, "k": 6}]),
        ([(40, "a*a + 3*a")], [{"a": 5}]),
        ([(41, "a*a + 3*a")], []),
        ([(5, "a + b"), (6, "a * b")], [{"a": 2, "b": 3}, {"a": 3, "b": 2}]),
        ([(0, "a")], [{"a": 0}]),
        ([(3, "3")], [{}]),
        ([(3, "4")], []),
    ],
)
def test_equations_are_solved_together(equations, expected):
    found = solve([equation(size, text) for size, text in equations])
    assert sorted(map(sorted, (row.items() for row in found.rows))) == sorted(
        map(sorted, (row.items() for row in expected))
    )
    assert found.is_complete


@pytest.mark.parametrize("text", ["a + b", "a - b", "a // b", "0 * a + b"])
def test_what_has_no_end_of_solutions_stays_open(text):
    found = solve([equation(1 << 40, text), equation(5, "c")])
    assert found.is_open
    assert not found.is_complete
    assert found.single("c") == 5
    assert found.single("a") is None


@settings(max_examples=100, deadline=None)
@given(
    st.lists(expressions, min_size=1, max_size=3),
    st.fixed_dictionaries(dict.fromkeys("abc", st.integers(0, 8))),
)
def test_solutions_are_right_and_none_is_left_out(parts, truth):
    values = [evaluate(part, truth) for part in parts]
    equations = [
        Equation(value, part)
        for part, value in zip(parts, values, strict=True)
        if value is not None and 0 <= value < 200
    ]
    found = solve(equations)
    for row in found.rows:
        assert all(e.holds(row) is not False for e in equations)
        if not found.is_open:
            assert all(e.holds(row) for e in equations)
    if found.is_complete:
        asked = sorted({name for e in equations for name in e.names})
        assert {name: truth[name] for name in asked} in [
            {name: row[name] for name in asked} for row in found.rows
        ]


@pytest.mark.parametrize(
    "size", [1 << 62, (1 << 62) - 57, (1 << 61) - 1, 2**40 * 3**13, 2147483647 * 2147483629]
)
@pytest.mark.parametrize(
    "text", ["a", "a*b", "a*b*c*d", "a**2 * b", "a*b + c", "(a + b) * c", "a**b", "(a*b)//c"]
)
def test_hostile_sizes_end(size, text):
    found = solve([equation(size, text)])
    assert all(equation(size, text).holds(row) is not False for row in found.rows)
    assert len(found.rows) <= 20_000


def test_a_prime_that_is_too_large_to_prove_is_no_complete_answer():
    found = solve([equation(2147483647 * 2147483629, "a * b")])
    assert not found.is_complete
    assert found.single("a") is None


def test_parts_that_share_no_name_are_apart():
    parts = components([equation(6, "a*b"), equation(5, "c"), equation(3, "b*d"), equation(2, "2")])
    assert sorted(sorted({n for e in part for n in e.names}) for part in parts) == [
        [],
        ["a", "b", "d"],
        ["c"],
    ]


# Rules and shapes.

LEAVES = [
    ("slots_mu", (32, 64)),
    ("encoder/norm/scale", (72,)),
    ("h/0/w", (3, 4)),
    ("h/1/w", (3, 4)),
    ("conv_layers/0/weight", (8, 3)),
    ("conv_layers/0/bias", (8,)),
    ("conv_layers/2/weight", (8, 8)),
    ("conv_layers/4/weight", (9, 8)),
]


def texts(rules):
    return [(one.text(), one.where) for one in ShapeRules(rules).equations(LEAVES)]


def test_shapes_become_equations():
    assert texts({"slots_mu": "num_slots slot_dim"}) == [
        ("32 = num_slots", "slots_mu, axis 0"),
        ("64 = slot_dim", "slots_mu, axis 1"),
    ]
    assert texts({"encoder/norm/scale": "p**2 * c"}) == [("72 = p**2 * c", "encoder/norm/scale")]
    assert texts({"h/*/w": "_ width"}) == [
        ("4 = width", "h/0/w, axis 1"),
        ("4 = width", "h/1/w, axis 1"),
    ]
    assert texts({"**/w": "... width"}) == texts({"h/*/w": "_ width"})


@pytest.mark.parametrize("pattern", ["conv_layers/*", "conv_layers.*", "**/conv_layers/*"])
def test_count_is_of_the_entries_that_hold_leaves(pattern):
    assert texts({pattern: "count depth"}) == [("3 = depth", f"3 entries {pattern}")]


def test_a_rule_of_another_rank_is_refused():
    with pytest.raises(
        UsageError, match=r"slots_mu has 2 dimensions \[32, 64\], and its rule says 1: num_slots"
    ):
        texts({"slots_mu": "num_slots"})
    with pytest.raises(UsageError, match="its rule says 3"):
        texts({"slots_mu": "... a b c"})


def test_a_pattern_that_fits_nothing_is_named_with_what_is_near():
    rules = ShapeRules({"slot_mu": "a b", "scale": "c", "slots_mu": "a b"})
    assert rules.unmatched(LEAVES) == [
        "the rule 'slot_mu' fits nothing; there is: slots_mu",
        "the rule 'scale' fits nothing; there is encoder/norm/scale: write '**/scale'",
    ]
    assert not rules.applies_to(LEAVES)
    assert ShapeRules({"slots_mu": "a b"}).applies_to(LEAVES)
    assert not ShapeRules({"slots_mu": "a"}).applies_to(LEAVES)


def test_wrappers_are_no_part_of_names():
    assert leaf_names([("module", "_orig_mod", "w"), ("module", "_orig_mod", "b")]) == ["w", "b"]
    assert leaf_names([("module", "w"), ("b",)]) == ["module/w", "b"]
    assert leaf_names([("module",)]) == ["module"]


def test_a_wrong_rule_fails_when_it_is_made():
    with pytest.raises(UsageError, match="ends too early"):
        ShapeRules({"w": "a *"})
    with pytest.raises(UsageError, match="is 3, and no text"):
        ShapeRules({"w": 3})
    with pytest.raises(UsageError, match="axes of data are named, not counted"):
        ShapeRules({}, data={"x": "count a"})


def test_rules_know_their_names():
    assert ShapeRules({"w": "a 3*b", "h/*": "count c"}).names == ("a", "b", "c")
    assert names(sizes("a*b*a")[0]) == ("a", "b")


@pytest.mark.parametrize(
    ("rules", "known", "expected"),
    [
        ({"w": (64, "width + cond")}, {"width": 64}, {"cond": 0}),
        ({"w": (0, "2 * cond")}, {}, {"cond": 0}),
        ({"w": (0, "cond * heads")}, {"heads": 3}, {"cond": 0}),
        ({"w": (0, "cond")}, {}, {"cond": 0}),
    ],
)
def test_a_size_of_nothing_is_a_size(rules, known, expected):
    weights = {name: np.zeros(size) for name, (size, _) in rules.items()}
    texts = {name: text for name, (_, text) in rules.items()}
    found = resolve_config(weights, rules=texts, overrides=known)
    assert {name: found.config[name] for name in expected} == expected


def test_nothing_is_divided_by_zero():
    with pytest.raises(ConfigConflictError, match="12 = a // b"):
        resolve_config({"w": np.zeros(12)}, rules={"w": "a // b"}, overrides={"b": 0})


@pytest.mark.parametrize("rule", ["a{0}*a{1}", "a{0}"])
def test_more_equations_than_calls_can_be_nested(rule):
    rules = ShapeRules({f"w{i}": rule.format(i, i + 1) for i in range(1500)})
    equations = rules.equations([(f"w{i}", (72,)) for i in range(1500)])
    (row,) = solve(equations, {"a0": 72}).rows
    assert row == {f"a{i}": 1 if i % 2 and "*" in rule else 72 for i in range(1501 if "*" in rule else 1500)}


def test_long_chains_of_products_end():
    sizes = {f"w{i}": 6 * (i + 1) for i in range(60)}
    weights = {name: np.zeros(size) for name, size in sizes.items()}
    rules = {name: f"a{i} * a{i + 1}" for i, name in enumerate(sizes)}
    with pytest.raises(ConfigConflictError, match="contradict"):
        resolve_config(weights, rules=rules)
    assert resolve_config(weights, rules=rules, on_conflict="report").conflicts


def test_whether_there_is_a_solution_is_unknown_where_the_search_was_cut_off():
    def system(total):
        rules = ShapeRules({**{f"w{i}": f"a{i} * b{i}" for i in range(4)}, "t": "a0 + a1 + a2 + a3"})
        return rules.equations([*((f"w{i}", (5040,)) for i in range(4)), ("t", (total,))])

    assert is_solvable(system(4)) is True
    assert is_solvable(system(4), {"a0": 2, "a1": 2, "a2": 2}) is False
    assert is_solvable(system(100_000)) is None
    assert has_solution(system(100_000))
