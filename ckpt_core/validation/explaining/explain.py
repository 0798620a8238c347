"""explain: a framework's own error and a checkpoint in, the cause and what to do out."""

from __future__ import annotations

import os
import re
import shlex
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Final

from ckpt_core.arrays import ArraySpec
from ckpt_core.config.rules import Rules
from ckpt_core.errors import CheckpointError
from ckpt_core.framework import Slot, Template
from ckpt_core.keypath import join_name, split_name
from ckpt_core.paths import search
from ckpt_core.schema import Checkpoint
from ckpt_core.tree import Global, Record, walk
from ckpt_core.validation.asked import Asked
from ckpt_core.validation.choosing import opened
from ckpt_core.validation.explaining import (
    file_errors,
    flax_errors,
    forward_errors,
    torch_errors,
    usage_errors,
)
from ckpt_core.validation.explaining.explanation import Explanation
from ckpt_core.validation.explaining.facts import FileFault, Mismatch, Settings, Sizes
from ckpt_core.validation.explaining.sizes import built_otherwise, explained_sizes, sided
from ckpt_core.validation.explaining.usage_errors import explained_settings
from ckpt_core.validation.leaves import compared, expected_by_key, found_by_key
from ckpt_core.validation.reasons import explained
from ckpt_core.validation.report import Problem, ValidationReport

__all__ = ["ExplanationWarning", "explain", "explain_errors"]

_READERS: Final = (
    torch_errors.parse,
    flax_errors.parse,
    file_errors.parse,
    forward_errors.parse,
    usage_errors.parse,
)
_MAX_TEXT: Final = 1 << 20
_ESCAPES: Final = re.compile(r"\x1b\[[0-9;]*m")
_UNKNOWN: Final = ArraySpec((), "?")
_LOOK: Final = 200_000
_LOADING: Final = ("restore(", "ckpt convert", "torch.")
_INSPECT: Final = ("ckpt inspect {quoted} says what is in the file",)
_OF_WEIGHTS: Final = (
    "restore({path!r}, model) takes the weights alone",
    "ckpt inspect {quoted} says what else is in it",
)


class ExplanationWarning(UserWarning):
    """The explanation of an error, for a Python whose tracebacks do not show notes."""


def explain(
    error: BaseException | str,
    ckpt: Checkpoint | str | os.PathLike[str] | None = None,
    *,
    rules: Rules = None,
) -> Explanation:
    """Explain an error that a framework raised while a checkpoint was loaded or used; reads no array.

    Arguments:
        error: the exception, or its text (with a traceback around it, if you like).
        ckpt: the checkpoint, open or by its path: what the error says is compared with what is in there.
        rules: shape rules of the model, for the likely fields of its configuration.

    Example:
        >>> print(explain("pickle data was truncated"))
        pickle: cut off: the file ends before its pickle does: it is cut off or empty
          -> ckpt inspect CHECKPOINT says what it is, and runs nothing in it
    """
    text = f"{type(error).__name__}: {error}" if isinstance(error, BaseException) else error
    text = _ESCAPES.sub("", text[-_MAX_TEXT:])
    facts = next(filter(None, (read(text) for read in _READERS)), None)
    with ExitStack() as stack:
        own, verdict = _open(ckpt, stack)
        given = _place(ckpt)
        path = own.path if own is not None else given
        if isinstance(facts, Sizes):
            arrays = _specs(own)
            sizes = sided(facts, arrays)
            facts = built_otherwise(sizes, arrays)
            if facts is None:
                return explained_sizes(sizes, own, arrays, path, verdict, rules)
        if isinstance(facts, Mismatch):
            return _of_mismatch(facts, own, path, verdict, Asked(rules=rules))
        if isinstance(facts, Settings):
            return explained_settings(facts, own, path, verdict)
        if isinstance(facts, FileFault):
            return _of_fault(facts, own, given if os.path.isdir(given) else path, verdict)
        ways = _filled(_INSPECT if path else (), path)
        if verdict:
            return Explanation("the file", verdict[0], path, remedies=ways)
        notes = () if own is None else (_opens_as(own),)
        return Explanation("", "nothing in this text is known here", path, remedies=ways, notes=notes)


def _place(ckpt: Checkpoint | str | os.PathLike[str] | None) -> str:
    """Where the path that was given leads; "" for none."""
    if ckpt is None or isinstance(ckpt, Checkpoint):
        return ""
    place, places = search(ckpt)
    return place or places[0]


