"""The errors of scripts that take a checkpoint for something else, or pass its settings to a class that changed."""

from __future__ import annotations

import re
import shlex
from typing import Final

from ckpt_core.config.names import Names, entries_of
from ckpt_core.rendering.text import value_text
from ckpt_core.schema import Checkpoint
from ckpt_core.validation.explaining.explanation import Explanation
from ckpt_core.validation.explaining.facts import FileFault, Mismatch, Settings

__all__ = ["explained_settings", "parse"]

_NO_MODEL: Final = re.compile(
    r"'(?P<kind>dict|(?:collections\.)?OrderedDict|FrozenDict)' object (?:is not callable|has no attribute "
    r"'(?:eval|train|to|cuda|cpu|half|float|parameters|named_parameters|state_dict|load_state_dict|forward|apply)')"
)
_UNEXPECTED: Final = re.compile(r"__init__\(\) got an unexpected keyword argument '(?P<name>\w+)'")
_MISSING: Final = re.compile(
    r"__init__\(\) missing \d+ required (?:positional|keyword-only) arguments?: (?P<names>'[^\n]*')"
)
_OTHER_CHAIN: Final = re.compile(
    r"(?:Custom node type mismatch: expected type: |pytree structure error: different types.*?)<class 'optax\."
    r"|'EmptyState' object has no attribute '(?:mu|nu|count|trace|hyperparams)'",
    re.DOTALL,
)
_MEMORY: Final = re.compile(r"CUDA out of memory|OutOfMemoryError|RESOURCE_EXHAUSTED: Out of memory")
_NO_CUDA: Final = re.compile(
    r"Torch not compiled with CUDA enabled|No CUDA GPUs are available|no NVIDIA driver"
)

_FIRST_CPU: Final = 'restore({path!r}, model, device="cpu") reads to the CPU, and moves nothing'


def parse(text: str) -> Mismatch | FileFault | Settings | None:
    """Return what an error text says, or None where it is none that is known."""
    match = _NO_MODEL.search(text)
    if match is not None:
        cause = f"what was loaded is a {match['kind']} with the weights in it, and no model: the model is made first"
        return FileFault("no model", cause, ("restore({path!r}, model) fills a model from it",))
    match = _OTHER_CHAIN.search(text)
    if match is not None:
        hint = (
            "the optimizer's state was saved by another chain of transformations than the one that it meets"
        )
        return Mismatch("jax: the optimizer's state", hint=hint)
    if _MEMORY.search(text):
        return FileFault("out of memory", "the model does not fit on the device", (_FIRST_CPU,))
    if _NO_CUDA.search(text):
        return FileFault("torch: a device that is not here", "there is no CUDA device here", (_FIRST_CPU,))
    match = _UNEXPECTED.search(text)
    if match is not None:
        return Settings(unexpected=(match["name"],))
    match = _MISSING.search(text)
    return None if match is None else Settings(missing=tuple(re.findall(r"'(\w+)'", match["names"])))


def explained_settings(
    facts: Settings, own: Checkpoint | None, path: str, verdict: tuple[str, ...]
) -> Explanation:
    """Explain arguments of a class that it does not take, or that it lacks, by what was saved of its config.

    Arguments:
        facts: the arguments.
        own: the checkpoint, or None.
        path: where it is, or "".
        verdict: what stands in the way of opening it.
    """
    saved = {} if own is None else {entry.name: entry.value for entry in entries_of(own.config)}
    names = Names(saved)
    found = {name: names.find(name) for name in (*facts.unexpected, *facts.missing)}
    if not saved or (facts.unexpected and not any(found.values())):
        return Explanation("", "no saved hyperparameter has these names", path, notes=verdict)
    said = [
        f"{name}, which was saved as {field} = {value_text(saved[field])}"
        if field is not None
        else f"{name}, which was not saved"
        for name, field in found.items()
    ]
    does = "does not take" if facts.unexpected else "needs"
    ways: tuple[str, ...] = (
        f"resolve_config({path!r}, CONFIG) fills what the class of the config has, and lists what it lost and gained",
    )
    if not all(found.values()):
        ways += (
            f"ckpt config {shlex.quote(path)} --rules RULES.toml infers sizes from the shapes of the weights",
        )
    return Explanation(
        "a class that changed", f"the class {does} {'; and '.join(said)}", path, None, ways, verdict
    )
