"""The garbage collector, out of the way while a large tree is built."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["paused_collector"]

_MANY = 100_000
"""From so many new objects on, walking them costs more than asking whether the program froze some of its own."""


@contextmanager
def paused_collector() -> Iterator[None]:
    """Building a large tree makes no garbage, and the collector would walk it again and again."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            # What was built is old at once, instead of walked for being young. The count of frozen objects comes last:
            # Python finds it by walking them.
            if gc.get_count()[0] > _MANY and not gc.get_freeze_count():
                gc.freeze()
                gc.unfreeze()
            gc.enable()
