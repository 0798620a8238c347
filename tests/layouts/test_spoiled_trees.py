"""Trees in which something is not what its place says: whatever a file holds, its reader is told, and never crashes."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpt_core import open_checkpoint
from ckpt_core.arrays import LazyArray
from ckpt_core.backend import Stored
from ckpt_core.cli.summary import summary_of
from ckpt_core.errors import CheckpointError
from ckpt_core.opening import checkpoint_of
from ckpt_core.schema import Checkpoint
from ckpt_core.select import Selection, selected
from ckpt_core.tree import Alias, Part, Record, children, get, rebuild, substitute, walk

GOLDEN = Path(__file__).parents[1] / "golden"
FILES = (
    "lightning/2.6_averaged.ckpt",
    "mmengine/0.10_ema.pth",
    "timm/1.0_training.pth.tar",
    "ultralytics/8.4_training.pt",
    "huggingface/trainer",
    "accelerate/bin",
    "diffusers/trainer",
    "haiku/0.0.17_state.pkl",
    "equinox/0.13_hyperparameters.eqx",
    "torch/zip_2.13_training.pt",
    "torch/zip_2.13_module.pt",
    "torch/torchscript_2.13.pt",
    "orbax/0.12.8_trainstate",
    "orbax/0.12.8_nnx",
    "pickle/trainstate_0.10.2_inject.pkl",
    "pickle/trainstate_0.10.2_multi.pkl",
    "pickle/flax_0.3_optimizer_p4.pkl",
)
EACH = 60


def odd_values(rng: random.Random, containers: list[Any]) -> list[Any]:
    array = LazyArray.from_numpy
    return [
        "text", 5, True, None, float("nan"), [], {}, (), {1: 2, None: 3, (1, 2): 4}, [{"a": 1}, "b"],
        Record("x.Y"), Record("x.Y", {"a": 1}, args=(1,)), Alias(rng.choice(containers)),
        array(np.zeros((2, 3), np.float32)), array(np.zeros((), np.int64)), array(np.zeros(0, np.float32)),
    ]  # fmt: skip


def spoiled(tree: Any, rng: random.Random) -> Any:
    """Put something odd, or another part of the tree, in the place of a part; or leave it out."""
    nodes = [(path, node) for path, node in walk(tree) if path and not isinstance(path[-1], Part)]
    containers = [path for path, node in nodes if children(node)] or [()]
    path, _ = rng.choice(nodes)
    change = rng.randrange(3)
    if change == 0:
        return substitute(tree, path, rng.choice(odd_values(rng, containers)))
    if change == 1:
        return substitute(
            tree, path, rng.choice([node for other, node in nodes if path[: len(other)] != other])
        )
    above = get(tree, path[:-1])
    return substitute(
        tree, path[:-1], rebuild(above, [pair for pair in children(above) if pair[0] != path[-1]])
    )


def holds_together(tree: Any) -> bool:
    """Whether every alias still leads to a container, as it does in whatever a reader returns."""
    try:
        return all(
            children(get(tree, node.path)) is not None for _, node in walk(tree) if isinstance(node, Alias)
        )
    except KeyError:
        return False


def questions(ckpt: Checkpoint) -> Iterator[Any]:
    yield summary_of(ckpt)
    yield ckpt.claims, ckpt.ties
    for asked in (
        Selection(only=("weights",)),
        Selection(layout="train_state"),
        Selection(layout="training_dict"),
    ):
        with contextlib.suppress(CheckpointError):
            yield selected(ckpt, asked)


@pytest.mark.parametrize("name", FILES)
def test_a_spoiled_tree_is_told_or_refused(name: str) -> None:
    rng = random.Random(name)
    with open_checkpoint(GOLDEN / name) as ckpt:
        for _ in range(EACH):
            tree = spoiled(ckpt.tree, rng)
            if not holds_together(tree):
                continue
            for layout in (None, ckpt.layout):
                with contextlib.suppress(CheckpointError):
                    opened = checkpoint_of(Stored(tree), layout=layout, format=ckpt.format)
                    assert list(questions(opened))
