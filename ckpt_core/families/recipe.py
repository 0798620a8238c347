"""Recipe: the construction of an optimizer as data, which can be printed as code and, in a bridge, made live."""

from __future__ import annotations

import importlib
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ckpt_core.errors import UnsupportedError

__all__ = ["Call", "Name", "calls", "chained", "code", "function_named", "imports"]

_WIDTH: Final = 100


@dataclass(frozen=True)
class Call:
    """A call of a function of torch, of optax or of this project's plugins.

    Arguments:
        function: its dotted name; only names that families of rules declare are ever called.
        args: positional arguments: plain values, calls, names.
        kwargs: keyword arguments.
    """

    function: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Name:
    """A value that the reader of the code supplies, such as a learning-rate schedule.

    Arguments:
        name: what the code calls it.
        value: the live value, where there is one.
    """

    name: str
    value: Any = field(default=None, compare=False)


def chained(*parts: Call | None) -> Call:
    """Return `optax.chain` of the parts that are there; of a single one, itself."""
    there = tuple(part for part in parts if part is not None)
    return there[0] if len(there) == 1 else Call("optax.chain", there)


def function_named(name: str, known: Container[str]) -> Any:
    """Return the function or class of a dotted name, importing its module.

    Arguments:
        name: the name.
        known: the names that may be called: what is installed declares them, and no file.

    Raises:
        UnsupportedError: it is none of these, or the installed library does not have it.
    """
    module, _, attribute = name.rpartition(".")
    if name not in known:
        raise UnsupportedError(f"{name} is no function that recipes call")
    try:
        return vars(importlib.import_module(module))[attribute]
    except (ImportError, KeyError):
        raise UnsupportedError(f"what is installed has no {name}") from None


def calls(recipe: Any) -> Iterator[Call]:
    """Yield every call in a recipe."""
    stack = [recipe]
    while stack:
        node = stack.pop()
        if isinstance(node, Call):
            yield node
            stack.extend([*node.args, *node.kwargs.values()])
        elif isinstance(node, Mapping):
            stack.extend(node.values())
        elif isinstance(node, (list, tuple)):
            stack.extend(node)


def imports(recipe: Any) -> list[str]:
    """Return the modules that the code of a recipe imports, in order."""
    return sorted({call.function.rpartition(".")[0] for call in calls(recipe)})


def code(recipe: Any, indent: int = 0) -> str:
    """Return a recipe as Python source.

    Example:
        >>> code(Call("optax.adam", (), {"learning_rate": 0.001}))
        'optax.adam(learning_rate=0.001)'
    """
    line = _inline(recipe)
    if len(line) + indent <= _WIDTH or not isinstance(recipe, (Call, Mapping, list, tuple)):
        return line
    inner = indent + 4
    pad, end = "\n" + " " * inner, "\n" + " " * indent
    if isinstance(recipe, Call):
        parts = [code(arg, inner) for arg in recipe.args]
        parts += [f"{key}={code(value, inner)}" for key, value in recipe.kwargs.items()]
        opening, closing = f"{recipe.function}(", ")"
    elif isinstance(recipe, Mapping):
        parts = [f"{key!r}: {code(value, inner)}" for key, value in recipe.items()]
        opening, closing = "{", "}"
    else:
        parts = [code(item, inner) for item in recipe]
        opening, closing = "[]" if isinstance(recipe, list) else "()"
    return opening + "".join(f"{pad}{part}," for part in parts) + end + closing


def _inline(node: Any) -> str:
    if isinstance(node, Call):
        parts = [_inline(arg) for arg in node.args]
        parts += [f"{key}={_inline(value)}" for key, value in node.kwargs.items()]
        return f"{node.function}({', '.join(parts)})"
    if isinstance(node, Name):
        return node.name
    if isinstance(node, Mapping):
        return "{" + ", ".join(f"{key!r}: {_inline(value)}" for key, value in node.items()) + "}"
    if isinstance(node, list):
        return "[" + ", ".join(map(_inline, node)) + "]"
    if isinstance(node, tuple):
        return "(" + ", ".join(map(_inline, node)) + (",)" if len(node) == 1 else ")")
    return repr(node)
