"""The conformance suite: subclass BackendTests, and pytest shows whether a backend does its part.

This package needs pytest; nothing else in ckpt_core imports it.
"""

from __future__ import annotations

import pytest

_MODULES = ("case", "claiming", "arrays", "trees", "files")
pytest.register_assert_rewrite(
    *(f"ckpt_core.testing.{name}" for name in _MODULES)
)  # before they are imported

from ckpt_core.testing.backend_tests import BackendTests  # noqa: E402  # after the line above
from ckpt_core.testing.compare import differences  # noqa: E402
from ckpt_core.testing.samples import FOREIGN, random_array  # noqa: E402

__all__ = ["FOREIGN", "BackendTests", "differences", "random_array"]
