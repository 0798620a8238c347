"""Make cases and read each one, guarded; one JSON line says what is about to be read, one what came of it.

    python -m tests.attacks.worker FOLDER SUITE SHARD SHARDS [FIRST]

Run by `runner.run`, which watches over it. SUITE is a module of this package with a function `cases`.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import io
import json
import os
import pkgutil
import resource
import shutil
import sys
import time
import warnings
from pathlib import Path
from typing import Any, TextIO

import numpy as np

import ckpt_core.cli.app as cli
from ckpt_core import convert, open_checkpoint, save_checkpoint
from ckpt_core.errors import CheckpointError
from tests.attacks.case import EITHER, INERT, OPENS, REFUSED, Case
from tests.attacks.guard import Guard
from tests.attacks.inspecting import BrokenRuleError, well_formed

MEMORY = 3 << 29
"""Bytes of address space that reading any file may take, the interpreter and its libraries included."""

GOLDEN = Path(__file__).parents[1] / "golden"
TARGETS = {
    "pickle": "out.pkl",
    "torch": "out.pth",
    "safetensors": "out.safetensors",
    "msgpack": "out.msgpack",
    "orbax": "out",
}
DISGUISED = (
    "MemoryError",
    "RecursionError",
    "SystemError",
    "AssertionError",
    "NameError",
    "UnboundLocalError",
)
"""Reasons that say only that something went wrong inside, which a check in time would have refused."""


def main() -> None:
    folder, suite, shard, shards = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    first = int(sys.argv[5]) if len(sys.argv) > 5 else 0
    warnings.simplefilter("error")
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else prints something does not reach the runner
    os.chdir(folder)
    _warm_up(folder)
    gc.freeze()  # what is there by now needs no looking at any more
    guard = Guard(os.path.realpath(folder))
    cases = importlib.import_module(f"tests.attacks.{suite}").cases()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for number, case in enumerate(cases):
        if number % shards != shard or number < first:
            continue
        path = folder / f"{number}" / case.name.rpartition("/")[2]
        path.parent.mkdir()
        case.make(path)
        _say(channel, {"number": number, "name": case.name})
        started = time.monotonic()
        result = judge(case, path, guard, number)
        seconds = round(time.monotonic() - started, 2)
        _say(
            channel,
            {"number": number, "name": case.name, "expect": case.expect, "seconds": seconds, **result},
        )
        shutil.rmtree(path.parent, ignore_errors=True)


def _say(channel: TextIO, line: dict[str, Any]) -> None:
    print(json.dumps(line), file=channel, flush=True)


def _warm_up(folder: Path) -> None:
    """Do once what reading and writing import lazily, so that an import afterwards is the file's doing."""
    import ml_dtypes  # noqa: F401  # read on first use of bfloat16

    with contextlib.suppress(ImportError):
        import tensorstore  # noqa: F401  # read on first use of an Orbax directory
    tree = {"a": {"w": np.zeros((2, 3), np.float32)}, "epoch": 1, "t": (1, None)}
    for to, name in TARGETS.items():
        target = folder / "warm" / name
        target.parent.mkdir(exist_ok=True)
        save_checkpoint(target, tree, to=to)
        _command(["inspect", str(target)])
        _command(["inspect", "--json", str(target)])
        with open_checkpoint(target) as ckpt:
            well_formed(ckpt.tree)
        convert(target, folder / "warm" / f"again-{name}", to=to)
    for golden in ("0.12.8_keys_ocdbt", "0.12.8_chunked_ocdbt_zarr3", "0.12.8_chunked_zarr2"):
        with open_checkpoint(GOLDEN / "orbax" / golden) as ckpt:
            well_formed(ckpt.tree)
    _command(["inspect", str(folder / "nothing")])
    for codec in (
        "raw_unicode_escape",
        "unicode_escape",
        "cp437",
        "latin_1",
        "ascii",
        "utf_16",
        "utf_32_be",
        "utf_32_le",
    ):
        importlib.import_module(f"encodings.{codec}")
    for name in ("ckpt_core", "ckpt_torch", "ckpt_flax", "ckpt_pickle", "ckpt_safetensors"):
        package = importlib.import_module(name)
        for module in pkgutil.walk_packages(package.__path__, f"{name}."):
            if (
                not module.name.endswith(".__main__")
                and ".bridge" not in module.name
                and ".testing" not in module.name
            ):
                importlib.import_module(module.name)
    shutil.rmtree(folder / "warm")


