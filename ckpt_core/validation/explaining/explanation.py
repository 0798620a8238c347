"""Explanation: the cause of an error, the config field behind it, and the command that helps."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from ckpt_core.rendering.text import clean
from ckpt_core.validation.report import LikelyField, ValidationReport
from ckpt_core.validation.text import report_lines

__all__ = ["Explanation"]


@dataclass(frozen=True)
class Explanation:
    """What an error of a framework means for one checkpoint.

    Arguments:
        error: what it is, in a few words, with the library that raised it; "" for one that is not known.
        cause: the cause, a sentence.
        path: the checkpoint, or "".
        report: the differences that the error names, with what the checkpoint says about them, where it is about
            differences.
        remedies: what to do, the likeliest first.
        notes: what else was found out, a sentence each.
        likely: likely fields of the configuration, beside those of the report.
    """

    error: str
    cause: str
    path: str = ""
    report: ValidationReport | None = None
    remedies: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    likely: tuple[LikelyField, ...] = ()

    @property
    def is_known(self) -> bool:
        """Say whether the error was understood."""
        return bool(self.error)

    @property
    def fields(self) -> tuple[LikelyField, ...]:
        """The likely fields of the configuration."""
        return self.likely if self.report is None else (*self.report.fields, *self.likely)

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data for JSON."""
        return {
            "known": self.is_known,
            "error": self.error,
            "cause": self.cause,
            "path": self.path,
            "fields": [asdict(item) for item in self.fields],
            "report": None if self.report is None else self.report.as_dict(),
            "remedies": list(self.remedies),
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        lines = [clean(f"{self.error or 'not a known error'}: {self.cause}", 1000)]
        if self.report is not None and (self.report.problems or self.report.fields):
            lines += report_lines(replace(self.report, remedies=()))[1:]
        lines += [f"  note: {clean(note, 500)}" for note in self.notes]
        return "\n".join(lines + [f"  -> {clean(way, 1000)}" for way in self.remedies])
