"""TorchBackend: `.pth`, `.pt`, `.ckpt` and `.bin` files, read in every vintage and written as today's torch does."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import ClassVar

from ckpt_core.arrays import LazyArray
from ckpt_core.backend import Backend, Holds, Stored
from ckpt_core.sink import Sink
from ckpt_core.source import Source
from ckpt_core.tree import Global, Record
from ckpt_torch.formats import open_torch, sniff_torch
from ckpt_torch.save import CLASSES, UNTYPED, save_zip

__all__ = ["TorchBackend"]


class TorchBackend(Backend):
    """Files of `torch.save`."""

    name = "torch"
    framework = "pt"
    suffixes = (".pth", ".pt", ".ckpt", ".bin")
    looks_for = (
        "a ZIP archive with DIRECTORY/data.pkl, torch's magic number, or a tar archive with 'storages'"
    )
    holds: ClassVar[Holds] = Holds(
        dtypes=frozenset(CLASSES) | frozenset(UNTYPED),
        values=frozenset({"None", "bool", "int", "float", "complex", "str", "surrogates", "bytes"}),
        containers=frozenset({"dict", "list", "tuple", "OrderedDict"}),
        keys=frozenset({"str", "surrogates", "int", "float", "bool", "None", "tuple", "bytes"}),
        int_bits=2040,  # the loader of weights_only=True takes 255 bytes
        sharing=True,
        overlapping=True,
        attributes="json",
    )

    def sniff(self, source: Source) -> bool:
        return sniff_torch(source)

    def open(self, source: Source) -> Stored:
        return open_torch(source)

    def adopt(self, value: object) -> LazyArray | Record | Global | None:
        if "torch" not in sys.modules:
            return None
        from ckpt_torch.bridge import arrays

        return arrays.adopt(value)

    def save(self, stored: Stored, sink: Sink, options: Mapping[str, object]) -> None:
        with sink.file() as file:
            save_zip(stored, file)
