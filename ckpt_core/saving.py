"""save_checkpoint: live objects of any framework, or a tree, written atomically."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ckpt_core.backend import Stored
from ckpt_core.fitting.fit import Fitted
from ckpt_core.live import as_data
from ckpt_core.training_tree import Training, training_tree
from ckpt_core.writing import Progress, target_backend, write

__all__ = ["save_checkpoint"]


def save_checkpoint(
    path: str | os.PathLike[str],
    model: Any,
    optimizer: Any = None,
    *,
    step: int | None = None,
    epoch: float | None = None,
    metrics: Mapping[str, Any] | None = None,
    config: Any = None,
    scheduler: Any = None,
    scaler: Any = None,
    rng: Any = None,
    extra: Mapping[str, Any] | None = None,
    to: str | None = None,
    attributes: Mapping[str, Any] | None = None,
    strict: bool = False,
    force: bool = False,
    progress: Progress | None = None,
    options: Mapping[str, object] | None = None,
) -> Fitted:
    """Write a model, and what training needs to go on, as a checkpoint, atomically.

    What it writes is what users of the framework write by hand: a dict of state dicts for torch, a state beside its
    metadata for Flax. A model alone is written as its bare weights, and a tree alone as it is.

    Arguments:
        path: the file or directory to make, in the working directory if relative.
        model: a `torch.nn.Module`, Flax variables, a TrainState or an NNX module; or a tree: dicts, lists, tuples,
            dataclasses and Namespaces of numpy, torch or jax arrays and plain values; or a Checkpoint.
        optimizer: a torch optimizer, an optax state, an `nnx.Optimizer`, a state dict; or several by name.
        step: optimizer steps done.
        epoch: the last completed epoch, as the script counts; 3.5 in the middle of the one after 3.
        metrics: numbers by name.
        config: hyperparameters: a mapping, dataclass, Namespace, pydantic model or ConfigDict; what is no plain
            value is saved as text.
        scheduler, scaler: a torch scheduler and gradient scaler, or their `state_dict()`.
        rng: states of random generators, as a tree.
        extra: further entries, at the top.
        to: the target format; without it the suffix of `path` decides.
        attributes: free metadata for the container.
        strict: anything that the target cannot hold is an error, and leaves no file.
        force: replace an existing target.
        progress: called with (bytes done, bytes in all).
        options: passed to the backend.

    Returns:
        What was written, with what is carried in metadata and what is lost.

    Raises:
        UsageError: the model is a class or has no values; a scheduler is an object of no framework.
        UnsupportedError: an object in a tree is neither an array nor a plain value, or an array is none of numbers.
        TargetError: the target exists and `force` is not set, or cannot be written.

    Example:
        save_checkpoint("runs/a/epoch_3.pth", model, optimizer, epoch=3, step=1200, metrics={"val_loss": 0.3})
        save_checkpoint("out.safetensors", {"w": np.zeros((2, 3), np.float32)})
    """
    backend = target_backend(path, to)
    training = Training(model, optimizer, step, epoch, metrics, config, scheduler, scaler, rng, extra)
    stored = Stored(as_data(training_tree(training)), dict(attributes or {}))
    return write(stored, path, backend, strict=strict, force=force, progress=progress, options=options)
