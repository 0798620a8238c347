"""Text for people: values, sizes and tables that are safe to print, whatever a file says."""

from __future__ import annotations

import datetime as dt
import json
import math
import sys
from collections.abc import Mapping
from typing import Any

from ckpt_core.rendering.text import arrays_text, clean, clean_lines, count_text, size_text, table

__all__ = [
    "arrays_text",
    "clean",
    "clean_lines",
    "count_text",
    "duration_text",
    "emit",
    "emit_json",
    "number_text",
    "size_text",
    "spec_text",
    "table",
    "time_text",
    "value_text",
]


def emit(text: str) -> None:
    """Write text to stdout, at once."""
    sys.stdout.write(text if text.endswith("\n") else text + "\n")
    sys.stdout.flush()


def emit_json(value: Any) -> None:
    """Write one JSON object to stdout, as one line of ASCII."""
    emit(json.dumps(value, allow_nan=False))


def duration_text(seconds: float) -> str:
    """Return a duration in the unit that reads best."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 90:
        return f"{seconds:.1f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60} s"


def number_text(value: Any) -> str:
    """Return a number with as many digits as a person reads; text such as "NaN" as it is."""
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.6g}"
    return str(value)


def spec_text(leaf: Mapping[str, Any]) -> str:
    """Return the dtype and shape of a leaf: `float32[768, 2304]`."""
    return f"{leaf['dtype']}{list(leaf['shape'])}"


def time_text(value: Any) -> str:
    """Return when something was saved: seconds (or milliseconds) since 1970 also as a date."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 1e8 < value < 1e14:
        seconds = value if value < 1e11 else value / 1000
        when = dt.datetime.fromtimestamp(seconds, dt.timezone.utc)
        return f"{when:%Y-%m-%d %H:%M:%S} UTC ({number_text(value) if value < 1e6 else value})"
    return value_text(value)


def value_text(value: Any, limit: int = 100) -> str:
    """Return a JSON value on one short line."""
    if isinstance(value, str):
        return clean(value if value.strip() == value and value else json.dumps(value), limit)
    if isinstance(value, float):
        return number_text(value)
    if isinstance(value, list):
        if len(value) > 8:
            shown = ", ".join(value_text(item, 20) for item in value[:3])
            return clean(f"[{shown}, ... {value_text(value[-1], 20)}] ({len(value):,} values)", limit)
        return clean(f"[{', '.join(value_text(item, limit) for item in value)}]", limit)
    if isinstance(value, dict):
        if value.keys() == {"shape", "dtype", "nbytes"}:
            return spec_text(value)
        first = ", ".join(clean(key, 20) for key in list(value)[:4])
        return clean(f"{{{first}{', ...' if len(value) > 4 else ''}}}", limit)
    return clean(str(value), limit)
