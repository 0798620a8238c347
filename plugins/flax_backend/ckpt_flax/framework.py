"""FlaxFramework: live linen and NNX models, variables and train states; jax is imported by the caller, not here."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from ckpt_core.arrays import ArraySpec
from ckpt_core.errors import UsageError
from ckpt_core.framework import Filled, Filling, Framework, OptimizerTemplate, Template

if TYPE_CHECKING:
    from ckpt_core.families.recipe import Call

__all__ = ["FlaxFramework"]


class FlaxFramework(Framework):
    """Linen modules with their variables, TrainStates, NNX modules and states, and `jax.eval_shape` of each."""

    name = "flax"

    def owns(self, value: object) -> bool:
        if "jax" not in sys.modules:
            return False
        from ckpt_flax.bridge import models

        return models.owns(value)

    def spec(self, value: object) -> ArraySpec | None:
        if "jax" not in sys.modules:
            return None
        from ckpt_flax.bridge import pytrees

        return pytrees.spec(value)

    def template(self, model: object) -> Template:
        from ckpt_flax.bridge import models

        return models.template(model)

    def model_state(self, model: object) -> Any:
        from ckpt_flax.bridge import models

        return models.model_state(model)

    def optimizer_state(self, optimizer: object) -> Any:
        from ckpt_flax.bridge import models

        return models.optimizer_state(optimizer)

    def scheduler_state(self, scheduler: object) -> Any:
        raise UsageError(
            "a schedule of optax keeps no state of its own",
            remedy="The optimizer's state counts its steps, and is saved and restored with it.",
        )

    def build_optimizer(self, recipe: Call, model: object) -> Any:
        from ckpt_flax.bridge import recipes

        return recipes.build(recipe)

    def optimizer_template(self, model: object, optimizer: object | None) -> OptimizerTemplate | None:
        from ckpt_flax.bridge import optimizers

        return optimizers.template(model, optimizer)

    def fill(self, filling: Filling) -> Filled:
        from ckpt_flax.bridge import filling as bridge

        return bridge.fill(filling)
