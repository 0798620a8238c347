"""What the name of a checkpoint tells: counters, metrics, a time, its role, and the comment.

Names are read by their words, not by the patterns of single projects: a word for a counter and a number
(`epoch_10`, `epoch0009`, `step_100k`, `iter-20000`), `name=value`, a metric and a decimal number, a date, a word
for a role (best, final, last), and a number that stands alone.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Final

from ckpt_core.runs.metrics import is_metric, words_of

__all__ = ["NameFacts", "facts_of_name", "has_words"]


@dataclass(frozen=True, slots=True)
class NameFacts:
    """What a name tells.

    Arguments:
        epoch: the number after a word for epochs.
        step: the number after a word for steps, or the number of a directory of steps.
        number: a number that stands alone, and may be either (`model_0100.pth`).
        metrics: numbers beside the names of metrics.
        time: seconds since 1970; a name has no time zone, and is read in the local one.
        role: "best", "final", "last" or "periodic".
        comment: the words that say none of this, after the counters: `checkpoint_epoch_10_COMMENT.pth`.
    """

    epoch: int | None = None
    step: int | None = None
    number: int | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    time: float | None = None
    role: str = "periodic"
    comment: str = ""


_SUFFIXES: Final = re.compile(r"(\.[A-Za-z][A-Za-z0-9]{0,14})+$")
_TAKEN: Final = "|"
"""Stands in a name where something was read; `/`, `\\0` and this cannot come from one."""

_NUMBER: Final = r"(\d+(?:\.\d+)?)([kKmM]?)(?![A-Za-z0-9])"
_STEPS: Final = r"global[_\-]?steps?|train[_\-]?steps?|steps?|iterations?|iters?|it|updates?|gs"
_EPOCHS: Final = r"epochs?|ep"
_CONTAINERS: Final = r"checkpoints?|ckpts?|chkpt|cp|models?|weights|snapshots?|states?|saved?|params"

_TIME: Final = re.compile(
    r"(?<!\d)(?P<Y>(?:19|20)\d\d)(?P<a>[-_.]?)(?P<m>\d\d)(?P=a)(?P<d>\d\d)"
    r"(?:[-_T .]+(?P<H>\d\d)(?P<b>[-:_h.]?)(?P<M>\d\d)(?:(?P=b)|m)?(?P<S>\d\d)s?)?(?!\d)"
)
_METRIC: Final = re.compile(
    r"(?<![A-Za-z0-9])(?P<name>[A-Za-z][A-Za-z0-9]*(?:[_/][A-Za-z][A-Za-z0-9]*)*)"
    r"(?P<sign>=|[_\- ]?)(?P<value>-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)(?![A-Za-z0-9])"
)
_ALONE: Final = re.compile(
    rf"(?:(?<![A-Za-z])(?:{_CONTAINERS})[_\-. ]*|(?:^|(?<=[|_\-. ])(?<!\d\.)))(\d{{1,18}})(?!\.\d)(?=$|[|_\-. ])",
    re.IGNORECASE,
)
_ROLES: Final = {
    "best": "best",
    "final": "final",
    "finished": "final",
    "last": "last",
    "latest": "last",
    "newest": "last",
}


def facts_of_name(name: str) -> NameFacts:
    """Return what the name of a checkpoint tells.

    Arguments:
        name: a name, or a path relative to the run; the directory above counts where the last part has no
            counter of its own (`100/default`).

    Example:
        >>> facts = facts_of_name("checkpoint_epoch0009_step000009_20251122_065455.pt")
        >>> facts.epoch, facts.step
        (9, 9)
        >>> facts_of_name("epoch=3-val_loss=0.25.ckpt").metrics
        {'val_loss': 0.25}
    """
    parts = PurePath(name.replace(_TAKEN, "_")).parts
    facts = _facts(parts[-1]) if parts else NameFacts()
    if len(parts) > 1 and (facts.epoch, facts.step, facts.number) == (None, None, None):
        above = re.fullmatch(rf"(?:(?:{_CONTAINERS})[_\-. ]*)?(\d{{1,18}})", parts[-2], re.IGNORECASE)
        if above is not None:
            return NameFacts(None, int(above[1]), None, facts.metrics, facts.time, facts.role, facts.comment)
    return facts


def has_words(comment: str, name: str) -> bool:
    """Say whether the words of a comment stand in a name, whole and one after the other.

    Example:
        >>> has_words("exp1", "checkpoint_epoch_10_exp1.pth"), has_words("exp1", "checkpoint_epoch_10_exp12.pth")
        (True, False)
    """
    wanted, there = words_of(comment), words_of(_stem(PurePath(name).name))
    return any(there[i : i + len(wanted)] == wanted for i in range(len(there) - len(wanted) + 1))


def _facts(name: str) -> NameFacts:
    text = _stem(name)
    text, time = _take_time(text)
    text, epoch = _take_counter(text, _EPOCHS)
    text, step = _take_counter(text, _STEPS)
    text, metrics = _take_metrics(text)
    number = None
    if epoch is None and step is None:
        text, number = _take_alone(text)
        if name == _stem(name):  # without a suffix: a directory by its step, or Flax's file
            step, number = number, None
    role = next((_ROLES[word] for word in words_of(text) if word in _ROLES), "periodic")
    return NameFacts(epoch, step, number, metrics, time, role, _comment(text))


def _stem(name: str) -> str:
    return _SUFFIXES.sub("", name) or name


def _take(pattern: re.Pattern[str], text: str, accept: Callable[[re.Match[str]], bool]) -> str:
    """Replace each match that is accepted by the mark."""
    return pattern.sub(lambda match: _TAKEN if accept(match) else match[0], text)


def _take_time(text: str) -> tuple[str, float | None]:
    found: list[float] = []

    def accept(match: re.Match[str]) -> bool:
        numbers = [int(match[group] or 0) for group in "YmdHMS"]
        try:
            when = dt.datetime(*numbers)  # type: ignore[arg-type]  # noqa: DTZ001  # names are in local time
            found.append(when.timestamp())
        except (ValueError, OverflowError, OSError):
            return False
        return True

    return _take(_TIME, text, accept), found[0] if found else None


def _take_counter(text: str, words: str) -> tuple[str, int | None]:
    """Take `WORD 10`; or, where no number follows the word, `10 WORD`."""
    found: list[int] = []

    def accept(match: re.Match[str]) -> bool:
        value = float(match[1]) * {"": 1, "k": 1000, "m": 1_000_000}[match[2].lower()]
        if not value.is_integer() or value >= 1 << 62 or found:
            return False
        found.append(int(match[1]) if not match[2] and "." not in match[1] else int(value))
        return True

    after = re.compile(rf"(?<![A-Za-z])(?:{words})[_\-=. ]*{_NUMBER}", re.IGNORECASE)
    text = _take(after, text, accept)
    if not found:
        before = re.compile(
            rf"(?<![A-Za-z0-9.])(\d{{1,18}})([kKmM]?)[_\- ]?(?:{words})(?![A-Za-z0-9])", re.IGNORECASE
        )
        text = _take(before, text, accept)
    return text, found[0] if found else None


def _take_metrics(text: str) -> tuple[str, dict[str, float]]:
    found: dict[str, float] = {}

    def replace(match: re.Match[str]) -> str:
        name = _metric_at_end(match["name"])
        if not name or (match["sign"] != "=" and "." not in match["value"]):
            return match[0]
        found.setdefault(name, float(match["value"]))
        return match["name"][: -len(name)] + _TAKEN

    return _METRIC.sub(replace, text), found


def _metric_at_end(text: str) -> str:
    """Return the end of a name that is a metric's: `val_loss` of `digits_val_loss`."""
    words = re.split(r"(?<=[_/])", text)
    if not is_metric(words[-1]):
        return text if is_metric(text) and len(words) > 1 else ""
    start = len(words) - 1
    while start and is_metric(
        f"{words[start - 1].rstrip('_/')}_x"
    ):  # a split (val, train) or another metric's word
        start -= 1
    return "".join(words[start:])


def _take_alone(text: str) -> tuple[str, int | None]:
    matches = list(_ALONE.finditer(text))
    if not matches:
        return text, None
    last = matches[-1]
    return f"{text[: last.start()]}{_TAKEN}{text[last.end() :]}", int(last[1])


def _comment(text: str) -> str:
    _, mark, after = text.partition(_TAKEN)
    if not mark:
        return ""
    after = re.sub(r"[|_\-. ]*\|[|_\-. ]*", "_", after)
    return after.strip("_-. ")
