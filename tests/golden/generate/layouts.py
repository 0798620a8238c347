"""What a file of a training library means, written beside it: `<file or directory>.layout.json`.

The scripts that use it run the library itself and pass what its live objects hold; nothing is read back from the file.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def target(name: str) -> Path:
    """Return the path of a golden file or directory to write, cleared, with its folder made."""
    path = ROOT / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        shutil.rmtree(path)
    elif path.exists():
        path.unlink()
    return path


def digests(arrays: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return (dtype, shape, SHA-256 of the bytes) of named tensors or arrays; names joined by `/`."""
    return {name.replace(".", "/"): _digest(array) for name, array in arrays.items()}


def _digest(array: Any) -> list[Any]:
    if type(array).__module__.startswith("torch"):
        import torch

        array = array.detach().cpu().contiguous()
        data = array.reshape(-1).view(torch.uint8).numpy().tobytes() if array.numel() else b""
        return [str(array.dtype).removeprefix("torch."), list(array.shape), hashlib.sha256(data).hexdigest()]
    import numpy as np

    array = np.asarray(array)
    return [array.dtype.name, list(array.shape), hashlib.sha256(array.tobytes()).hexdigest()]


def meaning(name: str, *, how: str, layout: str, weights: str = "raw", **facts: Any) -> None:
    """Write `<name>.layout.json`.

    Arguments:
        name: path of the golden file below tests/golden.
        how: the libraries that wrote it, with versions.
        layout: the row that must recognise it.
        weights: what `params` is.
        facts: `params`, `buffers` and `copies` (of digests), `step`, `epoch`, `metrics`, `config` (a part of it),
            `opt_states` (name: [kind, step]), `schedulers`, `rng` (names), `scaler` (whether there is one), `notes`
            (texts that must be said), `extra` (paths that must be there).
    """
    assert (ROOT / name).exists(), name
    content = {"file": name, "written_by": how, "layout": layout, "weights": weights, **facts}
    (ROOT / f"{name}.layout.json").write_text(json.dumps(content, indent=1, default=_plain) + "\n")


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)
