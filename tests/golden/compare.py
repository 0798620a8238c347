"""Compare an opened tree with an expectation file; README.md beside it describes the format."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ckpt_core.arrays import LazyArray
from ckpt_core.tree import Alias, Index, Part, Record, flatten, get

LISTS = ("containers", "arrays", "values", "special", "opaque")
ROOT = Path(__file__).resolve().parent


def expectations() -> list[Path]:
    """Return every expectation file, sorted."""
    return sorted(ROOT.rglob("*.expected.json"))


def load(path: Path) -> dict[str, Any]:
    """Return one expectation."""
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def key_path(path: list[Any]) -> tuple[Any, ...]:
    """Return the key path that a listed path means."""
    keys: list[Any] = []
    for key in path:
        if isinstance(key, dict):
            keys.append(Part(key["part"]) if "part" in key else ast.literal_eval(key["key"]))
        else:
            keys.append(key if isinstance(key, str) else Index(key))
    return tuple(keys)


def openings(expected: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield (keyword arguments for open_checkpoint, expectation of what it opens): one, or one for each step."""
    if "steps" not in expected:
        yield {}, expected
        return
    names = list(expected["containers"][0]["keys"])
    for name, step in zip(names, expected["steps"], strict=True):
        part = dict(expected)
        for kind in LISTS:
            items = [item for item in expected.get(kind, []) if item["path"][:1] == [name]]
            part[kind] = [{**item, "path": item["path"][1:]} for item in items]
        yield {"step": step}, part


def differences(tree: Any, expected: dict[str, Any]) -> Iterator[str]:
    """Yield a line for each expected container, array, value and group that the tree does not have."""
    checks: dict[str, Any] = {
        "containers": _container,
        "arrays": _array,
        "values": _value,
        "special": _special,
        "opaque": _opaque,
    }
    find = _find_dotted if expected.get("view") == "state_dict" else _find
    ordered = "order of" not in expected.get("notes", "")
    for kind, check in checks.items():
        for item in expected.get(kind, []):
            if expected.get("view") and kind == "containers":
                continue
            try:
                node = find(tree, key_path(item["path"]))
            except KeyError as error:
                yield f"{item['path']}: not found: {error}"
                continue
            found = check(node, item, ordered) if kind == "containers" else check(node, item)
            if found is not None:
                yield f"{item['path']}: {found}"
    for kind in ("tied", "overlapping"):
        for group in expected.get(kind, []):
            pieces = [_find(tree, key_path(path)).pieces for path in group]
            if len({id(piece.storage) for each in pieces for piece in each}) != 1:
                yield f"{group}: not on one storage"
            views = {tuple((piece.offset, piece.strides) for piece in each) for each in pieces}
            if kind == "tied" and len(views) != 1:
                yield f"{group}: not tied"


def _find(tree: Any, path: tuple[Any, ...]) -> Any:
    """Return the node at a path, through the aliases on the way."""
    node = tree
    for key in path:
        while isinstance(node, Alias):
            node = get(tree, node.path)
        node = get(node, (key,))
    return node


def _find_dotted(tree: Any, path: tuple[Any, ...]) -> Any:
    """Return the node of a state dict's dotted name, in attributes or in the dicts that a module keeps."""
    node = tree
    for name in path[0].split("."):
        while isinstance(node, Alias):
            node = get(tree, node.path)
        homes = [node, *(node[kind] for kind in ("_parameters", "_buffers", "_modules") if kind in node)]
        node = get(next((home for home in homes if name in home), node), (name,))
    return node


def _container(node: Any, item: dict[str, Any], ordered: bool) -> str | None:
    kind = "record" if isinstance(node, Record) else type(node).__name__
    if kind != item["kind"]:
        return (
            f"a {kind} ({getattr(node, 'type_name', '')}), not a {item['kind']} ({item.get('type_name', '')})"
        )
    if kind == "record" and node.type_name != item["type_name"]:
        return f"of type {node.type_name}, not {item['type_name']}"
    if "length" in item:
        return None if len(node) == item["length"] else f"{len(node)} elements, not {item['length']}"
    keys, expected = list(node), [key_path([key])[0] for key in item["keys"]]
    if not ordered:
        keys, expected = sorted(keys, key=repr), sorted(expected, key=repr)
    return None if keys == expected else f"keys {keys}, not {expected}"


