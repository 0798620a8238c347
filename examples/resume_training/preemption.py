"""Being asked to stop: the signal is noted, and the loop ends after the batch that it is in."""

from __future__ import annotations

import os
import signal
from types import FrameType

__all__ = ["STOPPED", "Preemption"]

STOPPED = 128 + signal.SIGTERM
"""The exit code of a run that was stopped."""


class Preemption:
    """Notes SIGTERM, which clusters send before they take a machine away.

    Arguments:
        at: the step after which this process sends itself the signal, so that the example can be run at will.
    """

    def __init__(self, at: int | None = None) -> None:
        self.at = at
        self.is_asked = False
        signal.signal(signal.SIGTERM, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.is_asked = True

    def after(self, step: int) -> bool:
        """Say whether to stop after this step."""
        if step == self.at:
            os.kill(os.getpid(), signal.SIGTERM)
        return self.is_asked
