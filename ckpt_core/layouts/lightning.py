"""PyTorch Lightning's `.ckpt` (`lightning/pytorch/trainer/connectors/checkpoint_connector.py`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Final

from ckpt_core.layouts.base import RAW, Layout, Progress, Roles
from ckpt_core.layouts.spelling import claim_by_spelling
from ckpt_core.layouts.values import is_scalar, is_weights
from ckpt_core.tree import KeyPath

__all__ = ["Lightning"]

_SCALERS: Final = ("MixedPrecision", "MixedPrecisionPlugin", "native_amp_scaling_state", "amp_scaling_state")
"""Where the gradient scaler is: under the class of the precision plugin, and under names of earlier versions."""

_CONFIGS: Final = {"hyper_parameters": "", "datamodule_hyper_parameters": "datamodule"}
_ACTIVE: Final = "current_model_state"
"""The weights that are being trained, where `state_dict` has the average (the callback WeightAveraging)."""


class Lightning(Layout):
    """`{'epoch', 'global_step', 'pytorch-lightning_version', 'state_dict', 'loops', 'callbacks', ...}`."""

    name = "lightning"
    describes = "PyTorch Lightning: state_dict, pytorch-lightning_version, optimizer_states, callbacks"

    def recognise(self, tree: Any) -> Roles | None:
        if not isinstance(tree, Mapping) or not is_weights(tree.get("state_dict")):
            return None
        if "pytorch-lightning_version" not in tree:
            return None
        roles = claim_by_spelling({key: tree[key] for key in _SPELLED & tree.keys()})
        roles = dataclasses.replace(
            roles,
            scaler=next(((key,) for key in _SCALERS if isinstance(tree.get(key), Mapping)), None),
            metrics=dict(_scores(tree.get("callbacks"))),
            config={name: (key,) for key, name in _CONFIGS.items() if isinstance(tree.get(key), Mapping)},
            progress=_progress(tree),
            best=_best(tree.get("callbacks")),
        )
        if not is_weights(tree.get(_ACTIVE)):
            return roles
        note = f"state_dict holds averaged weights; those that were being trained are in {_ACTIVE}"
        return dataclasses.replace(roles, weights="averaged", ema={RAW: (_ACTIVE,)}, notes=(note,))


_SPELLED: Final = {"state_dict", "optimizer_states", "lr_schedulers", "global_step", "epoch"}


def _scores(callbacks: Any) -> Iterator[tuple[str, KeyPath]]:
    """What a ModelCheckpoint watches: its value when this file was written, and the best one so far."""
    if not isinstance(callbacks, Mapping):
        return
    for key, state in callbacks.items():
        monitor = state.get("monitor") if isinstance(state, Mapping) else None
        if isinstance(monitor, str):
            for name, field in ((monitor, "current_score"), (f"best_{monitor}", "best_model_score")):
                if is_scalar(state.get(field)):
                    yield name, ("callbacks", key, field)


def _best(callbacks: Any) -> str:
    """What a ModelCheckpoint that watches a metric keeps as the best."""
    states = callbacks.values() if isinstance(callbacks, Mapping) else ()
    watching = [state for state in states if isinstance(state, Mapping) and state.get("monitor") is not None]
    paths = [state.get("best_model_path") for state in watching]
    return next((path for path in paths if isinstance(path, str)), "")


def _progress(tree: Mapping[Any, Any]) -> Progress | None:
    """How far the fit loop was (`lightning/pytorch/loops/fit_loop.py`, `training_epoch_loop.py`).

    `epoch` says which one was in progress, or, in a file that was written after training, how many there were. The
    loop counts epochs as processed before it calls the hooks that end one; a file that is written at the validation
    before that has its last batch done. Before version 1.5, without these counters, `epoch` is how many are done.
    """
    loop = _at(tree, "loops", "fit_loop")
    epochs, batches = (_at(loop, key, "current") for key in ("epoch_progress", "epoch_loop.batch_progress"))
    ready, done, batch = epochs.get("ready"), epochs.get("processed"), batches.get("processed")
    if type(ready) is int and type(done) is int and type(batch) is int:
        if ready <= done:
            return Progress(done, 0, first=0)
        is_last = bool(_at(loop, "epoch_loop.batch_progress").get("is_last_batch"))
        return Progress(done + 1, 0, first=0) if is_last else Progress(done, batch, first=0)
    epoch = tree.get("epoch")
    return Progress(epoch, first=0) if type(epoch) is int and "loops" not in tree else None


def _at(node: Any, *keys: str) -> Mapping[Any, Any]:
    for key in keys:
        node = node.get(key) if isinstance(node, Mapping) else None
    return node if isinstance(node, Mapping) else {}
