"""Read a converted checkpoint with the loaders that its format's own library brings, and nothing of ckpt_core.

Each loader returns `{dotted name: array}` of everything in the file that is an array.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import flax.serialization
import numpy as np
import orbax.checkpoint as ocp
import safetensors.flax
import safetensors.numpy
import safetensors.torch
import torch

__all__ = ["LOADERS", "Arrays", "below", "nested"]

Arrays = dict[str, Any]


def _named(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(tree, Mapping):
        items = [(str(key), child) for key, child in tree.items()]
    elif isinstance(tree, Sequence) and not isinstance(tree, (str, bytes)):
        items = [(str(index), child) for index, child in enumerate(tree)]
    else:
        if hasattr(tree, "shape"):
            yield prefix, tree
        return
    for key, child in items:
        yield from _named(child, f"{prefix}.{key}" if prefix else key)


def _pickle(path: Path) -> Any:
    with path.open("rb") as file:
        return pickle.load(file)


def _msgpack(path: Path) -> Any:
    return flax.serialization.msgpack_restore(path.read_bytes())


def _from_bytes(path: Path) -> Any:
    """Fill a target of zeros, as a training script fills its freshly initialised state."""
    restored = _msgpack(path)
    target = {key: _zeros(child) for key, child in restored.items()}
    return flax.serialization.from_bytes(target, path.read_bytes())


def _zeros(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _zeros(child) for key, child in tree.items()}
    return np.zeros_like(tree) if isinstance(tree, np.ndarray) else tree


def _standard_checkpointer(path: Path) -> Any:
    with ocp.StandardCheckpointer() as checkpointer:
        return checkpointer.restore(path.resolve())


def _pytree_checkpointer(path: Path) -> Any:
    with ocp.PyTreeCheckpointer() as checkpointer:
        return checkpointer.restore(path.resolve())


_LOADERS: dict[str, dict[str, Callable[[Path], Any]]] = {
    "torch": {
        "torch.load(weights_only=True)": lambda path: torch.load(path, weights_only=True),
        "torch.load(weights_only=True, mmap=True)": lambda path: torch.load(
            path, weights_only=True, mmap=True
        ),
    },
    "safetensors": {
        "safetensors.torch.load_file": safetensors.torch.load_file,
        "safetensors.flax.load_file": safetensors.flax.load_file,
        "safetensors.numpy.load_file": safetensors.numpy.load_file,
    },
    "orbax": {
        "orbax StandardCheckpointer.restore": _standard_checkpointer,
        "orbax PyTreeCheckpointer.restore": _pytree_checkpointer,
    },
    "msgpack": {
        "flax.serialization.msgpack_restore": _msgpack,
        "flax.serialization.from_bytes": _from_bytes,
    },
    "pickle": {"pickle.load": _pickle},
}


def _flat(load: Callable[[Path], Any]) -> Callable[[Path], Arrays]:
    return lambda path: dict(_named(load(path)))


LOADERS: dict[str, dict[str, Callable[[Path], Arrays]]] = {
    target: {name: _flat(load) for name, load in loaders.items()} for target, loaders in _LOADERS.items()
}
"""Target format -> the name of a loader -> the loader."""


def below(arrays: Arrays, prefix: str) -> Arrays:
    """Return the arrays under a prefix, by the rest of their names."""
    return {
        name.removeprefix(prefix): np.asarray(array)
        for name, array in arrays.items()
        if name.startswith(prefix)
    }


def nested(arrays: Arrays) -> dict[str, Any]:
    """Return dotted names as nested dicts."""
    tree: dict[str, Any] = {}
    for name, array in arrays.items():
        *parents, last = name.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = array
    return tree
