"""structure_of: what the names and shapes of weights say about a model without any rules.

Repeated blocks are siblings whose names differ in a number alone; arrays within a module count as such where they
have one shape.
Embeddings are tables with many more rows than the width of the model, or whose names say so. The hidden size is the
size that most arrays have along some axis.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ckpt_core.keypath import split_name
from ckpt_core.shapes import Leaf

__all__ = ["Blocks", "Embedding", "Structure", "structure_of"]

_NUMBER: Final = re.compile(r"(?<![0-9])[0-9]{1,6}(?![0-9])")
_EMBEDDING: Final = re.compile(
    r"(^|[_/])(emb|embed|embeds|embedding|embeddings|embedder)($|[_/0-9])", re.IGNORECASE
)
_TALL: Final = 8
"""Rows per column from which a table without a bias is taken for an embedding."""

_SHOWN: Final = 4


@dataclass(frozen=True, slots=True)
class Blocks:
    """Siblings whose names differ in a number alone.

    Arguments:
        pattern: "h/*": a pattern that fits them, as shape rules use it.
        count: how many hold arrays: the depth.
        are_alike: all have the same names and shapes below.
    """

    pattern: str
    count: int
    are_alike: bool


@dataclass(frozen=True, slots=True)
class Embedding:
    """A table of vectors: the number of entries, and the width of one."""

    name: str
    entries: int
    width: int


@dataclass(frozen=True, slots=True)
class Structure:
    """What names and shapes say.

    Arguments:
        blocks: repeated blocks, the outer ones first.
        embeddings: tables of vectors.
        hidden_sizes: (size, number of arrays that have it along an axis), the most frequent first.
    """

    blocks: tuple[Blocks, ...] = ()
    embeddings: tuple[Embedding, ...] = ()
    hidden_sizes: tuple[tuple[int, int], ...] = ()

    @property
    def depth(self) -> int | None:
        """The count of the largest group of blocks, or None where nothing repeats."""
        return max((group.count for group in self.blocks), default=None)

    @property
    def hidden_size(self) -> int | None:
        """The size that most arrays have, or None where no size occurs twice."""
        return self.hidden_sizes[0][0] if self.hidden_sizes else None


def structure_of(leaves: Sequence[Leaf]) -> Structure:
    """Return what the names and shapes of a model's arrays say about its config.

    Arguments:
        leaves: (name, shape) pairs.

    Example:
        >>> structure_of([(f"h/{i}/w", (8, 8)) for i in range(3)])
        Structure(blocks=(Blocks(pattern='h/*', count=3, are_alike=True),), embeddings=(), hidden_sizes=((8, 3),))
    """
    sizes = _sizes(leaves)
    return Structure(_blocks(leaves), _embeddings(leaves, sizes[0][0] if sizes else 0), sizes)


def _blocks(leaves: Sequence[Leaf]) -> tuple[Blocks, ...]:
    # Blocks inside of blocks are one group: every number above is written as a star.
    groups: dict[str, dict[str, dict[str, list[tuple[str, tuple[int, ...]]]]]] = {}
    for name, shape in leaves:
        segments = split_name(name)
        stars: list[str] = []
        for depth, segment in enumerate(segments):
            for number in _NUMBER.finditer(segment):
                pattern = "/".join([*stars, f"{segment[: number.start()]}*{segment[number.end() :]}"])
                parent, below = "/".join(segments[:depth]), "/".join(segments[depth + 1 :])
                entries = groups.setdefault(pattern, {}).setdefault(parent, {})
                entries.setdefault(segment, []).append((below, shape))
            stars.append(_NUMBER.sub("*", segment))
    found: list[Blocks] = []
    told: set[str] = set()
    for pattern, parents in groups.items():
        count = max(map(len, parents.values()))
        forms = {frozenset(leaves) for entries in parents.values() for leaves in entries.values()}
        are_arrays = all(below == "" for form in forms for below, _ in form)
        above = pattern.rpartition("/")[0]
        if count < 2 or (are_arrays and (len(forms) > 1 or not above or above in told)):
            continue
        # layers within one module, as torch names those of an LSTM: of all their arrays one tells
        if are_arrays:
            told.add(above)
        found.append(Blocks(pattern, count, len(forms) == 1))
    return tuple(found)


def _sizes(leaves: Sequence[Leaf]) -> tuple[tuple[int, int], ...]:
    counts = Counter(size for _, shape in leaves for size in set(shape) if size > 1)
    common = [(size, count) for size, count in counts.most_common() if count > 1]
    return tuple(sorted(common, key=lambda pair: (-pair[1], -pair[0]))[:_SHOWN])


def _embeddings(leaves: Sequence[Leaf], hidden: int) -> tuple[Embedding, ...]:
    siblings: dict[str, set[str]] = defaultdict(set)
    for name, _ in leaves:
        above, _, last = name.rpartition("/")
        siblings[above].add(last)
    found = []
    for name, shape in leaves:
        if len(shape) != 2:
            continue
        rows, width = shape
        above, _, last = name.rpartition("/")
        is_alone = len(siblings[above]) == 1 or not above
        is_named = _EMBEDDING.search("/".join(split_name(name)[-2:])) is not None
        is_table = last in ("weight", "embedding") and width == hidden and rows >= _TALL * width
        if is_alone and (is_named or is_table):
            found.append(Embedding(name, rows, width))
    return tuple(found)
