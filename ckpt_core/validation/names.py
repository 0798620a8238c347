"""Names that almost agree: a prefix that one side has, and what was probably meant by each name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from ckpt_core.arrays import ArraySpec
from ckpt_core.keypath import join_name, split_name

__all__ = ["common_prefix", "near_names", "without_prefix"]

_NUMBER: Final = re.compile(r"([0-9]+)")
_PATTERNS: Final = 120
"""Different names on each side, numbers left out, that are compared with each other."""

_PROBES: Final = 8
_DEEPEST: Final = 6
_NEAR: Final = 0.6
_SAME_SPEC: Final = 0.15
"""How much two names count as nearer when their arrays have one shape and dtype."""


# A prefix.


def common_prefix(found: Collection[str], expected: Collection[str]) -> tuple[str, str] | None:
    """Return the first segments to take off the names in the checkpoint, and off those in the model.

    Without them every name that the model expects is in the checkpoint. One of the two may be empty. None where
    there is no such pair, or where nothing needs to be taken off.
    """
    ours, theirs = ({split_name(name) for name in side} for side in (found, expected))
    if not ours or not theirs or theirs <= ours:
        return None
    for mine, other in _candidates(ours, theirs):
        if {name[len(other) :] for name in theirs} <= _stripped(ours, mine):
            return join_name(mine), join_name(other)
    return None


Segments = tuple[str, ...]


def _stripped(names: Iterable[Segments], prefix: Segments) -> set[Segments]:
    depth = len(prefix)
    return {name[depth:] for name in names if name[:depth] == prefix}


def _candidates(ours: set[Segments], theirs: set[Segments]) -> list[tuple[Segments, Segments]]:
    """Pairs of prefixes that make one long name of one side a name of the other, the shortest first."""
    pairs: dict[tuple[Segments, Segments], None] = {}
    for probe in sorted(theirs, key=len, reverse=True)[:_PROBES]:
        for name in ours:
            if len(name) > len(probe) and name[-len(probe) :] == probe:
                pairs[name[: -len(probe)], ()] = None
    shared = _shared(theirs)
    mine = _shared(ours)
    for depth in range(1, min(len(shared), _DEEPEST) + 1):
        pairs[(), shared[:depth]] = None
        for other in range(1, min(len(mine), _DEEPEST) + 1):
            pairs[mine[:other], shared[:depth]] = None
    return sorted(pairs, key=lambda pair: (len(pair[0]) + len(pair[1]), pair))


def _shared(names: Iterable[Segments]) -> Segments:
    """The first segments that all names have, the last one of each name left out."""
    low, high = min(names), max(names)  # what the smallest and the largest share, all share
    shared = 0
    while shared < min(len(low), len(high)) - 1 and low[shared] == high[shared]:
        shared += 1
    return low[:shared]


def without_prefix(names: Iterable[str], prefix: str) -> dict[str, str]:
    """Return what names become without a prefix, those that do not begin with it left out."""
    if not prefix:
        return {name: name for name in names}
    return {name: name[len(prefix) + 1 :] for name in names if name.startswith(prefix + "/")}


# What was meant.


def near_names(missing: Mapping[str, ArraySpec], unexpected: Mapping[str, ArraySpec]) -> dict[str, str]:
    """Return for each missing name the unexpected one that was probably meant, where there is one.

    Names are compared with their numbers left out, so that a hundred blocks cost as much as one; every name is
    meant by one other at most.

    Arguments:
        missing: what the model expects, by name.
        unexpected: what the checkpoint has instead, by name.
    """
    wanted, there = _by_pattern(missing), _by_pattern(unexpected)
    scores = []
    for pattern, names in list(wanted.items())[:_PATTERNS]:
        matcher = difflib.SequenceMatcher(autojunk=False)
        matcher.set_seq2(pattern)
        for other, others in list(there.items())[:_PATTERNS]:
            is_alike = missing[next(iter(names.values()))] == unexpected[next(iter(others.values()))]
            bonus = _SAME_SPEC if is_alike else 0.0
            matcher.set_seq1(other)
            if matcher.real_quick_ratio() + bonus < _NEAR or matcher.quick_ratio() + bonus < _NEAR:
                continue
            score = matcher.ratio() + bonus
            if score >= _NEAR:
                scores.append((-score, pattern, other))
    found: dict[str, str] = {}
    taken: set[str] = set()
    for _, pattern, other in sorted(scores):
        for name, meant in _paired(wanted[pattern], there[other]):
            if name not in found and meant not in taken:
                found[name] = meant
                taken.add(meant)
    return found


Numbers = tuple[str, ...]


def _by_pattern(names: Iterable[str]) -> dict[str, dict[Numbers, str]]:
    """Names by what they are without their numbers, then by these."""
    groups: dict[str, dict[Numbers, str]] = {}
    for name in names:
        parts = _NUMBER.split(name)
        groups.setdefault("#".join(parts[::2]), {})[tuple(parts[1::2])] = name
    return groups


def _paired(names: Mapping[Numbers, str], others: Mapping[Numbers, str]) -> list[tuple[str, str]]:
    """Pair names of two patterns that have the same numbers; single ones whatever their numbers are."""
    if len(names) == len(others) == 1:
        return list(zip(names.values(), others.values(), strict=True))
    return [(name, others[numbers]) for numbers, name in names.items() if numbers in others]
