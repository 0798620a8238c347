"""Ultralytics' YOLO checkpoints (`ultralytics/engine/trainer.py`, `utils/torch_utils.py`): whole modules, in half."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from ckpt_core.layouts.base import Layout, Roles
from ckpt_core.layouts.spelling import claim_by_spelling
from ckpt_core.layouts.values import is_module, is_scalar

__all__ = ["Ultralytics"]

_BESIDE: Final = frozenset({"version", "license", "docs", "git", "train_results", "stopper", "updates"})


class Ultralytics(Layout):
    """`{'epoch', 'best_fitness', 'model', 'ema', 'updates', 'optimizer', 'train_args', 'train_metrics', ...}`."""

    name = "ultralytics"
    describes = "Ultralytics: model or ema as a whole module, train_args, train_metrics, best_fitness"

    def recognise(self, tree: Any) -> Roles | None:
        if not isinstance(tree, Mapping) or not {"model", "train_args", "best_fitness"} <= tree.keys():
            return None
        model, averaged = is_module(tree["model"]), is_module(tree.get("ema"))
        if not model and not averaged:
            return None
        is_final = tree.get("epoch") == -1
        out = _BESIDE | ({"epoch"} if is_final else set())
        roles = claim_by_spelling({key: value for key, value in tree.items() if key not in out})
        metrics = {
            name: path
            for name, path in roles.metrics.items()
            if is_scalar(tree[name]) or path == ("train_metrics",)
        }
        roles = dataclasses.replace(roles, metrics=metrics)
        if model and averaged:
            return roles
        if averaged:
            note = "ema holds the only weights; those that were being trained are not saved"
            return dataclasses.replace(roles, params=(("ema",),), ema={}, weights="ema", notes=(note,))
        if not is_final:
            return roles
        note = "training is finished: epoch is -1, model is the averaged copy, and the optimizer was removed"
        return dataclasses.replace(roles, weights="ema", notes=(note,))
