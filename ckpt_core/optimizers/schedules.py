"""torch's learning-rate schedulers as optax schedules: the function where the state tells it, and the position.

A scheduler's state dict holds its settings, not its class, which the keys tell. torch computes most of them step by
step, optax in closed form; they agree up to rounding. Sources: `torch.optim.lr_scheduler`, `optax.schedules`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ckpt_core.families.recipe import Call
from ckpt_core.layouts.values import number

__all__ = ["Schedule", "schedule_of", "scheduler_state", "separate"]


@dataclass(frozen=True)
class Schedule:
    """Where a learning-rate schedule stands.

    Arguments:
        position: the step at which an optax schedule is evaluated next.
        recipes: the schedule of each parameter group, or none where the state does not tell its function.
        notes: what a reader should be told.
    """

    position: int
    recipes: tuple[Call, ...] = ()
    notes: tuple[str, ...] = ()


def separate(schedulers: Mapping[str, Any]) -> dict[str, Any]:
    """Return the states of schedulers by name, those of a list by their positions, too.

    Arguments:
        schedulers: states and lists of states, by the names that they were saved under.
    """
    found: dict[str, Any] = {}
    for name, state in schedulers.items():
        if isinstance(state, list) and len(state) != 1:
            found.update({f"{name}/{i}": one for i, one in enumerate(state)})
        else:
            found[name] = state[0] if isinstance(state, list) else state
    return found


def schedule_of(state: Any, step: int | None) -> Schedule | None:
    """Read a torch scheduler's state dict; None where it is none.

    Arguments:
        state: the state dict.
        step: the optimizer's number of updates: a scheduler that counts fewer is stepped once an epoch. Without it
            nothing says what the scheduler counts, and its function is not taken.

    Example:
        >>> saved = {"gamma": 0.5, "step_size": 10, "base_lrs": [0.1], "last_epoch": 20}
        >>> schedule_of(saved, 20).recipes[0].args[1].function
        'optax.exponential_decay'
    """
    if not isinstance(state, Mapping):
        return None
    last = number(_last_epoch(state))
    if not isinstance(last, (int, float)) or isinstance(last, bool) or not abs(last) < 2**63:
        return None
    every = _every(int(last), step)
    updates = "an unknown number of updates" if step is None else f"{step:,} updates"
    rates = [rate for rate in map(number, _list(_base_rates(state))) if isinstance(rate, (int, float))]
    made = [_recipe(state, float(rate)) for rate in rates]
    position = int(last) if step is None else step
    if every is None:
        text = f"the scheduler counts {int(last):,} and the optimizer made {updates}: how often it is stepped is not clear"
        return Schedule(int(last), (), (text,))
    if not made or any(recipe is None for recipe in made):
        return Schedule(position, (), (f"{_why_unknown(state)}; it stands at {int(last):,}",))
    wrapped = [Call("ckpt_flax.transforms.every", (every, recipe)) for recipe in made if recipe is not None]
    return Schedule(position, tuple(wrapped))


def _why_unknown(state: Mapping[str, Any]) -> str:
    """Why a scheduler has no optax schedule."""
    if "num_bad_epochs" in state:
        return "the learning-rate schedule follows a metric, and no count of steps"
    if "lr_lambdas" in state:
        return "the function of the learning-rate schedule is not in its state"
    return "the learning-rate schedule has no counterpart in optax that is known here"


def scheduler_state(position: int, groups: int) -> dict[str, Any]:
    """Return the state with which a `torch.optim.lr_scheduler.LambdaLR` goes on at a position.

    Arguments:
        position: the step at which the schedule is evaluated next.
        groups: the number of parameter groups.
    """
    return {"last_epoch": position, "_step_count": position + 1, "lr_lambdas": [None] * groups}


def _last_epoch(state: Mapping[str, Any]) -> Any:
    """How far a scheduler has come; one that only holds others (ChainedScheduler) as far as its first."""
    inner = _list(state.get("_schedulers"))
    if "last_epoch" not in state and inner and isinstance(inner[0], Mapping):
        return inner[0].get("last_epoch")
    return state.get("last_epoch")


def _every(last: int, step: int | None) -> int | None:
    """How many updates there are to a step of the scheduler; None where the counts do not say."""
    return step // last if step and last > 0 and step % last == 0 else None


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else ()


def _base_rates(state: Mapping[str, Any]) -> Any:
    """The initial rates of the groups; a scheduler that only holds others has those of its first."""
    inner = _list(state.get("_schedulers"))
    return inner[0].get("base_lrs") if inner and isinstance(inner[0], Mapping) else state.get("base_lrs")


def _recipe(state: Mapping[str, Any], rate: float) -> Call | None:
    keys = {str(key) for key in state} - _BOOKKEEPING
    for settings, make in _SCHEDULERS:
        if settings == keys:
            try:
                return make(state, rate)
            except (TypeError, ValueError, ArithmeticError):
                return None
    return None


def _sequential(state: Mapping[str, Any], rate: float) -> Call | None:
    parts = [_recipe(part, rate) for part in _list(state["_schedulers"]) if isinstance(part, Mapping)]
    boundaries = [int(number(value)) for value in _list(state["_milestones"])]
    if None in parts or len(parts) != len(boundaries) + 1:
        return None
    return Call("optax.join_schedules", (parts, boundaries))


def _multi_step(state: Mapping[str, Any], rate: float) -> Call:
    milestones, gamma = state["milestones"], number(state["gamma"])
    counts = milestones if isinstance(milestones, Mapping) else dict.fromkeys(milestones, 1)
    scales = {int(at): float(gamma) ** int(number(times)) for at, times in counts.items()}
    return Call("optax.piecewise_constant_schedule", (rate, scales))


def _cosine(state: Mapping[str, Any], rate: float) -> Call | None:
    lowest, half = float(number(state["eta_min"])), int(number(state["T_max"]))
    return Call("ckpt_flax.transforms.cosine_annealing", (rate, lowest, half)) if half > 0 else None


def _restarts(state: Mapping[str, Any], rate: float) -> Call | None:
    first, times, last, current, length = (
        int(number(state[key])) for key in ("T_0", "T_mult", "last_epoch", "T_cur", "T_i")
    )
    if first < 1 or times < 1:
        return None
    start, period = (last // first * first, first) if times == 1 else (0, first)
    while start + period <= last:
        start, period = start + period, period * times
    has_begun = last >= 0  # within a sequence it waits for its turn
    if has_begun and ((start + current, period) != (last, length) or number(state["T_cur"]) != current):
        return None  # stepped by parts of an epoch
    lowest = float(number(state["eta_min"]))
    return Call("ckpt_flax.transforms.cosine_restarts", (rate, lowest, first, times))


def _linear(state: Mapping[str, Any], rate: float) -> Call:
    start, end = (rate * float(number(state[key])) for key in ("start_factor", "end_factor"))
    return Call("optax.linear_schedule", (start, end, int(number(state["total_iters"]))))


def _constant(state: Mapping[str, Any], rate: float) -> Call:
    factor, total = float(number(state["factor"])), int(number(state["total_iters"]))
    return Call("optax.piecewise_constant_schedule", (rate * factor, {total: 1 / factor}))


def _polynomial(state: Mapping[str, Any], rate: float) -> Call:
    power, total = float(number(state["power"])), int(number(state["total_iters"]))
    return Call("optax.polynomial_schedule", (rate, 0.0, power, total))


def _step(state: Mapping[str, Any], rate: float) -> Call:
    size, gamma = int(number(state["step_size"])), float(number(state["gamma"]))
    return Call("optax.exponential_decay", (rate, size, gamma), {"staircase": True})


def _exponential(state: Mapping[str, Any], rate: float) -> Call:
    return Call("optax.exponential_decay", (rate, 1, float(number(state["gamma"]))))


_SCHEDULERS: Final[tuple[tuple[frozenset[str], Callable[[Mapping[str, Any], float], Call | None]], ...]] = (
    (frozenset({"_schedulers", "_milestones"}), _sequential),
    (frozenset({"step_size", "gamma"}), _step),
    (frozenset({"milestones", "gamma"}), _multi_step),
    (frozenset({"T_max", "eta_min"}), _cosine),
    (frozenset({"T_0", "T_i", "T_mult", "T_cur", "eta_min"}), _restarts),
    (frozenset({"start_factor", "end_factor", "total_iters"}), _linear),
    (frozenset({"factor", "total_iters"}), _constant),
    (frozenset({"power", "total_iters"}), _polynomial),
    (frozenset({"gamma"}), _exponential),
)
"""The settings of each scheduler that is known; one with others is another scheduler."""

_BOOKKEEPING: Final = frozenset(
    [
        "base_lrs",
        "last_epoch",
        "_step_count",
        "_is_initial",
        "_get_lr_called_within_step",
        "_last_lr",
        "verbose",
    ]
)
