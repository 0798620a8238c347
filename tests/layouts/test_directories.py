"""Directories that are opened file by file: what belongs to them, what may be missing, and what may not."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from layouts.meaning import GOLDEN
from safetensors.torch import load_file, save_file

from ckpt_core import CheckpointError, Run, convert, open_checkpoint
from ckpt_core.errors import DamagedFileError, UnknownFormatError, UnsafePathError
from ckpt_core.template import template_of


@pytest.fixture
def trainer(tmp_path: Path) -> Path:
    """A copy of a Trainer's checkpoint, to be damaged."""
    return Path(shutil.copytree(GOLDEN / "huggingface/trainer", tmp_path / "checkpoint-4"))


def notes(path: Path) -> str:
    with open_checkpoint(path) as ckpt:
        return "\n".join(ckpt.metadata.notes)


def test_shards_beside_an_optimizer_open_as_the_whole_directory(trainer, tmp_path):
    (trainer / "model.safetensors").unlink()
    for file in (GOLDEN / "huggingface/sharded").glob("model*"):
        shutil.copy(file, trainer)
    with open_checkpoint(trainer) as ckpt:
        assert ckpt.layout == "hf_trainer"
        assert set(ckpt.tree) == {
            "config.json", "model.safetensors.index.json", "optimizer.pt", "rng_state.pth", "scheduler.pt",
            "trainer_state.json", "training_args.bin",
        }  # fmt: skip
        assert ckpt.members["model.safetensors.index.json"] == "safetensors"
        assert len(ckpt.params.leaves()) == 25
        assert ckpt.opt_state.step == 4
        assert template_of(ckpt).framework == "torch"
    receipt = convert(trainer, tmp_path / "out.msgpack")
    assert receipt.losses == ()
    convert(trainer, tmp_path / "weights.safetensors", only="weights")
    shards = {k: v for f in trainer.glob("*.safetensors") for k, v in load_file(f).items()}
    written = load_file(tmp_path / "weights.safetensors")
    assert written.keys() == shards.keys()
    assert all(torch.equal(written[name], shards[name]) for name in shards)


def test_a_torch_index_opens_by_itself_and_alone_in_its_directory(tmp_path):
    folder = Path(shutil.copytree(GOLDEN / "huggingface/sharded_bin", tmp_path / "model"))
    with open_checkpoint(folder / "pytorch_model.bin.index.json") as ckpt:
        assert (ckpt.format, ckpt.layout, len(ckpt.params.leaves())) == ("torch", "state_dict", 25)
    (folder / "config.json").unlink()
    with open_checkpoint(folder) as ckpt:
        assert (ckpt.format, ckpt.layout, len(ckpt.params.leaves())) == ("torch", "state_dict", 25)


def test_shards_of_flax_are_nested(tmp_path):
    folder = Path(shutil.copytree(GOLDEN / "huggingface/sharded_flax", tmp_path / "model"))
    index = folder / "flax_model.msgpack.index.json"
    with open_checkpoint(folder) as ckpt:
        assert (ckpt.layout, template_of(ckpt).framework, len(ckpt.params.leaves())) == (
            "hf_model",
            "flax",
            23,
        )
    names = json.loads(index.read_text())
    del names["weight_map"]["pooler/dense/bias"]
    index.write_text(json.dumps(names))
    with open_checkpoint(index) as ckpt:
        assert len(ckpt.params.leaves()) == 23
        assert any(
            "1 entries are in the shards and not in the index, such as pooler/dense/bias" in n
            for n in ckpt.metadata.notes
        )
    for wrong, message in (("pooler/none", "where it is not"), ("pooler/dense/kernel/x", "where it is not")):
        names["weight_map"] = {wrong: "flax_model-00001-of-00002.msgpack"}
        index.write_text(json.dumps(names))
        with pytest.raises(DamagedFileError, match=message):
            open_checkpoint(index)


