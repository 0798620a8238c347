"""What a tree must be, whatever file it came from; and a digest of everything in it."""

from __future__ import annotations

import datetime
import hashlib
from pathlib import PurePath
from typing import Any

import numpy as np

from ckpt_core.arrays import LazyArray
from ckpt_core.dtypes import to_numpy
from ckpt_core.errors import CheckpointError
from ckpt_core.tree import Alias, Global, Record, get, render_path, walk

MAX_READ = 64 << 20
PLAIN = (bool, int, float, complex, str, bytes, np.generic, Global, datetime.date, datetime.time, datetime.timedelta,
         datetime.tzinfo, PurePath)  # fmt: skip


class BrokenRuleError(Exception):
    """A file ended in something that no file may end in."""


def well_formed(tree: Any) -> tuple[str, list[str]]:
    """Walk a tree and read its arrays.

    Returns:
        A digest of all of it, and the paths of the arrays that were refused.

    Raises:
        BrokenRuleError: there is something in it that is no node of a tree.
    """
    digest = hashlib.sha256()
    refused = []
    for path, node in walk(tree):
        place = render_path(path)
        if isinstance(node, LazyArray):
            try:
                note = _array(node)
            except CheckpointError as error:
                str(error)
                refused.append(place)
                note = "refused"
        elif isinstance(node, Alias):
            target = get(tree, node.path)
            if isinstance(target, Alias):
                raise BrokenRuleError(f"{place}: an alias of an alias")
            note = repr(node.path)
        elif isinstance(node, (dict, list, tuple)):
            note = node.type_name if isinstance(node, Record) else type(node).__name__
            if type(node) not in (dict, list, tuple, Record):
                raise BrokenRuleError(f"{place}: a {type(node).__name__} as a container")
        elif node is None or isinstance(node, PLAIN):
            note = f"{type(node).__name__} {node.hex() if isinstance(node, float) else node!r}"
        elif isinstance(node, (set, frozenset)):
            note = repr(sorted(map(repr, node)))
        else:
            raise BrokenRuleError(f"{place}: a {type(node).__name__} in the tree")
        digest.update(f"{place}\0{note}\0".encode(errors="backslashreplace"))
    return digest.hexdigest(), refused


def _array(array: LazyArray) -> str:
    if array.nbytes > MAX_READ:
        some = array[tuple(slice(0, 2) for _ in array.shape)]
        return f"{array.shape} {array.dtype} {some.tobytes().hex()}"
    data = array.read()
    if data.shape != array.shape or data.dtype != to_numpy(array.dtype):
        raise BrokenRuleError(f"an array of {array.spec} reads as {data.shape} {data.dtype}")
    if array.size:
        corner = array[tuple(slice(size - 1, size) for size in array.shape)]
        last = data[tuple(slice(size - 1, size) for size in array.shape)]
        if corner.tobytes() != last.tobytes():
            raise BrokenRuleError("a slice differs from the whole")
    return f"{array.shape} {array.dtype} {hashlib.sha256(data.tobytes()).hexdigest()}"
