"""torch's ZIP archives: `data.pkl` with the structure, one stored member per storage; TorchScript has the same core.

Layout: `torch/serialization.py` (`_save`, `_load`), and `caffe2/serialize/inline_container.cc` for the members.
"""

from __future__ import annotations

import json
from typing import Any, Final

from ckpt_core.arrays import LazyArray
from ckpt_core.backend import Stored
from ckpt_core.errors import CheckpointError, DamagedFileError, UnsupportedError
from ckpt_core.pickles import PLAIN, unpickle
from ckpt_core.pickles.constructors import holds_inert
from ckpt_core.source import Source
from ckpt_core.storage import Storage
from ckpt_core.tree import Record, flatten
from ckpt_core.zips import STORED, Zip
from ckpt_torch.constructors import tensor_constructors
from ckpt_torch.phrase import TensorPhrase
from ckpt_torch.script import old_script_root, open_old_script
from ckpt_torch.tensors import OpenBytes, Tensors, text_of

__all__ = ["ATTRIBUTES", "open_zip", "sniff_zip"]

ATTRIBUTES: Final = "ckpt_core.json"
"""The member, beside `data.pkl`, that holds the free metadata."""

_MAX_ATTRIBUTES: Final = 1 << 28
_MAX_VERSION: Final = 20

_CONSTANTS: Final = "CONSTANTS"
"""What the code of a TorchScript program calls its constants, of which each is `cN`."""

_SCRIPT_NOTE: Final = "A TorchScript program: its parameters and attributes are read, its code is not."
_FROZEN_NOTE: Final = (
    "It is frozen: its weights have no names of their own, and are the constants of its code, in their order."
)


def sniff_zip(source: Source) -> bool:
    """Say whether it is a torch archive: by the first member's name, else by the directory."""
    head = source.head
    if head[:4] != b"PK\x03\x04":
        return False
    first = head[30 : 30 + int.from_bytes(head[26:28], "little")]
    if first.endswith(b"/data.pkl") and first.count(b"/") == 1:
        return True
    try:
        archive = Zip(source)
        if old_script_root(archive) is not None:
            return True
        root = _root(archive)
    except CheckpointError:
        return False
    return f"{root}/archive_format" not in archive and any(
        f"{root}/{name}" in archive for name in ("version", ".data/version", "byteorder")
    )


def open_zip(source: Source, open_bytes: OpenBytes | None = None, *, is_embedded: bool = False) -> Stored:
    """Read the structure of a torch archive.

    Arguments:
        source: the archive.
        open_bytes: opens a torch file that lies as bytes inside of a pickle.
        is_embedded: it is such a file itself, and may not be compressed: there can be very many of them.

    Raises:
        DamagedFileError: it contradicts itself.
    """
    archive = Zip(source)
    first_script = old_script_root(archive)
    if first_script is not None:
        return open_old_script(archive, first_script)
    root = _root(archive)
    if is_embedded and archive.entries[f"{root}/data.pkl"].method != STORED:
        raise UnsupportedError("is a compressed archive inside of a pickle", path=source.path)
    _check_version(archive, root)
    tensors = Tensors(swapped=_is_swapped(archive, root), open_bytes=open_bytes)
    value = _unpickled(archive, f"{root}/data", tensors)
    notes: tuple[str, ...] = ()
    if f"{root}/constants.pkl" in archive:
        notes = (_SCRIPT_NOTE,)
        if type(value) is Record and not _has_array(value):
            constants = _unpickled(archive, f"{root}/constants", tensors)
            if isinstance(constants, (tuple, list)) and _has_array(constants):
                value[_CONSTANTS] = {f"c{index}": constant for index, constant in enumerate(constants)}
                notes = (_SCRIPT_NOTE, _FROZEN_NOTE)
    return Stored(value, _attributes(archive, f"{root}/{ATTRIBUTES}"), notes)


def _unpickled(archive: Zip, place: str, tensors: Tensors) -> Any:
    """Return what the member `PLACE.pkl` holds, with its storages in `PLACE/`."""
    loader = _Storages(archive, f"{place}/", tensors)
    constructors = {**PLAIN, **tensor_constructors(tensors)}
    phrase = TensorPhrase(tensors, loader.load)
    source = archive.open(f"{place}.pkl")
    return unpickle(source, constructors, persistent_load=loader.load, phrase=phrase).value


def _has_array(tree: Any) -> bool:
    return any(isinstance(leaf, LazyArray) for _, leaf in flatten(tree))


def _root(archive: Zip) -> str:
    roots = [name[:-9] for name in archive.entries if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(roots) != 1:
        raise DamagedFileError(
            f"has {len(roots)} members DIRECTORY/data.pkl where a torch archive has one",
            path=archive.source.path,
        )
    return roots[0]


def _check_version(archive: Zip, root: str) -> None:
    """Raise DamagedFileError where the version of the archive's form is no number; nothing here depends on it."""
    name = f"{root}/version"
    if name in archive:
        version = archive.read(name, _MAX_VERSION)
        if not version.strip().isdigit():
            raise DamagedFileError(
                f"the version {version!r} is no number", path=archive.source.path, place=name
            )


def _is_swapped(archive: Zip, root: str) -> bool:
    """Say whether the storages are big-endian; files without the mark are little-endian."""
    if f"{root}/byteorder" not in archive:
        return False
    order = archive.read(f"{root}/byteorder")
    if order not in (b"little", b"big"):
        raise DamagedFileError(f"the byte order {order[:20]!r} is unknown", path=archive.source.path)
    return order == b"big"


def _attributes(archive: Zip, name: str) -> dict[str, Any]:
    if name not in archive:
        return {}
    try:
        attributes = json.loads(archive.read(name, _MAX_ATTRIBUTES))
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(f"is no JSON: {error}", path=archive.source.path, place=name) from None
    if not isinstance(attributes, dict):
        raise DamagedFileError("is no JSON object", path=archive.source.path, place=name)
    return attributes


class _Storages:
    """The storages of an archive by key, each made once."""

    def __init__(self, archive: Zip, prefix: str, tensors: Tensors) -> None:
        self._archive = archive
        self._prefix = prefix
        self._tensors = tensors
        self._raw: dict[str, Storage] = {}

    def load(self, pid: Any) -> Any:
        """Return the storage that a persistent id means: ("storage", class, key, location, number of elements).

        Where a call that was not made stands for one of these, the id is a Record.
        """
        if type(pid) is not tuple or len(pid) != 5:
            raise DamagedFileError("a persistent id is not that of a storage")
        word, kind, key, _, numel = pid
        if word != "storage" and text_of(word) != "storage":
            raise DamagedFileError("a persistent id is not that of a storage")
        if type(kind) is Record:
            return Record("pickle.persistent_id", args=(pid,))
        found = self._tensors.kind(kind)
        if type(key) is bytes:
            key = text_of(key)
        if type(key) is not str or type(numel) is not int:
            if holds_inert((key, numel)):
                return Record("pickle.persistent_id", args=(pid,))
            raise DamagedFileError("a storage is stated without a key or its number of elements")
        raw = self._raw.get(key)
        if raw is None:
            raw = self._raw[key] = self._archive.storage(self._prefix + key)
        if raw.nbytes != numel * found.width:
            raise DamagedFileError(
                f"{numel} elements of {found.width} bytes are declared, the member has {raw.nbytes} bytes",
                path=self._archive.source.path,
                place=self._prefix + key,
            )
        return self._tensors.storage(found, raw, numel)
