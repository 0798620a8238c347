"""Small models in both frameworks, and training them on the same data: what the tests of optimizer states stand on.

Each model has the same names of layers on both sides, so that a plan is a handful of rules and no test of optimizers
depends on how plans are found.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch

from ckpt_core.transfer.ops import Op, Reshape, Skip, Transpose
from ckpt_core.transfer.plan import Rule, TransferPlan

torch.set_num_threads(1)


@contextlib.contextmanager
def precision(dtype: str) -> Iterator[None]:
    """Run both frameworks in one floating-point type."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))
    try:
        with jax.enable_x64(dtype == "float64"):
            yield
    finally:
        torch.set_default_dtype(before)


@dataclass(frozen=True)
class World:
    """One model in both frameworks.

    Arguments:
        torch_model: makes the torch module, with seeded weights.
        torch_loss: (module, batch) to loss.
        flax_module: the linen module.
        flax_loss: (variables without params, params, batch) to (loss, new state).
        batch: (step, dtype) to a batch of numpy arrays, the same for both.
        plan: from torch to flax.
    """

    torch_model: Callable[[], torch.nn.Module]
    torch_loss: Callable[[torch.nn.Module, Any], torch.Tensor]
    flax_loss: Callable[[Any, Any, Any], tuple[Any, Any]]
    flax_init: Callable[[], Any]
    batch: Callable[[int], Any]
    plan: TransferPlan


def _rule(source: str, target: str, *ops: Op) -> Rule:
    return Rule((source,), (target,), ops)


_DENSE = (_rule("{m**}.weight", "{m**}/kernel", Transpose()), _rule("{m**}.bias", "{m**}/bias"))


# An MLP.


class TorchMlp(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Linear(6, 16)
        self.second = torch.nn.Linear(16, 16)
        self.last = torch.nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.tanh(self.second(torch.tanh(self.first(x)))))


