"""Expected trees of live torch objects; runs with torch 1.0 to 2.13."""

from __future__ import annotations

import argparse
import collections
from typing import Any

import numpy as np
import torch
from golden import Arr, Opaque, Rec, Special, of

NAMES = {
    "half": "float16",
    "float": "float32",
    "double": "float64",
    "short": "int16",
    "int": "int32",
    "long": "int64",
}


def dtype_name(dtype: Any) -> str:
    """Return the neutral name of a torch dtype."""
    name = str(dtype).replace("torch.", "")
    return NAMES.get(name, name)


def tensor_arr(tensor: Any) -> Arr:
    """Return the elements of a strided tensor in C order, whatever its flags and strides."""
    tensor = tensor.detach()
    if hasattr(tensor, "resolve_conj"):
        tensor = tensor.resolve_conj().resolve_neg()
    name, flat = dtype_name(tensor.dtype), tensor.contiguous().reshape(-1)
    if name == "bfloat16" and not hasattr(flat, "view_as_real"):  # torch 1.6 cannot view as another dtype
        data = (flat.float().numpy().view("<u4") >> 16).astype("<u2").tobytes()
    elif name in ("bfloat16", "uint16", "uint32", "uint64") or name.startswith("float8"):
        data = flat.view(torch.uint8).numpy().tobytes()
    elif name in ("int8", "int16"):  # torch 1.0 hands neither to numpy
        data = np.array(flat.tolist(), name).tobytes()
    else:
        data = flat.numpy().tobytes()
    return Arr(name, tuple(tensor.shape), data)


def type_name(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def neutral(value: Any) -> Any:
    """Return the expected tree of a live object."""
    if isinstance(value, (Arr, Rec, Special, Opaque)):
        return value
    if isinstance(value, torch.Tensor):
        return tensor_arr(value)
    if isinstance(value, np.ndarray):
        return of(value)
    if isinstance(value, collections.OrderedDict):
        entries = {key: neutral(child) for key, child in value.items()}
        return Rec(type_name(value), entries, neutral(dict(vars(value)))) if vars(value) else entries
    if isinstance(value, torch.nn.Module):
        return Rec(
            type_name(value),
            {key: neutral(child) for key, child in value.__getstate__().items()}
            if hasattr(value, "__getstate__") and value.__getstate__() is not None
            else {key: neutral(child) for key, child in vars(value).items()},
        )
    if isinstance(value, argparse.Namespace) or hasattr(type(value), "__dataclass_fields__"):
        return Rec(type_name(value), {key: neutral(child) for key, child in vars(value).items()})
    if type(value) is dict:
        return {key: neutral(child) for key, child in value.items()}
    if type(value) in (list, tuple):
        return type(value)(neutral(child) for child in value)
    if type(value).__name__ == "THNNFunctionBackend":  # torch 1.0: each module holds one, saved as a call
        return Opaque("torch.nn.backends.thnn._get_thnn_function_backend", [])
    return value
