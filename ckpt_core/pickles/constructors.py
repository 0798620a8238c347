"""What a closed table of constructors is made of.

A table maps dotted names to Constructors. They turn arguments that were read as data into data; nothing is
looked up in a module. A name that is in no table becomes an inert Record.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from ckpt_core.errors import DamagedFileError
from ckpt_core.source import Source
from ckpt_core.tree import Global, Record

__all__ = ["Constructor", "Pending", "Redirect", "Unfinished", "holds_inert", "malformed", "resolve"]

_LOOKED_AT: Final = 100


@dataclass(frozen=True, slots=True)
class Constructor:
    """How a call on one dotted name is read.

    A constructor trusts nothing: where it does not understand its arguments it returns NotImplemented and the
    call becomes a Record. It raises DamagedFileError for what cannot be: bytes outside of the file, and plain
    values that contradict what the library itself writes (`malformed`).

    Arguments:
        call: takes the tuple of arguments, returns the value.
        build: takes the value and the state restored into it, returns the final value. A constructor that has
            one must return a value that stands for itself in case the state never comes.
        inline: like `build`, for values whose raw bytes follow the BUILD opcode; also takes the source and the
            position after the opcode, and returns the value and the position where the pickle goes on.
        copies: the work grows with the length of the arguments (containers that are copied). Such work is
            charged against the size of the file, so that one large argument cannot be copied over and over.
    """

    call: Callable[[tuple[Any, ...]], Any]
    build: Callable[[Any, Any], Any] | None = None
    inline: Callable[[Any, Any, Source, int], tuple[Any, int]] | None = None
    copies: bool = False


class Pending:
    """A value whose state has yet to come; once it came, `value` is final."""

    __slots__ = ("args", "constructor", "name", "value")

    def __init__(self, name: str, args: tuple[Any, ...], constructor: Constructor, value: Any) -> None:
        self.name = name
        self.args = args
        self.constructor = constructor
        self.value = value


class Unfinished:
    """A helper value of a constructor (a numpy dtype) that is no tree node, and knows what it becomes as one."""

    __slots__ = ()

    def finish(self) -> Any:
        """Return the value as it stands in the tree; the same object each time if it has children."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Redirect:
    """What `call` returns when the call really is one on `target` (copyreg's helpers)."""

    target: Global
    args: tuple[Any, ...]


def resolve(value: Any) -> Any:
    """Return the value behind a Pending, for constructors that look into their arguments."""
    return value.value if type(value) is Pending else value


def holds_inert(value: Any) -> bool:
    """Say whether a call that was not made is among the values that are nested in one."""
    stack, looked = [value], 0
    while stack and looked < _LOOKED_AT:
        item = resolve(stack.pop())
        looked += 1
        if type(item) is Record:
            return True
        room = _LOOKED_AT - looked - len(stack)
        if type(item) is dict:
            stack.extend(islice(item.values(), room))
        elif type(item) in (tuple, list):
            stack.extend(islice(item, room))
    return False


def malformed(what: str, value: Any) -> Any:
    """Return NotImplemented for arguments or a state that only an inert call in them makes unreadable.

    Raises:
        DamagedFileError: there is none: the library itself would refuse them.
    """
    if holds_inert(value):
        return NotImplemented
    raise DamagedFileError(f"{what} is malformed")
