"""check_config: a finished config against the shapes of the weights, and against data; no model is needed."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeVar

from ckpt_core.config.conflicts import OnConflict, decide
from ckpt_core.config.facts import facts_of
from ckpt_core.config.names import Names
from ckpt_core.config.opened import opened
from ckpt_core.config.reconcile import reconcile
from ckpt_core.config.result import Given
from ckpt_core.config.rules import Rules, flat_aliases, rules_of
from ckpt_core.config.targets import MISSING, target_of
from ckpt_core.config.whole import whole
from ckpt_core.errors import UsageError

__all__ = ["check_config"]

Config = TypeVar("Config")


def check_config(
    ckpt: Any,
    config: Config,
    rules: Rules = None,
    *,
    aliases: Mapping[str, Sequence[str]] | None = None,
    data: Any = None,
    bind: str | Mapping[str, str] | None = None,
    explicit: Collection[str] | argparse.ArgumentParser = (),
    on_conflict: OnConflict = "raise",
) -> Config:
    """Check a config against a checkpoint before the first forward pass.

    Arguments:
        ckpt: an open Checkpoint, its path, a template, or a tree of arrays or shapes.
        config: an instance of whatever `resolve_config` fills.
        rules: shape rules, as for `resolve_config`.
        aliases: field to other spellings of it.
        data: an array, a shape, or a tree of them, as the model is going to see them.
        bind: the names of the axes of `data`.
        explicit: names of fields that were given explicitly, or the ArgumentParser.
        on_conflict: "raise"; "correct" warns and returns a corrected copy; "warn" warns and returns the config as it
            is; "report" returns it in silence.

    Returns:
        The config itself where it agrees, and nothing is printed.

    Raises:
        ConfigConflictError: it contradicts the shapes of the weights; carries the corrected config.
        DataConflictError: the data contradicts the checkpoint.
        UsageError: there are no shape rules to check by.

    Example:
        config = check_config("run/", Config(), {"slots_mu": "num_slots slot_dim"}, on_conflict="correct")
    """
    target = target_of(config, explicit)
    with opened(ckpt) as source:
        sets = rules_of(rules, source.leaves)
        if not sets:
            raise UsageError(
                "there are no shape rules to check a config by",
                path=source.path or None,
                remedy="Pass rules={'slots_mu': 'num_slots slot_dim'}, or the path of a TOML file.",
            )
        names = Names(target.fields, flat_aliases(sets, aliases or {}, target.spellings))
        facts = facts_of(sets, source.leaves, names, data, bind)
        said: dict[str, Given] = {}
        for name in facts.names & target.fields.keys():
            field = target.fields[name]
            is_default = field.given is MISSING
            number = whole(field.default if is_default else field.given)
            if number is not None:
                source_of = "default" if is_default and target.tells_defaults else "explicit"
                said[name] = Given(number, source_of, target.title)
        settled = reconcile(facts.shapes, said, {}, facts.data)

        def make(corrected: Mapping[str, int]) -> Config:
            made: Config = target.make(corrected) if corrected else config
            return made

        return decide(settled.conflicts, on_conflict, make, source.path)
