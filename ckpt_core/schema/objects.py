"""What objects hold that were saved in a config, as plain data: those of well-known classes, and any other.

Each class keeps its values in its own way; the names below are those of the attributes that its pickles have.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ckpt_core.tree import Record

__all__ = ["content_of"]

_CONTENTS: Final = {
    "omegaconf.": ("_content", "_val"),
    "ml_collections.": ("_fields",),
    "collections.User": ("data",),
    "UserDict.": ("data",),
    "UserList.": ("data",),
}
"""By the beginning of a class's name, the attributes of which one holds all that it stands for."""

_REFERENCE: Final = "ml_collections.config_dict.config_dict.FieldReference"
_FACTORY: Final = "collections.defaultdict"
_DEVICE: Final = "torch.device"


def content_of(record: Record, args: Any) -> Any:
    """Return what an object stands for as plain data, its children being plain already.

    Arguments:
        record: the object.
        args: the arguments of its construction.
    """
    for prefix, names in _CONTENTS.items():
        for name in names:
            if record.type_name.startswith(prefix) and name in record:
                return record[name]
    if record.type_name == _REFERENCE and not record.get("_ops"):
        return record.get("_value")
    if (
        record.type_name == _DEVICE
        and isinstance(args, tuple)
        and all(type(arg) in (str, int) for arg in args)
    ):
        return ":".join(map(str, args))
    if isinstance(record.get("__dict__"), Mapping):  # pydantic's models, of both versions
        return {**record["__dict__"], **(record.get("__pydantic_extra__") or {})}
    if record.appended is not None:
        return list(record.appended)
    if record.type_name == _FACTORY or (record and record.state is not None):
        return dict(record)  # entries; beside them stand the attributes of the mapping's class
    if record and all(type(key) is str and key.startswith("__") for key in record):
        return {}  # a mapping without entries has its attributes in their place
    if not record and record.state is None and isinstance(args, tuple) and len(args) == 1:
        return args[0]  # a class and one value, such as a member of an enum
    parts = {"args": record.args or None, "state": record.state}
    return {**record, **{name: part for name, part in parts.items() if part is not None}}
