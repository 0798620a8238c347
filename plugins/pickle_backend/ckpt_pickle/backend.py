"""PickleBackend: pickled states, read as data and written for numpy alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from ckpt_core.backend import Backend, Holds, Stored
from ckpt_core.errors import CheckpointError, DamagedFileError
from ckpt_core.pickles import unpickle
from ckpt_core.registry import registry
from ckpt_core.sink import Sink
from ckpt_core.source import Source
from ckpt_pickle.joblib import TABLE
from ckpt_pickle.save import save_pickle
from ckpt_pickle.sniff import is_pickle

__all__ = ["PickleBackend"]


_MAX_PICKLES: Final = 1000
"""Pickles in one file, of which the first is read."""

_PADDING: Final = 1 << 16
"""Zeros or white space that may follow a pickle."""


class PickleBackend(Backend):
    """Files of `pickle.dump`, `joblib.dump` and `cloudpickle.dump`, of every protocol."""

    name = "pickle"
    suffixes = (".pkl", ".pickle", ".p", ".joblib")
    looks_for = (
        "a pickle: 0x80 and a protocol from 2 to 5, or the opcodes of protocol 0 or 1 up to the final '.'"
    )
    holds: ClassVar[Holds] = Holds(
        values=frozenset({"None", "bool", "int", "float", "complex", "str", "surrogates", "bytes", "scalar"}),
        containers=frozenset({"dict", "list", "tuple", "OrderedDict"}),
        keys=frozenset({"str", "surrogates", "int", "float", "bool", "None", "bytes", "tuple"}),
        int_bits=None,
        sharing=True,
        attributes="json",
    )

    def sniff(self, source: Source) -> bool:
        return not source.is_directory and is_pickle(source)

    def open(self, source: Source) -> Stored:
        value, end = unpickle(source, {**TABLE, **registry().constructors(source)})
        if end == source.size:
            return Stored(value)
        attributes = _attributes(source, end)
        if attributes is not None:
            return Stored(value, attributes)
        if not _is_in_order(source, end):
            raise DamagedFileError(
                f"the pickle ends at byte {end} of {source.size}, and what follows is no pickle",
                path=source.path,
                place=f"byte {end}",
                remedy="The file is damaged, or is of another format that begins like a pickle.",
            )
        note = f"The pickle ends at byte {end} of {source.size}; what follows it was not read."
        return Stored(value, notes=(note,))

    def save(self, stored: Stored, sink: Sink, options: Mapping[str, object]) -> None:
        with sink.file() as file:
            save_pickle(stored, file)


def _attributes(source: Source, start: int) -> dict[str, Any] | None:
    """Return what this backend wrote behind the tree: a pickled text, which is a JSON object."""
    try:
        text, end = unpickle(source, {}, start=start)
        if type(text) is not str or end != source.size or not text.startswith("{"):
            return None
        found = json.loads(text)
    except (CheckpointError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _is_in_order(source: Source, start: int) -> bool:
    """Say whether the rest of a file is padding or more pickles: a STOP that damage made has other things behind it."""
    for _ in range(_MAX_PICKLES):
        rest = source.read(start, min(source.size - start, _PADDING))
        if source.size - start <= _PADDING and not rest.strip(b"\0\r\n\t "):
            return True
        try:
            start = unpickle(source, TABLE, start=start).end
        except CheckpointError:
            return False
    return False
