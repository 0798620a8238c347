"""Error texts about the bytes of a file: pickles, safetensors, ZIP archives, numpy."""

from __future__ import annotations

import re
from typing import Final

from ckpt_core.layouts.spelling import ENTRIES
from ckpt_core.validation.explaining.facts import FileFault

__all__ = ["CLASS_GONE", "parse"]

CLASS_GONE: Final = "pickle: a class that is gone"

_LOAD_KEY: Final = re.compile(r"invalid load key, '(?P<key>.*?)'\.?")
_KEYS: Final = {
    "<": "an HTML or XML page: the download saved an error page, not the file",
    "v": "text that begins with v, such as a Git LFS pointer: run `git lfs pull` where it came from",
    "\\x1f": "gzip: it is compressed, and has to be opened as such",
    "P": "a ZIP archive (torch.save), or text that begins with P",
    "{": "JSON",
    "\\x93": "numpy's .npy",
    "\\x89": "HDF5",
}
_NO_MODULE: Final = re.compile(r"No module named '(?P<name>[\w.]+)'")
_NO_ATTRIBUTE: Final = re.compile(
    r"Can't get (?:local )?attribute '(?P<name>[\w.<>]+)' on <module '(?P<module>[\w.]+)'"
)
_PICKLE_CUT: Final = re.compile(r"pickle data was truncated|Ran out of input|unpickling stack underflow")
_SAFETENSORS: Final = re.compile(r"Error while deserializing header: (?P<what>[^\n]+)")
_SAFETENSORS_CAUSES: Final = (
    (r"(?i)header ?too ?large", "its first eight bytes are no length of a header: it is no safetensors file"),
    (r"(?i)header ?too ?small", "it is empty or nearly so"),
    (r"(?i)invalid ?header", "its header is cut off, or it is no safetensors file"),
    (
        r"(?i)incomplete ?metadata|MetadataIncompleteBuffer",
        "it is cut off: the header promises more bytes than there are",
    ),
)
_PERSISTENT: Final = re.compile(r"persistent id instruction was encountered|persistent_load function")
_OBJECTS: Final = re.compile(
    r"contains pickled \(object\) data|Object arrays cannot be loaded when allow_pickle=False"
)
_DIRECTORY: Final = re.compile(r"IsADirectoryError|Is a directory:")
_NO_ENTRY: Final = re.compile(r"^KeyError: '(?P<name>\w+)'\s*\Z", re.MULTILINE)
_COPY: Final = re.compile(r"Unable to avoid copy while creating an array")
_ZIP: Final = re.compile(r"BadZipFile|File is not a zip file|Bad magic number for file header")
_GONE: Final = re.compile(
    r"Checkpoint at \S+ not found|Metadata file \(named \S+\) does not exist|No such file or directory"
)

_NO_TORCH: Final = re.compile(r"Invalid magic number; corrupt file")
_INCOMPLETE: Final = re.compile(r"Found incomplete checkpoint at")

_INSPECT: Final = ("ckpt inspect {quoted} says what it is, and runs nothing in it",)
_FAULTS: Final = (
    (
        _PERSISTENT,
        FileFault(
            "pickle: a torch file",
            "torch.save wrote it, and its arrays stand outside of the pickle, where pickle.load does not find them",
            ("torch.load({path!r})", *_INSPECT),
        ),
    ),
    (
        _OBJECTS,
        FileFault(
            "numpy: a pickle",
            "numpy.load was given a pickle, or an array of Python objects, which is one",
            _INSPECT,
        ),
    ),
    (
        _NO_TORCH,
        FileFault(
            "torch: no torch file",
            "torch.load(weights_only=False) met a pickle that torch.save did not write",
            ("restore({path!r}, model) reads it, whatever its format", *_INSPECT),
        ),
    ),
    (
        _INCOMPLETE,
        FileFault(
            "orbax: no whole checkpoint",
            "Orbax was given a file, or a directory whose save did not finish",
            _INSPECT,
        ),
    ),
    (
        _DIRECTORY,
        FileFault(
            "a directory",
            "the path is a directory, where a file was expected",
            ("ckpt ls {quoted} lists the checkpoints in it",),
        ),
    ),
)


def parse(text: str) -> FileFault | None:
    """Return what an error text about a file's bytes says, or None where it is none that is known."""
    match = _LOAD_KEY.search(text)
    if match is not None:
        what = _KEYS.get(match["key"], "something else")
        return FileFault(
            "pickle: no pickle", f"the file is no pickle; its first byte is that of {what}", _INSPECT
        )
    match = _NO_ATTRIBUTE.search(text)
    if match is not None:
        return _class_gone(f"{match['module']}.{match['name']}")
    match = _NO_MODULE.search(text)
    if match is not None:
        return _class_gone(match["name"])
    if _PICKLE_CUT.search(text):
        return FileFault(
            "pickle: cut off", "the file ends before its pickle does: it is cut off or empty", _INSPECT
        )
    match = _SAFETENSORS.search(text)
    if match is not None:
        cause = next(
            (said for pattern, said in _SAFETENSORS_CAUSES if re.search(pattern, match["what"])),
            match["what"],
        )
        return FileFault(
            "safetensors: the header", f"the file cannot be read as safetensors: {cause}", _INSPECT
        )
    if _GONE.search(text):
        cause = "there is no such checkpoint, or it is a directory that holds checkpoints and is none"
        return FileFault("not found", cause, ("ckpt ls {quoted} lists what is there",))
    for pattern, fault in _FAULTS:
        if pattern.search(text):
            return fault
    match = _NO_ENTRY.search(text)
    if match is not None and match["name"] in ENTRIES:
        cause = f"the script asked for the entry {match['name']!r}, and the file is arranged in another way"
        ways = ("ckpt inspect {quoted} says how", "restore({path!r}, model) finds the weights")
        return FileFault("a key that is not there", cause, ways)
    if _ZIP.search(text):
        return FileFault(
            "zip: no archive", "the file is no whole ZIP archive: cut off, or of another format", _INSPECT
        )
    if _COPY.search(text):
        cause = (
            "a library that was written for numpy 1 asked for an array without a copy, which numpy 2 refuses"
        )
        return FileFault("numpy: copy=False", cause, ("update that library, or pin numpy<2",))
    return None


def _class_gone(name: str) -> FileFault:
    cause = (
        f"the file holds objects by their class, and Python cannot import {name}: "
        "the code that saved it is not installed, or was moved"
    )
    remedies = (
        "ckpt inspect {quoted} reads it as data, without the class",
        "ckpt convert {quoted} weights.safetensors --only weights",
    )
    return FileFault(CLASS_GONE, cause, remedies, name)
