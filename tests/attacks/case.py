"""What a case is: a file made by code, and what reading it must end in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

OPENS = "opens"
"""It opens, and `check` holds."""
REFUSED = "refused"
"""One error of the family, which names the file."""
EITHER = "either"
"""It is refused, or it opens as a well-formed tree of which every array can be read or is refused."""
INERT = "inert"
"""A benign file with a hostile call in it: it should open (REFUSED is allowed to five in a hundred)."""


@dataclass(frozen=True)
class Case:
    """One file.

    Arguments:
        name: unique, with `/` between its parts; the last part is the name of the file.
        make: writes it at the path that it is given.
        expect: OPENS, REFUSED, EITHER or INERT.
        check: is given the tree of a file that opened.
        options: what `open_checkpoint` is given besides the path.
        light: one of very many of its kind, of which only some are inspected and converted too.
    """

    name: str
    make: Callable[[Path], Any]
    expect: str
    check: Callable[[Any], None] | None = None
    options: dict[str, Any] = field(default_factory=dict)
    light: bool = False


def data(name: str, content: bytes, expect: str, check: Callable[[Any], None] | None = None) -> Case:
    """Return the case of a file with that content."""
    return Case(name, lambda path: path.write_bytes(content), expect, check)


Cases = Iterator[Case]
