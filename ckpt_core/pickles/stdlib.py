"""The constructors of Python's own library. What is not here reads as a Record, which is as it should be for
classes such as argparse.Namespace, collections.deque, Decimal, UUID or enum members.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, Final

from ckpt_core.errors import LimitError
from ckpt_core.pickles.blob import Blob
from ckpt_core.pickles.constructors import Constructor, Redirect, malformed, resolve
from ckpt_core.pickles.keys import Keys, is_plain
from ckpt_core.tree import Global, Record

__all__ = ["STDLIB"]

_MAX_PARTS: Final = 100


def _ordered_dict(args: tuple[Any, ...]) -> Any:
    """OrderedDict() and, in Python 2, OrderedDict([[key, value], ...])."""
    if not args:
        return {}
    pairs = args[0]
    if len(args) != 1 or type(pairs) is not list:
        return NotImplemented
    if not all([type(pair) in (list, tuple) and len(pair) == 2 for pair in pairs]):
        return NotImplemented
    found: dict[Any, Any] = {}
    keys = Keys(64 * len(pairs))
    for key, value in pairs:
        found[keys.check(key, found)] = value
    return found


def _counter(args: tuple[Any, ...]) -> Any:
    if len(args) == 1 and type(args[0]) is dict:
        return Record("collections.Counter", args[0])
    return NotImplemented


def _set(kind: type[set[Any] | frozenset[Any]]) -> Callable[[tuple[Any, ...]], Any]:
    def call(args: tuple[Any, ...]) -> Any:
        if not args:
            return kind()
        if len(args) != 1 or type(args[0]) not in (list, tuple):
            return NotImplemented
        keys = Keys(64 * len(args[0]))
        items = [keys.check(item, args) for item in args[0]]
        return (
            kind(items) if all(map(is_plain, items)) else Record(f"builtins.{kind.__name__}", appended=items)
        )

    return call


def _bytes(args: tuple[Any, ...]) -> Any:
    """bytes(), bytearray(data), bytearray(text, 'latin-1')."""
    if not args:
        return b""
    if len(args) == 1 and type(args[0]) is bytes:
        return args[0]
    if len(args) == 1 and type(args[0]) is Blob and args[0].kind != "str":
        return args[0].as_bytes()
    return _encode(args) if len(args) == 2 else NotImplemented


def _encode(args: tuple[Any, ...]) -> Any:
    """_codecs.encode(text, 'latin1'): how protocols 0 to 2 spell bytes."""
    if len(args) != 2 or args[1] not in ("latin1", "latin-1", "iso-8859-1"):
        return NotImplemented
    text = args[0]
    if type(text) is Blob:
        return text.as_bytes()
    return text.encode("latin-1") if type(text) is str else NotImplemented


def _complex(args: tuple[Any, ...]) -> Any:
    if not args or len(args) > 2 or not all(type(arg) in (int, float) for arg in args):
        return NotImplemented
    return complex(*args)


def _state(value: Any, length: int) -> bytes | None:
    """Return the packed state of a date or time, which Python 2 wrote as a str; None for anything else."""
    if type(value) is Blob and value.length <= 8 * length:
        value = value.read()
    if type(value) is str:
        value = value.encode("latin-1")
    if type(value) is not bytes:
        return None
    if len(value) != length:
        raise ValueError(f"{length} bytes are expected")
    return value


def _zone(args: tuple[Any, ...]) -> datetime.tzinfo | None:
    zone = resolve(args[1]) if len(args) > 1 else None
    return zone if isinstance(zone, datetime.timezone) else None


def _date(args: tuple[Any, ...]) -> Any:
    data = _state(args[0], 4) if len(args) == 1 else None
    return NotImplemented if data is None else datetime.date(data[0] << 8 | data[1], data[2], data[3])


def _datetime(args: tuple[Any, ...]) -> Any:
    data = _state(args[0], 10) if 1 <= len(args) <= 2 else None
    zone = _zone(args)
    if data is None or (len(args) == 2 and zone is None):
        return NotImplemented
    year, month, micro = data[0] << 8 | data[1], data[2], int.from_bytes(data[7:], "big")
    return datetime.datetime(
        year, month & 127, data[3], data[4], data[5], data[6], micro, tzinfo=zone, fold=month >> 7
    )


def _time(args: tuple[Any, ...]) -> Any:
    data = _state(args[0], 6) if 1 <= len(args) <= 2 else None
    zone = _zone(args)
    if data is None or (len(args) == 2 and zone is None):
        return NotImplemented
    micro = int.from_bytes(data[3:], "big")
    return datetime.time(data[0] & 127, data[1], data[2], micro, tzinfo=zone, fold=data[0] >> 7)


def _timedelta(args: tuple[Any, ...]) -> Any:
    if len(args) != 3 or not all(type(arg) is int and abs(arg) < 1 << 40 for arg in args):
        return NotImplemented
    return datetime.timedelta(*args)


def _timezone(args: tuple[Any, ...]) -> Any:
    if not 1 <= len(args) <= 2 or type(args[0]) is not datetime.timedelta:
        return NotImplemented
    if len(args) == 2 and type(args[1]) is not str:
        return NotImplemented
    return datetime.timezone.utc if args == (datetime.timedelta(0),) else datetime.timezone(*args)


def _path(kind: type[PurePosixPath | PureWindowsPath]) -> Callable[[tuple[Any, ...]], Any]:
    def call(args: tuple[Any, ...]) -> Any:
        if len(args) > _MAX_PARTS or not all(type(arg) is str for arg in args):
            return NotImplemented
        return kind(*args)

    return call


def _reconstructor(args: tuple[Any, ...]) -> Any:
    """copyreg._reconstructor(class, base, value): objects in protocols 0 and 1."""
    if len(args) != 3 or type(args[0]) is not Global or type(args[1]) is not Global:
        return NotImplemented
    target, base, value = args
    kind = base.name.rpartition(".")[2]
    if kind == "object" and value is None:
        return Redirect(target, ())
    if kind == "dict" and type(value) is dict:
        return Record(target.name, value)
    if kind == "list" and type(value) is list:
        return Record(target.name, appended=value)
    if kind == "tuple" and type(value) is tuple:
        return Redirect(target, value)
    return Redirect(target, (value,))


def _newobj(args: tuple[Any, ...]) -> Any:
    return Redirect(args[0], args[1:]) if args and type(args[0]) is Global else NotImplemented


def _newobj_ex(args: tuple[Any, ...]) -> Any:
    if (
        len(args) != 3
        or type(args[0]) is not Global
        or type(args[1]) is not tuple
        or type(args[2]) is not dict
    ):
        return NotImplemented
    target, positional, keywords = args
    return Record(target.name, keywords, args=positional) if keywords else Redirect(target, positional)


def _checked(call: Callable[[tuple[Any, ...]], Any]) -> Callable[[tuple[Any, ...]], Any]:
    """Where the library itself refuses the values (a 13th month), the bytes are damaged."""

    def checked(args: tuple[Any, ...]) -> Any:
        try:
            return call(args)
        except LimitError:
            raise
        except (ValueError, OverflowError):
            return malformed("a value of Python's own library", args)

    return checked


_POSIX: Final = Constructor(_checked(_path(PurePosixPath)))
_WINDOWS: Final = Constructor(_checked(_path(PureWindowsPath)))
_PATHS: Final = {
    f"{module}.{pure}{system}Path": constructor
    for module in ("pathlib", "pathlib._local")
    for pure in ("", "Pure")
    for system, constructor in (("", _POSIX), ("Posix", _POSIX), ("Windows", _WINDOWS))
}

STDLIB: Final[Mapping[str, Constructor]] = {
    "collections.OrderedDict": Constructor(_ordered_dict, copies=True),
    "collections.Counter": Constructor(_counter, copies=True),
    "builtins.set": Constructor(_set(set), copies=True),
    "builtins.frozenset": Constructor(_set(frozenset), copies=True),
    "builtins.bytes": Constructor(_checked(_bytes), copies=True),
    "builtins.bytearray": Constructor(_checked(_bytes), copies=True),
    "builtins.complex": Constructor(_checked(_complex)),
    "_codecs.encode": Constructor(_checked(_encode), copies=True),
    "datetime.date": Constructor(_checked(_date)),
    "datetime.datetime": Constructor(_checked(_datetime)),
    "datetime.time": Constructor(_checked(_time)),
    "datetime.timedelta": Constructor(_checked(_timedelta)),
    "datetime.timezone": Constructor(_checked(_timezone)),
    **_PATHS,
    "copyreg._reconstructor": Constructor(_reconstructor, copies=True),
    "copyreg.__newobj__": Constructor(_newobj, copies=True),
    "copyreg.__newobj_ex__": Constructor(_newobj_ex, copies=True),
}
