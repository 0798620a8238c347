"""MetricsTable: the metrics of a run as records, CSV or a DataFrame."""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ckpt_core.errors import MissingDependencyError
from ckpt_core.rendering.html import table_html
from ckpt_core.runs.entry import Entry

__all__ = ["MetricsTable", "metrics_table"]


@dataclass(frozen=True)
class MetricsTable:
    """One row per checkpoint; a value that was not saved is None.

    Arguments:
        columns: name, epoch, step, time and state, the metrics in the order in which they first appear, and the
            running bests after them.
        rows: the values.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    def records(self) -> list[dict[str, Any]]:
        """Return each row as a dict."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def csv(self) -> str:
        """Return the table as CSV (RFC 4180), numbers in full precision, an empty cell for what was not saved."""
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(self.columns)
        writer.writerows(["" if value is None else value for value in row] for row in self.rows)
        return text.getvalue()

    def dataframe(self) -> Any:
        """Return the table as a pandas DataFrame, times as UTC timestamps.

        Raises:
            MissingDependencyError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise MissingDependencyError(
                "a DataFrame needs pandas", remedy="Install pandas, or use records() or csv()."
            ) from error
        frame = pd.DataFrame.from_records(self.rows, columns=list(self.columns))
        frame["time"] = pd.to_datetime(frame["time"], utc=True)
        return frame

    def _repr_html_(self) -> str:
        return table_html(self.columns, self.rows)


def metrics_table(entries: Iterable[Entry]) -> MetricsTable:
    """Return the metrics of checkpoints as a table."""
    entries = list(entries)
    metrics = list(dict.fromkeys(name for entry in entries for name in entry.metrics))
    bests = list(dict.fromkeys(name for entry in entries for name in entry.running_bests))
    rows = [
        (
            entry.name,
            entry.epoch,
            entry.step,
            dt.datetime.fromtimestamp(entry.time, dt.timezone.utc).isoformat(timespec="seconds"),
            entry.state,
            *(entry.metrics.get(name) for name in metrics),
            *(entry.running_bests.get(name) for name in bests),
        )
        for entry in entries
    ]
    return MetricsTable(("name", "epoch", "step", "time", "state", *metrics, *bests), tuple(rows))
