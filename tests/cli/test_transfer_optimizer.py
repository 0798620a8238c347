"""`ckpt transfer --with-optimizer`: a run carried over by the command alone, read by the frameworks' own loaders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import flax.serialization
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
import torch
from click.testing import CliRunner, Result

from ckpt_core import open_checkpoint, save_checkpoint
from ckpt_core.cli.app import ckpt

FLAX = {"first": {"kernel": (3, 5), "bias": (5,)}, "last": {"kernel": (5, 2), "bias": (2,)}}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(ckpt, [*map(str, arguments)])


def done(*arguments: object) -> str:
    result = run("transfer", *arguments, "--with-optimizer")
    assert result.exit_code == 0, result.output
    return result.stdout


def zeros() -> dict[str, Any]:
    return {
        layer: {name: np.zeros(shape, np.float32) for name, shape in leaves.items()}
        for layer, leaves in FLAX.items()
    }


def module() -> torch.nn.Module:
    torch.manual_seed(0)
    model = torch.nn.Module()
    model.first, model.last = torch.nn.Linear(3, 5), torch.nn.Linear(5, 2)
    return model


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of torch with a schedule, and a template of each side."""
    model = module()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02, weight_decay=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)
    for _ in range(3):
        optimizer.zero_grad()
        model.last(model.first(torch.ones(4, 3))).square().sum().backward()
        optimizer.step()
        scheduler.step()
    states = {"optimizer_state_dict": optimizer.state_dict(), "scheduler_state_dict": scheduler.state_dict()}
    torch.save({"model_state_dict": model.state_dict(), **states, "step": 3}, tmp_path / "run.pth")
    torch.save(module().state_dict(), tmp_path / "torch.pth")
    save_checkpoint(tmp_path / "flax.msgpack", {"params": zeros()})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def state_of(path: str, tx: optax.GradientTransformation) -> Any:
    like = {"state": {"params": zeros(), "opt_state": tx.init(zeros()), "step": 0}}
    if path.endswith(".msgpack"):
        return flax.serialization.from_bytes(like, Path(path).read_bytes())["state"]
    return ocp.PyTreeCheckpointer().restore(Path(path).absolute(), item=like)["state"]


@pytest.mark.parametrize("out", ["out.msgpack", "out"])
def test_torch_to_flax(folder: Path, out: str) -> None:
    more = [] if out.endswith(".msgpack") else ["--to", "orbax"]
    said = done("run.pth", "--like", "flax.msgpack", "--out", out, *more)
    assert "the optimizer that goes on alike:" in said
    assert "ckpt_flax.transforms.every(1, optax.exponential_decay(0.02, 2, 0.5, staircase=True))" in said
    tx = optax.adamw(optax.exponential_decay(0.02, 2, 0.5, staircase=True), weight_decay=0.1)
    state = state_of(out, tx)
    saved = torch.load("run.pth", weights_only=True)["optimizer_state_dict"]["state"]
    assert int(state["opt_state"][0].count) == int(state["opt_state"][2].count) == 3
    mu = state["opt_state"][0].mu["first"]["kernel"]
    assert np.array_equal(mu, saved[0]["exp_avg"].numpy().T)


def test_as_json(folder: Path) -> None:
    said = json.loads(done("run.pth", "--like", "flax.msgpack", "--out", "out.msgpack", "--json"))
    assert said["optimizer"]["code"].startswith("import ckpt_flax.transforms\nimport optax\n")
    assert said["out"] == "out.msgpack"


def test_there_and_back(folder: Path) -> None:
    done("run.pth", "--like", "flax.msgpack", "--out", "there.msgpack")
    said = done("there.msgpack", "--like", "torch.pth", "--out", "back.pth")
    assert "torch.optim.AdamW(" in said
    before, after = (torch.load(path, weights_only=True) for path in ("run.pth", "back.pth"))
    assert before["scheduler_state_dict"] == after["scheduler_state_dict"]
    for id, entry in before["optimizer_state_dict"]["state"].items():
        for name, value in entry.items():
            assert torch.equal(value, after["optimizer_state_dict"]["state"][id][name])
    assert before["optimizer_state_dict"]["param_groups"] == after["optimizer_state_dict"]["param_groups"]


