"""The families of update rules, one file each, and what a plugin makes its own of."""

from __future__ import annotations

from typing import Final

from ckpt_core.families.adadelta import Adadelta
from ckpt_core.families.adafactor import Adafactor
from ckpt_core.families.adagrad import Adagrad
from ckpt_core.families.adam import Adam
from ckpt_core.families.adamax import Adamax
from ckpt_core.families.amsgrad import Amsgrad
from ckpt_core.families.base import Family, Part, Slots, changed, filled, refuse
from ckpt_core.families.building import around, decayed, learning_rate, masked, stock
from ckpt_core.families.lion import Lion
from ckpt_core.families.muon import Muon
from ckpt_core.families.nadam import Nadam
from ckpt_core.families.pieces import EMPTY, Shape, chain, decay, rate
from ckpt_core.families.radam import Radam
from ckpt_core.families.recipe import Call, Name, chained
from ckpt_core.families.rmsprop import Rmsprop
from ckpt_core.families.rprop import Rprop
from ckpt_core.families.rules import Keeps, OptaxRule, TorchRule
from ckpt_core.families.sgd import Sgd
from ckpt_core.families.unpaired import OptaxOnly, TorchOnly

__all__ = [
    "BUILT_IN",
    "EMPTY",
    "Call",
    "Family",
    "Keeps",
    "Name",
    "OptaxRule",
    "Part",
    "Shape",
    "Slots",
    "TorchRule",
    "around",
    "chain",
    "chained",
    "changed",
    "decay",
    "decayed",
    "filled",
    "learning_rate",
    "masked",
    "rate",
    "refuse",
    "stock",
]

BUILT_IN: Final[tuple[Family, ...]] = (
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
    Lion(),
    Muon(),
    TorchOnly(),
    OptaxOnly(),
)
