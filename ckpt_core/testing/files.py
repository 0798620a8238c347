"""Files: closing, equal bytes for equal trees, aborted writing, damage."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpt_core.arrays import LazyArray
from ckpt_core.backend import Stored
from ckpt_core.dtypes import ITEMSIZE
from ckpt_core.errors import CheckpointError, ClosedError
from ckpt_core.source import Source
from ckpt_core.storage import Storage
from ckpt_core.testing.case import BackendCase, arrays_of
from ckpt_core.testing.compare import differences
from ckpt_core.testing.samples import random_array
from ckpt_core.tree import KeyPath, map_with_path

__all__ = ["FileTests"]


class FileTests(BackendCase):
    """Files appear whole or not at all, and damaged ones are refused."""

    def test_reading_after_close_is_an_error(self, tmp_path: Path) -> None:
        self.save(self.target(tmp_path), {"a": random_array(self.dtype, (64, 64))})
        with Source(self.target(tmp_path)) as source:
            array = self.open(source).tree["a"]
            array[:1]
        with pytest.raises(ClosedError, match="closed"):
            array.read()

    def test_saving_is_deterministic(self, tmp_path: Path) -> None:
        tree = {
            "b": {"w": random_array(self.dtype, (3, 4))},
            "a": random_array(self.dtype, ()),
            "n": [1, None, "x"],
        }
        contents = []
        for name in ("first", "second"):
            folder = tmp_path / name
            folder.mkdir()
            self.save(self.target(folder), tree, {"key": "value"})
            contents.append(
                {name: data for name, data in _files(folder).items() if Path(name).name not in self.volatile}
            )
        assert contents[0] == contents[1]

    @pytest.mark.parametrize("has_old", [False, True])
    def test_an_aborted_save_leaves_nothing(self, tmp_path: Path, has_old: bool) -> None:
        path = self.target(tmp_path)
        if has_old:
            self.save(path, {"old": random_array(self.dtype, (2,))})
        before = _files(tmp_path)
        broken = LazyArray((64,), self.dtype, _Failing(64 * ITEMSIZE[self.dtype]))
        tree = {"a": random_array(self.dtype, (2,)), "broken": broken, "z": random_array(self.dtype, (2,))}
        with pytest.raises(_DiskError):
            self.save(path, tree, force=True)
        gc.collect()
        assert _files(tmp_path) == before

    def test_truncated_files_are_refused(self, tmp_path: Path) -> None:
        tree = self._small_tree()
        path = self.target(tmp_path)
        self.save(path, tree, {"note": "x"} if self.holds.attributes != "none" else {})
        for file in _regular_files(path):
            data = file.read_bytes()
            for length in sorted({*np.linspace(0, len(data) - 1, 60).astype(int).tolist(), len(data) - 1}):
                file.write_bytes(data[:length])
                self._same_or_refused(path, tree, f"{file.name} cut to {length} of {len(data)} bytes")
            file.write_bytes(data)

    def test_missing_files_are_refused(self, tmp_path: Path) -> None:
        tree = self._small_tree()
        path = self.target(tmp_path)
        self.save(path, tree)
        if not path.is_dir():
            pytest.skip("a single file")
        for file in _regular_files(path):
            data = file.read_bytes()
            file.unlink()
            self._same_or_refused(path, tree, f"without {file.name}")
            file.write_bytes(data)

    def test_damaged_files_raise_no_other_errors(self, tmp_path: Path) -> None:
        path = self.target(tmp_path)
        self.save(path, self._small_tree())
        random = np.random.default_rng(11)
        for file in _regular_files(path):
            data = file.read_bytes()
            for _ in range(150):
                damaged = bytearray(data)
                for _ in range(int(random.integers(1, 4))):
                    damaged[int(random.integers(len(data)))] = int(random.integers(256))
                file.write_bytes(damaged)
                self._opened_or_refused(path)
            file.write_bytes(data)

    def _small_tree(self) -> dict[str, Any]:
        return {
            "model": {"w": random_array(self.dtype, (5, 7)), "b": random_array(self.dtype, (7,), 1)},
            "step": 3,
            "name": "x",
        }

    def _same_or_refused(self, path: Path, tree: Any, what: str) -> None:
        """A reader may do without a file that is gone, where it can, if a note says so."""
        stored = self._opened_or_refused(path)
        if stored is None or stored.notes:
            return
        pair = (
            (arrays_of(tree), arrays_of(stored.tree))
            if self.holds.attributes == "none"
            else (tree, stored.tree)
        )
        found = differences(*pair)
        assert not found, f"{what}: {found}"

    def _opened_or_refused(self, path: Path) -> Stored | None:
        """Open a file that may be damaged, its arrays in memory; None where it is refused as it should be."""
        with Source(path) as source:
            try:
                if not self.backend.sniff(source):
                    return None
                stored = self.open(source)
                return Stored(map_with_path(_in_memory, stored.tree), stored.attributes, stored.notes)
            except CheckpointError:
                return None


def _in_memory(_: KeyPath, leaf: Any) -> Any:
    return LazyArray.from_numpy(leaf.read()) if isinstance(leaf, LazyArray) else leaf


def _files(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def _regular_files(path: Path) -> list[Path]:
    return [path] if path.is_file() else [file for file in sorted(path.rglob("*")) if file.is_file()]


class _DiskError(Exception):
    """What a disk that fails raises."""


class _Failing(Storage):
    """A storage that cannot be read."""

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes

    def read_into(self, offset: int, buffer: memoryview) -> None:
        raise _DiskError
