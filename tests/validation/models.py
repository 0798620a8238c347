"""One small model in torch, linen and NNX whose arrays have the same names, and files of such arrays."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import safetensors.numpy
import torch
from flax import linen, nnx

DEPTH, SLOTS, WIDTH = 3, 7, 4


def shapes(depth: int = DEPTH, slots: int = SLOTS, width: int = WIDTH) -> dict[str, tuple[int, ...]]:
    """The arrays of the model by name."""
    layers = {f"layers/{i}/kernel": (width, width) for i in range(depth)}
    return {"slots_mu": (slots, width), **layers, "head/bias": (slots,)}


def arrays(seed: int = 0, **sizes: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes(**sizes).items()}


def nested(flat: dict[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, array in flat.items():
        *above, last = name.split("/")
        node = tree
        for key in above:
            node = node.setdefault(key, {})
        node[last] = array
    return tree


# Live models.


class TorchLayer(torch.nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.kernel = torch.nn.Parameter(torch.zeros(width, width))


class TorchHead(torch.nn.Module):
    def __init__(self, slots: int) -> None:
        super().__init__()
        self.bias = torch.nn.Parameter(torch.zeros(slots))


class TorchModel(torch.nn.Module):
    def __init__(self, depth: int = DEPTH, slots: int = SLOTS, width: int = WIDTH) -> None:
        super().__init__()
        self.slots_mu = torch.nn.Parameter(torch.zeros(slots, width))
        self.layers = torch.nn.ModuleList([TorchLayer(width) for _ in range(depth)])
        self.head = TorchHead(slots)


class LinenBranch(linen.Module):
    sizes: dict[str, tuple[int, ...]]

    @linen.compact
    def __call__(self) -> None:
        for name, below in self.sizes.items():
            if isinstance(below, Mapping):
                LinenBranch(below, name=name)()
            else:
                self.param(name, linen.initializers.zeros, tuple(below))


class NnxBranch(nnx.Module):
    def __init__(self, sizes: dict[str, Any]) -> None:
        for name, below in sizes.items():
            made = NnxBranch(below) if isinstance(below, dict) else nnx.Param(jnp.zeros(below))
            setattr(self, name, made)


class NnxModel(nnx.Module):
    def __init__(self, depth: int = DEPTH, slots: int = SLOTS, width: int = WIDTH) -> None:
        self.slots_mu = nnx.Param(jnp.zeros((slots, width)))
        self.layers = nnx.List([NnxBranch({"kernel": (width, width)}) for _ in range(depth)])
        self.head = NnxBranch({"bias": (slots,)})


def linen_variables(**sizes: int) -> Any:
    return LinenBranch(nested(shapes(**sizes))).init(jax.random.key(0))


MODELS = {"torch": TorchModel, "linen": linen_variables, "nnx": NnxModel}


# Files.


def write_torch(path: Path, flat: dict[str, np.ndarray]) -> None:
    torch.save({name.replace("/", "."): torch.from_numpy(array) for name, array in flat.items()}, path)


def write_safetensors(path: Path, flat: dict[str, np.ndarray]) -> None:
    safetensors.numpy.save_file({name.replace("/", "."): array for name, array in flat.items()}, path)


def write_orbax(path: Path, flat: dict[str, np.ndarray]) -> None:
    with ocp.StandardCheckpointer() as saver:
        saver.save(path.absolute(), nested(flat))
        saver.wait_until_finished()


def write_msgpack(path: Path, flat: dict[str, np.ndarray]) -> None:
    path.write_bytes(flax.serialization.to_bytes(nested(flat)))


def write_pickle(path: Path, flat: dict[str, np.ndarray]) -> None:
    path.write_bytes(pickle.dumps(nested(flat)))


FILES = {
    "torch": ("model.pth", write_torch),
    "safetensors": ("model.safetensors", write_safetensors),
    "orbax": ("model_orbax", write_orbax),
    "msgpack": ("model.msgpack", write_msgpack),
    "pickle": ("model.pkl", write_pickle),
}
