"""Build the state that an optax recipe has, without optax: what `init` makes, with a state's slots and step in it.

The fields and their order are those of optax 0.2.8 (`optax._src.transform`, `optax.transforms`); a test compares each
with the real library.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ckpt_core.arrays import LazyArray
from ckpt_core.dtypes import to_numpy
from ckpt_core.errors import UnsupportedError
from ckpt_core.keypath import join_name
from ckpt_core.layouts.values import array_of
from ckpt_core.optimizers.optax_state import NEUTRAL
from ckpt_core.optimizers.recipe import Call, Name
from ckpt_core.optimizers.state import OptimizerState
from ckpt_core.tree import Record, flatten, map_with_path
from ckpt_core.view import named_weights

__all__ = ["optax_native"]

_TRANSFORM: Final = "optax._src.transform."
_OURS: Final = "ckpt_flax.bridge.transforms."
_EMPTY: Final = "optax._src.base.EmptyState"


def optax_native(state: OptimizerState, recipe: Call, params: Any) -> Any:
    """Return the state that `recipe` continues with.

    Arguments:
        state: a state of optax's conventions, its parameters named.
        recipe: the transformation, as `suggest_optimizer` proposes it.
        params: the tree of parameters that it updates; slots become trees of the same form.

    Raises:
        UnsupportedError: the recipe has a part whose state is not known.
    """
    leaves = [path for path, leaf in flatten(params) if array_of(leaf) is not None]
    names = [join_name(segments) for segments, _, _ in named_weights(params, [()])]
    build = _Build(state, params, dict(zip(leaves, names, strict=True)))
    return build.of(recipe, _Scope(frozenset(names), state.step or 0))


@dataclass(frozen=True)
class _Scope:
    """Which parameters a transformation sees, and how many updates it has made."""

    names: frozenset[str]
    step: int


class _Build:
    def __init__(self, state: OptimizerState, params: Any, names: Mapping[Any, str]) -> None:
        self.state = state
        self.params = params
        self.names = names
        self.slots = state.flat_slots()

    def of(self, call: Call, scope: _Scope) -> Any:
        if call.function == "optax.chain":
            return tuple(self.of(part, scope) for part in call.args)
        if call.function in ("optax.multi_transform", "optax.partition"):
            return self._partitioned(call, scope)
        if call.function == "optax.masked":
            raise UnsupportedError("a masked transformation as a whole has no place in a recipe")
        states = _STATES.get(call.function)
        if states is None:
            raise UnsupportedError(f"the state of {call.function} is not known")
        made = tuple(self._state(spec, call, scope) for spec in states(call))
        return made[0] if call.function in _SINGLE else made

    def _partitioned(self, call: Call, scope: _Scope) -> Record:
        transforms, labels = call.args
        by_label = labels.args[0]
        inner = {}
        for label, part in transforms.items():
            names = frozenset(by_label.get(label, ()))
            steps = [self.state.steps[name] for name in names if name in self.state.steps]
            below = _Scope(names & scope.names, steps[0] if steps else scope.step)
            inner[label] = Record(
                "optax.transforms._masking.MaskedState", {"inner_state": self.of(part, below)}
            )
        return Record("optax.transforms._combining.PartitionState", {"inner_states": inner})

    def _state(self, spec: str, call: Call, scope: _Scope) -> Record:
        name, _, fields = spec.partition(":")
        if name == "EmptyState":
            return Record(_EMPTY)
        if name == "MaskedState":
            return Record("optax.transforms._masking.MaskedState", {"inner_state": Record(_EMPTY)})
        made: dict[str, Any] = {}
        for field in fields.split():
            if field == "count":
                position = (
                    (self.state.schedule or {}).get("count") if name == "ScaleByScheduleState" else None
                )
                count = scope.step if position is None else position
                made[field] = LazyArray.from_numpy(np.asarray(count, np.int32))
            else:
                made[field] = self._slot(field, call, scope)
        module = _MODULES.get(name, _OURS if "Torch" in name else _TRANSFORM)
        return Record(module + name, made)

    def _slot(self, field: str, call: Call, scope: _Scope) -> Any:
        arrays = self.slots.get(NEUTRAL.get(field, field), {})

        def leaf(path: Any, node: Any) -> Any:
            name = self.names.get(path)
            if name is None:
                return node
            if name not in scope.names:
                return Record("optax.transforms._masking.MaskedNode")
            array = array_of(node)
            assert array is not None
            if name in arrays or field not in _FACTORED:
                return arrays[name] if name in arrays else _initial(field, array, call)
            return _hole(field, name, array)

        return map_with_path(leaf, self.params)


_MODULES: Final = {"TraceState": "optax.transforms._accumulation."}
_SINGLE: Final = frozenset(
    ["optax.add_decayed_weights", "optax.scale", "optax.trace", "optax.scale_by_learning_rate"]
    + ["optax.scale_by_rms", "optax.scale_by_stddev", "optax.set_to_zero", "optax.clip_by_global_norm"]
    + ["ckpt_flax.transforms.torch_clip_by_global_norm", "ckpt_flax.transforms.torch_adafactor"]
    + [
        f"ckpt_flax.transforms.scale_by_torch_{rule}"
        for rule in ["amsgrad", "nadam", "radam", "adagrad", "rprop", "muon"]
    ]
)
"""Functions whose state stands alone; that of the others is a tuple."""


def _rate(call: Call) -> str:
    rate = call.kwargs.get("learning_rate", call.args[0] if call.args else None)
    return "ScaleByScheduleState:count" if isinstance(rate, (Call, Name)) else "EmptyState"


def _decay(call: Call) -> str:
    return "MaskedState" if {"mask", "weight_decay_mask"} & set(call.kwargs) else "EmptyState"


def _adam(call: Call) -> tuple[str, ...]:
    return "ScaleByAdamState:count mu nu", _rate(call)


def _adamw(call: Call) -> tuple[str, ...]:
    return "ScaleByAdamState:count mu nu", _decay(call), _rate(call)


def _alone(*specs: str) -> Callable[[Call], tuple[str, ...]]:
    return lambda _: specs


def _rmsprop(call: Call) -> tuple[str, ...]:
    rule = "ScaleByRStdDevState:mu nu" if call.kwargs.get("centered") else "ScaleByRmsState:nu"
    return rule, _rate(call), "EmptyState" if call.kwargs.get("momentum") is None else "TraceState:trace"


_STATES: Final[Mapping[str, Callable[[Call], tuple[str, ...]]]] = {
    **dict.fromkeys(["optax.adam", "optax.nadam", "optax.radam", "optax.adamax"], _adam),
    **dict.fromkeys(["optax.adamw", "optax.nadamw", "optax.adamaxw"], _adamw),
    "optax.amsgrad": lambda call: ("ScaleByAmsgradState:count mu nu nu_max", _rate(call)),
    "optax.sgd": lambda call: (
        "EmptyState" if call.kwargs.get("momentum") is None else "TraceState:trace",
        _rate(call),
    ),
    "optax.rmsprop": _rmsprop,
    "optax.adagrad": lambda call: ("ScaleByRssState:sum_of_squares", _rate(call)),
    "optax.adadelta": lambda call: (_decay(call), "ScaleByAdaDeltaState:e_g e_x", _rate(call)),
    "optax.rprop": _alone("ScaleByRpropState:step_sizes prev_updates", "EmptyState"),
    "optax.lion": lambda call: ("ScaleByLionState:count mu", _decay(call), _rate(call)),
    "optax.add_decayed_weights": lambda call: (_decay(call),),
    "optax.scale_by_learning_rate": lambda call: (_rate(call),),
    "optax.scale": _alone("EmptyState"),
    "optax.trace": _alone("TraceState:trace"),
    "optax.scale_by_rms": _alone("ScaleByRmsState:nu"),
    "optax.scale_by_stddev": _alone("ScaleByRStdDevState:mu nu"),
    "optax.set_to_zero": _alone("EmptyState"),
    "optax.clip_by_global_norm": _alone("EmptyState"),
    "ckpt_flax.transforms.torch_clip_by_global_norm": _alone("EmptyState"),
    "ckpt_flax.transforms.scale_by_torch_amsgrad": _alone("ScaleByTorchAmsgradState:count mu nu max_nu"),
    "ckpt_flax.transforms.scale_by_torch_nadam": _alone("ScaleByTorchNadamState:count mu nu mu_product"),
    "ckpt_flax.transforms.scale_by_torch_radam": _alone("ScaleByTorchRadamState:count mu nu"),
    "ckpt_flax.transforms.scale_by_torch_adagrad": _alone("ScaleByTorchAdagradState:count sum_of_squares"),
    "ckpt_flax.transforms.scale_by_torch_rprop": _alone("ScaleByTorchRpropState:step_sizes prev_grads"),
    "ckpt_flax.transforms.scale_by_torch_muon": _alone("ScaleByTorchMuonState:momentum"),
    "ckpt_flax.transforms.torch_adafactor": _alone("TorchAdafactorState:count row_var col_var variance"),
}


_FACTORED: Final = frozenset({"row_var", "col_var", "variance"})


def _hole(field: str, name: str, param: LazyArray) -> None:
    """Return None, where Adafactor keeps nothing for a parameter of this rank."""
    if (param.ndim < 2) == (field == "variance"):
        raise UnsupportedError(
            f"the state has no {field} of {name}: it is from before Adafactor's first step on it",
            remedy="Make the optimizer anew on the other side.",
        )


def _initial(field: str, param: LazyArray, call: Call) -> LazyArray:
    """Return what `init` puts where the state has nothing: the run is at its beginning."""
    fill: Any = 0
    shape, dtype = param.shape, to_numpy(param.dtype)
    if field == "mu_product":
        fill, shape, dtype = 1, (), np.dtype(np.float32)
    elif field == "sum_of_squares":
        fill = call.kwargs.get("initial_accumulator_value", 0)
    elif field == "step_sizes":
        fill = call.kwargs["learning_rate"]
    return LazyArray.from_numpy(np.full(shape, fill, dtype))
