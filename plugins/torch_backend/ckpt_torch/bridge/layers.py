"""What holds a torch module's arrays: the type of the layer, and its settings that shapes do not tell."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import torch
from torch.nn.utils.parametrize import ParametrizationList

__all__ = ["layers_of"]

_PARAMETRIZED: Final = "parametrizations"
_MAX_ITEMS: Final = 16
_MAX_TEXT: Final = 100


def layers_of(module: torch.nn.Module, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return the layer of each name of a state dict.

    Its members: `type`, the class of `torch.nn` that the holder is or derives from, else its own class ("own Linear"
    where `torch.nn` has another of that name); `class`, its own one where that is another; the plain public
    attributes of the holder (`groups`, `num_heads`, `eps`); and `parametrization`, the names of what reparametrizes
    the array.
    """
    modules = dict(module.named_modules(remove_duplicate=False))
    known: dict[str, dict[str, Any]] = {}
    found = {}
    for name in names:
        holder = name.rpartition(".")[0]
        if holder not in known:
            known[holder] = _layer(holder, modules)
        found[name] = known[holder]
    return found


def _layer(holder: str, modules: dict[str, torch.nn.Module]) -> dict[str, Any]:
    parts = holder.split(".")
    if _PARAMETRIZED not in parts:
        return _described(modules.get(holder))
    depth = parts.index(_PARAMETRIZED)
    layer = _described(modules.get(".".join(parts[:depth])))
    wrapper = modules.get(".".join(parts[: depth + 2]))
    if isinstance(wrapper, ParametrizationList):
        layer["parametrization"] = [type(step).__name__ for step in wrapper]
    return layer


def _described(module: torch.nn.Module | None) -> dict[str, Any]:
    if module is None:  # a state-dict hook made the name up
        return {}
    own = type(module)
    public = next((kind for kind in own.__mro__[:-2] if vars(torch.nn).get(kind.__name__) is kind), own)
    is_torchs = vars(torch.nn).get(public.__name__, public) is public
    layer: dict[str, Any] = {"type": public.__name__ if is_torchs else f"own {public.__name__}"}
    if own is not public:
        layer["class"] = own.__name__
    for name, value in vars(module).items():
        if not name.startswith("_") and name not in {"training", "type", "class"} and _is_plain(value):
            layer[name] = list(value) if isinstance(value, (tuple, list)) else value
    return layer


def _is_plain(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return len(value) <= _MAX_ITEMS and all(isinstance(item, (bool, int, float, str)) for item in value)
    return isinstance(value, (bool, int, float)) or (isinstance(value, str) and len(value) <= _MAX_TEXT)
