"""resolve_config: a config restored from what was saved, inferred from shapes, and filled with defaults."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ckpt_core.config.candidates import Candidates, collect, name_fields
from ckpt_core.config.coerce import coerce, left_out
from ckpt_core.config.conflicts import OnConflict, decide
from ckpt_core.config.facts import Facts, facts_of
from ckpt_core.config.groups import with_decided_groups
from ckpt_core.config.hints import hints_of
from ckpt_core.config.names import Names, entries_of
from ckpt_core.config.opened import opened
from ckpt_core.config.reconcile import Reconciled, reconcile
from ckpt_core.config.result import Given, Origin, ResolvedConfig
from ckpt_core.config.rules import Rules, flat_aliases, rules_of
from ckpt_core.config.sources import beside_layers, default_layer, override_layer, saved_layer
from ckpt_core.config.structure import structure_of
from ckpt_core.config.targets import Target, target_of
from ckpt_core.config.targets.base import same
from ckpt_core.config.whole import whole
from ckpt_core.errors import UsageError
from ckpt_core.shapes import Leaf, ShapeRules

__all__ = ["resolve_config"]


def resolve_config(
    ckpt: Any,
    into: Any = None,
    *,
    overrides: Mapping[str, Any] | None = None,
    defaults: Any = None,
    rules: Rules = None,
    aliases: Mapping[str, Sequence[str]] | None = None,
    data: Any = None,
    bind: str | Mapping[str, str] | None = None,
    explicit: Collection[str] | argparse.ArgumentParser = (),
    beside: bool = True,
    on_conflict: OnConflict = "raise",
) -> ResolvedConfig:
    """Fill a config, each value from the strongest source that has one.

    The order: explicit override, saved in the checkpoint, a config file beside it, inferred from shapes, default.

    Arguments:
        ckpt: an open Checkpoint, its path, a template, a model, or a tree of arrays or shapes.
        into: what to fill: a dict, a dataclass, an argparse Namespace, a pydantic model or a ConfigDict, the class or
            an instance; a new dict without it. An instance is not changed. Of a dataclass, values that differ from
            their default count as explicit; of a pydantic model, those that were set; of the others, those that
            `explicit` names.
        overrides: values by name, dotted or nested. None means not given; `NONE` means the value None.
        defaults: a mapping, an object that holds a config, or the path of a config file or of a Python file of
            constants, which is parsed and never imported.
        rules: shape rules: a ShapeRules, a mapping, the path of a TOML file, the name of a registered set, or several;
            without them every registered set whose patterns all fit.
        aliases: field to other spellings of it; case, and `-` against `_`, never matter.
        data: an array, a shape, or a tree of them, as a model is going to see them.
        bind: the names of the axes of `data`: "batch sample_size h w c", or such a text for each array by name.
        explicit: names of fields of an instance that were given explicitly; an ArgumentParser is asked which options
            stand on the command line.
        beside: look for config files beside the checkpoint.
        on_conflict: for values that contradict the shapes: "raise"; "correct" warns and takes what the shapes give;
            "warn" warns and keeps what was said; "report" keeps it without a warning.

    Returns:
        The config with the source of each value, and what does not fit.

    Raises:
        ConfigConflictError: values contradict the shapes of the weights; carries the corrected config.
        DataConflictError: the data contradicts the checkpoint.
        UsageError: an override names no field, a field has no value or one that it cannot take, or a rule is wrong.

    Example:
        resolve_config("slots.pth", SlotConfig, rules={"slots_mu": "num_slots slot_dim"}).config
    """
    target = target_of(into, explicit)
    with opened(ckpt) as source:
        sets = rules_of(rules, source.leaves)
        saved = [saved_layer(source.ckpt)] if source.ckpt is not None else []
        notes: list[str] = []
        if beside and source.path:
            for layer, problem in beside_layers(source.path):
                saved.append(layer)
                notes += [problem] if problem else []
        weak = [] if defaults is None else [default_layer(defaults)]
        target, given = with_decided_groups(target, list(entries_of(overrides or {})), [*saved, *weak])
        names = Names(target.fields, flat_aliases(sets, aliases or {}, target.spellings))
        if target.is_open:
            name_fields(target, names, saved)
            for one in sets:
                names.add_new(one.names)
            name_fields(target, names, weak)
        else:
            others = (entry for entry in (*given, *(one for layer in saved for one in layer.entries)))
            names.add_new(entry.name for entry in others if not entry.is_group and target.takes(entry.name))
        strong = override_layer(given, names, target.is_open, target.title)
        if target.is_open:
            name_fields(target, names, [strong])
        facts = facts_of(sets, source.leaves, names, data, bind)
        if target.is_open:
            names.add_new(sorted(facts.names))
        found = collect(target, names, [strong, *saved, *weak])
        case = _Case(
            target, names, found, facts, sets, source.leaves, source.path, bool(saved and saved[0].entries)
        )
        return case.resolved(on_conflict, [*notes, *facts.notes, *found.notes])


@dataclass
class _Case:
    """One config being resolved: what the sources and the shapes say about it."""

    target: Target
    names: Names
    found: Candidates
    facts: Facts
    sets: tuple[ShapeRules, ...]
    leaves: Sequence[Leaf]
    path: str
    was_saved: bool

    def resolved(self, on_conflict: OnConflict, notes: list[str]) -> ResolvedConfig:
        given, defaults = self._sizes()
        settled = reconcile(self.facts.shapes, given, defaults, self.facts.data)

        def make(corrected: Mapping[str, int]) -> ResolvedConfig:
            origins, missing = self._origins(settled, corrected)
            if missing and on_conflict != "report":
                raise self._missing_error(missing, settled)
            config = None if missing else self._filled(origins)
            return self._result(config, origins, missing, settled, tuple(notes))

        return decide(settled.conflicts, on_conflict, make, self.path, lambda result: result.config)

    def _sizes(self) -> tuple[dict[str, Given], dict[str, Given]]:
        """The values of the fields in equations that are sizes: the given ones, and the defaults."""
        given: dict[str, Given] = {}
        defaults: dict[str, Given] = {}
        for name in self.facts.names & self.names.fields.keys():
            for said in self.found.by_field[name]:
                number = whole(said.value)
                if number is None:
                    continue
                table = defaults if said.source == "default" else given
                if said.source != "default" or name not in given:
                    table.setdefault(name, Given(number, said.source, said.where))
        return given, defaults

    def _origins(
        self, settled: Reconciled, corrected: Mapping[str, int]
    ) -> tuple[dict[str, Origin], tuple[str, ...]]:
        origins, missing = {}, []
        reasons = {
            conflict.field: f"{conflict.equation} ({conflict.where})" for conflict in settled.conflicts
        }
        for name in self.names.fields:
            said = self.found.by_field.get(name, [])
            if name in self.facts.names:  # None is no size
                said = [one for one in said if one.value is not None or one.source in ("override", "default")]
            ranked = [one for one in said if one.source != "default"]
            if name in corrected:
                ranked.insert(0, Given(corrected[name], "inferred", reasons[name]))
            elif name in settled.inferred:
                ranked.append(settled.inferred[name])
            ranked += [one for one in said if one.source == "default"]
            if ranked:
                chosen = ranked[0]
                rest = tuple(one for one in ranked[1:] if not same(one.value, chosen.value))
                origins[name] = Origin(chosen.value, chosen.source, chosen.where, rest)
            elif name in self.target.fields:
                missing.append(name)
        return origins, tuple(missing)

    def _filled(self, origins: dict[str, Origin]) -> Any:
        """The object, made of every value but the defaults that the target has itself; `origins` gets their forms."""
        changes, problems = {}, []
        for name, origin in origins.items():
            own = self.target.fields.get(name)
            if origin.source == "default" and origin.where == self.target.title and own is not None:
                continue
            try:
                value = origin.value
                if own is not None:
                    value = coerce(value, own.annotation, own.default)
                    if origin.source == "saved":
                        self.found.lost.update(left_out(origin.value, value, name))
                changes[name] = value
                origins[name] = Origin(value, origin.source, origin.where, origin.overruled)
            except ValueError as error:
                problems.append(f"{name}: {origin.value!r} ({origin.source}, {origin.where}) {error}")
        if problems:
            raise UsageError(
                f"{self.target.title} does not take {len(problems)} of the values",
                path=self.path or None,
                remedy="\n  ".join([*problems[:20], "An override of the field is taken instead."]),
            )
        return self.target.make(changes)

    def _missing_error(self, missing: tuple[str, ...], settled: Reconciled) -> UsageError:
        lines = []
        for group in settled.undecided:
            for name in missing:
                if group.values(name):
                    options = ", ".join(map(str, group.values(name)[:12]))
                    lines.append(f"{name} can be {options}, by {'; '.join(group.equations[:3])}.")
        return UsageError(
            f"{self.target.title} has no value for {', '.join(missing)}",
            path=self.path or None,
            remedy="\n  ".join([*lines, "Pass overrides={...}, or defaults."]),
        )

    def _result(
        self,
        config: Any,
        origins: Mapping[str, Origin],
        missing: tuple[str, ...],
        settled: Reconciled,
        notes: tuple[str, ...],
    ) -> ResolvedConfig:
        undecided = tuple(settled.undecided)
        possible: dict[str, tuple[int, ...]] = {
            name: (origin.value,)
            for name, origin in origins.items()
            if isinstance(origin.value, int) and origin.source != "default"
        }
        for group in undecided:
            open_names = dict.fromkeys(name for row in group.solutions for name in row)
            possible.update({name: group.values(name) for name in open_names})
        weak = [
            name for name in self.names.fields if name not in origins or origins[name].source == "default"
        ]
        gained = [name for name in weak if name in origins] if self.was_saved else []
        return ResolvedConfig(
            config=config,
            provenance=origins,
            conflicts=tuple(settled.conflicts),
            undecided=undecided,
            not_inferable=self._not_inferable(weak, origins),
            missing=missing,
            lost=self.found.lost,
            gained=tuple(gained),
            hints=hints_of(self.path, possible, self.leaves),
            facts={name: given.value for name, given in settled.inferred.items()},
            structure=structure_of(self.leaves),
            rules=tuple(one.name for one in self.sets if one.name),
            notes=notes,
        )

    def _not_inferable(self, weak: list[str], origins: Mapping[str, Origin]) -> dict[str, str]:
        reasons = {name: reason for one in self.sets for name, reason in one.not_inferable.items()}
        fields = {self.names.find(name) or name: reason for name, reason in reasons.items()}
        named = {name: reason for name, reason in fields.items() if name not in origins or name in weak}
        silent = [name for name in weak if self.sets and name not in self.facts.names]
        return {**dict.fromkeys(silent, "no shape rule names it"), **named}
