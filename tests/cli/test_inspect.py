from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from ckpt_core import Record
from ckpt_core.cli.jsonable import jsonable
from ckpt_core.tree import Alias, Global


def test_json_has_what_was_saved(run_json, files):
    found = run_json("inspect", files / "a.pth")
    state = torch.load(files / "a.pth", weights_only=False)
    assert found["format"] == "torch"
    assert found["layout"] == "training_dict"
    assert (found["step"], found["epoch"], found["timestamp"]) == (4120, 10, 1714739696.5)
    assert found["metrics"] == {"val_loss": 0.3876, "val_acc": 0.9984, "best_loss": "NaN"}
    assert found["config"] == {"lr": 0.001, "data": "/home/jane/digits", "sizes": {"hidden": [4, 12]}}
    assert found["file_bytes"] == (files / "a.pth").stat().st_size
    named = dict(torch.nn.Module.named_parameters(_model(), remove_duplicate=False))
    assert {leaf["path"].replace("/", ".") for leaf in found["params"]["leaves"]} == set(named)
    weights = state["model_state_dict"]
    for section in ("params", "buffers"):
        for leaf in found[section]["leaves"]:
            tensor = weights[leaf["path"].replace("/", ".")]
            assert leaf["shape"] == list(tensor.shape)
            assert leaf["dtype"] == str(tensor.dtype).removeprefix("torch.")
            assert leaf["nbytes"] == tensor.nbytes
    assert found["params"]["count"] + found["buffers"]["count"] == len(weights)
    assert found["params"]["bytes"] + found["buffers"]["bytes"] == sum(t.nbytes for t in weights.values())
    assert found["params"]["elements"] == sum(weights[name].numel() for name in named)
    assert found["tied"] == [["model_state_dict/wte.weight", "model_state_dict/head.weight"]]


def _model():
    from .conftest import Model

    return Model()


def test_json_has_the_optimizer(run_json, files):
    found = run_json("inspect", files / "a.pth")
    state = found["opt_state"]
    assert state["kind"] == ["adamw"]
    assert state["hyperparams"]["lr"] == 0.001
    assert state["step"] == 1
    count = len(list(_model().parameters()))
    assert state["slots"]["mu"]["count"] == state["slots"]["nu"]["count"] == count
    assert list(found["opt_states"].values()) == [state]


def test_several_optimizers_are_told_apart(run, run_json, tmp_path):
    weights = [torch.nn.Parameter(torch.ones(3))]
    first, second = torch.optim.SGD(weights, lr=0.1), torch.optim.Adam(weights, lr=0.2)
    torch.save(
        {"model": {"w": weights[0]}, "optimizer_G": first.state_dict(), "optimizer_D": second.state_dict()},
        tmp_path / "g.pth",
    )
    found = run_json("inspect", tmp_path / "g.pth")
    assert found["opt_state"] is None
    assert {name: state["hyperparams"]["lr"] for name, state in found["opt_states"].items()} == {
        "optimizer_G": 0.1,
        "optimizer_D": 0.2,
    }
    text = run("inspect", tmp_path / "g.pth").stdout
    assert "optimizer_G" in text
    assert "optimizer_D" in text


def test_what_an_optimizer_keeps_beside_known_slots_is_told(run, run_json, tmp_path):
    model = torch.nn.Linear(2, 2)
    entries = {
        i: {"step": 1, "momentum_of_mine": p.data, "label": "x"} for i, p in enumerate(model.parameters())
    }
    groups = [{"lr": 0.1, "params": [0]}, {"lr": 0.2, "params": [1, 2]}]
    state = {"model": model.state_dict(), "optimizer": {"state": entries, "param_groups": groups}}
    torch.save(state, tmp_path / "a.pth")
    found = run_json("inspect", tmp_path / "a.pth")["opt_state"]
    assert (found["kind"], found["other"]) == ([], ["label"])
    assert found["notes"] == [
        "parameters are known by position only: the optimizer has 3 parameters and the weights are 2"
    ]
    text = run("inspect", tmp_path / "a.pth").stdout
    for line in ("optimizer  of an unknown kind, step 1", "also: label", f"note: {found['notes'][0]}"):
        assert line in text


def test_text_tells_a_person(run, files):
    result = run("inspect", files / "a.pth")
    assert result.exit_code == 0
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    for line in (
        "step 4120",
        "epoch 10",
        "time 2024-05-03 12:34:56 UTC (1714739696.5)",
        "metrics val_loss = 0.3876",
        "config lr = 0.001",
        "sizes.hidden = [4, 12]",
        "optimizer adamw, step 1",
        "h.{0..2} x 3 12 arrays, 252 elements 1.0 kB",
        "model_state_dict/wte.weight = model_state_dict/head.weight",
    ):
        assert line in lines
    assert "\x1b" not in result.stdout


