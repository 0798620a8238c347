"""A progress bar with throughput on stderr, on a terminal only, and only for work that takes a while."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

__all__ = ["progress_bar"]

_PATIENCE: Final = 0.3
"""Seconds before a bar appears; rich itself is imported no earlier."""


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None] | None]:
    """Yield a function of (bytes done, bytes in all), or None where nobody watches.

    Arguments:
        what: what is being done, as shown beside the bar.
    """
    if not sys.stderr.isatty():
        yield None
        return
    bar = _Bar(what)
    try:
        yield bar.report
    finally:
        bar.close()


class _Bar:
    def __init__(self, what: str) -> None:
        self.what = what
        self.due = time.monotonic() + _PATIENCE
        self.progress: Any = None
        self.task: Any = None

    def report(self, done: int, total: int) -> None:
        if self.progress is None:
            if time.monotonic() < self.due:
                return
            self.progress = _rich_progress()
            self.task = self.progress.add_task(self.what, total=total)
            self.progress.start()
        self.progress.update(self.task, completed=done, total=total)

    def close(self) -> None:
        if self.progress is not None:
            self.progress.stop()


def _rich_progress() -> Any:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=Console(stderr=True), transient=True)
