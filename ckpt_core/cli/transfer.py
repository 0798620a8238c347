"""`ckpt transfer`: the weights of one model into another."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import json
import os
import re
import sys
import types
import warnings
from typing import Any, Final

import click

from ckpt_core.cli.jsonable import jsonable
from ckpt_core.cli.options import json_option, opening_options
from ckpt_core.cli.progress import progress_bar
from ckpt_core.cli.render import arrays_text, clean, clean_lines, emit, emit_json
from ckpt_core.cli.transfer_plan import plan_json, plan_text
from ckpt_core.errors import UsageError
from ckpt_core.opening import open_checkpoint
from ckpt_core.transfer import transfer as transfer_weights
from ckpt_core.transfer import verify, write_plan
from ckpt_core.transfer.transferring import Check, Transferred, is_absent

__all__ = ["transfer"]

_ATTRIBUTE: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


@click.command(
    epilog="Exit codes: 0 done (--check: it fits); 1 --check or --plan-only: it does not fit, or a line is unsettled; "
    "2 an error, and the target is as it was; 130 interrupted, likewise."
)
@click.argument("source")
@click.option(
    "--like", required=True, metavar="TARGET",
    help="What the target expects: a template from `ckpt inspect --template`, a checkpoint of it, or "
    "module:attribute, a model in your own code (or a function that makes one), which is imported.",
)  # fmt: skip
@click.option("--out", metavar="PATH", help="The checkpoint to write.")
@click.option(
    "--to", metavar="KIND",
    help="How it is arranged (flax, nnx or torch), or its format; without it the target and the suffix decide.",
)  # fmt: skip
@click.option("--rules", metavar="FILE", help="A plan in TOML; what it leaves open is found.")
@click.option(
    "--select", multiple=True, metavar="PART",
    help="The part of SOURCE to take, such as 'encoder/**'; repeated, the first that is there.",
)  # fmt: skip
@click.option(
    "--into", multiple=True, metavar="PART", help="A part of the target to fill; repeated, each gets a copy."
)
@click.option(
    "--skip", multiple=True, metavar="PATTERN",
    help="Names on either side that are left out on purpose, such as 'head/**'. May be repeated.",
)  # fmt: skip
@click.option(
    "--resize", multiple=True, metavar="TARGET=SOURCE",
    help="A table of another size: what both have is copied. May be repeated.",
)  # fmt: skip
@click.option("--cast", metavar="DTYPE", help="A floating-point dtype for what is transferred, such as bf16.")
@click.option("--reverse", is_flag=True, help="The plan leads from TARGET to SOURCE: go back.")
@click.option(
    "--optional", is_flag=True, help="An absent SOURCE is a warning, and every slot stays as it is."
)
@click.option(
    "--with-optimizer", is_flag=True,
    help="Carry the training state too: optimizer, step, schedule position, averaged copies.",
)  # fmt: skip
@click.option(
    "--optimizer-kind", metavar="RULE",
    help="The rule that wrote the optimizer's state, where it allows several, such as adamw.",
)  # fmt: skip
@click.option(
    "--hyperparam", multiple=True, metavar="NAME=VALUE",
    help="What an optax state does not hold, such as learning_rate=0.001. May be repeated.",
)  # fmt: skip
@click.option(
    "--optimizer-name", metavar="NAME",
    help="Which optimizer is meant, where SOURCE has several, as `ckpt inspect` names them.",
)  # fmt: skip
@click.option(
    "--optimizer-step", type=click.IntRange(min=0), metavar="N",
    help="The number of updates that were made, where SOURCE does not tell it (torch's SGD counts none).",
)  # fmt: skip
@click.option(
    "--parameter-names", metavar="FILE",
    help="The names of a torch optimizer's parameters in the order of its groups, one a line, where SOURCE does not tell.",
)  # fmt: skip
@click.option("--plan-only", is_flag=True, help="Print the plan with its evidence; write nothing else.")
@click.option("--save-plan", metavar="FILE", help="Write the plan as TOML.")
@click.option(
    "--check", is_flag=True, help="Say whether SOURCE holds what the target needs; read no weights."
)
@click.option("--force", is_flag=True, help="Replace an existing target.")
@opening_options
@json_option
def transfer(
    source: str,
    like: str,
    out: str | None,
    to: str | None,
    rules: str | None,
    select: tuple[str, ...],
    into: tuple[str, ...],
    skip: tuple[str, ...],
    resize: tuple[str, ...],
    cast: str | None,
    reverse: bool,
    optional: bool,
    with_optimizer: bool,
    optimizer_kind: str | None,
    hyperparam: tuple[str, ...],
    optimizer_name: str | None,
    optimizer_step: int | None,
    parameter_names: str | None,
    plan_only: bool,
    save_plan: str | None,
    check: bool,
    force: bool,
    as_json: bool,
    opening: dict[str, Any],
) -> None:
    """Bring the weights of SOURCE into another model: other names, other layouts, the same function.

    The plan is found from names, shapes, structure and types; a line that these do not settle is an error that
    names the candidates and the rule to add.
    """
    if not (out or plan_only or check or save_plan):
        raise UsageError(
            "there is nothing to do", remedy="Add --out PATH, --plan-only, --save-plan FILE or --check."
        )
    asked: dict[str, Any] = {
        "rules": rules, "select": select, "into": into, "skip": skip, "resize": _pairs(resize), "reverse": reverse,
    }  # fmt: skip
    target = _target(like)
    ckpt = None if optional and is_absent(source) else open_checkpoint(source, **opening)
    try:
        if plan_only or check or not out:  # these write no checkpoint, whatever else is given
            result = verify(ckpt, target, **asked)
            if save_plan:
                write_plan(result.plan, save_plan)
            _show_check(result, plan_only, check, as_json, save_plan)
            click.get_current_context().exit(_exit_code(result, plan_only, check))
        if with_optimizer:
            values = _values(hyperparam)
            asked |= {"with_optimizer": True, "optimizer_kind": optimizer_kind, "hyperparams": values or None}
            asked |= {"optimizer_name": optimizer_name, "optimizer_step": optimizer_step}
            asked["parameter_names"] = None if parameter_names is None else _lines(parameter_names)
        elif hyperparam or any(
            value is not None for value in (optimizer_kind, optimizer_name, optimizer_step, parameter_names)
        ):
            raise UsageError(
                "--optimizer-kind, -name and -step, --hyperparam and --parameter-names belong to --with-optimizer"
            )
        with warnings.catch_warnings(record=True) as noticed:
            warnings.simplefilter("always", UserWarning)
            done = transfer_weights(ckpt or source, target, **asked, cast=cast, optional=optional)
        for warning in noticed:
            click.echo(f"note: {clean(str(warning.message), 500)}", err=True)
        if save_plan:
            write_plan(done.plan, save_plan)
        _write(done, str(out), to, force, as_json)
    finally:
        if ckpt is not None:
            ckpt.close()


def _exit_code(result: Check, plan_only: bool, check: bool) -> int:
    return int((check or plan_only) and bool(result.problems))


def _show_check(result: Check, plan_only: bool, check: bool, as_json: bool, saved: str | None) -> None:
    if as_json:
        problems = [dataclasses.asdict(problem) for problem in result.problems]
        emit_json(jsonable({"fits": not problems, "problems": problems, "plan": plan_json(result.plan)}))
        return
    if plan_only:
        emit(plan_text(result.plan))
        others = [problem for problem in result.problems if problem.kind != "unsettled"]
        if others and not check:
            emit(clean_lines("\n".join(["", "what does not fit:", *(f"  {problem}" for problem in others)])))
    if saved:
        emit(
            f"{clean(saved, 500)}: {len(result.plan.rules)} rules, {len(result.plan.unsettled)} unsettled lines"
        )
    if check:
        emit(clean_lines(str(result)))


def _write(done: Transferred, out: str, to: str | None, force: bool, as_json: bool) -> None:
    with progress_bar("transferring") as report:
        receipt = done.save(out, to=to, force=force, progress=report)
    suggestion = done.suggestion
    if as_json:
        more = (
            {} if suggestion is None else {"optimizer": {"code": suggestion.code, "notes": suggestion.notes}}
        )
        emit_json(jsonable({"out": out, **dataclasses.asdict(receipt), **more}))
        return
    lines = [
        f"{clean(receipt.source, 500)} -> {clean(os.path.abspath(out), 500)}: {arrays_text(len(receipt.filled))}",
        str(receipt),
    ]
    if suggestion is not None:
        lines += [
            "",
            "the optimizer that goes on alike:",
            *(f"    {line}" for line in suggestion.code.splitlines()),
        ]
    emit(clean_lines("\n".join(lines)))


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8") as file:
            return [line.strip() for line in file if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot be read as text: {error}", path=path) from error


def _values(texts: tuple[str, ...]) -> dict[str, Any]:
    """Numbers, true, false and none by name; anything else is text."""
    values: dict[str, Any] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not (name and separator):
            raise UsageError(f"--hyperparam takes NAME=VALUE, not {text!r}")
        words: dict[str, Any] = {"true": True, "false": False, "none": None}
        try:
            values[name] = words[value.lower()] if value.lower() in words else json.loads(value)
        except ValueError:
            values[name] = value
    return values


def _pairs(texts: tuple[str, ...]) -> dict[str, str]:
    pairs = {}
    for text in texts:
        target, separator, source = text.partition("=")
        if not (target and separator and source):
            raise UsageError(f"--resize takes TARGET=SOURCE, not {text!r}")
        pairs[target] = source
    return pairs


def _target(like: str) -> Any:
    """A path as it is; the object that `module:attribute` names, imported because the caller says so."""
    if os.path.exists(like) or not _ATTRIBUTE.fullmatch(like):
        return like
    module, _, attribute = like.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        value: Any = importlib.import_module(module)
        for name in attribute.split("."):
            value = getattr(value, name)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"{like} cannot be imported: {error}") from error
    except Exception as error:  # the module's own code
        raise UsageError(f"{like} cannot be imported: {module} raised {_described(error)}") from error
    if not isinstance(value, (types.FunctionType, types.MethodType, functools.partial)):
        return value
    try:
        return value()
    except Exception as error:  # the function's own code
        raise UsageError(f"{like} makes no model: it raised {_described(error)}") from error


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
