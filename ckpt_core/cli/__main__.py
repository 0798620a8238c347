"""Let `python -m ckpt_core.cli` be the command."""

from __future__ import annotations

from ckpt_core.cli.app import main

main()
