"""Whether the saved states of a learning-rate scheduler and a gradient scaler are those of the live ones' kinds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ckpt_core.errors import UsageError
from ckpt_core.optimizers.schedules import separate
from ckpt_core.schema import Checkpoint
from ckpt_core.validation.report import Problem

__all__ = ["SteppingMatch", "match_scaler", "match_scheduler", "saved_schedulers"]


@dataclass(frozen=True)
class SteppingMatch:
    """What keeps a saved state from fitting, and the state to load where nothing does.

    Arguments:
        problems: the differences.
        state: as it was saved; None where there is nothing to load.
    """

    problems: tuple[Problem, ...]
    state: Any = None


def saved_schedulers(ckpt: Checkpoint) -> dict[str, Any]:
    """Return the saved states by name, those of a list by their positions, too."""
    return separate(ckpt.schedulers)


def match_scheduler(ckpt: Checkpoint, live: Mapping[str, Any], name: str | None = None) -> SteppingMatch:
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
        return SteppingMatch((_problem("state", None, "a scheduler in use"),))
    state = states[name] if name is not None else next(iter(states.values()))
    if not isinstance(state, Mapping):
        return SteppingMatch((_problem("state", f"a {type(state).__name__}", "the state of one"),))
    problems = tuple(_differences(state, live))
    return SteppingMatch(problems, None if problems else state)


def match_scaler(ckpt: Checkpoint, live: Mapping[str, Any]) -> SteppingMatch:
    """Compare the state of a gradient scaler with that of a live one; one that is switched off takes no state.

    Arguments:
        ckpt: the checkpoint.
        live: the state of the live scaler.
    """
    saved = ckpt.scaler
    if not live:
        return SteppingMatch(())
    if not isinstance(saved, Mapping) or not saved:
        found = None if saved is None else "the state of one that is switched off"
        return SteppingMatch(
            (Problem("scaler", "scaler/state", found, "a gradient scaler in use", "scaler"),)
        )
    problems = tuple(
        Problem("scaler", f"scaler/{key}", _said(saved, key), _said(live, key), "scaler")
        for key in sorted(_settings(saved) ^ _settings(live))
    )
    return SteppingMatch(problems, None if problems else saved)


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
