"""What the name of a checkpoint tells: counters, metrics, a time, its role, and the comment.

Names are read by their words, not by the patterns of single projects: a word for a counter and a number
(`epoch_10`, `epoch0009`, `step_100k`, `iter-20000`), `name=value`, a metric and a decimal number, a date, a word
for a role (best, final, last), and a number that stands alone.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
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
        series: what is left without counters, metrics and times: names that differ in these alone have one.
        is_sure: whether a number that stands alone is a counter for sure (`model_0100`, and not `resnet_50`).
        is_part: whether it is one file of several that are a checkpoint together (a shard, a rank).
    """

    epoch: int | None = None
    step: int | None = None
    number: int | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    time: float | None = None
    role: str = "periodic"
    comment: str = ""
    series: str = ""
    is_sure: bool = True
    is_part: bool = False


_SUFFIXES: Final = re.compile(r"(\.[A-Za-z][A-Za-z0-9]{0,14})+$")
_TAKEN: Final = "|"
"""Stands in a name where something was read; `/`, `\\0` and this cannot come from one."""

_NUMBER: Final = r"(\d+(?:\.\d+)?)([kKmM]?)(?![A-Za-z0-9])"
_STEPS: Final = r"global[_\-]?steps?|train[_\-]?steps?|steps?|iterations?|iters?|it|updates?|gs"
_EPOCHS: Final = r"epochs?|ep"
_CONTAINERS: Final = r"checkpoints?|ckpts?|chkpt|cp|models?|nets?|weights|snapshots?|states?|saved?|params"
_PARTS: Final = re.compile(
    r"(?<![A-Za-z])(?:ranks?|shards?|parts?|consolidated)[_\-. ]*\d+(?![A-Za-z0-9])|\d+[_\-. ]*of[_\-. ]*\d+"
    r"|(?:model|optim)_states\Z",
    re.IGNORECASE,
)
"""How the files are numbered that are one checkpoint together (the last of these by DeepSpeed)."""

_NO_COUNTERS: Final = re.compile(
    r"(?<![A-Za-z])(?:folds?|seeds?|runs?|exp|experiments?|versions?|v|trials?|splits?|tasks?|stages?|gpus?|workers?|"
    r"process|proc|nodes?|replicas?|members?|experts?|layers?|levels?)[_\-. ]*$",
    re.IGNORECASE,
)
"""Ends in a word after which a number says which one of several it is, and not how far training was."""

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
_STEP_FOLDER: Final = re.compile(
    rf"(?:(?:{_CONTAINERS}|{_EPOCHS}|{_STEPS})[_\-=. ]*)*\d{{1,18}}", re.IGNORECASE
)
"""A directory that is named after how far training was."""

_OWN_STEP: Final = re.compile(
    rf"(?:(?:{_CONTAINERS}|global[_\-]?step|step|iteration|iter)[_\-=. ]*)*(\d{{1,18}})", re.IGNORECASE
)
"""A directory of one step; `epoch_100` and `steps_100` may as well be how long its run was to be."""

_BETWEEN: Final = re.compile(r"[|_\-. ]*\|[|_\-. ]*")
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
    if not parts:
        return NameFacts()
    facts = _facts(parts[-1])
    above = [_TAKEN if _STEP_FOLDER.fullmatch(_stem(part)) else part for part in parts[:-1]]
    facts = replace(facts, series="/".join([*above, facts.series]))
    if above and (facts.epoch, facts.step, facts.number) == (None, None, None):
        folder = _OWN_STEP.fullmatch(parts[-2])
        if folder is not None:
            return replace(facts, step=int(folder[1]))
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
    number, is_sure, is_part = None, True, _PARTS.search(text) is not None
    if epoch is None and step is None and not is_part:
        text, number, is_sure = _take_alone(text)
        if name == _stem(name):  # without a suffix: a directory by its step, or Flax's file
            step, number = number, None
    role = next((_ROLES[word] for word in words_of(text) if word in _ROLES), "periodic")
    series = _BETWEEN.sub(_TAKEN, text).strip("_-. ")
    return NameFacts(epoch, step, number, metrics, time, role, _comment(text), series, is_sure, is_part)


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
    # a split (val, train) or another metric's word
    while start and is_metric(f"{words[start - 1].rstrip('_/')}_x"):
        start -= 1
    return "".join(words[start:])


def _take_alone(text: str) -> tuple[str, int | None, bool]:
    """Take the last number that stands alone; and say whether what it stands after makes it a counter for sure."""
    matches = [match for match in _ALONE.finditer(text) if not _NO_COUNTERS.search(text[: match.start(1)])]
    if not matches:
        return text, None, True
    last = matches[-1]
    is_sure = last.start() < last.start(1) or not re.search("[A-Za-z]", text[: last.start()])
    return f"{text[: last.start(1)]}{_TAKEN}{text[last.end() :]}", int(last[1]), is_sure


def _comment(text: str) -> str:
    _, mark, after = text.partition(_TAKEN)
    if not mark:
        return ""
    after = _BETWEEN.sub("_", after)
    return after.strip("_-. ")
