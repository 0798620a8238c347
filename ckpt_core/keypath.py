"""Key paths: the only place that renders and parses them.

A key path is a tuple of typed keys. Rendered, a string key is itself, a position `[0]`, any other dictionary
key a Python literal in parentheses `(0)`, a part of a Record `<args>`; keys are joined by `/`, and a backslash
escapes what would be misread. `parse_path` inverts `render_path`. `docs/neutral-schema.md` is the norm.
"""

from __future__ import annotations

import ast
import math
import re
from dataclasses import dataclass
from typing import Any, Final

from ckpt_core.errors import UsageError

__all__ = [
    "Index",
    "Key",
    "KeyPath",
    "Part",
    "join_name",
    "parse_path",
    "render_key",
    "render_path",
    "split_name",
]


class Index(int):
    """The position of an element in a list or tuple."""

    def __repr__(self) -> str:
        return f"[{int(self)}]"


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a Record that is no field: `args`, `appended` or `state`."""

    name: str


Key = Any  # str, Index, Part, or any other hashable dictionary key
KeyPath = tuple[Key, ...]


_PLAIN: Final = re.compile(r"[^/\\\[(<][^/\\]*\Z", re.DOTALL)


def render_key(key: Key) -> str:
    """Render one key of a path."""
    if type(key) is str:
        if _PLAIN.match(key):
            return key
        text = key.replace("\\", "\\\\").replace("/", "\\/")
        if not text:
            return "('')"
        return "\\" + text if text[0] in "[(<" else text
    if isinstance(key, Index):
        return f"[{int(key)}]"
    if isinstance(key, Part):
        return f"<{key.name}>"
    return "(" + _literal(key).replace("\\", "\\\\").replace("/", "\\/") + ")"


def _literal(key: Key) -> str:
    if isinstance(key, float) and not math.isfinite(key):
        return f"'{key!r}'"
    return repr(key)


def render_path(path: KeyPath) -> str:
    """Render a key path; `parse_path` is its inverse.

    Example:
        >>> render_path(("layers", Index(0), "a/b", 7))
        'layers/[0]/a\\\\/b/(7)'
    """
    return "/".join([key if type(key) is str and _PLAIN.match(key) else render_key(key) for key in path])


def parse_path(text: str) -> KeyPath:
    """Parse a rendered key path.

    Raises:
        UsageError: a key in brackets or parentheses is not one.
    """
    if not text:
        return ()
    return tuple(
        _parse_key(part) for part in re.findall(r"((?:[^/\\]|\\.)*)(?:/|\Z)", text, re.DOTALL)[: _count(text)]
    )


def _count(text: str) -> int:
    return len(re.sub(r"\\.", "", text, flags=re.DOTALL).split("/"))


def _parse_key(part: str) -> Key:
    plain = re.sub(r"\\(.)", r"\1", part, flags=re.DOTALL)
    if part[:1] == "\\" and part[1:2] not in ("\\", "/"):
        return plain
    if re.fullmatch(r"\[\d+\]", part):
        return Index(part[1:-1])
    if re.fullmatch(r"<[a-z]+>", part):
        return Part(part[1:-1])
    if part[:1] == "(" and part[-1:] == ")":
        try:
            return ast.literal_eval(plain[1:-1])
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            raise UsageError(f"{part!r} is not a key: a literal in parentheses is expected") from None
    if part[:1] in ("[", "<", "("):
        raise UsageError(
            f"{part!r} is not a key; a name that begins so is written with a backslash before it"
        )
    return plain


# Names of the neutral view, whose segments are all text.


def join_name(segments: tuple[str, ...]) -> str:
    """Return the segments of a weight's name joined by `/`; a `/` inside of one is escaped by a backslash.

    Example:
        >>> join_name(("encoder", "conv/1", "weight"))
        'encoder/conv\\\\/1/weight'
    """
    name = "/".join(segments)
    if name.count("/") < len(segments):
        return name
    return "/".join([segment.replace("/", "\\/") for segment in segments])


def split_name(name: str) -> tuple[str, ...]:
    """Return the segments of a weight's name; the inverse of `join_name`."""
    if "\\" not in name:
        return tuple(name.split("/"))
    return tuple([segment.replace("\\/", "/") for segment in re.split(r"(?<!\\)/", name)])
