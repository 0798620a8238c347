"""The functions and classes by which torch's pickles make tensors, as constructors of lazy arrays.

What each one takes: `torch/_utils.py`, `torch/_tensor.py`, `torch/nn/parameter.py`, `torch/jit/_pickle.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from ckpt_core.arrays import MAX_DIMENSIONS, LazyArray, Piece, contiguous_strides
from ckpt_core.dtypes import ITEMSIZE
from ckpt_core.errors import DamagedFileError
from ckpt_core.pickles import Constructor
from ckpt_core.pickles.constructors import holds_inert, malformed, resolve
from ckpt_core.storage import Storage
from ckpt_core.tree import Global, Record
from ckpt_torch.names import BITS, DTYPES, StorageClass, storage_class
from ckpt_torch.views import Variants

__all__ = ["OpenBytes", "StorageArray", "Tensors", "text_of"]

Args = tuple[Any, ...]
OpenBytes = Callable[[Any], Any]

_SEQUENCES: Final = (tuple, list)
_TABLES: Final = (dict, type(None))

_UNTYPED: Final = "torch.uint8"
_STATEFUL: Final = frozenset(
    {"torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer", "torch.autograd.variable.Variable"}
)


_TENSORS: Final = frozenset({"torch.Tensor", "torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer"})
_BOOKKEEPING: Final = frozenset({"persistent", "_is_buffer"})
"""What `torch.nn.Buffer` notes on a tensor; modules say the same by where they keep it."""


class StorageArray(LazyArray):
    """A torch storage: a one-dimensional array that tensors are windows of.

    Raises:
        DamagedFileError: its elements do not lie within the bytes.
    """

    __slots__ = ("torch_dtype",)

    def __init__(self, kind: StorageClass, numel: int, raw: Storage, offset: int = 0) -> None:
        if numel < 0 or offset < 0 or offset + numel * kind.width > raw.nbytes:
            raise DamagedFileError(
                f"a storage of {numel} elements at {offset} lies outside of its {raw.nbytes} bytes"
            )
        self.shape = (numel,)
        self.dtype = kind.dtype
        self.pieces = (Piece(raw, offset),)
        self.torch_dtype = kind.torch_dtype


class _Extent(Storage):
    """A length without bytes, to check windows against."""

    __slots__ = ()

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes

    def read_into(self, offset: int, buffer: memoryview) -> None:
        raise DamagedFileError("has no bytes")


class Tensors:
    """What torch's pickles may construct, over the storages of one file.

    Arguments:
        swapped: the storages are in the other byte order.
        open_bytes: opens a torch file that lies as bytes inside of a pickle; None leaves it as it is.
    """

    def __init__(self, *, swapped: bool = False, open_bytes: OpenBytes | None = None) -> None:
        self._swapped = swapped
        self._open_bytes = open_bytes
        self._variants = Variants()
        self._kinds: dict[int, tuple[StorageClass, Any]] = {}

    # Storages.

    def kind(self, kind: Any) -> StorageClass:
        """Return what a storage class holds, given the global; raises DamagedFileError where it is none."""
        known = self._kinds.get(id(kind))
        if known is None:
            found = storage_class(kind.name) if isinstance(kind, Global) else None
            if found is None:
                raise DamagedFileError("a storage is of a type that is no storage class")
            known = self._kinds[id(kind)] = found, kind
        return known[0]

    def storage(self, kind: StorageClass, raw: Storage, numel: int, offset: int = 0) -> StorageArray:
        """Return `numel` elements of `raw` from a byte offset on.

        Raises:
            DamagedFileError: they do not lie within `raw`.
        """
        if self._swapped:
            raw = self._variants.swapped(raw, kind.dtype)
        return StorageArray(kind, numel, raw, offset)

    # Tensors.

    def window(
        self,
        storage: StorageArray,
        offset: Any,
        size: Any,
        stride: Any,
        torch_dtype: str | None = None,
        flags: Any = None,
    ) -> Any:
        """Return the window of a storage that a tensor is; offset and strides count elements.

        Returns:
            A LazyArray, or a Record with the bits of a dtype that arrays do not have; NotImplemented where a call
            that was not made stands for a number.

        Raises:
            DamagedFileError: it does not lie within the storage.
        """
        torch_dtype = torch_dtype or storage.torch_dtype
        dtype = DTYPES.get(torch_dtype)
        bits = dtype or BITS.get(torch_dtype)
        if bits is None:
            raise DamagedFileError(f"a tensor has the unknown dtype {torch_dtype[:200]}")
        is_contiguous = _is_contiguous(size, stride)
        if type(offset) is not int or offset < 0 or is_contiguous is None:
            if holds_inert((offset, size, stride)):
                return NotImplemented
            raise DamagedFileError("the offset, size or stride of a tensor is not made of integers")
        shape = tuple(size)
        strides = None if is_contiguous else tuple([step * ITEMSIZE[bits] for step in stride])
        raw, base, _, _ = storage.pieces[0]
        start = offset * ITEMSIZE[bits]
        if 0 in shape:  # the offset of an empty view may lie anywhere, and means nothing
            start, strides = 0, None
        if raw.nbytes != storage.shape[0] * ITEMSIZE[storage.dtype]:
            LazyArray(shape, bits, _Extent(storage.nbytes), start, strides)
        if self._swapped and storage.torch_dtype == _UNTYPED:
            raw = self._variants.swapped(raw, bits)
        if flags and isinstance(flags, dict):
            if flags.get("conj"):
                raw = self._variants.conjugated(raw, bits)
            if flags.get("neg"):
                raw = self._variants.negated(raw, bits)
        array = LazyArray(shape, bits, raw, base + start, strides)
        if dtype is None:
            return Record("torch.Tensor", {"dtype": Global(torch_dtype), "bits": array})
        return array

    def whole(self, storage: Any, shape: tuple[int, ...]) -> Any:
        """Return all of a storage as one tensor in C order, of a shape with as many elements."""
        if type(storage) is not StorageArray:
            return NotImplemented
        if self._swapped or DTYPES.get(storage.torch_dtype) != storage.dtype:
            return self.window(storage, 0, shape, contiguous_strides(shape, 1))
        return LazyArray.filling(shape, storage.dtype, storage.pieces)

    # The table.

    def constructors(self) -> dict[str, Constructor]:
        """Return what the pickles of this file may construct, by the dotted name they give it."""
        calls: dict[str, Callable[[Args], Any]] = {
            "torch._utils._rebuild_tensor": self.rebuild,
            "torch._utils._rebuild_tensor_v2": self.rebuild,
            "torch._utils._rebuild_tensor_v3": self._rebuild_tensor_v3,
            "torch._utils._rebuild_qtensor": self._rebuild_qtensor,
            "torch._utils._rebuild_sparse_tensor": _rebuild_sparse_tensor,
            "torch._utils._rebuild_nested_tensor": _rebuild_nested_tensor,
            "torch._utils._rebuild_meta_tensor_no_storage": _rebuild_meta_tensor,
            "torch._utils._rebuild_parameter": _parameter,
            "torch._utils._rebuild_parameter_with_state": _parameter_with_state,
            "torch._utils._rebuild_device_tensor_from_numpy": _device_tensor,
            "torch._utils._rebuild_device_tensor_from_cpu_tensor": _device_tensor,
            "torch._utils._rebuild_xla_tensor": _device_tensor,
            "torch._tensor._rebuild_from_type_v2": self._rebuild_from_type,
            "torch._tensor._rebuild_from_type": self._rebuild_from_type,
            "torch.tensor._rebuild_from_type_v2": self._rebuild_from_type,
            "torch.storage._load_from_bytes": self._load_from_bytes,
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
        self._calls = calls
        return {name: Constructor(call, _keep if name in _STATEFUL else None) for name, call in calls.items()}

    def rebuild(self, args: Args) -> Any:
        if len(args) < 4 or type(args[0]) is not StorageArray:
            return malformed("a tensor", args)
        flags = args[6] if len(args) > 6 else None
        array = self.window(args[0], args[1], args[2], args[3], None, flags)
        return array if len(args) < 6 else _beside(array, args[4], args[5], flags)

    def _rebuild_tensor_v3(self, args: Args) -> Any:
        if len(args) < 7 or type(args[0]) is not StorageArray or not isinstance(args[6], Global):
            return malformed("a tensor", args[:6])
        flags = args[7] if len(args) > 7 else None
        array = self.window(args[0], args[1], args[2], args[3], args[6].name, flags)
        return _beside(array, args[4], args[5], flags)

    def _rebuild_qtensor(self, args: Args) -> Any:
        if len(args) < 5 or type(args[0]) is not StorageArray:
            return malformed("a quantized tensor", args)
        values = self.window(*args[:4])
        if values is NotImplemented:
            return NotImplemented
        fields = (
            values if isinstance(values, Record) else {"dtype": Global(args[0].torch_dtype), "bits": values}
        )
        return Record("torch._utils._rebuild_qtensor", {**fields, "quantizer": args[4]})

    def _rebuild_from_type(self, args: Args) -> Any:
        if (
            len(args) != 4
            or not all(isinstance(arg, Global) for arg in args[:2])
            or type(args[2]) is not tuple
        ):
            return NotImplemented
        function, kind, inner, state = *args[:3], resolve(args[3])
        call = self._calls.get(function.name)
        data = call(inner) if call is not None and call != self._rebuild_from_type else NotImplemented
        if data is NotImplemented:
            return NotImplemented
        if kind.name in _TENSORS and (
            not state or (isinstance(state, dict) and state.keys() <= _BOOKKEEPING)
        ):
            return data
        return _with_state(kind.name, data, state)

    def _load_from_bytes(self, args: Args) -> Any:
        return NotImplemented if self._open_bytes is None or len(args) != 1 else self._open_bytes(args[0])


def text_of(value: Any) -> Any:
    """Return a text that Python 2 wrote as bytes; anything else as it is."""
    return value.decode("latin1") if isinstance(value, bytes) else value


def _are_ints(values: Any) -> bool:
    if type(values) not in _SEQUENCES or len(values) > MAX_DIMENSIONS:
        return False
    return all([type(value) is int for value in values])


def _is_contiguous(size: Any, stride: Any) -> bool | None:
    """Say whether elements lie in C order without gaps; None where size or stride is not made of integers."""
    if type(size) not in _SEQUENCES or type(stride) not in _SEQUENCES or len(size) > MAX_DIMENSIONS:
        return None
    if len(size) != len(stride):
        return False if _are_ints(size) and _are_ints(stride) else None
    is_contiguous, expected = True, 1
    for length, step in zip(reversed(size), reversed(stride), strict=True):
        if type(length) is not int or type(step) is not int:
            return None
        if step != expected and length > 1:
            is_contiguous = False
        expected *= length or 1
    return is_contiguous


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
    return tuple(args[0]) if len(args) == 1 and _are_ints(args[0]) else NotImplemented


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
