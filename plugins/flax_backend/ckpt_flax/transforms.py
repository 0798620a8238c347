"""optax transformations that update as torch's optimizers do; importing this module imports jax and optax."""

from ckpt_flax.bridge.transforms import (
    cosine_annealing,
    cosine_restarts,
    every,
    labels_by_name,
    mask_by_name,
    scale_by_torch_adagrad,
    scale_by_torch_amsgrad,
    scale_by_torch_muon,
    scale_by_torch_nadam,
    scale_by_torch_radam,
    scale_by_torch_rprop,
    torch_adafactor,
    torch_clip_by_global_norm,
)

__all__ = [
    "cosine_annealing",
    "cosine_restarts",
    "every",
    "labels_by_name",
    "mask_by_name",
    "scale_by_torch_adagrad",
    "scale_by_torch_amsgrad",
    "scale_by_torch_muon",
    "scale_by_torch_nadam",
    "scale_by_torch_radam",
    "scale_by_torch_rprop",
    "torch_adafactor",
    "torch_clip_by_global_norm",
]
