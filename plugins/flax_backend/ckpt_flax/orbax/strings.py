"""The texts of an item, in the file that Orbax keeps them in: found by the JSON pointer that their name is.

Source: `StringHandler` in Orbax's `type_handlers.py`, which lets tensorstore's `json` driver resolve `/NAME`. So a
`/` in a name nests, and `~0` and `~1` stand for `~` and `/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ckpt_core.errors import UnsupportedError

__all__ = ["nested", "text_at"]


def nested(strings: Mapping[str, str]) -> dict[str, Any]:
    """Return the object in which each name, as a pointer, leads to its text.

    Raises:
        UnsupportedError: no pointer tells two of the names apart; core lets no such names through.
    """
    root: dict[str, Any] = {}
    for name, text in strings.items():
        *above, last = name.split("/")
        node = root
        for part in above:
            node = node.setdefault(part, {})
            if not isinstance(node, dict):
                raise UnsupportedError("the name of a text begins with that of another", place=name[:200])
        if last in node:
            raise UnsupportedError("the name of a text is the beginning of another", place=name[:200])
        node[last] = text
    return root


def text_at(root: Mapping[str, Any], name: str) -> str | None:
    """Return the text of a name, or None where there is none."""
    node: Any = root
    for part in name.split("/"):
        node = node.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(node, dict) else None
    if type(node) is not str:
        node = root.get(name)  # as this library wrote names with slashes at first
    return node if type(node) is str else None
