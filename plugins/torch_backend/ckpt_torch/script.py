"""TorchScript archives of torch 1.0 to 1.3: `model.json` names the parameters, `tensors/N` holds their bytes.

Format: `caffe2/proto/torch.proto` of torch 1.0, written as JSON. The code is never touched.
"""

from __future__ import annotations

import json
from typing import Any, Final

from ckpt_core.arrays import LazyArray
from ckpt_core.backend import Stored
from ckpt_core.dtypes import ITEMSIZE
from ckpt_core.errors import DamagedFileError
from ckpt_core.storage import Storage
from ckpt_core.tree import Record
from ckpt_core.zips import Zip

__all__ = ["old_script_root", "open_old_script"]

_DTYPES: Final = {
    "FLOAT": "float32",
    "DOUBLE": "float64",
    "FLOAT16": "float16",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "UINT8": "uint8",
    "BYTE": "uint8",
    "BOOL": "bool",
}
"""Data types of `caffe2/proto/caffe2.proto`."""

_MAX_JSON: Final = 1 << 28
_NOTE: Final = (
    "A TorchScript program of torch 1.0 to 1.3: its parameters are read, its code and attributes are not."
)


def old_script_root(archive: Zip) -> str | None:
    """Return the directory that holds such a program, or None."""
    roots = [name[:-11] for name in archive.entries if name.endswith("/model.json") and name.count("/") == 1]
    if len(roots) != 1 or f"{roots[0]}/version" not in archive:
        return None
    has_tensors = any(name.startswith(f"{roots[0]}/tensors/") for name in archive.entries)
    return roots[0] if has_tensors and f"{roots[0]}/data.pkl" not in archive else None


def open_old_script(archive: Zip, root: str) -> Stored:
    """Read the modules of a program, each as a Record with `_parameters`, `_buffers` and `_modules`.

    Raises:
        DamagedFileError: it contradicts itself.
    """
    place = f"{root}/model.json"
    try:
        model = json.loads(archive.read(place, _MAX_JSON))
        tensors = _Tensors(archive, root, model["tensors"])
        return Stored(_modules(model["mainModule"], tensors), notes=(_NOTE,))
    except DamagedFileError as error:
        raise error.located(archive.source.path, place) from None
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise DamagedFileError(
            f"is not as torch writes it ({type(error).__name__}: {str(error)[:200]})",
            path=archive.source.path,
            place=place,
        ) from None


class _Tensors:
    """The tensors that the program lists; those over one member share its storage."""

    def __init__(self, archive: Zip, root: str, entries: list[dict[str, Any]]) -> None:
        self._archive = archive
        self._root = root
        self._entries = entries
        self._storages: dict[str, Storage] = {}

    def get(self, index: int) -> LazyArray:
        if index < 0:
            raise DamagedFileError(f"tensor {index} is used")
        entry = self._entries[index]
        dtype = _DTYPES[entry["dataType"]]
        name = f"{self._root}/{entry['data']['key']}"
        storage = self._storages.get(name)
        if storage is None:
            storage = self._storages[name] = self._archive.storage(name)
        width = ITEMSIZE[dtype]
        strides = tuple(int(step) * width for step in entry.get("strides", ()))
        shape = tuple(int(size) for size in entry.get("dims", ()))
        return LazyArray(shape, dtype, storage, int(entry.get("offset", 0)) * width, strides)


def _modules(main: dict[str, Any], tensors: _Tensors) -> Record:
    top = Record("torch.jit.ScriptModule")
    stack = [(main, top)]
    while stack:
        module, record = stack.pop()
        parts: dict[str, dict[str, Any]] = {"_parameters": {}, "_buffers": {}, "_modules": {}}
        for parameter in module.get("parameters", ()):
            kind = "_buffers" if parameter.get("isBuffer") else "_parameters"
            parts[kind][parameter["name"]] = tensors.get(int(parameter["tensorId"]))
        for child in module.get("submodules", ()):
            parts["_modules"][child["name"]] = inner = Record("torch.jit.ScriptModule")
            stack.append((child, inner))
        record.update(parts)
    return top
