"""timm's training checkpoints (`timm/utils/checkpoint_saver.py`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ckpt_core.layouts.base import Layout, Roles
from ckpt_core.layouts.spelling import claim_by_spelling
from ckpt_core.layouts.values import is_scalar, is_weights

__all__ = ["Timm"]


class Timm(Layout):
    """`{'epoch', 'arch', 'state_dict', 'optimizer', 'version', 'args', 'amp_scaler', 'state_dict_ema', 'metric'}`."""

    name = "timm"
    describes = "timm: state_dict, arch, version, args, state_dict_ema, metric"

    def recognise(self, tree: Any) -> Roles | None:
        if not isinstance(tree, Mapping) or not is_weights(tree.get("state_dict")):
            return None
        if not isinstance(tree.get("arch"), str) or not isinstance(tree.get("version"), int):
            return None
        roles = claim_by_spelling(
            {key: value for key, value in tree.items() if key not in ("version", "saver")}
        )
        saver = tree.get("saver")
        if isinstance(saver, Mapping) and is_scalar(saver.get("best_metric")):
            metrics = {**roles.metrics, "best_metric": ("saver", "best_metric")}
            return dataclasses.replace(roles, metrics=metrics)
        return roles
