"""The error texts of torch: `load_state_dict`, optimizers, `torch.load` (torch 2.1 to 2.13)."""

from __future__ import annotations

import re
from typing import Final

from ckpt_core.keypath import join_name
from ckpt_core.validation.explaining.facts import FileFault, Mismatch, Shapes

__all__ = ["parse"]

_SIZE: Final = re.compile(
    r"size mismatch for (?P<name>[^\s:]+):.*?torch\.Size\(\[(?P<found>[\d, ]*)\]\)"
    r".*?torch\.Size\(\[(?P<expected>[\d, ]*)\]\)"
)
_MISSING: Final = re.compile(r"Missing key\(s\) in state_dict: (?P<names>.*)")
_UNEXPECTED: Final = re.compile(r"Unexpected key\(s\) in state_dict: (?P<names>.*)")
_NO_TENSOR: Final = re.compile(r"File does not contain tensor (?P<name>\S+)")
_QUOTED: Final = re.compile(r'"([^"]*)"')
_GLOBAL: Final = re.compile(r"Unsupported global: GLOBAL (?P<name>\S+)|Unsupported class (?P<other>\S+)")
_READER: Final = re.compile(r"PytorchStreamReader failed(?P<what>[^\n.]*)")
_NO_PROGRAM: Final = re.compile(r"failed locating file constants\.pkl|_jit_internal|no TorchScript")
_PROGRAM: Final = re.compile(r"with TorchScript archives passed to|is a TorchScript archive")
_OTHER_ZIP: Final = re.compile(r"file in archive is not in a subdirectory")
_NO_MAPPING: Final = re.compile(r"Expected state_dict to be dict-like, got <class '(?P<name>[^']+)'>")
_OPTIMIZER: Final = re.compile(
    r"loaded state dict (has a different number of parameter groups|"
    r"contains a parameter group that doesn't match the size of optimizer's group)"
)
_NO_CUDA: Final = re.compile(r"Attempting to deserialize object on (?:a )?(\w+) device")

_INSTEAD: Final = (
    "restore({path!r}, model) reads it without running anything",
    "ckpt convert {quoted} weights.safetensors --only weights",
)


def parse(text: str) -> Mismatch | FileFault | None:
    """Return what an error text of torch says, or None where it is none that is known."""
    return _load_state_dict(text) or _optimizer(text) or _torch_load(text)


def _load_state_dict(text: str) -> Mismatch | None:
    shapes = {_name(m["name"]): _shapes(m) for m in _SIZE.finditer(text)}
    missing, unexpected = (
        tuple(_name(name) for m in pattern.finditer(text) for name in _QUOTED.findall(m["names"]))
        for pattern in (_MISSING, _UNEXPECTED)
    )
    absent = _NO_TENSOR.search(text)
    if absent is not None:
        return Mismatch("safetensors: get_tensor", missing=(_name(absent["name"]),))
    if not shapes and not missing and not unexpected:
        return None
    return Mismatch("torch: load_state_dict", missing, unexpected, shapes, is_whole=True)


def _optimizer(text: str) -> Mismatch | None:
    match = _OPTIMIZER.search(text)
    if match is None:
        return None
    what = "has another number of parameter groups" if "groups" in match[1] else "has groups of other sizes"
    hint = (
        f"the saved optimizer {what} than the live one: other layers are trained or frozen, or the groups "
        "(weight decay or not) are made in another way"
    )
    return Mismatch("torch: the optimizer's load_state_dict", hint=hint)


def _torch_load(text: str) -> FileFault | None:
    named = _GLOBAL.search(text)
    if named is not None:
        name = (named["name"] or named["other"]).rstrip(".,")
        cause = (
            f"the file holds an object of {name} beside its arrays, and torch.load(weights_only=True) takes "
            "arrays and plain values alone"
        )
        return FileFault("torch: weights_only", cause, _INSTEAD, name)
    if "Weights only load failed" in text:
        cause = "torch.load(weights_only=True) met something that is no array and no plain value, or no torch file"
        return FileFault("torch: weights_only", cause, _INSTEAD)
    if _NO_CUDA.search(text):
        cause = "the tensors were saved on a device that is not here, and torch.load puts them back there"
        remedies = ('torch.load(..., map_location="cpu")', "restore({path!r}, model) reads to the CPU first")
        return FileFault("torch: a device that is not here", cause, remedies)
    for pattern, fault in _FAULTS:
        if pattern.search(text):
            return fault
    reader = _READER.search(text)
    if reader is not None:
        cause = f"torch's reader of ZIP archives failed{reader['what'].rstrip('. ')}: the file is cut off or damaged"
        return FileFault("torch: a damaged file", cause, ("ckpt inspect {quoted} says where",))
    held = _NO_MAPPING.search(text)
    if held is not None:
        cause = f"load_state_dict was given a {held['name']}, and takes a state dict"
        return FileFault(
            "torch: load_state_dict", cause, ("restore({path!r}, model) takes the weights from the file",)
        )
    return None


_FAULTS: Final = (
    (
        _NO_PROGRAM,
        FileFault(
            "torch: no TorchScript",
            "torch.jit.load was given a file of torch.save, which holds values and no program",
            ("torch.load({path!r})", "restore({path!r}, model)"),
        ),
    ),
    (
        _PROGRAM,
        FileFault(
            "torch: a TorchScript program",
            "torch.load was given a TorchScript program, which torch.jit.load opens",
            (
                "torch.jit.load({path!r})",
                "restore({path!r}, model) takes the weights alone, and runs nothing",
            ),
        ),
    ),
    (
        _OTHER_ZIP,
        FileFault(
            "torch: another ZIP archive",
            "it is a ZIP archive that torch.save did not write (.npz, .keras and others are such, too)",
            ("ckpt inspect {quoted} says what it is",),
        ),
    ),
)


def _name(dotted: str) -> str:
    return join_name(tuple(dotted.split(".")))


def _shapes(match: re.Match[str]) -> Shapes:
    expected, found = (
        tuple(int(size) for size in match[side].split(",") if size.strip()) for side in ("expected", "found")
    )
    return expected, found
