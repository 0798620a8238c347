"""The spellings that trainers use for the parts of a checkpoint. The key proposes, the value decides."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ckpt_core.arrays import LazyArray
from ckpt_core.layouts.base import Roles, merged
from ckpt_core.layouts.values import (
    MAX_LISTED,
    are_layers,
    has_array,
    has_value,
    is_float_array,
    is_generator_state,
    is_numeric,
    is_optimizer,
    is_plain,
    is_scalar,
    is_weights,
    value_of,
)
from ckpt_core.tree import KeyPath, Record

__all__ = [
    "COLLECTIONS",
    "CONFIG_KEYS",
    "ENTRIES",
    "METRICS_KEYS",
    "claim_by_spelling",
    "claim_by_value",
    "claim_with_descriptions",
    "spelled_role",
]

COLLECTIONS: Final = frozenset(
    {"batch_stats", "cache", "buffers", "intermediates", "spectral_stats", "ema_stats"}
)
"""Flax's collections of variables that are not learned."""

CONFIG_KEYS: Final = frozenset(
    [
        "args",
        "config",
        "cfg",
        "hparams",
        "hyper_parameters",
        "hyperparameters",
        "train_args",
        "training_args",
        "model_config",
        "opt",
        "options",
        "model_args",
        "conf",
        "settings",
        "params_config",
        "ds_config",
    ]
)
"""The keys under which the whole configuration is saved."""

METRICS_KEYS: Final = frozenset(
    ["metrics", "metric", "train_metrics", "val_metrics", "test_metrics", "eval_metrics", "results", "scores"]
)
"""The keys under which all metrics of one kind are saved."""

_MEASURES: Final = (
    "loss|losses|acc|accuracy|err|error|eer|metric|score|f1|auc|auroc|ap|map|iou|miou|psnr|ssim|lpips|fid|"
    "bleu|rouge|wer|cer|ppl|perplexity|top1|top5|acc1|acc5|precision|recall|fitness|reward|nll|elbo|bpd|mse|mae|"
    "rmse|r2"
)
_METRIC: Final = re.compile(
    rf"(^|_)({_MEASURES})(_|\d*$)|^(best|val|valid|validation|train|test|eval)_", re.IGNORECASE
)
_MEASURE: Final = re.compile(rf"(.*[_/. ])?({_MEASURES})\d*", re.IGNORECASE)
_METRICS: Final = re.compile(r"(.*_)?(metrics|scores|results)", re.IGNORECASE)


def _words(text: str) -> dict[str, int]:
    """Each word with its rank: of several that could play a role of one place, the first is it."""
    return {word: rank for rank, word in enumerate(text.split())}


def _is_settings(value: Any) -> bool:
    return isinstance(value, Mapping) and (not has_array(value) or is_plain(value))


def _is_config(value: Any) -> bool:
    """Settings may have small arrays among them: means to normalise with, weights of classes, anchors."""
    if _is_settings(value):
        return True
    return isinstance(value, Mapping) and has_value(value) and not has_array(value, _is_large)


def _is_large(array: LazyArray) -> bool:
    return array.size > MAX_LISTED


def _is_schedule(value: Any) -> bool:
    return isinstance(value, (Mapping, list)) and not is_optimizer(value)


def _is_optimizer_like(value: Any) -> bool:
    if is_optimizer(value):
        return True
    if isinstance(value, (list, tuple)):
        return bool(value)
    return isinstance(value, Mapping) and (has_array(value) or not has_value(value))


def _is_counter(value: Any) -> bool:
    """A number, or one copy of it per device, or an NNX variable of one."""
    value = value_of(value)
    return is_scalar(value) or (isinstance(value, LazyArray) and value.ndim == 1)


def _is_random_state(value: Any) -> bool:
    """Random generators keep integers; floating-point arrays are a module that has such a name (query, key, value)."""
    return value is not None and not isinstance(value, (bool, str)) and not has_array(value, is_float_array)


def _is_moment(value: Any) -> bool:
    return isinstance(value, (int, float, str)) or is_scalar(value) or hasattr(value, "isoformat")


def _are_weights(value: Any) -> bool:
    return is_weights(value) or are_layers(value)


@dataclass(frozen=True, slots=True)
class _Row:
    role: str
    keys: Collection[str]
    fits: Callable[[Any], bool]


_ROWS: Final = (
    _Row(
        "params",
        _words(
            "model_state_dict state_dict model_state model net net_state_dict network params params_state module weights "
            "generator generator_state_dict discriminator discriminator_state_dict netG netD G D encoder_state_dict "
            "decoder_state_dict student policy model_weights models"
        ),
        _are_weights,
    ),
    _Row(
        "ema",
        _words(
            "ema ema_state_dict state_dict_ema model_ema model_ema_state_dict ema_model ema_model_state_dict params_ema "
            "ema_params ema_weights teacher"
        ),
        _are_weights,
    ),
    _Row(
        "opt_states",
        _words(
            "optimizer_state_dict optimizer optim opt opt_state optimizer_state optim_state_dict optimizers "
            "optimizer_states last_optimizer_state optimizer_G optimizer_D opt_G opt_D"
        ),
        _is_optimizer_like,
    ),
    _Row("buffers", COLLECTIONS, has_array),
    _Row(
        "schedulers",
        _words(
            "scheduler_state_dict scheduler lr_scheduler lr_scheduler_state_dict lr_schedulers schedulers sched "
            "param_schedulers scheduler_state"
        ),
        _is_schedule,
    ),
    _Row(
        "scaler",
        _words("scaler scaler_state_dict amp_scaler grad_scaler amp loss_scaler dynamic_scale"),
        lambda value: isinstance(value, Mapping),
    ),
    _Row(
        "rng",
        _words(
            "rng rng_state rng_states torch_rng_state cuda_rng_state numpy_rng_state python_rng_state key prng_key rngs"
        ),
        _is_random_state,
    ),
    _Row(
        "step",
        _words(
            "global_step step iteration iter it iter_num n_iter current_step current_iter cur_step cur_iter "
            "train_step train_steps global_steps num_updates steps num_steps"
        ),
        _is_counter,
    ),
    _Row("epoch", _words("epoch epochs_done current_epoch last_epoch"), is_scalar),
    _Row("timestamp", _words("timestamp time date datetime saved_at created_at save_time"), _is_moment),
    _Row("config", CONFIG_KEYS, _is_config),
    _Row("metrics", METRICS_KEYS, _is_settings),
)

