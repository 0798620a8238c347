"""Parts of a source and of a target: which one is there, and a plan between parts as one between the wholes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from ckpt_core.errors import UsageError
from ckpt_core.framework import Slot, Template
from ckpt_core.keypath import join_name, split_name
from ckpt_core.transfer.patterns import parse_pattern
from ckpt_core.transfer.plan import Candidate, Rule, TransferPlan, Unsettled

__all__ = ["Path", "found_part", "names_outside", "part_named", "placed", "root_of", "subtree"]

Path = tuple[str, ...]


def part_named(text: str) -> Path:
    """Return the segments of a part's name: `a/b`, `a.b`, `a/b/**`; "" and `**` are the whole."""
    for ending in ("/**", ".**", "/*", ".*"):
        text = text.removesuffix(ending)
    text = text.strip("/")
    if text in ("", "**", "*"):
        return ()
    if "*" in text or "{" in text:
        raise UsageError(f"{text!r} is no part: a name such as encoder/layers is expected")
    return split_name(parse_pattern(text).fill({}))


def found_part(alternatives: Sequence[str], template: Template) -> Path:
    """Return the first alternative that a template has something of.

    Raises:
        UsageError: there is none of them; lists the parts that are there.
    """
    for text in alternatives:
        part = part_named(text)
        if any(slot.path[: len(part)] == part for slot in template.slots):
            return part
    raise UsageError(
        f"there is no {' or '.join(alternatives)} in it",
        path=template.title,
        remedy=f"Its parts: {', '.join(_parts(template)) or 'none'}.",
    )


def _parts(template: Template) -> list[str]:
    """The subtrees at the first two levels, with their sizes."""
    counts: dict[str, int] = {}
    for slot in template.slots:
        for depth in range(1, min(len(slot.path), 3)):
            name = join_name(slot.path[:depth])
            counts[name] = counts.get(name, 0) + 1
    names = list(counts)[:40]
    return [f"{name} ({counts[name]} arrays)" for name in names] + (["..."] if len(counts) > 40 else [])


def root_of(template: Template, part: Path) -> Path:
    """Return what the names in a part are below: the part itself, or what holds it where it is one array."""
    return part[:-1] if any(slot.path == part for slot in template.slots) else part


def subtree(template: Template, part: Path, without: Iterable[str] = ()) -> Template:
    """Return the slots of a part under their names below its root, those in `without` left out."""
    depth, gone = len(root_of(template, part)), set(without)

    def is_inside(path: Path) -> bool:
        return path[: len(part)] == part

    def cut(path: Path | None) -> Path | None:
        return None if path is None or not is_inside(path) else path[depth:]

    slots = tuple(
        replace(slot, path=slot.path[depth:], tied=cut(slot.tied))
        for slot in template.slots
        if is_inside(slot.path) and slot.name not in gone
    )
    optional = tuple(path[depth:] for path in template.optional if is_inside(path))
    return replace(template, slots=slots, optional=optional)


def placed(plan: TransferPlan, source: Path, target: Path) -> TransferPlan:
    """Return a plan between parts, given by their roots, as one between the wholes that hold them."""
    if not source and not target:
        return plan

    def moved(rule: Rule) -> Rule:
        return replace(rule, source=_below(rule.source, source), target=_below(rule.target, target))

    def line_moved(line: Unsettled) -> Unsettled:
        return replace(
            line,
            source=_below(line.source, source),
            target=_below(line.target, target),
            candidates=tuple(
                Candidate(tuple(map(moved, candidate.rules)), candidate.text) for candidate in line.candidates
            ),
        )

    return replace(
        plan, rules=tuple(map(moved, plan.rules)), unsettled=tuple(map(line_moved, plan.unsettled))
    )


def _below(patterns: tuple[str, ...], part: Path) -> tuple[str, ...]:
    return tuple(parse_pattern(text).below(part) for text in patterns)


def names_outside(slots: Mapping[str, Slot], parts: Iterable[Path]) -> list[str]:
    """Return the names that lie in none of the parts."""
    parts = list(parts)
    return [name for name, slot in slots.items() if not any(slot.path[: len(part)] == part for part in parts)]