def test_text_says_what_was_not_saved(run, files):
    text = run("inspect", files / "weights.safetensors").stdout
    for name in ("step", "epoch", "time", "metrics", "config"):
        assert re.search(rf"^  {name} +none saved$", text, re.MULTILINE)
    assert "attribute owner: jane" in text


def test_totals_per_dtype(run, tmp_path):
    save_file(
        {"a": np.zeros(3, np.float16), "b": np.zeros(5, np.int8), "c": np.zeros(2, np.float16)},
        tmp_path / "t.safetensors",
    )
    text = run("inspect", tmp_path / "t.safetensors").stdout
    assert re.search(r"float16 +2 arrays +10 B", text)
    assert re.search(r"int8 +1 array +5 B", text)


def test_depth(run, files):
    text = run("inspect", files / "weights.safetensors", "--depth", 1).stdout
    assert "attn" not in text
    assert re.search(r"^  h +12 arrays, 252 elements +1.0 kB$", text, re.MULTILINE)
    deeper = run("inspect", files / "weights.safetensors", "--depth", 3).stdout
    assert "attn" in deeper
    assert run("inspect", files / "weights.safetensors", "--depth", 0).exit_code == 2


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("attn", {f"h/{i}/attn/{kind}" for i in range(3) for kind in ("weight", "bias")}),
        ("h/*/attn/bias", {f"h/{i}/attn/bias" for i in range(3)}),
        ("h.1.attn.*", {"h/1/attn/weight", "h/1/attn/bias"}),
        ("w*e", {"wte/weight"}),
    ],
)
def test_filter(run_json, files, pattern, names):
    found = run_json("inspect", files / "weights.safetensors", "--filter", pattern)
    assert {leaf["path"] for leaf in found["params"]["leaves"]} == names
    assert found["params"]["count"] == len(names)
    assert found["params"]["bytes"] == sum(leaf["nbytes"] for leaf in found["params"]["leaves"])


def test_a_filter_that_fits_nothing_is_an_error(run, files):
    result = run("inspect", files / "weights.safetensors", "--filter", "absent")
    assert result.exit_code == 2
    assert "no name fits 'absent'" in result.stderr
    assert "h/0/attn/bias" in result.stderr


def test_stats_find_what_is_wrong(run, run_json, files):
    result = run("inspect", files / "broken.safetensors", "--stats")
    assert result.exit_code == 1
    assert "1 NaN, 1 infinite" in result.stdout
    assert "1 of 23 arrays hold 1 NaN and 1 infinite values" in result.stdout
    rows = {row["path"]: row for row in run_json("inspect", files / "broken.safetensors", "--stats")["stats"]}
    bad = rows["params/h/0/attn/bias"]
    assert (bad["nan"], bad["infinite"]) == (1, 1)
    zero = rows["params/h/2/attn/bias"]
    assert zero["all_zero"]
    assert zero["zeros"] == 12
    weight = torch.load(files / "a.pth", weights_only=False)["model_state_dict"]["wte.weight"].double()
    row = rows["params/wte/weight"]
    assert row["norm"] == pytest.approx(weight.norm().item())
    assert (row["min"], row["max"]) == pytest.approx((weight.min().item(), weight.max().item()))


def test_stats_cover_the_optimizer_and_end_well(run, files):
    result = run("inspect", files / "a.pth", "--stats")
    assert result.exit_code == 0
    assert "optimizer_state_dict/state/(0)/exp_avg" in result.stdout
    assert "are finite" in result.stdout


# Redaction.


def test_redact_hides_values_and_keeps_structure(run, run_json, files):
    text = run("inspect", files / "a.pth", "--redact").stdout
    raw = run("inspect", files / "a.pth", "--redact", "--json").stdout
    for printed in (text, raw):
        for secret in (
            "jane",
            "digits",
            str(files),
            "a.pth",
            "0.3876",
            "0.9984",
            "4120",
            "1714739696",
            "2024",
            "0.001",
        ):
            assert secret not in printed
    assert "h.{0..2}" in text
    found, full = json.loads(raw), run_json("inspect", files / "a.pth")
    assert found["params"] == full["params"]
    assert found["config"] == {"lr": "<float>", "data": "<str>", "sizes": {"hidden": ["<int>", "<int>"]}}
    assert found["opt_state"]["kind"] == ["adamw"]


