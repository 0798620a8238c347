"""A directory file by file: what each file is by its own row, put together."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, Final

from ckpt_core.layouts.base import Layout, Roles, below, merged

__all__ = ["Files", "named_apart"]

_FILE: Final = re.compile(
    r".+\.(pt|pth|bin|ckpt|tar|safetensors|msgpack|pkl|pickle|p|joblib|npz|npy|eqx|json|gz|xz|bz2)|checkpoint_\d+",
    re.DOTALL,
)
"""Names of files with weights; Flax's own (`flax/training/checkpoints.py`) have a number and no suffix."""
_CONFIGS: Final = ("config.json", "args.json", "hparams.json", "params.json")
_NAMED: Final = ("ema", "opt_states", "schedulers", "rng", "metrics", "config")


class Files(Layout):
    """`{'model.pth': ..., 'optimizer.pth': ..., 'config.json': ...}`: each file is recognised by itself.

    Arguments:
        rows: the rows that may recognise a file.
    """

    name = "files"
    describes = "a directory of files, each of them recognised by itself"
    is_general = True

    def __init__(self, rows: tuple[Layout, ...]) -> None:
        self.rows = rows

    def recognise(self, tree: Any) -> Roles | None:
        if type(tree) is not dict or not tree or not all(_is_file(key, value) for key, value in tree.items()):
            return None
        found = {name: roles for name, node in tree.items() if (roles := self._of_member(name, node))}
        holders = [name for name, roles in found.items() if roles.params]
        if not found or not (holders or any(roles.opt_states for roles in found.values())):
            return None
        first = [found[name] for name in holders]
        rest = [roles for name, roles in found.items() if name not in holders]
        together = merged(*first, *rest)
        params = tuple(place for roles in first for place in roles.params)
        return dataclasses.replace(
            together, params=params, **named_apart(found), notes=(*together.notes, *_note(holders))
        )

    def _of_member(self, name: str, node: Any) -> Roles | None:
        if name.endswith(".json"):
            is_config = name in _CONFIGS and isinstance(node, Mapping)
            return Roles(config={"": (name,)}, rows={(name,): self.name}) if is_config else None
        fits = [row for row in self.rows if not row.is_general] + [row for row in self.rows if row.is_general]
        for row in fits:
            roles = row.recognise(node)
            if roles is not None:
                placed = below(roles, (name,))
                return dataclasses.replace(placed, rows={(name,): row.name, **placed.rows})
        return None


def _is_file(key: Any, value: Any) -> bool:
    return (
        isinstance(key, str) and isinstance(value, (dict, list, tuple)) and _FILE.fullmatch(key) is not None
    )


def named_apart(found: Mapping[str, Roles]) -> dict[str, Any]:
    """Return the named roles of all files; a name that two files use, or that says nothing, is that of its file."""
    together: dict[str, Any] = {}
    for role in _NAMED:
        entries = [
            (file, name, place)
            for file, roles in found.items()
            for name, place in getattr(roles, role).items()
        ]
        names = [name for _, name, _ in entries]
        together[role] = {
            (name if names.count(name) == 1 and name != "optimizer" else _own_name(file, name)): place
            for file, name, place in entries
        }
    return together


def _own_name(file: str, name: str) -> str:
    stem = file.split(".", 1)[0]
    return (stem or name) if name in ("", "optimizer", "opt_state") else f"{stem}.{name}".strip(".")


def _note(holders: list[str]) -> tuple[str, ...]:
    if len(holders) < 2:
        return ()
    shown = ", ".join(holders[:5]) + (", ..." if holders[5:] else "")
    return (f"{len(holders)} files hold weights of their own: {shown}; params has them all",)
