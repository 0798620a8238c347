"""What holds for all tests: one CPU device, seeded property tests, and no terminal width or colour from outside."""

from __future__ import annotations

import os

os.environ.update(JAX_PLATFORMS="cpu", MPLBACKEND="agg", COLUMNS="100", NO_COLOR="1")

from hypothesis import settings

# Wall-clock limits would fail on a busy machine; the same examples everywhere make a failure one that can be found.
settings.register_profile("seeded", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("seeded")
