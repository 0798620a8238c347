"""Models written by hand in both frameworks: found plans are exact or open, and never wrong."""

from __future__ import annotations

import pytest
from transfer.matching.judge import Pair, live, templates, verdict
from transfer.matching.pairs import doubtful, images, language, numbers, others, squares, stacks, vision

EXACT = [
    *(pair for pair in vision.PAIRS if pair.name != "flatten before dense"),
    *(pair for pair in language.PAIRS if pair.name not in language.OPEN),
    *others.PAIRS,
    *others.WRAPPED,
    *images.EXACT,
    *squares.EXACT,
    *stacks.EXACT,
]
OPEN = [
    *(pair for pair in vision.PAIRS if pair.name == "flatten before dense"),
    *(pair for pair in language.PAIRS if pair.name in language.OPEN),
    *doubtful.PAIRS,
    *images.OPEN,
    *squares.OPEN,
    *numbers.OPEN,
    *stacks.OPEN,
]


@pytest.mark.parametrize("pair", EXACT, ids=lambda pair: pair.name)
def test_a_plan_found_without_rules_keeps_the_function_in_both_directions(pair: Pair) -> None:
    models = live(pair)
    found = {
        (direction, types): verdict(models, templates(models, types=types), direction)[0]
        for direction in ("flax", "torch")
        for types in (True, False)
    }
    assert set(found.values()) == {"exact"}, found


@pytest.mark.parametrize("pair", OPEN, ids=lambda pair: pair.name)
def test_what_nothing_settles_stays_open(pair: Pair) -> None:
    models = live(pair)
    found = {
        (direction, types): verdict(models, templates(models, types=types), direction)[0]
        for direction in ("flax", "torch")
        for types in (True, False)
    }
    assert "wrong" not in found.values(), found
    assert "open" in found.values(), found


@pytest.mark.parametrize("pair", others.WITHOUT_BIASES, ids=lambda pair: pair.name)
def test_biases_that_torch_lacks_are_zeros_and_those_that_were_learned_are_not_lost(pair: Pair) -> None:
    models = live(pair)
    for types in (True, False):
        assert verdict(models, templates(models, types=types), "flax")[0] == "exact"
        assert verdict(models, templates(models, types=types), "torch")[0] == "open"
