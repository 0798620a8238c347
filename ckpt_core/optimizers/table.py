"""The families of update rules that are known: those of plugins, and the built-in ones."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

from ckpt_core.families import BUILT_IN, Family, OptaxRule, TorchRule
from ckpt_core.registry import registry

__all__ = ["families", "family_of", "known_kinds", "optax_rules", "torch_rule", "torch_rules"]


@functools.cache
def families() -> tuple[Family, ...]:
    """Return the families; those of plugins are asked before the built-in ones."""
    return (*(family for _, family in registry().families), *BUILT_IN)


def torch_rules() -> Iterator[TorchRule]:
    """Yield the rules of torch."""
    for family in families():
        yield from family.torch


def optax_rules() -> Iterator[OptaxRule]:
    """Yield the rules of optax."""
    for family in families():
        yield from family.optax


def family_of(kind: str, framework: str, settings: Mapping[str, Any]) -> Family | None:
    """Return the family of a rule of torch or of optax, or None.

    Arguments:
        kind: the rule.
        framework: "torch" or "optax".
        settings: the hyperparameters of a group, which tell Adam from AMSGrad.
    """
    for family in families():
        if framework == "torch":
            if any(rule.kind == kind and rule.allows(settings) for rule in family.torch):
                return family
        elif any(rule.kind == kind for rule in family.optax):
            return family
    return None


def torch_rule(kind: str, settings: Mapping[str, Any]) -> TorchRule | None:
    """Return the torch rule of that name that a group with these settings is of, or None."""
    family = family_of(kind, "torch", settings)
    return None if family is None else family.torch_rule(kind, settings)


def known_kinds(framework: str) -> list[str]:
    """Return the names of the rules that are known of a framework, in the order of the families."""
    rules = torch_rules() if framework == "torch" else optax_rules()
    return list(dict.fromkeys(rule.kind for rule in rules))
