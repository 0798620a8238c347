"""Filling a torch module and its optimizer in place: all of both, or neither.

Everything is read to the CPU first, which costs the bytes of the weights once. Then each tensor changes places with
what was read for it, so that the old values take the same room until nothing can fail any more. Only a module that
changes its own state dict, or how one is loaded, costs them twice.
"""

from __future__ import annotations

import abc
import copy
from collections.abc import Mapping
from typing import Any

import torch

from ckpt_core.arrays import LazyArray
from ckpt_core.errors import UsageError
from ckpt_core.framework import Filled, Filling
from ckpt_core.keypath import split_name
from ckpt_core.tree import plain
from ckpt_torch.bridge.arrays import to_torch, to_torch_tree
from ckpt_torch.bridge.devices import device_named, moved, where_is
from ckpt_torch.bridge.models import entries_of, module_of, named_slots

__all__ = ["fill"]

_MODES = ("eval", "train")

Tensors = Mapping[str, torch.Tensor]
"""Tensors by their dotted names."""


def fill(filling: Filling) -> Filled:
    """Fill a module from arrays by slot name, and its optimizer from a state dict."""
    module, mode = module_of(filling.model), _mode(filling)
    if filling.sharding is not None:
        raise UsageError("a torch module takes device=, not sharding=")
    device = device_named(filling.device)
    live = entries_of(module)
    names = {name: slot.name for name, slot in named_slots(module).items()}
    wanted = {name: filling.weights[names[name]] for name in live if names[name] in filling.weights}
    if any(tensor.is_meta for tensor in live.values()):
        _check_meta(module, live, wanted, filling)
    state = None if filling.state is None else to_torch_tree(filling.state)
    kind: type[_Exchange | _Loading | _Assignment]
    kind = _Loading if _loads_itself(module, live) else _Exchange
    if any(live[name].is_meta for name in wanted):
        kind = _Assignment
    changes: list[_Change] = [kind(module, live, _staged(live, wanted)), _ExtraStates(module, filling.extra)]
    changes += [_Stepping(live_one, saved) for live_one, saved in filling.stepping]
    try:
        for change in changes:
            change.apply()
        if device is not None:
            moved(module, device)
        if state is not None:
            filling.optimizer.load_state_dict(state)  # replaces its state at the end, or not at all
    except BaseException:
        for change in reversed(changes):
            change.undo()
        raise
    module.train(mode == "train")
    trainable = frozenset(names[name] for name, tensor in entries_of(module).items() if tensor.requires_grad)
    other = "eval" if mode == "train" else "train"
    return Filled(module, filling.optimizer, where_is(module), mode, trainable, f"model.{other}()")


def _mode(filling: Filling) -> str:
    mode = filling.mode or ("eval" if filling.state is None else "train")
    if mode not in _MODES:
        raise UsageError(f"mode={mode!r}", remedy='It is "eval" or "train".')
    return mode


def _staged(live: Tensors, wanted: Mapping[str, LazyArray]) -> dict[str, torch.Tensor]:
    """Read everything to the CPU, in the model's dtypes; tied arrays once."""
    made: dict[Any, torch.Tensor] = {}
    staged = {}
    for name, array in wanted.items():
        key = array.identity or id(array), live[name].dtype
        if key not in made:
            made[key] = to_torch(array).to(live[name].dtype)
        staged[name] = made[key]
    return staged


# Ways to put tensors in place, staged on the CPU; each can be undone.


class _Change(abc.ABC):
    """Puts something in place in a module, and takes it back."""

    @abc.abstractmethod
    def apply(self) -> None:
        """Put the tensors in place."""

    @abc.abstractmethod
    def undo(self) -> None:
        """Put back what was there, whether `apply` came to its end or not."""


class _Exchange(_Change):
    """Copy values, and keep the old ones in the room of those that are in place already."""

    def __init__(self, module: torch.nn.Module, live: Tensors, staged: Tensors) -> None:
        first: dict[int, str] = {}
        for name in staged:
            first.setdefault(id(live[name]), name)
        self._pairs = [(live[name], staged[name]) for name in first.values()]
        self._old: list[tuple[torch.Tensor, torch.Tensor]] = []

    def apply(self) -> None:
        with torch.no_grad():
            while self._pairs:
                target, new = self._pairs.pop()
                old = target.detach().to("cpu", copy=True)
                self._old.append((target, old))
                target.copy_(new)

    def undo(self) -> None:
        with torch.no_grad():
            for target, old in self._old:
                target.copy_(old)


