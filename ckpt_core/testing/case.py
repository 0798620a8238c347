"""BackendCase: what a subclass says about its backend, and how the tests save, open and compare."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from ckpt_core.arrays import LazyArray
from ckpt_core.backend import Backend, Holds, Stored
from ckpt_core.errors import CheckpointError
from ckpt_core.fitting.fit import Fitted, fit
from ckpt_core.fitting.unfit import unfit
from ckpt_core.sink import Sink
from ckpt_core.source import Source
from ckpt_core.testing.compare import differences
from ckpt_core.tree import flatten

__all__ = ["BackendCase", "arrays_of", "sniff"]


class BackendCase:
    """What the tests share: the backend under test, and saving and opening with it as core does."""

    backend: ClassVar[Backend]
    """The object under test."""
    suffix: ClassVar[str] = ""
    """What the names of its files end with."""
    kindred: ClassVar[frozenset[str]] = frozenset()
    """The names in FOREIGN that are of this very format."""
    volatile: ClassVar[tuple[str, ...]] = ()
    """Names of files in a directory format whose content may differ from save to save (times)."""
    official_dtypes: ClassVar[frozenset[str] | None] = None
    """The dtypes that `official_load` gives; all that the backend holds when None."""

    def official_load(self, path: Path) -> Mapping[str, Any] | None:
        """Load a file with the format's own library: arrays by name. None where there is no library."""
        return None

    @property
    def holds(self) -> Holds:
        if self.backend.holds is None:
            pytest.skip(f"{self.backend.name} only reads")
        return self.backend.holds

    @property
    def dtype(self) -> str:
        """A dtype that the format holds, float32 if possible."""
        return "float32" if "float32" in self.holds.dtypes else min(self.holds.dtypes)

    def target(self, folder: Path, name: str = "checkpoint") -> Path:
        return folder / f"{name}{self.suffix}"

    def save(
        self, path: Path, tree: Any, attributes: Mapping[str, Any] | None = None, *, force: bool = False
    ) -> Fitted:
        """Fit and write a tree."""
        fitted = fit(Stored(tree, attributes or {}), self.holds)
        with Sink(path, force=force) as sink:
            self.backend.save(fitted.stored, sink, {})
        return fitted

    def open(self, source: Source) -> Stored:
        """Open a source, and bring back what its metadata describes."""
        return unfit(self.backend.open(source), self.backend.holds)[0]

    def check(self, folder: Path, tree: Any, attributes: Mapping[str, Any] | None = None) -> None:
        """Write a tree, claim it, read it back, and compare everything that the report does not name."""
        path = self.target(folder)
        fitted = self.save(path, tree, attributes)
        with Source(path) as source:
            assert self.backend.sniff(source), "sniff denies what save wrote"
            stored = self.open(source)
            if self.holds.attributes == "none":
                stored, tree = Stored(arrays_of(stored.tree)), arrays_of(tree)
            else:
                assert not fitted.losses, [str(loss) for loss in fitted.losses]
                assert dict(stored.attributes) == dict(attributes or {})
            assert differences(tree, stored.tree) == []


def sniff(backend: Backend, source: Source) -> bool:
    try:
        return backend.sniff(source)
    except CheckpointError:
        return False


def arrays_of(tree: Any) -> dict[str, LazyArray]:
    return {".".join(map(str, path)): leaf for path, leaf in flatten(tree) if isinstance(leaf, LazyArray)}
