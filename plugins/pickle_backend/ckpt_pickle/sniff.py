"""What a pickle looks like from outside."""

from __future__ import annotations

from typing import Final

from ckpt_core.errors import CheckpointError
from ckpt_core.pickles import unpickle
from ckpt_core.source import Source
from ckpt_pickle.joblib import TABLE

__all__ = ["is_pickle"]

_TORCH_LEGACY: Final = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19"
_TORCH_LEGACY_TEXT: Final = b"L%dL\n." % 0x1950A86A20F9469CFC6C
"""The pickled integer with which a file of torch.save before 1.6 begins, and what it is in protocols 0 and 1."""

_OPCODES: Final = frozenset(
    bytes((code,)) for code in (*b"().012BCFGIJKLMNPQRSTUVX]abcdeghijloqprstu}", *range(0x80, 0x99))
)
_OLD_START: Final = frozenset(b"(]})cFGIJKLMNSTUVX")
"""Opcodes with which a pickle of protocol 0 or 1 can begin: those that put something on the stack."""


def is_pickle(source: Source) -> bool:
    """Say whether the file begins with a pickle.

    Protocol 2 and later have a marker. The older ones have none: there every opcode up to the final `.` is
    interpreted.
    """
    head = source.head
    if len(head) < 2:
        return False
    if head[0] == 0x80:
        if not 2 <= head[1] <= 5 or head[2:3] not in _OPCODES:
            return False
        return not head.startswith(_TORCH_LEGACY, 11 if head[2:3] == b"\x95" else 2)  # after PROTO and FRAME
    if head.startswith(_TORCH_LEGACY_TEXT) or head[0] not in _OLD_START:
        return False
    if b"." not in source.read(max(source.size - 64, 0), min(source.size, 64)):
        return False
    try:
        return unpickle(source, TABLE).end > 2
    except CheckpointError:
        return False
