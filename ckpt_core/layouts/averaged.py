"""Averaged copies of the weights among the entries of one state dict.

model.net.0.weight  model_ema.net0weight  model_ema.decay      LitEma of latent-diffusion: names without dots
net.0.weight        ema.net.0.weight                           a submodule that holds the average
online_model.w      ema_model.w           initted, step        a wrapper that holds both
n_averaged          module.net.0.weight                        torch's AveragedModel: the average alone
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from ckpt_core.arrays import LazyArray
from ckpt_core.layouts.base import Leaves, Roles
from ckpt_core.layouts.values import array_of, is_module, is_state_dict
from ckpt_core.tree import KeyPath, get

__all__ = ["with_inner_copies"]

_AVERAGED: Final = (
    "model_ema",
    "ema",
    "ema_model",
    "ema_net",
    "averaged_model",
    "shadow",
    "average_model",
    "net_ema",
)
"""First segments under which a module keeps the average of its siblings."""

_COUNT: Final = "n_averaged"
"""The buffer in which torch's AveragedModel counts; all other names of it begin with `module.`."""


def with_inner_copies(tree: Any, roles: Roles) -> Roles:
    """Return the roles with the copies that lie among the entries of the weights' own state dict."""
    if len(roles.params) != 1 or isinstance(roles.params[0], Leaves):
        return roles
    path = roles.params[0]
    table = get(tree, path)
    if is_module(table) or not is_state_dict(table):
        return roles
    if _is_averaged_model(table):
        return dataclasses.replace(
            roles,
            buffers=(*roles.buffers, _named(path, {_COUNT: _COUNT})),
            weights=_free("averaged", roles.ema),
            notes=(*roles.notes, "the weights are an average (torch's AveragedModel)"),
        )
    firsts = {key.partition(".")[0] for key in table}
    for word in filter(firsts.__contains__, _AVERAGED):
        found = _copy_of(table, word + ".")
        if found is not None:
            copy, counters = found
            return dataclasses.replace(
                roles,
                ema={_free(word, roles.ema): _named(path, copy), **roles.ema},
                buffers=(*roles.buffers, _named(path, counters)) if counters else roles.buffers,
            )
    return roles


def _is_averaged_model(table: Mapping[str, Any]) -> bool:
    count = table.get(_COUNT)
    others = [key for key in table if key != _COUNT]
    return (
        isinstance(count, LazyArray)
        and count.shape == ()
        and bool(others)
        and all(key.startswith("module.") for key in others)
    )


def _copy_of(table: Mapping[str, Any], prefix: str) -> tuple[dict[str, str], dict[str, str]] | None:
    """Return, for the entries with a prefix, (name of a weight -> key of its average) and the counters beside them."""
    inside = [key for key in table if key.startswith(prefix)]
    if not inside:
        return None
    names = {key: array for key, value in table.items() if (array := array_of(value)) is not None}
    outside = {key: array.shape for key, array in names.items() if not key.startswith(prefix)}
    for weights in _candidates(outside):
        copy, counters = {}, {}
        for key in inside:
            rest = key[len(prefix) :]
            target = weights.get(rest) or weights.get(rest.removeprefix("module."))
            if target is not None and key in names and outside[target] == names[key].shape:
                copy[target] = key
            elif key in names and names[key].shape == ():
                counters[key] = key
            else:
                break
        else:
            if copy:
                return copy, counters
    return None


def _candidates(outside: Mapping[str, Any]) -> list[dict[str, str]]:
    """Ways in which an average may name the weights: as they are, without a first segment, without dots."""
    firsts = dict.fromkeys(key.split(".", 1)[0] + "." for key in outside if "." in key)
    prefixes = ["", *list(firsts)[:_MOST_PREFIXES]]
    named = [{key[len(p) :]: key for key in outside if key.startswith(p)} for p in prefixes]
    return [*named, *({name.replace(".", ""): key for name, key in table.items()} for table in named)]


_MOST_PREFIXES: Final = 16


def _named(path: KeyPath, keys: Mapping[str, str]) -> Leaves:
    return Leaves({tuple(name.split(".")): (*path, key) for name, key in keys.items()})


def _free(name: str, taken: Mapping[str, Any]) -> str:
    while name in taken:
        name += "'"
    return name