def _array(node: Any, item: dict[str, Any]) -> str | None:
    if item.get("scalar") and isinstance(node, (bool, int, float, complex, np.generic)):
        stored = np.frombuffer(bytes.fromhex(item["hex"]), np.dtype(item["dtype"]).newbyteorder("<"))[0]
        return None if stored == node else f"{node!r}, not {stored!r}"
    if not isinstance(node, LazyArray):
        return f"no array: {node!r:.200}"
    found = {
        "dtype": node.dtype,
        "shape": list(node.shape),
        "sha256": hashlib.sha256(_bytes(node)).hexdigest(),
    }
    wrong = {key: value for key, value in found.items() if value != item[key]}
    if wrong:
        return f"{wrong}, not { ({key: item[key] for key in wrong}) }; bytes {_bytes(node)[:64].hex()}, not {item.get('hex')}"
    return None


def _bytes(node: LazyArray) -> bytes:
    array = np.asarray(node[...])
    return (
        array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        if array.dtype.byteorder == ">"
        else array.tobytes()
    )


def _value(node: Any, item: dict[str, Any]) -> str | None:
    kind = item["type"]
    if kind.startswith("numpy."):
        if isinstance(node, np.generic) and f"numpy.{node.dtype.name}" == kind:
            node = np.asarray(node, node.dtype.newbyteorder("<")).tobytes().hex()
            return None if node == item["hex"] else f"{node}, not {item['hex']}"
        return f"{node!r:.200} of {type(node).__name__}, not a {kind}"
    if type(node).__name__ != kind:
        return f"{node!r:.200} of {type(node).__name__}, not a {kind} {item.get('value')}"
    text: Any = node
    if kind == "int":
        text = str(node)
    elif kind == "float":
        text = node.hex()
    elif kind == "complex":
        text = [node.real.hex(), node.imag.hex()]
    elif kind in ("bytes", "bytearray"):
        text = bytes(node).hex()
    elif kind not in ("str", "bool", "NoneType"):
        text = repr(node)
    return None if text == item["value"] else f"{text!r:.200}, not {item['value']!r}"


def _special(node: Any, item: dict[str, Any]) -> str | None:
    if isinstance(node, LazyArray):
        return f"a plain array of {node.dtype}, where {item['numpy_dtype']} has no neutral dtype"
    if "elements" in item:
        found = list(node["elements"])
        wrong = [_value(each, wanted) for each, wanted in zip(found, item["elements"], strict=False)]
        return (
            next(filter(None, wrong), None)
            if len(found) == len(item["elements"])
            else f"elements {found!r:.200}"
        )
    if isinstance(node, str):
        raw = {node.encode("utf-32-le").hex()}
    else:
        leaves = [leaf for _, leaf in flatten(node)]
        raw = {_bytes(leaf).hex() for leaf in leaves if isinstance(leaf, LazyArray)}
        raw |= {leaf.hex() for leaf in leaves if isinstance(leaf, bytes)}
    return None if item["hex"] in raw else f"{raw}, not {item['hex']}"


def _opaque(node: Any, item: dict[str, Any]) -> str | None:
    if item["type_name"] is not None and isinstance(node, Record) and node.type_name != item["type_name"]:
        return f"of type {node.type_name}, not {item['type_name']}"
    arrays = [leaf for _, leaf in flatten(node) if isinstance(leaf, LazyArray)]
    below = iter(
        [(leaf.dtype, list(leaf.shape), hashlib.sha256(_bytes(leaf)).hexdigest()) for leaf in arrays]
    )
    for wanted in item["arrays"]:
        if (wanted["dtype"], wanted["shape"], wanted["sha256"]) not in below:
            return f"no array {wanted['dtype']} {wanted['shape']} below {node!r:.200}"
    return None
