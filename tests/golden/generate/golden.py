"""Seeded bits, and the expectation file that goes with each golden file.

Runs on Python 3.7 and later with any numpy: the scripts beside it run in environments years apart. The bits
come from SHA-256 and not from a random generator, so that every environment makes the same ones.

A script builds an expected tree of dict, list, tuple, plain values, `Arr`, `Rec`, `Special` and `Opaque` from
what it put in, never from what it read back, and calls `expect`.
"""

from __future__ import annotations

import hashlib
import json
import platform
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
HEX_LIMIT = 64

# Bit patterns that a conversion through another type would change: NaN payloads, -0.0, infinity, subnormals.
SPECIAL = {
    "float16": ("<u2", [0x7E12, 0xFE34, 0x8000, 0x7C00, 0x0001]),
    "bfloat16": ("<u2", [0x7FC5, 0xFFE1, 0x8000, 0x7F80, 0x0001]),
    "float32": ("<u4", [0x7FC12345, 0xFFD54321, 0x80000000, 0x7F800000, 0x00000001]),
    "float64": ("<u8", [0x7FF8000012345678, 0xFFF9ABCDEF012345, 1 << 63, 0x7FF << 52, 1]),
    "complex64": ("<u4", [0x7FC12345, 0xFFD54321, 0x80000000, 0x7F800000, 0x00000001, 0x3F800000]),
    "complex128": ("<u8", [0x7FF8000012345678, 0xFFF9ABCDEF012345, 1 << 63, 0x7FF << 52]),
}
SIZES = {"bool": 1, "float16": 2, "bfloat16": 2, "float32": 4, "float64": 8, "complex64": 8, "complex128": 16}
SIZES.update({f"{sign}int{bits}": max(bits // 8, 1) for sign in ("", "u") for bits in (2, 4, 8, 16, 32, 64)})


class Arr:
    """An array leaf: neutral dtype name, shape, and its bytes, little-endian in C order.

    `scalar` says that a Python or numpy scalar was saved, and that its container keeps only a 0-d array of it.
    """

    def __init__(self, dtype: str, shape: Any, data: bytes, *, scalar: bool = False) -> None:
        self.scalar = scalar
        self.dtype, self.shape, self.data = dtype, tuple(int(n) for n in shape), data
        count = int(np.prod(self.shape, dtype=np.int64))
        assert len(data) == count * itemsize(dtype), (dtype, shape, len(data))

    def numpy(self) -> np.ndarray:
        """Return a fresh writable array; a dtype that numpy lacks comes as ml_dtypes' one."""
        if self.dtype in SIZES and self.dtype != "bfloat16" and not self.dtype.endswith(("int2", "int4")):
            dtype = np.dtype(self.dtype).newbyteorder("<")
        else:
            import ml_dtypes

            dtype = np.dtype(getattr(ml_dtypes, self.dtype))
        return np.frombuffer(self.data, dtype).reshape(self.shape).copy()

    def raw(self) -> np.ndarray:
        """Return the same bits as unsigned integers of the same size, for libraries without the dtype."""
        size = itemsize(self.dtype)
        return np.frombuffer(self.data, f"<u{size}" if size <= 8 else "<u8").copy()


class Rec:
    """An object saved by its class: dotted name (or None where the format keeps none), fields, other state."""

    def __init__(self, type_name: str | None, fields: dict[Any, Any], state: Any = None) -> None:
        self.type_name, self.fields, self.state = type_name, fields, state


class Special:
    """A numpy array or scalar whose dtype has no neutral name: dates, strings, records, objects."""

    def __init__(self, value: Any, elements: Any = None) -> None:
        array = np.asarray(value)
        self.scalar = isinstance(value, np.generic)
        self.dtype = array.dtype
        self.shape = array.shape
        self.data = None if array.dtype.hasobject else array.tobytes()
        self.elements = elements


class Opaque:
    """An object whose inner paths are the reader's own matter; these arrays stand somewhere below, in order."""

    def __init__(self, type_name: str | None, arrays: list[Any]) -> None:
        self.type_name, self.arrays = type_name, arrays


def itemsize(dtype: str) -> int:
    """Return the bytes per element of a neutral dtype; sub-byte integers take one."""
    return SIZES.get(dtype, 1)


def bits(seed: str, count: int) -> bytes:
    """Return `count` bytes that depend on `seed` alone."""
    out = b""
    while len(out) < count:
        out += hashlib.sha256(f"{seed}:{len(out)}".encode()).digest()
    return out[:count]


def arr(seed: str, dtype: str = "float32", shape: Any = (3, 4)) -> Arr:
    """Return an array of random bits, with the special patterns of its dtype in front."""
    count = int(np.prod(shape, dtype=np.int64))
    data = np.frombuffer(bits(f"{seed}/{dtype}", count * itemsize(dtype)), "u1").copy()
    if dtype == "bool":
        data &= 1
    elif dtype.startswith(("float4_", "float6_")):
        data &= 15 if dtype.startswith("float4_") else 63
    elif dtype.endswith("int4"):
        data &= 15
        if dtype == "int4":
            data = ((data.astype("i1") ^ 8) - 8).view("u1")
    elif dtype.endswith("int2"):
        data &= 3
        if dtype == "int2":
            data = ((data.astype("i1") ^ 2) - 2).view("u1")
    elif dtype in SPECIAL:
        code, patterns = SPECIAL[dtype]
        words = data.view(code)
        # The leaf of one or two elements keeps random bits, so that not every small leaf is a NaN.
        if len(words) > len(patterns):
            words[: len(patterns)] = patterns
    return Arr(dtype, shape, data.tobytes())


def of(array: Any, dtype: str | None = None) -> Arr:
    """Return the expectation of a numpy array that is already at hand."""
    array = np.asarray(array)
    little = array.astype(array.dtype.newbyteorder("<")) if array.dtype.byteorder == ">" else array
    return Arr(dtype or array.dtype.name, array.shape, little.tobytes())


def path_key(key: Any) -> Any:
    return key if isinstance(key, str) else {"key": repr(key)}


def encode(value: Any) -> dict[str, Any]:
    """Encode a plain value with its type, exactly."""
    if isinstance(value, np.generic):
        dtype = value.dtype
        return {
            "type": f"numpy.{dtype.name}",
            "hex": np.asarray(value, dtype.newbyteorder("<")).tobytes().hex(),
        }
    if value is None or isinstance(value, (bool, str)):
        return {"type": type(value).__name__, "value": value}
    if isinstance(value, int):
        return {"type": "int", "value": str(value)}
    if isinstance(value, float):
        return {"type": "float", "value": value.hex()}
    if isinstance(value, complex):
        return {"type": "complex", "value": [value.real.hex(), value.imag.hex()]}
    if isinstance(value, (bytes, bytearray)):
        return {"type": type(value).__name__, "value": bytes(value).hex()}
    return {"type": type(value).__name__, "value": repr(value)}


def digest(array: Arr) -> dict[str, Any]:
    out: dict[str, Any] = {"dtype": array.dtype, "shape": list(array.shape)}
    out["sha256"] = hashlib.sha256(array.data).hexdigest()
    if len(array.data) <= HEX_LIMIT:
        out["hex"] = array.data.hex()
    if array.scalar:
        out["scalar"] = True
    return out


def listing(tree: Any) -> dict[str, list[Any]]:
    """Return the lists of an expectation file for an expected tree."""
    out: dict[str, list[Any]] = {"containers": [], "arrays": [], "values": [], "special": [], "opaque": []}
    _list(tree, [], out)
    return out


def _list(node: Any, path: list[Any], out: dict[str, list[Any]]) -> None:
    if isinstance(node, Arr):
        out["arrays"].append({"path": path, **digest(node)})
    elif isinstance(node, Special):
        out["special"].append({"path": path, **_special(node)})
    elif isinstance(node, Opaque):
        out["opaque"].append(
            {"path": path, "type_name": node.type_name, "arrays": [digest(a) for a in node.arrays]}
        )
    elif isinstance(node, (Rec, dict)):
        fields = node.fields if isinstance(node, Rec) else node
        kind = {"kind": "record", "type_name": node.type_name} if isinstance(node, Rec) else {"kind": "dict"}
        out["containers"].append({"path": path, **kind, "keys": [path_key(k) for k in fields]})
        for key, child in fields.items():
            _list(child, [*path, path_key(key)], out)
        if isinstance(node, Rec) and node.state is not None:
            _list(node.state, [*path, {"part": "state"}], out)
    elif isinstance(node, (list, tuple)):
        kind_name = "tuple" if isinstance(node, tuple) else "list"
        out["containers"].append({"path": path, "kind": kind_name, "length": len(node)})
        for index, child in enumerate(node):
            _list(child, [*path, index], out)
    else:
        out["values"].append({"path": path, **encode(node)})


def _special(node: Special) -> dict[str, Any]:
    out: dict[str, Any] = {"numpy_dtype": node.dtype.str, "scalar": node.scalar, "shape": list(node.shape)}
    if node.dtype.names:
        out["descr"] = repr(node.dtype.descr)
    if node.data is not None:
        out.update(sha256=hashlib.sha256(node.data).hexdigest(), hex=node.data.hex())
    if node.elements is not None:
        out["elements"] = node.elements
    return out


def expect(
    name: str, tree: Any, *, how: str, notes: str = "", tied: Any = (), overlapping: Any = (), **more: Any
) -> None:
    """Write `<name>.expected.json` beside the golden file.

    Arguments:
        name: path of the golden file or directory below tests/golden.
        tree: the expected tree.
        how: the libraries that wrote it, with versions.
        notes: what is particular about the file.
        tied: groups of paths (lists of keys) whose leaves share storage, offset, shape and stride.
        overlapping: groups of paths whose leaves share storage otherwise.
        more: further facts, as JSON.
    """
    assert (ROOT / name).exists(), name
    content: dict[str, Any] = {"file": name, "written_by": how, "python": platform.python_version()}
    if notes:
        content["notes"] = notes
    content.update({key: value for key, value in listing(tree).items() if value})
    for key, groups in (("tied", tied), ("overlapping", overlapping)):
        if groups:
            content[key] = [[list(path) for path in group] for group in groups]
    content.update(more)
    text = json.dumps(content, indent=None, sort_keys=False, separators=(",", ":"))
    for word in ("containers", "arrays", "values", "special", "opaque", "tied"):
        text = text.replace(f',"{word}":[', f',\n"{word}":[\n')
    text = text.replace('},{"path"', '},\n{"path"')
    (ROOT / f"{name}.expected.json").write_text(text + "\n")


def without_paths(data: bytes, *scripts: str) -> bytes:
    """Return cloudpickle's bytes with the file names of code objects blanked, at their length."""
    import sys

    for folder in sorted({*scripts, *sys.path}, key=len, reverse=True):
        if len(folder) > 8:
            data = data.replace(folder.encode(), b"/" + b"x" * (len(folder) - 1))
    return data


def target(name: str) -> Path:
    """Return the path of a golden file to write, cleared, with its folder made."""
    import shutil

    path = ROOT / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        shutil.rmtree(str(path))
    elif path.exists():
        path.unlink()
    return path
