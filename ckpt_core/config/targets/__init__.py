"""The kinds of objects that hold a config, one file each."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from ckpt_core.config.explicit import explicit_arguments
from ckpt_core.config.targets.base import MISSING, Field, Target
from ckpt_core.config.targets.config_dict import ConfigDictTarget, is_config_dict
from ckpt_core.config.targets.dataclass import DataclassTarget
from ckpt_core.config.targets.plain import DictTarget, NamespaceTarget
from ckpt_core.config.targets.pydantic import PydanticTarget, is_model
from ckpt_core.errors import UsageError

__all__ = ["MISSING", "Field", "Target", "target_of"]


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
        return DictTarget({}, given)
    if is_model(into):
        return PydanticTarget(into, given)
    if is_config_dict(into):
        return ConfigDictTarget(into, given)
    if dataclasses.is_dataclass(into):
        return DataclassTarget(into, given)
    if isinstance(into, argparse.Namespace) or into is argparse.Namespace:
        return NamespaceTarget(argparse.Namespace() if isinstance(into, type) else into, given)
    if isinstance(into, Mapping):
        return DictTarget(into, given)
    kind = into if isinstance(into, type) else type(into)
    raise UsageError(
        f"a {kind.__module__}.{kind.__qualname__} is no config to fill",
        remedy="Pass a dict, a dataclass, a Namespace, a pydantic model or a ConfigDict, or the class of one.",
    )
