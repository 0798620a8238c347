"""Flax layers for tests: their slots, and their forward pass with the arrays of a transfer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ckpt_core.arrays import LazyArray
from ckpt_core.transfer.sides import Target, target_of


@dataclass
class Linen:
    """A linen module, its variables made for some inputs."""

    module: Any
    call: Callable[..., Any] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def target(self, inputs: tuple[np.ndarray, ...]) -> Target:
        self.variables = self.module.init(jax.random.key(0), *map(jnp.asarray, inputs), **self.options)
        return target_of(self.variables)

    def run(
        self, target: Target, arrays: Mapping[str, LazyArray], inputs: tuple[np.ndarray, ...]
    ) -> np.ndarray:
        tree = jax.tree.map(lambda leaf: jnp.asarray(leaf.read()), target.filled(arrays))
        call = self.call or self.module.apply
        return np.asarray(call(tree, *map(jnp.asarray, inputs)))


class Holder(nnx.Module):
    """A module around a layer, so that the layer has a name, as in every model."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer


@dataclass
class Nnx:
    """An NNX module."""

    module: Any
    call: Callable[..., Any] | None = None

    def target(self, inputs: tuple[np.ndarray, ...]) -> Target:
        return target_of(Holder(self.module))

    def run(
        self, target: Target, arrays: Mapping[str, LazyArray], inputs: tuple[np.ndarray, ...]
    ) -> np.ndarray:
        fill_nnx(Holder(self.module), arrays)
        return np.asarray((self.call or self.module)(*map(jnp.asarray, inputs)))


def fill_nnx(module: Any, arrays: Mapping[str, LazyArray]) -> None:
    """Put arrays into a module under their names; each must have a place."""
    values = {name: jnp.asarray(array.read()) for name, array in arrays.items()}
    flat = []
    for path, leaf in nnx.to_flat_state(nnx.state(module)):
        value = values.pop("/".join(map(str, path)), None)
        kept = leaf if value is None else leaf.replace(value) if isinstance(leaf, nnx.Variable) else value
        flat.append((path, kept))
    assert not values
    nnx.update(module, nnx.from_flat_state(flat))
