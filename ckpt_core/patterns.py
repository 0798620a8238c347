"""Patterns over names: `*` within a segment, `**` across segments, `?` for one character."""

from __future__ import annotations

import functools
import re

__all__ = ["compiled"]


@functools.lru_cache(256)
def compiled(pattern: str) -> re.Pattern[str]:
    """Return a pattern as a regular expression for whole names, whose segments are joined by `/` or by `.`.

    Example:
        >>> bool(compiled("encoder.**").fullmatch("encoder/conv1/weight"))
        True
    """
    text = ""
    for part in re.split(r"(\*\*/|/\*\*|\*\*|\*|\?|\.)", pattern):
        text += {
            "**/": "(?:.*/)?",
            "/**": "(?:/.*)?",
            "**": ".*",
            "*": "[^/]*",
            "?": "[^/]",
            ".": "[./]",
        }.get(part, re.escape(part))
    return re.compile(text, re.DOTALL)
