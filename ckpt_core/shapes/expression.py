"""The language of shape rules: sizes as arithmetic over the names of config fields.

    num_slots slot_dim                          a dimension each
    patch_size**2 * sample_size * channels      one dimension, a product
    ... 3*width _                               any leading dimensions; 3*width; one of which nothing is said
    count n_layer                               the number of entries that hold leaves

Numbers, names (`width`, `encoder.width`), `+ - * // **` and parentheses; division is that of whole numbers.
Dimensions stand side by side, separated by blanks or commas.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NoReturn, TypeAlias

from ckpt_core.errors import UsageError

__all__ = [
    "HUGE",
    "Dimensions",
    "Expression",
    "Name",
    "Number",
    "Operation",
    "evaluate",
    "names",
    "parse",
    "render",
]

HUGE: Final = 1 << 256
"""What every larger value counts as; no dimension of an array comes near it."""

_MAX_TEXT: Final = 1000
_MAX_NESTING: Final = 40
_TOKEN: Final = re.compile(
    r"\s*(?:(?P<number>\d+)|(?P<name>[A-Za-z_][A-Za-z_0-9]*(?:\.[A-Za-z_][A-Za-z_0-9]*)*)"
    r"|(?P<sign>\.\.\.|\*\*|//|[-+*(),]))"
)
_BINDING: Final = {"+": 1, "-": 1, "*": 2, "//": 2, "**": 3}


@dataclass(frozen=True, slots=True)
class Number:
    """A whole number."""

    value: int


@dataclass(frozen=True, slots=True)
class Name:
    """The value of a config field, or of any other quantity that has a name."""

    name: str


@dataclass(frozen=True, slots=True)
class Operation:
    """`left sign right`, the sign one of `+ - * // **`."""

    sign: str
    left: Expression
    right: Expression


Expression: TypeAlias = "Number | Name | Operation"


@dataclass(frozen=True, slots=True)
class Dimensions:
    """The right-hand side of a rule.

    Arguments:
        sizes: one expression per dimension; None for one of which nothing is said.
        any_leading: dimensions before these may be there, too.
        is_count: the single expression is a number of entries, not a dimension.
    """

    sizes: tuple[Expression | None, ...]
    any_leading: bool = False
    is_count: bool = False


def parse(text: str) -> Dimensions:
    """Parse the right-hand side of a rule.

    Raises:
        UsageError: it is not of the language; says where it goes wrong.

    Example:
        >>> parse("3*width").sizes
        (Operation(sign='*', left=Number(value=3), right=Name(name='width')),)
    """
    return _Parser(text).dimensions()


class _Parser:
    """A recursive-descent parser over the tokens of one rule; precedence as in Python."""

    def __init__(self, text: str) -> None:
        self.text = text
        if len(text) > _MAX_TEXT:
            self.fail("is too long")
        self.tokens = self._split()
        self.at = 0
        self.depth = 0

    def _split(self) -> list[tuple[str, str]]:
        found, at = [], 0
        body = self.text.rstrip()
        while at < len(body):
            match = _TOKEN.match(body, at)
            if match is None:
                self.fail(f"has {body[at:].strip()[:20]!r}, which is no name, number or sign")
            found.append((match.lastgroup or "", match[match.lastgroup or 0]))
            at = match.end()
        return found

    def fail(self, problem: str) -> NoReturn:
        raise UsageError(
            f"the shape rule {self.text[:100]!r} {problem}",
            remedy="Such as: 'num_slots slot_dim', 'patch_size**2 * channels', 'count n_layer'.",
        )

    def peek(self) -> str:
        return self.tokens[self.at][1] if self.at < len(self.tokens) else ""

    def take(self) -> tuple[str, str]:
        if self.at == len(self.tokens):
            self.fail("ends too early")
        self.at += 1
        return self.tokens[self.at - 1]

    def dimensions(self) -> Dimensions:
        if not self.tokens:
            self.fail("says nothing")
        if self.peek() == "count" and len(self.tokens) > 1 and self.tokens[1][0] != "sign":
            self.at = 1
            count = self.expression()
            if self.at < len(self.tokens):
                self.fail(f"goes on with {self.peek()!r} after the count")
            return Dimensions((count,), is_count=True)
        any_leading = self.peek() == "..."
        self.at += any_leading
        sizes: list[Expression | None] = []
        while self.at < len(self.tokens):
            if self.peek() == "_":
                self.at += 1
                sizes.append(None)
            else:
                sizes.append(self.expression())
            self.at += self.peek() == ","
        return Dimensions(tuple(sizes), any_leading)

    def expression(self, above: int = 0) -> Expression:
        left = self.atom()
        while (binding := _BINDING.get(self.peek(), 0)) > above:
            sign = self.take()[1]
            left = Operation(sign, left, self.expression(binding - (sign == "**")))
        return left

    def atom(self) -> Expression:
        kind, word = self.take()
        if kind == "number":
            return Number(min(int(word[:100]), HUGE))
        if kind == "name":
            return Name(word)
        if word != "(":
            self.fail(f"has {word!r} where a name or number is expected")
        self.depth += 1
        if self.depth > _MAX_NESTING:
            self.fail("is nested too deeply")
        inner = self.expression()
        if self.take()[1] != ")":
            self.fail("lacks a closing parenthesis")
        self.depth -= 1
        return inner


def names(expression: Expression) -> tuple[str, ...]:
    """Return the names in an expression, each once, in order."""
    found: dict[str, None] = {}
    stack = [expression]
    while stack:
        node = stack.pop()
        if isinstance(node, Name):
            found[node.name] = None
        elif isinstance(node, Operation):
            stack += [node.right, node.left]
    return tuple(found)


def evaluate(expression: Expression, known: Mapping[str, int]) -> int | None:
    """Return the value of an expression, or None where a name is not known or it has no whole value."""
    if isinstance(expression, Number):
        return expression.value
    if isinstance(expression, Name):
        return known.get(expression.name)
    left, right = evaluate(expression.left, known), evaluate(expression.right, known)
    return None if left is None or right is None else calculate(expression.sign, left, right)


def calculate(sign: str, left: int, right: int) -> int | None:
    """Return `left sign right`, at most HUGE; None for a division by zero or a negative power."""
    if sign == "+":
        value = left + right
    elif sign == "-":
        value = left - right
    elif sign == "*":
        value = left * right
    elif sign == "//":
        return left // right if right else None
    elif right < 0:
        return None
    else:
        value = left**right if abs(left) < 2 or right <= HUGE.bit_length() else HUGE
    return max(-HUGE, min(value, HUGE))


def render(expression: Expression, known: Mapping[str, int] | None = None) -> str:
    """Return an expression as text, with the known names replaced by their values.

    Example:
        >>> render(parse("patch_size**2 * sample_size * 3").sizes[0], {"patch_size": 2})
        '2**2 * sample_size * 3'
    """
    return _render(expression, known or {}, 0)


def _render(node: Expression, known: Mapping[str, int], above: int) -> str:
    if isinstance(node, Number):
        return str(node.value)
    if isinstance(node, Name):
        return str(known.get(node.name, node.name))
    binding = _BINDING[node.sign]
    is_power = node.sign == "**"
    sign = node.sign if is_power else f" {node.sign} "
    # On the side to which the sign does not group, an equal binding needs parentheses.
    left = _render(node.left, known, binding + is_power)
    right = _render(node.right, known, binding + (not is_power))
    text = f"{left}{sign}{right}"
    return f"({text})" if binding < above else text
