"""read_constants: the constants of a Python file, by its syntax tree; the file is never imported.

Read are assignments of literals and of arithmetic on them and on constants above, at the top of the file and in
classes (class attributes, fields of dataclasses, `field(default=...)`).
"""

from __future__ import annotations

import ast
import operator
from collections import ChainMap
from collections.abc import Iterable, Mapping
from typing import Any, Final

from ckpt_core.errors import DamagedFileError

__all__ = ["read_constants"]

_BITS: Final = 4096
_LENGTH: Final = 1 << 20
_OPERATIONS: Final[dict[type[ast.operator], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}


class _NoConstantError(Exception):
    """An expression that is not made of constants."""


def read_constants(text: str) -> dict[str, Any]:
    """Return the constants of a Python source by name; those of a class as a dict under its name.

    What is not made of constants is left out, and so is a name that is assigned such a thing later.

    Raises:
        DamagedFileError: it is no Python.

    Example:
        >>> read_constants("DIM = 64\\nMLP = 4 * DIM\\nclass Config:\\n    slots: int = 7\\n")
        {'DIM': 64, 'MLP': 256, 'Config': {'slots': 7}}
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, MemoryError) as error:
        raise DamagedFileError(f"is no Python: {error}") from None
    return _body(tree.body, {})


def _body(statements: Iterable[ast.stmt], above: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    known = ChainMap(found, dict(above))
    for statement in statements:
        if isinstance(statement, ast.ClassDef):
            found[statement.name] = _body(statement.body, known)
            continue
        for target, value in _assignments(statement):
            for name, constant in _bound(target, value, known):
                if constant is _NoConstantError:
                    found.pop(name, None)
                else:
                    found[name] = constant
    return found


def _assignments(statement: ast.stmt) -> list[tuple[ast.expr, ast.expr]]:
    if isinstance(statement, ast.Assign):
        return [(target, statement.value) for target in statement.targets]
    if isinstance(statement, ast.AnnAssign) and statement.value is not None:
        return [(statement.target, statement.value)]
    if isinstance(statement, ast.AugAssign) and isinstance(statement.target, ast.Name):
        before = ast.Name(statement.target.id, ast.Load())
        return [(statement.target, ast.BinOp(before, statement.op, statement.value))]
    return []


def _bound(target: ast.expr, value: ast.expr, known: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The names that an assignment binds, with their constants, or with the error class where there is none."""
    try:
        constant: Any = _constant(value, known)
    except (_NoConstantError, ArithmeticError, TypeError, ValueError):
        constant = _NoConstantError
    if isinstance(target, ast.Name):
        return [(target.id, constant)]
    if isinstance(target, (ast.Tuple, ast.List)):
        names = [part.id for part in target.elts if isinstance(part, ast.Name)]
        fits = isinstance(constant, (tuple, list)) and len(constant) == len(names) == len(target.elts)
        return list(zip(names, constant if fits else [_NoConstantError] * len(names), strict=True))
    return []


def _constant(node: ast.expr, known: Mapping[str, Any]) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name) and node.id in known:
        return known[node.id]
    if isinstance(node, (ast.Tuple, ast.List)):
        parts = [_constant(part, known) for part in node.elts]
        return tuple(parts) if isinstance(node, ast.Tuple) else parts
    if isinstance(node, ast.Dict):
        keys = [_constant(key, known) for key in node.keys if key is not None]
        return dict(zip(keys, [_constant(value, known) for value in node.values], strict=True))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd, ast.Not)):
        value = _constant(node.operand, known)
        return (
            not value
            if isinstance(node.op, ast.Not)
            else (-value if isinstance(node.op, ast.USub) else +value)
        )
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATIONS:
        return _calculated(node.op, _constant(node.left, known), _constant(node.right, known))
    if isinstance(node, ast.Call):
        return _field_default(node, known)
    raise _NoConstantError


def _calculated(sign: ast.operator, left: Any, right: Any) -> Any:
    """Arithmetic on numbers, and joining of text and sequences, within bounds."""
    is_number = all(isinstance(side, (int, float)) for side in (left, right))
    is_joined = isinstance(sign, ast.Add) and type(left) is type(right) and type(left) in (str, tuple, list)
    if is_joined and len(left) + len(right) <= _LENGTH:
        return left + right
    if not is_number:
        raise _NoConstantError
    if isinstance(left, int) and isinstance(right, int):
        growth = left.bit_length() * (abs(right) if isinstance(sign, ast.Pow) else 1)
        if growth > _BITS or right.bit_length() > _BITS:
            raise _NoConstantError
    return _OPERATIONS[type(sign)](left, right)


def _field_default(node: ast.Call, known: Mapping[str, Any]) -> Any:
    """The default in `field(default=3)`, `dataclasses.field(default=3)` and `Field(3)`."""
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if name not in ("field", "Field"):
        raise _NoConstantError
    for keyword in node.keywords:
        if keyword.arg == "default":
            return _constant(keyword.value, known)
    if name == "Field" and node.args:
        return _constant(node.args[0], known)
    raise _NoConstantError
