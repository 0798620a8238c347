"""Whether the saved state of a learning-rate scheduler is one of the live scheduler's kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ckpt_core.errors import UsageError
from ckpt_core.optimizers.schedules import separate
from ckpt_core.schema import Checkpoint
from ckpt_core.validation.report import Problem

__all__ = ["SchedulerMatch", "match_scheduler", "saved_schedulers"]


@dataclass(frozen=True)
class SchedulerMatch:
    """What keeps a saved scheduler's state from fitting, and the state to load where nothing does.

    Arguments:
        problems: the differences.
        state: as it was saved.
    """

    problems: tuple[Problem, ...]
    state: Any = None


def saved_schedulers(ckpt: Checkpoint) -> dict[str, Any]:
    """Return the saved states by name, those of a list by their positions, too."""
    return separate(ckpt.schedulers)


def match_scheduler(ckpt: Checkpoint, live: Mapping[str, Any], name: str | None = None) -> SchedulerMatch:
    """Compare the state of a scheduler with that of a live one.

    A state does not say whose it is. Its settings do (`step_size`, `T_max`), and how many groups of parameters it has
    learning rates for; what a version of torch keeps beside them for itself is not compared.

    Arguments:
        ckpt: the checkpoint.
        live: the state of the live scheduler.
        name: which of several saved ones is meant.

    Raises:
        UsageError: several are saved and `name` names none of them.
    """
    states = saved_schedulers(ckpt)
    if (name is None and len(states) > 1) or (name is not None and name not in states):
        raise UsageError(
            f"holds {len(states)} schedulers{f', and no {name!r}' if name is not None else ''}",
            path=ckpt.path or None,
            remedy=f"Pass scheduler_name=, one of: {', '.join(states) or 'none'}.",
        )
    if not states:
        return SchedulerMatch((_problem("state", None, "a scheduler in use"),))
    state = states[name] if name is not None else next(iter(states.values()))
    if not isinstance(state, Mapping):
        return SchedulerMatch((_problem("state", f"a {type(state).__name__}", "the state of one"),))
    problems = tuple(_differences(state, live))
    return SchedulerMatch(problems, None if problems else state)


def _problem(name: str, found: str | None, expected: str | None) -> Problem:
    return Problem("scheduler", f"scheduler/{name}", found, expected, "scheduler")


def _differences(saved: Mapping[str, Any], live: Mapping[str, Any]) -> list[Problem]:
    ours, theirs = _settings(saved), _settings(live)
    problems = [_problem(key, _said(saved, key), _said(live, key)) for key in sorted(ours ^ theirs)]
    mine, other = (_groups(side) for side in (saved, live))
    if mine and other and mine != other:
        problems.append(_problem("base_lrs", mine, other))
    return problems


def _groups(state: Mapping[str, Any]) -> str:
    rates = state.get("base_lrs")
    return f"{len(rates)} groups of parameters" if isinstance(rates, (list, tuple)) else ""


def _settings(state: Mapping[str, Any]) -> set[str]:
    return {key for key in state if not key.startswith("_") and key != "verbose"}


def _said(state: Mapping[str, Any], key: str) -> str | None:
    return str(state[key])[:60] if key in state else None
