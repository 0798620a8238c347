"""The metadata of a fitted tree: the source's own, and the exact tree as a document where something is carried."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from ckpt_core.arrays import LazyArray
from ckpt_core.backend import Stored
from ckpt_core.errors import CheckpointError
from ckpt_core.fitting import neutral
from ckpt_core.fitting.kinds import word_of
from ckpt_core.fitting.ledger import Ledger, Remark
from ckpt_core.tree import KeyPath, flatten, map_with_path, render_path

__all__ = ["attributes_of"]

_JSON_DEPTH: Final = 150
"""Levels of nesting that a document may have, well within what JSON parsers take."""


def attributes_of(source: Stored, ledger: Ledger) -> dict[str, Any]:
    """Return the metadata to write; what it cannot say is moved to the losses."""
    own = {key: value for key, value in source.attributes.items() if key != neutral.DOCUMENT}
    if ledger.holds.attributes == "none":
        ledger.losses.extend(Remark("", f"the metadata {key!r}") for key in own)
        return {}
    kept = own
    if ledger.holds.attributes == "text":
        kept = {key: value for key, value in own.items() if isinstance(value, str)}
    rest = {key: value for key, value in own.items() if key not in kept}
    if not (ledger.carried or rest or _is_reinterpreted(ledger)):
        return kept
    document = {neutral.DOCUMENT: neutral.VERSION, "tree": _encoded(source.tree, ledger)}
    extra = {"tied": ledger.tied, "copies": ledger.copies, "attributes": rest}
    document.update({key: value for key, value in extra.items() if value})
    try:
        if max((len(path) for path, _ in flatten(source.tree)), default=0) > _JSON_DEPTH:
            raise RecursionError(f"nested deeper than {_JSON_DEPTH} levels")
        return {**kept, neutral.DOCUMENT: json.dumps(document, separators=(",", ":"), ensure_ascii=False)}
    except (RecursionError, ValueError, UnicodeEncodeError) as error:
        ledger.losses.extend(ledger.carried)
        ledger.losses.append(Remark("", f"the exact tree, which JSON cannot describe ({error})"))
        ledger.carried.clear()
        return kept


def _is_reinterpreted(ledger: Ledger) -> bool:
    return any(array.dtype not in ledger.holds.dtypes for _, array in ledger.names.values())


def _encoded(tree: Any, ledger: Ledger) -> Any:
    holds = ledger.holds

    def reference(path: KeyPath, array: LazyArray) -> Mapping[str, Any]:
        entry = ledger.names.get(path)
        if entry is None:
            return {"lost": True}
        name = ledger.name(entry[0])
        usual = render_path(path) if holds.containers else ".".join(map(word_of, path))
        fields: dict[str, Any] = {} if name == usual else {"name": name}
        if array.dtype not in holds.dtypes:
            fields["dtype"] = array.dtype
        return fields

    return neutral.encode(_encodable(tree, ledger), reference)


def _encodable(tree: Any, ledger: Ledger) -> Any:
    """The tree with every value that has no neutral form replaced by its text."""

    def leaf(path: KeyPath, value: Any) -> Any:
        if isinstance(value, LazyArray):
            return value
        try:
            neutral.encode_value(value)
        except CheckpointError:
            ledger.lose(path, f"a {type(value).__name__}, written as its text")
            return repr(value)[:1000]
        return value

    return map_with_path(leaf, tree)
