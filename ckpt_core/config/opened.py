"""opened: whatever a config is resolved for, as a checkpoint (where it is one) and its arrays' names and shapes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ckpt_core.framework import Template
from ckpt_core.opening import open_checkpoint
from ckpt_core.paths import found
from ckpt_core.schema import Checkpoint
from ckpt_core.shapes import Leaf
from ckpt_core.shapes.rules import leaf_names
from ckpt_core.template import template_of

__all__ = ["Opened", "leaves_of", "opened"]


@dataclass(frozen=True)
class Opened:
    """A checkpoint, or None for what is only shapes; its path, or ""; its arrays."""

    ckpt: Checkpoint | None
    path: str
    leaves: list[Leaf]


@contextlib.contextmanager
def opened(like: Any) -> Iterator[Opened]:
    """Open what stands for a checkpoint: a Checkpoint, a path, a template, a model, a tree of arrays or shapes."""
    if isinstance(like, Checkpoint):
        yield Opened(like, like.path, leaves_of(like))
    elif isinstance(like, (str, os.PathLike)) and not _is_json(found(like)):
        with open_checkpoint(like) as ckpt:
            yield Opened(ckpt, ckpt.path, leaves_of(ckpt))
    else:
        yield Opened(None, os.fspath(like) if isinstance(like, (str, os.PathLike)) else "", leaves_of(like))


def leaves_of(like: Any) -> list[Leaf]:
    """Return the (name, shape) pairs of what has arrays, as shape rules see them."""
    template: Template = template_of(like)
    names = leaf_names(slot.path for slot in template.slots)
    return [(name, slot.spec.shape) for name, slot in zip(names, template.slots, strict=True)]


def _is_json(path: str | os.PathLike[str]) -> bool:
    if not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        return file.read(256).lstrip()[:1] == b"{"
