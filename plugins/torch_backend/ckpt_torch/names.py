"""What torch calls its dtypes and storage classes, in neutral names."""

from __future__ import annotations

from typing import Final, NamedTuple

from ckpt_core.dtypes import ITEMSIZE

__all__ = ["BITS", "DTYPES", "STORAGES", "StorageClass", "storage_class"]

DTYPES: Final = {
    "torch.bool": "bool",
    "torch.uint8": "uint8",
    "torch.int8": "int8",
    "torch.int16": "int16",
    "torch.short": "int16",
    "torch.int32": "int32",
    "torch.int": "int32",
    "torch.int64": "int64",
    "torch.long": "int64",
    "torch.uint16": "uint16",
    "torch.uint32": "uint32",
    "torch.uint64": "uint64",
    "torch.float16": "float16",
    "torch.half": "float16",
    "torch.bfloat16": "bfloat16",
    "torch.float32": "float32",
    "torch.float": "float32",
    "torch.float64": "float64",
    "torch.double": "float64",
    "torch.complex64": "complex64",
    "torch.cfloat": "complex64",
    "torch.complex128": "complex128",
    "torch.cdouble": "complex128",
    "torch.float8_e4m3fn": "float8_e4m3fn",
    "torch.float8_e4m3fnuz": "float8_e4m3fnuz",
    "torch.float8_e5m2": "float8_e5m2",
    "torch.float8_e5m2fnuz": "float8_e5m2fnuz",
    "torch.float8_e8m0fnu": "float8_e8m0fnu",
}
"""torch dtypes that are arrays of numbers here (`torch/_C` dtypes, their long and short names)."""

BITS: Final = {
    "torch.complex32": "uint32",
    "torch.chalf": "uint32",
    "torch.float4_e2m1fn_x2": "uint8",
    "torch.bits8": "uint8",
    "torch.bits16": "uint16",
    "torch.bits1x8": "uint8",
    "torch.bits2x4": "uint8",
    "torch.bits4x2": "uint8",
    "torch.qint8": "int8",
    "torch.quint8": "uint8",
    "torch.qint32": "int32",
    "torch.quint4x2": "uint8",
    "torch.quint2x4": "uint8",
    **{f"torch.{kind}{bits}": "uint8" for kind in ("int", "uint") for bits in range(1, 8)},
}
"""torch dtypes that no array here has, and what their elements are kept as in a Record."""

STORAGES: Final = {
    "BoolStorage": "torch.bool",
    "ByteStorage": "torch.uint8",
    "CharStorage": "torch.int8",
    "ShortStorage": "torch.int16",
    "IntStorage": "torch.int32",
    "LongStorage": "torch.int64",
    "HalfStorage": "torch.float16",
    "BFloat16Storage": "torch.bfloat16",
    "FloatStorage": "torch.float32",
    "DoubleStorage": "torch.float64",
    "ComplexFloatStorage": "torch.complex64",
    "ComplexDoubleStorage": "torch.complex128",
    "QInt8Storage": "torch.qint8",
    "QUInt8Storage": "torch.quint8",
    "QInt32Storage": "torch.qint32",
    "QUInt4x2Storage": "torch.quint4x2",
    "QUInt2x4Storage": "torch.quint2x4",
    "UntypedStorage": "torch.uint8",
    "_UntypedStorage": "torch.uint8",
}
"""Storage classes, by the last part of their name (`torch/storage.py`, `_dtype_to_storage_type_map`)."""


class StorageClass(NamedTuple):
    """What a storage class holds: torch's dtype, the neutral dtype of its bits, and the bytes per element."""

    torch_dtype: str
    dtype: str
    width: int


def storage_class(name: str) -> StorageClass | None:
    """Return what the storage class of that dotted name holds, on any device; None where it is none.

    Example:
        >>> storage_class("torch.cuda.HalfStorage")
        StorageClass(torch_dtype='torch.float16', dtype='float16', width=2)
    """
    module, _, last = name.rpartition(".")
    torch_dtype = STORAGES.get(last) if module == "torch" or module.startswith("torch.") else None
    if torch_dtype is None:
        return None
    dtype = DTYPES.get(torch_dtype) or BITS[torch_dtype]
    return StorageClass(torch_dtype, dtype, ITEMSIZE[dtype])
