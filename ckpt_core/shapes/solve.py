"""Equations over whole numbers, 0 among them: every solution, within a bounded number of steps.

An equation is a size and the expression that makes it: `72 = patch_size**2 * sample_size * 3`. Sums, differences and
quotients are turned round once one side is known, products go through the divisors, powers through the roots.
What has no end of solutions (`64 = a + b` of large numbers, `a - b`) waits until another equation settles a name, and
stays open where none does.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from ckpt_core.shapes.divisors import divisors, whole_root
from ckpt_core.shapes.expression import (
    Expression,
    Name,
    Operation,
    calculate,
    evaluate,
    names,
    render,
)

__all__ = ["Equation", "Solutions", "components", "has_solution", "is_solvable", "solve"]

_MAX_STEPS: Final = 20_000
"""Steps of one search."""

_MAX_ROWS: Final = 1000
"""Solutions of one equation that are followed up."""

_MAX_SUM: Final = 4096
"""The largest sum, or rest of a division, that is tried part by part."""

Known = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Equation:
    """`size = expression`, and where the size was seen."""

    size: int
    expression: Expression
    where: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The names in its expression."""
        return names(self.expression)

    def text(self, known: Known | None = None) -> str:
        """Return `72 = 2**2 * sample_size * 3`, the known names replaced."""
        return f"{self.size} = {render(self.expression, known)}"

    def holds(self, known: Known) -> bool | None:
        """Say whether it holds; None where a name is not known."""
        if not all(name in known for name in self.names):
            return None
        return evaluate(self.expression, known) == self.size


@dataclass(frozen=True, slots=True)
class Solutions:
    """What satisfies all equations at once.

    Arguments:
        rows: the solutions: a value for each name that the equations settle.
        is_complete: there are no others; False where the search was cut off or an equation stayed open.
        is_open: there is an equation with no end of solutions, whose names some rows leave out.
    """

    rows: tuple[Mapping[str, int], ...]
    is_complete: bool = True
    is_open: bool = False

    def values(self, name: str) -> tuple[int, ...]:
        """Return the values that a name has in them, each once, in ascending order."""
        return tuple(sorted({row[name] for row in self.rows if name in row}))

    def single(self, name: str) -> int | None:
        """Return the one value that a name can have, or None where it has several or may have others."""
        found = self.values(name)
        is_settled = self.is_complete or self.is_open
        everywhere = all(name in row for row in self.rows)
        return found[0] if len(found) == 1 and is_settled and everywhere else None


class _Open(Exception):  # noqa: N818  # no error: the search puts the equation off
    """An equation that has no end of solutions as yet."""


class _Steps:
    def __init__(self) -> None:
        self.left = _MAX_STEPS
        self.is_complete = True
        self.is_open = False

    def take(self) -> None:
        self.left -= 1
        if self.left < 0:
            self.is_complete = False
            raise StopSearch


class StopSearch(Exception):  # noqa: N818  # likewise
    """The steps are used up."""


def solve(equations: Sequence[Equation], known: Known | None = None) -> Solutions:
    """Return the solutions of a system of equations in whole numbers.

    Arguments:
        equations: all have to hold.
        known: values that are given; they are part of every row.

    Example:
        >>> product = Operation("*", Name("p"), Name("p"))
        >>> solve([Equation(64, product)]).rows
        ({'p': 8},)
    """
    steps = _Steps()
    rows: dict[tuple[tuple[str, int], ...], Mapping[str, int]] = {}
    try:
        for row in _search(_parts(equations), dict(known or {}), steps):
            rows.setdefault(tuple(sorted(row.items())), row)
    except StopSearch:
        pass
    return Solutions(
        tuple(rows.values()), steps.is_complete and not steps.is_open, steps.is_open and steps.is_complete
    )


def is_solvable(equations: Sequence[Equation], known: Known | None = None) -> bool | None:
    """Say whether a system has a solution; None where the search was cut off before it found one."""
    steps = _Steps()
    try:
        is_found = any(True for _ in _search(_parts(equations), dict(known or {}), steps))
    except StopSearch:
        return None
    return is_found or (False if steps.is_complete else None)


