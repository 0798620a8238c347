"""The same with Flax: a TrainState, under Orbax.

python train_flax.py --epochs 4 [--auto_resume | --resume --model_path PATH | ...]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from digits import BATCHES, batches, held_out
from flax.training.train_state import TrainState
from preemption import STOPPED, Preemption

from ckpt_core import ResumePlan, Run, add_resume_arguments, save_checkpoint
from ckpt_core.validation import restore


class Classifier(nn.Module):
    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        hidden = nn.relu(nn.Dense(96)(images))
        return nn.Dense(10)(nn.Dropout(0.2, deterministic=not train)(hidden))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="train_flax.py", description=__doc__)
    parser.add_argument("--out", default="runs")
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--preempt_at", type=int, help="send this process SIGTERM after that step")
    resuming = add_resume_arguments(
        parser, run_dir=lambda args: f"{args.out}/flax_lr_{args.lr}", steps_per_epoch=BATCHES
    )
    args = parser.parse_args(argv)
    config = {"lr": args.lr, "seed": args.seed, "epochs": args.epochs}
    return train(args, config, resuming.plan(args, config=config), resuming.run(args))


@jax.jit
def update(state: TrainState, images: jax.Array, labels: jax.Array, key: jax.Array) -> TrainState:
    """One step; its randomness comes from the key and the step, so that nothing about it has to be saved."""
    rngs = {"dropout": jax.random.fold_in(key, state.step)}

    def loss(params: object) -> jax.Array:
        logits = state.apply_fn({"params": params}, images, train=True, rngs=rngs)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    return state.apply_gradients(grads=jax.grad(loss)(state.params))


def train(args: argparse.Namespace, config: dict[str, object], plan: ResumePlan, run: Run) -> int:
    module, key = Classifier(), jax.random.key(args.seed)
    params = module.init(key, jnp.zeros((1, 64)))["params"]
    state = TrainState.create(apply_fn=module.apply, params=params, tx=optax.adamw(args.lr))
    if plan.action == "resume":
        state = restore(plan.path, state).model
    elif plan.action == "weights":
        state = state.replace(params=restore(plan.path, {"params": params}).model["params"])
    preemption = Preemption(args.preempt_at)
    for epoch in plan.epochs:
        start = plan.batch if epoch == plan.epoch else 0
        for batch, (images, labels) in enumerate(batches(args.seed, epoch, start), start + 1):
            state = update(state, images, labels, key)
            if preemption.after(int(state.step)):
                path = Path(run.given, f"checkpoint_epoch_{epoch - 1}_step_{state.step}.orbax")
                save_checkpoint(path, state, epoch=epoch - 1 + batch / BATCHES, config=config)
                print(f"stopped after step {state.step}; saved {path.name}")
                return STOPPED
        metrics = {"val_acc": accuracy(state)}
        final = epoch == plan.epochs[-1]
        run.save(state, epoch=epoch, config=config, metrics=metrics, best="val_acc", final=final)
        print(f"epoch {epoch}: val_acc {metrics['val_acc']:.4f}")
    return 0


def accuracy(state: TrainState) -> float:
    images, labels = held_out()
    found = state.apply_fn({"params": state.params}, images).argmax(1)
    return float((found == labels).mean())


if __name__ == "__main__":
    sys.exit(main())
