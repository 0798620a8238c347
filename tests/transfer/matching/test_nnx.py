"""NNX modules: paths through lists, and types of layers."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx
from torch import nn
from transfer.matching.judge import applied

from ckpt_core.template import template_of
from ckpt_core.transfer.matching import plan_transfer


class TorchNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.blocks = nn.ModuleList(
            [
                nn.ModuleDict({"norm": nn.BatchNorm2d(8), "conv": nn.Conv2d(8, 8, 3, padding=1)})
                for _ in range(3)
            ]
        )
        self.fc = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = x + torch.relu(block["conv"](block["norm"](x)))
        return self.fc(x.mean((2, 3)))


class Block(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.bn = nnx.BatchNorm(8, use_running_average=True, rngs=rngs)
        self.convolution = nnx.Conv(8, 8, (3, 3), padding=1, rngs=rngs)


class NnxNet(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.stem = nnx.Conv(3, 8, (3, 3), padding=1, rngs=rngs)
        self.layers = nnx.List([Block(rngs) for _ in range(3)])
        self.head = nnx.Linear(8, 8, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        x = self.stem(x)
        for block in self.layers:
            x = x + nnx.relu(block.convolution(block.bn(x)))
        return self.head(x.mean((1, 2)))


def test_a_torch_module_into_an_nnx_module() -> None:
    torch.manual_seed(0)
    source, target = TorchNet().eval(), NnxNet(nnx.Rngs(0))
    with torch.no_grad():
        for name, array in [*source.named_parameters(), *source.named_buffers()]:
            if array.is_floating_point():
                array.copy_(torch.rand_like(array) + (0.5 if name.endswith("var") else -0.5))
    sides = template_of(source), template_of(target)
    plan = plan_transfer(*sides)
    assert not plan.unsettled
    values = {
        "/".join(slot.path): source.state_dict()[".".join(slot.path)].numpy() for slot in sides[0].slots
    }
    made = applied(plan, values, sides[1])
    state = nnx.state(target)
    for path, variable in nnx.to_flat_state(state):
        variable.set_value(jnp.asarray(made["/".join(map(str, path))]))
    nnx.update(target, state)
    data = np.random.default_rng(0).normal(size=(2, 3, 6, 6)).astype(np.float32)
    expected = source(torch.from_numpy(data)).detach().numpy()
    np.testing.assert_allclose(target(jnp.asarray(np.moveaxis(data, 1, -1))), expected, rtol=1e-4, atol=1e-5)
