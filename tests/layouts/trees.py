"""Small trees as trainers arrange them, over arrays in memory; for layouts whose libraries cannot be installed."""

from __future__ import annotations

from typing import Any

import numpy as np

from ckpt_core.aliases import unshare
from ckpt_core.arrays import LazyArray
from ckpt_core.backend import Stored
from ckpt_core.opening import checkpoint_of
from ckpt_core.schema import Checkpoint
from ckpt_core.tree import Record


def array(*shape: int, dtype: str = "float32", fill: float = 0.0) -> LazyArray:
    """Return an array of one value."""
    return LazyArray.from_numpy(np.full(shape, fill, dtype))


def opened(tree: Any, **asked: Any) -> Checkpoint:
    """Return the checkpoint of a tree in memory."""
    return checkpoint_of(Stored(unshare(tree)), format="memory", **asked)


def state_dict(fill: float = 0.0) -> dict[str, LazyArray]:
    """Return the weights of a convolution, a batch norm and a head."""
    return {
        "net.conv.weight": array(4, 1, 3, 3, fill=fill),
        "net.bn.running_mean": array(4, fill=fill),
        "head.weight": array(2, 4, fill=fill),
    }


def adam() -> dict[str, Any]:
    """Return the state dict of torch's Adam after seven steps."""
    slots = {"step": array(fill=7.0), "exp_avg": array(2, 4), "exp_avg_sq": array(2, 4)}
    group = {"lr": 1e-3, "betas": (0.9, 0.999), "amsgrad": False, "params": [0]}
    return {"state": {0: slots}, "param_groups": [group]}


def fairseq() -> dict[str, Any]:
    """`fairseq/trainer.py`, `state_dict`, and `checkpoint_utils.py`, with an EMA as `models/ema` keeps it."""
    record = {"criterion_name": "X", "lr_scheduler_state": {"best": 2.5}, "num_updates": 300}
    return {
        "args": None,
        "cfg": {"model": {"dim": 4}, "optimization": {"lr": [0.1]}},
        "model": state_dict(),
        "criterion": None,
        "optimizer_history": [{"num_updates": 100}, record],
        "task_state": {},
        "extra_state": {
            "metrics": {"default": []},
            "train_iterator": {"epoch": 3, "iterations_in_epoch": 0, "shuffle": True},
            "val_loss": 2.75,
            "best": 2.5,
            "ema": state_dict(1.0),
        },
        "last_optimizer_state": adam(),
    }


def detectron2() -> dict[str, Any]:
    """`detectron2/engine/train_loop.py` (`TrainerBase.state_dict`, `AMPTrainer.state_dict`)."""
    inner = {"iteration": 999, "optimizer": adam(), "grad_scaler": {"scale": 65536.0}}
    hooks = {"LRScheduler": {"last_epoch": 1000}, "BestCheckpointer": {}}
    return {
        "model": state_dict(),
        "trainer": {"iteration": 999, "hooks": hooks, "_trainer": inner},
        "iteration": 999,
    }


def detectron2_of_old() -> dict[str, Any]:
    """`fvcore/common/checkpoint.py`, with what detectron2 gave it before version 0.5."""
    return {"model": state_dict(), "optimizer": adam(), "scheduler": {"last_epoch": 1000}, "iteration": 999}


def basicsr() -> dict[str, Any]:
    """`basicsr/models/base_model.py`, `save_network`."""
    return {"params": state_dict(), "params_ema": state_dict(1.0)}


def big_dict() -> dict[str, Any]:
    """A dict of a training script with everything in it, and some things that mean nothing to anybody."""
    return {
        "epoch": 3,
        "global_step": 12,
        "model_state_dict": state_dict(),
        "ema": state_dict(1.0),
        "optimizer_state_dict": adam(),
        "scheduler_state_dict": {"last_epoch": 3},
        "scaler": {"scale": 1.0},
        "rng_state": array(5, dtype="uint8"),
        "val_loss": 0.5,
        "args": Record("argparse.Namespace", {"lr": 0.1}),
        "odd": {"deep": [1, {"x": array(1)}]},
        5: "five",
    }
