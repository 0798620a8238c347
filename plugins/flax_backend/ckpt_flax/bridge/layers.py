"""What holds a Flax model's arrays: the type of the layer, and its settings that shapes do not tell.

NNX modules are found in the graph. Linen variables carry no types: what is known comes from the module, where its
submodules are made in `setup`, and else from the name, since linen names a layer without a name of its own by its
class and a number (`flax/linen/module.py`, `_name_from_module`).
"""

from __future__ import annotations

import re
import sys
from typing import Any, Final

from ckpt_core.tree import KeyPath
from ckpt_flax.bridge.pytrees import Skeleton

__all__ = ["layers_of"]

_MAX_ITEMS: Final = 16
_MAX_TEXT: Final = 100
_NAMED: Final = re.compile(r"([A-Z]\w*?)_\d+\Z")
_LISTED: Final = re.compile(r"(\w+?)_(\d+)\Z")


def layers_of(model: object, skeleton: Skeleton) -> dict[KeyPath, dict[str, Any]]:
    """Return the layer of each array of a model, by its key path, where it is known.

    Its members: `type` ("nn.Dense", "nnx.Linear", or the name of a class of one's own) and the plain public
    attributes of the module.
    """
    linen, nnx = sys.modules.get("flax.linen"), sys.modules.get("flax.nnx")
    if nnx is not None and isinstance(model, nnx.Module):
        return _of_graph(nnx, model, skeleton)
    return {} if linen is None else _of_variables(linen, model, skeleton)


# NNX


def _of_graph(nnx: Any, model: Any, skeleton: Skeleton) -> dict[KeyPath, dict[str, Any]]:
    holders = {path: node for path, node in nnx.iter_graph(model) if isinstance(node, nnx.Module)}
    known: dict[tuple[Any, ...], dict[str, Any]] = {}
    found = {}
    for path in skeleton.positions:
        holder = path[:-1]
        while holder and holder not in holders:
            holder = holder[:-1]
        if holder not in known:
            known[holder] = _described(nnx, "nnx", holders[holder])
        found[path] = known[holder]
    return found


# linen


def _of_variables(linen: Any, model: object, skeleton: Skeleton) -> dict[KeyPath, dict[str, Any]]:
    root = _bound(linen, model, skeleton)
    known: dict[KeyPath, tuple[Any, dict[str, Any]]] = {(): (root, _described(linen, "nn", root))}
    found = {}
    for path in skeleton.positions:
        module: KeyPath = ()
        start = next((i + 1 for i, key in enumerate(path) if key == "params"), 1 if len(path) > 1 else 0)
        for key in path[start:-1]:
            below = (*module, key)
            if below not in known:
                child = _child(linen, known[module][0], str(key))
                layer = _described(linen, "nn", child) or _by_name(linen, str(key))
                known[below] = child, layer
            module = below
        layer = known[module][1]
        if layer:
            found[path] = layer
    return found


def _bound(linen: Any, model: object, skeleton: Skeleton) -> Any:
    if isinstance(model, linen.Module):
        return model
    if isinstance(model, tuple) and model and isinstance(model[0], linen.Module):
        return model[0].bind(skeleton.with_leaves(skeleton.leaves))
    return None


def _child(linen: Any, parent: Any, name: str) -> Any:
    """The submodule of that name which `setup` makes: an attribute, or an element of a list that is one."""
    if parent is None:
        return None
    listed = _LISTED.match(name)
    try:
        child = getattr(parent, name, None)
        if child is None and listed is not None:
            items = getattr(parent, listed[1], None)
            position = int(listed[2])
            child = items[position] if isinstance(items, (list, tuple)) and position < len(items) else None
    except Exception:  # noqa: BLE001  # `setup` is the user's code; a layer's type is evidence, and not needed
        return None
    return child if isinstance(child, linen.Module) else None


def _by_name(linen: Any, name: str) -> dict[str, Any]:
    match = _NAMED.match(name)
    kind = vars(linen).get(match[1]) if match else None
    is_layer = isinstance(kind, type) and issubclass(kind, linen.Module)
    return {"type": f"nn.{match[1]}"} if match and is_layer else {}


# Both.


def _described(namespace: Any, prefix: str, module: Any) -> dict[str, Any]:
    if module is None:
        return {}
    own = type(module)
    public = next((kind for kind in own.__mro__ if _is_layer(namespace, kind)), own)
    layer: dict[str, Any] = {
        "type": own.__name__
        if public is own and not _is_layer(namespace, own)
        else f"{prefix}.{public.__name__}"
    }
    if own is not public:
        layer["class"] = own.__name__
    for name, value in vars(module).items():
        if not name.startswith("_") and name not in {"name", "parent", "type", "class"} and _is_plain(value):
            layer[name] = list(value) if isinstance(value, (tuple, list)) else value
    return layer


def _is_layer(namespace: Any, kind: type) -> bool:
    return kind is not namespace.Module and vars(namespace).get(kind.__name__) is kind


def _is_plain(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return len(value) <= _MAX_ITEMS and all(isinstance(item, (bool, int, float, str)) for item in value)
    return isinstance(value, (bool, int, float)) or (isinstance(value, str) and len(value) <= _MAX_TEXT)
