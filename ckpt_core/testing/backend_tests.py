"""BackendTests: what every backend must do, as tests to subclass.

    class TestNpz(BackendTests):
        backend = NpzBackend()
        suffix = ".npz"

A backend without `holds` only reads; the tests of writing are skipped for it. The suite calls the backend the way
core does: a tree is fitted to `holds`, saved into a Sink, and read back from a Source.
"""

from __future__ import annotations

from ckpt_core.testing.arrays import ArrayTests
from ckpt_core.testing.claiming import ClaimingTests
from ckpt_core.testing.files import FileTests
from ckpt_core.testing.trees import TreeTests

__all__ = ["BackendTests"]


class BackendTests(ClaimingTests, ArrayTests, TreeTests, FileTests):
    """The tests of one backend; override what BackendCase says, and add your own beside them."""
