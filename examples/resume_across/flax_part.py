"""The JAX half of the run: goes on from a train state on disk, and saves one.

    python flax_part.py --steps 120 240 --resume out/a_flax --save out/b_flax --log out/crossed.jsonl

The optimizer is the one that `suggest_optimizer` proposed for the torch run, in this program's own words.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
from batches import RATE, STEPS, WARM_UP, DigitsBatches, log

from ckpt_core import restore


class DigitsNet(nn.Module):
    """The same network: images are (n, 8, 8)."""

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        hidden = nn.relu(nn.Conv(16, (3, 3), name="conv1")(images[..., None]))
        # torch pads by one on both sides, Flax's "SAME" would pad an even image on one side alone
        hidden = nn.Conv(32, (3, 3), strides=2, padding=1, use_bias=False, name="conv2")(hidden)
        hidden = nn.BatchNorm(False, momentum=0.9, epsilon=1e-5, name="norm")(hidden)
        return nn.Dense(10, name="head")(nn.relu(hidden).reshape(len(hidden), -1))


def schedule(count: Any) -> Any:
    """The learning rate of a step, as `batches.scheduled` has it."""
    rising = RATE * (count + 1) / WARM_UP
    falling = RATE * 0.5 * (1 + jnp.cos(jnp.pi * (count - WARM_UP) / (STEPS - WARM_UP)))
    return jnp.where(count < WARM_UP, rising, falling)


def transformation() -> optax.GradientTransformation:
    """AdamW that decays matrices alone, after clipping, under the schedule."""
    mask = lambda params: jax.tree.map(lambda x: x.ndim > 1, params)  # noqa: E731
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=0.05, mask=mask))


def variables() -> Any:
    """Return fresh variables."""
    return DigitsNet().init(jax.random.key(0), jnp.zeros((1, 8, 8)))


@jax.jit
def train_step(
    state: dict[str, Any], images: jax.Array, labels: jax.Array
) -> tuple[dict[str, Any], jax.Array]:
    """Make one update."""

    def loss_of(params: Any) -> tuple[jax.Array, Any]:
        held = {"params": params, "batch_stats": state["batch_stats"]}
        logits, changed = DigitsNet().apply(held, images, mutable=["batch_stats"])
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
        return loss, changed["batch_stats"]

    (loss, stats), grads = jax.value_and_grad(loss_of, has_aux=True)(state["params"])
    updates, opt_state = transformation().update(grads, state["opt_state"], state["params"])
    params = optax.apply_updates(state["params"], updates)
    return {"params": params, "batch_stats": stats, "opt_state": opt_state}, loss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, nargs=2, required=True)
    parser.add_argument("--resume", type=Path, required=True)
    parser.add_argument("--save", type=Path)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--lose-optimizer", action="store_true", help="go on with a fresh optimizer")
    args = parser.parse_args()

    fresh = variables()
    opt_state = transformation().init(fresh["params"])
    restored = restore(args.resume, fresh, opt_state)
    state = {**restored.model, "opt_state": restored.optimizer}
    if args.lose_optimizer:
        state["opt_state"] = opt_state
    batches = DigitsBatches()
    losses = []
    for step in range(*args.steps):
        state, loss = train_step(state, *batches.at(step))
        losses.append(float(loss))
    log(args.log, *args.steps, losses)
    if args.save:
        tree = {"state": {**state, "step": np.int32(args.steps[1])}}
        ocp.PyTreeCheckpointer().save(args.save.resolve(), tree, force=True)
    first, last = np.mean(losses[:10]), np.mean(losses[-10:])
    print(f"flax steps {args.steps[0]} to {args.steps[1]}: loss {first:.4f} -> {last:.4f}")


if __name__ == "__main__":
    main()