class _Loading(_Change):
    """A module that has a say in how it is loaded: its own `load_state_dict`, and a copy of all it had."""

    def __init__(self, module: torch.nn.Module, live: Tensors, staged: Tensors) -> None:
        self._module = module
        self._staged = staged
        self._old = {name: tensor.detach().to("cpu", copy=True) for name, tensor in live.items()}

    def apply(self) -> None:
        self._module.load_state_dict({**self._old, **self._staged}, strict=False)

    def undo(self) -> None:
        self._module.load_state_dict(self._old, strict=False)


class _Assignment(_Change):
    """A module on the meta device gets the tensors themselves; tied ones stay one parameter."""

    def __init__(self, module: torch.nn.Module, live: Tensors, staged: Tensors) -> None:
        made: dict[int, torch.Tensor] = {}
        for name, tensor in staged.items():
            own = live[name]
            is_parameter = isinstance(own, torch.nn.Parameter)
            made.setdefault(
                id(own), torch.nn.Parameter(tensor, own.requires_grad) if is_parameter else tensor
            )
        self._module = module
        self._new = {name: made[id(live[name])] for name in staged}
        self._old = dict(live)

    def apply(self) -> None:
        self._module.load_state_dict(self._new, strict=False, assign=True)

    def undo(self) -> None:
        self._module.load_state_dict(self._old, strict=False, assign=True)


class _ExtraStates(_Change):
    """What modules keep besides their tensors, put back by `set_extra_state`."""

    def __init__(self, module: torch.nn.Module, states: Mapping[str, Any]) -> None:
        parts = dict(module.named_modules(remove_duplicate=False))
        self._new = {
            parts[".".join(split_name(name)[:-1])]: to_torch_tree(plain(state))
            for name, state in states.items()
        }
        self._old: dict[torch.nn.Module, Any] = {}

    def apply(self) -> None:
        for part, state in self._new.items():
            self._old[part] = copy.deepcopy(part.get_extra_state())
            part.set_extra_state(state)

    def undo(self) -> None:
        for part, state in self._old.items():
            part.set_extra_state(state)


class _Stepping(_Change):
    """The state of a scheduler or a gradient scaler, which is small and touches nothing else."""

    def __init__(self, live: Any, state: Any) -> None:
        self._live = live
        self._new = to_torch_tree(plain(state))
        self._old = copy.deepcopy(live.state_dict())

    def apply(self) -> None:
        self._live.load_state_dict(self._new)

    def undo(self) -> None:
        self._live.load_state_dict(self._old)


def _loads_itself(module: torch.nn.Module, live: Tensors) -> bool:
    """Say whether a part of the module changes what a state dict is, or how one is loaded."""
    own = {id(tensor) for tensor in (*module.parameters(), *module.buffers())}
    if any(id(tensor) not in own for tensor in live.values()):
        return True
    return any(
        part._load_state_dict_pre_hooks  # noqa: SLF001  # there is no public way to ask
        or part._load_state_dict_post_hooks  # noqa: SLF001
        or not type(part)._load_from_state_dict.__module__.startswith("torch.")  # noqa: SLF001
        for part in module.modules()
    )


def _check_meta(
    module: torch.nn.Module, live: Tensors, wanted: Mapping[str, LazyArray], filling: Filling
) -> None:
    if filling.optimizer is not None:
        raise UsageError(
            "the model is on the meta device, and gets new parameters when it is filled",
            remedy="Restore it alone, make the optimizer, then restore both.",
        )
    hollow = [name for name, tensor in live.items() if tensor.is_meta and name not in wanted]
    hollow += [name for name, tensor in module.named_buffers() if tensor.is_meta and name not in live]
    if hollow:
        raise UsageError(
            f"{len(hollow)} arrays on the meta device would get no value: {', '.join(hollow[:5])}",
            remedy="Buffers that are not saved need their values from the code: make the model on the CPU.",
        )
