"""Patterns and the TOML form of plans: what is written is read back, comments included."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpt_core.errors import CheckpointNotFoundError, UsageError
from ckpt_core.keypath import join_name
from ckpt_core.transfer import (
    Candidate,
    Evidence,
    Rule,
    TransferPlan,
    Unsettled,
    parse_plan,
    plan_toml,
    read_plan,
    write_plan,
)
from ckpt_core.transfer.ops import Concat, Skip, Transpose
from ckpt_core.transfer.patterns import literal, parse_pattern

NAMES = st.lists(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8), min_size=1, max_size=4
)


@pytest.mark.parametrize(
    ("pattern", "name", "captures"),
    [
        ("h.{i}.attn.weight", "h/11/attn/weight", {"i": "11"}),
        ("h/{i}/attn", "h/x/attn", None),
        ("blocks_{i+1}/kernel", "blocks_4/kernel", {"i": "3"}),
        ("blocks_{i+1}/kernel", "blocks_0/kernel", None),
        ("{i}/{j}/{i}", "1/2/1", {"i": "1", "j": "2"}),
        ("{i}/{j}/{i}", "1/2/3", None),
        ("enc.{x*}_norm.scale", "enc/pre_norm/scale", {"x": "pre"}),
        ("enc.{x*}.scale", "enc/a/b/scale", None),
        ("enc/{rest**}", "enc/a/b", {"rest": "a/b"}),
        ("enc/{rest**}", "enc", None),
        (r"a\.b", "a.b", {}),
        (r"x/\{i\}", "x/{i}", {}),
        (r"w\/g/scale", r"w\/g/scale", {}),
    ],
)
def test_patterns_match_and_fill_in(pattern: str, name: str, captures: dict[str, str] | None) -> None:
    parsed = parse_pattern(pattern)
    assert parsed.match(name) == captures
    if captures is not None:
        assert parsed.fill(captures) == name
        assert (
            parse_pattern(parsed.below(("a.b", "c/d"))).match(join_name(("a.b", "c/d")) + "/" + name)
            == captures
        )


@given(NAMES, st.booleans())
def test_a_literal_pattern_matches_its_name_alone(segments: list[str], dotted: bool) -> None:
    parsed = parse_pattern(literal(tuple(segments), dotted=dotted))
    if not any("\\" in segment for segment in segments):  # names keep backslashes as they are; so do patterns
        assert not parsed.captures
        assert parsed.fill({}) == join_name(tuple(segments))


@pytest.mark.parametrize("text", ["a/{", "a/}b", "a/{1}", "a/{}", "{x*}/{x**}"])
def test_what_is_no_pattern_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="the pattern"):
        parse_pattern(text)


PLAN = TransferPlan(
    (
        Rule(
            ("layers.{i}.q.weight", r"b\.c"),
            ("x/{i}",),
            (Concat(0), Transpose()),
            "proven",
            (Evidence("type", "Linear: it says so"), Evidence("siblings", 'a "quoted" one')),
            ("why this is so", "in two lines # and a hash"),
        ),
        Rule(("z",), (), (Skip("it's not needed"),)),
    ),
    (
        Unsettled(
            ("a", "b"),
            ("c", "d"),
            "both are square",
            "A forward pass.",
            (
                Candidate((Rule(("a",), ("c",)), Rule(("b",), ("d",), (Transpose(),))), "in order"),
                Candidate((Rule(("b",), ("c",)), Rule(("a",), ("d",)))),
            ),
            ("look at the paper",),
        ),
        Unsettled((), ("e",), "nothing fits"),
    ),
    {"packed qkv": "q, k, v"},
    "torch",
    "flax",
    ("the plan of Acme", "second line"),
)


def test_a_plan_is_read_back_equal(tmp_path: Path) -> None:
    write_plan(PLAN, tmp_path / "plan.toml")
    assert read_plan(tmp_path / "plan.toml") == PLAN


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=12), max_size=3))
def test_any_text_comes_back(texts: list[str]) -> None:
    plan = TransferPlan(evidence_of(texts), conventions={f"c{i}": text for i, text in enumerate(texts)})
    assert parse_plan(plan_toml(plan)) == plan


def evidence_of(texts: list[str]) -> tuple[Rule, ...]:
    return (Rule(("a",), ("b",), (), "given", tuple(Evidence("name", text) for text in texts)),)


def test_comments_that_a_person_wrote_survive() -> None:
    text = """\
# about the plan

# about the first rule
[[rule]]
source = "a"  # at the end of "a" line
# within
target = "b # no comment"

# about what is open
[[unsettled]]
target = "c"
reason = "?"

# settles it
[[rule]]
source = "d"
target = [
  "c",  # in a list
]
# the last word
"""
    plan = parse_plan(text)
    assert plan.comment == ("about the plan",)
    assert plan.rules[0].comment == ("about the first rule", 'at the end of "a" line', "within")
    assert plan.unsettled[0].comment == ("about what is open",)
    assert plan.rules[1].comment == ("settles it", "in a list", "the last word")
    assert plan.rules[0].target == ("b # no comment",)
    assert parse_plan(plan_toml(plan)) == plan


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[[rule]", "is no TOML"),
        ("rule = 3", "the plan: rule is no list of tables"),
        ("[[rule]]\nsuorce = 'a'", "rule 1: there is no member 'suorce'"),
        ("[[rule]]\nops = ['transpose']", "rule 1: has neither a source nor a target"),
        ("[[rule]]\nsource = 3", "rule 1: source is neither a text nor a list of texts"),
        ("[[rule]]\nsource = 'a'\ntarget = 'b/{'", "rule 1: the pattern 'b/{' has a brace"),
        ("[[rule]]\nsource = 'a'\ntarget = 'b'\nops = ['turn']", "rule 1: there is no op 'turn'"),
        ("[conventions]\na = 1", "conventions are texts"),
        ("[[unsettled]]\ntarget = 'a'\n[[unsettled.candidate]]\nrules = 3", "rules is no list of tables"),
    ],
)
def test_what_is_no_plan_is_refused(text: str, problem: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_plan(text)
    assert problem in str(error.value)


def test_a_file_that_is_no_plan_is_named(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_bytes(b"\xff")
    with pytest.raises(UsageError, match=r"plan\.toml: is no UTF-8 text"):
        read_plan(path)
    with pytest.raises(CheckpointNotFoundError):
        read_plan(tmp_path / "none.toml")
