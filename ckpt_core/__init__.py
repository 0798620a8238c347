"""Open any checkpoint without running it, and convert it into any other format."""

from __future__ import annotations

import importlib.util
import sys
import types
from typing import TYPE_CHECKING, Any

from ckpt_core import api

if TYPE_CHECKING:
    from ckpt_core.api import *  # noqa: F403  # the list of public names stands in api.py, once

__version__ = "0.1.0"

__all__: list[str] = []
__all__ += api.__all__


def __getattr__(name: str) -> Any:
    if name in api.__all__:
        return getattr(api, name)
    if not name.startswith("_") and importlib.util.find_spec(f"{__name__}.{name}") is not None:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]


class _Package(types.ModuleType):
    """This package, in which `transfer` is the function, also once the subpackage of that name was imported."""

    @property
    def transfer(self) -> Any:
        return api.transfer

    @transfer.setter
    def transfer(self, subpackage: types.ModuleType) -> None:
        """The import system puts each submodule here that it loads."""


sys.modules[__name__].__class__ = _Package
