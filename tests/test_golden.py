"""Golden files of every format and vintage must read the same for ever."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ckpt_core import open_checkpoint
from ckpt_core.arrays import LazyArray

GOLDEN = Path(__file__).parent / "golden"
sys.path.insert(0, str(GOLDEN))

import compare  # noqa: E402  # the module beside the files

EXPECTATIONS = [compare.load(path) for path in compare.expectations()]


@pytest.mark.parametrize("expected", EXPECTATIONS, ids=[expected["file"] for expected in EXPECTATIONS])
def test_reads_as_it_was_written(expected):
    for arguments, part in compare.openings(expected):
        with open_checkpoint(GOLDEN / expected["file"], **arguments) as ckpt:
            assert list(compare.differences(ckpt.tree, part)) == []


def test_a_changed_byte_would_be_noticed():
    expected = next(e for e in EXPECTATIONS if e["file"].startswith("safetensors/") and e.get("arrays"))
    with open_checkpoint(GOLDEN / expected["file"]) as ckpt:
        tree = dict(ckpt.tree)
        name = next(name for name, leaf in tree.items() if isinstance(leaf, LazyArray) and leaf.nbytes)
        values = tree[name].read()
        values.view("u1").reshape(-1)[0] ^= 1
        tree[name] = LazyArray.from_numpy(values)
        assert list(compare.differences(tree, expected)) != []


def test_every_format_has_golden_files():
    assert {expected["file"].split("/")[0] for expected in EXPECTATIONS} >= {
        "torch",
        "pickle",
        "safetensors",
        "msgpack",
        "orbax",
    }
    assert len(EXPECTATIONS) > 150
