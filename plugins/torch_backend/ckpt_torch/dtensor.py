"""Distributed tensors that a program saved as they are: a state dict under FSDP2 or tensor parallelism.

A DTensor is pickled as its local tensor beside its placement on a mesh of devices. Where the local tensor is all of
it (replicated, or on a mesh of one), it is the tensor, and the placement is its state; of a shard, nothing is known
here but the part. `torch/distributed/tensor/_api.py`, `_dtensor_spec.py`; `torch/_utils.py`.
"""

from __future__ import annotations

from typing import Any, Final

from ckpt_core.arrays import LazyArray
from ckpt_core.pickles.constructors import resolve
from ckpt_core.tree import Global, Record
from ckpt_torch.names import DTYPES

__all__ = ["whole_dtensor"]

_ATTRIBUTES: Final = ("_local_tensor", "_spec")
_MAX_AXES: Final = 8
"""Axes that a mesh of devices has."""

_PLACED: Final = frozenset({"Shard", "Replicate", "_StridedShard"})
"""Placements of which each device has values of the tensor; Partial has summands of them."""


def whole_dtensor(kind: str, inner: tuple[Any, ...], state: Any) -> Any:
    """Return a DTensor whose local tensor is all of it, as a Record of the array; else NotImplemented.

    Arguments:
        kind: the name of the class.
        inner: the arguments of `_rebuild_wrapper_subclass`: class, dtype, size, and what else describes the whole.
        state: the attributes, alone or after those that `__dict__` has.
    """
    attributes = state[1] if type(state) is tuple and len(state) == 2 else state
    if (
        not kind.startswith("torch.distributed.")
        or not kind.endswith(".DTensor")
        or type(attributes) is not dict
    ):
        return NotImplemented
    if len(attributes) != len(_ATTRIBUTES):  # a table of any length may be referred to over and over
        return NotImplemented
    local, spec = (resolve(attributes.get(name)) for name in _ATTRIBUTES)
    if not isinstance(local, LazyArray) or not isinstance(spec, Record) or len(inner) < 3:
        return NotImplemented
    dtype, size = inner[1:3]
    if not isinstance(dtype, Global) or DTYPES.get(dtype.name) != local.dtype or size != local.shape:
        return NotImplemented
    placements = resolve(spec.get("placements"))
    if type(placements) is not tuple or len(placements) > _MAX_AXES:
        return NotImplemented
    if not all(_is_placed(resolve(placement)) for placement in placements):
        return NotImplemented
    return Record(kind, {"data": local}, args=inner, state={"_spec": attributes["_spec"]})


def _is_placed(placement: Any) -> bool:
    return isinstance(placement, Record) and placement.type_name.rpartition(".")[2] in _PLACED
