"""What carries a checkpoint's name and is none, or is one that nothing here reads: what it is, and what to do."""

from __future__ import annotations

from typing import Final

from ckpt_core.source import Source

__all__ = ["distributed", "lookalike"]

Told = tuple[str, str]
"""What it is, as a clause, and what to do about it, as a sentence."""

_BACKEND: Final = "A backend for a format is a small plugin: docs/write-a-backend.md."
_UNPACK: Final = "Unpack it, and open what was in it."

_MAGIC: Final = {
    b"\x89HDF\r\n\x1a\n": ("is an HDF5 file (.h5, Keras), which no installed backend reads", _BACKEND),
    b"GGUF": ("is a GGUF file, which no installed backend reads", _BACKEND),
    b"\x93NUMPY": ("is a NumPy array (.npy), which no installed backend reads", _BACKEND),
    b"\x28\xb5\x2f\xfd": ("is compressed by zstd", _UNPACK),
    b"\x04\x22\x4d\x18": ("is compressed by lz4", _UNPACK),
    b"7z\xbc\xaf\x27\x1c": ("is a 7z archive", _UNPACK),
    b"Rar!\x1a\x07": ("is a RAR archive", _UNPACK),
}
"""The first bytes of files that people take for checkpoints."""

_FROM_SERVERS: Final = (
    b'{"error',
    b'{"message',
    b"access denied",
    b"access to model",
    b"entry not found",
    b"invalid username or password",
    b"not found",
    b"repository not found",
)
_TAIL: Final = 65_557


def distributed(source: Source) -> Told | None:
    """Name what `torch.distributed.checkpoint` writes: its parts look like torch files, and are none that open."""
    if source.is_directory:
        is_one = source.has(".metadata") and any(name.endswith(".distcp") for name in source.members())
    else:
        is_one = source.name.endswith(".distcp")
    if not is_one:
        return None
    return (
        f"is {'' if source.is_directory else 'a part of '}a distributed checkpoint of torch, which no backend reads",
        "Merge it: python -m torch.distributed.checkpoint.format_utils dcp_to_torch DIRECTORY model.pth",
    )


def lookalike(source: Source) -> Told | None:
    """Name the usual things that carry a checkpoint's name and are none."""
    if source.is_directory:
        return _directory(source)
    head = source.head
    start = head[:512].lstrip().lower()
    if head.startswith(b"version https://git-lfs.github.com/spec/"):
        return "is a Git LFS pointer, not the file itself", "Run `git lfs pull` to fetch it."
    if start.startswith((b"<!doctype html", b"<html", b"<?xml")):
        return (
            "is a web page, not a checkpoint",
            "The download saved an error or a log-in page; fetch it again.",
        )
    if start.startswith(_FROM_SERVERS):
        return "is an error message that a server sent", "Fetch the file again."
    if not head.strip(b"\0") and len(head) >= 64:
        return "begins with zeros only", "A download or copy that never finished leaves this; fetch it again."
    if head.startswith(b"PK\x03\x04"):
        return _zip(source)
    if head[257:262] == b"ustar":
        return "is a tar archive that holds no checkpoint format", _UNPACK
    if source.name.endswith((".part", ".crdownload", ".incomplete", ".tmp", ".aria2")):
        return "is a download that is not finished", "Wait for it, or fetch it again."
    return next((told for magic, told in _MAGIC.items() if head.startswith(magic)), None)


def _directory(source: Source) -> Told | None:
    names = source.members()
    if not names:
        return "is an empty directory", "Check the path."
    if source.has(".git"):
        return "is a repository, and holds no checkpoint at its top", "Name the file or directory inside."
    if source.has("refs") and source.has("snapshots"):
        return (
            "is a hub's cache of a repository, with a directory for each revision",
            "Name one of the directories in snapshots/.",
        )
    if source.has("saved_model.pb") or any(".data-00000-of-" in name for name in names):
        return "is a checkpoint of TensorFlow, which no installed backend reads", _BACKEND
    return None


def _zip(source: Source) -> Told:
    tail = source.read(max(source.size - _TAIL, 0), min(source.size, _TAIL))
    if b"PK\x05\x06" not in tail:
        return (
            "is a zip file without its directory at the end, which is what a half download looks like",
            "Fetch it again.",
        )
    first = source.head[30 : 30 + int.from_bytes(source.head[26:28], "little")]
    if first.endswith(b".npy"):
        return (
            "is a NumPy archive (.npz), which no installed backend reads",
            "A backend for it is about 25 lines: docs/write-a-backend.md.",
        )
    if b"model.weights.h5" in tail:
        return "is a Keras archive (.keras), which no installed backend reads", _BACKEND
    if b"archive_format" in tail:
        return (
            "is a program of torch.export (.pt2), which no backend reads",
            "Save its state_dict, and open that.",
        )
    return (
        "is a zip file that holds no checkpoint format",
        "If a directory was zipped, unzip it and open that.",
    )
