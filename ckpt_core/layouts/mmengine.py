"""mmengine's checkpoints (`mmengine/runner/runner.py`), of MMDetection, MMSegmentation and their kin.

Its EMAHook puts the averaged weights into `state_dict` and the trained ones into `ema_state_dict`
(`mmengine/hooks/ema_hook.py`). Scalars are kept as HistoryBuffers (`mmengine/logging/history_buffer.py`), and the
config as the text of a Python file.
"""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from ckpt_core.arrays import LazyArray
from ckpt_core.layouts.base import RAW, Layout, Roles
from ckpt_core.layouts.spelling import claim_by_spelling
from ckpt_core.layouts.values import is_weights
from ckpt_core.tree import KeyPath

__all__ = ["MMEngine", "config_of_text"]

_MAX_TEXT: Final = 1 << 20
_HISTORY: Final = "_log_history"
_NO_METRICS: Final = ("lr", "base_lr", "time", "data_time", "memory", "momentum", "weight_decay", "grad_norm")


class MMEngine(Layout):
    """`{'meta': {'epoch', 'iter', 'cfg', ...}, 'state_dict', 'message_hub', 'optimizer', 'param_schedulers'}`."""

    name = "mmengine"
    describes = "mmengine: meta (epoch, iter, cfg), state_dict, message_hub, param_schedulers, ema_state_dict"

    def recognise(self, tree: Any) -> Roles | None:
        if not isinstance(tree, Mapping) or not is_weights(tree.get("state_dict")):
            return None
        meta = tree.get("meta")
        if not isinstance(meta, Mapping) or not {"mmengine_version", "mmcv_version"} & meta.keys():
            return None
        roles = claim_by_spelling({key: tree[key] for key in _SPELLED & tree.keys()})
        metrics, reads = _scalars(tree.get("message_hub"))
        config: dict[str, KeyPath] = {}
        if isinstance(meta.get("cfg"), str):
            config[""] = ("meta", "cfg")
            reads["meta", "cfg"] = config_of_text
        counters: dict[str, Any] = {role: ("meta", key) for role, key in _COUNTERS.items() if key in meta}
        roles = dataclasses.replace(
            roles,
            **counters,
            metrics=metrics,
            config=config,
            reads=reads,
        )
        if not is_weights(tree.get("ema_state_dict")):
            return roles
        note = "state_dict holds averaged weights; those that were being trained are in ema_state_dict"
        return dataclasses.replace(roles, weights="ema", ema={RAW: ("ema_state_dict",)}, notes=(note,))


_SPELLED: Final = {"state_dict", "optimizer", "param_schedulers"}
_COUNTERS: Final = {"epoch": "epoch", "step": "iter", "timestamp": "time"}


def _scalars(hub: Any) -> tuple[dict[str, KeyPath], dict[KeyPath, Any]]:
    """The last value of each scalar that was logged, those of the hardware and the schedule apart."""
    scalars = hub.get("log_scalars") if isinstance(hub, Mapping) else None
    paths: dict[str, KeyPath] = {}
    for name, buffer in scalars.items() if isinstance(scalars, Mapping) else ():
        values = buffer.get(_HISTORY) if isinstance(buffer, Mapping) else None
        is_logged = isinstance(values, LazyArray) and values.ndim == 1 and values.size > 0
        if is_logged and str(name).rsplit("/", 1)[-1] not in _NO_METRICS:
            paths[str(name)] = ("message_hub", "log_scalars", name)
    return paths, dict.fromkeys(paths.values(), _last_value)


def _last_value(buffer: Mapping[str, Any]) -> Any:
    return buffer[_HISTORY][-1].item()


# The config.


def config_of_text(text: str) -> Any:
    """Return the assignments of a config's Python text as plain data; the text itself where it is no such thing.

    The text is parsed and never run: literals, and calls of `dict` with keywords, are what its printer writes
    (`mmengine/config/config.py`, `pretty_text`).
    """
    try:
        module = ast.parse(text[:_MAX_TEXT])
        return {
            target.id: _value(statement.value)
            for statement in module.body
            if isinstance(statement, ast.Assign)
            for target in statement.targets
            if isinstance(target, ast.Name)
        }
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return text


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict":
        return {keyword.arg: _value(keyword.value) for keyword in node.keywords if keyword.arg is not None}
    if isinstance(node, ast.Dict):
        keys = [ast.literal_eval(key) for key in node.keys if key is not None]
        return dict(zip(keys, map(_value, node.values), strict=True))
    if isinstance(node, ast.List):
        return [_value(item) for item in node.elts]
    if isinstance(node, ast.Tuple):
        return tuple(map(_value, node.elts))
    return ast.literal_eval(node)
