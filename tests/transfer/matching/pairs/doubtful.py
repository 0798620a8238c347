"""Models that nothing but their outputs can tell apart: what is found has to be open, and never wrong."""

from __future__ import annotations

from typing import Any

import flax.linen as fnn
import torch
from torch import nn
from transfer.matching.judge import Pair
from transfer.matching.pairs.others import FlaxTwoTowers, TwoTowers


class Squares(nn.Module):
    """Three matrices of one shape."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__()
        self.names = names
        for name in names:
            self.add_module(name, nn.Linear(8, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        one, two, three = (getattr(self, name)(x) for name in self.names)
        return one * torch.sigmoid(two) + three


class FlaxSquares(fnn.Module):
    names: tuple[str, ...]

    @fnn.compact
    def __call__(self, x: Any) -> Any:
        one, two, three = (fnn.Dense(8, name=name)(x) for name in self.names)
        return one * fnn.sigmoid(two) + three


class ActorCritic(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.actor = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2))
        self.critic = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.actor(x) + self.critic(x)


class FlaxActorCritic(fnn.Module):
    """The critic comes first, and nothing in a name says so."""

    @fnn.compact
    def __call__(self, x: Any) -> Any:
        v = fnn.tanh(fnn.Dense(8)(fnn.tanh(fnn.Dense(8)(x))))
        v = fnn.Dense(1)(v)
        p = fnn.tanh(fnn.Dense(8)(fnn.tanh(fnn.Dense(8)(x))))
        return fnn.Dense(2)(p) + v


PAIRS = (
    Pair("three squares", lambda: Squares(("a", "b", "c")), lambda: FlaxSquares(("z", "y", "x")), (3, 8)),
    Pair(
        "numbered by hand and by call",
        lambda: Squares(("w1", "w3", "w2")),
        lambda: FlaxSquares((None,) * 3),
        (3, 8),
    ),  # type: ignore[arg-type]
    Pair(
        "towers without names",
        lambda: TwoTowers("first_net", "other_net"),
        lambda: FlaxTwoTowers(("b", "a")),
        (3, 6),
    ),
    Pair(
        "towers by number",
        lambda: TwoTowers("left", "right"),
        lambda: FlaxTwoTowers(("tower_1", "tower_0")),
        (3, 6),
    ),
    Pair("actor and critic", ActorCritic, FlaxActorCritic, (3, 6)),
)
