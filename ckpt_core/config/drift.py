"""config_drift: what changed between the hyperparameters that were saved and those of now, and what that touches."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ckpt_core.config.coerce import scalar
from ckpt_core.config.names import Names, entries_of
from ckpt_core.config.opened import leaves_of
from ckpt_core.config.plain import plain_config
from ckpt_core.config.rules import Rules, flat_aliases, rules_of
from ckpt_core.config.targets import MISSING, target_of
from ckpt_core.opening import open_checkpoint
from ckpt_core.rendering.text import value_text
from ckpt_core.schema import Checkpoint

__all__ = ["CONSEQUENCES", "Change", "ConfigDrift", "config_drift"]

CONSEQUENCES: Final = ("shapes", "optimisation", "bookkeeping", "unknown")
"""What a change touches: the shapes of the weights; how training goes on; neither; or its name does not say."""

_WORDS: Final = {
    "bookkeeping": "path dir directory folder file name log logs logging save saves print verbose debug wandb tensorboard "
    "project entity comment tag tags notes device devices gpu gpus cuda workers worker port host run output out resume "
    "checkpoint ckpt download progress url version pin memory prefetch root date time timestamp id list fresh auto",
    "optimisation": "lr rate momentum beta betas beta1 beta2 eps epsilon decay wd batch epoch epochs step steps iters "
    "iterations warmup schedule scheduler optimizer optim dropout drop loss losses clip clipping ema seed augment "
    "augmentation precision amp dtype accumulation gradient grad temperature weight smoothing train training data "
    "dataset split shuffle sampler noise gamma patience cooldown milestones mixup cutmix label",
    "shapes": "dim dims hidden width depth layers layer heads head channels channel vocab vocabulary size slots slot patch "
    "kernel kernels embed embedding embeddings features feature units filters blocks block inputs outputs input output "
    "classes class num n d stages expansion ratio resolution image groups experts rank model arch architecture type bias",
}
_BY_WORD: Final = {word: group for group, words in _WORDS.items() for word in words.split()}


@dataclass(frozen=True, slots=True)
class Change:
    """One key that differs.

    Arguments:
        name: dotted, as it is spelled now, or as it was saved where it is gone.
        kind: "changed", "added" or "removed".
        saved: the saved value; None where there was none.
        current: the value of now; None where there is none.
        consequence: one of CONSEQUENCES.
    """

    name: str
    kind: str
    saved: Any
    current: Any
    consequence: str

    def __str__(self) -> str:
        if self.kind == "added":
            return f"{self.name}: {value_text(self.current)}, not saved"
        if self.kind == "removed":
            return f"{self.name}: saved {value_text(self.saved)}, not there now"
        return f"{self.name}: saved {value_text(self.saved)}, now {value_text(self.current)}"


@dataclass(frozen=True, slots=True)
class ConfigDrift:
    """Every key that differs, in the order of the current config, removed ones last."""

    changes: tuple[Change, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.changes)

    def of(self, consequence: str) -> tuple[Change, ...]:
        """Return the changes with one consequence."""
        return tuple(change for change in self.changes if change.consequence == consequence)

    def __str__(self) -> str:
        lines = []
        for consequence in CONSEQUENCES:
            changes = self.of(consequence)
            if changes:
                lines.append(_TITLES[consequence])
                lines += [f"  {change}" for change in changes]
        return "\n".join(lines) or "the saved hyperparameters and those of now agree"


_TITLES: Final = {
    "shapes": "changes shapes",
    "optimisation": "changes optimisation",
    "bookkeeping": "bookkeeping",
    "unknown": "consequence unknown",
}


def config_drift(
    ckpt: Checkpoint | str | os.PathLike[str] | Mapping[str, Any],
    current: Any,
    *,
    rules: Rules = None,
    aliases: Mapping[str, Sequence[str]] | None = None,
) -> ConfigDrift:
    """Compare the hyperparameters in a checkpoint with those of now.

    A key that shape rules mention changes shapes. Of others, the words in the name say what they touch, and where
    they say nothing the consequence is "unknown".

    Arguments:
        ckpt: a checkpoint, its path, or the saved hyperparameters.
        current: a dict, a dataclass, a Namespace, a pydantic model or a ConfigDict.
        rules: shape rules, as for `resolve_config`.
        aliases: field to other spellings of it; case, and `-` against `_`, never matter.

    Example:
        >>> print(config_drift({"lr": 0.1, "width": 8}, {"lr": 0.2, "width": 8}))
        changes optimisation
          lr: saved 0.1, now 0.2
    """
    if isinstance(ckpt, (str, os.PathLike)):
        with open_checkpoint(ckpt) as opened:
            return config_drift(opened, current, rules=rules, aliases=aliases)
    if isinstance(ckpt, Checkpoint):
        saved, sets = ckpt.config, rules_of(rules, leaves_of(ckpt))
    else:
        saved, sets = ckpt, rules_of(() if rules is None else rules, [])
    now = _values(current)
    names = Names(now, flat_aliases(sets, aliases or {}))
    before: dict[str, Any] = {}
    gone: dict[str, Any] = {}
    whole: tuple[Any, ...] | None = None
    for entry in entries_of(saved):
        if whole is not None and entry.keys[: len(whole)] == whole:
            continue  # a part of a dict that is compared as one
        name = names.find(entry.name)
        if name is not None and (not entry.is_group or isinstance(now[name], Mapping)):
            before.setdefault(name, entry.value)
            whole = entry.keys if entry.is_group else whole
        elif name is None and not entry.is_group:
            gone[entry.name] = entry.value
    shaping = {names.find(name) or name for one in sets for name in one.names}
    changes = [
        Change(
            name,
            "changed" if name in before else "added",
            before.get(name),
            value,
            _consequence(name, shaping),
        )
        for name, value in now.items()
        if name not in before or not _agree(before[name], value)
    ]
    changes += [
        Change(name, "removed", value, None, _consequence(name, shaping)) for name, value in gone.items()
    ]
    return ConfigDrift(tuple(changes))


def _values(current: Any) -> dict[str, Any]:
    fields = target_of(current).fields
    values = {
        name: field.default if field.given is MISSING else field.given for name, field in fields.items()
    }
    return {name: None if value is MISSING else value for name, value in values.items()}


def _agree(saved: Any, current: Any) -> bool:
    """Whether two values mean the same: a list and a tuple, 1 and 1.0, NaN and NaN."""
    saved, current = scalar(saved), scalar(current)
    if isinstance(saved, (list, tuple)) and isinstance(current, (list, tuple)):
        return len(saved) == len(current) and all(map(_agree, saved, current))
    if isinstance(saved, Mapping) and isinstance(current, Mapping):
        ours, theirs = ({str(key): value for key, value in one.items()} for one in (saved, current))
        return ours.keys() == theirs.keys() and all(_agree(ours[key], theirs[key]) for key in ours)
    if isinstance(saved, float) and isinstance(current, float) and math.isnan(saved) and math.isnan(current):
        return True
    if isinstance(saved, bool) is not isinstance(current, bool):
        return False
    if isinstance(current, os.PathLike) or isinstance(saved, os.PathLike):
        return str(saved) == str(current)
    try:
        if saved == current:
            return True
    except Exception:  # noqa: BLE001  # the comparison is the value's own code
        return False
    plain = plain_config(current)  # what a checkpoint holds of it
    return type(plain) is not type(current) and _agree(plain_config(saved), plain)


def _consequence(name: str, shaping: set[str]) -> str:
    if name in shaping:
        return "shapes"
    words = re.findall(r"[a-z]+[0-9]*|[0-9]+", re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower())
    groups = [_BY_WORD[word] for word in words if word in _BY_WORD]
    return next((group for group in ("bookkeeping", "optimisation", "shapes") if group in groups), "unknown")
