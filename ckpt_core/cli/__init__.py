"""The `ckpt` command: argument parsing and rendering, and nothing else."""

from __future__ import annotations

from ckpt_core.cli.app import ckpt, main

__all__ = ["ckpt", "main"]
