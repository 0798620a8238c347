"""What a found plan leaves open, its candidates hold: running both models finds the one, there and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as fnn
import numpy as np
import pytest
import torch
from torch import nn
from transfer.matching.judge import Live, Pair, live
from transfer.matching.pairs import numbers, squares
from transfer.matching.pairs.images import Autoencoder, FlaxAutoencoder, FlaxSquare, Square
from transfer.matching.pairs.language import attend

from ckpt_core import settle_by_forward, transfer
from ckpt_core.transfer.matching import plan_transfer

WIDTH, HEADS, DEPTH = 16, 4, 2


class HeadByHead(nn.Module):
    """Each head's query, key and value are neighbours in the packed matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [
                nn.ModuleDict(
                    {"query_key_value": nn.Linear(WIDTH, 3 * WIDTH), "dense": nn.Linear(WIDTH, WIDTH)}
                )
                for _ in range(DEPTH)
            ]
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            packed = layer["query_key_value"](x).unflatten(-1, (HEADS, 3, -1))
            x = x + layer["dense"](attend(*(part.flatten(-2) for part in packed.unbind(-2))))
        return x


class Layer(fnn.Module):
    """Separate queries, keys and values, with an axis for the heads or without."""

    per_head: bool

    @fnn.compact
    def __call__(self, x: Any, _: Any = None) -> Any:
        shape = (HEADS, WIDTH // HEADS) if self.per_head else WIDTH
        parts = (fnn.DenseGeneral(shape, name=name)(x).reshape(x.shape) for name in ("query", "key", "value"))
        return x + fnn.Dense(WIDTH, name="dense")(attend(*parts)), None


class Separate(fnn.Module):
    per_head: bool = False
    scanned: bool = False

    @fnn.compact
    def __call__(self, x: Any) -> Any:
        if self.scanned:
            body = fnn.scan(Layer, variable_axes={"params": 0}, split_rngs={"params": True}, length=DEPTH)
            return body(self.per_head, name="layers")(x, None)[0]
        for i in range(DEPTH):
            x, _ = Layer(self.per_head, name=f"layers_{i}")(x)
        return x


TOKENS = (2, 5, WIDTH)
PAIRS = (
    *squares.PACKED,
    *numbers.OPEN,
    Pair("packed head by head", HeadByHead, Separate, TOKENS),
    Pair("packed head by head, an axis for heads", HeadByHead, lambda: Separate(per_head=True), TOKENS),
    Pair("packed head by head, scanned", HeadByHead, lambda: Separate(scanned=True), TOKENS),
    Pair("autoencoder", Autoencoder, FlaxAutoencoder, (2, 1, 8, 8), channels=True),
    Pair("flattened and square", Square, FlaxSquare, (2, 3, 4, 4), channels=True),
    Pair(
        "flattened and normed",
        lambda: Square(norm=True),
        lambda: FlaxSquare(norm=True),
        (2, 3, 4, 4),
        channels=True,
    ),
)


def channels_first(models: Live) -> Callable[[Any], np.ndarray]:
    expected = models.torch_output()

    def output(variables: Any) -> np.ndarray:
        found = models.flax_output(variables)
        return found if found.shape == expected.shape else np.moveaxis(found, -1, 1)

    return output


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name)
def test_the_candidates_hold_the_answer_and_the_way_back_is_exact(pair: Pair) -> None:
    models = live(pair)
    plan = plan_transfer(models.module, models.variables)
    assert plan.unsettled
    run = channels_first(models)
    settled = settle_by_forward(
        plan,
        lambda: models.torch_output(),
        lambda tree: run(tree),
        [],
        source=models.module,
        like=models.variables,
        rtol=1e-3,
        atol=1e-4,
    )
    assert settled.agreeing == 1, settled.text
    assert not settled.plan.unsettled
    there = transfer(models.module, models.variables, rules=settled.plan).load()
    back = transfer(there, models.module, rules=settled.plan, reverse=True)
    for name, value in models.module.state_dict().items():
        if value.is_floating_point():
            assert back.arrays[name.replace(".", "/")].read().tobytes() == value.numpy().tobytes(), name
