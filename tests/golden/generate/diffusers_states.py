"""Directories of diffusers 0.35 (a pipeline, and a trainer's state saved through accelerate 1.15).

python3.11 -m venv d && d/bin/pip install torch==2.13.0 transformers==4.57.6 diffusers==0.35.2 accelerate==1.15.0 pillow
d/bin/python diffusers_states.py

The trainer's state is saved as the training scripts of diffusers do it: a hook of Accelerate writes each model into a
directory of its own, the averaged one beside it, and takes it from what Accelerate would write.
"""

from __future__ import annotations

from pathlib import Path

import accelerate
import diffusers
import torch
from layouts import digests, meaning, target

HOW = f"diffusers {diffusers.__version__}, torch {torch.__version__.split('+')[0]}"
UNET = {
    "sample_size": 4,
    "in_channels": 2,
    "out_channels": 2,
    "block_out_channels": (4,),
    "layers_per_block": 1,
    "norm_num_groups": 2,
    "down_block_types": ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",),
    "mid_block_type": None,
    "cross_attention_dim": 4,
}
VAE = {
    "in_channels": 1,
    "out_channels": 1,
    "latent_channels": 2,
    "block_out_channels": (2,),
    "norm_num_groups": 2,
    "down_block_types": ("DownEncoderBlock2D",),
    "up_block_types": ("UpDecoderBlock2D",),
    "mid_block_add_attention": False,
}
EXPECTED = {"block_out_channels": [4], "cross_attention_dim": 4, "layers_per_block": 1}


def parts(**models: torch.nn.Module) -> dict:
    return digests({f"{part}.{k}": v for part, net in models.items() for k, v in net.named_parameters()})


def pipeline() -> None:
    torch.manual_seed(7)
    unet, vae = diffusers.UNet2DConditionModel(**UNET), diffusers.AutoencoderKL(**VAE)
    scheduler = diffusers.DDIMScheduler(num_train_timesteps=10)
    pipe = diffusers.LDMPipeline(vqvae=vae, unet=unet, scheduler=scheduler)
    pipe.save_pretrained(target("diffusers/pipeline"))
    meaning(
        "diffusers/pipeline", how=HOW, layout="diffusers_pipeline", params=parts(unet=unet, vqvae=vae),
        config={"model_index": {"_class_name": "LDMPipeline"}, "unet": EXPECTED, "vqvae": {"latent_channels": 2}},
    )  # fmt: skip


def trainer_state() -> None:
    torch.manual_seed(8)
    unet = diffusers.UNet2DConditionModel(**UNET)
    average = diffusers.training_utils.EMAModel(
        unet.parameters(), model_cls=diffusers.UNet2DConditionModel, model_config=unet.config
    )
    accelerator = accelerate.Accelerator(cpu=True)

    def save(models: list, weights: list, folder: str) -> None:
        average.save_pretrained(str(Path(folder, "unet_ema")))
        for model in models:
            model.save_pretrained(str(Path(folder, "unet")))
            weights.pop()

    accelerator.register_save_state_pre_hook(save)
    optimizer = torch.optim.AdamW(unet.parameters(), lr=0.01)
    scheduler = torch.optim.lr_scheduler.ConstantLR(optimizer)
    net, optimizer, scheduler = accelerator.prepare(unet, optimizer, scheduler)
    for _ in range(3):
        noise = net(torch.randn(1, 2, 4, 4), 1, torch.zeros(1, 1, 4)).sample
        accelerator.backward(noise.pow(2).mean())
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        average.step(unet.parameters())
    accelerator.save_state(str(target("diffusers/trainer")))
    names = [name for name, _ in unet.named_parameters()]
    meaning(
        "diffusers/trainer", how=f"accelerate {accelerate.__version__}, {HOW}", layout="accelerate",
        params=digests(dict(unet.named_parameters())),
        copies={"unet_ema": digests(dict(zip(names, average.shadow_params, strict=True)))},
        config=EXPECTED, opt_states={"optimizer": [["adamw"], 3]}, schedulers=["scheduler"],
        rng=["random_states_0"],
    )  # fmt: skip


if __name__ == "__main__":
    pipeline()
    trainer_state()