ENTRIES: Final = frozenset({"param_groups", "state"}).union(*(row.keys for row in _ROWS))
"""The keys that scripts use for the parts of a checkpoint."""

_AVERAGED: Final = frozenset({"ema", "swa", "averaged", "polyak", "teacher"})
"""Words of keys for averaged copies: `g_ema`, `netG_ema`, `swa_state_dict`."""

_DESCRIBING: Final = ("metadata", "meta")

_SINGLE: Final = {
    row.role: row.keys
    for row in _ROWS
    if row.role in ("scaler", "step", "epoch", "timestamp") and isinstance(row.keys, dict)
}


def claim_by_spelling(tree: Mapping[Any, Any], base: KeyPath = ()) -> Roles:
    """Give each entry of a mapping the role that its key proposes and its value confirms.

    What is an optimizer by its value is one under any key. Plain values that no role claims count as config,
    because hyperparameters are often saved beside the weights; numbers whose name is a metric's count as metrics.

    Arguments:
        tree: the mapping.
        base: its own key path.
    """
    named: dict[str, dict[str, KeyPath]] = {}
    for key, value in tree.items():
        role = _role_of(key, value) if isinstance(key, str) else None
        if role is not None:
            named.setdefault(role, {})[key] = (*base, key)
    single: dict[str, Any] = {}
    for role, keys in _SINGLE.items():
        rivals = named.get(role, {})
        best = min(rivals, key=keys.__getitem__, default=None)
        single[role] = None if best is None else rivals[best]
        beside = {key: path for key, path in rivals.items() if key != best and _is_setting(key, tree[key])}
        named.setdefault("config", {}).update(beside)
    return Roles(
        params=tuple(named.get("params", {}).values()),
        buffers=tuple(named.get("buffers", {}).values()),
        ema=named.get("ema", {}),
        opt_states=named.get("opt_states", {}),
        schedulers=named.get("schedulers", {}),
        rng=named.get("rng", {}),
        metrics=named.get("metrics", {}),
        config=named.get("config", {}),
        **single,
    )


def claim_with_descriptions(tree: Mapping[Any, Any]) -> Roles:
    """Do as `claim_by_spelling`, and look into the entries that describe the others: `metadata` with epoch, config."""
    described = {key: value for key, value in tree.items() if _is_describing(key, value)}
    roles = claim_by_spelling({key: value for key, value in tree.items() if key not in described})
    return merged(roles, *(claim_by_spelling(value, (key,)) for key, value in described.items()))


def _is_describing(key: Any, value: Any) -> bool:
    """Say whether an entry describes the others: by its key, or because it holds the epoch and has no role itself."""
    if not isinstance(value, Mapping) or not _is_settings(value):
        return False
    return key in _DESCRIBING or (is_scalar(value.get("epoch")) and spelled_role(key, value) is None)


def claim_by_value(tree: Mapping[Any, Any], roles: Roles) -> tuple[KeyPath, ...]:
    """Return the paths of the weights among the entries of a mapping that have no role, whatever their keys."""
    taken = {
        path
        for named in (roles.ema, roles.opt_states, roles.schedulers, roles.rng, roles.config)
        for path in named.values()
    }
    taken |= {*roles.buffers, *([roles.scaler] if roles.scaler is not None else [])}
    return tuple([(key,) for key, value in tree.items() if (key,) not in taken and is_weights(value)])


def spelled_role(key: str, value: Any) -> str | None:
    """Return the role that a key proposes and the value confirms, whatever else the value may be."""
    return next((row.role for row in _ROWS if key in row.keys and row.fits(value)), None)


def _role_of(key: str, value: Any) -> str | None:
    spelled = spelled_role(key, value)
    if spelled is not None:
        return spelled
    if is_optimizer(value):
        return "opt_states"
    if is_generator_state(value):
        return "rng"
    if not _AVERAGED.isdisjoint(re.split(r"[_\-. ]", key.lower())) and is_weights(value):
        return "ema"
    if (_METRIC.search(key) and is_numeric(value)) or _is_group_of_metrics(key, value):
        return "metrics"
    return "config" if _is_setting(key, value) else None


def _is_group_of_metrics(key: str, value: Any) -> bool:
    """Say whether it is a dict of numbers, by its own name (`epoch_metrics`) or by those of all of them (`val`)."""
    if not isinstance(value, Mapping) or not value or not is_plain(value):
        return False
    if _METRICS.fullmatch(key):
        return True
    return all(
        isinstance(name, str)
        and ((_MEASURE.fullmatch(name) and is_scalar(inner)) or _is_group_of_metrics("", inner))
        for name, inner in value.items()
    )


def _is_setting(key: str, value: Any) -> bool:
    is_private = key.startswith("_")
    return not is_private and value is not None and not isinstance(value, Record) and is_plain(value)
