"""Train the same network in Flax, and save it in the three ways that JAX projects use.

    python train_flax.py --out out

Leaves `digits_orbax/` (Orbax), `digits.msgpack` (flax.serialization.to_bytes of the TrainState) and `digits.pkl`
(the pickled TrainState, whose class exists in this script alone).
"""

from __future__ import annotations

import argparse
import pickle
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
from data import Digits, digits
from flax.training import train_state


class DigitsNet(nn.Module):
    """Two convolutions, a batch norm and a dense layer; images are (n, 8, 8)."""

    width: int = 16

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        hidden = nn.relu(nn.Conv(self.width, (3, 3), name="conv1")(images[..., None]))
        hidden = nn.Conv(2 * self.width, (3, 3), strides=2, name="conv2")(hidden)
        hidden = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9, name="norm")(hidden))
        return nn.Dense(10, name="head")(hidden.reshape(len(hidden), -1))


class TrainState(train_state.TrainState):
    """Flax's own, with the running statistics of the batch norm."""

    batch_stats: Any = None


def accuracy(variables: Mapping[str, Any], data: Digits) -> float:
    """Return the share of held-out digits that `{"params": ..., "batch_stats": ...}` gets right."""
    width = len(variables["params"]["conv1"]["bias"])
    logits = DigitsNet(width).apply(variables, jnp.asarray(data.test_images))
    return float(np.mean(np.asarray(logits).argmax(1) == data.test_labels))


@jax.jit
def train_step(state: TrainState, images: jax.Array, labels: jax.Array) -> tuple[TrainState, jax.Array]:
    """Take one optimizer step on a batch."""

    def loss_of(params: Any) -> tuple[jax.Array, Any]:
        variables = {"params": params, "batch_stats": state.batch_stats}
        logits, changed = state.apply_fn(variables, images, train=True, mutable=["batch_stats"])
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
        return loss, changed["batch_stats"]

    (loss, batch_stats), grads = jax.value_and_grad(loss_of, has_aux=True)(state.params)
    return state.apply_gradients(grads=grads, batch_stats=batch_stats), loss


def save(state: TrainState, metadata: dict[str, Any], out: Path) -> None:
    """Write the three checkpoints; functions (`apply_fn`, `tx`) are not part of one."""
    state = state.replace(apply_fn=None, tx=None)
    checkpoint = {"state": state, "metadata": metadata, "timestamp": time.time()}
    shutil.rmtree(out / "digits_orbax", ignore_errors=True)
    with ocp.PyTreeCheckpointer() as checkpointer:
        checkpointer.save((out / "digits_orbax").resolve(), checkpoint)
    (out / "digits.msgpack").write_bytes(flax.serialization.to_bytes(state))
    (out / "digits.pkl").write_bytes(pickle.dumps(checkpoint))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out"))
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    data = digits()
    model = DigitsNet(args.width)
    variables = model.init(jax.random.key(args.seed), jnp.asarray(data.train_images[:1]))
    state = TrainState.create(
        apply_fn=model.apply,
        params=variables["params"],
        batch_stats=variables["batch_stats"],
        tx=optax.adamw(args.lr),
    )
    shuffle = np.random.default_rng(args.seed)
    loss = test_accuracy = 0.0
    for epoch in range(1, args.epochs + 1):
        order = shuffle.permutation(len(data.train_images))
        losses = []
        for start in range(0, len(order) - args.batch + 1, args.batch):
            rows = order[start : start + args.batch]
            state, batch_loss = train_step(state, data.train_images[rows], data.train_labels[rows])
            losses.append(float(batch_loss))
        loss = float(np.mean(losses))
        test_accuracy = accuracy({"params": state.params, "batch_stats": state.batch_stats}, data)
        print(f"flax epoch {epoch}: {loss:.4f}, {test_accuracy:.1%} of held-out digits")
    config = {
        "lr": args.lr,
        "batch": args.batch,
        "width": args.width,
        "seed": args.seed,
        "optimizer": "adamw",
    }
    metrics = {"train_loss": loss, "test_accuracy": test_accuracy}
    save(state, {"epoch": args.epochs, "config": config, "metrics": metrics}, args.out)


if __name__ == "__main__":
    main()
