"""A drawing of how far arrays moved, by matplotlib."""

from __future__ import annotations

import importlib.util
import io
import math
import warnings
from pathlib import Path
from typing import Any, Final

from ckpt_core.cli.render import clean
from ckpt_core.comparison import Diff, Movement
from ckpt_core.errors import MissingDependencyError, TargetError, UsageError

__all__ = ["check_plot", "draw"]

_FORMATS: Final = ("png", "svg", "pdf", "jpg", "webp")
_BARS: Final = 40


def check_plot(path: str) -> None:
    """Refuse a drawing that could not be made, before anything is read.

    Raises:
        MissingDependencyError: matplotlib is not installed.
        UsageError: the suffix is none of a picture.
        TargetError: its directory is not there.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise MissingDependencyError("drawing needs matplotlib", remedy="pip install 'ckpt-core[plot]'")
    if _format(path) not in _FORMATS:
        raise UsageError(
            "is no name of a picture", path=path, remedy=f"Use a suffix of: {', '.join(_FORMATS)}."
        )
    folder = Path(path).parent
    if not folder.is_dir():
        raise TargetError("there is no such directory to write into", path=folder)


def draw(found: Diff, path: str) -> None:
    """Draw the relative change and the cosine of the arrays that moved farthest.

    Arguments:
        found: a comparison with its movements.
        path: the file to write; its suffix decides the kind of picture.

    Raises:
        TargetError: it cannot be written.
    """
    from matplotlib.figure import Figure

    shown = [m for m in found.movements if m.relative != 0 or m.maximum != 0][:_BARS]
    figure = Figure(figsize=(9, 1.6 + 0.25 * max(len(shown), 4)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 1))
    _bars(left, right, shown)
    left.set_title(
        f"{len(shown)} of {len(found.movements)} arrays, the farthest moved first", fontsize=9, loc="left"
    )
    picture = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a name in a script that the font lacks is drawn as boxes
        figure.savefig(picture, format=_format(path), dpi=120)
    try:
        with open(path, "wb") as file:
            file.write(picture.getvalue())
    except OSError as error:
        raise TargetError(f"cannot be written: {error.strerror}", path=path) from error


def _bars(left: Any, right: Any, shown: list[Movement]) -> None:
    finite = [m.relative for m in shown if math.isfinite(m.relative)]
    top = max(finite, default=1.0) or 1.0
    positions = range(len(shown))
    left.barh(positions, [m.relative if math.isfinite(m.relative) else top for m in shown], color="tab:blue")
    left.set_yticks(positions, [_label(m) for m in shown], fontsize=7)
    left.invert_yaxis()
    left.set_xlabel("relative change, |b - a| / |a|")
    if finite and min(finite) > 0 and top / min(finite) > 100:
        left.set_xscale("log")
    right.plot([m.cosine for m in shown], positions, ".", color="tab:orange")
    right.set_xlabel("cosine")


def _label(movement: Movement) -> str:
    mark = "" if math.isfinite(movement.relative) else " (from zero, or NaN)"
    return clean(movement.path, 60).replace("$", r"\$") + mark


def _format(path: str) -> str:
    suffix = Path(path).suffix[1:].lower()
    return "jpg" if suffix == "jpeg" else suffix
