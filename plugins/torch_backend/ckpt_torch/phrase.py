"""The opcodes with which torch.save writes one tensor, read at once.

The call `torch._utils._rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks)` takes torch's
pickler some thirty opcodes, the same for every tensor but for its numbers. A regular expression recognises them
in the file. What it recognises is done as the opcodes would do it one by one, and what deviates from it in any
way is left to them.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable
from itertools import chain, compress
from typing import Any, Final, NamedTuple

from ckpt_core.arrays import contiguous_strides
from ckpt_core.errors import CheckpointError
from ckpt_core.pickles.literals import LAZY
from ckpt_core.tree import Global
from ckpt_torch.tensors import Tensors

__all__ = ["TensorPhrase"]

_TARGET: Final = "torch._utils._rebuild_tensor_v2"
_HOOKS: Final = "collections.OrderedDict"

_GET: Final = rb"(h.|j....)"
_PUT: Final = rb"r(....)"
_INT: Final = rb"(?:K.|M..|J....)"
_INTS: Final = rb"(?:\)|(%b{1,3}[\x85-\x87]|\(%b{4,16}t)r(....))" % (_INT, _INT)
_STORAGE: Final = (_GET, _GET, rb"X(.)\0\0\0(\d{1,9})", _PUT, _GET, b"(", _INT, b")t", _PUT, b"Q")
_REST: Final = (b"(", _INT, b")", _INTS, _INTS, rb"([\x88\x89])", _GET, rb"\)R", _PUT, b"t", _PUT, b"R")
_KEY: Final = (b"(?:", _PUT, rb"X(..)\0\0(.{1,%d}?)" % (LAZY - 1), _PUT, _GET, rb"\(\()?")
_TENSOR: Final = re.compile(b"".join((*_KEY, *_STORAGE, *_REST)), re.DOTALL)
"""From after the two MARKs up to REDUCE; where another tensor was before, also how that one is kept and the key
of this one. In protocol 2, `h` and `j` are BINGET and LONG_BINGET, `r` LONG_BINPUT, `K`, `M` and `J` integers, `X`
BINUNICODE, `(` MARK, `t` and `\\x85` to `\\x87` tuples, `)` the empty one, `Q` BINPERSID."""

_MAX_ROWS: Final = 1024
_WIDTHS: Final = {0x68: 1, 0x6A: 4, 0x4B: 1, 0x4D: 2, 0x4A: 4}  # h, j, K, M, J
_ARITY: Final = {0x85: 1, 0x86: 2, 0x87: 3}


class _Operands(dict[bytes, Any]):
    """What opcodes push or refer to, by their bytes: an integer or a tuple of them. The same few come again and
    again, and are read once.
    """

    def __missing__(self, code: bytes) -> Any:
        numbers, at = [], 1 if code[:1] == b"(" else 0
        while at < len(code) and code[at] in _WIDTHS:
            end = at + 1 + _WIDTHS[code[at]]
            numbers.append(int.from_bytes(code[at + 1 : end], "little", signed=code[at] == 0x4A))
            at = end
        if at == len(code) > 0:
            self[code] = numbers[0]
        elif len(numbers) == _ARITY.get(code[at], len(numbers)) if code else True:
            self[code] = tuple(numbers)
        else:
            raise IndexError("a tuple takes fewer values than are there")
        return self[code]


class _Extents(dict[tuple[bytes, bytes], int]):
    """How many elements lie side by side in C order, by the opcodes of a size and a stride; 0 where they do not."""

    def __init__(self, operands: _Operands) -> None:
        self._operands = operands

    def __missing__(self, codes: tuple[bytes, bytes]) -> int:
        shape, steps = map(self._operands.__getitem__, codes)
        is_in_order = min(shape, default=1) > 0 and steps == contiguous_strides(shape, 1)
        self[codes] = math.prod(shape) if is_in_order else 0
        return self[codes]


class _Columns(NamedTuple):
    """The groups of consecutive matches of _TENSOR, column by column; empty bytes where one took no part."""

    last_put: tuple[bytes, ...]
    key_length: tuple[bytes, ...]
    key: tuple[bytes, ...]
    key_put: tuple[bytes, ...]
    call: tuple[bytes, ...]
    word: tuple[bytes, ...]
    kind: tuple[bytes, ...]
    number_length: tuple[bytes, ...]
    number: tuple[bytes, ...]
    number_put: tuple[bytes, ...]
    place: tuple[bytes, ...]
    elements: tuple[bytes, ...]
    id_put: tuple[bytes, ...]
    offset: tuple[bytes, ...]
    size: tuple[bytes, ...]
    size_put: tuple[bytes, ...]
    stride: tuple[bytes, ...]
    stride_put: tuple[bytes, ...]
    requires_grad: tuple[bytes, ...]
    hooks: tuple[bytes, ...]
    hooks_put: tuple[bytes, ...]
    args_put: tuple[bytes, ...]


_PUTS: Final = [index for index, name in enumerate(_Columns._fields) if name.endswith("_put")]


class TensorPhrase:
    """Reads the tensors of one pickle.

    Arguments:
        tensors: makes them.
        load: returns the storage that a persistent id means.
    """

    def __init__(self, tensors: Tensors, load: Callable[[Any], Any]) -> None:
        self._tensors = tensors
        self._load = load
        self._operands = _Operands({b"": ()})
        self._extents = _Extents(self._operands)
        self._most = 1

    def __call__(self, buffer: bytes, pos: int, stack: list[Any], memo: list[Any]) -> int:
        """Read calls, given where the arguments of the first begin, after two MARKs; its target is on the stack.

        Returns:
            The position after them; 0 where the first is not written as torch writes it, and nothing was done.
        """
        if not stack or type(stack[-1]) is not Global or stack[-1].name != _TARGET:
            return 0
        rows: list[tuple[bytes, ...]] = []
        while len(rows) < self._most and (match := _TENSOR.match(buffer, pos)):
            rows.append(match.groups(b""))
            pos = match.end()
        try:
            is_read = bool(rows) and self._read(_Columns(*zip(*rows, strict=True)), stack, memo)
        except (CheckpointError, IndexError, UnicodeError):
            is_read = False  # the opcodes, one by one, say what is wrong and where
        self._most = min(2 * self._most, _MAX_ROWS) if is_read else 1
        return pos if is_read else 0

    def _read(self, found: _Columns, stack: list[Any], memo: list[Any]) -> bool:
        """Do what the opcodes do, or nothing and return False where they are not quite what torch writes."""
        puts = [*chain.from_iterable(zip(*(found[column] for column in _PUTS), strict=True))]
        if not _is_numbered(found, puts, len(memo)) or not self._is_called(found, stack[-1], memo):
            return False
        operand, at = self._operands.__getitem__, memo.__getitem__
        names = [text.decode("utf-8", "surrogatepass") for text in found.key]
        keys = [text.decode() for text in found.number]
        words, kinds, places = (
            map(at, map(operand, column)) for column in (found.word, found.kind, found.place)
        )
        elements = [*map(operand, found.elements)]
        ids = [*zip(words, kinds, keys, places, elements, strict=True)]
        storages = map(self._load, ids)
        starts, shapes, steps = (
            [*map(operand, column)] for column in (found.offset, found.size, found.stride)
        )
        flags = [code == b"\x88" for code in found.requires_grad]
        hooks: list[dict[Any, Any]] = [{} for _ in ids]
        args = [*zip(storages, starts, shapes, steps, flags, hooks, strict=True)]
        extents = map(self._extents.__getitem__, zip(found.size, found.stride, strict=True))
        whole, rebuild = self._tensors.whole, self._tensors.rebuild
        values = [
            whole(one[0], one[2]) if one[1] == 0 and extent == count > 0 else rebuild(one)
            for one, extent, count in zip(args, extents, elements, strict=True)
        ]
        if any([value is NotImplemented for value in values]):
            return False
        kept = zip([None, *values[:-1]], names, keys, ids, shapes, steps, hooks, args, strict=True)
        memo += compress(chain.from_iterable(kept), puts)  # there is no put after an empty tuple
        stack[-1] = values[0]
        stack += chain.from_iterable(zip(names[1:], values[1:], strict=True))
        return True

    def _is_called(self, found: _Columns, target: Global, memo: list[Any]) -> bool:
        """Say whether the same function is called throughout, and hooks are made by OrderedDict."""
        calls = [memo[self._operands[code]] for code in set(found.call[1:])]
        factories = [memo[self._operands[code]] for code in set(found.hooks)]
        return all([call is target for call in calls]) and all(
            [type(factory) is Global and factory.name == _HOOKS for factory in factories]
        )


def _is_numbered(found: _Columns, puts: list[bytes], first: int) -> bool:
    """Say whether values are stored under the next numbers, and texts are as long as they say."""
    numbers = b"".join(puts)
    count = len(numbers) // 4
    return (
        not found.call[0]
        and numbers == struct.pack(f"<{count}I", *range(first, first + count))
        and b"".join(found.number_length) == bytes(map(len, found.number))
        and b"".join(found.key_length[1:]) == struct.pack(f"<{len(found.key) - 1}H", *map(len, found.key[1:]))
    )
