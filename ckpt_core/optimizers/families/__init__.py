"""The families of update rules, one file each."""

from __future__ import annotations

from typing import Final

from ckpt_core.optimizers.families.adadelta import Adadelta
from ckpt_core.optimizers.families.adafactor import Adafactor
from ckpt_core.optimizers.families.adagrad import Adagrad
from ckpt_core.optimizers.families.adam import Adam
from ckpt_core.optimizers.families.adamax import Adamax
from ckpt_core.optimizers.families.amsgrad import Amsgrad
from ckpt_core.optimizers.families.base import Family, Part
from ckpt_core.optimizers.families.lion import Lion
from ckpt_core.optimizers.families.muon import Muon
from ckpt_core.optimizers.families.nadam import Nadam
from ckpt_core.optimizers.families.radam import Radam
from ckpt_core.optimizers.families.rmsprop import Rmsprop
from ckpt_core.optimizers.families.rprop import Rprop
from ckpt_core.optimizers.families.sgd import Sgd

__all__ = ["FAMILIES", "Family", "Part", "family_of"]

FAMILIES: Final[tuple[Family, ...]] = (
    *(
        Sgd(),
        Adam(),
        Amsgrad(),
        Nadam(),
        Radam(),
        Adamax(),
        Rmsprop(),
        Adagrad(),
        Adadelta(),
        Adafactor(),
        Rprop(),
    ),
    *(Lion(), Muon()),
)


def family_of(kind: str, framework: str) -> Family | None:
    """Return the family of a rule of torch or of optax, or None."""
    for family in FAMILIES:
        if kind in (family.torch_kinds if framework == "torch" else family.optax_kinds):
            return family
    return None
