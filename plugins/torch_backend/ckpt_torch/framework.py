"""TorchFramework: live modules and optimizers; torch is imported by the caller, never by this module."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from ckpt_core.arrays import ArraySpec
from ckpt_core.framework import Filled, Filling, Framework, OptimizerTemplate, Template

if TYPE_CHECKING:
    from ckpt_core.families.recipe import Call

__all__ = ["TorchFramework"]


class TorchFramework(Framework):
    """`torch.nn.Module` and `torch.optim.Optimizer`."""

    name = "torch"

    def owns(self, value: object) -> bool:
        if "torch" not in sys.modules:
            return False
        from ckpt_torch.bridge import models

        return models.owns(value)

    def spec(self, value: object) -> ArraySpec | None:
        if "torch" not in sys.modules:
            return None
        from ckpt_torch.bridge import models

        return models.spec(value)

    def template(self, model: object) -> Template:
        from ckpt_torch.bridge import models

        return models.template(model)

    def model_state(self, model: object) -> Any:
        from ckpt_torch.bridge import models

        return models.model_state(model)

    def optimizer_state(self, optimizer: object) -> Any:
        from ckpt_torch.bridge import models

        return models.optimizer_state(optimizer)

    def scheduler_state(self, scheduler: object) -> Any:
        from ckpt_torch.bridge import schedulers

        return schedulers.state(scheduler)

    def build_optimizer(self, recipe: Call, model: object) -> Any:
        from ckpt_torch.bridge import recipes

        return recipes.build(recipe, model)

    def optimizer_template(self, model: object, optimizer: object | None) -> OptimizerTemplate | None:
        from ckpt_torch.bridge import optimizers

        return optimizers.template(model, optimizer)

    def fill(self, filling: Filling) -> Filled:
        from ckpt_torch.bridge import filling as bridge

        return bridge.fill(filling)
