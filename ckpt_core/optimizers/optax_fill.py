"""Put a neutral state into an optax state of any structure: whatever chain, masks and wrappers a program built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ckpt_core.arrays import LazyArray
from ckpt_core.dtypes import to_numpy
from ckpt_core.errors import UnsupportedError
from ckpt_core.keypath import join_name
from ckpt_core.layouts.values import array_of
from ckpt_core.optimizers.grouping import FROZEN, settings_of
from ckpt_core.optimizers.kinds import StateSeen, optax_kinds
from ckpt_core.optimizers.optax_members import Member, members, place_of, trace_is_scaled
from ckpt_core.optimizers.state import OptimizerState
from ckpt_core.tree import KeyPath, flatten
from ckpt_core.view import named_weights

__all__ = ["optax_filled"]


def optax_filled(state: OptimizerState, like: Any) -> dict[KeyPath, LazyArray]:
    """Return the arrays that an optax state is to have, by their paths in it.

    Arguments:
        state: a state of optax's conventions, its parameters named.
        like: the tree of an optax state, such as a live `tx.init(params)` gives, its arrays with or without bytes.

    Returns:
        Slots, counts, schedule positions and injected hyperparameters. What the state says nothing of (a limit's
        counters, accumulated gradients) is not in it, and stays as `like` has it.

    Raises:
        UnsupportedError: the structure is another rule's, or keeps other slots than the state has, or for other
            parameters; names all.

    Example:
        >>> like = ({"count": LazyArray.from_numpy(np.zeros((), np.int32))},)
        >>> [array.item() for array in optax_filled(OptimizerState(("sgd",), {}, 7, {}), like).values()]
        [7]
    """
    found = list(members(like))
    kinds = optax_kinds(
        dict.fromkeys(StateSeen(m.fields, m.type_name, place_of(m.path)) for m in found if m.role == "slot")
    )
    if kinds and state.kind and not set(kinds) & set(state.kind):
        raise UnsupportedError(
            f"the optimizer is of another rule ({' or '.join(kinds)}) than the one that continues the state ({', '.join(state.kind)})",
            remedy="suggest_optimizer(state) gives one that does.",
        )
    fill = _Fill(state, trace_is_scaled(found), found)
    for member in found:
        fill.take(member)
    fill.check_groups(found)
    fill.check()
    return fill.made


class _Fill:
    """What goes where, and what does not fit."""

    def __init__(self, state: OptimizerState, scaled: bool | None, found: Sequence[Member]) -> None:
        self.state = state
        self.named = [(m.path, _names(m)) for m in found if m.role == "slot"]
        self.has_mask = any(m.role == "mask" for m in found)
        self.slots = state.flat_slots()
        self.left = {(slot, name) for slot, arrays in self.slots.items() for name in arrays}
        self.made: dict[KeyPath, LazyArray] = {}
        self.problems: list[str] = []
        ours = state.hyperparams.get("trace_is_scaled")
        rate = state.hyperparams.get("learning_rate")
        self.factor = None
        if scaled is not None and ours is not None and scaled != ours:
            if isinstance(rate, (int, float)) and rate:
                self.factor = -float(rate) if scaled else -1 / float(rate)
            else:
                self.problems.append(
                    "the momentum is scaled by the learning rate on one side alone, which is a schedule"
                )

    def take(self, member: Member) -> None:
        if member.role == "slot":
            self._slot(member)
        elif member.role == "count":
            self._number(member, self._step_of(member))
        elif member.role in ("schedule", "injected"):
            self._number(member, (self.state.schedule or {}).get("count", self.state.step))
        elif member.role == "hyperparams":
            self._hyperparams(member)
        elif member.role == "wrapper" and (member.name == "gradient_step" or member.path == ("step",)):
            self._number(member, self.state.step)  # of MultiSteps, and of nnx.Optimizer itself

    def _names_below(self, path: KeyPath) -> list[str]:
        """The parameters of which something is kept below a path."""
        below = [names for place, names in self.named if place[: len(path)] == path]
        return list(dict.fromkeys(name for names in below for name in names))

    def _step_of(self, member: Member) -> int | None:
        """The count of one rule: that of its own parameters, where the state has different ones."""
        names = self._names_below(member.path[:-1])
        counts = {self.state.steps[name] for name in names if name in self.state.steps}
        if len(counts) > 1:
            told = " and ".join(f"{count:,}" for count in sorted(counts))
            self.problems.append(f"{told} updates were made of parameters that it counts together")
        return min(counts, default=self.state.step)

    def _number(self, member: Member, value: int | None) -> None:
        array = _bare_array(member.value)
        if array is not None and value is not None:
            path = _bare_path(member.path, member.value)
            self.made[path] = LazyArray.from_numpy(np.full(array.shape, value, to_numpy(array.dtype)))

    def _slot(self, member: Member) -> None:
        arrays = self.slots.get(member.name, {})
        paths = [path for path, leaf in flatten(member.value) if array_of(leaf) is not None]
        for path, (segments, expected, _) in zip(paths, named_weights(member.value, [()]), strict=True):
            name = join_name(segments)
            array = arrays.get(name)
            if array is None:
                if not self._is_beginning():
                    self.problems.append(f"{member.name} of {name} is not in the state")
                continue
            self.left.discard((member.name, name))
            if array.shape != expected.shape:
                self.problems.append(
                    f"{member.name} of {name} is {list(array.shape)}, not {list(expected.shape)}"
                )
            if member.name == "trace" and self.factor is not None:
                values = array.read()
                array = LazyArray.from_numpy(np.asarray(values * self.factor, values.dtype))
            place = (*member.path, *path)
            self.made[place] = array

    def _is_beginning(self) -> bool:
        """Whether the state is from before the first step, when there may be no slots yet."""
        return not self.state.step and not self.slots

    def _hyperparams(self, member: Member) -> None:
        known = self._settings_of(member)
        for key, node in (member.value or {}).items():
            array, value = _bare_array(node), known.get(key)
            if array is not None and isinstance(value, (int, float)):
                path = _bare_path((*member.path, key), node)
                self.made[path] = LazyArray.from_numpy(np.full(array.shape, value, to_numpy(array.dtype)))

    def _settings_of(self, member: Member) -> Mapping[str, Any]:
        """The hyperparameters of the group whose parameters a transformation is for; else of that of its label."""
        names = self._names_below(member.path[:-1])
        label = "/".join(member.labels)
        groups = [g for g in self.state.groups if set(names) & set(g["params"])] or [
            g for g in self.state.groups if g.get("label") == label
        ]
        own = [settings_of(group) for group in groups]
        if self.has_mask:  # of the weight decay, which the others go without
            own.sort(key=lambda settings: not settings.get("weight_decay"))
            own = [
                {**settings, "weight_decay": settings.get("weight_decay") or own[0].get("weight_decay")}
                for settings in own
            ]
        for key in member.value or {}:
            if len({repr(settings.get(key)) for settings in own}) > 1:
                self.problems.append(f"groups of the state have different {key}, and it has one")
        return {**self.state.hyperparams, **(own[0] if own else {})}

    def check_groups(self, found: Sequence[Member]) -> None:
        """Note groups of different settings that a structure without labels and masks cannot tell apart."""
        moving = [settings_of(g) for g in self.state.groups if g.get("kind") != FROZEN and g["params"]]
        keys = {key for settings in moving for key in settings}
        differ = sorted(key for key in keys if len({repr(settings.get(key)) for settings in moving}) > 1)
        if differ and not self.has_mask and not any(member.labels for member in found):
            self.problems.append(
                f"the state has groups of different {', '.join(differ)}, and it has neither labels nor a mask"
            )

    def check(self) -> None:
        """Raise what does not fit."""
        for slot in sorted({slot for slot, _ in self.left}):
            names = [name for other, name in sorted(self.left) if other == slot]
            shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
            self.problems.append(f"the optimizer keeps no {slot} of {shown}")
        if self.problems:
            more = f"; and {len(self.problems) - 4} more" if len(self.problems) > 4 else ""
            raise UnsupportedError(
                "the optimizer does not fit the state: " + "; ".join(self.problems[:4]) + more,
                remedy="suggest_optimizer(state) gives one that does.",
            )


def _names(member: Member) -> list[str]:
    return [join_name(segments) for segments, _, _ in named_weights(member.value, [()])]


def _bare_array(node: Any) -> LazyArray | None:
    if isinstance(node, Mapping) and set(node) == {"value"}:
        node = node["value"]
    return array_of(node)


def _bare_path(path: KeyPath, node: Any) -> KeyPath:
    return (*path, "value") if isinstance(node, Mapping) and set(node) == {"value"} else path
