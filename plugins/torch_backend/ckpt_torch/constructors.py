"""The functions and classes by which torch's pickles make tensors, as constructors of lazy arrays.

What each one takes: `torch/_utils.py`, `torch/_tensor.py`, `torch/nn/parameter.py`, `torch/jit/_pickle.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from ckpt_core.arrays import LazyArray
from ckpt_core.pickles import Constructor
from ckpt_core.pickles.constructors import holds_inert, malformed, resolve
from ckpt_core.tree import Global, Record
from ckpt_torch.dtensor import whole_dtensor
from ckpt_torch.names import DTYPES
from ckpt_torch.tensors import StorageArray, Tensors, are_ints

__all__ = ["rebuild_tensor", "tensor_constructors"]

Args = tuple[Any, ...]

_TABLES: Final = (dict, type(None))
_GRAPH_MODULE: Final = "torch.fx.graph_module.reduce_graph_module"
_WRAPPER: Final = "torch._utils._rebuild_wrapper_subclass"
_STATEFUL: Final = frozenset(
    {"torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer", "torch.autograd.variable.Variable"}
)
_TENSORS: Final = frozenset({"torch.Tensor", "torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer"})
_BOOKKEEPING: Final = frozenset({"persistent", "_is_buffer"})
"""What `torch.nn.Buffer` notes on a tensor; modules say the same by where they keep it."""


def tensor_constructors(tensors: Tensors) -> dict[str, Constructor]:
    """Return what the pickles of a file may construct over its storages, by the dotted name they give it."""
    return {
        **{name: Constructor(partial(call, tensors)) for name, call in _OVER_STORAGES.items()},
        **{name: Constructor(call, _keep if name in _STATEFUL else None) for name, call in _PLAIN.items()},
        _GRAPH_MODULE: Constructor(_graph_module, copies=True),
    }


# Calls that make tensors over storages.


def rebuild_tensor(tensors: Tensors, args: Args) -> Any:
    if len(args) < 4 or type(args[0]) is not StorageArray:
        return malformed("a tensor", args)
    flags = args[6] if len(args) > 6 else None
    array = tensors.window(args[0], args[1], args[2], args[3], None, flags)
    return array if len(args) < 6 else _beside(array, args[4], args[5], flags)


def _rebuild_tensor_v3(tensors: Tensors, args: Args) -> Any:
    if len(args) < 7 or type(args[0]) is not StorageArray or not isinstance(args[6], Global):
        return malformed("a tensor", args[:6])
    flags = args[7] if len(args) > 7 else None
    array = tensors.window(args[0], args[1], args[2], args[3], args[6].name, flags)
    return _beside(array, args[4], args[5], flags)


def _rebuild_qtensor(tensors: Tensors, args: Args) -> Any:
    if len(args) < 5 or type(args[0]) is not StorageArray:
        return malformed("a quantized tensor", args)
    values = tensors.window(*args[:4])
    if values is NotImplemented:
        return NotImplemented
    fields = values if isinstance(values, Record) else {"dtype": Global(args[0].torch_dtype), "bits": values}
    return Record("torch._utils._rebuild_qtensor", {**fields, "quantizer": args[4]})


def _rebuild_from_type(tensors: Tensors, args: Args) -> Any:
    if len(args) != 4 or not all(isinstance(arg, Global) for arg in args[:2]) or type(args[2]) is not tuple:
        return NotImplemented
    function, kind, inner, state = *args[:3], resolve(args[3])
    data: Any = NotImplemented
    if function.name == _WRAPPER:
        return whole_dtensor(kind.name, inner, state)
    if function.name in _PLAIN:
        data = _PLAIN[function.name](inner)
    elif function.name in _OVER_STORAGES and _OVER_STORAGES[function.name] is not _rebuild_from_type:
        data = _OVER_STORAGES[function.name](tensors, inner)
    if data is NotImplemented:
        return NotImplemented
    if kind.name in _TENSORS and (not state or (isinstance(state, dict) and state.keys() <= _BOOKKEEPING)):
        return data
    return _with_state(kind.name, data, state)


def _load_from_bytes(tensors: Tensors, args: Args) -> Any:
    return NotImplemented if tensors.open_bytes is None or len(args) != 1 else tensors.open_bytes(args[0])


# Calls that need no storage.


def _keep(value: Any, state: Any) -> Any:
    """Restoring a state into a finished tensor (requires_grad, hooks) changes nothing that is kept."""
    return _with_state("torch.Tensor", value, state) if holds_inert(state) else value


def _beside(array: Any, requires_grad: Any, hooks: Any, flags: Any) -> Any:
    """Keep what stands beside the window of a tensor and is not what torch writes: hooks, or a call in their place."""
    is_usual = type(requires_grad) in (bool, int) and type(hooks) in _TABLES and not hooks
    if is_usual and type(flags) in _TABLES:
        return array
    beside = (requires_grad, hooks, flags)
    if not hooks:
        malformed("what stands beside a tensor", beside)
    return array if array is NotImplemented else _with_state("torch.Tensor", array, beside)


def _first(args: Args) -> Any:
    value = resolve(args[0]) if args else None
    return value if isinstance(value, (LazyArray, Record, list, tuple, dict)) else NotImplemented


def _layout(args: Args) -> Any:
    return Global(args[0]) if len(args) == 1 and type(args[0]) is str else NotImplemented


def _size(args: Args) -> Any:
    return tuple(args[0]) if len(args) == 1 and are_ints(args[0]) else NotImplemented


def _with_state(kind: str, data: Any, state: Any) -> Record:
    return Record(kind, {"data": data}, state=state or None)


def _parameter(args: Args) -> Any:
    """_rebuild_parameter(data, requires_grad, backward_hooks), of which the hooks are always empty."""
    data = _first(args)
    if data is NotImplemented or not holds_inert(args[1:]):
        return data
    return _with_state("torch.nn.parameter.Parameter", data, args[1:])


def _parameter_with_state(args: Args) -> Any:
    if len(args) != 4:
        return malformed("a parameter", args)
    data, state = _parameter(args[:3]), resolve(args[3])
    if data is NotImplemented:
        return NotImplemented
    return _with_state("torch.nn.parameter.Parameter", data, state) if state else data


def _graph_module(args: Args) -> Any:
    """reduce_graph_module(attributes, imports): a traced module; its code is made anew from its text, here never."""
    attributes = resolve(args[0]) if len(args) == 2 else None
    return Record(_GRAPH_MODULE, attributes, args=args[1:]) if type(attributes) is dict else NotImplemented


def _record(name: str, fields: Sequence[str]) -> Callable[[Args], Any]:
    def call(args: Args) -> Any:
        if len(args) > len(fields):
            return NotImplemented
        return Record(name, zip(fields, args, strict=False))

    return call


_rebuild_meta_tensor = _record(
    "torch._utils._rebuild_meta_tensor_no_storage", ("dtype", "size", "stride", "requires_grad")
)
_rebuild_nested_tensor = _record(
    "torch._utils._rebuild_nested_tensor", ("buffer", "sizes", "strides", "storage_offsets")
)


def _rebuild_sparse_tensor(args: Args) -> Any:
    if len(args) != 2 or type(args[1]) is not tuple:
        return NotImplemented
    layout, data = args
    kind = layout.name if isinstance(layout, Global) else ""
    fields: tuple[str, ...] = ("indices", "values", "size", "is_coalesced")
    if kind != "torch.sparse_coo":
        fields = ("compressed_indices", "plain_indices", "values", "size")
    if len(data) > len(fields):
        return NotImplemented
    return Record(
        "torch._utils._rebuild_sparse_tensor", {"layout": layout, **dict(zip(fields, data, strict=False))}
    )


def _device_tensor(args: Args) -> Any:
    if len(args) < 2 or not isinstance(args[0], LazyArray) or not isinstance(args[1], Global):
        return NotImplemented
    if DTYPES.get(args[1].name) == args[0].dtype:
        return args[0]
    return Record("torch._utils._rebuild_device_tensor_from_numpy", {"dtype": args[1], "data": args[0]})


_OVER_STORAGES: Final[Mapping[str, Callable[[Tensors, Args], Any]]] = {
    "torch._utils._rebuild_tensor": rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": rebuild_tensor,
    "torch._utils._rebuild_tensor_v3": _rebuild_tensor_v3,
    "torch._utils._rebuild_qtensor": _rebuild_qtensor,
    "torch._tensor._rebuild_from_type_v2": _rebuild_from_type,
    "torch._tensor._rebuild_from_type": _rebuild_from_type,
    "torch.tensor._rebuild_from_type_v2": _rebuild_from_type,
    "torch.storage._load_from_bytes": _load_from_bytes,
}

_PLAIN: Final[Mapping[str, Callable[[Args], Any]]] = {
    "torch._utils._rebuild_sparse_tensor": _rebuild_sparse_tensor,
    "torch._utils._rebuild_nested_tensor": _rebuild_nested_tensor,
    "torch._utils._rebuild_meta_tensor_no_storage": _rebuild_meta_tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter_with_state,
    "torch._utils._rebuild_device_tensor_from_numpy": _device_tensor,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _device_tensor,
    "torch._utils._rebuild_xla_tensor": _device_tensor,
    "torch.serialization._get_layout": _layout,
    "torch.Size": _size,
    "torch.nn.parameter.Parameter": _first,
    "torch.nn.parameter.Buffer": _first,
    "torch.autograd.variable.Variable": _first,
    "torch.jit._pickle.build_intlist": _first,
    "torch.jit._pickle.build_doublelist": _first,
    "torch.jit._pickle.build_boollist": _first,
    "torch.jit._pickle.build_tensorlist": _first,
    "torch.jit._pickle.restore_type_tag": _first,
}