def has_solution(equations: Sequence[Equation], known: Known | None = None) -> bool:
    """Say whether a system has a solution; True also where the search was cut off before it found one."""
    return is_solvable(equations, known) is not False


_Part: TypeAlias = "tuple[Equation, frozenset[str]]"
"""An equation and the names in it."""


def _parts(equations: Sequence[Equation]) -> list[_Part]:
    """Each equation once."""
    unique = {(e.size, e.expression): e for e in equations}.values()
    return [(equation, frozenset(equation.names)) for equation in unique]


def components(equations: Sequence[Equation]) -> list[list[Equation]]:
    """Split a system into parts that share no name."""
    groups: list[tuple[set[str], list[Equation]]] = []
    for equation in equations:
        mine, members = set(equation.names), [equation]
        apart = []
        for group in groups:
            if group[0] & mine:
                mine |= group[0]
                members = group[1] + members
            else:
                apart.append(group)
        groups = [*apart, (mine, members)]
    return [members for _, members in groups]


_State: TypeAlias = "tuple[list[_Part], dict[str, int], frozenset[str] | None]"
"""Equations that are left, what is known, and the names that were settled last (None: all of these)."""


def _search(parts: list[_Part], known: dict[str, int], steps: _Steps) -> Iterator[dict[str, int]]:
    """Yield the solutions depth first: of the equation with the fewest unknown names every root, and so on."""
    stack: list[Iterator[_State]] = [iter([(parts, known, None)])]
    while stack:
        state = next(stack[-1], None)
        if state is None:
            stack.pop()
            continue
        steps.take()
        left, row, fresh = state
        rest = _unsettled(left, row, fresh)
        if rest is None:
            continue
        if not rest:
            yield row
            continue
        for part in _in_order(rest, row, fresh):
            try:
                solved = _roots(part[0].expression, part[0].size, row, steps)
                found = list(itertools.islice(solved, _MAX_ROWS))
            except _Open:
                continue
            steps.is_complete &= len(found) < _MAX_ROWS
            others = [other for other in rest if other is not part]
            stack.append(iter([(others, root, part[1]) for root in found]))
            break
        else:
            steps.is_open = True
            yield row


def _unsettled(parts: list[_Part], known: dict[str, int], fresh: frozenset[str] | None) -> list[_Part] | None:
    """The equations with names that are not known yet; None where one does not hold. Only fresh names are looked at."""
    rest = []
    for part in parts:
        if (fresh is not None and part[1].isdisjoint(fresh)) or not part[1] <= known.keys():
            rest.append(part)
        elif evaluate(part[0].expression, known) != part[0].size:
            return None
    return rest


def _in_order(rest: list[_Part], known: dict[str, int], fresh: frozenset[str] | None) -> Iterator[_Part]:
    """The equations with the fewest unknown names first; one with a single one is found without sorting them."""

    def unknown(part: _Part) -> int:
        return len(part[1] - known.keys())

    near = (part for part in rest if fresh is not None and not part[1].isdisjoint(fresh))
    yield from itertools.islice((part for part in itertools.chain(near, rest) if unknown(part) == 1), 1)
    yield from sorted(rest, key=unknown)


def _roots(node: Expression, size: int, known: dict[str, int], steps: _Steps) -> Iterator[dict[str, int]]:
    """Yield what makes an expression that size, added to what is known."""
    steps.take()
    free = [name for name in names(node) if name not in known]
    if not free:
        if evaluate(node, known) == size:
            yield known
    elif isinstance(node, Name):
        if size >= 0:
            yield {**known, node.name: size}
    elif len(free) == 1 and _is_increasing(node):
        root = _bisected(node, size, known, free[0])
        if root is not None:
            yield {**known, free[0]: root}
    elif isinstance(node, Operation):
        yield from _BY_SIGN[node.sign](node, size, known, steps)


def _is_increasing(node: Expression) -> bool:
    if isinstance(node, Operation):
        return node.sign in ("+", "*", "**") and _is_increasing(node.left) and _is_increasing(node.right)
    return True


