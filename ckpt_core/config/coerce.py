"""coerce: a value as the annotation of its field asks."""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import PurePath
from typing import Any, Final

import numpy as np

from ckpt_core.arrays import LazyArray
from ckpt_core.config.targets.base import MISSING
from ckpt_core.config.targets.dataclass import annotations_of
from ckpt_core.registry import registry

__all__ = ["coerce", "scalar"]

_MAX_ELEMENTS: Final = 10_000


def scalar(value: Any) -> Any:
    """Return a numpy scalar or an array without dimensions as a Python number, anything else as it is."""
    if isinstance(value, np.generic) or (isinstance(value, (np.ndarray, LazyArray)) and value.shape == ()):
        return value.item()
    if value is None or isinstance(value, (bool, int, float, str, Mapping, list, tuple)):
        return value
    for _, framework in registry().frameworks:
        spec = framework.spec(value)
        if spec is not None and spec.shape == ():
            return np.asarray(value).item()
    return value


def coerce(value: Any, annotation: Any, default: Any = MISSING) -> Any:
    """Return a value in the form that a field asks for: a number for a 0-d array, a tuple for a list.

    Arguments:
        value: as it was saved or given.
        annotation: the field's type; without one the default's form is kept.
        default: the field's default.

    Raises:
        ValueError: it cannot be had in that form; the text is the end of a sentence.

    Example:
        >>> coerce([1, np.int64(2)], tuple[int, ...])
        (1, 2)
    """
    value = scalar(value)
    if annotation is not MISSING and annotation is not Any:
        return _typed(value, annotation)
    if isinstance(default, tuple) and isinstance(value, (list, LazyArray)):
        return tuple(_elements(value))
    if isinstance(default, list) and isinstance(value, (tuple, LazyArray)):
        return _elements(value)
    return value


def _typed(value: Any, annotation: Any) -> Any:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is Any or isinstance(annotation, (str, typing.TypeVar)):
        return value
    if annotation is None or annotation is type(None):
        if value is None:
            return None
        raise ValueError("is not None")
    if origin in (typing.Union, types.UnionType):
        return _one_of(value, arguments)
    if origin is typing.Literal:
        if value in arguments:
            return value
        raise ValueError(f"is none of {', '.join(map(repr, arguments))}")
    if origin in (typing.Annotated, typing.Final, typing.ClassVar):
        return _typed(value, arguments[0]) if arguments else value
    kind = origin or annotation
    return _of_class(value, kind, arguments) if isinstance(kind, type) else value


def _one_of(value: Any, options: tuple[Any, ...]) -> Any:
    for option in options:
        if option is not float and isinstance(option, type) and type(value) is option:
            return value
    problems = []
    for option in options:
        try:
            return _typed(value, option)
        except ValueError as error:
            problems.append(str(error))
    raise ValueError(problems[-1] if problems else "fits nothing")


def _of_class(value: Any, kind: type, arguments: tuple[Any, ...]) -> Any:
    if kind is bool:
        return _needed(
            bool(value) if value in (0, 1) and not isinstance(value, str) else None,
            "is neither true nor false",
        )
    if kind is int:
        return _whole(value)
    if kind is float:
        return _float(value)
    if kind is str:
        return _needed(str(value) if isinstance(value, (str, PurePath)) else None, "is no text")
    if issubclass(kind, PurePath):
        return _needed(kind(value) if isinstance(value, (str, PurePath)) else None, "is no path")
    if issubclass(kind, enum.Enum):
        return _member(value, kind)
    if issubclass(kind, tuple) or kind in (list, set, frozenset, Sequence, AbstractSet):
        return _sequence(value, kind, arguments)
    if dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
        hints = annotations_of(kind)
        names = [item.name for item in dataclasses.fields(kind) if item.init and item.name in value]
        return kind(**{name: _typed(scalar(value[name]), hints.get(name, Any)) for name in names})
    if issubclass(kind, Mapping) and isinstance(value, Mapping) and len(arguments) == 2:
        return {key: _typed(scalar(child), arguments[1]) for key, child in value.items()}
    return value


def _needed(value: Any, problem: str) -> Any:
    if value is None:
        raise ValueError(problem)
    return value


def _whole(value: Any) -> int:
    try:
        number = int(value) if isinstance(value, (int, float, str)) else None
    except (ValueError, OverflowError):
        number = None
    if number is None or (isinstance(value, float) and number != value):
        raise ValueError("is no whole number")
    return number


def _float(value: Any) -> float:
    """A number; also text, since YAML reads `1e-3` as such."""
    try:
        number = float(value) if isinstance(value, (int, float, str)) else None
    except (ValueError, OverflowError):
        number = None
    if number is None:
        raise ValueError("is no number")
    return number


def _member(value: Any, kind: type[enum.Enum]) -> Any:
    for member in kind:
        if value is member or value in [member.value, member.name]:
            return member
    raise ValueError(f"is none of {', '.join(member.name for member in kind)}")


def _sequence(value: Any, kind: type, arguments: tuple[Any, ...]) -> Any:
    elements = _elements(value)
    if issubclass(kind, tuple) and kind is not tuple:  # a named tuple
        return kind(*elements)
    if kind is tuple and arguments and arguments[-1] is not ...:
        if len(arguments) != len(elements):
            raise ValueError(f"has {len(elements)} elements, not {len(arguments)}")
        return tuple(_typed(scalar(e), a) for e, a in zip(elements, arguments, strict=True))
    made = [_typed(scalar(element), arguments[0]) for element in elements] if arguments else elements
    if kind in (list, Sequence):
        return made
    return tuple(made) if kind is tuple else (frozenset(made) if kind is frozenset else set(made))


def _elements(value: Any) -> list[Any]:
    if isinstance(value, (LazyArray, np.ndarray)) and value.size <= _MAX_ELEMENTS and value.shape:
        return [*np.asarray(value).tolist()]
    if isinstance(value, (list, tuple, set, frozenset)):
        return list(value)
    raise ValueError("is no sequence")
