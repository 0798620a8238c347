"""Recognisers: what the parts of a tree are, one row per way of arranging a checkpoint."""

from __future__ import annotations

from ckpt_core.layouts.base import Layout, Parts, Roles
from ckpt_core.layouts.builtin import BUILTIN

__all__ = ["BUILTIN", "Layout", "Parts", "Roles"]
