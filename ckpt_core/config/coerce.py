"""coerce: a value as the annotation of its field asks."""

from __future__ import annotations

import datetime
import enum
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import PurePath
from typing import Any, Final

import numpy as np

from ckpt_core.arrays import LazyArray
from ckpt_core.config.names import Names
from ckpt_core.config.plain import plain_config
from ckpt_core.config.targets import MISSING, held_by
from ckpt_core.config.targets.base import Member
from ckpt_core.config.targets.kinds import kind_of
from ckpt_core.errors import UsageError
from ckpt_core.registry import registry

__all__ = ["coerce", "left_out", "scalar"]

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
        annotation: the field's type; without one the default's form is kept. A mapping becomes an object of the class
            that it names.
        default: the field's default.

    Raises:
        ValueError: it cannot be had in that form; the text is the end of a sentence.

    Example:
        >>> coerce([1, np.int64(2)], tuple[int, ...])
        (1, 2)
    """
    value = scalar(value)
    if isinstance(value, str) and _is_saved_as(default, value):
        return default
    if annotation is not MISSING and annotation is not Any:
        return _typed(value, annotation)
    if isinstance(default, tuple) and isinstance(value, (list, LazyArray)):
        return tuple(_elements(value))
    if isinstance(default, list) and isinstance(value, (tuple, LazyArray)):
        return _elements(value)
    if isinstance(value, Mapping) and not isinstance(default, Mapping) and held_by(default) is not None:
        return _object(value, type(default))
    return value


def _is_saved_as(default: Any, text: str) -> bool:
    """Say whether a default is an object of which checkpoints hold this text alone: a dtype, a function."""
    is_kept = (
        default is MISSING or default is None or isinstance(default, (str, int, float, Mapping, list, tuple))
    )
    return not is_kept and plain_config(default) == text


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
    problems = {}
    for option in sorted(options, key=lambda option: _surplus(value, option)):
        try:
            return _typed(value, option)
        except ValueError as error:
            problems[option] = str(error)
    named = [option for option in problems if option is not type(None)]
    if len(named) == 1:
        raise ValueError(problems[named[0]])
    raise ValueError(f"is none of {', '.join(_name_of(option) for option in problems)}")


def _surplus(value: Any, option: Any) -> int:
    """How many entries of a mapping an object of a class would leave out."""
    members = _members(option) if isinstance(value, Mapping) and isinstance(option, type) else ()
    names = _names(members)
    return sum(names.find(str(key)) is None for key in value) if members else 0


def _name_of(option: Any) -> str:
    if option is type(None):
        return "None"
    return option.__name__ if isinstance(option, type) else str(option)


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
    if issubclass(kind, (datetime.date, datetime.time)):
        return _moment(value, kind)
    if issubclass(kind, tuple) or kind in (list, set, frozenset, Sequence, AbstractSet):
        return _sequence(value, kind, arguments)
    if issubclass(kind, Mapping):
        is_typed = isinstance(value, Mapping) and len(arguments) == 2
        if not is_typed:
            return value
        return {_typed(key, arguments[0]): _typed(scalar(one), arguments[1]) for key, one in value.items()}
    return _object(value, kind) if isinstance(value, Mapping) and kind_of(kind) is not None else value


def _object(value: Mapping[Any, Any], kind: type) -> Any:
    """An object of a class that holds a config, made of a saved mapping; entries that it has no place for are left."""
    owner, members = kind_of(kind), _members(kind)
    assert owner is not None
    values: dict[Any, Any] = {} if members else dict(value)
    names = _names(members)
    said = {names.find(str(key)): scalar(child) for key, child in value.items()}
    for member in members:
        if member.name in said:
            child = said[member.name]
            values[member.key] = child if member.annotation is MISSING else _typed(child, member.annotation)
        elif member.present is MISSING:
            raise ValueError(f"lacks {member.name}, which {kind.__name__} needs")
    try:
        return owner.made(kind, None, values)
    except UsageError as error:
        raise ValueError(f"makes no {kind.__name__}: {error.reason}") from error


def _members(kind: type) -> tuple[Member, ...]:
    owner = kind_of(kind)
    return () if owner is None else tuple(owner.members(kind, None, MISSING))


def _names(members: Sequence[Member]) -> Names:
    return Names([one.name for one in members], {one.name: [one.spelling] for one in members if one.spelling})


def left_out(value: Any, made: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield the entries of a saved value, by dotted name, that the object made of it has no place for."""
    if isinstance(value, Mapping):
        held = None if isinstance(made, Mapping) else held_by(made)
        if held is None:
            return
        names = Names(map(str, held))
        for key, child in value.items():
            own = names.find(str(key))
            if own is None:
                yield f"{name}.{key}", child
            else:
                yield from left_out(child, held[own], f"{name}.{key}")
    elif isinstance(value, (list, tuple)) and isinstance(made, (list, tuple)):
        for position, (one, other) in enumerate(zip(value, made, strict=False)):
            yield from left_out(one, other, f"{name}.{position}")


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
    try:
        return kind(value)  # several flags at once, or what the class itself makes of it
    except ValueError:
        raise ValueError(f"is none of {', '.join(member.name for member in kind)}") from None


def _moment(value: Any, kind: Any) -> Any:
    """A date or time of its ISO text; of any other form, what the class of the config makes of it."""
    try:
        return kind.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _sequence(value: Any, kind: type, arguments: tuple[Any, ...]) -> Any:
    if issubclass(kind, tuple) and kind is not tuple:
        return _named_tuple(value, kind)
    elements = _elements(value)
    if kind is tuple and arguments and arguments[-1] is not ...:
        if len(arguments) != len(elements):
            raise ValueError(f"has {len(elements)} elements, not {len(arguments)}")
        return tuple(_typed(scalar(e), a) for e, a in zip(elements, arguments, strict=True))
    made = [_typed(scalar(element), arguments[0]) for element in elements] if arguments else elements
    if kind in (list, Sequence):
        return made
    return tuple(made) if kind is tuple else (frozenset(made) if kind is frozenset else set(made))


def _named_tuple(value: Any, kind: Any) -> Any:
    try:
        return kind(**value) if isinstance(value, Mapping) else kind(*_elements(value))
    except TypeError as error:
        raise ValueError(f"makes no {kind.__name__}: {error}") from error


def _elements(value: Any) -> list[Any]:
    if isinstance(value, (LazyArray, np.ndarray)) and value.size <= _MAX_ELEMENTS and value.shape:
        return [*np.asarray(value).tolist()]
    if isinstance(value, (list, tuple, set, frozenset)):
        return list(value)
    raise ValueError("is no sequence")
