"""The table of layouts that come with ckpt_core, and how a row of it is chosen."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any, Final

from ckpt_core.layouts.averaged import with_inner_copies
from ckpt_core.layouts.base import Layout, Roles
from ckpt_core.layouts.basicsr import BasicSR
from ckpt_core.layouts.deepspeed import DeepSpeed
from ckpt_core.layouts.detectron2 import Detectron2
from ckpt_core.layouts.equinox import Equinox
from ckpt_core.layouts.fairseq import Fairseq
from ckpt_core.layouts.files import Files
from ckpt_core.layouts.flax import Items, NnxState, TrainState, Variables
from ckpt_core.layouts.haiku import Haiku
from ckpt_core.layouts.huggingface import (
    Accelerate,
    HuggingFaceModel,
    HuggingFaceTrainer,
    Peft,
    Pipeline,
)
from ckpt_core.layouts.lightning import Lightning
from ckpt_core.layouts.mmengine import MMEngine
from ckpt_core.layouts.sequence import Sequence
from ckpt_core.layouts.standing import standing
from ckpt_core.layouts.states import States
from ckpt_core.layouts.timm import Timm
from ckpt_core.layouts.training import StateMetadata, TrainingDict
from ckpt_core.layouts.ultralytics import Ultralytics
from ckpt_core.layouts.weights import ModuleLayout, OptimizerAlone, StateDict

__all__ = ["BUILTIN", "recognise"]

_OF_LIBRARIES: Final[tuple[Layout, ...]] = (
    Lightning(),
    HuggingFaceTrainer(),
    HuggingFaceModel(),
    Peft(),
    Accelerate(),
    Pipeline(),
    DeepSpeed(),
    Timm(),
    MMEngine(),
    Detectron2(),
    Fairseq(),
    Ultralytics(),
    BasicSR(),
    Haiku(),
    Equinox(),
)
_GENERAL: Final[tuple[Layout, ...]] = (
    ModuleLayout(),
    OptimizerAlone(),
    StateMetadata(),
    TrainState(),
    Variables(),
    NnxState(),
    StateDict(),
    States(),
    TrainingDict(),
)
_ONE_THING: Final = (*_OF_LIBRARIES, *_GENERAL)

BUILTIN: Final[tuple[Layout, ...]] = (
    *_OF_LIBRARIES,
    *_GENERAL[:5],
    Items(_ONE_THING),
    Files(_ONE_THING),
    Sequence(_ONE_THING),
    *_GENERAL[5:],
)
"""Rows that know what wrote a file, and then the general ones, from the most telling to the least."""


def recognise(tree: Any, rows: Iterable[Layout]) -> tuple[Layout | None, Roles]:
    """Return the first row that fits and its roles; none, and the whole tree as params, when no row does.

    Every row that knows what wrote a file is asked, and a note names the others that fit it too. The general
    rows fit much: the first of them counts, and only where no other row fits.
    """
    rows = list(rows)
    fits = list(_fitting(tree, [row for row in rows if not row.is_general]))
    best = fits[0] if fits else next(_fitting(tree, [row for row in rows if row.is_general]), None)
    if best is None:
        return None, Roles(params=((),))
    row, roles = best
    others = [other.name for other, _ in fits[1:]]
    if others:
        note = (
            f"fits the layouts {' and '.join([row.name, *others])}; read as {row.name} "
            f"(--layout {others[0]} decides)"
        )
        roles = dataclasses.replace(roles, notes=(*roles.notes, note))
    return row, with_inner_copies(tree, standing(tree, roles))


def _fitting(tree: Any, rows: Iterable[Layout]) -> Iterator[tuple[Layout, Roles]]:
    for row in rows:
        roles = row.recognise(tree)
        if roles is not None:
            yield row, roles
