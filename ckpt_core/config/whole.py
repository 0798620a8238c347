"""whole: the size that a config value is, if it is one."""

from __future__ import annotations

from typing import Any

from ckpt_core.config.coerce import scalar

__all__ = ["whole"]


def whole(value: Any) -> int | None:
    """Return a value as a whole number; None for anything that is no number, or no whole one.

    Example:
        >>> whole(6.0), whole("6"), whole(True), whole(6.5)
        (6, 6, None, None)
    """
    value = scalar(value)
    if isinstance(value, str) and value.strip().isdecimal() and len(value) < 20:
        return int(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return int(value) if abs(value) < 1 << 63 and int(value) == value else None  # also not NaN
