"""Cases that break the rules on purpose: what the runner must notice."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from tests.attacks import opcodes as op
from tests.attacks.case import OPENS, REFUSED, Case, data

GOOD = op.pickled(op.value({"a": 1}))


def _hang(_: Any) -> None:
    time.sleep(1000)


def _die(_: Any) -> None:
    os.kill(os.getpid(), 11)


def _raise(_: Any) -> None:
    raise ValueError("not of the family")


def _run(_: Any) -> None:
    subprocess.run([sys.executable, "-c", ""], check=True)


def _import(_: Any) -> None:
    import colorsys  # noqa: F401  # any module that nothing here needs


def _write(_: Any) -> None:
    with contextlib.suppress(OSError):
        os.open("/no-such-folder/ckpt-attack-canary", os.O_WRONLY)


def _exhaust(_: Any) -> None:
    bytearray(8 << 30)


def _evaluate(_: Any) -> None:
    eval("1")


CHECKS: dict[str, tuple[Callable[[Any], None] | None, str]] = {
    "in-order": (None, ""),
    "hangs": (_hang, "no answer"),
    "dies": (_die, "ended with -11"),
    "raises": (_raise, "ValueError"),
    "runs": (_run, "subprocess"),
    "imports": (_import, "import"),
    "writes": (_write, "open"),
    "exhausts": (_exhaust, "MemoryError"),
    "evaluates": (_evaluate, "exec|compile"),
}
EXPECTED = {f"offenders/{name}.pkl": text for name, (_, text) in CHECKS.items()} | {
    "offenders/opens-wrongly.pkl": "opened instead of refused",
    "offenders/refused-wrongly.pkl": "refused instead of opens",
}


def cases() -> Iterator[Case]:
    for name, (check, _) in CHECKS.items():
        yield data(f"offenders/{name}.pkl", GOOD, OPENS, check)
    yield data("offenders/opens-wrongly.pkl", GOOD, REFUSED)
    yield data("offenders/refused-wrongly.pkl", GOOD[:-1], OPENS)
