"""Checkpoints of DeepSpeed 0.19.8 on the CPU: without ZeRO, and of two ranks with its stages 2 and 3.

python3.11 -m venv a && a/bin/pip install torch==2.13.0 deepspeed==0.19.8
DS_ACCELERATOR=cpu DS_BUILD_OPS=0 a/bin/python deepspeed_states.py
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import deepspeed
import torch
import torch.multiprocessing
from layouts import digests, meaning, target

HOW = f"deepspeed {deepspeed.__version__}, torch {torch.__version__.split('+')[0]}"
STATES = "mp_rank_00_model_states.pt"


class Tiny(torch.nn.Module):
    """Two linear layers, a norm and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.LayerNorm(3))
        self.head = torch.nn.Linear(3, 1)
        self.register_buffer("mean", torch.ones(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.net(x - self.mean.to(x.dtype)))


def train(rank: int, world: int, stage: int, folder: str) -> None:
    """One rank: two steps, then what every rank saves."""
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world),
        "LOCAL_SIZE": str(world),
    }
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29517"}
    # An op that it would compile, for faster sums within one machine.
    sys.modules["deepspeed.comm.torch"].build_shm_op = lambda: None
    torch.manual_seed(7)
    model = Tiny()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    config = {
        "train_micro_batch_size_per_gpu": 4,
        "zero_optimization": {"stage": stage},
        "zero_force_ds_cpu_optimizer": False,
        **({"bf16": {"enabled": True}} if stage else {}),
    }
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, lr_scheduler=schedule, config=config)
    dtype = torch.bfloat16 if stage else torch.float32
    for _ in range(2):
        engine.backward(engine(torch.randn(4, 2, dtype=dtype)).float().square().mean())
        engine.step()
    engine.save_checkpoint(folder, client_state={"epoch": 1, "val_loss": 0.5})
    if rank == 0 and stage < 3:
        torch.save(engine.module.state_dict(), f"{folder}/live.pt")


def save(name: str, stage: int, world: int, **facts: object) -> None:
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(train, (world, stage, folder), world)
        (step,) = Path(folder).glob("global_step*")
        shutil.copytree(step, target(f"deepspeed/{name}"))
        live = torch.load(f"{folder}/live.pt") if stage < 3 else {"mean": torch.ones(2)}
    buffers = {"mean": live.pop("mean")}
    meaning(
        f"deepspeed/{name}",
        how=HOW,
        layout="deepspeed",
        params=digests(live),
        buffers=digests(buffers),
        step=2,
        epoch=1,
        metrics={"val_loss": 0.5},
        config={"zero_optimization": {"stage": stage}},
        schedulers=["lr_scheduler"],
        **facts,
    )


SHARDS = "the optimizer's state and the fp32 weights are in 2 shards of ZeRO, which are not merged: bf16_zero_pp_rank_0"

if __name__ == "__main__":
    save("plain", 0, 1, opt_states={"optimizer": [["adamw"], 2]})
    save("zero2", 2, 2, opt_states={}, notes=[SHARDS])
    empty = "the weights are partitioned (ZeRO stage 3): they are in the shards, and the module has none"
    save("zero3", 3, 2, opt_states={}, notes=[SHARDS, empty])
