from __future__ import annotations

import argparse
import copy
import warnings
import zipfile

import numpy as np
import pytest
import torch

from ckpt_core import open_checkpoint, restore
from ckpt_core.errors import DamagedFileError, MismatchError, UsageError
from ckpt_core.registry import registry


class Net(torch.nn.Module):
    """Tied weights, buffers, a shared block, a frozen layer."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(6, width)
        self.block = torch.nn.Linear(width, width)
        self.norm = torch.nn.BatchNorm1d(width)
        self.frozen = torch.nn.Linear(width, width)
        self.frozen.requires_grad_(False)
        self.head = torch.nn.Linear(width, 6, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        hidden = self.frozen(self.norm(self.block(self.embed(tokens))))
        return self.head(hidden)


def train(model, optimizer, steps=3):
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.arange(6)).square().sum().backward()
        optimizer.step()


def adamw(model):
    return torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)


@pytest.fixture
def trained(tmp_path):
    """A trained model with its optimizer, and a checkpoint of both."""
    torch.manual_seed(0)
    model = Net()
    optimizer = adamw(model)
    train(model, optimizer)
    path = tmp_path / "checkpoint_epoch_3.pth"
    torch.save(
        {
            "epoch": 3,
            "global_step": 9,
            "model_state_dict": model.state_dict(),
            "optimizer_state_dict": optimizer.state_dict(),
            "val_loss": 0.25,
        },
        path,
    )
    return model, optimizer, path


def values(model):
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_model_is_filled_exactly_and_ends_in_eval(trained):
    model, _, path = trained
    fresh = Net().train()
    restored = restore(path, fresh)
    assert restored.model is fresh
    assert same(values(fresh), values(model))
    assert fresh.head.weight is fresh.embed.weight
    assert not fresh.training
    assert (restored.step, restored.epoch, restored.mode, restored.device) == (9, 3, "eval", "cpu")


def test_training_goes_on_bit_identically(trained):
    model, optimizer, path = trained
    fresh = Net()
    other = torch.optim.AdamW([p for p in fresh.parameters() if p.requires_grad], lr=123.0)
    restored = restore(path, fresh, other)
    assert restored.optimizer is other
    assert fresh.training
    assert restored.learning_rate == other.param_groups[0]["lr"] == 0.01
    model.train()
    train(model, optimizer)
    train(fresh, other)
    assert same(values(fresh), values(model))


@pytest.mark.parametrize(("mode", "training"), [("eval", False), ("train", True)])
def test_the_mode_can_be_chosen(trained, mode, training):
    _, _, path = trained
    model = Net()
    assert restore(path, model, adamw(model), mode=mode).mode == mode
    assert model.training is training
    with pytest.raises(UsageError, match="mode='test'"):
        restore(path, model, mode="test")


def test_the_receipt_says_everything(trained):
    _, _, path = trained
    model = Net()
    text = str(restore(path, model))
    for line in (
        f"restored {path}",
        "  chosen         given by its path",
        "  step           9",
        "  epoch          3",
        "  metrics        val_loss = 0.25",
        "  learning rate  0.01",
        "  parameters     72: 52 trainable, 20 frozen",
        "  optimizer      not restored",
        "  device         cpu",
        "  mode           eval  (model.train() switches)",
        "    embed/weight [6, 4] float32",
    ):
        assert " ".join(line.split()) in " ".join(text.split()), line
    assert "pass the optimizer too" in text
    assert restore(path, model).as_dict()["total"] == 72


def test_a_model_on_the_meta_device_gets_its_arrays(trained):
    model, _, path = trained
    with torch.device("meta"):
        hollow = Net()
    restored = restore(path, hollow)
    assert same(values(hollow), values(model))
    assert hollow.head.weight is hollow.embed.weight
    assert not hollow.frozen.weight.requires_grad
    assert (restored.trainable, restored.frozen) == (52, 20)


def test_buffers_that_are_not_saved_cannot_come_from_the_meta_device(tmp_path):
    class Rotary(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.dense = torch.nn.Linear(2, 2)
            self.register_buffer("angles", torch.ones(2), persistent=False)

    torch.save(Rotary().state_dict(), tmp_path / "a.pth")
    with torch.device("meta"):
        hollow = Rotary()
    with pytest.raises(UsageError, match="1 arrays on the meta device would get no value: angles"):
        restore(tmp_path / "a.pth", hollow)
    full = Rotary()
    restore(tmp_path / "a.pth", full)
    assert torch.equal(full.angles, torch.ones(2))


# All or nothing.


def test_a_mismatch_leaves_the_model_as_it_was(trained):
    _, _, path = trained
    other = Net(width=5)
    before = values(other)
    with pytest.raises(
        MismatchError, match=r"float32\[6, 4\] in the checkpoint, float32\[6, 5\] in the model"
    ):
        restore(path, other)
    assert same(values(other), before)
    assert other.training


def test_a_damaged_array_in_the_middle_leaves_the_model_as_it_was(trained):
    _, _, path = trained
    with zipfile.ZipFile(path) as archive:
        names = sorted(info.filename for info in archive.infolist() if "/data/" in info.filename)
        middle = archive.getinfo(names[len(names) // 2])
        with archive.open(middle) as member:
            content = member.read()
    data = bytearray(path.read_bytes())
    at = data.find(content)
    assert content.strip(b"\0"), "an array of zeros would be found elsewhere"
    data[at] ^= 0xFF
    path.write_bytes(data)
    model = Net()
    optimizer = adamw(model)
    before, state = values(model), copy.deepcopy(optimizer.state_dict())
    with pytest.raises(DamagedFileError, match="checksum mismatch"):
        restore(path, model, optimizer)
    assert same(values(model), before)
    assert optimizer.state_dict() == state


def test_an_optimizer_that_refuses_at_the_end_leaves_the_model_as_it_was(trained):
    _, _, path = trained

    class Refusing(torch.optim.AdamW):
        def load_state_dict(self, state_dict):
            raise RuntimeError("not today")

    model = Net()
    before = values(model)
    optimizer = Refusing([p for p in model.parameters() if p.requires_grad])
    with pytest.raises(RuntimeError, match="not today"):
        restore(path, model, optimizer)
    assert same(values(model), before)


def test_a_module_that_loads_itself_and_fails_is_as_it_was(tmp_path):
    class Part(torch.nn.Linear):
        refuses = False

        def _load_from_state_dict(self, *args):
            super()._load_from_state_dict(*args)
            if self.refuses:
                self.refuses = False
                raise RuntimeError("half way")

    source = torch.nn.Sequential(Part(2, 2), Part(2, 2))
    torch.save(source.state_dict(), tmp_path / "a.pth")
    model = torch.nn.Sequential(Part(2, 2), Part(2, 2))
    restore(tmp_path / "a.pth", model)
    assert same(values(model), values(source))
    with torch.no_grad():
        model[0].weight.zero_()
    before = values(model)
    model[1].refuses = True
    with pytest.raises(RuntimeError, match="half way"):
        restore(tmp_path / "a.pth", model)
    assert same(values(model), before)


def test_a_device_that_is_not_there_leaves_the_model_as_it_was(trained):
    _, _, path = trained
    model = Net()
    before = values(model)
    with pytest.raises(UsageError, match="there is no device 'hpu9' here"):
        restore(path, model, device="hpu9")
    with pytest.raises(UsageError, match="the meta device holds no values"):
        restore(path, model, device="meta")
    assert same(values(model), before)
    expected = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert restore(path, model, device="auto").device.startswith(expected)


def test_a_move_that_does_not_fit_names_the_bytes():
    from ckpt_torch.bridge.devices import too_large

    error = too_large(14_200_000_000, torch.device("cuda", 0), "3.1 GB of 8.0 GB are free")
    assert isinstance(error, MemoryError)
    assert str(error).startswith(
        "the model needs 14,200,000,000 bytes (14.2 GB) on cuda:0: 3.1 GB of 8.0 GB are free"
    )


def test_tied_weights_that_differ_in_the_checkpoint_are_refused(trained):
    model, _, path = trained
    state = values(model)
    state["head.weight"] = state["head.weight"] + 1
    torch.save(state, path)
    fresh = Net()
    before = values(fresh)
    with pytest.raises(MismatchError, match="tied to embed/weight in the model @ head/weight"):
        restore(path, fresh)
    assert same(values(fresh), before)
    restore(path, fresh, partial="head/weight")
    assert torch.equal(fresh.head.weight, state["embed.weight"])


class Keeper(torch.nn.Linear):
    """A module with state that is no tensor."""

    seen: object = 0

    def get_extra_state(self):
        return {"seen": self.seen}

    def set_extra_state(self, state):
        self.seen = state["seen"]


def test_free_form_state_comes_along(tmp_path):
    model = torch.nn.Sequential(Keeper(2, 2), Keeper(2, 2))
    model[0].seen, model[1].seen = 3, torch.tensor([1.5])
    torch.save(model.state_dict(), tmp_path / "a.pth")
    fresh = torch.nn.Sequential(Keeper(2, 2), Keeper(2, 2))
    restore(tmp_path / "a.pth", fresh)
    assert fresh[0].seen == 3
    assert torch.equal(fresh[1].seen, torch.tensor([1.5]))
    assert same(
        {name: value for name, value in fresh.state_dict().items() if "extra" not in name},
        {name: value for name, value in model.state_dict().items() if "extra" not in name},
    )


def test_free_form_state_that_is_not_there_or_an_object_is_reported(tmp_path):
    model = Keeper(2, 2)
    torch.save(torch.nn.Linear(2, 2).state_dict(), tmp_path / "a.pth")
    with pytest.raises(
        MismatchError, match="missing: nothing in the checkpoint, free-form state in the model"
    ):
        restore(tmp_path / "a.pth", model)
    restore(tmp_path / "a.pth", model, partial="_extra_state")
    other = Keeper(2, 2)
    other.seen = argparse.Namespace(a=1)
    torch.save(other.state_dict(), tmp_path / "b.pth")
    with pytest.raises(MismatchError, match=r"an object of argparse\.Namespace, which is not made again"):
        restore(tmp_path / "b.pth", model)
    with pytest.raises(MismatchError, match="unexpected: free-form state in the checkpoint"):
        restore(tmp_path / "b.pth", torch.nn.Linear(2, 2))


# What is let through.


def test_partial_leaves_what_it_names(trained):
    model, _, path = trained
    fresh = Net()
    fresh.extra = torch.nn.Linear(4, 2)
    before = fresh.extra.weight.detach().clone()
    with pytest.raises(MismatchError, match="2 missing"):
        restore(path, fresh)
    restored = restore(path, fresh, partial=["extra/**"])
    assert torch.equal(fresh.extra.weight, before)
    assert torch.equal(fresh.block.weight, model.block.weight)
    assert len(restored.report.waived) == 2
    assert "let through    2 differences, as asked" in str(restored)


def test_dtypes_are_cast_when_asked(trained):
    model, _, path = trained
    half = Net().half()
    with pytest.raises(MismatchError, match=r'dtypes="cast"'):
        restore(path, half)
    restore(path, half, dtypes="cast")
    assert half.block.weight.dtype == torch.float16
    assert torch.equal(half.block.weight, model.block.weight.half())


def test_wrapped_models_and_prefixes(trained):
    model, _, path = trained
    wrapped = torch.nn.DataParallel(Net())
    with pytest.raises(MismatchError, match=r"(?s)names in the model begin with 'module'.*model\.module"):
        restore(path, wrapped)
    restore(path, wrapped.module)
    assert same(values(wrapped.module), values(model))
    torch.save(torch.nn.DataParallel(model).state_dict(), path)
    restore(path, wrapped)
    fresh = Net()
    with pytest.raises(MismatchError, match=r"restore\(\.\.\., strip_prefix='module'\)"):
        restore(path, fresh)
    restore(path, fresh, strip_prefix="module")
    assert same(values(fresh), values(model))


def test_the_other_copy_of_the_weights(trained):
    model, _, path = trained
    averaged = {
        name: tensor * 2 if tensor.is_floating_point() else tensor for name, tensor in values(model).items()
    }
    torch.save({"model": model.state_dict(), "ema": averaged, "epoch": 1}, path)
    fresh = Net()
    restore(path, fresh, weights="ema")
    assert torch.equal(fresh.block.weight, averaged["block.weight"])
    with open_checkpoint(path, weights="ema") as ckpt:
        restore(ckpt, fresh)
        with pytest.raises(UsageError, match="weights= chooses when a checkpoint is opened"):
            restore(ckpt, fresh, weights="ema")


# Directories.


def test_a_directory_gives_its_latest_and_says_so(trained, tmp_path):
    model, _, path = trained
    older = Net()
    torch.save({"epoch": 2, "model_state_dict": older.state_dict()}, tmp_path / "checkpoint_epoch_2.pth")
    fresh = Net()
    restored = restore(tmp_path, fresh)
    assert same(values(fresh), values(model))
    assert restored.path == str(path)
    assert restored.chosen == "latest: epoch 3 is the highest of 2"


def test_a_mismatch_names_the_siblings_that_fit(trained, tmp_path):
    _, _, path = trained
    for epoch, width in ((1, 5), (2, 8), (7, 5)):
        state = {"epoch": epoch, "model_state_dict": Net(width).state_dict()}
        torch.save(state, tmp_path / f"checkpoint_epoch_{epoch}.pth")
    (tmp_path / "checkpoint_epoch_8.pth").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(MismatchError) as caught:
        restore(path, Net(width=5))
    assert caught.value.report.siblings == (
        str(tmp_path / "checkpoint_epoch_1.pth"),
        str(tmp_path / "checkpoint_epoch_7.pth"),
    )
    assert "would fit: " in str(caught.value)


def test_a_sibling_fits_the_optimizer_too(trained, tmp_path):
    model, optimizer, path = trained
    for name, other in (("sgd", torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)), ("none", None)):
        state = {"model": model.state_dict(), "epoch": 1}
        if other is not None:
            train(model, other, 1)
            state["optimizer"] = other.state_dict()
        torch.save(state, tmp_path / f"{name}.pth")
    with pytest.raises(MismatchError) as caught:
        restore(tmp_path / "none.pth", model, optimizer)
    assert caught.value.report.siblings == (str(path),)


# What is no model.


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (None, r"(?s)None is no live model of a framework.*model = Net"),
        (Net, r"(?s)Net is a class, not a model.*model = Net\(\.\.\.\)"),
        ({"w": np.zeros(3)}, r"(?s)a builtins\.dict is no live model.*params\.load\(\)"),
        ({"w": torch.zeros(3)}, "is no torch module"),
    ],
)
def test_what_is_no_model_says_how_to_make_one(trained, model, message):
    with pytest.raises(UsageError, match=message):
        restore(trained[2], model)


def test_sharding_is_for_jax(trained):
    with pytest.raises(UsageError, match="takes device=, not sharding="):
        restore(trained[2], Net(), sharding=object())


def test_no_warning_is_raised(trained):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        restore(trained[2], Net(), device="cpu")
    assert registry().broken == []
