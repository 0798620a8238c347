"""Restored: what a restore did, and what to do next."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ckpt_core.rendering.text import arrays_text, clean, count_text, size_text, table
from ckpt_core.validation.report import ValidationReport

__all__ = ["Restored"]

_SHOWN = 8


@dataclass(frozen=True)
class Restored:
    """A filled model, and the receipt of filling it.

    Arguments:
        model: the model: the one that was passed where it can be changed (torch, NNX), else a new one.
        optimizer: likewise; None where none was passed.
        with_optimizer: whether an optimizer's state was restored, that of a TrainState included.
        with_scheduler, with_scaler: whether a scheduler's state was restored, and a gradient scaler's.
        path: the checkpoint.
        chosen: how it was chosen, as a clause.
        step, epoch, time, metrics: as the checkpoint has them; the time of the file where none is saved.
        learning_rate: of the restored optimizer, or of the saved one; None where nothing says so.
        total: parameters in the model, counted by element.
        trainable, frozen: those that training changes, and those that it does not.
        nbytes: bytes of all arrays that were filled.
        device: where they are.
        mode: "eval" or "train"; "" for models without modes.
        switch: the code that switches the mode, or "".
        layers: the first arrays of the model, as (name, shape, dtype).
        report: what was compared, with what was let through.
        next: what to do next, a sentence each.
    """

    model: Any = field(repr=False)
    optimizer: Any = field(repr=False)
    with_optimizer: bool
    with_scheduler: bool
    with_scaler: bool
    path: str
    chosen: str
    step: int | None
    epoch: int | None
    time: Any
    metrics: Mapping[str, Any]
    learning_rate: float | None
    total: int
    trainable: int
    frozen: int
    nbytes: int
    device: str
    mode: str
    switch: str
    layers: tuple[tuple[str, tuple[int, ...], str], ...]
    report: ValidationReport = field(repr=False)
    next: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data for JSON, without the live objects."""
        live = ("model", "optimizer", "report")
        data = {
            item.name: getattr(self, item.name) for item in dataclasses.fields(self) if item.name not in live
        }
        return {**data, "metrics": dict(self.metrics), "report": self.report.as_dict()}

    def __str__(self) -> str:
        lines = [f"restored {clean(self.path, 1000)}", *table(self._rows())]
        if self.layers:
            lines.append("  first layers")
            lines += table(
                [(clean(name), str(list(shape)), dtype) for name, shape, dtype in self.layers], "    "
            )
        return "\n".join(lines + [f"  -> {clean(hint, 500)}" for hint in self.next])

    def _repr_html_(self) -> str:
        from ckpt_core.validation.html import restored_html

        return restored_html(self)

    def _rows(self) -> list[tuple[str, str]]:
        metrics = [f"{clean(name)} = {_short(value)}" for name, value in list(self.metrics.items())[:_SHOWN]]
        waived = len(self.report.waived)
        rows = [
            ("chosen", clean(self.chosen, 500)),
            ("step", _or_none(self.step)),
            ("epoch", _or_none(self.epoch)),
            ("time", _or_none(self.time)),
            ("metrics", ", ".join(metrics) or "none saved"),
            ("learning rate", _or_none(self.learning_rate)),
            (
                "parameters",
                f"{count_text(self.total)}: {count_text(self.trainable)} trainable, {count_text(self.frozen)} frozen",
            ),
            ("filled", f"{arrays_text(self.report.matched)}, {size_text(self.nbytes)}"),
            ("optimizer", "restored" if self.with_optimizer else "not restored"),
            *([("scheduler", "restored")] if self.with_scheduler else []),
            *([("gradient scaler", "restored")] if self.with_scaler else []),
            ("device", self.device),
        ]
        if waived:
            rows.append(("let through", f"{waived:,} differences, as asked"))
        if self.mode:
            rows.append(("mode", f"{self.mode}  ({self.switch} switches)"))
        return rows


def _or_none(value: Any) -> str:
    return "none saved" if value is None else _short(value)


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else clean(str(value), 100)
