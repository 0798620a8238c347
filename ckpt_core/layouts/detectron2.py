"""detectron2's checkpoints (`fvcore/common/checkpoint.py`, `detectron2/engine/defaults.py`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ckpt_core.layouts.base import Layout, Progress, Roles
from ckpt_core.layouts.spelling import claim_by_spelling
from ckpt_core.layouts.values import is_optimizer, is_scalar, is_weights

__all__ = ["Detectron2"]


class Detectron2(Layout):
    """`{'model', 'optimizer', 'scheduler', 'iteration'}`, or `{'model', 'trainer': {...}, 'iteration'}`."""

    name = "detectron2"
    describes = "detectron2: model, iteration, and optimizer and scheduler or trainer"

    def recognise(self, tree: Any) -> Roles | None:
        if (
            not isinstance(tree, Mapping)
            or not is_weights(tree.get("model"))
            or not is_scalar(tree.get("iteration"))
        ):
            return None
        # The iteration is the index of the last one (`PeriodicCheckpointer.step`).
        last = tree["iteration"]
        progress = Progress(steps=last + 1) if type(last) is int else None
        trainer = tree.get("trainer")
        if not isinstance(trainer, Mapping):
            is_whole = {"optimizer", "scheduler"} <= tree.keys()
            return dataclasses.replace(claim_by_spelling(tree), progress=progress) if is_whole else None
        inner = trainer.get("_trainer")
        prefix, state = (
            (("trainer", "_trainer"), inner) if isinstance(inner, Mapping) else (("trainer",), trainer)
        )
        hooks = trainer.get("hooks")
        schedulers = {}
        if isinstance(hooks, Mapping) and isinstance(hooks.get("LRScheduler"), Mapping):
            schedulers["LRScheduler"] = ("trainer", "hooks", "LRScheduler")
        rest = {key: value for key, value in tree.items() if key != "trainer"}
        return dataclasses.replace(
            claim_by_spelling(rest),
            opt_states={"optimizer": (*prefix, "optimizer")} if is_optimizer(state.get("optimizer")) else {},
            scaler=(*prefix, "grad_scaler") if isinstance(state.get("grad_scaler"), Mapping) else None,
            schedulers=schedulers,
            progress=progress,
        )
