"""Ops as text: `split(axis=0, parts=3)`; what `str(op)` writes is read back here."""

from __future__ import annotations

import ast
from dataclasses import MISSING, Field, fields
from typing import Any, Final

from ckpt_core.casting import dtype_named
from ckpt_core.errors import UsageError
from ckpt_core.transfer.ops import OPS, Op

__all__ = ["parse_op"]

_MAX_TEXT: Final = 10_000


def parse_op(text: str) -> Op:
    """Read an op from its text.

    Raises:
        UsageError: there is no such op, or these are not its arguments; says which it has.

    Example:
        >>> parse_op("split(axis=0, parts=3)").parts
        3
    """
    name, args, keywords = _call(text)
    kind = OPS.get(name)
    if kind is None:
        raise UsageError(f"there is no op {name!r}", remedy=f"The ops: {', '.join(OPS)}.")
    known: dict[str, Field[Any]] = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    values = dict(keywords)
    if args and kind.listed:
        many = str(known[kind.listed].type).startswith("tuple")
        values[kind.listed] = tuple(args) if many else args[0]
        args = () if many else args[1:]
    for field, value in zip(list(known), args, strict=False):
        values.setdefault(field, value)
    needed = [name for name, field in known.items() if field.default is MISSING and name not in values]
    if needed or values.keys() - known.keys() or len(args) > len(known):
        raise UsageError(f"{text!r} is no op", remedy=f"{name} takes {', '.join(known) or 'nothing'}.")
    checked = {name: _checked(value, str(known[name].type), text) for name, value in values.items()}
    if "dtype" in checked:
        checked["dtype"] = dtype_named(str(checked["dtype"]))
    return kind(**checked)


def _call(text: str) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
    problem = UsageError(
        f"{text[:200]!r} is no op", remedy="Such as transpose, reshape(8, -1), split(axis=0, parts=3)."
    )
    if len(text) > _MAX_TEXT:
        raise problem
    try:
        node = ast.parse(text.strip(), mode="eval").body
        if isinstance(node, ast.Name):
            return node.id, (), {}
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            raise problem
        keywords = {word.arg: ast.literal_eval(word.value) for word in node.keywords if word.arg}
        return node.func.id, tuple(ast.literal_eval(arg) for arg in node.args), keywords
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise problem from None


def _checked(value: Any, kind: str, text: str) -> Any:
    """The value as the field wants it; raises UsageError where it is something else."""
    if kind.startswith("tuple"):
        items = tuple(value) if isinstance(value, (list, tuple)) else (value,)
        if all(type(item) is int for item in items):
            return items
    elif kind in ("int", "bool", "str"):
        if type(value).__name__ == kind:
            return value
    elif type(value) in (int, float) or (type(value) is str and "str" in kind):
        return value
    raise UsageError(f"{text!r} is no op: {value!r} is no {kind}")
