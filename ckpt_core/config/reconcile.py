"""What shapes, data and given values say together: what follows, what stays open, and what contradicts.

Shapes are facts. Values that somebody gave have to agree with them; a default has less weight than what the shapes
and the given values determine. Where values contradict, the field to blame is the weakest one whose change alone
makes all equations hold, and where several would do, none is picked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from ckpt_core.config.result import Conflict, Given, Undecided
from ckpt_core.shapes import Equation, Solutions, components, has_solution, is_solvable, solve

__all__ = ["Reconciled", "reconcile"]

_MAX_EQUATIONS: Final = 500
"""Different equations that share names; rules give a few for each of their lines."""

_MAX_TOLD: Final = 50
"""Contradictions between shapes that are told."""

_WEAKEST_FIRST: Final = ("default", "beside", "saved", "explicit", "override")

Values = Mapping[str, Given]


@dataclass
class Reconciled:
    """What follows from equations and values.

    Arguments:
        inferred: names that equations settle, with the equation and where it was seen.
        undecided: names that have several solutions.
        conflicts: what does not agree; values in there take no part in the rest.
    """

    inferred: dict[str, Given] = field(default_factory=dict)
    undecided: list[Undecided] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)


def reconcile(
    shapes: Sequence[Equation],
    given: Values,
    defaults: Values,
    data: Sequence[Equation] = (),
) -> Reconciled:
    """Settle the names in equations.

    Arguments:
        shapes: what the shapes of the weights say.
        given: the values with more weight than inference, by name.
        defaults: the values with less.
        data: what the axes of the data say.
    """
    found = Reconciled()
    for group in components(_unique([*shapes, *data])):
        from_data = [equation for equation in group if equation in data]
        facts = _without_contradictions([e for e in group if e not in from_data], found)
        names = dict.fromkeys(name for equation in group for name in equation.names)
        mine = {name: given[name] for name in names if name in given}
        usual = {name: defaults[name] for name in names if name in defaults}
        _settle(facts, from_data, mine, usual, found)
    return found


def _settle(
    facts: list[Equation],
    data: list[Equation],
    given: dict[str, Given],
    defaults: dict[str, Given],
    found: Reconciled,
) -> None:
    _drop_contradicting(facts, given, found)
    data = _agreeing_data(facts, data, given, defaults, found)
    both = [*facts, *data]
    _drop_contradicting(both, given, found)
    first = solve(both, _known(given))
    settled = {name: value for name in _names(both) if (value := first.single(name)) is not None}
    weak = {name: value for name, value in defaults.items() if name not in settled}
    pool = {**weak, **given}
    blamed = _drop_contradicting(both, pool, found)
    known = _known(pool)
    last = solve(both, known) if weak or blamed else first
    for name in _names(both):
        value = last.single(name)
        if value is not None and name not in pool and (name in settled or name not in blamed):
            found.inferred[name] = Given(value, "inferred", _reason(both, name, last, value))
    _note_undecided(both, last, known, blamed, found)


def _note_undecided(
    equations: list[Equation], last: Solutions, known: dict[str, int], blamed: set[str], found: Reconciled
) -> None:
    open_names = [
        n for n in _names(equations) if n not in known and n not in found.inferred and n not in blamed
    ]
    if not open_names:
        return
    settled = {
        **known,
        **{name: found.inferred[name].value for name in _names(equations) if name in found.inferred},
    }
    rows = {tuple((n, row[n]) for n in open_names if n in row): None for row in last.rows}
    texts = tuple(e.text(settled) for e in equations if any(name in open_names for name in e.names))
    found.undecided.append(Undecided(texts, tuple(dict(row) for row in rows if row), last.is_complete))


# Contradictions.


def _without_contradictions(equations: list[Equation], found: Reconciled) -> list[Equation]:
    """The equations but for those that contradict earlier ones: no value of any field helps there."""
    if len(equations) <= _MAX_EQUATIONS and is_solvable(equations):
        return equations
    kept: list[Equation] = []
    told = len(found.conflicts) + _MAX_TOLD
    for equation in equations[:_MAX_EQUATIONS]:
        if has_solution([equation, *kept]):  # the new one first: a search ends soon where it begins
            kept.append(equation)
            continue
        # thousands of arrays that a rule does not fit tell no more than these
        if len(found.conflicts) >= told:
            break
        rival = next(
            (other for other in kept if not has_solution([other, equation])), kept[-1] if kept else None
        )
        against = f"contradicts {rival.text()} ({rival.where})" if rival else "has no solution"
        found.conflicts.append(
            Conflict(equation.text(), equation.where, problem=f"({equation.where}) {against}")
        )
    return kept


def _agreeing_data(
    facts: list[Equation], data: list[Equation], given: Values, defaults: Values, found: Reconciled
) -> list[Equation]:
    """The equations of the data that agree with the checkpoint; the others are conflicts of their own."""
    trusted = {name: said for name, said in given.items() if said.source != "override"}
    kept: list[Equation] = []
    for equation in data:
        if has_solution([equation, *facts, *kept], _known(trusted)):
            kept.append(equation)
        else:
            found.conflicts.append(_data_conflict(facts, equation, given, defaults))
    return kept


def _data_conflict(facts: list[Equation], equation: Equation, given: Values, defaults: Values) -> Conflict:
    name = next((name for name in equation.names if name not in given), equation.names[0])
    shown = Given(solve([equation], {k: v.value for k, v in given.items() if k != name}).single(name), "data")
    shown = Given(equation.size if shown.value is None else shown.value, "data", equation.where)
    for pool in (given, {**defaults, **given}):
        solutions = solve(facts, _known({other: said for other, said in pool.items() if other != name}))
        value = solutions.single(name)
        blame = _equation_with(facts, name, solutions)
        if value is not None and blame is not None:
            return Conflict(blame.text(_others(solutions, name)), blame.where, name, shown, value)
    if name in given:
        said = given[name]
        return Conflict(f"the {said.source} config", said.where, name, shown, said.value)
    blame = _equation_with(facts, name, solve(facts)) or equation
    return Conflict(
        blame.text(), blame.where, name, shown, problem=f"has no solution for {name} = {shown.value}"
    )


def _drop_contradicting(equations: list[Equation], values: dict[str, Given], found: Reconciled) -> set[str]:
    """Take values that contradict the equations, or each other, out of `values`; return their names."""
    blamed: set[str] = set()
    while values and not has_solution(equations, _known(values)):
        conflict, names = _blame(equations, values)
        found.conflicts.append(conflict)
        blamed |= names
        for name in names:
            del values[name]
    return blamed


def _blame(equations: list[Equation], values: Values) -> tuple[Conflict, set[str]]:
    """Return a conflict, and the fields that are part of it."""
    alone = solve(equations)
    for name, said in values.items():
        value = alone.single(name)
        if value is not None and value != said.value:
            return _conflict_of(equations, name, said, alone, value), {name}
    for source in _WEAKEST_FIRST:
        repairs = {}
        for name in (name for name, said in values.items() if said.source == source):
            others = {other: said for other, said in values.items() if other != name}
            solutions = solve(equations, _known(others))
            if solutions.values(name):
                repairs[name] = solutions
        if len(repairs) == 1:
            ((name, solutions),) = repairs.items()
            return _conflict_of(equations, name, values[name], solutions, solutions.single(name)), {name}
        if repairs:
            return _no_single_field(equations, values, repairs), set(repairs)
    weakest = next(source for source in _WEAKEST_FIRST if any(v.source == source for v in values.values()))
    names = {name for name, said in values.items() if said.source == weakest}
    return _no_single_field(equations, values, {}), names


def _conflict_of(
    equations: list[Equation], name: str, said: Given, solutions: Solutions, value: int | None
) -> Conflict:
    blame = _equation_with(equations, name, solutions, said) or equations[0]
    text = blame.text(_others(solutions, name))
    options = _options(solutions.values(name))
    return Conflict(
        text, blame.where, name, said, value, "" if value is not None else f"gives {name} = {options}"
    )


def _no_single_field(equations: list[Equation], values: Values, repairs: Mapping[str, Solutions]) -> Conflict:
    known = _known(values)
    blame = next((e for e in equations if e.holds(known) is False), None)
    blame = blame or next((e for e in equations if not has_solution([e], known)), equations[0])
    said = ", ".join(f"{name} = {values[name]}" for name in blame.names if name in values)
    fixes = " or ".join(f"{name} = {_options(found.values(name))}" for name, found in repairs.items())
    ending = f"{fixes} would fit" if fixes else "no single change makes it fit"
    return Conflict(blame.text(), blame.where, problem=f"does not hold; config says {said}; {ending}")


def _options(values: tuple[int, ...]) -> str:
    shown = " or ".join(map(str, values[:6]))
    return f"{shown} or one of {len(values) - 6} others" if len(values) > 6 else shown


# Small steps.


def _unique(equations: Iterable[Equation]) -> list[Equation]:
    return list({(e.size, e.expression): e for e in reversed(list(equations))}.values())[::-1]


def _names(equations: Sequence[Equation]) -> list[str]:
    return list(dict.fromkeys(name for equation in equations for name in equation.names))


def _known(values: Values) -> dict[str, int]:
    return {name: said.value for name, said in values.items()}


def _others(solutions: Solutions, name: str) -> dict[str, int]:
    """What the solutions agree on, a name apart."""
    if not solutions.rows:
        return {}
    return {
        other: value
        for other in solutions.rows[0]
        if other != name and (value := solutions.single(other)) is not None
    }


def _equation_with(
    equations: Sequence[Equation], name: str, solutions: Solutions, said: Given | None = None
) -> Equation | None:
    """The equation to show for a name: one that a wrong value breaks, the shortest first."""
    others = _others(solutions, name)
    with_name = sorted((e for e in equations if name in e.names), key=lambda e: len(e.names))
    broken = [
        e for e in with_name if said is not None and not has_solution([e], {**others, name: said.value})
    ]
    return next(iter(broken or with_name), None)


def _reason(equations: list[Equation], name: str, solutions: Solutions, value: int) -> str:
    others = _others(solutions, name)
    for equation in sorted((e for e in equations if name in e.names), key=lambda e: len(e.names)):
        if solve([equation], {k: v for k, v in others.items() if k in equation.names}).values(name) == (
            value,
        ):
            return f"{equation.text(others)} ({equation.where})"
    equation = next(e for e in equations if name in e.names)
    return f"{equation.text(others)} ({equation.where})"
