"""Plans as TOML files, which a person edits: reading, writing, and keeping the comments.

The comment lines above a `[[rule]]` and within it belong to the rule, those before the first table to the plan; a
parser of TOML throws them away, so they are collected from the text beside it.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ckpt_core.errors import CheckpointError, CheckpointNotFoundError, UsageError
from ckpt_core.transfer.ops import Op
from ckpt_core.transfer.optext import parse_op
from ckpt_core.transfer.patterns import parse_pattern
from ckpt_core.transfer.plan import GIVEN, Candidate, Evidence, Rule, TransferPlan, Unsettled

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["parse_plan", "plan_toml", "read_plan", "rule_toml", "write_plan"]

_MAX_BYTES: Final = 64 << 20
_HEADER: Final = re.compile(r"\s*\[\[?\s*([\w.-]+)\s*\]\]?\s*(?:#.*)?")
_STRING: Final = re.compile(r'"(?:\\.|[^"\\])*"|\'[^\']*\'')


# Writing.


def plan_toml(plan: TransferPlan) -> str:
    """Return a plan as TOML; `parse_plan` reads it back equal, comments included."""
    head = [*_commented(plan.comment), ""] if plan.comment else []
    for key, value in (("source", plan.source_framework), ("target", plan.target_framework)):
        head += [f"{key} = {_quoted(value)}"] if value else []
    if plan.conventions:
        head += ["", "[conventions]"]
        head += [f"{_quoted(name)} = {_quoted(value)}" for name, value in plan.conventions.items()]
    blocks = ["\n".join(head)] if head else []
    blocks += [rule_toml(rule) for rule in plan.rules]
    blocks += [_unsettled_toml(line) for line in plan.unsettled]
    return "\n\n".join(blocks) + "\n"


def rule_toml(rule: Rule) -> str:
    """Return the lines that add a rule to a plan."""
    lines = [*_commented(rule.comment), "[[rule]]", *_members(rule)]
    if rule.confidence != GIVEN:
        lines.append(f"confidence = {_quoted(rule.confidence)}")
    if rule.evidence:
        lines.append(f"evidence = {_list(map(str, rule.evidence))}")
    return "\n".join(lines)


def _members(rule: Rule) -> list[str]:
    members = [
        f"{key} = {_one_or_list(names)}"
        for key, names in (("source", rule.source), ("target", rule.target))
        if names
    ]
    return [*members, f"ops = {_list(map(str, rule.ops))}"] if rule.ops else members


def _unsettled_toml(line: Unsettled) -> str:
    lines = [*_commented(line.comment), "[[unsettled]]"]
    for key, names in (("source", line.source), ("target", line.target)):
        lines += [f"{key} = {_one_or_list(names)}"] if names else []
    lines.append(f"reason = {_quoted(line.reason)}")
    lines += [f"settled_by = {_quoted(line.settled_by)}"] if line.settled_by else []
    for candidate in line.candidates:
        lines.append("[[unsettled.candidate]]")
        lines += [f"text = {_quoted(candidate.text)}"] if candidate.text else []
        rules = ",\n".join(f"  {{ {', '.join(_members(rule))} }}" for rule in candidate.rules)
        lines.append(f"rules = [\n{rules},\n]" if rules else "rules = []")
    return "\n".join(lines)


def _commented(lines: Iterable[str]) -> list[str]:
    return [f"# {line}".rstrip() for line in lines]


def _one_or_list(names: Sequence[str]) -> str:
    return _quoted(names[0]) if len(names) == 1 else _list(names)


def _list(items: Iterable[str]) -> str:
    return f"[{', '.join(map(_quoted, items))}]"


def _quoted(text: str) -> str:
    """A literal string where TOML allows one, so that backslashes of patterns stay single; else a basic one."""
    if text.isprintable() and "'" not in text and ('"' in text or "\\" in text):
        return f"'{text}'"
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in escaped) + '"'


def write_plan(plan: TransferPlan, path: str | os.PathLike[str]) -> None:
    """Write a plan as a TOML file."""
    Path(path).write_text(plan_toml(plan), encoding="utf-8")


# Reading.


def read_plan(path: str | os.PathLike[str]) -> TransferPlan:
    """Read a plan from a TOML file.

    Raises:
        CheckpointNotFoundError: there is no such file.
        UsageError: it is no TOML, or no plan; says where.
    """
    try:
        if os.path.getsize(path) > _MAX_BYTES:
            raise UsageError("is too large for a plan", path=path)
        return parse_plan(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointNotFoundError("no such file", path=path) from None
    except UnicodeDecodeError as error:
        raise UsageError(f"is no UTF-8 text: {error.reason}", path=path) from None
    except CheckpointError as error:
        raise error.located(path) from None


def parse_plan(text: str) -> TransferPlan:
    """Read a plan from TOML text.

    Raises:
        UsageError: it is no TOML, or no plan; names the rule.

    Example:
        >>> parse_plan('[[rule]]\\nsource = "fc.weight"\\ntarget = "fc/kernel"\\nops = ["transpose"]').rules[0].ops
        (Transpose(axes=()),)
    """
    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"is no TOML: {error}") from None
    _only(data, {"source", "target", "conventions", "rule", "unsettled"}, "the plan")
    comments = _comments(text)
    rules = tuple(
        _rule(table, f"rule {i + 1}", tuple(comments.get(("rule", i), ())))
        for i, table in enumerate(_tables(data, "rule", "the plan"))
    )
    unsettled = tuple(
        _unsettled(table, f"unsettled {i + 1}", tuple(comments.get(("unsettled", i), ())))
        for i, table in enumerate(_tables(data, "unsettled", "the plan"))
    )
    conventions = data.get("conventions", {})
    if not isinstance(conventions, dict) or not all(isinstance(v, str) for v in conventions.values()):
        raise UsageError("conventions are texts by name", place="conventions")
    return TransferPlan(
        rules,
        unsettled,
        conventions,
        _string(data, "source", "the plan"),
        _string(data, "target", "the plan"),
        tuple(comments.get(("", 0), ())),
    )


def _rule(table: Mapping[str, Any], place: str, comment: tuple[str, ...] = ()) -> Rule:
    _only(table, {"source", "target", "ops", "confidence", "evidence"}, place)
    try:
        ops: tuple[Op, ...] = tuple(parse_op(text) for text in _strings(table, "ops", place))
        source, target = _strings(table, "source", place), _strings(table, "target", place)
        for pattern in (*source, *target):
            parse_pattern(pattern)
    except UsageError as error:
        error.place = error.place or place
        raise
    if not source and not target:
        raise UsageError("has neither a source nor a target", place=place)
    evidence = (text.partition(": ") for text in _strings(table, "evidence", place))
    return Rule(
        source,
        target,
        ops,
        _string(table, "confidence", place) or GIVEN,
        tuple(Evidence(kind, words) for kind, _, words in evidence),
        comment,
    )


def _unsettled(table: Mapping[str, Any], place: str, comment: tuple[str, ...]) -> Unsettled:
    _only(table, {"source", "target", "reason", "settled_by", "candidate"}, place)
    candidates = []
    for i, row in enumerate(_tables(table, "candidate", place)):
        where = f"{place}, candidate {i + 1}"
        _only(row, {"text", "rules"}, where)
        rules = tuple(_rule(rule, where) for rule in _tables(row, "rules", where))
        candidates.append(Candidate(rules, _string(row, "text", where)))
    return Unsettled(
        _strings(table, "source", place),
        _strings(table, "target", place),
        _string(table, "reason", place),
        _string(table, "settled_by", place),
        tuple(candidates),
        comment,
    )


def _only(table: Mapping[str, Any], known: set[str], place: str) -> None:
    unknown = [key for key in table if key not in known]
    if unknown:
        raise UsageError(
            f"there is no member {unknown[0]!r}",
            place=place,
            remedy=f"Its members: {', '.join(sorted(known))}.",
        )


def _tables(table: Mapping[str, Any], key: str, place: str) -> list[dict[str, Any]]:
    rows = table.get(key, [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UsageError(f"{key} is no list of tables", place=place)
    return rows


def _string(table: Mapping[str, Any], key: str, place: str) -> str:
    value = table.get(key, "")
    if not isinstance(value, str):
        raise UsageError(f"{key} is no text", place=place)
    return value


def _strings(table: Mapping[str, Any], key: str, place: str) -> tuple[str, ...]:
    value = table.get(key, [])
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise UsageError(f"{key} is neither a text nor a list of texts", place=place)
    return tuple(items)


def _comments(text: str) -> dict[tuple[str, int], list[str]]:
    """The comments of each table, by its name and number; those of the plan itself under ("", 0)."""
    plan: list[str] = []
    found = {("", 0): plan}
    here = plan
    pending: list[str] = []
    for line in text.splitlines():
        header = _HEADER.fullmatch(line)
        at = _STRING.sub(lambda string: " " * len(string[0]), line).find("#")
        comment = "" if at < 0 else line[at + 1 :].removeprefix(" ").rstrip()
        if header:
            # a blank line parts the plan's head from the first rule's comment
            if here is plan and "" in pending:
                cut = len(pending) - pending[::-1].index("")
                plan += pending[:cut]
                pending = pending[cut:]
            name = header[1]
            if name in ("rule", "unsettled"):
                here = found.setdefault((name, sum(key[0] == name for key in found)), [])
            elif name == "conventions":
                here = plan
            here += [*pending, comment]
            pending = []
        elif line.lstrip().startswith("#"):
            pending.append(comment)
        elif line.strip():
            here += [*pending, comment]
            pending = []
        elif pending:
            pending.append("")
    here += pending
    return {key: [line for line in lines if line] for key, lines in found.items()}
