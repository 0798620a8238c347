"""fairseq's checkpoints (`fairseq/trainer.py`, `state_dict`; `fairseq/checkpoint_utils.py`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ckpt_core.layouts.base import Layout, Progress, Roles
from ckpt_core.layouts.values import is_optimizer, is_scalar, is_weights
from ckpt_core.tree import Index, KeyPath

__all__ = ["Fairseq"]

_SCHEDULES: Final = ("lr_scheduler_state",)
_METRICS: Final = ("val_loss", "best")


class Fairseq(Layout):
    """`{'args' or 'cfg', 'model', 'optimizer_history', 'last_optimizer_state', 'extra_state', ...}`."""

    name = "fairseq"
    describes = "fairseq: model, args or cfg, optimizer_history, last_optimizer_state, extra_state"

    def recognise(self, tree: Any) -> Roles | None:
        if not isinstance(tree, Mapping) or not is_weights(tree.get("model")):
            return None
        history = tree.get("optimizer_history")
        if not isinstance(history, list) or not {"args", "cfg"} & tree.keys():
            return None
        extra = _mapping(tree.get("extra_state"))
        iterator = _mapping(extra.get("train_iterator"))
        last: KeyPath = ("optimizer_history", Index(len(history) - 1))
        record = _mapping(history[-1]) if history else {}
        averaged = "ema" if is_weights(extra.get("ema")) else None
        return Roles(
            params=(("model",),),
            ema={averaged: ("extra_state", averaged)} if averaged else {},
            opt_states={key: (key,) for key in ("last_optimizer_state",) if is_optimizer(tree.get(key))},
            schedulers={key: (*last, key) for key in _SCHEDULES if isinstance(record.get(key), Mapping)},
            step=(*last, "num_updates") if is_scalar(record.get("num_updates")) else None,
            epoch=("extra_state", "train_iterator", "epoch") if is_scalar(iterator.get("epoch")) else None,
            metrics={key: ("extra_state", key) for key in _METRICS if is_scalar(extra.get(key))},
            config={key: (key,) for key in ("args", "cfg") if isinstance(tree.get(key), Mapping)},
            progress=_progress(iterator),
        )


def _mapping(value: Any) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else {}


def _progress(iterator: Mapping[Any, Any]) -> Progress | None:
    """The iterator's epoch is the one to go on with, counted from one (`fairseq/data/iterators.py`, `state_dict`)."""
    epoch, batch = iterator.get("epoch"), iterator.get("iterations_in_epoch", 0)
    return Progress(epoch - 1, batch) if type(epoch) is int and type(batch) is int else None
