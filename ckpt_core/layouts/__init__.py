"""Recognisers: what the parts of a tree are, one row per way of arranging a checkpoint."""

from __future__ import annotations

from ckpt_core.layouts.base import Layout, Leaves, Parts, Place, Progress, Roles
from ckpt_core.layouts.table import BUILTIN, recognise

__all__ = ["BUILTIN", "Layout", "Leaves", "Parts", "Place", "Progress", "Roles", "recognise"]
