"""MsgpackBackend: Flax's msgpack (`flax.serialization.to_bytes`, and the `checkpoint_N` files of old), without Flax.

The metadata of a container travels in the top-level map as an extra first entry, whose key is repeated by the
real first entry: in every msgpack reader the later entry wins, so Flax never sees it. Its value is the text
"ckpt_core:" followed by JSON. A tree that is an empty map has no entry to hide behind; there the metadata is the
only entry, under the key "ckpt_core".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from ckpt_core.backend import Backend, Holds, Stored
from ckpt_core.errors import DamagedFileError, UnsupportedError
from ckpt_core.sink import Sink
from ckpt_core.source import Source
from ckpt_flax.msgpack.reading import HEADER_MARK, parse
from ckpt_flax.msgpack.sniffing import looks_like_flax
from ckpt_flax.msgpack.writing import write

__all__ = ["MsgpackBackend", "read_msgpack"]

_OWN_KEY: Final = "ckpt_core"


class MsgpackBackend(Backend):
    """Flax msgpack files.

    Flax's own state dicts are made of dictionaries with texts as keys, lists and tuples included, and
    `from_bytes` looks for exactly these; so this is what `holds` states, although msgpack knows lists.
    """

    name = "msgpack"
    framework = "flax"
    suffixes = (".msgpack",)
    looks_for = "msgpack map that begins with a name"
    holds = Holds(
        values=frozenset({"None", "bool", "int", "float", "complex", "str", "bytes", "scalar"}),
        containers=frozenset({"dict"}),
    )

    def sniff(self, source: Source) -> bool:
        if source.is_directory or not looks_like_flax(source):
            return False
        # One byte can be an empty map, and more likely is all that is left of a pickle: the name decides.
        return source.size > 1 or source.name.endswith(self.suffixes)

    def open(self, source: Source) -> Stored:
        tree, attributes = _read(source)
        return Stored(tree, attributes)

    def save(self, stored: Stored, sink: Sink, options: Mapping[str, object]) -> None:
        tree, header = _with_header(stored)
        with sink.file() as file:
            write(file, tree, header)


def read_msgpack(source: Source) -> Any:
    """Return the tree of a Flax msgpack file; arrays stay where they are.

    Arguments:
        source: the file, or a window of one.

    Raises:
        DamagedFileError: it is not well-formed.
    """
    return _read(source)[0]


def _read(source: Source) -> tuple[Any, dict[str, Any]]:
    tree, header = parse(source)
    if header is None and type(tree) is dict and len(tree) == 1:
        text = tree.get(_OWN_KEY)
        if type(text) is str and text.startswith(HEADER_MARK):
            tree, header = {}, text[len(HEADER_MARK) :]
    if header is None:
        return tree, {}
    try:
        attributes = json.loads(header)
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(
            f"is not valid JSON: {error}", path=source.path, place="metadata entry"
        ) from None
    if not isinstance(attributes, dict):
        raise DamagedFileError("is no JSON object", path=source.path, place="metadata entry")
    return tree, attributes


def _with_header(stored: Stored) -> tuple[Any, str | None]:
    """Return the tree to write, and the text of its metadata entry where it needs one."""
    tree, attributes = stored.tree, dict(stored.attributes)
    if not attributes and not _is_mistakable(tree):
        return tree, None
    if not isinstance(tree, dict):
        raise UnsupportedError("metadata has a place only in a file whose top level is a dictionary")
    header = HEADER_MARK + json.dumps(attributes, separators=(",", ":"), ensure_ascii=False)
    return (tree, header) if tree else ({_OWN_KEY: header}, None)


def _is_mistakable(tree: Any) -> bool:
    """Say whether a tree would read as the metadata of an empty one."""
    text = tree.get(_OWN_KEY) if isinstance(tree, dict) and len(tree) == 1 else None
    return type(text) is str and text.startswith(HEADER_MARK)
