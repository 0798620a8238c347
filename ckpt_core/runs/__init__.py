"""Runs: a directory of checkpoints, listed, compared, pruned, and resumed from."""

from __future__ import annotations

from ckpt_core.runs.entry import Entry
from ckpt_core.runs.prune import Pruning
from ckpt_core.runs.run import Run
from ckpt_core.runs.select import Selection
from ckpt_core.runs.table import MetricsTable

__all__ = ["Entry", "MetricsTable", "Pruning", "Run", "Selection"]
