"""Comparing what was read with the expectation beside a golden file."""

from __future__ import annotations

import ast
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from ckpt_core import dtypes
from ckpt_core.arrays import LazyArray
from ckpt_core.tree import Alias, Record, get, walk

GOLDEN = Path(__file__).parents[1] / "golden"


def expectation(name: str) -> dict[str, Any]:
    """Return the expectation of a golden file."""
    content = json.loads((GOLDEN / f"{name}.expected.json").read_text())
    assert isinstance(content, dict)
    return content


def golden_files(folder: str) -> list[str]:
    """Return the names of the golden files in a folder, for `expectation` and for paths below GOLDEN."""
    found = sorted((GOLDEN / folder).rglob("*.expected.json"))
    return [str(path.relative_to(GOLDEN)).removesuffix(".expected.json") for path in found]


def node_at(tree: Any, path: list[Any]) -> Any:
    """Return the node at the path of an expectation; an alias is followed."""
    node = tree
    for step in path:
        if isinstance(node, Alias):
            node = get(tree, node.path)
        if isinstance(step, dict):
            node = node.state if "part" in step else node[ast.literal_eval(step["key"])]
        else:
            node = node[step]
    return get(tree, node.path) if isinstance(node, Alias) else node


def check_array(array: Any, expected: dict[str, Any]) -> None:
    """Assert dtype, shape and every bit."""
    if isinstance(array, np.generic) and expected["shape"] == []:  # numpy turns some 0-d arrays into scalars
        array = LazyArray.from_numpy(array)
    assert isinstance(array, LazyArray), (expected["path"], array)
    assert (array.dtype, array.shape) == (expected["dtype"], tuple(expected["shape"]))
    data = b"".join(bytes(tile) for tile in array.tiles())
    assert hashlib.sha256(data).hexdigest() == expected["sha256"], expected
    assert array.read().tobytes() == data


def check_value(value: Any, expected: dict[str, Any]) -> None:
    """Assert the type and the value of a leaf."""
    kind, text = expected["type"], expected.get("value")
    if kind.startswith("numpy."):
        assert isinstance(value, np.generic), (expected, value)
        assert dtypes.name_of(value.dtype) == kind.removeprefix("numpy.")
        assert value.tobytes().hex() == expected["hex"]
    elif kind in ("bytes", "bytearray"):
        assert value == bytes.fromhex(text), expected
    elif kind == "float":
        assert type(value) is float and value.hex() == text
    elif kind == "int":
        assert type(value) is int and value == int(text)
    elif kind == "complex":
        assert [value.real.hex(), value.imag.hex()] == text
    elif kind in ("NoneType", "bool", "str"):
        assert type(value).__name__ == kind and value == text, (expected, value)
    else:
        assert type(value).__name__.removeprefix("Pure") == kind.removeprefix("Pure"), (expected, value)
        assert repr(value).replace("Pure", "") == text.replace("Pure", ""), (expected, value)


def check_container(node: Any, expected: dict[str, Any], *, ordered: bool = True) -> None:
    """Assert the kind of a container and its keys or length."""
    kind = expected["kind"]
    if kind in ("list", "tuple"):
        assert type(node).__name__ == kind and len(node) == expected["length"], (expected, node)
        return
    if kind == "record":
        assert isinstance(node, Record), (expected, node)
        if expected["type_name"] is not None:
            assert node.type_name == expected["type_name"]
    else:
        assert type(node) is dict, (expected, node)
    ordered = ordered and "FrozenDict" not in str(expected.get("type_name"))  # jax sorts its keys
    keys = [key if isinstance(key, str) else ast.literal_eval(key["key"]) for key in expected["keys"]]
    assert (list(node) == keys) if ordered else (set(node) == set(keys)), (expected, list(node))


def check_special(node: Any, expected: dict[str, Any]) -> None:
    """Assert an array whose dtype has no neutral name: a Record that holds its bytes or elements."""
    if expected["scalar"] and expected["numpy_dtype"][1] in "US":
        assert isinstance(node, (str, bytes))
        return
    assert isinstance(node, Record), (expected, node)
    if "hex" in expected and not expected["scalar"]:
        data = b"".join(bytes(tile) for tile in node["data"].tiles())
        assert data.hex() == expected["hex"]
        assert tuple(node["shape"]) == tuple(expected["shape"])
        if "descr" not in expected:
            assert node["dtype"] == expected["numpy_dtype"], expected


def check(tree: Any, expected: dict[str, Any]) -> None:
    """Assert everything that an expectation says about a tree."""
    ordered = "the order of keys is" not in expected.get("notes", "")
    for item in expected.get("containers", []):
        check_container(node_at(tree, item["path"]), item, ordered=ordered)
    for item in expected.get("arrays", []):
        check_array(node_at(tree, item["path"]), item)
    for item in expected.get("values", []):
        check_value(node_at(tree, item["path"]), item)
    for item in expected.get("special", []):
        check_special(node_at(tree, item["path"]), item)
    for item in expected.get("opaque", []):
        node = node_at(tree, item["path"])
        if item["type_name"] is not None and isinstance(node, Record):
            name = re.sub(
                r"^numpy\.dtypes\..*", "numpy.dtype", item["type_name"]
            )  # what dtypes are pickled as
            assert node.type_name == name
        found = [leaf for _, leaf in walk(node) if isinstance(leaf, LazyArray)]
        assert len(found) >= len(item["arrays"]), item
        digests = {hashlib.sha256(b"".join(map(bytes, array.tiles()))).hexdigest() for array in found}
        assert digests >= {array["sha256"] for array in item["arrays"]}, item
    for group in expected.get("tied", []):
        assert len({node_at(tree, path).identity for path in group}) == 1