def judge(case: Case, path: Path, guard: Guard, number: int) -> dict[str, Any]:
    """Read one file in every way; returns the outcome and the rule that was broken, if any."""
    result: dict[str, Any] = {"outcome": "broken", "broken": ""}
    guard.seen.clear()
    guard.armed = True
    try:
        result.update(_read(case, path))
        if number % 20 == 0 or not (case.light or case.expect == INERT):
            _ask_commands(path, result["outcome"])
            _convert(path, result, number)
    except BrokenRuleError as error:
        result["broken"] = str(error)
    except AssertionError as error:
        result["broken"] = f"the check of the case failed: {error!r:.500}"
    except BaseException as error:  # any other exception is what this is here to find
        import traceback

        guard.armed = False
        result["broken"] = f"{type(error).__name__}: {traceback.format_exc()[-1500:]}"
    guard.armed = False
    if guard.seen:
        result["broken"] = f"ran or imported something: {guard.seen[:3]} {result['broken']}"
    wanted = {
        OPENS: ("opened",),
        REFUSED: ("refused",),
        EITHER: ("opened", "refused"),
        INERT: ("opened", "refused"),
    }
    if not result["broken"] and result["outcome"] not in wanted[case.expect]:
        result["broken"] = f"{result['outcome']} instead of {case.expect}: {result.get('reason', '')}"
    return result


def _read(case: Case, path: Path) -> dict[str, Any]:
    try:
        with open_checkpoint(path, **case.options) as ckpt:
            digest, refused = well_formed(ckpt.tree)
            if refused and case.expect == OPENS:
                raise BrokenRuleError(f"arrays cannot be read: {refused[:3]}")
            if case.expect == REFUSED and refused:
                return {"outcome": "refused", "reason": f"on reading {refused[0]}"}
            if case.check is not None:
                case.check(ckpt.tree)
        return {"outcome": "opened", "digest": digest}
    except CheckpointError as error:
        return {"outcome": "refused", "reason": check_error(error, path)}


def check_error(error: CheckpointError, path: Path) -> str:
    """Return the text of an error; it must name the file and give a reason."""
    text = str(error)
    if not error.reason or error.path is None or path.name not in error.path:
        raise BrokenRuleError(f"an error without the file or the reason: {text[:500]}")
    if any(word in text for word in DISGUISED):
        raise BrokenRuleError(f"a failure instead of a check: {text[:500]}")
    if len(text) > 10_000:
        raise BrokenRuleError(f"an error of {len(text)} characters")
    return text[:300]


def _command(arguments: list[str]) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = cli.ckpt.main(arguments, prog_name="ckpt", standalone_mode=False) or 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        except Exception as error:  # click's own exceptions carry the code
            code = getattr(error, "exit_code", 70)
    return code, out.getvalue(), err.getvalue()


def _ask_commands(path: Path, outcome: str) -> None:
    for arguments in (["inspect", str(path)], ["inspect", "--json", str(path)]):
        code, out, err = _command(arguments)
        if code not in (0, 2) or "ckpt itself failed" in err or "Traceback" in err:
            raise BrokenRuleError(f"ckpt {arguments[0]} ends with {code}: {err[-500:]}")
        if (code == 0 and not out.strip()) or (code == 2 and "error:" not in err):
            raise BrokenRuleError(f"ckpt {arguments[0]} ends with {code} and says: {out[-200:]} {err[-200:]}")
        if code == 0 and outcome == "opened" and "--json" in arguments:
            json.loads(out, parse_constant=_no_constant)


def _no_constant(name: str) -> None:
    raise BrokenRuleError(f"ckpt inspect --json prints {name}")


def _convert(path: Path, result: dict[str, Any], number: int) -> None:
    """Convert into one of the formats; a target stays only where that succeeded, and then it opens."""
    to = sorted(TARGETS)[number % len(TARGETS)]
    target = path.parent / "converted" / TARGETS[to]
    target.parent.mkdir()
    try:
        with open_checkpoint(path) as ckpt:
            if sum(params.nbytes for params in _arrays(ckpt.tree)) > 256 << 20:
                return
        convert(path, target, to=to)
    except CheckpointError as error:
        str(error)
        if os.listdir(target.parent):
            raise BrokenRuleError(f"a failed conversion leaves {os.listdir(target.parent)}") from error
        return
    if result["outcome"] != "opened":
        raise BrokenRuleError("is converted although it is refused")
    with open_checkpoint(target) as ckpt:
        well_formed(ckpt.tree)


def _arrays(tree: Any) -> list[Any]:
    from ckpt_core.arrays import LazyArray
    from ckpt_core.tree import walk

    return [node for _, node in walk(tree) if isinstance(node, LazyArray)]


if __name__ == "__main__":
    main()
