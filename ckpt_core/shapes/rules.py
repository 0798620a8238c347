"""ShapeRules: what the shapes of a model's arrays say about its config, as plain data."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from ckpt_core.errors import UsageError
from ckpt_core.keypath import join_name
from ckpt_core.patterns import compiled
from ckpt_core.shapes.expression import Dimensions, names, parse
from ckpt_core.shapes.solve import Equation

__all__ = ["Leaf", "Rule", "ShapeRules", "leaf_names"]

WRAPPERS: Final = frozenset({"module", "_orig_mod"})
"""First segments that wrappers put before every name (DataParallel, torch.compile); patterns leave them out."""

_LOOK: Final = 2000
"""Names that are looked through for one that is spelled alike."""

Leaf = tuple[str, tuple[int, ...]]
"""(name, segments joined by `/`; shape)"""


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of a rule set: what the shape of the arrays whose names fit a pattern is made of.

    Arguments:
        pattern: `*` within a segment, `**` across segments; segments joined by `/` or `.`.
        text: the right-hand side, as written.
        dimensions: the same, parsed.
    """

    pattern: str
    text: str
    dimensions: Dimensions

    def fits(self, name: str) -> bool:
        """Say whether a name fits the pattern."""
        return compiled(self.pattern).fullmatch(name) is not None


@dataclass(frozen=True)
class ShapeRules:
    """Shape rules of one family of models.

    Arguments:
        shapes: pattern to right-hand side, as `ckpt_core.shapes.expression` describes.
        not_inferable: config fields that shapes cannot tell, and why.
        aliases: config field to other spellings of it.
        data: what the axes of the data are, by the name of the array: "batch sample_size h w c".
        name: what the set is called, where it is registered or read from a file.

    Raises:
        UsageError: a right-hand side is not of the language.

    Example:
        >>> rules = ShapeRules({"slots_mu": "num_slots slot_dim", "h/*": "count n_layer"})
        >>> [e.text() for e in rules.equations([("slots_mu", (7, 64)), ("h/0/w", (4,)), ("h/1/w", (4,))])]
        ['7 = num_slots', '64 = slot_dim', '2 = n_layer']
    """

    shapes: Mapping[str, str]
    not_inferable: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, Sequence[str]] = field(default_factory=dict)
    data: Mapping[str, str] = field(default_factory=dict)
    name: str = ""

    def __post_init__(self) -> None:
        parsed = (*self.rules, *self.bindings)  # a wrong rule fails here, not when it is first used
        if any(rule.dimensions.is_count for rule in parsed[len(self.shapes) :]):
            raise UsageError("axes of data are named, not counted", place=self.name or None)

    @functools.cached_property
    def rules(self) -> tuple[Rule, ...]:
        """The rules for the model's arrays, parsed."""
        return tuple(_rule(pattern, text) for pattern, text in self.shapes.items())

    @functools.cached_property
    def bindings(self) -> tuple[Rule, ...]:
        """The rules for the axes of data, parsed."""
        return tuple(_rule(pattern, text) for pattern, text in self.data.items())

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """Every name that a rule mentions, in order."""
        sizes = [size for rule in self.rules for size in rule.dimensions.sizes if size is not None]
        return tuple(dict.fromkeys(name for size in sizes for name in names(size)))

    def equations(self, leaves: Sequence[Leaf]) -> list[Equation]:
        """Return what the shapes of a model's arrays say, an equation per dimension and number of entries.

        Raises:
            UsageError: an array has another number of dimensions than its rule.
        """
        return [equation for rule in self.rules for equation in _equations(rule, leaves)]

    def unmatched(self, leaves: Sequence[Leaf]) -> list[str]:
        """Return a sentence for each pattern that fits nothing, with what it may have meant."""
        return [
            f"the rule {rule.pattern!r} fits nothing; {_near(rule.pattern, leaves)}"
            for rule in self.rules
            if not _fits_any(rule, leaves)
        ]

    def applies_to(self, leaves: Sequence[Leaf]) -> bool:
        """Say whether every pattern fits something, with the right number of dimensions."""
        try:
            return bool(self.equations(leaves)) and all(_fits_any(rule, leaves) for rule in self.rules)
        except UsageError:
            return False


def leaf_names(names: Iterable[tuple[str, ...]]) -> list[str]:
    """Join the segments of names as patterns see them: without what a wrapper put before all of them."""
    found = list(names)
    while found and all(len(name) > 1 and name[0] == found[0][0] and name[0] in WRAPPERS for name in found):
        found = [name[1:] for name in found]
    return [join_name(name) for name in found]


def equations_of_shape(rule: Rule, name: str, shape: tuple[int, ...]) -> list[Equation]:
    """Return what one array's shape says by a rule.

    Raises:
        UsageError: it has another number of dimensions.
    """
    sizes = rule.dimensions.sizes
    extra = len(shape) - len(sizes)
    if extra < 0 or (extra and not rule.dimensions.any_leading):
        raise UsageError(
            f"{name} has {len(shape)} dimensions {list(shape)}, and its rule says {len(sizes)}: {rule.text}",
            remedy="'...' stands for any leading dimensions, '_' for one of which nothing is said.",
        )
    return [
        Equation(size, expression, f"{name}, axis {axis}" if len(shape) > 1 else name)
        for axis, (size, expression) in enumerate(zip(shape[extra:], sizes, strict=True), extra)
        if expression is not None
    ]


def _rule(pattern: str, text: str) -> Rule:
    if not isinstance(text, str):
        raise UsageError(f"the shape rule for {pattern!r} is {text!r}, and no text")
    return Rule(pattern, text, parse(text))


def _equations(rule: Rule, leaves: Sequence[Leaf]) -> list[Equation]:
    if not rule.dimensions.is_count:
        fitting = [(name, shape) for name, shape in leaves if rule.fits(name)]
        return [equation for name, shape in fitting for equation in equations_of_shape(rule, name, shape)]
    entries = {entry for name, _ in leaves for entry in _entry(rule, name)}
    expression = rule.dimensions.sizes[0]
    if not entries or expression is None:
        return []
    return [Equation(len(entries), expression, f"{len(entries)} entries {rule.pattern}")]


def _entry(rule: Rule, name: str) -> list[str]:
    """The shortest beginning of a name that fits: the entry below which the array lies."""
    ends = [at for at, sign in enumerate(name) if sign == "/"] + [len(name)]
    return next(([name[:end]] for end in ends if rule.fits(name[:end])), [])


def _fits_any(rule: Rule, leaves: Sequence[Leaf]) -> bool:
    is_count = rule.dimensions.is_count
    return any(bool(_entry(rule, name)) if is_count else rule.fits(name) for name, _ in leaves)


def _near(pattern: str, leaves: Sequence[Leaf]) -> str:
    """What to write instead: the same name deeper in the tree, or one spelled like it."""
    deeper = next((name for name, _ in leaves if compiled(f"**/{pattern}").fullmatch(name)), None)
    if deeper is not None:
        return f"there is {deeper}: write '**/{pattern}'"
    names = [name for name, _ in leaves[:_LOOK]]
    near = difflib.get_close_matches(pattern.replace(".", "/"), names, 3, 0.4)
    return f"there is: {', '.join(near or [name for name, _ in leaves[:5]]) or 'no array'}"
