"""The pickle backend: golden files of every vintage, and pickle, joblib and cloudpickle themselves as judges."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ckpt_pickle.backend import PickleBackend

from ckpt_core.compression import compression_of, decompressed
from ckpt_core.source import Source
from ckpt_core.testing import BackendTests
from tests.backends.golden_files import GOLDEN, check, expectation

BACKEND = PickleBackend()
GOLDEN_FILES = sorted(
    str(path.relative_to(GOLDEN))
    for path in (GOLDEN / "pickle").iterdir()
    if not path.name.endswith(".expected.json")
)


@pytest.mark.parametrize("name", GOLDEN_FILES)
def test_golden_files_read_as_their_generator_wrote_them(name: str) -> None:
    with Source(GOLDEN / name) as source:
        compression = None if BACKEND.sniff(source) else compression_of(source)
        if compression is not None:
            source = decompressed(source, compression)
        assert BACKEND.sniff(source)
        check(BACKEND.open(source).tree, expectation(name))


class TestPickle(BackendTests):
    backend = BACKEND
    suffix = ".pkl"
    kindred = frozenset({"pickle 0", "pickle 2", "pickle 4", "pickle 5"})

    def official_load(self, path: Path) -> Mapping[str, Any]:
        loaded = pickle.loads(path.read_bytes())
        assert isinstance(loaded, dict)
        return loaded
