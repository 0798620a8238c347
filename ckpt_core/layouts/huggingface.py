"""Directories of Hugging Face libraries, which are told by the names of their files.

    config.json  model.safetensors | *.index.json | pytorch_model.bin | flax_model.msgpack      a model
    + trainer_state.json  optimizer.pt  scheduler.pt  scaler.pt  rng_state*.pth  training_args.bin   the Trainer's
    adapter_config.json  adapter_model.safetensors                                              an adapter of PEFT
    random_states_N.pkl  optimizer.bin  scheduler.bin  custom_checkpoint_N.pkl                  Accelerate's
    model_index.json  unet/  vae/  ...                                                          a pipeline's

Sources: `transformers/trainer.py`, `transformers/trainer_callback.py`, `peft/utils/save_and_load.py`,
`accelerate/checkpointing.py`, `diffusers/pipelines/pipeline_utils.py`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, Final

from ckpt_core.layouts.base import Layout, Roles, below
from ckpt_core.layouts.members import PIPELINE, is_weights_file, weights_rank
from ckpt_core.layouts.values import is_optimizer, is_scalar, is_weights
from ckpt_core.tree import Index, KeyPath

__all__ = ["Accelerate", "HuggingFaceModel", "HuggingFaceTrainer", "Peft", "Pipeline"]

_TRAINER: Final = "trainer_state.json"
_ADAPTER: Final = "adapter_config.json"
_ARGUMENTS: Final = "training_args.bin"
_OPTIMIZER: Final = re.compile(r"optimizer(_\d+)?\.(pt|bin)")
_SCHEDULER: Final = re.compile(r"scheduler(_\d+)?\.(pt|bin)")
_SCALER: Final = re.compile(r"scaler\.(pt|bin)")
_RANDOM: Final = re.compile(r"(rng_state(_\d+)?\.pth|random_states_\d+\.pkl)")
_AVERAGED: Final = re.compile(r"(.*[_-])?ema([_-].*)?", re.IGNORECASE)
_VARIANT: Final = re.compile(r"\w+\.\w+\.(safetensors|bin)(\.index\.json)?")
_CONFIGS: Final = {"config.json": "hf_model", "generation_config.json": "hf_model", _ADAPTER: "peft"}
_NO_METRICS: Final = re.compile(
    r"step|epoch|total_flos|learning_rate|grad_norm|.*_(runtime|per_second)|.*_flos|.*_tokens_seen"
)


class HuggingFaceTrainer(Layout):
    """`checkpoint-N` of `transformers.Trainer`."""

    name = "hf_trainer"
    describes = (
        "Hugging Face Trainer: weights, optimizer.pt, scheduler.pt, trainer_state.json, training_args.bin"
    )

    def recognise(self, tree: Any) -> Roles | None:
        state = tree.get(_TRAINER) if isinstance(tree, Mapping) else None
        if not isinstance(state, Mapping) or "global_step" not in state:
            return None
        roles = _claim_files(tree, self.name)
        if not roles.params and not roles.opt_states:
            return None
        settings = {"training_args": (_ARGUMENTS,)} if isinstance(tree.get(_ARGUMENTS), Mapping) else {}
        return dataclasses.replace(
            roles,
            step=(_TRAINER, "global_step"),
            epoch=(_TRAINER, "epoch") if is_scalar(state.get("epoch")) else None,
            metrics=_metrics(state),
            best=_text(state.get("best_model_checkpoint")),
            config={**roles.config, **settings},
        )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


class HuggingFaceModel(Layout):
    """A model directory of transformers or diffusers: weights beside `config.json`."""

    name = "hf_model"
    describes = "a Hugging Face model directory: weights, single or sharded, and config.json"

    def recognise(self, tree: Any) -> Roles | None:
        if not _has(tree, "config.json") or _TRAINER in tree or _ADAPTER in tree or _has_random_states(tree):
            return None
        roles = _claim_files(tree, self.name)
        return roles if roles.params else None


class Peft(Layout):
    """An adapter of PEFT: it changes a base model that is somewhere else."""

    name = "peft"
    describes = "a PEFT adapter (LoRA and the like), not a full model: adapter_config.json, adapter_model"

    def recognise(self, tree: Any) -> Roles | None:
        if not _has(tree, _ADAPTER) or _TRAINER in tree or _has_random_states(tree):
            return None
        roles = _claim_files(tree, self.name)
        return roles if roles.params else None


class Accelerate(Layout):
    """A directory of `Accelerator.save_state`."""

    name = "accelerate"
    describes = "Accelerate's save_state: weights, optimizer.bin, scheduler.bin, random_states_N.pkl"

    def recognise(self, tree: Any) -> Roles | None:
        if not isinstance(tree, Mapping) or not _has_random_states(tree) or _TRAINER in tree:
            return None
        roles = _claim_files(tree, self.name)
        if not roles.params:
            roles = _with_models(_with_other_names(roles, tree), tree)
        return roles if roles.params or roles.opt_states else None


class Pipeline(Layout):
    """A pipeline of diffusers: each model in a directory of its own."""

    name = "diffusers_pipeline"
    describes = "a pipeline of diffusers: model_index.json, and a directory for each model"

    def recognise(self, tree: Any) -> Roles | None:
        if not _has(tree, PIPELINE):
            return None
        roles = _with_models(Roles(config={"model_index": (PIPELINE,)}, rows={(): self.name}), tree)
        return roles if roles.params else None


def _with_other_names(roles: Roles, tree: Mapping[Any, Any]) -> Roles:
    """Add the files that a script gave names of its own, such as `pytorch_lora_weights.safetensors`."""
    files = [name for name, node in tree.items() if is_weights_file(str(name)) and is_weights(node)]
    return dataclasses.replace(roles, params=tuple((name,) for name in files))


def _with_models(roles: Roles, tree: Mapping[Any, Any]) -> Roles:
    """Add the models that have directories of their own; one that is named as an average is a copy of the weights."""
    found: dict[str, Roles] = {}
    for name, node in tree.items():
        part = HuggingFaceModel().recognise(node) or Peft().recognise(node)
        if part is not None and isinstance(name, str):
            found[name] = below(part, (name,))
    averaged = {name for name, part in found.items() if _AVERAGED.fullmatch(name) and len(part.params) == 1}
    models = {name: part for name, part in found.items() if name not in averaged} or found
    configs = {
        ("" if len(models) == 1 and not roles.config else name): path
        for name, part in models.items()
        for inner, path in part.config.items()
        if not inner
    }
    return dataclasses.replace(
        roles,
        params=(*roles.params, *(place for part in models.values() for place in part.params)),
        ema={name: found[name].params[0] for name in found if name not in models},
        config={**roles.config, **configs},
        rows={**roles.rows, **{path: row for part in found.values() for path, row in part.rows.items()}},
        notes=(*roles.notes, *(f"{name}: {note}" for name, part in found.items() for note in part.notes)),
    )


def _has(tree: Any, name: str) -> bool:
    return isinstance(tree, Mapping) and isinstance(tree.get(name), Mapping)


def _has_random_states(tree: Mapping[Any, Any]) -> bool:
    names = [name for name in tree if isinstance(name, str) and name.startswith("random_states_")]
    return any(re.fullmatch(r"random_states_\d+\.pkl", name) for name in names)


def _claim_files(tree: Mapping[Any, Any], row: str) -> Roles:
    """Give each file the role that its name proposes and its content confirms."""
    files = {name: node for name, node in tree.items() if isinstance(name, str)}
    weights = _weights_files(files)
    chosen = weights[0] if weights else []
    notes = [
        f"{name} holds weights too; params is {' and '.join(chosen)}"
        for others in weights[1:]
        for name in others
    ]
    adapter = files.get(_ADAPTER)
    if isinstance(adapter, Mapping):
        base = adapter.get("base_model_name_or_path")
        notes.append(
            f"an adapter ({adapter.get('peft_type')}), not a full model"
            + (f"; its base is {base}" if base else "")
        )
    configs = {name: node for name, node in files.items() if name in _CONFIGS and isinstance(node, Mapping)}
    main = _ADAPTER if _ADAPTER in configs else "config.json"
    return Roles(
        params=tuple((name,) for name in chosen),
        opt_states={
            _stem(name): (name,)
            for name, node in files.items()
            if _OPTIMIZER.fullmatch(name) and is_optimizer(node)
        },
        schedulers={_stem(name): (name,) for name in files if _SCHEDULER.fullmatch(name)},
        scaler=next(((name,) for name in files if _SCALER.fullmatch(name)), None),
        rng={_stem(name): (name,) for name in files if _RANDOM.fullmatch(name)},
        config={("" if name == main else _stem(name)): (name,) for name in configs},
        rows={(): row, **{(name,): _CONFIGS[name] for name in configs}},
        notes=tuple(notes),
    )


def _weights_files(files: Mapping[str, Any]) -> list[list[str]]:
    """The files of weights by rank, the set that the libraries would load first; variants (fp16) come last."""
    ranked: dict[tuple[bool, int], list[str]] = {}
    for name, node in files.items():
        rank = weights_rank(name)
        if rank is not None and is_weights(node):
            ranked.setdefault(
                (_VARIANT.fullmatch(name.removesuffix(".index.json")) is not None, rank), []
            ).append(name)
    return [ranked[key] for key in sorted(ranked)]


def _stem(name: str) -> str:
    return name.split(".", 1)[0]


def _metrics(state: Mapping[str, Any]) -> dict[str, KeyPath]:
    """The last value that was logged of each metric, and the best one so far."""
    found: dict[str, KeyPath] = {}
    history = state.get("log_history")
    for i, entry in enumerate(history if isinstance(history, list) else ()):
        for name, value in entry.items() if isinstance(entry, Mapping) else ():
            if is_scalar(value) and not _NO_METRICS.fullmatch(name):
                found[name] = (_TRAINER, "log_history", Index(i), name)
    if is_scalar(state.get("best_metric")):
        found["best_metric"] = (_TRAINER, "best_metric")
    return found
