"""Proof by running both models: candidates settled by outputs, and the layer at which two models part."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from ckpt_core.errors import CheckpointError, UsageError
from ckpt_core.transfer import (
    Candidate,
    Rule,
    TransferPlan,
    Unsettled,
    settle_by_forward,
    transfer,
    verify_transfer,
)
from ckpt_core.transfer.ops import Transpose

rng = np.random.default_rng(11)


class Source(torch.nn.Module):
    """Two square matrices under names that tell nothing."""

    def __init__(self, bias: float) -> None:
        super().__init__()
        self.a = torch.nn.Linear(4, 4)
        self.b = torch.nn.Linear(4, 4)
        with torch.no_grad():
            for value in self.parameters():
                value.copy_(torch.from_numpy(rng.normal(size=tuple(value.shape))))
            self.a.bias.fill_(bias)
            self.b.bias.fill_(bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(torch.relu(self.a(x)))


class Target(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
        return nn.Dense(4, name="v")(nn.relu(nn.Dense(4, name="u")(x)))


LIKE = {
    "params": {
        name: {"kernel": np.zeros((4, 4), np.float32), "bias": np.zeros(4, np.float32)} for name in "uv"
    }
}
WEIGHTS = Unsettled(
    ("a.weight", "b.weight"),
    ("u/kernel", "v/kernel"),
    "both are square",
    "The outputs of both models.",
    tuple(
        Candidate(
            tuple(Rule((f"{s}.weight",), (f"{t}/kernel",), ops) for s, t in zip(order, "uv", strict=True)),
            text,
        )
        for order, ops, text in (
            ("ab", (), "in order"),
            ("ba", (), "swapped"),
            ("ab", (Transpose(),), "in order, transposed"),
            ("ba", (Transpose(),), "swapped, transposed"),
        )
    ),
)
BIASES = Unsettled(
    ("a.bias", "b.bias"),
    ("u/bias", "v/bias"),
    "both have 4",
    "",
    tuple(
        Candidate(tuple(Rule((f"{s}.bias",), (f"{t}/bias",)) for s, t in zip(order, "uv", strict=True)))
        for order in ("ab", "ba")
    ),
)
INPUTS = [rng.normal(size=(3, 4)).astype(np.float32)]


def run_target(tree: Any, x: np.ndarray) -> Any:
    return Target().apply(tree, jnp.asarray(x))


def settle(model: Source, *lines: Unsettled) -> Any:
    return settle_by_forward(
        TransferPlan(unsettled=lines),
        lambda x: model(torch.from_numpy(x)),
        run_target,
        INPUTS,
        source=model,
        like=LIKE,
    )


def biased() -> Source:
    model = Source(0.0)
    with torch.no_grad():
        model.a.bias.copy_(torch.from_numpy(rng.normal(size=4)))
        model.b.bias.copy_(torch.from_numpy(rng.normal(size=4)))
    return model


def test_the_candidate_that_agrees_is_kept() -> None:
    model = biased()
    settled = settle(model, WEIGHTS, BIASES)
    assert settled, settled.text
    assert settled.text == "1 of 8 agree"
    assert settled.plan.rules[:2] == tuple(
        rule for rule in settled.plan.rules if rule.ops == (Transpose(),) and rule.confidence == "proven"
    )
    assert "forward: the outputs agree; 8 tried" in map(str, settled.plan.rules[0].evidence)
    result = transfer(model, LIKE, rules=settled.plan)
    agreement = verify_transfer(
        lambda x: model(torch.from_numpy(x)), lambda x: run_target(result.load(), x), INPUTS
    )
    assert agreement, str(agreement)


def test_what_the_outputs_do_not_show_stays_unsettled_and_is_narrowed() -> None:
    settled = settle(Source(0.0), WEIGHTS, BIASES)
    assert not settled
    assert settled.agreeing == 2
    assert "these outputs do not tell them apart" in settled.text
    assert [line.source for line in settled.plan.unsettled] == [("a.bias", "b.bias")]
    assert len(settled.plan.rules) == 2


def test_that_none_agrees_is_said() -> None:
    model = biased()
    wrong = Unsettled(WEIGHTS.source, WEIGHTS.target, "", "", WEIGHTS.candidates[:2])
    settled = settle(model, wrong, BIASES)
    assert not settled
    assert settled.agreeing == 0
    assert settled.text.startswith("none of 4 agrees; the closest differs by ")
    assert settled.plan.unsettled == (wrong, BIASES)


def test_a_line_that_a_rule_settles_is_not_tried() -> None:
    plan = TransferPlan(BIASES.candidates[0].rules, (BIASES,))
    settled = settle_by_forward(plan, lambda: 0, lambda _: 0, [], source=None, like=LIKE)
    assert settled and settled.tried == 0
    assert settled.plan.unsettled == ()


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        ([f"{i}{j}" for i in range(7) for j in range(5)], "there are more than 1,000 combinations"),
        (["0a", "1a"], "every way of settling them takes a source twice"),
        (["0a", "1"], "an unsettled line has no candidates"),
    ],
)
def test_what_cannot_be_tried_is_refused(names: list[str], problem: str) -> None:
    """Names are a line's number and, for each candidate, its source; 7 lines of 5 have sources of their own."""
    by_line: dict[str, list[Candidate]] = {}
    for name in names:
        source = name if len(names) > 2 else name[1:]
        candidates = by_line.setdefault(name[0], [])
        candidates += [Candidate((Rule((source,), (name[0],)),))] if source else []
    lines = [Unsettled((), (line,), "", "", tuple(found)) for line, found in by_line.items()]
    with pytest.raises(UsageError, match=problem):
        settle(biased(), *lines)


