"""What is settled so far while a plan is looked for: matches of families, and what is left on each side."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from ckpt_core.transfer.matching.families import Family
from ckpt_core.transfer.matching.names import Likeness, Usage, likeness
from ckpt_core.transfer.matching.pairing import Pairing, pairing
from ckpt_core.transfer.matching.units import Unit
from ckpt_core.transfer.plan import Evidence

__all__ = ["Match", "Search"]


@dataclass(frozen=True)
class Match:
    """A source family that goes into a target family, and why."""

    source: Family
    target: Family
    pairing: Pairing
    evidence: tuple[Evidence, ...]


class Known(NamedTuple):
    """What is known of two families; it keeps them, so that no other gets their identity."""

    source: Family
    target: Family
    fits: Pairing | None
    like: Likeness | None


@dataclass
class Search:
    """The state of a search.

    Arguments:
        styles: the frameworks whose layouts source and target have.
        sources, targets: the families that are left.
        matches: what is settled.
        usages: how common each concept is in the names of each side.
        torch_units: the units of the side that has torch's layouts.
        same_arrays: whether both sides have the same arrays but for names and layouts.
        same_total: whether both sides have as many elements, which packing and stacking leave as they are.
        anchors: the paths of units that rules of the user bring together.
        misnumbered: what was settled by numbers that turned out to say nothing.
        known: what was worked out so far.
    """

    styles: tuple[str, str]
    sources: list[Family]
    targets: list[Family]
    usages: tuple[Usage, Usage]
    matches: list[Match] = field(default_factory=list)
    torch_units: list[Unit] = field(default_factory=list)
    same_arrays: bool = False
    same_total: bool = False

    anchors: list[tuple[tuple[str, ...], tuple[str, ...]]] = field(default_factory=list)
    misnumbered: list[Match] = field(default_factory=list)
    known: dict[tuple[int, int], Known] = field(default_factory=dict)

    @property
    def ends(self) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
        """From where to where all that is settled goes."""
        return [*self.anchors, *((match.source.address, match.target.address) for match in self.matches)]

    def between(self, source: Family, target: Family) -> Known:
        """Return how two families pair and what their names say, worked out once."""
        key = (id(source), id(target))
        found = self.known.get(key)
        if found is None:
            fits = pairing(source, target, self.styles)
            like = likeness(source, target, self.usages) if fits else None
            found = self.known[key] = Known(source, target, fits, like)
        return found

    def settle(self, matches: list[Match]) -> None:
        """Move matches from what is left to what is settled."""
        gone = {id(family) for match in matches for family in (match.source, match.target)}
        self.matches += matches
        self.sources = [family for family in self.sources if id(family) not in gone]
        self.targets = [family for family in self.targets if id(family) not in gone]