def _opens_as(ckpt: Checkpoint) -> str:
    return f"it opens here as {ckpt.format}, {ckpt.layout or 'no known layout'}"


@contextmanager
def explain_errors(
    ckpt: Checkpoint | str | os.PathLike[str] | None = None, *, rules: Rules = None
) -> Iterator[None]:
    """Explain what a framework raises inside of the block; the error itself goes on unchanged.

    The explanation is a note of the exception, which tracebacks show from Python 3.11 on; before that it is a
    warning, too. An error that is not understood gets none.

    Arguments:
        ckpt: the checkpoint that the block loads or uses.
        rules: shape rules of the model.

    Example:
        with explain_errors("model.pth"):
            model.load_state_dict(torch.load("model.pth"))
    """
    try:
        yield
    except CheckpointError:
        raise  # says all that there is to say itself
    except Exception as error:
        found = explain(error, ckpt, rules=rules)
        if found.is_known and _is_about(error, found):
            _add_note(error, str(found))
        raise


def _add_note(error: Exception, note: str) -> None:
    """Do what `BaseException.add_note` does (PEP 678), on every Python."""
    error.__notes__ = [*getattr(error, "__notes__", ()), note]  # type: ignore[attr-defined]
    if sys.version_info < (3, 11):
        warnings.warn(note, ExplanationWarning, stacklevel=4)


def _is_about(error: Exception, found: Explanation) -> bool:
    """A missing module is explained only where the checkpoint names it: imports fail for other reasons, too."""
    return (
        not isinstance(error, (ImportError, AttributeError))
        or not found.path
        or found.error != file_errors.CLASS_GONE
        or "names it" in "".join(found.notes)
    )


def _open(
    ckpt: Checkpoint | str | os.PathLike[str] | None, stack: ExitStack
) -> tuple[Checkpoint | None, tuple[str, ...]]:
    """The checkpoint, where it opens; and what the reader here says where it does not."""
    if ckpt is None:
        return None, ()
    try:
        own, _ = stack.enter_context(opened(ckpt))
    except CheckpointError as error:
        return None, (f"opening it here: {error.reason}{f' ({error.place})' if error.place else ''}",)
    return own, ()


def _filled(remedies: Sequence[str], path: str) -> tuple[str, ...]:
    name = path or "CHECKPOINT"
    return tuple(way.format(path=name, quoted=shlex.quote(name)) for way in remedies)


# The file.


def _of_fault(facts: FileFault, own: Checkpoint | None, path: str, verdict: tuple[str, ...]) -> Explanation:
    notes = list(verdict)
    ways = facts.remedies
    if verdict:  # what cannot be opened here can be loaded nowhere
        ways = tuple(way for way in ways if not way.startswith(_LOADING)) or _INSPECT
    if own is not None:
        notes.append(_opens_as(own))
        if facts.type_name and _names(own, facts.type_name):
            notes.append(f"{facts.type_name}: the checkpoint names it; here it is read as data")
        if facts.error == "a key that is not there" and isinstance(own.tree, Mapping):
            notes.append(f"its entries are: {', '.join(map(str, list(own.tree)[:8]))}")
    return Explanation(facts.error, facts.cause, path, None, _filled(ways, path), tuple(notes))


def _names(ckpt: Checkpoint, name: str) -> bool:
    """Say whether an object or a name in the tree is of a module, or is that class."""
    for _, (_, node) in zip(range(_LOOK), walk(ckpt.tree), strict=False):
        held = node.type_name if isinstance(node, Record) else node.name if isinstance(node, Global) else ""
        if held == name or held.startswith(name + "."):
            return True
    return False


# The differences.


def _of_mismatch(
    facts: Mismatch, own: Checkpoint | None, path: str, verdict: tuple[str, ...], asked: Asked
) -> Explanation:
    whole = _whole_file(facts, own)
    if whole is not None:
        return Explanation(facts.error, whole, path, None, _filled(_OF_WEIGHTS, path))
    report = _reported(facts, own, path, asked)
    cause = _cause(facts, report)
    notes = [*verdict, *([facts.hint] if facts.hint and facts.hint != cause else [])]
    if facts.nameless and own is not None:
        notes.append(
            f"the error does not say which array it is about: these have the shape {facts.nameless[1]}"
        )
    if own is not None and facts.hint and "optimizer" in facts.error:
        notes += [_groups_text(own)]
    named = {*facts.missing, *facts.unexpected, *facts.shapes}
    if own is not None and named and not facts.is_whole:
        notes.append("the framework stops at the first difference; validate(ckpt, model) lists them all")
    if own is not None and not _is_this_file(facts, own):
        notes.append("no name in the error is in this checkpoint: it may be about another file")
    ways = () if path == "" else (f"ckpt validate {shlex.quote(path)} --like TEMPLATE.json",)
    return Explanation(
        facts.error, _cause(facts, report), path, report, (*report.remedies, *ways), tuple(notes)
    )


