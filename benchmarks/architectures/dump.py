"""Dump every architecture that a library ships in both frameworks: tiny, random, with its own conversion as truth.

Run in an environment of its own (`make architectures` makes it), where the library still has both. One folder an
architecture: `torch.json` and `flax.json` (what each side expects, in its own order), `torch.npz` and `flax.npz`
(the values before and after the library's own conversion), `back.json` (the torch names that the library fills
from Flax). Every float has a random value, so no two leaves are equal and no swap goes unseen.
"""

from __future__ import annotations

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import json
import sys
import traceback
import zlib
from pathlib import Path
from typing import Any

import flax.linen
import numpy as np
import torch
import transformers
from flax.traverse_util import flatten_dict, unflatten_dict
from transformers.modeling_flax_pytorch_utils import (
    convert_pytorch_state_dict_to_flax,
    load_flax_weights_in_pytorch_model,
)

SMALL: dict[str, Any] = {
    "vocab_size": 99, "hidden_size": 32, "d_model": 32, "n_embd": 32, "dim": 32, "embedding_size": 16,
    "hidden_dim": 64, "intermediate_size": 64, "d_ff": 64, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64,
    "num_hidden_layers": 3, "num_layers": 3, "n_layer": 3, "n_layers": 3, "encoder_layers": 3, "decoder_layers": 3,
    "num_decoder_layers": 3, "num_attention_heads": 4, "n_head": 4, "n_heads": 4, "num_heads": 4,
    "encoder_attention_heads": 4, "decoder_attention_heads": 4, "attention_heads": 4, "num_key_value_heads": 2,
    "head_dim": 8, "d_kv": 8, "rotary_dim": 4, "max_position_embeddings": 64, "n_positions": 64,
    "projection_dim": 24, "image_size": 32, "patch_size": 8, "ffn_dim": 64, "max_source_positions": 64,
    "max_target_positions": 64, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2,
    "word_embed_proj_dim": 32, "block_size": 8, "num_mel_bins": 10, "conv_dim": 16, "codevector_dim": 16,
    "proj_codevector_dim": 16, "num_codevectors_per_group": 8, "classifier_proj_size": 16, "pad_token_id": 1,
    "bos_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 0, "forced_bos_token_id": 0,
    "forced_eos_token_id": 2, "output_hidden_size": 32, "attention_types": [[["global", "local"], 2]],
    "attention_layers": None, "groups_width": 8, "type_vocab_size": 2, "add_adapter": None, "num_labels": 2, "pooler_output_size": 32,
}  # fmt: skip