def test_redact_hides_attributes_and_odd_keys(run, tmp_path):
    metadata = {"owner": "jane", "/home/jane/x": "1"}
    save_file({"w": np.zeros(2, np.float32)}, tmp_path / "w.safetensors", metadata=metadata)
    printed = run("inspect", tmp_path / "w.safetensors", "--redact").stdout
    assert "jane" not in printed
    assert "attribute owner: <str>" in printed


def test_redact_hides_the_path_in_errors(run, tmp_path):
    result = run("inspect", tmp_path / "jane.pth", "--redact")
    assert result.exit_code == 2
    assert "jane" not in result.stderr
    assert str(tmp_path) not in result.stderr
    assert "no such file" in result.stderr


# Hostile content.


def test_names_cannot_move_the_cursor(run, tmp_path):
    names = {"a\x1b[2Jb": 1, "c\nd": 1, "\u202ereversed": 1, "n" * 5000: 1}
    save_file(
        {name: np.zeros(2, np.float32) for name in names},
        tmp_path / "n.safetensors",
        metadata={"\x07": "\x1b]0;x\x07"},
    )
    for arguments in ((), ("--stats",), ("--redact",)):
        text = run("inspect", tmp_path / "n.safetensors", *arguments).stdout
        assert all(character.isprintable() or character == "\n" for character in text)
        assert max(map(len, text.splitlines())) < 1000
    assert "a\\x1b[2Jb" in text
    assert run("inspect", tmp_path / "n.safetensors", "--json").stdout.isascii()


def test_odd_values_become_json(run, run_json, tmp_path):
    odd = {
        "big": 10**500,
        "bytes": b"abc",
        "set": {1, 2},
        "complex": 1 + 2j,
        "inf": float("-inf"),
        3: ("x", None),
        "3": "text",
        "deep": _nested(200),
    }
    torch.save({"model": {"w": torch.ones(2)}, "config": odd}, tmp_path / "odd.pth")
    found = run_json("inspect", tmp_path / "odd.pth")["config"]
    assert found["big"] == "<integer of 1661 bits>"
    assert found["bytes"] == "<3 bytes>"
    assert found["inf"] == "-Infinity"
    assert found["3"] == "text"
    assert found["(3)"] == ["x", None]
    assert run("inspect", tmp_path / "odd.pth").exit_code == 0


def _nested(depth: int) -> dict[str, object]:
    tree: dict[str, object] = {}
    for _ in range(depth):
        tree = {"a": tree}
    return tree


def test_jsonable_summarises_inert_things():
    record = Record("os.system", args=("echo",))
    assert jsonable(record) == {"type": "os.system", "fields": {}, "args": ["echo"]}
    assert jsonable(Global("os.system")) == "<name os.system>"
    assert jsonable(Alias(("a", "b"))) == "<same as a/b>"
    assert jsonable(np.float32("nan")) == "NaN"
    assert jsonable(object()) == "<object>"


def test_a_directory_of_members(run_json, files, tmp_path):
    (tmp_path / "weights.safetensors").write_bytes(Path(files / "weights.safetensors").read_bytes())
    (tmp_path / "readme.txt").write_text("hello")
    found = run_json("inspect", tmp_path)
    assert found["format"] == "directory"
    assert found["file_bytes"] == (tmp_path / "weights.safetensors").stat().st_size + 5
    assert found["params"]["count"] > 0


def test_containers_that_hold_themselves_end(run_json, tmp_path):
    state: dict[str, object] = {"w": torch.ones(2)}
    state["self"] = {"again": state, "b": torch.zeros(3)}
    torch.save(state, tmp_path / "c.pth")
    names = {leaf["path"] for leaf in run_json("inspect", tmp_path / "c.pth")["params"]["leaves"]}
    assert names == {"w", "self/b"}


def test_shared_containers_that_multiply_are_refused(run, tmp_path):
    node: object = {"w": torch.ones(2)}
    for _ in range(40):
        node = {"a": node, "b": node}
    torch.save(node, tmp_path / "d.pth")
    result = run("inspect", tmp_path / "d.pth")
    assert result.exit_code == 2
    assert "shared containers unfold without end" in result.stderr


def test_files_of_a_hubs_cache_have_the_size_of_what_they_lead_to(run_json, tmp_path):
    snapshot = tmp_path / "models--a--b" / "snapshots" / "0123"
    blobs = tmp_path / "models--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    save_file({"w": np.zeros(1000, np.float32)}, blobs / "abc")
    (blobs / "def").write_text('{"hidden_size": 8}')
    (snapshot / "model.safetensors").symlink_to("../../blobs/abc")
    (snapshot / "config.json").symlink_to("../../blobs/def")
    found = run_json("inspect", snapshot)
    assert found["params"]["count"] == 1
    assert found["file_bytes"] == sum(blob.stat().st_size for blob in blobs.iterdir())
