"""What the parts of an optax chain keep: the states that are built for a recipe.

The fields and their order are those of optax 0.2.8 (`optax._src.transform`, `optax.transforms`); a test compares each
with the real library.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from ckpt_core.families.recipe import Call, Name
from ckpt_core.families.rules import Keeps

__all__ = ["ADAM", "COMMON", "EMPTY", "TRACE", "Shape", "decay", "ours", "rate"]

Shape = Keeps | tuple[Keeps, ...]
"""The state of a function: one named tuple, or the tuple of those of a chain."""

EMPTY: Final = Keeps("optax._src.base.EmptyState")
MASKED: Final = Keeps("optax.transforms._masking.MaskedState", ("inner_state",))
SCHEDULED: Final = Keeps("optax._src.transform.ScaleByScheduleState", ("count",))
TRACE: Final = Keeps("optax.transforms._accumulation.TraceState", ("trace",))
ADAM: Final = Keeps("optax._src.transform.ScaleByAdamState", ("count", "mu", "nu"))


def rate(call: Call) -> Keeps:
    """Return what scaling by the learning rate keeps: a count where it is a schedule."""
    given = call.kwargs.get("learning_rate", call.args[0] if call.args else None)
    return SCHEDULED if isinstance(given, (Call, Name)) else EMPTY


def decay(call: Call) -> Keeps:
    """Return what weight decay keeps: nothing, within a mask where it has one."""
    return MASKED if {"mask", "weight_decay_mask"} & set(call.kwargs) else EMPTY


def ours(module: str, name: str, fields: str, **neutral: str) -> Keeps:
    """Return the state of a transformation of `ckpt_flax.transforms`."""
    return Keeps(f"ckpt_flax.bridge.transforms.{module}.{name}", tuple(fields.split()), neutral)


COMMON: Final[Mapping[str, Callable[[Call], Shape]]] = {
    "optax.add_decayed_weights": decay,
    "optax.scale_by_learning_rate": rate,
    "optax.scale": lambda _: EMPTY,
    "optax.set_to_zero": lambda _: EMPTY,
    "optax.clip_by_global_norm": lambda _: EMPTY,
    "optax.trace": lambda _: TRACE,
    "ckpt_flax.transforms.torch_clip_by_global_norm": lambda _: EMPTY,
}
"""The functions that recipes use and that are of no one family."""


def chain(*parts: Callable[[Call], Any] | Keeps) -> Callable[[Call], Shape]:
    """Return the shape of a function that is a chain of these."""
    return lambda call: tuple(part if isinstance(part, Keeps) else part(call) for part in parts)