def shrink(config: Any, depth: int) -> Any:
    """Make a configuration tiny, by the names of its fields alone."""
    for key, value in {**SMALL, **{name: depth for name in SMALL if SMALL[name] == 3}}.items():
        if key not in config.attribute_map and getattr(config, key, None) is not None and value is not None:
            old = getattr(config, key)
            if key in ("bos_token_id", "eos_token_id", "pad_token_id") and isinstance(old, list):
                continue
            setattr(
                config,
                key,
                type(old)([value] * len(old))
                if isinstance(old, (tuple, list)) and not isinstance(value, list)
                else value,
            )
    if getattr(config, "attention_types", None):
        config.attention_types = [[["global", "local"], (depth + 1) // 2]]
        config.attention_layers = (["global", "local"] * depth)[:depth]
        config.attention_types = [[["global"], depth]]
    if getattr(config, "do_stable_layer_norm", None) is False:
        config.do_stable_layer_norm, config.feat_extract_norm = True, "layer"
    if isinstance(getattr(config, "hidden_sizes", None), (list, tuple)):
        config.hidden_sizes = [16, 24, 32, 40][: len(config.hidden_sizes)]
        config.depths = [1, 2, 3, 2][: len(config.hidden_sizes)]
    for value in list(vars(config).values()):
        if isinstance(value, transformers.PretrainedConfig):
            shrink(value, depth)
    return config


def config_of(flax_class: Any, depth: int) -> Any:
    """The tiny configuration of a class; a pair of towers gets two that are common."""
    kind = flax_class.config_class
    if hasattr(kind, "from_encoder_decoder_configs") or hasattr(kind, "from_vision_text_configs"):
        text = shrink(transformers.BertConfig(), depth)
        image = shrink(transformers.ViTConfig(), depth)
        sound = shrink(transformers.Wav2Vec2Config(), depth)
        name = flax_class.__name__
        if hasattr(kind, "from_vision_text_configs"):
            config = kind.from_vision_text_configs(image, text)
            config.projection_dim = 24
            return config
        encoder = image if "Vision" in name else sound if "Speech" in name else text
        decoder = shrink(transformers.GPT2Config(add_cross_attention=True, is_decoder=True), depth)
        return kind.from_encoder_decoder_configs(encoder, decoder)
    return shrink(kind(), depth)


def randomise(model: torch.nn.Module) -> None:
    with torch.no_grad():
        for array in [*model.parameters(), *model.buffers()]:
            if array.is_floating_point():
                array.copy_(torch.rand_like(array) * 2 - 1)


PLAIN = (bool, int, str)


def settings_of(module: Any) -> dict[str, Any]:
    names = ("groups", "num_heads", "num_layers", "bidirectional", "hidden_size", "nf")
    found = {name: getattr(module, name, None) for name in names}
    return {"type": type(module).__name__, **{k: v for k, v in found.items() if isinstance(v, PLAIN)}}


def torch_template(model: torch.nn.Module) -> dict[str, Any]:
    params = dict(model.named_parameters(remove_duplicate=False))
    modules = dict(model.named_modules())
    first: dict[int, str] = {}
    slots = []
    for name, array in model.state_dict(keep_vars=True).items():
        owner = modules.get(name.rpartition(".")[0])
        row = row_of(tuple(name.split(".")), array.detach().numpy(), "param" if name in params else "buffer")
        row["layer"] = settings_of(owner)
        path = row["path"]
        if first.setdefault(id(array), path) != path:
            row["tied"] = first[id(array)]
        slots.append(row)
    return {"kind": "ckpt-template", "version": 1, "framework": "torch", "slots": slots}


def row_of(path: tuple[str, ...], array: np.ndarray, role: str) -> dict[str, Any]:
    return {"path": "/".join(path), "shape": list(array.shape), "dtype": array.dtype.name, "role": role}


def flax_template(params: dict[str, Any], layers: dict[tuple[str, ...], dict[str, Any]]) -> dict[str, Any]:
    batched = "batch_stats" in params
    slots = []
    for path, array in flatten_dict(params).items():
        role = "buffer" if batched and path[0] == "batch_stats" else "param"
        inner = path[1:] if batched else path
        row = row_of(inner, np.asarray(array), role)
        if inner[:-1] in layers:
            row["layer"] = layers[inner[:-1]]
        slots.append(row)
    return {"kind": "ckpt-template", "version": 1, "framework": "flax", "slots": slots}


def flat(params: dict[str, Any]) -> dict[str, np.ndarray]:
    batched = "batch_stats" in params
    return {
        "/".join(path[1:] if batched else path): np.asarray(a) for path, a in flatten_dict(params).items()
    }


def flax_layers() -> tuple[Any, dict[tuple[str, ...], dict[str, Any]]]:
    """A context in which the type of each linen layer that is called is noted, and the notes."""
    layers: dict[tuple[str, ...], dict[str, Any]] = {}

    def note(next_call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        if context.module.scope is not None:
            layers[tuple(context.module.path)] = {"type": type(context.module).__name__}
        return next_call(*args, **kwargs)

    return flax.linen.intercept_methods(note), layers


def truth_of(raw: dict[str, Any], params: dict[str, Any]) -> dict[tuple[str, ...], np.ndarray]:
    """What the library's own conversion made of the slots that are there; raises ValueError where it does not fit."""
    wanted = flatten_dict(params)
    truth = {path: array for path, array in flatten_dict(raw).items() if path in wanted}
    wrong = [path for path in truth if truth[path].shape != wanted[path].shape]
    if wrong:
        raise ValueError(f"the library's own conversion is wrong at {wrong[0]}")
    return truth


def write(
    folder: Path,
    torch_model: torch.nn.Module,
    before: dict[str, torch.Tensor],
    flax_slots: dict[str, Any],
    truth: dict[tuple[str, ...], np.ndarray],
    back: dict[str, list[str]],
) -> None:
    """Write one case: both templates, the values before and after, and the names that come back."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "torch.json").write_text(json.dumps(torch_template(torch_model), indent=1))
    (folder / "flax.json").write_text(json.dumps(flax_slots, indent=1))
    np.savez(folder / "torch.npz", **{key: array.numpy() for key, array in before.items()})
    np.savez(folder / "flax.npz", **flat(unflatten_dict(truth)))
    (folder / "back.json").write_text(json.dumps(back, indent=1))
    print(
        f"{folder.name}: {len(before)} arrays in torch, {len(truth)} in Flax, {len(back['filled'])} back",
        flush=True,
    )


def dump(name: str, out: Path, depth: int) -> None:
    flax_class = getattr(transformers, name)
    torch_class = getattr(transformers, name.removeprefix("Flax"))
    torch.manual_seed(zlib.crc32(name.encode()))
    noting, layers = flax_layers()
    with noting:
        flax_model = flax_class(config_of(flax_class, depth), seed=0)
    torch_model = torch_class(config_of(flax_class, depth)).eval()
    randomise(torch_model)
    before = {key: array.clone() for key, array in torch_model.state_dict().items()}
    raw = convert_pytorch_state_dict_to_flax({k: v.clone() for k, v in before.items()}, flax_model)
    truth = truth_of(raw, flax_model.params)
    randomise(torch_model)
    other = {key: array.clone() for key, array in torch_model.state_dict().items()}
    full = unflatten_dict(
        {path: truth.get(path, array) for path, array in flatten_dict(flax_model.params).items()}
    )
    back = load_flax_weights_in_pytorch_model(torch_model, full).state_dict()
    filled = [k for k in before if torch.equal(back[k], before[k])]
    spoilt = [k for k in before if k not in filled and not torch.equal(back[k], other[k])]
    slots = flax_template(flax_model.params, layers)
    write(out / name, torch_model, before, slots, truth, {"filled": filled, "other": spoilt})
    if spoilt:
        print("   other:", spoilt[:4])


def names() -> list[str]:
    """The Flax models of the library that exist in torch too."""
    found = [n for n in dir(transformers) if n.startswith("Flax") and not n.startswith("FlaxAuto")]
    models = [n for n in found if issubclass_of(getattr(transformers, n), transformers.FlaxPreTrainedModel)]
    return [
        n for n in models if not n.endswith("PreTrainedModel") and n.removeprefix("Flax") in dir(transformers)
    ]


def issubclass_of(value: Any, base: Any) -> bool:
    return isinstance(value, type) and issubclass(value, base)


def main(out: str, depth: str, *wanted: str) -> None:
    transformers.logging.set_verbosity_error()
    for name in wanted or names():
        if (Path(out) / name / "back.json").exists():
            continue
        try:
            dump(name, Path(out), int(depth))
        except Exception:  # whatever a library of 132 models raises is printed, and the next one is made
            if (
                SMALL["embedding_size"] != SMALL["hidden_size"]
            ):  # not every architecture has both on both sides
                SMALL.update(embedding_size=SMALL["hidden_size"], num_sop_labels=2)
                main(out, depth, name)
                SMALL.update(embedding_size=16)
                continue
            print(f"{name}: not dumped\n{traceback.format_exc(limit=-3)}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
