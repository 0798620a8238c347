"""rules_of: the rule sets that apply to a checkpoint, from what was asked for or from plugins."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from ckpt_core.config.files import read_toml
from ckpt_core.errors import UsageError
from ckpt_core.registry import registry
from ckpt_core.shapes import Leaf, ShapeRules

__all__ = ["Rules", "read_rules", "rules_of"]

Rules: TypeAlias = "ShapeRules | Mapping[str, str] | str | os.PathLike[str] | Sequence[Rules] | None"
"""A rule set, plain data for one, the path of a TOML file, the name of a registered set, or several of these."""

_TABLES: Final = ("shapes", "not_inferable", "aliases", "data")


def rules_of(rules: Rules, leaves: Sequence[Leaf]) -> tuple[ShapeRules, ...]:
    """Return the rule sets to use.

    Arguments:
        rules: what was asked for; None for every registered set whose patterns all fit.
        leaves: the (name, shape) pairs of the checkpoint.

    Raises:
        UsageError: there is no such file and no set of that name, or a rule is not of the language.
    """
    if rules is None:
        return tuple(one for _, one in registry().rules if one.applies_to(leaves))
    if isinstance(rules, ShapeRules):
        return (rules,)
    if isinstance(rules, Mapping):
        return (_of_mapping(rules, ""),)
    if isinstance(rules, (str, os.PathLike)):
        return (_named(os.fspath(rules)),)
    return tuple(one for part in rules for one in rules_of(part, leaves))


def _of_mapping(rules: Mapping[str, Any], name: str) -> ShapeRules:
    """Rules as plain data: the patterns alone, or the tables of a file."""
    if rules and set(rules) <= {*_TABLES, "name"} and isinstance(rules.get("shapes", {}), Mapping):
        return _of_tables(rules, name)
    return ShapeRules(dict(rules), name=name)


def read_rules(path: str | os.PathLike[str]) -> ShapeRules:
    """Read shape rules from a TOML file.

    Its tables: `[shapes]`, pattern to right-hand side; `[not_inferable]`, field to reason; `[aliases]`, field to a
    list of other spellings; `[data]`, array to the names of its axes. `name` names the set.

    Raises:
        CheckpointNotFoundError: there is no such file.
        DamagedFileError: it is no TOML.
        UsageError: it has another table, or a rule that is not of the language.
    """
    tables = read_toml(path)
    try:
        return _of_tables(tables, os.path.basename(os.fspath(path)))
    except UsageError as error:
        raise error.located(path) from None


def _of_tables(tables: Mapping[str, Any], name: str) -> ShapeRules:
    unknown = [key for key in tables if key not in (*_TABLES, "name")]
    if unknown:
        raise UsageError(
            f"has {unknown[0]!r}, which is no part of shape rules",
            remedy="Its tables are [shapes], [not_inferable], [aliases] and [data].",
        )
    for key in _TABLES:
        if not isinstance(tables.get(key, {}), Mapping):
            raise UsageError(f"{key} is no table")
    return ShapeRules(
        **{key: dict(tables.get(key, {})) for key in _TABLES}, name=str(tables.get("name", name))
    )


def _named(name: str) -> ShapeRules:
    found = [one for _, one in registry().rules if one.name == name]
    if len(found) == 1:
        return found[0]
    if len(found) > 1:
        owners = " and ".join(str(plugin) for plugin, one in registry().rules if one.name == name)
        raise UsageError(
            f"shape rules {name!r} are brought by {owners}", remedy="Pass a file of rules instead."
        )
    if os.path.exists(name) or name.endswith(".toml"):
        return read_rules(name)
    known = ", ".join(sorted({one.name for _, one in registry().rules})) or "none"
    raise UsageError(f"there are no shape rules {name!r}", remedy=f"Pass a TOML file. Registered: {known}.")


def flat_aliases(sets: Iterable[ShapeRules], *more: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Return the alias tables of several rule sets and further ones, as one."""
    found: dict[str, list[str]] = {}
    for table in (*(one.aliases for one in sets), *more):
        for name, others in table.items():
            found.setdefault(name, []).extend([others] if isinstance(others, str) else others)
    return found
