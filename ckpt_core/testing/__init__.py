"""The conformance suite: subclass BackendTests, and pytest shows whether a backend does its part.

This package needs pytest; nothing else in ckpt_core imports it.
"""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("ckpt_core.testing.backend_tests")  # before it is imported

from ckpt_core.testing.backend_tests import BackendTests  # noqa: E402  # must come after the line above
from ckpt_core.testing.compare import differences  # noqa: E402
from ckpt_core.testing.samples import FOREIGN, random_array  # noqa: E402

__all__ = ["FOREIGN", "BackendTests", "differences", "random_array"]
