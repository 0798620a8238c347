"""What a torch module expects and holds, under the names of its state dict."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from ckpt_core.arrays import ArraySpec
from ckpt_core.errors import UnsupportedError, UsageError
from ckpt_core.extra_state import is_extra_state
from ckpt_core.framework import Slot, Template
from ckpt_core.keypath import join_name
from ckpt_core.live import tree_of
from ckpt_core.slots import abstract, slots_of
from ckpt_core.storage import AbstractStorage
from ckpt_torch.bridge import schedulers
from ckpt_torch.bridge.arrays import neutral_dtype
from ckpt_torch.bridge.layers import layers_of

__all__ = [
    "described",
    "entries_of",
    "model_state",
    "module_of",
    "named_slots",
    "optimizer_state",
    "owns",
    "spec",
    "template",
]

_KINDS = (torch.nn.Module, torch.optim.Optimizer, torch.Tensor, *schedulers.KINDS)


def owns(value: object) -> bool:
    """Say whether a value is a module, an optimizer, a scheduler or a tensor, or the class of one."""
    return isinstance(value, _KINDS) or (inspect.isclass(value) and issubclass(value, _KINDS))


def spec(value: object) -> ArraySpec | None:
    """Return the shape and dtype of a tensor on any device, the meta device included.

    Raises:
        UsageError: it is a parameter of a lazy layer, which has no shape yet.
        UnsupportedError: it has a dtype that arrays do not have.
    """
    if not isinstance(value, torch.Tensor):
        return None
    if isinstance(value, (UninitializedBuffer, UninitializedParameter)):
        raise UsageError(
            "belongs to a lazy layer, which has no shape yet",
            remedy="Run one batch through the model first: a lazy layer takes its shapes from the data.",
        )
    return ArraySpec(tuple(value.shape), neutral_dtype(value))


def template(model: object) -> Template:
    """Return what a module's state dict has: names, shapes, dtypes, ties, and the layers that hold them.

    Buffers that are not persistent are no part of it. The free-form states of modules are known by name alone.

    Raises:
        UsageError: it is no module, or has lazy layers that were never run; says what to do.
    """
    module = module_of(model)
    state = module.state_dict(keep_vars=True)
    extra = tuple(join_name(tuple(name.split("."))) for name in state if is_extra_state(name))
    return Template(tuple(named_slots(module, _tensors(state)).values()), "torch", extra=extra)


def named_slots(
    module: torch.nn.Module, entries: Mapping[str, torch.Tensor] | None = None
) -> dict[str, Slot]:
    """Return the slot of each tensor of a module's state dict by its dotted name.

    Arguments:
        module: the module.
        entries: what `entries_of` returns, where it is known already.
    """
    entries = entries_of(module) if entries is None else entries
    owners = layers_of(module, entries)
    buffers = {name for name, _ in module.named_buffers(remove_duplicate=False)}
    tree: dict[str, Any] = {}
    storages: dict[Any, AbstractStorage] = {}
    for name, tensor in entries.items():
        found = _spec_of(name, tensor)
        storage = storages.setdefault(_window(tensor, found), AbstractStorage(found.nbytes))
        tree[name] = abstract(found, storage)
    slots = slots_of(
        tree,
        roles={(name,): "buffer" if name in buffers else "param" for name in tree},
        layers={(name,): layer for name, layer in owners.items()},
    )
    return {path[0]: slot for path, slot in slots.items()}


def entries_of(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return the live tensors of a module's state dict by their dotted names, in order."""
    return _tensors(module.state_dict(keep_vars=True))


def _tensors(state: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    return {
        name: value
        for name, value in state.items()
        if isinstance(value, torch.Tensor) and not is_extra_state(name)
    }


def model_state(model: object) -> Any:
    """Return a module's state dict as a tree, its tensors as LazyArrays over the same memory."""
    module = module_of(model)
    for name, tensor in entries_of(module).items():
        _spec_of(name, tensor)
        if tensor.is_meta:
            raise UsageError(
                "has no values: it is on the meta device",
                place=name,
                remedy="Fill the model first: restore(CHECKPOINT, model, device=...).",
            )
    return tree_of(module.state_dict())


def optimizer_state(optimizer: object) -> Any:
    """Return an optimizer's state dict as a tree, its tensors as LazyArrays over the same memory."""
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise UsageError(
            f"{described(optimizer)} is no torch optimizer",
            remedy="Make one: torch.optim.AdamW(model.parameters(), lr=...).",
        )
    return tree_of(optimizer.state_dict())


def module_of(model: object) -> torch.nn.Module:
    """Return the model; raises UsageError where it is no module."""
    if isinstance(model, torch.nn.Module):
        return model
    if inspect.isclass(model):
        raise UsageError(
            f"{model.__name__} is a class, not a model",
            remedy=f"Make one first: model = {model.__name__}(...).",
        )
    raise UsageError(f"{described(model)} is no torch module", remedy="Pass a torch.nn.Module.")


def described(value: object) -> str:
    """Return what a value is, for a sentence."""
    kind = value if inspect.isclass(value) else type(value)
    return f"the class {kind.__qualname__}" if kind is value else f"a {kind.__module__}.{kind.__qualname__}"


def _spec_of(name: str, tensor: torch.Tensor) -> ArraySpec:
    try:
        found = spec(tensor)
    except (UsageError, UnsupportedError) as error:
        error.place = name
        raise
    assert found is not None
    return found


def _window(tensor: torch.Tensor, found: ArraySpec) -> Any:
    """What tied tensors have in common: the storage (also one on the meta device), and the window of it."""
    if not tensor.numel() or tensor.layout is not torch.strided:
        return id(tensor)
    storage = tensor.untyped_storage()._cdata  # noqa: SLF001  # its identity, as torch.save takes it
    return storage, tensor.storage_offset(), tuple(tensor.stride()), found
