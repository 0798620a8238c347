"""The names that a pickle states, and what becomes of calls on them.

A call on a name in the table of constructors becomes the value that the table makes of it; every other call becomes
an inert Record.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from ckpt_core.errors import DamagedFileError, LimitError
from ckpt_core.pickles.blob import Blob
from ckpt_core.pickles.constructors import Constructor, Pending, Redirect, resolve
from ckpt_core.tree import Global, Record

__all__ = ["MAX_NAME", "Calls"]

MAX_NAME: Final = 1 << 12
"""Characters in the dotted name of a global."""

WORK_PER_BYTE: Final = 4
WORK_FLOOR: Final = 1 << 16
"""Elements that may be copied from one container to another: a multiple of the bytes read, and a floor."""


class Calls:
    """The globals of one pickle, each one object, and the calls on them.

    Arguments:
        table: the constructors, by dotted name.
        nbytes: the length of the pickle, which limits how much its calls may copy.
    """

    def __init__(self, table: Mapping[str, Constructor], nbytes: int) -> None:
        self._table = table
        self._globals: dict[tuple[str, str], Global] = {}
        self._constructors: dict[int, Constructor | None] = {}
        self.simple: dict[int, Callable[[tuple[Any, ...]], Any]] = {}
        """By the id of a global, constructors that do nothing but make a value."""
        self.work = WORK_PER_BYTE * nbytes + WORK_FLOOR
        """Elements that may still be copied."""

    def name(self, module: Any, name: Any) -> Global:
        """Return the one object that stands for a global."""
        if type(module) is not str or type(name) is not str:
            raise DamagedFileError("the name of a global is not text")
        known = self._globals.get((module, name))
        if known is None:
            if len(module) + len(name) >= MAX_NAME:
                raise LimitError(f"the name of a global has {len(module) + len(name)} characters")
            known = self._globals[module, name] = Global(f"{module}.{name}" if module else name)
            constructor = self._constructors[id(known)] = self._find(known)
            if constructor is not None and constructor == Constructor(constructor.call):
                self.simple[id(known)] = constructor.call
        return known

    def _find(self, target: Global) -> Constructor | None:
        """Return what the table has for a name; Python 2's names of modules count as today's."""
        found = self._table.get(target.name)
        if found is None and target.name.startswith(("__builtin__.", "copy_reg.")):
            module, _, name = target.name.partition(".")
            found = self._table.get({"__builtin__": "builtins", "copy_reg": "copyreg"}[module] + "." + name)
        return found

    def call(self, target: Any, args: Any) -> Any:
        """Read a call as data."""
        if type(args) is not tuple:
            if isinstance(args, Record) and isinstance(target, (Global, Record)):  # made by another call
                return Record("<call>", args=(target, args))
            raise DamagedFileError("the arguments of a call are not a tuple")
        for _ in range(4):
            if type(target) is not Global:
                break
            constructor = self._constructors.get(id(target))
            if constructor is None:
                return Record(target.name, args=args)
            if constructor.copies and args:
                self.charge(args)
            value = constructor.call(args)
            if type(value) is Redirect:
                target, args = value.target, value.args
                continue
            if value is NotImplemented:
                return Record(target.name, args=args)
            if constructor.build is not None or constructor.inline is not None:
                return Pending(target.name, args, constructor, value)
            return value
        if type(target) is Global:
            return Record(target.name, args=args)
        if not isinstance(target, Record):
            raise DamagedFileError(f"a call on a {type(target).__name__}")
        return Record("<call>", args=(target, args))

    def charge(self, values: Any) -> None:
        """Account for the copying of containers and of long text; raises LimitError when it outgrows the file."""
        for value in map(resolve, values):
            if isinstance(value, (dict, list, tuple, set, frozenset)):
                self.work -= len(value)
            elif type(value) is Blob:
                self.work -= value.length
        if self.work < 0:
            raise LimitError("the pickle copies its containers over and over")