@pytest.mark.parametrize(
    ("file", "content", "note"),
    [
        ("optimizer.pt", b"PK\x03\x04 and no more", "optimizer.pt: left out, it is a zip file without"),
        ("optimizer.pt", None, "optimizer.pt: left out, it "),
        ("scheduler.pt", b"", "scheduler.pt: left out, it is empty"),
        ("trainer_state.json", b'{"global_step": 4', "trainer_state.json: left out, it is no JSON"),
        ("config.json", b"[" * 5000, "config.json: left out, it "),
        ("tokenizer.json", b'"' + b"x" * (17 << 20) + b'"', "tokenizer.json: left out, it is JSON of"),
        ("README.md", b"# words", "no known format: README.md"),
        ("merges.txt", b"a b\n", "no known format: merges.txt"),
    ],
)
def test_what_holds_no_weights_may_be_left_out_with_a_note(trainer, file, content, note):
    path = trainer / file
    path.write_bytes(path.read_bytes()[:-4000] if content is None else content)
    assert note in notes(trainer)
    with open_checkpoint(trainer) as ckpt:
        assert len(ckpt.params.leaves()) == 25


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"", DamagedFileError, r"model\.safetensors: is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3528\n", UnknownFormatError, "Git LFS pointer"),
        (b"<!doctype html><title>Sign in</title>", UnknownFormatError, "is a web page"),
        (None, CheckpointError, r"model\.safetensors"),
    ],
)  # fmt: skip
def test_damaged_weights_are_an_error(trainer, content, error, message):
    path = trainer / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-40] if content is None else content)
    with pytest.raises(error, match=message):
        open_checkpoint(trainer)


@pytest.mark.parametrize("folder", ["huggingface/sharded", "huggingface/sharded_bin"])
def test_a_missing_shard_is_an_error(tmp_path, folder):
    copy = Path(shutil.copytree(GOLDEN / folder, tmp_path / "model"))
    next(copy.glob("*00002-of*")).unlink()
    with pytest.raises(DamagedFileError, match=r"names the shard .*00002-of-00002.*which is not there"):
        open_checkpoint(copy)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ('{"weight_map": {"a": 3}}', "has no object of file names"),
        ('{"weight_map": ', "is no JSON"),
        (
            '{"weight_map": {"absent.weight": "pytorch_model-00001-of-00002.bin"}}',
            "places it in .*, where it is not",
        ),
    ],
)
def test_an_index_that_lies_is_an_error(tmp_path, index, message):
    copy = Path(shutil.copytree(GOLDEN / "huggingface/sharded_bin", tmp_path / "model"))
    (copy / "pytorch_model.bin.index.json").write_text(index)
    with pytest.raises(DamagedFileError, match=message):
        open_checkpoint(copy)


def test_an_index_may_not_lead_out_of_the_directory(tmp_path):
    copy = Path(shutil.copytree(GOLDEN / "huggingface/sharded_bin", tmp_path / "model"))
    (copy / "pytorch_model.bin.index.json").write_text('{"weight_map": {"a": "../secret.bin"}}')
    with pytest.raises(UnsafePathError, match="leads out of the directory"):
        open_checkpoint(copy)


def test_json_alone_is_no_checkpoint(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UnknownFormatError, match="no installed format recognises it"):
        open_checkpoint(tmp_path)
    with pytest.raises(UnknownFormatError, match="no installed format recognises it"):
        open_checkpoint(tmp_path / "config.json")


def test_files_without_a_row_of_their_own_are_composed(tmp_path):
    net = torch.nn.Linear(2, 3)
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    torch.save({"epoch": 3, "model_state_dict": net.state_dict()}, tmp_path / "model.pth")
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pth")
    (tmp_path / "config.json").write_text(json.dumps({"width": 3}))
    (tmp_path / "notes.json").write_text('{"by": "jane"}')
    with open_checkpoint(tmp_path) as ckpt:
        assert ckpt.layout == "files"
        assert [name for name, _ in ckpt.params.leaves()] == ["weight", "bias"]
        assert (ckpt.epoch, ckpt.config, ckpt.opt_state.step) == (3, {"width": 3}, 1)
        assert ckpt.metadata.extra == {"notes.json": {"by": "jane"}}
        rows = {claim.role: claim.row for claim in ckpt.claims}
    assert rows == {
        "params": "training_dict",
        "opt_states": "optimizer",
        "config": "files",
        "epoch": "training_dict",
    }


def test_several_checkpoints_in_one_directory_are_told(tmp_path):
    for epoch, name in enumerate(("early", "late")):
        torch.save({"epoch": epoch, "model": {"w": torch.full((2,), epoch)}}, tmp_path / f"{name}.pth")
    assert "2 files hold weights of their own: early.pth, late.pth" in notes(tmp_path)
    with open_checkpoint(tmp_path) as ckpt:
        assert [name for name, _ in ckpt.params.leaves()] == ["early.pth/w", "late.pth/w"]


def test_weights_in_two_containers_are_taken_once(trainer):
    torch.save(load_file(trainer / "model.safetensors"), trainer / "pytorch_model.bin")
    assert "pytorch_model.bin holds weights too; params is model.safetensors" in notes(trainer)
    with open_checkpoint(trainer) as ckpt:
        assert len(ckpt.params.leaves()) == 25
        assert "pytorch_model.bin" in ckpt.metadata.extra


