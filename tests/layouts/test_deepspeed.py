"""Directories of DeepSpeed: which one is a checkpoint, and what of it is not merged."""

from __future__ import annotations

import shutil

import pytest
import torch
from layouts.meaning import GOLDEN

from ckpt_core import Run, open_checkpoint, plan_resume, restore
from ckpt_core.errors import MismatchError, UsageError


@pytest.fixture
def run(tmp_path):
    """A directory as DeepSpeed saves it: a folder per step, the name of the latest, a script."""

    def make(kind: str):
        shutil.copytree(GOLDEN / "deepspeed" / kind, tmp_path / "global_step2")
        (tmp_path / "latest").write_text("global_step2")
        (tmp_path / "zero_to_fp32.py").write_text("raise SystemExit\n")
        return tmp_path

    return make


def model() -> torch.nn.Module:
    net = torch.nn.Module()
    net.net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.LayerNorm(3))
    net.head = torch.nn.Linear(3, 1)
    net.register_buffer("mean", torch.zeros(2))
    return net


@pytest.mark.parametrize("kind", ["plain", "zero2", "zero3"])
def test_the_directory_of_a_run_asks_for_a_step(run, kind):
    folder = run(kind)
    with pytest.raises(UsageError, match=r"holds 1 step: 2\n  Say which one is meant: step=2"):
        open_checkpoint(folder)
    with open_checkpoint(folder, step=2) as ckpt:
        assert (ckpt.layout, ckpt.step, ckpt.epoch) == ("deepspeed", 2, 1)
    (entry,) = Run(folder).entries
    assert (entry.name, entry.state, entry.metrics) == ("global_step2", "complete", {"val_loss": 0.5})
    assert entry.is_whole == (kind != "zero3")
    assert entry.has_optimizer == (kind == "plain")


def test_what_is_not_partitioned_is_restored(run):
    net = model()
    optimizer = torch.optim.AdamW(net.parameters())
    restored = restore(run("plain"), net, optimizer)
    saved = torch.load(GOLDEN / "deepspeed/plain/mp_rank_00_model_states.pt", weights_only=False)
    assert all(torch.equal(tensor, saved["module"][name]) for name, tensor in net.state_dict().items())
    assert restored.step == 2 and optimizer.state[net.head.bias]["step"] == 2


def test_shards_are_named_and_nothing_is_made_up(run):
    folder = run("zero2")
    assert restore(folder, model(), dtypes="widen").report.ok
    with pytest.raises(UsageError, match="holds weights alone: it can start a run, and cannot resume one"):
        plan_resume(resume=True, model_path=folder / "global_step2")


def test_partitioned_weights_are_no_weights(run):
    with pytest.raises(MismatchError, match="6 missing") as caught:
        restore(run("zero3") / "global_step2", model())
    assert "unexpected" not in str(caught.value)


def test_a_model_that_is_split_is_not_half_a_model(run):
    folder = run("plain") / "global_step2"
    shutil.copy(folder / "mp_rank_00_model_states.pt", folder / "mp_rank_01_model_states.pt")
    with open_checkpoint(folder) as ckpt:
        assert ckpt.params.leaves() == []
        assert any("split over 2 files, which are not merged" in note for note in ckpt.metadata.notes)
    with open_checkpoint(folder / "mp_rank_01_model_states.pt") as part:
        assert (part.layout, len(part.params.leaves())) == ("deepspeed", 6)


def test_a_shard_that_is_cut_off_is_damage(run):
    folder = run("zero2")
    shard = folder / "global_step2/bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt"
    shard.write_bytes(shard.read_bytes()[:-500])
    (entry,) = Run(folder).entries
    assert (entry.state, shard.name in entry.reason) == ("damaged", True)
    with open_checkpoint(folder / "global_step2") as ckpt:
        assert len(ckpt.params.leaves()) == 6
