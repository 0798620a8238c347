"""Metadata: what a checkpoint says besides its parts, and what is noticed about its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ckpt_core.schema.copies import PREFIXES
from ckpt_core.view import Weights

__all__ = ["Metadata", "common_prefixes", "remarks"]


@dataclass(frozen=True)
class Metadata:
    """What a checkpoint says besides its weights, optimizer, counters and config.

    Arguments:
        extra: the entries that no role claims, by rendered path.
        attributes: the free metadata of the container.
        notes: what a reader should be told, one sentence each.
        prefixes: wrapper prefixes that every parameter's name begins with.
        replicas: the leading dimension that all leaves share, when they look replicated over devices.
    """

    extra: Mapping[str, Any] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    replicas: int | None = None


def common_prefixes(weights: Weights) -> tuple[str, ...]:
    """Return the wrapper prefixes that every weight's name begins with."""
    names = [segments for segments, _, _ in weights]
    found: list[str] = []
    while names and all(len(name) > len(found) + 1 for name in names):
        first = names[0][len(found)]
        if first not in PREFIXES or any(name[len(found)] != first for name in names):
            break
        found.append(first)
    return tuple(found)


def remarks(
    weights: Weights,
    *,
    is_recognised: bool,
    copy: str,
    lacking: int,
    own: str,
    prefixes: tuple[str, ...],
    replicas: int | None,
) -> list[str]:
    """Return what is noticed about the weights, one sentence each.

    Arguments:
        weights: those that are meant.
        is_recognised: whether a layout was.
        copy: the name of the copy that they are.
        lacking: how many of them are taken from another copy, since this one lacks them.
        own: the name of that other copy.
        prefixes: wrapper prefixes of all names.
        replicas: the leading dimension that all share, if they do.
    """
    notes = [] if is_recognised else ["no layout recognised; every array counts as a parameter"]
    if lacking:
        notes.append(
            f"the copy {copy!r} lacks {lacking} of the {len(weights)} weights; these are those of {own!r}"
        )
    params = [array for _, array, is_buffer in weights if not is_buffer]
    if params and not any(array.size for array in params):
        notes.append(
            f"all {len(params)} parameters are empty arrays, as DeepSpeed's ZeRO stage 3 leaves them where it keeps "
            "the values in files of the optimizer"
        )
    notes += [
        f"every parameter's name begins with {prefix!r} (--strip-prefix {prefix} removes it)"
        for prefix in prefixes
    ]
    if replicas:
        notes.append(f"all leaves have a leading dimension of {replicas}: they look replicated over devices")
    return notes