def test_the_layer_at_which_the_models_part_is_named() -> None:
    x = np.linspace(-1, 1, 6).reshape(2, 3)
    agreement = verify_transfer(
        lambda x: {"embed": x, "block_0": x + 1, "block_1": x * 3, "out": x[:, :1]},
        lambda x: {"out": x, "block_1": jnp.asarray(x * 3), "block_0": torch.from_numpy(x + 1.5), "emb": x},
        [x],
        names={"embed": "emb"},
    )
    assert not agreement
    assert agreement.first_apart == "block_0"
    assert [(row.name, row.agrees) for row in agreement.differences] == [
        ("embed", True),
        ("block_0", False),
        ("block_1", True),
        ("out", False),
    ]
    assert agreement.differences[1].absolute == pytest.approx(0.5)
    assert "out: DIFFERS, shapes [2, 1] and [2, 3]" in str(agreement)


def test_nan_and_infinity_agree_with_themselves_alone() -> None:
    bad = np.array([np.nan, np.inf, 1.0])
    assert verify_transfer(lambda: bad, lambda: bad.copy(), [])
    assert not verify_transfer(lambda: bad, lambda: np.array([0.0, np.inf, 1.0]), [])
    assert not verify_transfer(lambda: bad, lambda: np.array([np.nan, 1.0, 1.0]), [])


def test_functions_without_a_common_output_are_refused() -> None:
    with pytest.raises(UsageError, match="the source reports a, the target b"):
        verify_transfer(lambda: {"a": np.ones(1)}, lambda: {"b": np.ones(1)}, [])


NOTHING = "has no finite number in it, and proves nothing"


@pytest.mark.parametrize("made", [np.full(3, np.nan), np.full(3, np.inf), np.ones((0, 3))])
def test_outputs_without_a_finite_number_prove_nothing(made: np.ndarray) -> None:
    with pytest.raises(UsageError, match=NOTHING):
        verify_transfer(lambda: {"x": made}, lambda: {"x": made.copy()}, [])
    model = biased()
    with pytest.raises(UsageError, match=NOTHING):
        settle_by_forward(
            TransferPlan(unsettled=(WEIGHTS, BIASES)),
            lambda _: made,
            lambda _, __: made,
            INPUTS,
            source=model,
            like=LIKE,
        )


def test_an_array_is_no_list_of_inputs() -> None:
    with pytest.raises(
        UsageError, match="inputs is a ndarray, and no list of what the functions are called with"
    ):
        verify_transfer(lambda x: x, lambda x: x, INPUTS[0])  # type: ignore[arg-type]


def test_outputs_of_another_shape_are_named_where_none_agrees() -> None:
    model = biased()
    settled = settle_by_forward(
        TransferPlan(unsettled=(WEIGHTS, BIASES)),
        lambda x: model(torch.from_numpy(x))[:1],
        run_target,
        INPUTS,
        source=model,
        like=LIKE,
    )
    assert settled.text == "none of 8 agrees: output: DIFFERS, shapes [1, 4] and [3, 4]"


def test_what_keeps_every_way_from_being_a_transfer_is_the_error() -> None:
    model = torch.nn.ModuleDict(
        {"a": torch.nn.Linear(4, 4), "b": torch.nn.Linear(4, 4), "c": torch.nn.PReLU()}
    )
    with pytest.raises(CheckpointError, match=r"has no slot in the target @ c/weight"):
        settle_by_forward(
            TransferPlan(unsettled=(WEIGHTS, BIASES)),
            lambda x: x,
            run_target,
            INPUTS,
            source=model,
            like=LIKE,
        )
