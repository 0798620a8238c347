"""Claiming: a backend knows its own files, and takes no others for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ckpt_core.backend import Backend
from ckpt_core.dtypes import ITEMSIZE
from ckpt_core.errors import CheckpointError
from ckpt_core.source import Source
from ckpt_core.testing.case import BackendCase, sniff
from ckpt_core.testing.samples import FOREIGN

__all__ = ["ClaimingTests"]


class ClaimingTests(BackendCase):
    """What a backend states about itself, and which files it claims."""

    def test_states_what_it_is(self) -> None:
        assert self.backend.name and self.backend.name == self.backend.name.strip().lower()
        assert self.backend.looks_for != Backend.looks_for, "say in looks_for what sniff looks for"
        assert all(suffix and "/" not in suffix for suffix in self.backend.suffixes)
        if self.backend.holds is not None:
            assert self.backend.holds.dtypes <= set(ITEMSIZE)
            assert self.backend.holds.attributes in ("json", "text", "none")

    @pytest.mark.parametrize("kind", sorted(FOREIGN))
    def test_denies_other_formats(self, tmp_path: Path, kind: str) -> None:
        if kind in self.kindred:
            pytest.skip("its own format")
        path = self.target(tmp_path)
        path.write_bytes(FOREIGN[kind])
        with Source(path) as source:
            assert not sniff(self.backend, source)

    def test_denies_short_files(self, tmp_path: Path) -> None:
        for length in range(9):
            path = self.target(tmp_path, str(length))
            path.write_bytes(bytes(range(length)))
            with Source(path) as source:
                assert not sniff(self.backend, source)

    def test_denies_strange_directories(self, tmp_path: Path) -> None:
        path = self.target(tmp_path)
        path.mkdir()
        with Source(path) as source:
            assert not sniff(self.backend, source)
        (path / "readme.txt").write_text("hello")
        with Source(path) as source:
            assert not sniff(self.backend, source)

    @pytest.mark.parametrize("kind", sorted(FOREIGN))
    def test_refuses_other_formats_that_it_is_told_to_open(self, tmp_path: Path, kind: str) -> None:
        if kind in self.kindred:
            pytest.skip("its own format")
        path = self.target(tmp_path)
        path.write_bytes(FOREIGN[kind])
        with Source(path) as source, pytest.raises(CheckpointError):
            self.backend.open(source)
