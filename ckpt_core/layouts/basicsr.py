"""BasicSR's networks (`basicsr/models/base_model.py`, `save_network`), of ESRGAN, SwinIR, GFPGAN and their kin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ckpt_core.layouts.base import Layout, Roles
from ckpt_core.layouts.values import is_state_dict

__all__ = ["BasicSR"]


class BasicSR(Layout):
    """`{'params': state dict, 'params_ema': state dict}`."""

    name = "basicsr"
    describes = "BasicSR: params and params_ema, each a state dict"

    def recognise(self, tree: Any) -> Roles | None:
        if not isinstance(tree, Mapping) or set(tree) != {"params", "params_ema"}:
            return None
        if not all(is_state_dict(table) for table in tree.values()):
            return None
        return Roles(params=(("params",),), ema={"params_ema": ("params_ema",)})
