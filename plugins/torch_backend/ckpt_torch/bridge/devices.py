"""Where a torch model goes, and whether it fits there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from ckpt_core.errors import DeviceMemoryError, UsageError
from ckpt_core.rendering.text import size_text

__all__ = ["check_room", "device_named", "moved", "where_is"]


def device_named(device: Any) -> torch.device | None:
    """Return a device that is there, by its name; "auto" is the accelerator where there is one, else the CPU.

    Raises:
        UsageError: there is no such device here, or it holds no values (meta).
    """
    if device is None:
        return None
    if device == "auto":
        return _accelerator() or torch.device("cpu")
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).partition("\n")[0]
        raise UsageError(
            f"there is no device {device!r} here: {reason}", remedy='device="auto" takes what is there.'
        ) from None
    if found.type == "meta":
        raise UsageError("the meta device holds no values", remedy='device="cpu" does.')
    return found


def _accelerator() -> torch.device | None:
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("mps") if torch.backends.mps.is_available() else None


def check_room(needed: int, device: torch.device) -> None:
    """Raise DeviceMemoryError when a device says that it has fewer bytes free than needed."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        if needed > free:
            raise too_large(needed, device, f"{size_text(free)} of {size_text(total)} are free")


def too_large(needed: int, device: torch.device, reason: str) -> DeviceMemoryError:
    """Return the error that says how many bytes a device lacks room for."""
    return DeviceMemoryError(
        f"the model needs {needed:,} bytes ({size_text(needed)}) on {device}: {reason}",
        remedy='It was left as it was. device="cpu" needs none there.',
    )


def moved(module: torch.nn.Module, device: torch.device) -> None:
    """Move a module, all of it or nothing.

    Raises:
        DeviceMemoryError: it does not fit; the module is where it was.
    """
    tensors = list(_tensors(module))
    places = [tensor.device for tensor in tensors]
    needed = sum(tensor.nbytes for tensor in tensors if tensor.device != device)
    check_room(needed, device)
    try:
        module.to(device)
    except RuntimeError as error:
        for tensor, place in zip(tensors, places, strict=True):
            tensor.data = tensor.data.to(place)
        if "out of memory" not in str(error):
            raise
        raise too_large(needed, device, str(error).partition("\n")[0]) from error


def where_is(module: torch.nn.Module) -> str:
    """Return the devices of a module's arrays, in words."""
    return ", ".join(dict.fromkeys(str(tensor.device) for tensor in _tensors(module))) or "cpu"


def _tensors(module: torch.nn.Module) -> Iterable[torch.Tensor]:
    yield from module.parameters()
    yield from module.buffers()
