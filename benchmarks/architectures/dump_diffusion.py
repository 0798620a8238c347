"""Dump the diffusion models that a second library ships in both frameworks, as `dump.py` does those of the first.

That library converts one way only, so a plan into torch is held to what a plan into Flax is: every array goes back to
where it came from.
"""

from __future__ import annotations

import sys
import zlib
from pathlib import Path
from typing import Any

import diffusers
import jax
import torch
from diffusers.models.modeling_flax_pytorch_utils import convert_pytorch_state_dict_to_flax
from dump import flax_layers, flax_template, randomise, truth_of, write
from flax.core import unfreeze

UNET: dict[str, Any] = {
    "sample_size": 8, "in_channels": 4, "out_channels": 4, "cross_attention_dim": 24, "layers_per_block": 2,
    "block_out_channels": (32, 64), "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"), "attention_head_dim": 8,
}  # fmt: skip
THREE: dict[str, Any] = {
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
}
CONTROL: dict[str, Any] = {
    "in_channels": 4, "cross_attention_dim": 24, "layers_per_block": 2, "block_out_channels": (32, 64),
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"), "attention_head_dim": 8,
    "conditioning_embedding_out_channels": (16, 24, 32, 40),
}  # fmt: skip
VAE: dict[str, Any] = {
    "in_channels": 3, "out_channels": 3, "latent_channels": 4, "sample_size": 16, "layers_per_block": 2,
    "down_block_types": ("DownEncoderBlock2D",) * 3, "up_block_types": ("UpDecoderBlock2D",) * 3,
    "block_out_channels": (32, 64, 64),
}  # fmt: skip

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "FlaxUNet2DCondition_convolutions": ("UNet2DConditionModel", UNET),
    "FlaxUNet2DCondition_linear": (
        "UNet2DConditionModel",
        UNET
        | THREE
        | {
            "block_out_channels": (32, 64, 96),
            "attention_head_dim": (4, 8, 12),
            "use_linear_projection": True,
        },
    ),
    "FlaxUNet2DCondition_one_width": (
        "UNet2DConditionModel",
        UNET | THREE | {"block_out_channels": (32, 32, 32), "cross_attention_dim": 32},
    ),
    "FlaxUNet2DCondition_text_time": (
        "UNet2DConditionModel",
        UNET
        | {
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
            "attention_head_dim": (4, 8),
            "use_linear_projection": True,
            "transformer_layers_per_block": (1, 2),
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 80,
        },
    ),
    "FlaxControlNet": ("ControlNetModel", CONTROL),
    "FlaxAutoencoderKL": ("AutoencoderKL", VAE),
    "FlaxAutoencoderKL_one_width": ("AutoencoderKL", VAE | {"block_out_channels": (32, 32, 32)}),
}
"""Folder -> the class, and its tiny configuration."""


def dump(name: str, out: Path) -> None:
    kind, config = CASES[name]
    torch.manual_seed(zlib.crc32(name.encode()))
    torch_model = getattr(diffusers, kind)(**config).eval()
    flax_model = getattr(diffusers, f"Flax{kind}")(**config)
    noting, layers = flax_layers()
    with noting:
        params = unfreeze(flax_model.init_weights(jax.random.PRNGKey(0)))
    randomise(torch_model)
    before = {key: array.clone() for key, array in torch_model.state_dict().items()}
    raw = convert_pytorch_state_dict_to_flax({k: v.clone() for k, v in before.items()}, flax_model)
    back = {"filled": list(before), "other": []}
    write(out / name, torch_model, before, flax_template(params, layers), truth_of(raw, params), back)


def main(out: str) -> None:
    for name in CASES:
        if not (Path(out) / name / "back.json").exists():
            dump(name, Path(out))


if __name__ == "__main__":
    main(*sys.argv[1:])
