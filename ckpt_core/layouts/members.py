"""What the files of a checkpoint directory are, told by their names."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

__all__ = [
    "PIPELINE",
    "is_assembled",
    "is_beside",
    "is_deepspeed_optimizer",
    "is_deepspeed_states",
    "is_model_directory",
    "is_of_training",
    "is_saved_state",
    "is_weights_file",
    "weights_rank",
]

_BESIDE: Final = re.compile(
    r"(optimizer|optim|scheduler|scaler|sampler|rng_state|random_states|training_args|trainer_state|trainer_log|"
    r"custom_checkpoint|dl_state_dict|dataloader|tokenizer|preprocessor|processor|vocab|generation_config|metrics)"
    r"([._\-\d]|$)"
)
_WEIGHTS: Final = re.compile(
    r"(.*[._-])?(model|weights|consolidated|params)([._-].*)?\.(safetensors|bin|pt|pth|ckpt|msgpack|npz|pkl)"
)
_INDEX: Final = ".index.json"

PIPELINE: Final = "model_index.json"
"""What diffusers puts beside the directories of a pipeline's models."""

_RANDOM_STATES: Final = re.compile(r"random_states_\d+\.pkl")
_CONFIGS: Final = frozenset({"config.json", "adapter_config.json"})
_STEP: Final = re.compile(r"(ckpt|checkpoint|step|epoch|iter|iteration|global_step)[-_]?\d+", re.IGNORECASE)

_TRAINING: Final = re.compile(
    r"(optimizer|optim|scheduler|scaler|sampler|rng_state|random_states|trainer_state|training_args)([._-].*)?"
    r"\.(pt|pth|bin|pkl|safetensors|msgpack|json)|config\.json"
)

_DEEPSPEED: Final = re.compile(
    r"((bf16|fp16)_)?(zero_pp_rank_\d+_)?mp_rank_\d+(_\d+)?_(model|optim)_states\.pt"
)

_RANKS: Final = (
    re.compile(r"(model|diffusion_pytorch_model)(_\d+)?(\.\w+)?\.safetensors(\.index\.json)?"),
    re.compile(r"(pytorch_model|diffusion_pytorch_model)(_\d+)?(\.\w+)?\.bin(\.index\.json)?"),
    re.compile(r"(diffusion_)?flax_model\.msgpack(\.index\.json)?"),
    re.compile(r"adapter_model\.(safetensors|bin)"),
)


def is_assembled(names: Collection[str]) -> bool:
    """Say whether a directory's models are directories within it.

    A pipeline of diffusers has them so, and so does Accelerate where the trainer writes its models itself.
    """
    return PIPELINE in names or (_has_random_states(names) and not any(map(is_weights_file, names)))


def is_saved_state(names: Collection[str]) -> bool:
    """Say whether a directory is what Accelerate saves with weights of any name in it: adapters that a script wrote."""
    return _has_random_states(names) and any(map(is_weights_file, names))


def _has_random_states(names: Collection[str]) -> bool:
    return any(map(_RANDOM_STATES.fullmatch, names))


def is_model_directory(name: str, names: Collection[str]) -> bool:
    """Say whether a member that is a directory holds a model: its weights and its config, and is no step of a run."""
    has_weights = any(weights_rank(member) is not None for member in names)
    return has_weights and not _CONFIGS.isdisjoint(names) and not _STEP.fullmatch(name)


def is_beside(name: str) -> bool:
    """Say whether a file can be missed: by its name it holds something else than weights."""
    is_json = name.endswith(".json") and not name.endswith(_INDEX)
    return is_json or _BESIDE.match(name) is not None or is_deepspeed_optimizer(name)


def is_deepspeed_states(name: str) -> bool:
    """Say whether a file's name is one that DeepSpeed gives to a rank's part of a model or of an optimizer."""
    return _DEEPSPEED.fullmatch(name) is not None


def is_deepspeed_optimizer(name: str) -> bool:
    """Say whether it is that of a part of an optimizer."""
    return is_deepspeed_states(name) and name.endswith("_optim_states.pt")


def is_of_training(name: str) -> bool:
    """Say whether a file's name says that it is written with every checkpoint, beside the weights."""
    return _TRAINING.fullmatch(name) is not None or is_deepspeed_optimizer(name)


def is_weights_file(name: str) -> bool:
    """Say whether a file's name says that it holds weights."""
    return _WEIGHTS.fullmatch(name) is not None and not is_beside(name)


def weights_rank(name: str) -> int | None:
    """Return the place, in the order in which Hugging Face libraries look for them, of a weights file or its index."""
    return next((rank for rank, pattern in enumerate(_RANKS) if pattern.fullmatch(name)), None)
