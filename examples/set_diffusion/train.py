"""Train a denoiser of sets, and save every fifty steps with Orbax; the hyperparameters are not saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
from flax.training.train_state import TrainState
from images import draw_sets
from model import SetDenoiser

STEPS, EVERY, BATCH = 100, 50, 32


def denoising_loss(apply: Any, params: Any, sets: jax.Array, key: jax.Array) -> jax.Array:
    """Return the squared error of the predicted noise, at a level drawn for each set."""
    level_key, noise_key = jax.random.split(key)
    level = jax.random.uniform(level_key, (len(sets),), minval=0.1, maxval=0.9)
    noise = jax.random.normal(noise_key, sets.shape)
    shaped = level[:, None, None, None, None]
    noisy = jnp.sqrt(1 - shaped) * sets + jnp.sqrt(shaped) * noise
    return jnp.mean((apply({"params": params}, noisy, level) - noise) ** 2)


def train(folder: Path, **hyperparameters: int) -> float:
    """Train for a few seconds, leave a CheckpointManager's directory, and return the last loss."""
    size = hyperparameters.pop("image_size")
    model = SetDenoiser(**hyperparameters)
    sets = draw_sets(256, hyperparameters["sample_size"], size, seed=0)
    params = model.init(jax.random.key(0), sets[:1], jnp.ones(1))["params"]
    state = TrainState.create(apply_fn=model.apply, params=params, tx=optax.adam(3e-3))

    @jax.jit
    def step(state: TrainState, batch: jax.Array, key: jax.Array) -> tuple[TrainState, jax.Array]:
        loss, gradients = jax.value_and_grad(lambda p: denoising_loss(model.apply, p, batch, key))(
            state.params
        )
        return state.apply_gradients(grads=gradients), loss

    random = np.random.default_rng(0)
    with ocp.CheckpointManager(folder) as manager:
        for i in range(1, STEPS + 1):
            batch = sets[random.integers(0, len(sets), BATCH)]
            state, loss = step(state, batch, jax.random.key(i))
            if i % EVERY == 0:
                saved = {"params": state.params, "opt_state": state.opt_state, "step": state.step}
                manager.save(i, args=ocp.args.StandardSave(saved))
    return float(loss)