def test_a_variant_is_not_taken_for_the_weights(trainer):
    weights = load_file(trainer / "model.safetensors")
    save_file({k: v.half() for k, v in weights.items()}, trainer / "model.fp16.safetensors", {"format": "pt"})
    with open_checkpoint(trainer) as ckpt:
        assert {array.dtype for _, array in ckpt.params.leaves()} == {"float32"}


def test_attributes_and_ties_of_members_are_kept(tmp_path):
    from ckpt_core import save_checkpoint

    shared = np.ones(3, np.float32)
    save_checkpoint(tmp_path / "model.safetensors", {"a": shared, "b": shared}, attributes={"owner": "jane"})
    torch.save({"x": [1]}, tmp_path / "other.pt")
    with open_checkpoint(tmp_path) as ckpt:
        assert ckpt.metadata.attributes == {"model.safetensors": {"owner": "jane"}}
        assert ckpt.ties == (("model.safetensors/a", "model.safetensors/b"),)


def test_an_adapter_in_a_trainers_checkpoint_is_told(trainer):
    (trainer / "model.safetensors").unlink()
    for file in (GOLDEN / "huggingface/adapter").iterdir():
        shutil.copy(file, trainer)
    with open_checkpoint(trainer) as ckpt:
        assert ckpt.layout == "hf_trainer"
        assert ckpt.config["peft_type"] == "LORA"
        assert any("an adapter (LORA), not a full model" in n for n in ckpt.metadata.notes)


def test_random_states_beside_a_trainers_state_are_the_trainers(trainer):
    (trainer / "random_states_0.pkl").write_bytes(pickle.dumps({"step": 4}))
    with open_checkpoint(trainer) as ckpt:
        assert ckpt.layout == "hf_trainer" and "random_states_0" in ckpt.rng
        assert not any("fits the layouts" in note for note in ckpt.metadata.notes)


def test_models_in_directories_of_their_own_are_one_checkpoint(tmp_path):
    run = tmp_path / "run"
    shutil.copytree(GOLDEN / "diffusers/trainer", run / "checkpoint-500")
    shutil.copytree(GOLDEN / "diffusers/pipeline", run, dirs_exist_ok=True)
    with open_checkpoint(run / "checkpoint-500", weights="ema") as ckpt:
        assert ckpt.weights == "unet_ema"
        assert set(ckpt.ema) == {"raw"}
        assert ckpt.opt_state.step == 3
        assert template_of(ckpt).framework == "torch"
    with open_checkpoint(run) as ckpt:
        assert ckpt.layout == "diffusers_pipeline"
        assert {name.split("/")[0] for name, _ in ckpt.params.leaves()} == {"unet", "vqvae"}
        assert "checkpoint-500/" in "\n".join(ckpt.metadata.notes)
    assert [entry.name for entry in Run(run)] == [".", "checkpoint-500"]


def test_a_directory_of_steps_is_not_put_together_from_their_models(tmp_path):
    for step in (10, 20):
        shutil.copytree(GOLDEN / "diffusers/trainer/unet", tmp_path / f"checkpoint-{step}")
    shutil.copy(GOLDEN / "diffusers/trainer/random_states_0.pkl", tmp_path)
    shutil.copy(GOLDEN / "diffusers/trainer/optimizer.bin", tmp_path)
    with open_checkpoint(tmp_path) as ckpt:
        assert not ckpt.params.leaves()
        assert "checkpoint-10/, checkpoint-20/" in "\n".join(ckpt.metadata.notes)


def test_a_damaged_model_in_a_directory_of_its_own_is_an_error(tmp_path):
    folder = Path(shutil.copytree(GOLDEN / "diffusers/trainer", tmp_path / "checkpoint-500"))
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(DamagedFileError, match="unet/diffusion_pytorch_model"):
        open_checkpoint(folder)


def test_weights_under_a_name_of_the_script_s_own_are_those_of_a_saved_state(tmp_path):
    folder = Path(shutil.copytree(GOLDEN / "accelerate/safe", tmp_path / "state"))
    (folder / "model.safetensors").rename(folder / "pytorch_lora_weights.safetensors")
    with open_checkpoint(folder) as ckpt:
        assert ckpt.layout == "accelerate"
        assert len(ckpt.params.leaves()) == 6


def test_a_model_beside_the_weights_of_a_saved_state_is_no_part_of_it(tmp_path):
    folder = Path(shutil.copytree(GOLDEN / "accelerate/safe", tmp_path / "state"))
    shutil.copytree(GOLDEN / "diffusers/trainer/unet", folder / "unet")
    with open_checkpoint(folder) as ckpt:
        assert len(ckpt.params.leaves()) == 6
        assert "unet/" in "\n".join(ckpt.metadata.notes)