def test_flax_to_torch_asks_for_what_an_optax_state_does_not_say(folder: Path) -> None:
    params = {
        layer: {name: np.ones_like(leaf) for name, leaf in leaves.items()}
        for layer, leaves in zeros().items()
    }
    tx = optax.adam(0.01)
    _, state = tx.update(params, tx.init(params), params)
    tree = {"params": params, "opt_state": state, "step": 1}
    Path("state.msgpack").write_bytes(flax.serialization.to_bytes(tree))
    asked = ["transfer", "state.msgpack", "--like", "torch.pth", "--out", "out.pth", "--with-optimizer"]
    result = run(*asked)
    assert (result.exit_code, Path("out.pth").exists()) == (2, False)
    assert "fits 15 rules: adam, adamw" in result.stderr
    assert "--optimizer-kind" in result.stderr
    result = run(*asked, "--optimizer-kind", "adam")
    assert result.exit_code == 2
    assert "does not hold the learning rate" in result.stderr
    said = done(
        *asked[1:-1],
        "--optimizer-kind",
        "adam",
        "--hyperparam",
        "learning_rate=0.01",
        "--hyperparam",
        "b1=0.9",
    )
    assert "taken to be optax's defaults for adam: b2=0.999, eps=1e-08" in said
    group = torch.load("out.pth", weights_only=True)["optimizer_state_dict"]["param_groups"][0]
    assert (group["lr"], group["betas"]) == (0.01, (0.9, 0.999))


def test_parameters_that_the_file_does_not_name(folder: Path) -> None:
    """Frozen ones outside of the optimizer: which those are is not in the file, and is told."""
    model = module()
    model.first.requires_grad_(False)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad])
    model.last(model.first(torch.ones(4, 3))).square().sum().backward()
    optimizer.step()
    torch.save(
        {"model_state_dict": model.state_dict(), "optimizer_state_dict": optimizer.state_dict()}, "frozen.pth"
    )
    asked = ["frozen.pth", "--like", "flax.msgpack", "--out", "out.msgpack"]
    result = run("transfer", *asked, "--with-optimizer")
    assert result.exit_code == 2
    assert "the optimizer has 2 parameters and the weights are 4" in result.stderr
    assert "--parameter-names" in result.stderr
    Path("names.txt").write_text("last.weight\nlast.bias\n")
    assert "optax.set_to_zero()" in done(*asked, "--parameter-names", "names.txt")
    for names, problem in (
        ("last.bias\nlast.weight\n", "last/bias is [2], and its mu is [2, 5]"),
        ("last.weight\n", "1 names are given for 2 parameters"),
        ("last.weight\nlost\n", "the weights have no lost"),
    ):
        Path("names.txt").write_text(names)
        result = run("transfer", *asked, "--force", "--with-optimizer", "--parameter-names", "names.txt")
        assert (result.exit_code, problem in result.stderr) == (2, True), result.stderr


def test_what_has_no_optimizer_is_an_error(folder: Path) -> None:
    result = run(
        "transfer", "torch.pth", "--like", "flax.msgpack", "--out", "out.msgpack", "--with-optimizer"
    )
    assert (result.exit_code, Path("out.msgpack").exists()) == (2, False)
    assert "holds no optimizer state" in result.stderr
    result = run(
        "transfer", "torch.pth", "--like", "flax.msgpack", "--out", "out.msgpack", "--hyperparam", "lr=1"
    )
    assert result.exit_code == 2
    assert "belong to --with-optimizer" in result.stderr


@pytest.mark.parametrize("path", ["run.pth", "there.msgpack"])
def test_inspect_shows_the_optimizer_of_either_framework(folder: Path, path: str) -> None:
    done("run.pth", "--like", "flax.msgpack", "--out", "there.msgpack")
    result = run("inspect", path)
    assert result.exit_code == 0, result.output
    assert "adamw, step 3" in result.stdout
    assert "weight_decay = 0.1" in result.stdout
    state = json.loads(run("inspect", path, "--json").stdout)["opt_state"]
    assert (state["kind"], state["step"]) == (["adamw"], 3)
    assert {name: slot["count"] for name, slot in state["slots"].items()} == {"mu": 4, "nu": 4}
    assert state["hyperparams"]["weight_decay"] == 0.1


def test_one_of_several_optimizers_and_the_count_that_it_does_not_keep(folder: Path) -> None:
    model = module()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model.last(model.first(torch.ones(4, 3))).square().sum().backward()
    optimizer.step()
    other = torch.optim.Adam(model.parameters())
    both = {"optimizer_G": optimizer.state_dict(), "optimizer_D": other.state_dict()}
    torch.save({"model_state_dict": model.state_dict(), **both}, "both.pth")
    asked = ["both.pth", "--like", "flax.msgpack", "--out", "out.msgpack"]
    result = run("transfer", *asked, "--with-optimizer")
    assert result.exit_code == 2
    assert "holds 2 optimizers: optimizer_G, optimizer_D" in result.stderr
    assert "--optimizer-name" in result.stderr
    said = done(*asked, "--optimizer-name", "optimizer_G", "--optimizer-step", "70")
    assert "left behind: optimizer_D" in said
    with open_checkpoint("out.msgpack") as ckpt:
        assert (ckpt.step, ckpt.opt_state.kind) == (70, ("sgd",))
    result = run("transfer", *asked, "--force", "--optimizer-step", "70")
    assert "belong to --with-optimizer" in result.stderr
