"""Torch's oldest format (before 0.1.10): a tar archive with `storages`, `tensors` and `pickle`.

Format: `torch/serialization.py` (`legacy_load` in `_legacy_load`); tar headers: POSIX.1-1988 (ustar) and GNU tar.
"""

from __future__ import annotations

import struct
from typing import Any, Final

from ckpt_core.backend import Stored
from ckpt_core.errors import DamagedFileError, LimitError
from ckpt_core.pickles import PLAIN, unpickle
from ckpt_core.source import Source
from ckpt_core.storage import FileStorage
from ckpt_torch.constructors import tensor_constructors
from ckpt_torch.names import StorageClass
from ckpt_torch.tensors import StorageArray, Tensors

__all__ = ["open_tar", "sniff_tar"]

_BLOCK: Final = 512
_MAX_MEMBERS: Final = 64
_MEMBERS: Final = ("storages", "tensors", "pickle")


def sniff_tar(source: Source) -> bool:
    """Say whether it is a tar archive with the members of a torch file."""
    if source.head[257:262] != b"ustar":
        return False
    try:
        members = _members(source)
    except DamagedFileError:
        return False
    return "pickle" in members and "storages" in members


def open_tar(source: Source) -> Stored:
    """Read the structure of a file in the oldest format.

    Raises:
        DamagedFileError: it contradicts itself.
    """
    members = _members(source)
    for name in _MEMBERS:
        if name not in members:
            raise DamagedFileError(f"has no member {name!r}", path=source.path)
    tensors = Tensors()
    storages = _read_storages(members["storages"], tensors)
    arrays = _read_tensors(members["tensors"], storages, tensors)

    def load(pid: Any) -> Any:
        if type(pid) is tuple and pid:
            return pid[0]
        if type(pid) is bytes:
            pid = pid.decode("latin1")
        if type(pid) is str and pid.isascii() and pid.isdigit() and len(pid) < 40:
            pid = int(pid)
        found = arrays.get(pid, storages.get(pid)) if type(pid) is int else None
        if found is None:
            raise DamagedFileError("a persistent id is neither that of a tensor nor of a storage")
        return found

    value = unpickle(members["pickle"], {**PLAIN, **tensor_constructors(tensors)}, persistent_load=load).value
    return Stored(value)


def _members(source: Source) -> dict[str, Source]:
    members: dict[str, Source] = {}
    at = 0
    while at + _BLOCK <= source.size:
        header = source.read(at, _BLOCK)
        if not any(header):
            return members
        if (
            header[257:262] != b"ustar"
            or _octal(header[148:156]) != sum(header) - sum(header[148:156]) + 8 * 32
        ):
            raise DamagedFileError(
                "the header of a tar member is damaged", path=source.path, place=f"byte {at}"
            )
        name = header[:100].split(b"\0")[0].decode("latin1")
        size = _octal(header[124:136])
        if len(members) >= _MAX_MEMBERS:
            raise LimitError(f"has more than the {_MAX_MEMBERS} members of a torch file", path=source.path)
        if header[156:157] in (b"0", b"\0"):
            if name in members:
                raise DamagedFileError(f"has two members {name!r}", path=source.path)
            members[name] = source.window(at + _BLOCK, size, name)
        at += _BLOCK + -(-size // _BLOCK) * _BLOCK
    raise DamagedFileError("the tar archive is cut off", path=source.path)


def _octal(field: bytes) -> int:
    if field[0] & 0x80:
        return int.from_bytes(field[1:], "big")
    try:
        number = int(field.strip(b" \0") or b"0", 8)
    except ValueError:
        number = -1
    if number < 0:
        raise DamagedFileError(f"{field!r} is no octal number in a tar header")
    return number


def _next(source: Source, at: int) -> tuple[Any, int]:
    result = unpickle(source, PLAIN, start=at)
    return result.value, result.end


def _count(source: Source) -> tuple[int, int]:
    count, at = _next(source, 0)
    if type(count) is not int or not 0 <= count <= source.size:
        raise DamagedFileError("an impossible number of entries is declared", path=source.path)
    return count, at


def _read_storages(source: Source, tensors: Tensors) -> dict[int, StorageArray]:
    """Read (key, location, class), the number of elements and the bytes of each; then the views of them."""
    storages: dict[int, StorageArray] = {}
    kinds: dict[int, StorageClass] = {}
    count, at = _count(source)
    for _ in range(count):
        entry, at = _next(source, at)
        key, kind = (entry[0], entry[2]) if type(entry) is tuple and len(entry) == 3 else (None, None)
        if type(key) is not int or key in storages:
            raise DamagedFileError("a storage has no key of its own", path=source.path)
        (numel,) = struct.unpack("<q", source.read(at, 8))
        kinds[key] = tensors.kind(kind)
        nbytes = numel * kinds[key].width
        storages[key] = tensors.storage(kinds[key], FileStorage(source, at + 8, nbytes), numel)
        at += 8 + nbytes
    views, at = _next(source, at)
    for view in views if type(views) is list else ():
        if type(view) is not tuple or len(view) != 4 or not all(type(number) is int for number in view):
            raise DamagedFileError("a view of a storage is damaged", path=source.path)
        key, root, offset, numel = view
        if root not in kinds:
            raise DamagedFileError(f"a view is of the unknown storage {root}", path=source.path)
        raw = storages[root].pieces[0].storage
        storages[key] = tensors.storage(kinds[root], raw, numel, offset * kinds[root].width)
    return storages


def _read_tensors(source: Source, storages: dict[int, StorageArray], tensors: Tensors) -> dict[int, Any]:
    """Read (key, storage, class), then dimensions, sizes, strides and offset of each."""
    arrays: dict[int, Any] = {}
    count, at = _count(source)
    for _ in range(count):
        entry, at = _next(source, at)
        key, home = entry[:2] if type(entry) is tuple and len(entry) == 3 else (None, None)
        if type(key) is not int or type(home) is not int or home not in storages:
            raise DamagedFileError("a tensor has no key, or no storage", path=source.path)
        (dimensions,) = struct.unpack("<i", source.read(at, 4))
        if not 0 <= dimensions <= 64:
            raise DamagedFileError(f"a tensor has {dimensions} dimensions", path=source.path)
        numbers = struct.unpack(f"<{2 * dimensions + 1}q", source.read(at + 8, 16 * dimensions + 8))
        at += 16 + 16 * dimensions
        size, stride = numbers[:dimensions], numbers[dimensions:-1]
        arrays[key] = tensors.window(storages[home], numbers[-1], size, stride)
    return arrays