def _may_be_negative(node: Expression) -> bool:
    if isinstance(node, Operation):
        return node.sign == "-" or _may_be_negative(node.left) or _may_be_negative(node.right)
    return False


def _bisected(node: Expression, size: int, known: dict[str, int], name: str) -> int | None:
    """The one value of a name for which an increasing expression has a size."""
    low, high = 0, max(size, 1)
    if (evaluate(node, {**known, name: 0}) or 0) > (evaluate(node, {**known, name: 1}) or 0):  # 0**a
        raise _Open
    while low < high:
        middle = (low + high) // 2
        if (evaluate(node, {**known, name: middle}) or 0) < size:
            low = middle + 1
        else:
            high = middle
    if evaluate(node, {**known, name: low}) != size:
        return None
    if evaluate(node, {**known, name: low + 1}) == size:  # it does not depend on the name: 0 * a, 1**a
        raise _Open
    return low


def _product(node: Operation, size: int, known: dict[str, int], steps: _Steps) -> Iterator[dict[str, int]]:
    for side, other in ((node.left, node.right), (node.right, node.left)):
        value = evaluate(side, known)
        if value is not None:
            if value == size == 0:
                raise _Open
            if value and size % value == 0:
                yield from _roots(other, size // value, known, steps)
            return
    if size <= 0:
        raise _Open
    parts, are_all = divisors(size)
    steps.is_complete &= are_all
    negative = [-divisor for divisor in parts] if _may_be_negative(node) else []
    for divisor in [*parts, *negative]:
        for row in _roots(node.left, divisor, known, steps):
            yield from _roots(node.right, size // divisor, row, steps)


def _sum(node: Operation, size: int, known: dict[str, int], steps: _Steps) -> Iterator[dict[str, int]]:
    for side, other in ((node.left, node.right), (node.right, node.left)):
        value = evaluate(side, known)
        if value is not None:
            yield from _roots(other, size - value, known, steps)
            return
    if size > _MAX_SUM or _may_be_negative(node):
        raise _Open
    for part in range(size + 1):
        for row in _roots(node.left, part, known, steps):
            yield from _roots(node.right, size - part, row, steps)


def _difference(node: Operation, size: int, known: dict[str, int], steps: _Steps) -> Iterator[dict[str, int]]:
    left, right = evaluate(node.left, known), evaluate(node.right, known)
    if right is not None:
        yield from _roots(node.left, size + right, known, steps)
    elif left is not None:
        yield from _roots(node.right, left - size, known, steps)
    else:
        raise _Open


def _quotient(node: Operation, size: int, known: dict[str, int], steps: _Steps) -> Iterator[dict[str, int]]:
    left, right = evaluate(node.left, known), evaluate(node.right, known)
    if right == 0:  # nothing is divided by that
        return
    if right is not None and right > 0:
        low, high, side = size * right, (size + 1) * right, node.left
    elif left is not None and left >= 0 and size >= 0 and not _may_be_negative(node.right):
        low, high, side = left // (size + 1) + 1, (left // size + 1) if size else 0, node.right
    else:
        raise _Open
    if high - low > _MAX_SUM or (left is not None and not size):
        raise _Open
    for value in range(low, high):
        yield from _roots(side, value, known, steps)


def _power(node: Operation, size: int, known: dict[str, int], steps: _Steps) -> Iterator[dict[str, int]]:
    """Turn a power round, by its exponent or its base, or by trying every exponent."""
    base, exponent = evaluate(node.left, known), evaluate(node.right, known)
    exponents = range(1, max(size.bit_length(), 1) + 1) if exponent is None else (exponent,)
    if size <= 0 or (size == 1 and exponent in (None, 0)):
        raise _Open
    for power in exponents:
        root = base if base is not None else whole_root(size, power)
        roots = {root, -root} if root is not None and _may_be_negative(node.left) else {root}
        for value in sorted(value for value in roots if value is not None):
            if calculate("**", value, power) == size:
                for row in _roots(node.left, value, known, steps):
                    yield from _roots(node.right, power, row, steps)


_BY_SIGN: Final = {"*": _product, "+": _sum, "-": _difference, "//": _quotient, "**": _power}
