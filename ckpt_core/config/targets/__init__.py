"""What a config can be filled into, and what is in it."""

from __future__ import annotations

import argparse
from collections.abc import Collection
from typing import Any

from ckpt_core.config.explicit import explicit_arguments
from ckpt_core.config.targets.base import MISSING, Field
from ckpt_core.config.targets.kinds import held_by, kind_of
from ckpt_core.config.targets.target import CLOSED, OPEN, Target
from ckpt_core.errors import UsageError

__all__ = ["CLOSED", "MISSING", "OPEN", "Field", "Target", "held_by", "target_of"]


def target_of(into: Any, explicit: Collection[str] | argparse.ArgumentParser = ()) -> Target:
    """Return the target that an object or a class is.

    Arguments:
        into: None or dict for a new dict; a dict, a dataclass, an argparse Namespace, a pydantic model, a
            ConfigDict; the class or an instance.
        explicit: names of fields whose values in an instance were given; an ArgumentParser is asked which options
            stand on the command line.

    Raises:
        UsageError: it is none of these.
    """
    given = explicit_arguments(explicit) if isinstance(explicit, argparse.ArgumentParser) else explicit
    if into is None or into is dict:
        into = {}
    kind = kind_of(into if isinstance(into, type) else type(into))
    if kind is not None:
        return Target(into, kind, given)
    named = into if isinstance(into, type) else type(into)
    raise UsageError(
        f"a {named.__module__}.{named.__qualname__} is no config to fill",
        remedy="Pass a dict, a dataclass, a Namespace, a pydantic model or a ConfigDict, or the class of one.",
    )
