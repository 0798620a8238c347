"""A summary without what is the user's own: structure, shapes and dtypes stay, values, texts and paths go."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from ckpt_core.errors import CheckpointError

__all__ = ["hide_paths", "redacted", "redacted_error"]

_WORD: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]{0,63}")
_SHAPE: Final = {"shape", "dtype", "nbytes"}
_PATH: Final = re.compile(r"(?:[A-Za-z]:\\|~|\.{1,2}/|/)[^\s'\",;:]+")
HIDDEN: Final = "<path>"


def redacted(summary: dict[str, Any]) -> dict[str, Any]:
    """Return a summary that tells a bug's reader the structure and nothing else."""
    path = summary["path"]
    metadata = summary["metadata"]
    states = {name: _optimizer(state) for name, state in summary["opt_states"].items()}
    figures = ("norm", "mean", "min", "max")
    stats = [{**row, **{name: hide(row[name]) for name in figures}} for row in summary.get("stats", ())]
    return {
        **summary,
        **({"stats": stats} if "stats" in summary else {}),
        "path": HIDDEN,
        **{name: hide(summary[name]) for name in ("step", "epoch", "timestamp", "metrics", "config")},
        "opt_state": None if summary["opt_state"] is None else next(iter(states.values())),
        "opt_states": states,
        "members": _extra(summary["members"]),
        "claims": [_claim(claim) for claim in summary["claims"]],
        "metadata": {
            **metadata,
            "notes": [hide_paths(note, path) for note in metadata["notes"]],
            **{name: hide(metadata[name]) for name in ("schedulers", "scaler", "rng", "attributes")},
            "extra": _extra(metadata["extra"]),
        },
    }


def _extra(extra: dict[str, Any]) -> dict[str, Any]:
    """The entries that no role claims; their keys are paths in the tree, and each part of one is a key."""
    return {_place(key): hide(node) for key, node in extra.items()}


def _place(path: str) -> str:
    return "/".join(_key(part, i) for i, part in enumerate(path.split("/"))) if path else path


def _claim(claim: dict[str, Any]) -> dict[str, Any]:
    places = {"path": claim["path"] and _place(claim["path"])}
    if "leaves" in claim:
        places["leaves"] = [_place(path) for path in claim["leaves"]]
    return {**claim, "name": claim["name"] and _key(claim["name"], 0), **places}


def _optimizer(state: dict[str, Any]) -> dict[str, Any]:
    return {**state, "step": hide(state["step"]), "hyperparams": hide(state["hyperparams"])}


def hide(value: Any) -> Any:
    """Return a JSON value with each leaf as its type, and keys that are no plain words counted.

    Example:
        >>> hide({"lr": 0.1, "/home/jane": ["x", None]})
        {'lr': '<float>', '<key 1>': ['<str>', None]}
    """
    if isinstance(value, dict):
        if value.keys() == _SHAPE:
            return value
        if value.keys() >= {"type", "fields"}:
            return {"type": value["type"]} | hide({k: v for k, v in value.items() if k != "type"})
        return {_key(key, i): hide(child) for i, (key, child) in enumerate(value.items())}
    if isinstance(value, list):
        return [hide(child) for child in value]
    return value if value is None else f"<{type(value).__name__}>"


def _key(key: str, position: int) -> str:
    return key if _WORD.fullmatch(key) or re.fullmatch(r"\d{1,6}|\[\d+\]", key) else f"<key {position}>"


def hide_paths(text: str, path: str | None) -> str:
    """Return text without the checkpoint's path, the home directory, and anything that looks like a path."""
    if path:
        for known in (str(Path(path).absolute()), path, Path(path).name):
            if known.strip("./"):
                text = re.sub(rf"(?<!\w){re.escape(known)}(?!\w)", HIDDEN, text)
    return _PATH.sub(HIDDEN, text)


def redacted_error(error: CheckpointError, path: str) -> CheckpointError:
    """Return the same error without paths."""
    place = None if error.place is None else hide_paths(error.place, path)
    remedy = None if error.remedy is None else hide_paths(error.remedy, path)
    kind = type(error)
    return kind(hide_paths(error.reason, path), path=error.path and HIDDEN, place=place, remedy=remedy)
