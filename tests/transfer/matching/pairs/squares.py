"""Arrays that fit in several ways: squares, cubes, and packs with an axis for the heads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as fnn
import jax.numpy as jnp
import torch
from torch import nn
from transfer.matching.judge import Pair
from transfer.matching.pairs.language import attend

WIDTH, HEADS = 8, 2


class TwoSquares(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(torch.tanh(self.fc1(x)))


class OwnDense(fnn.Module):
    """A dense layer whose arrays have names of their own; nothing says which axis is the input's."""

    weight: str
    bias: str

    @fnn.compact
    def __call__(self, x: Any) -> Any:
        weight = self.param(self.weight, fnn.initializers.normal(), (x.shape[-1], WIDTH))
        return x @ weight + self.param(self.bias, fnn.initializers.zeros, (WIDTH,))


class FlaxTwoSquares(fnn.Module):
    weight: str
    bias: str

    @fnn.compact
    def __call__(self, x: Any) -> Any:
        x = jnp.tanh(OwnDense(self.weight, self.bias, name="fc1")(x))
        return OwnDense(self.weight, self.bias, name="fc2")(x)


class Experts(nn.Module):
    """Every expert's matrix in one array, inputs first or last."""

    def __init__(self, count: int, width: int, *, input_first: bool, bias: bool) -> None:
        super().__init__()
        self.input_first = input_first
        shape = (count, WIDTH, width) if input_first else (count, width, WIDTH)
        self.weight = nn.Parameter(torch.zeros(shape))
        self.register_parameter("bias", nn.Parameter(torch.zeros(count, width)) if bias else None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.einsum("ni,eio->neo" if self.input_first else "ni,eoi->neo", x, self.weight)
        return y if self.bias is None else y + self.bias


class Mixture(nn.Module):
    def __init__(self, count: int, width: int, *, input_first: bool = True, bias: bool = False) -> None:
        super().__init__()
        self.router = nn.Linear(WIDTH, count)
        self.experts = Experts(count, width, input_first=input_first, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (torch.softmax(self.router(x), -1)[..., None] * self.experts(x)).sum(-2)


class FlaxExperts(fnn.Module):
    count: int
    width: int
    bias: bool

    @fnn.compact
    def __call__(self, x: Any) -> Any:
        kernel = self.param("kernel", fnn.initializers.normal(), (self.count, WIDTH, self.width))
        y = jnp.einsum("ni,eio->neo", x, kernel)
        return y + self.param("bias", fnn.initializers.zeros, (self.count, self.width)) if self.bias else y


class FlaxMixture(fnn.Module):
    count: int
    width: int
    bias: bool = False

    @fnn.compact
    def __call__(self, x: Any) -> Any:
        weights = fnn.softmax(fnn.Dense(self.count, name="router")(x), -1)
        return (weights[..., None] * FlaxExperts(self.count, self.width, self.bias, name="experts")(x)).sum(
            -2
        )


def generator() -> nn.Module:
    return nn.Sequential(
        nn.ConvTranspose2d(6, 4, 3, padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(4, 4, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(4, 3, 3, padding=1),
    )


class FlaxGenerator(fnn.Module):
    @fnn.compact
    def __call__(self, x: Any) -> Any:
        around = ((1, 1), (1, 1))
        x = fnn.relu(fnn.ConvTranspose(4, (3, 3), padding=around, name="layer0")(x))
        x = fnn.relu(fnn.ConvTranspose(4, (3, 3), padding=around, name="layer1")(x))
        return fnn.Conv(3, (3, 3), padding=around, name="layer2")(x)


class Relative(nn.Module):
    """A table of relative positions, with the heads last."""

    def __init__(self) -> None:
        super().__init__()
        self.relative_attention_bias = nn.Parameter(torch.zeros(WIDTH, WIDTH))
        self.dense = nn.Linear(WIDTH, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dense(x @ self.relative_attention_bias)


class FlaxRelative(fnn.Module):
    """The same, with the heads first."""

    @fnn.compact
    def __call__(self, x: Any) -> Any:
        table = self.param("rel_embedding", fnn.initializers.normal(), (WIDTH, WIDTH))
        return fnn.Dense(3, name="dense")(x @ table.T)


class Packed(nn.Module):
    """Queries, keys and values one after another, or head by head."""

    def __init__(self, name: str = "qkv", *, by_head: bool = False) -> None:
        super().__init__()
        self.name, self.by_head = name, by_head
        self.add_module(name, nn.Linear(WIDTH, 3 * WIDTH))
        self.out = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        packed = getattr(self, self.name)(x)
        if self.by_head:
            parts = [part.flatten(-2) for part in packed.unflatten(-1, (HEADS, 3, -1)).unbind(-2)]
        else:
            parts = list(packed.chunk(3, -1))
        return self.out(attend(*parts))


class FlaxPacked(fnn.Module):
    """A kernel with axes of its own: `apart` is how what comes out of it is cut."""

    apart: Callable[[Any], list[Any]]
    outs: tuple[int, ...]
    name_: str = "qkv"

    @fnn.compact
    def __call__(self, x: Any) -> Any:
        packed = fnn.DenseGeneral(self.outs, name=self.name_)(x)
        parts = (part.reshape(x.shape) for part in self.apart(packed))
        return fnn.Dense(WIDTH, name="out")(attend(*parts))


def heads_first(name: str = "qkv") -> FlaxPacked:
    return FlaxPacked(lambda packed: jnp.split(packed, 3, -1), (HEADS, 3 * WIDTH // HEADS), name)


def blocks_first(name: str = "qkv") -> FlaxPacked:
    return FlaxPacked(lambda packed: [packed[..., i, :] for i in range(3)], (3, WIDTH), name)


class Lora(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.base = nn.Linear(WIDTH, WIDTH)
        self.lora_A, self.lora_B = nn.Linear(WIDTH, 2, bias=False), nn.Linear(2, WIDTH, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base(x) + self.lora_B(self.lora_A(x))


class FlaxLora(fnn.Module):
    """The same without layers: each matrix has the shape that the other one has in torch."""

    @fnn.compact
    def __call__(self, x: Any) -> Any:
        down = self.param("lora_a", fnn.initializers.normal(), (WIDTH, 2))
        up = self.param("lora_b", fnn.initializers.normal(), (2, WIDTH))
        return fnn.Dense(WIDTH, name="base")(x) + x @ down @ up


ROWS, TOKENS = (3, WIDTH), (2, 5, WIDTH)

EXACT = (
    Pair("experts in one array", lambda: Mixture(3, 5), lambda: FlaxMixture(3, 5), ROWS),
    Pair(
        "experts in one array, outputs first",
        lambda: Mixture(3, 5, input_first=False),
        lambda: FlaxMixture(3, 5),
        ROWS,
    ),
    Pair("packed, an axis for the parts", Packed, blocks_first, TOKENS),
    Pair("matrices of two shapes that no layer holds", Lora, FlaxLora, ROWS),
)

PACKED = (
    Pair("packed, an axis for the heads", Packed, heads_first, TOKENS),
    Pair("packed head by head, an axis for them", lambda: Packed(by_head=True), heads_first, TOKENS),
    Pair(
        "packed head by head, an axis for the parts",
        lambda: Packed("query_key_value", by_head=True),
        lambda: blocks_first("query_key_value"),
        TOKENS,
    ),
)

OPEN = (
    Pair("weights of a layer of one's own", TwoSquares, lambda: FlaxTwoSquares("weight", "bias"), ROWS),
    Pair("w and b", TwoSquares, lambda: FlaxTwoSquares("w", "b"), ROWS),
    Pair("experts, a cube", lambda: Mixture(8, 8), lambda: FlaxMixture(8, 8), ROWS),
    Pair("experts, a cube with biases", lambda: Mixture(8, 8, bias=True), lambda: FlaxMixture(8, 8, bias=True), ROWS),
    Pair(
        "experts, square and outputs first",
        lambda: Mixture(3, 8, input_first=False),
        lambda: FlaxMixture(3, 8),
        ROWS,
    ),
    Pair("transposed convolutions among others", generator, FlaxGenerator, (2, 6, 5, 5), channels=True),
    Pair("relative positions", Relative, FlaxRelative, ROWS),
    *PACKED,
)  # fmt: skip
