"""EquinoxBackend: what `equinox.tree_serialise_leaves` writes (`equinox/_serialisation.py`).

    {"width": 64, "depth": 2}\\n        optional: hyperparameters as one line of JSON, as its guide puts them
    \\x93NUMPY...                       a `.npy` record for each leaf, in the order of the model

The file names no leaf. numpy's headers have no name for JAX's own dtypes: an element of two bytes of no known kind is
a bfloat16, and one byte could be any 8-bit float, which stays as bytes.
"""

from __future__ import annotations

import json
from typing import Any, Final

from ckpt_core.arrays import LazyArray
from ckpt_core.backend import Backend, Stored
from ckpt_core.dtypes import name_of
from ckpt_core.errors import CheckpointError, DamagedFileError, LimitError, UnsupportedError
from ckpt_core.npy import HEADER, Header, array_at, read_header
from ckpt_core.source import Source
from ckpt_core.storage import FileStorage
from ckpt_core.tree import walk

__all__ = ["EquinoxBackend"]

_MAGIC: Final = b"\x93NUMPY"
_MAX_LEAVES: Final = 1_000_000
_VOID: Final = {2: "bfloat16", 1: "uint8"}
"""The dtype of elements of a number of bytes that numpy has no name for."""


class EquinoxBackend(Backend):
    """Files of `equinox.tree_serialise_leaves`, with or without a line of hyperparameters; read-only."""

    name = "equinox"
    framework = "flax"
    suffixes = (".eqx",)
    looks_for = "several .npy records in a row, with or without a line of JSON before them"

    def sniff(self, source: Source) -> bool:
        if source.is_directory:
            return False
        start = _start(source)
        if start is None:
            return False
        if start > 0 or source.name.endswith(self.suffixes):
            return True
        try:
            end = start + _extent(_header(source, start))
        except CheckpointError:
            return False
        return source.size >= end + len(_MAGIC) and source.read(end, len(_MAGIC)) == _MAGIC

    def open(self, source: Source) -> Stored:
        start = _start(source)
        if start is None:
            raise DamagedFileError("has no .npy record at its start", path=source.path)
        tree: dict[str, Any] = {"hyperparameters": _settings(source, start)} if start else {}
        leaves: list[LazyArray] = []
        unnamed = 0
        while start < source.size:
            if len(leaves) == _MAX_LEAVES:
                raise LimitError(f"holds more than {_MAX_LEAVES} records", path=source.path)
            header = _header(source, start, len(leaves))
            unnamed += header.dtype.kind == "V" and header.dtype.itemsize == 1
            leaves.append(_leaf(source, start, header, len(leaves)))
            start += _extent(header)
        tree["leaves"] = leaves
        note = f"{unnamed} leaves are of an 8-bit type that the file does not name; they are read as uint8"
        return Stored(tree, notes=(note,) if unnamed else ())


def _start(source: Source) -> int | None:
    """Return where the first record begins, or None where there is none."""
    if source.head.startswith(_MAGIC):
        return 0
    end = source.head.find(b"\n" + _MAGIC) if source.head[:1] == b"{" else -1
    return end + 1 if end > 0 else None


def _settings(source: Source, end: int) -> dict[str, Any]:
    try:
        settings = json.loads(source.head[:end])
        for _ in walk(settings):  # nesting that is too deep for a tree is too deep here
            pass
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(f"is no JSON: {error}", path=source.path, place="the first line") from error
    return dict(settings)


def _header(source: Source, start: int, number: int = 0) -> Header:
    return read_header(source.read(start, min(HEADER, source.size - start)), f"record {number}, byte {start}")


def _extent(header: Header) -> int:
    return header.start + header.nbytes


def _leaf(source: Source, start: int, header: Header, number: int) -> LazyArray:
    place = f"record {number}, byte {start}"
    name = _VOID.get(header.dtype.itemsize) if header.dtype.kind == "V" else name_of(header.dtype)
    if name is None or header.dtype.fields is not None:
        raise UnsupportedError(f"holds numpy {header.dtype}, which is no array of numbers", place=place)
    if start + _extent(header) > source.size:
        raise DamagedFileError(
            f"does not hold the {header.shape} of {name} that its header declares",
            place=place,
        )
    return array_at(FileStorage(source, start, _extent(header)), header, name)
