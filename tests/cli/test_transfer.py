"""`ckpt transfer`: what it prints, writes and exits with."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from ckpt_core import open_checkpoint, save_checkpoint
from ckpt_core.cli.app import ckpt

rng = np.random.default_rng(3)


def f32(*shape: int) -> np.ndarray:
    return rng.normal(size=shape).astype(np.float32)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(ckpt, ["transfer", *map(str, arguments)])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A torch state dict, a Flax target of it, and a module of the user's own."""
    state = {"fc1.weight": f32(5, 3), "fc1.bias": f32(5), "fc2.weight": f32(2, 5), "fc2.bias": f32(2)}
    torch.save({name: torch.from_numpy(array) for name, array in state.items()}, tmp_path / "net.pth")
    dense = {
        "Dense_0": {"kernel": f32(3, 5), "bias": f32(5)},
        "Dense_1": {"kernel": f32(5, 2), "bias": f32(2)},
    }
    save_checkpoint(tmp_path / "flax.msgpack", {"params": dense})
    (tmp_path / "users_own_nets.py").write_text(
        "import numpy as np\n"
        "def model():\n"
        "    zeros = lambda *shape: np.zeros(shape, np.float32)\n"
        "    return {'a': {'kernel': zeros(3, 5), 'bias': zeros(5)}, 'b': {'kernel': zeros(5, 2), 'bias': zeros(2)}}\n"
        "class Nested:\n"
        "    tree = model()\n"
    )
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("users_own_nets", None)


def weights(path: Path) -> dict[str, np.ndarray]:
    with open_checkpoint(path) as opened:
        return {name: array.read() for name, array in opened.params.leaves()}


def test_a_plan_is_printed_with_its_evidence(folder: Path) -> None:
    result = run("net.pth", "--like", "flax.msgpack", "--plan-only")
    assert result.exit_code == 0, result.output
    assert "fc1.weight  Dense_0/kernel  transpose(1, 0)  proven" in result.output
    assert result.output.endswith("4 rules, 0 unsettled\n")
    shown = json.loads(run("net.pth", "--like", "flax.msgpack", "--plan-only", "--json").output)
    assert shown["fits"] is True
    assert {tuple(rule["ops"]) for rule in shown["plan"]["rules"]} == {(), ("transpose(1, 0)",)}


def test_it_writes_saves_its_plan_and_goes_back(folder: Path) -> None:
    result = run("net.pth", "--like", "flax.msgpack", "--out", "out.safetensors", "--save-plan", "plan.toml")
    assert result.exit_code == 0, result.output
    assert "Transferred 32 parameters into" in result.output
    with open_checkpoint("out.safetensors") as opened:
        assert opened.stored.attributes["format"] == "flax"
    back = run(
        "out.safetensors",
        "--like",
        "net.pth",
        "--rules",
        "plan.toml",
        "--reverse",
        "--out",
        "back.pth",
        "--json",
    )
    assert back.exit_code == 0, back.output
    receipt = json.loads(back.output)
    assert {row["bucket"] for row in receipt["filled"]} == {"transferred"}
    assert all(len(row["sha256"]) == 64 for row in receipt["filled"])
    before, after = weights(folder / "net.pth"), weights(folder / "back.pth")
    assert before.keys() == after.keys()
    assert all(before[name].tobytes() == after[name].tobytes() for name in before)


@pytest.mark.parametrize("like", ["users_own_nets:model", "users_own_nets:Nested.tree"])
def test_a_model_of_the_users_own_code_is_a_target(folder: Path, like: str) -> None:
    rules = "\n".join(
        f'[[rule]]\nsource = "fc{i}.{s}"\ntarget = "{t}/{d}"\nops = [{op}]'
        for i, t in ((1, "a"), (2, "b"))
        for s, d, op in (("weight", "kernel", '"transpose"'), ("bias", "bias", ""))
    )
    (folder / "rules.toml").write_text(rules)
    result = run("net.pth", "--like", like, "--rules", "rules.toml", "--out", "out_dir", "--to", "orbax")
    assert result.exit_code == 0, result.output
    np.testing.assert_array_equal(
        weights(folder / "out_dir")["a/kernel"], weights(folder / "net.pth")["fc1/weight"].T
    )


def test_check_says_what_is_missing_and_writes_nothing(folder: Path) -> None:
    save_checkpoint(
        "more.msgpack", {"params": {"Dense_0": {"kernel": f32(3, 5)}, "extra": {"kernel": f32(9, 9)}}}
    )
    result = run("net.pth", "--like", "more.msgpack", "--check")
    assert result.exit_code == 1
    assert "does not hold what" in result.output
    assert "@ extra/kernel" in result.output
    good = run("net.pth", "--like", "flax.msgpack", "--check", "--json")
    assert (good.exit_code, json.loads(good.output)["fits"]) == (0, True)


