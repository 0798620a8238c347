"""What is settled so far while a plan is looked for: matches of families, and what is left on each side."""

from __future__ import annotations

from dataclasses import dataclass, field

from ckpt_core.transfer.matching.names import Usage
from ckpt_core.transfer.matching.pairing import Pairing
from ckpt_core.transfer.matching.units import Family, Unit
from ckpt_core.transfer.plan import Evidence

__all__ = ["Match", "Search"]


@dataclass(frozen=True)
class Match:
    """A source family that goes into a target family, and why."""

    source: Family
    target: Family
    pairing: Pairing
    evidence: tuple[Evidence, ...]


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
    """

    styles: tuple[str, str]
    sources: list[Family]
    targets: list[Family]
    usages: tuple[Usage, Usage]
    matches: list[Match] = field(default_factory=list)
    torch_units: list[Unit] = field(default_factory=list)
    same_arrays: bool = False

    def settle(self, matches: list[Match]) -> None:
        """Move matches from what is left to what is settled."""
        gone = {id(family) for match in matches for family in (match.source, match.target)}
        self.matches += matches
        self.sources = [family for family in self.sources if id(family) not in gone]
        self.targets = [family for family in self.targets if id(family) not in gone]
