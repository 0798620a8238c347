"""Layers and experts that are stacked on one side: in each layer, in both, and along another axis."""

from __future__ import annotations

from typing import Any

import flax.linen as fnn
import jax.numpy as jnp
import torch
from torch import nn
from transfer.matching.judge import Pair

WIDTH = 4


class Expert(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(WIDTH, 6), nn.Linear(6, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(torch.tanh(self.fc1(x)))


class Mixtures(nn.Module):
    """Layers of experts, all in lists."""

    def __init__(self, layers: int, experts: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [
                nn.ModuleDict(
                    {
                        "gate": nn.Linear(WIDTH, experts),
                        "experts": nn.ModuleList([Expert() for _ in range(experts)]),
                    }
                )
                for _ in range(layers)
            ]
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            made = torch.stack([expert(x) for expert in layer["experts"]], -2)
            x = x + (torch.softmax(layer["gate"](x), -1)[..., None] * made).sum(-2)
        return x


class FlaxExpert(fnn.Module):
    @fnn.compact
    def __call__(self, x: Any) -> Any:
        return fnn.Dense(WIDTH, name="fc2")(fnn.tanh(fnn.Dense(6, name="fc1")(x)))


class FlaxMixture(fnn.Module):
    """One layer, whose experts are in one array each."""

    experts: int

    @fnn.compact
    def __call__(self, x: Any, _: Any = None) -> tuple[Any, None]:
        weights = fnn.softmax(fnn.Dense(self.experts, name="gate")(x), -1)
        body = fnn.vmap(
            FlaxExpert,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=None,
            out_axes=-2,
            axis_size=self.experts,
        )
        return x + (weights[..., None] * body(name="experts")(x)).sum(-2), None


class FlaxMixtures(fnn.Module):
    layers: int
    experts: int
    scanned: bool = False

    @fnn.compact
    def __call__(self, x: Any) -> Any:
        if self.scanned:
            return scanned(FlaxMixture, self.layers, 0)(self.experts, name="layers")(x, None)[0]
        for i in range(self.layers):
            x, _ = FlaxMixture(self.experts, name=f"layers_{i}")(x)
        return x


def scanned(body: Any, count: int, axis: int) -> Any:
    return fnn.scan(body, variable_axes={"params": axis}, split_rngs={"params": True}, length=count)


class Blocks(nn.Module):
    def __init__(self, count: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [nn.ModuleDict({"norm": nn.LayerNorm(WIDTH), "mlp": Expert()}) for _ in range(count)]
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = x + layer["mlp"](layer["norm"](x))
        return x


class FlaxBlock(fnn.Module):
    @fnn.compact
    def __call__(self, x: Any, _: Any = None) -> tuple[Any, None]:
        return x + FlaxExpert(name="mlp")(fnn.LayerNorm(epsilon=1e-5, name="norm")(x)), None


class FlaxBlocks(fnn.Module):
    count: int
    axis: int

    @fnn.compact
    def __call__(self, x: Any) -> Any:
        return scanned(FlaxBlock, self.count, self.axis)(name="layers")(x, None)[0]


class FlaxNamed(fnn.Module):
    """Experts of all layers side by side, their own number first."""

    layers: int
    experts: int

    @fnn.compact
    def __call__(self, x: Any) -> Any:
        for i in range(self.layers):
            weights = fnn.softmax(fnn.Dense(self.experts, name=f"gate_{i}")(x), -1)
            made = [FlaxExpert(name=f"expert_{j}_layer_{i}")(x) for j in range(self.experts)]
            x = x + (weights[..., None] * jnp.stack(made, -2)).sum(-2)
        return x


ROWS = (3, WIDTH)

EXACT = (
    Pair("experts of each layer in one array", lambda: Mixtures(2, 3), lambda: FlaxMixtures(2, 3), ROWS),
    Pair("experts in scanned layers", lambda: Mixtures(2, 3), lambda: FlaxMixtures(2, 3, scanned=True), ROWS),
    Pair("experts named before layers", lambda: Mixtures(3, 3), lambda: FlaxNamed(3, 3), ROWS),
    Pair("layers along the second axis", lambda: Blocks(3), lambda: FlaxBlocks(3, 1), ROWS),
    Pair("as many layers as features", lambda: Blocks(WIDTH), lambda: FlaxBlocks(WIDTH, 0), ROWS),
    Pair("as many along the second axis", lambda: Blocks(WIDTH), lambda: FlaxBlocks(WIDTH, 1), ROWS),
)

OPEN = (Pair("as many experts as layers", lambda: Mixtures(3, 3), lambda: FlaxMixtures(3, 3), ROWS),)
