"""The flags of resuming for a training script that uses argparse."""

from __future__ import annotations

import argparse
import copy
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from ckpt_core.errors import CheckpointError, UsageError
from ckpt_core.runs.listing_text import listing_text
from ckpt_core.runs.plan import ResumePlan
from ckpt_core.runs.resume import FLAGS, plan_resume
from ckpt_core.runs.run import Run
from ckpt_core.runs.siblings import siblings_of
from ckpt_core.runs.truth import rule_for

__all__ = ["ResumeArguments", "add_resume_arguments"]

RunDirectory = Callable[[argparse.Namespace], "str | os.PathLike[str]"]


def add_resume_arguments(
    parser: argparse.ArgumentParser,
    run_dir: str | os.PathLike[str] | RunDirectory,
    *,
    epochs: str | None = "epochs",
    first_epoch: int | None = None,
    steps_per_epoch: int | None = None,
) -> ResumeArguments:
    """Add `--resume --fresh_start --auto_resume --list_checkpoints --model_path --comment` to a parser.

    An option that the script has already keeps its own meaning; one of the script's own `--resume PATH` names the
    checkpoint, as `--model_path` does. Each works with `-` in place of `_`, too.

    Arguments:
        parser: the script's parser.
        run_dir: the directory of the run, or a function of the parsed arguments that returns it.
        epochs: the name of the argument that says how many epochs there are to be.
        first_epoch: the number of the first epoch, 0 or 1, where the script knows it.
        steps_per_epoch: optimizer steps per epoch, likewise.

    Returns:
        What turns the parsed arguments into a plan.

    Example:
        parser = argparse.ArgumentParser()
        parser.add_argument("--epochs", type=int, default=100)
        parser.add_argument("--lr", type=float, default=3e-4)
        resuming = add_resume_arguments(parser, run_dir=lambda args: f"runs/lr_{args.lr}")
        args = parser.parse_args()
        plan = resuming.plan(args)
    """
    group = parser.add_argument_group("resuming")
    for name, options in _OPTIONS.items():
        spellings = dict.fromkeys((f"--{name}", f"--{name.replace('_', '-')}"))
        try:
            group.add_argument(*spellings, **options)
        except argparse.ArgumentError:  # the script has it
            continue
    return ResumeArguments(parser, run_dir, epochs, first_epoch, steps_per_epoch)


_OPTIONS: Final[dict[str, dict[str, Any]]] = {
    "resume": {"action": "store_true", "help": "go on from --model_path: weights, optimizer and counters"},
    "fresh_start": {"action": "store_true", "help": "start anew, whatever is there"},
    "auto_resume": {
        "action": "store_true",
        "help": "go on from the newest whole checkpoint; without one, start",
    },
    "list_checkpoints": {"action": "store_true", "help": "print the checkpoints of this run, and exit"},
    "model_path": {"metavar": "PATH", "help": "a checkpoint; without --resume its weights only"},
    "comment": {"metavar": "WORDS", "help": "only checkpoints whose names have these words"},
}


class ResumeArguments:
    """The flags of resuming on a parser; `plan` says what they mean."""

    def __init__(
        self,
        parser: argparse.ArgumentParser,
        run_dir: str | os.PathLike[str] | RunDirectory,
        epochs: str | None,
        first_epoch: int | None,
        steps_per_epoch: int | None,
    ) -> None:
        self._parser = parser
        self._run_dir = run_dir
        self._epochs = epochs
        self._first_epoch = first_epoch
        self._steps_per_epoch = steps_per_epoch

    def run(self, args: argparse.Namespace) -> Run:
        """Return the run that the arguments mean, its checkpoints filtered by `--comment`."""
        return Run(self._folder(args), comment=getattr(args, "comment", None) or None)

    def plan(
        self, args: argparse.Namespace, *, config: Any = None, say: Callable[[str], object] = print
    ) -> ResumePlan:
        """Return what to load and where to go on; prints it.

        A combination that is refused ends the script as argparse does, with the reason and exit code 2.
        `--list_checkpoints` prints the run's checkpoints and exits with 0.

        Arguments:
            args: the parsed arguments.
            config: the hyperparameters of now; by default all arguments but these flags.
            say: what prints.

        Raises:
            CheckpointError: what is to be loaded is not there, damaged, or holds weights alone.
        """
        flags = {name: bool(getattr(args, name, False)) for name in ("resume", "fresh_start", "auto_resume")}
        model_path = self._model_path(args)
        try:
            rule_for(**flags, model_path=model_path is not None)
        except UsageError as error:
            self._parser.error(error.reason)
        run = self.run(args)
        if args.list_checkpoints:
            say(self._listing(run))
            self._parser.exit(0)
        plan = plan_resume(
            run,
            **flags,
            model_path=model_path,
            epochs=None if self._epochs is None else getattr(args, self._epochs, None),
            config=hyperparameters(args) if config is None else config,
            first_epoch=self._first_epoch,
            steps_per_epoch=self._steps_per_epoch,
        )
        if flags["auto_resume"] and plan.action != "resume":
            plan = replace(plan, notes=(*plan.notes, *siblings_of(args, self._folder)))
        say(str(plan))
        return plan

    def _model_path(self, args: argparse.Namespace) -> str | os.PathLike[str] | None:
        """The path that is named, also by a script's own `--resume PATH`."""
        named: str | os.PathLike[str] | None = args.model_path or None
        if not args.resume or not isinstance(args.resume, (str, os.PathLike)):
            return named
        if named is not None and named != args.resume:
            self._parser.error("--resume and --model_path name two checkpoints: drop one of the two")
        return args.resume

    def _folder(self, args: argparse.Namespace) -> str:
        return os.fspath(self._run_dir(copy.copy(args)) if callable(self._run_dir) else self._run_dir)

    def _listing(self, run: Run) -> str:
        try:
            return listing_text(run)
        except CheckpointError as error:
            return str(error)


def hyperparameters(args: argparse.Namespace) -> Mapping[str, Any]:
    """Return the arguments without the flags of resuming: what a checkpoint saves as its config."""
    return {name: value for name, value in vars(args).items() if name not in FLAGS}
