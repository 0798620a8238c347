"""Distributed tensors that were saved as they are, under FSDP2 or tensor parallelism."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor

from ckpt_core import convert, diff, open_checkpoint, restore
from ckpt_core.tree import Record


@pytest.fixture
def mesh() -> Iterator[DeviceMesh]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))


def trained(model: nn.Module) -> torch.optim.Optimizer:
    optimizer = torch.optim.AdamW(model.parameters())
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.linspace(-1, 1, 20).reshape(5, 4)).square().sum().backward()
        optimizer.step()
    return optimizer


def test_a_run_under_fsdp_restores_into_a_plain_model(mesh: DeviceMesh, tmp_path: Path) -> None:
    torch.manual_seed(0)
    sharded = net()
    fully_shard(sharded, mesh=mesh)
    optimizer = trained(sharded)
    path = tmp_path / "rank0.pt"
    torch.save({"model": sharded.state_dict(), "optimizer": optimizer.state_dict(), "step": 2}, path)
    with open_checkpoint(path) as ckpt:
        assert {name for name, _ in ckpt.params.leaves()} == {"0/weight", "0/bias", "1/weight", "1/bias"}
        assert ckpt.opt_state.kind == ("adamw",)
        assert set(ckpt.opt_state.slots) == {"mu", "nu"}
    plain = net()
    other = torch.optim.AdamW(plain.parameters())
    restore(path, plain, other)
    for saved, filled in zip(sharded.parameters(), plain.parameters(), strict=True):
        assert torch.equal(saved.full_tensor(), filled)
        for slot in ("exp_avg", "exp_avg_sq"):
            assert torch.equal(optimizer.state[saved][slot].full_tensor(), other.state[filled][slot])
    convert(path, tmp_path / "weights.pth", only="weights")
    fresh = net()
    fresh.load_state_dict(torch.load(tmp_path / "weights.pth", weights_only=True))
    assert torch.equal(fresh[0].weight, plain[0].weight)


@pytest.mark.parametrize("target", ["a.pth", "a.pkl", "a.safetensors", "a.msgpack", "a_orbax"])
def test_its_placement_stays(mesh: DeviceMesh, target: str, tmp_path: Path) -> None:
    table = torch.arange(24.0).reshape(4, 6)
    saved = {"w": distribute_tensor(table, mesh, [Replicate()]), "b": table[0].clone()}
    torch.save(saved, tmp_path / "a.pt")
    convert(tmp_path / "a.pt", tmp_path / target, strict=True)
    assert diff(tmp_path / "a.pt", tmp_path / target).is_equal
    with open_checkpoint(tmp_path / target) as ckpt:
        assert isinstance(ckpt.tree["w"], Record)
        assert ckpt.tree["w"].type_name == "torch.distributed.tensor.DTensor"
        assert ckpt.params["w"].read().tolist() == table.tolist()


def test_a_part_of_a_tensor_is_not_taken_for_it(mesh: DeviceMesh, tmp_path: Path) -> None:
    part = torch.ones(4, 6)
    shard = DTensor.from_local(
        part, mesh, [Shard(0)], run_check=False, shape=torch.Size((8, 6)), stride=(6, 1)
    )
    torch.save({"shard": shard, "summand": DTensor.from_local(part, mesh, [Partial()])}, tmp_path / "a.pt")
    with open_checkpoint(tmp_path / "a.pt") as ckpt:
        assert {name for name, array in ckpt.params.leaves() if array.shape == (4, 6)}.isdisjoint(ckpt.tree)
