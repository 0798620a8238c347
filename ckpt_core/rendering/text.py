"""Text that is safe to print, whatever a file says: cleaned names, sizes, aligned columns."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any, Final

__all__ = ["arrays_text", "clean", "clean_lines", "count_text", "size_text", "table", "value_text"]

NAME: Final = 120
"""Characters of a name that are shown."""

LINE: Final = 2000


def clean(text: str, limit: int = NAME) -> str:
    r"""Return one line that moves no cursor: what is not printable is escaped, what is long is shortened.

    Example:
        >>> clean("a" + chr(27) + "[2J")
        'a\\x1b[2J'
    """
    if len(text) > limit:
        kept = (limit - 3) // 2
        text = f"{text[:kept]}...{text[-kept:]}"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def clean_lines(text: str) -> str:
    """Return text of several lines, each cleaned."""
    return "\n".join(clean(line, LINE) for line in text.split("\n"))


def size_text(nbytes: int) -> str:
    """Return a number of bytes with a decimal unit.

    Example:
        >>> size_text(1_400_000_000)
        '1.4 GB'
    """
    return _scaled(nbytes, 1000, ("B", "kB", "MB", "GB", "TB", "PB", "EB"))


def count_text(count: int) -> str:
    """Return a number of elements, shortened from a million on."""
    return f"{count:,}" if count < 1_000_000 else _scaled(count, 1000, ("", "k", "M", "G", "T", "P", "E"))


def _scaled(value: int, base: int, units: tuple[str, ...]) -> str:
    power = 0
    scaled = float(value)
    while scaled >= base * 0.9995 and power < len(units) - 1:
        scaled /= base
        power += 1
    digits = f"{value:,}" if power == 0 else f"{scaled:.{0 if scaled >= 100 else 1}f}"
    return f"{digits} {units[power]}".rstrip()


def arrays_text(count: int) -> str:
    """Return `1 array`, `2 arrays`."""
    return f"{count:,} array{'' if count == 1 else 's'}"


def table(
    rows: Sequence[Sequence[str]], indent: str = "  ", right: frozenset[int] = frozenset()
) -> list[str]:
    """Return rows as lines with aligned columns; the last column is not padded.

    Arguments:
        rows: cells, the same number in each row.
        indent: what each line begins with.
        right: the columns that are aligned to the right.
    """
    if not rows:
        return []
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(w) if i in right else cell.ljust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append((indent + "  ".join(cells)).rstrip())
    return lines


def value_text(value: Any) -> str:
    """Return a setting as a literal; paths and moments, which have none, as the text that they stand for.

    Example:
        >>> value_text({"out": PurePath("runs"), "betas": (0.9, 0.99)})
        "{'out': 'runs', 'betas': (0.9, 0.99)}"
    """
    return repr(_literal(value))


def _literal(value: Any) -> Any:
    if isinstance(value, (PurePath, dt.date, dt.time, dt.timedelta)):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _literal(child) for key, child in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(_literal, value))
    return value
