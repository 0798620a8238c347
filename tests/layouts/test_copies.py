"""Raw and averaged weights: which one `params` is, and how the other is picked everywhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from layouts import trees
from layouts.meaning import GOLDEN
from layouts.trees import array, opened, state_dict
from safetensors.torch import load_file

from ckpt_core import convert, diff, hash_weights, open_checkpoint
from ckpt_core.errors import UsageError
from ckpt_core.select import Selection, selected


class LitEma(torch.nn.Module):
    """The average of latent-diffusion (`ldm/modules/ema.py`): buffers under names without dots."""

    def __init__(self, model: torch.nn.Module, decay: float) -> None:
        super().__init__()
        self.register_buffer("decay", torch.tensor(decay))
        self.register_buffer("num_updates", torch.tensor(0, dtype=torch.int))
        for name, value in model.named_parameters():
            self.register_buffer(name.replace(".", ""), value.clone().detach() * 2)


class Diffusion(torch.nn.Module):
    """A model beside its average and a part that is not averaged."""

    def __init__(self) -> None:
        super().__init__()
        self.model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
        self.first_stage = torch.nn.Linear(3, 1)
        self.model_ema = LitEma(self.model, 0.9999)


def named(tree):
    return {name.replace("/", "."): array.read() for name, array in tree.leaves()}


def test_an_average_under_names_without_dots(tmp_path):
    torch.manual_seed(0)
    module = Diffusion()
    torch.save({"state_dict": module.state_dict(), "epoch": 1}, tmp_path / "ldm.ckpt")
    raw = {k: v.detach().numpy() for k, v in module.named_parameters()}
    with open_checkpoint(tmp_path / "ldm.ckpt") as ckpt:
        assert (ckpt.weights, list(ckpt.ema)) == ("raw", ["model_ema"])
        assert named(ckpt.params).keys() == raw.keys()
        assert {"model_ema.decay", "model_ema.num_updates"} <= named(ckpt.buffers).keys()
        assert ckpt.metadata.extra == {}
    with open_checkpoint(tmp_path / "ldm.ckpt", weights="ema") as ckpt:
        assert ckpt.weights == "model_ema"
        for name, value in named(ckpt.params).items():
            factor = 2 if name.startswith("model.") else 1  # what is not averaged is the raw one
            assert np.array_equal(value, raw[name] * factor)
        assert any("the copy 'model_ema' lacks" in note for note in ckpt.metadata.notes)


@pytest.mark.parametrize("prefix", ["", "online_model.", "net."])
def test_an_average_beside_the_weights_in_one_state_dict(prefix):
    table = {prefix + name: leaf for name, leaf in state_dict().items()}
    average = {f"ema_model.{name}": leaf for name, leaf in state_dict(1.0).items()}
    ckpt = opened({**table, **average, "ema_model.initted": array(dtype="bool")}, weights="ema")
    assert ckpt.weights == "ema_model"
    assert {leaf.read().max() for _, leaf in ckpt.params.leaves()} == {1.0}
    assert [name for name, _ in ckpt.params.leaves()] == [
        (prefix + name).replace(".", "/") for name in ("net.conv.weight", "head.weight")
    ]


def test_names_that_only_look_like_an_average():
    table = {"ema.conv.weight": array(2), "head.weight": array(2)}
    ckpt = opened(table)
    assert (list(ckpt.ema), len(ckpt.params.leaves())) == ([], 2)
    shapes = {"w": array(2), "ema.w": array(3)}
    assert list(opened(shapes).ema) == []


def test_torchs_averaged_model(tmp_path):
    net = torch.nn.Linear(2, 3)
    averaged = torch.optim.swa_utils.AveragedModel(net)
    averaged.update_parameters(net)
    torch.save(averaged.state_dict(), tmp_path / "swa.pt")
    with open_checkpoint(tmp_path / "swa.pt") as ckpt:
        assert ckpt.weights == "averaged"
        assert [name for name, _ in ckpt.params.leaves()] == ["module/weight", "module/bias"]
        assert [name for name, _ in ckpt.buffers.leaves()] == ["n_averaged"]
    with open_checkpoint(tmp_path / "swa.pt", weights="ema") as ckpt:
        assert ckpt.weights == "averaged"
    with pytest.raises(UsageError, match=r"holds no copy 'raw' of the weights.*\n.*Copies here: averaged"):
        open_checkpoint(tmp_path / "swa.pt", weights="raw")
    torch.save(
        {"model": net.state_dict(), "model_ema": averaged.state_dict(), "epoch": 1}, tmp_path / "both.pt"
    )
    with open_checkpoint(tmp_path / "both.pt", weights="ema") as ckpt:
        assert named(ckpt.params).keys() == {"weight", "bias"}
        assert ckpt.buffers == {}


def test_what_a_trainer_swapped_is_told_and_swapped_back():
    with open_checkpoint(GOLDEN / "lightning/2.6_averaged.ckpt") as ckpt:
        assert (ckpt.weights, list(ckpt.ema)) == ("averaged", ["raw"])
        averaged, raw = named(ckpt.params), named(ckpt.ema["raw"])
    with open_checkpoint(GOLDEN / "lightning/2.6_averaged.ckpt", weights="raw") as ckpt:
        assert (ckpt.weights, list(ckpt.ema)) == ("raw", ["averaged"])
        for name, value in named(ckpt.params).items():
            assert np.array_equal(value, raw[name])
            assert not np.array_equal(value, averaged[name])


def test_a_copy_that_is_not_there_is_an_error_with_those_there_are():
    with pytest.raises(UsageError, match=r"holds no copy 'ema' of the weights[^.]*\.?\s*Copies here: raw\."):
        opened({"model": state_dict(), "epoch": 1}, weights="ema")
    several = {"model": state_dict(), "model_ema": state_dict(), "ema_params": state_dict(), "epoch": 1}
    with pytest.raises(
        UsageError, match=r"holds 2 averaged copies[^.]*\.?\s*Copies here: raw, model_ema, ema_params"
    ):
        opened(several, weights="ema")
    assert opened(several, weights="model_ema").weights == "model_ema"


def test_a_picked_copy_is_what_every_operation_sees(tmp_path):
    path = tmp_path / "both.pth"
    torch.save({"model": {"w": torch.zeros(3)}, "ema": {"w": torch.ones(3)}, "epoch": 1}, path)
    torch.save({"w": torch.ones(3)}, tmp_path / "averaged.pth")
    convert(path, tmp_path / "ema.safetensors", only="weights", weights="ema")
    assert torch.equal(load_file(tmp_path / "ema.safetensors")["w"], torch.ones(3))
    with open_checkpoint(path, weights="ema") as ckpt, open_checkpoint(tmp_path / "averaged.pth") as alone:
        assert hash_weights(ckpt) == hash_weights(alone)
        assert diff(ckpt, alone).is_equal
        tree, left = selected(ckpt, Selection(only=("raw",)))
        assert (tree["w"].read().max(), {remark.path for remark in left}) == (0.0, {"ema/w", "epoch"})
    with open_checkpoint(path) as raw, open_checkpoint(path, weights="ema") as ckpt:
        assert [d.path for d in diff(raw, ckpt).differences] == ["params/w"]
    with pytest.raises(UsageError, match="without only= or layout= every copy of the weights is written"):
        convert(path, tmp_path / "all.safetensors", weights="ema")


def test_the_command_line_picks_too(tmp_path):
    from click.testing import CliRunner

    from ckpt_core.cli.app import ckpt

    path = tmp_path / "both.pth"
    torch.save({"model": {"w": torch.zeros(3)}, "ema": {"w": torch.ones(3)}, "epoch": 1}, path)
    runner = CliRunner()
    stats = runner.invoke(ckpt, ["inspect", str(path), "--weights", "ema", "--stats", "--json"])
    assert '"weights": "ema"' in stats.output
    text = runner.invoke(ckpt, ["inspect", str(path)]).output
    assert "weights  raw; there is also ema (--weights)" in text
    assert "claims: role, layout, place in the tree" in text
    one, other = (
        runner.invoke(ckpt, ["hash", str(path), "--weights", name]).output.split()[0]
        for name in ("raw", "ema")
    )
    assert one != other
    same = runner.invoke(ckpt, ["diff", str(path), str(path), "--weights-a", "ema", "--weights-b", "ema"])
    differ = runner.invoke(ckpt, ["diff", str(path), str(path), "--weights-b", "ema"])
    assert (same.exit_code, differ.exit_code) == (0, 1)
    missing = runner.invoke(ckpt, ["inspect", str(path), "--weights", "swa"])
    assert missing.exit_code == 2
    assert "Copies here: raw, ema" in missing.output + missing.stderr


def test_averaged_weights_alone():
    ckpt = opened({"ema": state_dict(), "epoch": 3})
    assert (ckpt.weights, ckpt.ema) == ("ema", {})
    tree, _ = selected(ckpt, Selection(only=("ema",)))
    assert list(tree) == list(trees.state_dict())


@pytest.mark.parametrize(
    ("keys", "copy"),
    [
        (("model", "ema"), "ema"),
        (("model", "swa_state_dict"), "swa_state_dict"),
        (("net", "teacher_model"), "teacher_model"),
        (("G", "D", "G_ema"), "G_ema"),
        (("g", "d", "g_ema"), "g_ema"),
    ],
)
def test_copies_under_any_key_in_a_file_of_state_dicts_alone(keys, copy, tmp_path):
    """Such as StyleGAN's: nothing but what `state_dict()` returns, which is no file of a directory."""
    states = {key: torch.nn.Linear(2, 3).state_dict() for key in keys}
    torch.save(states, tmp_path / "a.pt")
    with open_checkpoint(tmp_path / "a.pt") as ckpt:
        assert (ckpt.layout, ckpt.weights, list(ckpt.ema)) == ("training_dict", "raw", [copy])
        assert ckpt.roles.params == tuple((key,) for key in keys if key != copy)
    with open_checkpoint(tmp_path / "a.pt", weights="ema") as ckpt:
        assert ckpt.weights == copy
        for name, value in named(ckpt.params).items():
            assert np.array_equal(value, states[copy][name].numpy())
