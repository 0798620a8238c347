"""The collector stands still while a tree is built, and finds the program's own settings as they were."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from ckpt_core.collector import paused_collector


@pytest.fixture
def frozen() -> Iterator[int]:
    """The number of objects that the program froze."""
    gc.freeze()
    yield gc.get_freeze_count()
    gc.unfreeze()


def build(count: int) -> list[list[int]]:
    with paused_collector():
        return [[i] for i in range(count)]


def test_it_is_off_inside_and_as_before_outside() -> None:
    with paused_collector():
        assert not gc.isenabled()
        with paused_collector():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
    gc.disable()
    try:
        build(10)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_what_was_built_is_not_walked_for_being_young() -> None:
    kept = build(200_000)
    assert gc.get_count()[0] < 100_000
    assert not gc.get_freeze_count()
    assert len(kept) == 200_000


@pytest.mark.parametrize("count", [10, 200_000])
def test_what_the_program_froze_stays_frozen(frozen: int, count: int) -> None:
    kept = build(count)
    assert gc.get_freeze_count() > frozen / 2  # some of them die meanwhile
    assert len(kept) == count


def test_a_small_tree_does_not_count_the_frozen(frozen: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(gc, "get_freeze_count", lambda: asked.append(1) or frozen)
    build(10)
    assert not asked
    build(200_000)
    assert asked
