"""`ckpt inspect --template`: what a model expects, as a JSON file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ckpt_core.cli.render import arrays_text, clean, emit
from ckpt_core.errors import CheckpointError, TargetError
from ckpt_core.opening import open_checkpoint
from ckpt_core.template import read_template, template_json, template_of

__all__ = ["write_template"]


def write_template(path: str, opening: dict[str, Any], target: str) -> None:
    """Write the template of a checkpoint to a file, or to stdout for `-`.

    Raises:
        TargetError: the file is there, and is no template, so that it is not replaced.
    """
    with open_checkpoint(path, **opening) as ckpt:
        found = template_of(ckpt)
    text = json.dumps(template_json(found), indent=1, allow_nan=False)
    if target == "-":
        emit(text)
        return
    if os.path.lexists(target):
        try:
            read_template(target)
        except (CheckpointError, OSError):
            raise TargetError(
                "exists, and is no template", path=target, remedy="Choose another name."
            ) from None
    Path(target).write_text(text + "\n", encoding="utf-8")
    emit(f"{clean(target, 500)}: {arrays_text(len(found.slots))} of {clean(path, 500)}")