def test_an_unsettled_plan_exits_with_1_and_shows_the_rules_to_add(folder: Path) -> None:
    save_checkpoint(
        "a.safetensors", {"x.weight": f32(4, 4), "y.weight": f32(4, 4)}, attributes={"format": "pt"}
    )
    save_checkpoint("b.msgpack", {"params": {"u": {"kernel": f32(4, 4)}, "v": {"kernel": f32(4, 4)}}})
    result = run("a.safetensors", "--like", "b.msgpack", "--plan-only")
    assert result.exit_code == 1, result.output
    assert "UNSETTLED" in result.output
    assert "[[rule]]" in result.output
    refused = run("a.safetensors", "--like", "b.msgpack", "--out", "c.msgpack")
    assert refused.exit_code == 2
    assert not (folder / "c.msgpack").exists()


def test_a_plan_is_shown_with_what_does_not_fit(folder: Path) -> None:
    Path("rules.toml").write_text('[[rule]]\nsource = "head.*"\ntarget = "head/kernel"\n')
    result = run("net.pth", "--like", "flax.msgpack", "--rules", "rules.toml", "--plan-only")
    assert result.exit_code == 1
    assert "what does not fit:\n  unmatched: no source has the name head.*" in result.output


def test_parts_skips_and_casts(folder: Path) -> None:
    save_checkpoint("parts.msgpack", {"params": {"left": {"bias": f32(5)}, "head": {"kernel": f32(2, 2)}}})
    source: dict[str, Any] = {"params": {"tower": {"bias": f32(5)}, "old": {"kernel": f32(7)}}}
    save_checkpoint("tower.msgpack", source)
    arguments = ["--like", "parts.msgpack", "--select", "none", "--select", "tower/**", "--into", "left"]
    result = run("tower.msgpack", *arguments, "--cast", "bf16", "--out", "out.msgpack")
    assert result.exit_code == 0, result.output
    assert "Transferred 5 parameters into left (1 leaf)" in result.output
    assert weights(folder / "out.msgpack")["left/bias"].dtype.name == "bfloat16"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--like", "flax.msgpack"], "there is nothing to do"),
        (["--like", "nowhere_at_all:model", "--check"], "nowhere_at_all:model cannot be imported"),
        (["--like", "users_own_nets:nothing", "--check"], "users_own_nets:nothing cannot be imported"),
        (["--like", "flax.msgpack", "--resize", "x", "--check"], "--resize takes TARGET=SOURCE, not 'x'"),
        (["--like", "flax.msgpack", "--out", "o", "--to", "torch"], "has the names of flax, not of torch"),
        (["--like", "flax.msgpack", "--rules", "none.toml", "--check"], "no such file"),
    ],
)
def test_what_cannot_be_meant_is_an_error(folder: Path, arguments: list[str], problem: str) -> None:
    result = run("net.pth", *arguments)
    assert result.exit_code == 2, result.output
    assert problem in result.output


def test_what_goes_wrong_in_the_users_own_code_is_called_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("own_failing.py").write_text("def make():\n    return 1 / 0\n")
    Path("own_broken.py").write_text("raise RuntimeError('no such device')\n")
    monkeypatch.syspath_prepend(folder)
    made = run("net.pth", "--like", "own_failing:make", "--check")
    assert (made.exit_code, made.output.strip()) == (
        2,
        "error: own_failing:make makes no model: it raised ZeroDivisionError: division by zero",
    )
    broken = run("net.pth", "--like", "own_broken:make", "--check")
    assert broken.exit_code == 2
    assert "own_broken raised RuntimeError: no such device" in broken.output


def test_a_part_of_a_template_is_no_checkpoint(folder: Path) -> None:
    slots = [{"path": name, "shape": [5], "dtype": "float32"} for name in ("left/bias", "right/bias")]
    template = {"kind": "ckpt-template", "version": 1, "framework": "flax", "slots": slots}
    Path("parts.json").write_text(json.dumps(template))
    save_checkpoint("tower.msgpack", {"params": {"tower": {"bias": f32(5)}}})
    arguments = ["--like", "parts.json", "--select", "tower", "--into", "left", "--out", "out.msgpack"]
    result = run("tower.msgpack", *arguments)
    assert result.exit_code == 2, result.output
    assert "the target has shapes alone" in result.output
    assert not (folder / "out.msgpack").exists()


def test_an_optional_source_that_is_absent(folder: Path) -> None:
    assert run("none.pth", "--like", "flax.msgpack", "--out", "o.msgpack").exit_code == 2
    result = run("none.pth", "--like", "flax.msgpack", "--optional", "--out", "o.msgpack")
    assert result.exit_code == 0, result.output
    assert result.stderr == "note: none.pth: there is none; every slot keeps its initial value\n"
    assert "Transferred 0 parameters" in result.output
