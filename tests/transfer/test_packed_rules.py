"""The rules for packed matrices that docs/transfer.md shows: what they make, and that they lead back."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ckpt_core import transfer
from ckpt_core.transfer.toml import parse_plan

PAGE = Path(__file__).parents[2] / "docs" / "transfer.md"
WIDTH, HEADS, LAYERS = 32, 4, 12


def rule_about(name: str) -> str:
    fences = re.findall(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return next(fence for fence in fences if name in fence)


def source(name: str) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {f"layers.{i}.attention.{name}.weight": rng.normal(size=(3 * WIDTH, WIDTH)) for i in range(LAYERS)}


def test_head_by_head() -> None:
    before = source("query_key_value")
    like = {
        f"layers_{i}": {n: {"kernel": np.zeros((WIDTH, WIDTH))} for n in ("query", "key", "value")}
        for i in range(LAYERS)
    }
    plan = parse_plan(rule_about("query_key_value"))
    there = transfer(before, like, rules=plan).load()
    packed = before["layers.5.attention.query_key_value.weight"].reshape(HEADS, 3, -1, WIDTH)
    np.testing.assert_array_equal(there["layers_5"]["key"]["kernel"], packed[:, 1].reshape(-1, WIDTH).T)
    back = transfer(there, before, rules=plan, reverse=True).load()
    assert all(np.array_equal(back[name], array) for name, array in before.items())


def test_packed_on_one_side_and_scanned_on_the_other() -> None:
    before = source("qkv")
    like = {"layers": {n: {"kernel": np.zeros((LAYERS, WIDTH, WIDTH))} for n in ("query", "key", "value")}}
    plan = parse_plan(rule_about("deal"))
    there = transfer(before, like, rules=plan).load()
    packed = before["layers.5.attention.qkv.weight"]
    np.testing.assert_array_equal(there["layers"]["value"]["kernel"][5], packed[2 * WIDTH :].T)
    back = transfer(there, before, rules=plan, reverse=True).load()
    assert all(np.array_equal(back[name], array) for name, array in before.items())