def _whole_file(facts: Mismatch, own: Checkpoint | None) -> str | None:
    """The cause, where all that was loaded is the file itself instead of the weights in it."""
    if own is None or not facts.unexpected or not isinstance(own.tree, Mapping):
        return None
    weights = [place[0] for place in own.roles.params if isinstance(place, tuple) and place]
    if not weights or set(facts.unexpected) != {join_name(tuple(str(key).split("."))) for key in own.tree}:
        return None
    return f"the whole file was passed instead of the weights in it, which are below {weights[0]!r}"


def _cause(facts: Mismatch, report: ValidationReport) -> str:
    if report.prefix is not None:
        return "the names of both sides differ by a prefix"
    if report.fields:
        field = report.fields[0]
        return f"the model was built with another {field.field} than the checkpoint was"
    if facts.shapes or facts.nameless:
        return "the model was built with other sizes than the checkpoint was"
    if facts.missing or facts.unexpected:
        return "the model has other layers than the checkpoint, or other names for them"
    return facts.hint or "the checkpoint does not fit the model"


def _groups_text(ckpt: Checkpoint) -> str:
    said = [
        f"{name}: {', '.join(str(len(group.get('params', ()))) for group in state.groups)} parameters by group"
        for name, state in ckpt.opt_states.items()
    ]
    return f"saved: {'; '.join(said) or 'no optimizer'}"


def _is_this_file(facts: Mismatch, ckpt: Checkpoint) -> bool:
    there = {*facts.unexpected, *facts.shapes}
    names = found_by_key(ckpt).keys()
    return not there or any(f"/{name}/" in f"/{other}/" for name in there for other in names)


def _reported(facts: Mismatch, own: Checkpoint | None, path: str, asked: Asked) -> ValidationReport:
    """The differences as a report: the model is what the checkpoint has, changed by what the error says."""
    found = _specs(own)
    shapes = {**facts.shapes, **_named(facts, found)}
    for name, (_, there) in shapes.items():
        found.setdefault(name, ArraySpec(there, "?"))
    gone = {
        name for name in found for other in facts.unexpected if name == other or name.startswith(other + "/")
    }
    found.update({name: _UNKNOWN for name in facts.unexpected if not gone & {name} and own is None})
    expected = {
        name: spec for name, spec in found.items() if name not in gone and name not in facts.unexpected
    }
    expected |= {name: ArraySpec(there, found[name].dtype) for name, (there, _) in shapes.items()}
    expected |= {name: _UNKNOWN for name in facts.missing if name and name not in found}
    template = Template(tuple(Slot(split_name(name), spec) for name, spec in expected.items()))
    slots = expected_by_key(template)
    comparison = compared(found, slots)
    problems = tuple(_without_unknown(problem) for problem in comparison.problems)
    report = ValidationReport(path or "the checkpoint", "the model", len(comparison.matched), problems)
    if own is None:
        return report
    report = explained(report, own, template, found, slots, asked)
    if report.prefix is None:
        return report
    left = tuple(p for p in report.prefix.remaining if _UNKNOWN not in (p.found, p.expected))
    return replace(report, prefix=replace(report.prefix, remaining=left))


def _specs(own: Checkpoint | None) -> dict[str, ArraySpec]:
    """The weights of a checkpoint by name."""
    return {} if own is None else {name: array.spec for name, (array, _) in found_by_key(own).items()}


def _named(
    facts: Mismatch, found: Mapping[str, ArraySpec]
) -> dict[str, tuple[tuple[int, ...], tuple[int, ...]]]:
    """The arrays that shapes without a name can be about: all that have the checkpoint's shape."""
    if facts.nameless is None:
        return {}
    names = [name for name, spec in found.items() if spec.shape == facts.nameless[1]]
    return dict.fromkeys(names, facts.nameless)


def _without_unknown(problem: Problem) -> Problem:
    """Say "an array" where the error gives no shape."""
    sides = {side: "an array" for side in ("found", "expected") if getattr(problem, side) == _UNKNOWN}
    return replace(problem, **sides) if sides else problem