class FlaxMlp(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
        x = jnp.tanh(nn.Dense(16, name="first")(x))
        x = jnp.tanh(nn.Dense(16, name="second")(x))
        return nn.Dense(3, name="last")(x)


def _regression(step: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1000 + step)
    x = rng.normal(size=(12, 6))
    y = np.stack([np.sin(x[:, 0] * x[:, 1]), x[:, 2] ** 2 - x[:, 3], np.cos(x[:, 4]) * x[:, 5]], 1)
    return x, y


def _seeded(make: Callable[[], torch.nn.Module]) -> Callable[[], torch.nn.Module]:
    def made() -> torch.nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return make()

    return made


def _torch(values: np.ndarray) -> torch.Tensor:
    tensor = torch.from_numpy(np.array(values))
    return tensor.to(torch.get_default_dtype()) if tensor.is_floating_point() else tensor


_INITIAL: dict[tuple[str, Any], Any] = {}


def _wide(name: str, init: Callable[[], Any]) -> Any:
    """Initial variables in the precision that the test runs in: linen's own is float32. Made once, as they are slow."""
    key = (name, jnp.result_type(float))
    if key not in _INITIAL:
        _INITIAL[key] = jax.tree.map(lambda x: x.astype(key[1]), init())
    return _INITIAL[key]


def mlp() -> World:
    module = FlaxMlp()
    return World(
        _seeded(TorchMlp),
        lambda model, batch: ((model(_torch(batch[0])) - _torch(batch[1])) ** 2).mean(),
        lambda rest, params, batch: (
            ((module.apply({"params": params}, batch[0]) - batch[1]) ** 2).mean(),
            rest,
        ),
        lambda: _wide("mlp", lambda: module.init(jax.random.key(0), jnp.zeros((1, 6)))),
        _regression,
        TransferPlan(_DENSE, source_framework="torch", target_framework="flax"),
    )


# A convolutional net with BatchNorm, flattened before the last layer.


class TorchConv(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(
            1, 4, 3, padding=1, bias=False
        )  # before a norm its gradient would be noise
        self.norm = torch.nn.BatchNorm2d(4)
        self.down = torch.nn.Conv2d(4, 6, 2, stride=2)
        self.head = torch.nn.Linear(6 * 3 * 2, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.tanh(self.norm(self.conv(x)))
        return self.head(torch.tanh(self.down(x)).flatten(1))


class FlaxConv(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
        x = nn.Conv(4, (3, 3), padding=1, use_bias=False, name="conv")(x)
        x = nn.BatchNorm(False, momentum=0.9, epsilon=1e-5, name="norm")(x)
        x = nn.Conv(6, (2, 2), strides=2, padding="VALID", name="down")(jnp.tanh(x))
        return nn.Dense(3, name="head")(jnp.tanh(x).reshape(len(x), -1))


def _images(step: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2000 + step)
    x = rng.normal(size=(10, 6, 4, 1))
    return x, np.stack([x[:, :3].mean((1, 2, 3)), x[:, 3:].mean((1, 2, 3)), x.std((1, 2, 3))], 1)


def conv() -> World:
    module = FlaxConv()

    def loss(rest: Any, params: Any, batch: Any) -> tuple[Any, Any]:
        out, new = module.apply({"params": params, **rest}, batch[0], mutable=["batch_stats"])
        return ((out - batch[1]) ** 2).mean(), new

    def torch_loss(model: torch.nn.Module, batch: Any) -> torch.Tensor:
        return ((model(_torch(batch[0].transpose(0, 3, 1, 2))) - _torch(batch[1])) ** 2).mean()

    flatten = (Reshape((3, 6, 3, 2)), Transpose((2, 3, 1, 0)), Reshape((36, 3)))
    rules = (
        *(_rule(f"{name}.weight", f"{name}/kernel", Transpose((2, 3, 1, 0))) for name in ("conv", "down")),
        *(_rule(f"{name}.bias", f"{name}/bias") for name in ("down", "head", "norm")),
        _rule("norm.weight", "norm/scale"),
        _rule("norm.running_mean", "norm/mean"),
        _rule("norm.running_var", "norm/var"),
        _rule("head.weight", "head/kernel", *flatten),
        Rule(("norm.num_batches_tracked",), (), (Skip("torch counts batches", 0),)),
    )
    return World(
        _seeded(TorchConv),
        torch_loss,
        loss,
        lambda: _wide("conv", lambda: module.init(jax.random.key(0), jnp.zeros((1, 6, 4, 1)))),
        _images,
        TransferPlan(rules, source_framework="torch", target_framework="flax"),
    )


# A transformer whose output layer is its embedding.

_WORDS, _WIDTH, _LENGTH = 11, 8, 6


class TorchTransformer(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(_WORDS, _WIDTH)
        self.place = torch.nn.Embedding(_LENGTH, _WIDTH)
        self.norm1 = torch.nn.LayerNorm(_WIDTH)
        self.query, self.value, self.out = (torch.nn.Linear(_WIDTH, _WIDTH) for _ in range(3))
        self.key = torch.nn.Linear(_WIDTH, _WIDTH, bias=False)  # under softmax its gradient would be noise
        self.norm2 = torch.nn.LayerNorm(_WIDTH)
        self.up, self.down = torch.nn.Linear(_WIDTH, 16), torch.nn.Linear(16, _WIDTH)
        self.norm3 = torch.nn.LayerNorm(_WIDTH)
        self.head = torch.nn.Linear(_WIDTH, _WORDS, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embed(tokens) + self.place.weight
        y = self.norm1(x)
        scores = self.query(y) @ self.key(y).transpose(1, 2) / _WIDTH**0.5
        x = x + self.out(scores.softmax(-1) @ self.value(y))
        x = x + self.down(torch.tanh(self.up(self.norm2(x))))
        return self.head(self.norm3(x))


class FlaxTransformer(nn.Module):
    @nn.compact
    def __call__(self, tokens: Any) -> Any:
        embed = nn.Embed(_WORDS, _WIDTH, name="embed")
        x = embed(tokens) + nn.Embed(_LENGTH, _WIDTH, name="place")(jnp.arange(_LENGTH))

        def norm(name: str) -> Any:
            return nn.LayerNorm(epsilon=1e-5, use_fast_variance=False, name=name)

        y = norm("norm1")(x)
        query, value = (nn.Dense(_WIDTH, name=name)(y) for name in ("query", "value"))
        key = nn.Dense(_WIDTH, use_bias=False, name="key")(y)
        scores = query @ key.transpose(0, 2, 1) / _WIDTH**0.5
        x = x + nn.Dense(_WIDTH, name="out")(nn.softmax(scores) @ value)
        x = x + nn.Dense(_WIDTH, name="down")(jnp.tanh(nn.Dense(16, name="up")(norm("norm2")(x))))
        return embed.attend(norm("norm3")(x))


def _sentences(step: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3000 + step)
    tokens = rng.integers(_WORDS, size=(8, _LENGTH))
    return tokens, (tokens + np.roll(tokens, 1, 1)) % _WORDS


def transformer() -> World:
    module = FlaxTransformer()

    def loss(rest: Any, params: Any, batch: Any) -> tuple[Any, Any]:
        out = module.apply({"params": params}, batch[0])
        return optax.softmax_cross_entropy_with_integer_labels(out, batch[1]).mean(), rest

    def torch_loss(model: torch.nn.Module, batch: Any) -> torch.Tensor:
        out = model(torch.from_numpy(batch[0]))
        return torch.nn.functional.cross_entropy(out.flatten(0, 1), torch.from_numpy(batch[1]).flatten())

    dense = ("query", "key", "value", "out", "up", "down")
    norms = ("norm1", "norm2", "norm3")
    rules = (
        *(_rule(f"{name}.weight", f"{name}/embedding") for name in ("embed", "place")),
        *(_rule(f"{name}.weight", f"{name}/kernel", Transpose()) for name in dense),
        *(_rule(f"{name}.bias", f"{name}/bias") for name in (*dense, *norms) if name != "key"),
        *(_rule(f"{name}.weight", f"{name}/scale") for name in norms),
    )
    return World(
        _seeded(TorchTransformer),
        torch_loss,
        loss,
        lambda: _wide(
            "transformer", lambda: module.init(jax.random.key(0), jnp.zeros((1, _LENGTH), jnp.int32))
        ),
        _sentences,
        TransferPlan(rules, source_framework="torch", target_framework="flax"),
    )


# Training.


def train_torch(
    world: World,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    start: int,
    steps: int,
    *,
    clip: float | None = None,
    scheduler: Any = None,
) -> None:
    """Train in place on the batches `start`, `start + 1`, ..."""
    model.train()
    for step in range(start, start + steps):
        optimizer.zero_grad()
        world.torch_loss(model, world.batch(step)).backward()
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        if scheduler is not None:
            scheduler.step()


def stepper(world: World, tx: optax.GradientTransformation) -> Callable[..., Any]:
    """Return the compiled training step: (params, rest, opt_state, batch) to the same without the batch."""

    @jax.jit
    def step(params: Any, rest: Any, opt_state: Any, batch: Any) -> Any:
        gradient = jax.grad(lambda p: world.flax_loss(rest, p, batch), has_aux=True)
        grads, new = gradient(params)
        updates, opt_state = tx.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), new, opt_state

    return step


def train_flax(world: World, step: Callable[..., Any], state: Any, start: int, steps: int) -> Any:
    """Train (params, rest, opt_state) on the batches `start`, `start + 1`, ...; returns the same."""
    dtype = jax.tree.leaves(state[0])[0].dtype
    for i in range(start, start + steps):
        batch = [a.astype(dtype) if a.dtype.kind == "f" else a for a in world.batch(i)]
        state = step(*state, batch)
    return state
