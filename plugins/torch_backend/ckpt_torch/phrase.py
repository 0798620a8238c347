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
from typing import Any, Final

from ckpt_core.arrays import contiguous_strides
from ckpt_core.errors import CheckpointError
from ckpt_core.pickles.literals import LAZY
from ckpt_core.tree import Global
from ckpt_torch.constructors import rebuild_tensor
from ckpt_torch.tensors import Tensors

__all__ = ["TensorPhrase"]

_TARGET: Final = "torch._utils._rebuild_tensor_v2"
_HOOKS: Final = "collections.OrderedDict"

_GET: Final = rb"(h.|j....)"
_PUT: Final = rb"r(....)"
_INT: Final = rb"(?:K.|M..|J....)"
_INTS: Final = rb"(?:\)|(%b{1,3}[\x85-\x87]|\(%b{4,16}t)r(....))" % (_INT, _INT)
_STORAGE: Final = (_GET, _GET, rb"X(.)\0\0\0(\d{1,20})", _PUT, _GET, b"(", _INT, b")(N?)t", _PUT, b"Q")
_REST: Final = (b"(", _INT, b")", _INTS, _INTS, rb"([\x88\x89])", _GET, rb"\)R", _PUT, b"t", _PUT, b"R")
_NAME: Final = (rb"(?:X(..)\0\0(.{1,%d}?)" % (LAZY - 1), _PUT, b"|", _GET, b")")
_KEY: Final = (b"(?:", _PUT, *_NAME, _GET, rb"\(\()?")
_TENSOR: Final = re.compile(b"".join((*_KEY, *_STORAGE, *_REST)), re.DOTALL)
"""From after the two MARKs up to REDUCE; where another tensor was before, also how that one is kept and the key of
this one, which may have been written before. In protocol 2, `h` and `j` are BINGET and LONG_BINGET, `r` LONG_BINPUT,
`K`, `M` and `J` integers, `X` BINUNICODE, `(` MARK, `t` and `\\x85` to `\\x87` tuples, `)` the empty one, `N` NONE,
`Q` BINPERSID."""

_PACK: Final = {4 * count: struct.Struct(f"<{count}I").pack for count in range(4, 9)}
_u16: Final = struct.Struct("<H").unpack
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

    def __call__(self, buffer: bytes, pos: int, stack: list[Any], memo: list[Any]) -> int:
        """Read calls, given where the arguments of the first begin, after two MARKs; its target is on the stack.

        Returns:
            The position after them; 0 where the first is not written as torch writes it, and nothing was done.
        """
        if not stack or type(stack[-1]) is not Global or stack[-1].name != _TARGET:
            return 0
        target, after = stack[-1], 0
        try:
            while match := _TENSOR.match(buffer, after or pos):
                if not self._read(match.groups(b""), target, stack, memo):
                    break
                after = match.end()
        except (CheckpointError, IndexError, UnicodeError):
            pass  # the opcodes, one by one, say what is wrong and where
        return after

    def _read(self, found: tuple[bytes, ...], target: Global, stack: list[Any], memo: list[Any]) -> bool:
        """Do what the opcodes do, or nothing and return False where they are not quite what torch writes."""
        (
            last_put, name_length, name, name_put, name_get, call, word, kind, length, number, number_put, place, numel,
            no_view, id_put, offset, size, size_put, stride, stride_put, requires_grad, hooks, hooks_put, args_put,
        ) = found  # fmt: skip
        operands, first = self._operands, len(memo)
        puts = b"".join((last_put, name_put, number_put, id_put, size_put, stride_put, hooks_put, args_put))
        if puts != _PACK[len(puts)](*range(first, first + len(puts) // 4)) or length[0] != len(number):
            return False
        key: Any = None
        if call:
            if memo[operands[call]] is not target:
                return False
            key = memo[operands[name_get]] if name_get else name.decode("utf-8", "surrogatepass")
            if name_length and _u16(name_length)[0] != len(name):
                return False
        factory = memo[operands[hooks]]
        if type(factory) is not Global or factory.name != _HOOKS:
            return False
        text, elements, shape, steps = number.decode(), operands[numel], operands[size], operands[stride]
        stated = (memo[operands[word]], memo[operands[kind]], text, memo[operands[place]], elements)
        storage_id = (*stated, None) if no_view else stated  # in files before 1.6
        storage, start = self._load(storage_id), operands[offset]
        backward_hooks: dict[Any, Any] = {}
        args = (storage, start, shape, steps, requires_grad == b"\x88", backward_hooks)
        if start == 0 and self._extents[size, stride] == elements > 0:
            value = self._tensors.whole(storage, shape)
        else:
            value = rebuild_tensor(self._tensors, args)
        if value is NotImplemented:
            return False
        if call:
            memo.append(stack[-1])
            if name_put:
                memo.append(key)
            stack += (key, value)
        else:
            stack[-1] = value
        memo += (text, storage_id)
        if size_put:
            memo.append(shape)
        if stride_put:
            memo.append(steps)
        memo += (backward_hooks, args)
        return True
