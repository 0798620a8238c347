"""The command group: which commands there are, and how every one of them fails.

Exit codes: 0 done (diff: equal; validate: it fits); 1 diff: they differ, validate: it does not fit, explain: the
error is not known, inspect --stats: there are NaN or infinite values; 2 an error, in one sentence on stderr;
130 interrupted, nothing half-written stays; 141 the reader of the output went away.
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
import traceback
from typing import Final

import click

import ckpt_core
from ckpt_core.cli.render import clean_lines
from ckpt_core.errors import CheckpointError

__all__ = ["ckpt", "main"]

FAILED, INTERRUPTED, NO_READER = 2, 130, 141

COMMANDS: Final = {
    "inspect": "inspect",
    "config": "config",
    "convert": "convert",
    "diff": "diff",
    "validate": "validate",
    "explain": "explain",
    "hash": "hash_command",
    "ls": "ls",
    "prune": "prune",
    "backends": "backends",
    "transfer": "transfer",
}
"""The commands, and the functions of the modules of their names; one is imported when it is called for."""


class Commands(click.Group):
    """A group whose commands end with a sentence and an exit code, never with a traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, sorted as they are shown."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"ckpt_core.cli.{cmd_name}")
        command: click.Command = getattr(module, COMMANDS[cmd_name])
        return command

    def invoke(self, ctx: click.Context) -> None:
        """Run a command; what it raises becomes a sentence and an exit code."""
        code = FAILED
        try:
            super().invoke(ctx)
            sys.stdout.flush()
            return
        except BrokenPipeError:
            _forget_stdout()
            code = NO_READER
        except KeyboardInterrupt:
            _complain("interrupted; nothing half-written was left")
            code = INTERRUPTED
        except CheckpointError as error:
            _complain(f"error: {error}")
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except OSError as error:
            where = f"{os.fsdecode(error.filename)}: " if error.filename else ""
            _complain(f"error: {where}{error.strerror or error}")
        except MemoryError:
            _complain("error: there is not enough memory for this")
        except Exception as error:  # noqa: BLE001  # the last resort: a person gets a sentence, whatever broke
            _complain(f"error: ckpt itself failed with {type(error).__name__}: {error}")
            _complain("  Please report it, with what `ckpt --traceback ...` prints.")
            if ctx.params.get("traceback"):
                _complain(traceback.format_exc())
        ctx.exit(code)


def _complain(text: str) -> None:
    sys.stderr.write(clean_lines(text) + "\n")


def _forget_stdout() -> None:
    """Point stdout nowhere, so that the interpreter's own flush at exit has nothing to complain about."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    except (OSError, ValueError):  # no real file behind it
        pass


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done (diff: equal; validate: it fits); 1 diff: different, validate: it does not fit, "
    "inspect --stats: NaN or infinite values; "
    "2 an error, told in one sentence; 130 interrupted.",
)
@click.version_option(ckpt_core.__version__, message="ckpt-core %(version)s")
@click.option("--traceback", is_flag=True, help="Show where an unexpected error arose.")
def ckpt(traceback: bool) -> None:
    """Open any checkpoint without running it, and convert it into any other format."""


def main() -> None:
    """Run the command; the entry point of `ckpt`."""
    for name in ("stdout", "stderr"):
        # it was closed before the start: nobody reads it, and that is no failure
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  # to the end of the process
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:  # a terminal that lacks a character gets its escape, not an error
            reconfigure(errors="backslashreplace")
    gc.set_threshold(200_000)  # a tree of many leaves makes no garbage, and would be walked again and again
    ckpt.main(prog_name="ckpt")
