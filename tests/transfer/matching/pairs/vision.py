"""Convolutional networks, and transformers over images."""

from __future__ import annotations

from typing import Any

import flax.linen as fnn
import jax.numpy as jnp
import torch
from torch import nn
from transfer.matching.judge import Pair

# A plain stack: `nn.Sequential` against linen's own numbering.


def sequential_cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 10),
    )  # fmt: skip


class CompactCNN(fnn.Module):
    @fnn.compact
    def __call__(self, x: Any) -> Any:
        for width in (8, 8, 16):
            x = fnn.relu(fnn.BatchNorm(use_running_average=True)(fnn.Conv(width, (3, 3), padding=1)(x)))
        x = fnn.relu(fnn.Dense(16)(x.mean((1, 2))))
        return fnn.Dense(10)(x)


# Residual blocks: torchvision's names against those of Flax's ImageNet example.


class BasicBlock(nn.Module):
    def __init__(self, width: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.downsample = None
        if stride != 1 or width != out:
            self.downsample = nn.Sequential(nn.Conv2d(width, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.layer1 = nn.Sequential(BasicBlock(8, 8, 1), BasicBlock(8, 8, 1))
        self.layer2 = nn.Sequential(BasicBlock(8, 16, 2), BasicBlock(16, 16, 1))
        self.layer3 = nn.Sequential(BasicBlock(16, 24, 2), BasicBlock(24, 24, 1))
        self.fc = nn.Linear(24, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        return self.fc(self.layer3(self.layer2(self.layer1(x))).mean((2, 3)))


class ResNetBlock(fnn.Module):
    width: int
    stride: int

    @fnn.compact
    def __call__(self, x: Any) -> Any:
        y = fnn.Conv(self.width, (3, 3), self.stride, padding=1, use_bias=False)(x)
        y = fnn.relu(fnn.BatchNorm(use_running_average=True)(y))
        y = fnn.Conv(self.width, (3, 3), padding=1, use_bias=False)(y)
        y = fnn.BatchNorm(use_running_average=True)(y)
        if x.shape != y.shape:
            x = fnn.Conv(self.width, (1, 1), self.stride, padding=0, use_bias=False, name="conv_proj")(x)
            x = fnn.BatchNorm(use_running_average=True, name="norm_proj")(x)
        return fnn.relu(x + y)


class FlaxResNet(fnn.Module):
    @fnn.compact
    def __call__(self, x: Any) -> Any:
        x = fnn.Conv(8, (3, 3), padding=1, use_bias=False, name="conv_init")(x)
        x = fnn.relu(fnn.BatchNorm(use_running_average=True, name="bn_init")(x))
        for stage, width in enumerate((8, 16, 24)):
            for block in range(2):
                x = ResNetBlock(width, 2 if stage and not block else 1)(x)
        return fnn.Dense(5)(x.mean((1, 2)))


# An encoder and a decoder with transposed convolutions.


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down1 = nn.Conv2d(3, 8, 3, padding=1)
        self.down2 = nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.mid = nn.Conv2d(16, 16, 3, padding=1)
        self.norm = nn.GroupNorm(4, 16, eps=1e-6)
        self.up = nn.ConvTranspose2d(16, 8, 2, stride=2)
        self.out = nn.Conv2d(16, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skip = torch.relu(self.down1(x))
        y = torch.relu(self.norm(self.mid(torch.relu(self.down2(skip)))))
        return self.out(torch.cat([skip, torch.relu(self.up(y))], 1))


class FlaxUNet(fnn.Module):
    keep: bool = False

    @fnn.compact
    def __call__(self, x: Any) -> Any:
        skip = fnn.relu(fnn.Conv(8, (3, 3), padding=1, name="down_1")(x))
        y = fnn.relu(fnn.Conv(16, (3, 3), 2, padding=1, name="down_2")(skip))
        y = fnn.relu(fnn.GroupNorm(4, name="norm")(fnn.Conv(16, (3, 3), padding=1, name="middle")(y)))
        y = fnn.relu(
            fnn.ConvTranspose(8, (2, 2), (2, 2), padding="VALID", transpose_kernel=self.keep, name="upconv")(
                y
            )
        )
        return fnn.Conv(3, (1, 1), name="final")(jnp.concatenate([skip, y], -1))


class FlattenNet(nn.Module):
    """Flattens channels first: what the dense layer sees depends on the order."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.fc1 = nn.Linear(8 * 16, 20)
        self.fc2 = nn.Linear(20, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(torch.relu(self.fc1(torch.relu(self.conv(x)).flatten(1))))


class FlaxFlattenNet(fnn.Module):
    @fnn.compact
    def __call__(self, x: Any) -> Any:
        x = fnn.relu(fnn.Conv(8, (3, 3), padding=1, name="conv")(x))
        x = fnn.relu(fnn.Dense(20, name="fc1")(x.reshape(len(x), -1)))
        return fnn.Dense(5, name="fc2")(x)


# A vision transformer: packed qkv against heads.


class ViTBlock(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = nn.ModuleDict({"qkv": nn.Linear(width, 3 * width), "proj": nn.Linear(width, width)})
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        qkv = self.attn["qkv"](self.norm1(x)).reshape(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        y = nn.functional.scaled_dot_product_attention(*qkv).transpose(1, 2).reshape(batch, length, width)
        x = x + self.attn["proj"](y)
        return x + self.mlp["fc2"](nn.functional.gelu(self.mlp["fc1"](self.norm2(x)), approximate="tanh"))


class ViT(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 16))
        self.pos_embed = nn.Parameter(torch.zeros(1, 17, 16))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, 16, 4, 4)})
        self.blocks = nn.ModuleList([ViTBlock(16, 4) for _ in range(3)])
        self.norm = nn.LayerNorm(16, eps=1e-6)
        self.head = nn.Linear(16, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patch_embed["proj"](x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])


class MlpBlock(fnn.Module):
    @fnn.compact
    def __call__(self, x: Any) -> Any:
        return fnn.Dense(x.shape[-1])(fnn.gelu(fnn.Dense(4 * x.shape[-1])(x)))


class EncoderBlock(fnn.Module):
    @fnn.compact
    def __call__(self, x: Any) -> Any:
        x = x + fnn.MultiHeadDotProductAttention(4)(fnn.LayerNorm()(x))
        return x + MlpBlock()(fnn.LayerNorm()(x))


class FlaxViT(fnn.Module):
    @fnn.compact
    def __call__(self, x: Any) -> Any:
        x = fnn.Conv(16, (4, 4), 4, padding="VALID", name="embedding")(x)
        x = x.reshape(len(x), -1, 16)
        cls = self.param("cls", fnn.initializers.zeros, (1, 1, 16))
        x = jnp.concatenate([jnp.tile(cls, (len(x), 1, 1)), x], 1)
        x = x + self.param("pos_embedding", fnn.initializers.zeros, (1, 17, 16))
        for i in range(3):
            x = EncoderBlock(name=f"encoderblock_{i}")(x)
        return fnn.Dense(7, name="head")(fnn.LayerNorm(name="encoder_norm")(x)[:, 0])


PAIRS = (
    Pair("sequential against compact", sequential_cnn, CompactCNN, (2, 3, 8, 8), channels=True),
    Pair("residual blocks, stages against a counter", ResNet, FlaxResNet, (2, 3, 8, 8), channels=True),
    Pair("transposed convolution", UNet, FlaxUNet, (2, 3, 8, 8), channels=True),
    Pair(
        "transposed convolution, kernel kept", UNet, lambda: FlaxUNet(keep=True), (2, 3, 8, 8), channels=True
    ),
    Pair("flatten before dense", FlattenNet, FlaxFlattenNet, (2, 3, 4, 4), channels=True),
    Pair("vision transformer, packed against heads", ViT, FlaxViT, (2, 3, 16, 16), channels=True),
)
