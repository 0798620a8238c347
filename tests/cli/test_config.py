from __future__ import annotations

import argparse
import json
import shlex

import pytest
import torch
import yaml

from ckpt_core import open_checkpoint

RULES = """\
[shapes]
slots_mu = "num_slots slot_dim"
"norm/scale" = "patch_size**2 * sample_size * channels"
"h/*" = "count n_layer"

[not_inferable]
num_heads = "heads only split the width"
"""
EQUATION = "72 = 2**2 * sample_size * 3 gives sample_size = 6; config says 5"


@pytest.fixture
def run_folder(tmp_path, monkeypatch):
    torch.manual_seed(0)
    state = {"slots_mu": torch.randn(32, 64), "norm.scale": torch.randn(72)}
    state |= {f"h.{i}.w": torch.randn(64, 64) for i in range(3)}
    torch.save(state, tmp_path / "slot_attention_32.pth")
    args = argparse.Namespace(
        patch_size=2, channels=3, sample_size=5, lr=1e-3, flag=True, none=None, dims=(1, 2)
    )
    torch.save({"model_state_dict": state, "args": args}, tmp_path / "train.pth")
    (tmp_path / "rules.toml").write_text(RULES)
    (tmp_path / "constants.py").write_text(
        "NUM_SLOTS = 7\nPATCH_SIZE = 2\nCHANNELS = 3\nSAMPLE_SIZE = 5\nSEED = 0\n"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_each_field_is_shown_with_its_source(run, run_folder):
    found = run("config", "slot_attention_32.pth", "--rules", "rules.toml", "--set", "channels=3")
    assert found.exit_code == 0
    assert found.stdout.splitlines() == [
        "  num_slots  32  inferred  32 = num_slots (slots_mu, axis 0)",
        "  slot_dim   64  inferred  64 = slot_dim (slots_mu, axis 1)",
        "  channels   3   override  overrides",
        "  n_layer    3   inferred  3 = n_layer (3 entries h/*)",
        "undecided: 72 = patch_size**2 * sample_size * 3 has 2 solutions",
        "  patch_size = 1, sample_size = 24",
        "  patch_size = 2, sample_size = 6",
        "not inferable from shapes",
        "  num_heads  heads only split the width",
        "hint: 32 in the file's name fits num_slots",
    ]


def test_without_rules_the_structure_is_shown(run, run_folder):
    found = run("config", "slot_attention_32.pth")
    assert found.exit_code == 0
    assert found.stdout.splitlines() == [
        "no config is saved, and no shape rule says anything about one",
        "hint: 32 in the file's name fits slots_mu, axis 0",
        "without rules, the names and shapes say",
        "  blocks  h/*  3",
        "  size    64   an axis of 4 arrays",
    ]


def test_a_contradiction_is_shown_with_both_sides_and_exits_with_1(run, run_folder):
    found = run("config", "train.pth", "--rules", "rules.toml")
    assert found.exit_code == 1
    assert f"contradictions\n  {EQUATION} (saved) @ norm/scale\n" in found.stdout
    assert "sample_size  5       saved  args/sample_size; not 6 (inferred)" in found.stdout
    assert found.stderr == "  --set sample_size=6 agrees, and so does --correct\n"
    assert run("config", "train.pth", "--rules", "rules.toml", "--set", "sample_size=6").exit_code == 0


def test_defaults_from_a_file_of_constants(run_json, run_folder):
    found = run_json("config", "slot_attention_32.pth", "--rules", "rules.toml", "--defaults", "constants.py")
    assert found["config"] == {
        "num_slots": 32,
        "slot_dim": 64,
        "patch_size": 2,
        "sample_size": 5,
        "channels": 3,
        "n_layer": 3,
        "SEED": 0,
    }
    assert found["provenance"]["num_slots"] == {
        "value": 32,
        "source": "inferred",
        "where": "32 = num_slots (slots_mu, axis 0)",
        "overruled": [{"value": 7, "source": "default", "where": "constants.py"}],
    }
    (conflict,) = found["conflicts"]
    assert conflict == {
        "text": f"{EQUATION} (default)",
        "equation": "72 = 2**2 * sample_size * 3",
        "where": "norm/scale",
        "field": "sample_size",
        "given": {"value": 5, "source": "default", "where": "constants.py"},
        "correct": 6,
    }
    assert found["written"] is None


def test_json_has_everything(run_json, run_folder):
    found = run_json("config", "slot_attention_32.pth", "--rules", "rules.toml")
    assert found["undecided"][0]["equations"] == ["72 = patch_size**2 * sample_size * channels"]
    assert len(found["undecided"][0]["solutions"]) == 24
    assert found["undecided"][0]["complete"] is True
    assert found["not_inferable"] == {"num_heads": "heads only split the width"}
    assert found["hints"] == [{"number": 32, "fits": ["num_slots"]}]
    assert found["structure"]["blocks"] == [{"pattern": "h/*", "count": 3, "alike": True}]
    assert found["rules"] == ["rules.toml"]


def test_the_config_alone_in_other_forms(run, run_folder):
    options = ("config", "train.pth", "--rules", "rules.toml", "--correct", "--format")
    printed = run(*options, "json")
    assert printed.exit_code == 0
    assert printed.stderr == f"corrected: {EQUATION} (saved)\n"
    expected = {
        "patch_size": 2,
        "channels": 3,
        "sample_size": 6,
        "lr": 0.001,
        "flag": True,
        "none": None,
        "dims": [1, 2],
        "num_slots": 32,
        "slot_dim": 64,
        "n_layer": 3,
    }
    assert json.loads(printed.stdout) == expected
    tomllib = pytest.importorskip("tomllib")
    text = run(*options, "toml").stdout
    assert tomllib.loads(text) == {name: value for name, value in expected.items() if value is not None}
    assert "sample_size = 6 # inferred: 72 = 2**2 * sample_size * 3 (norm/scale)" in text
    parser = argparse.ArgumentParser()
    for name in ("patch_size", "channels", "sample_size", "num_slots", "slot_dim", "n_layer"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--lr", type=float)
    parser.add_argument("--flag", action="store_true")
    parser.add_argument("--dims", type=int, nargs="*")
    parser.add_argument("--none")
    assert vars(parser.parse_args(shlex.split(run(*options, "args").stdout))) == expected


def test_a_nested_config_as_toml(run, run_folder):
    config = {"optim": {"lr": 0.1, "schedule": {"warmup": 3}}, "seed": 1, "names": {"a": {"b": [1, 2]}}}
    (run_folder / "config.yaml").write_text(yaml.safe_dump(config))
    tomllib = pytest.importorskip("tomllib")
    text = run("config", "slot_attention_32.pth", "--format", "toml").stdout
    assert tomllib.loads(text) == config


def test_values_of_set(run_json, run_folder):
    settings = ["a=3", "b=0.5", "c=true", "d=(1, 2)", "e=text with = signs", "f=None", "g='3'", "h.i=1e-3"]
    options = [word for text in settings for word in ("--set", text)]
    found = run_json("config", "slot_attention_32.pth", *options)
    expected = {"a": 3, "b": 0.5, "c": True, "d": [1, 2], "e": "text with = signs", "f": None, "g": "3"}
    assert found["config"] == {**expected, "h": {"i": 0.001}}


@pytest.mark.parametrize("text", ["a", "=3", " = 3"])
def test_a_setting_without_a_name_or_a_value(run, run_folder, text):
    found = run("config", "train.pth", "--set", text)
    assert found.exit_code == 2
    assert f"--set takes NAME=VALUE, not {text!r}" in found.stderr


def test_a_copy_with_the_config(run, run_folder):
    options = ("--rules", "rules.toml", "--set", "patch_size=2", "--set", "channels=3", "--write", "new.pth")
    found = run("config", "slot_attention_32.pth", *options)
    assert found.exit_code == 0
    assert found.stdout.endswith("written to new.pth\n")
    with open_checkpoint("new.pth") as ckpt:
        assert ckpt.config == {
            "num_slots": 32,
            "slot_dim": 64,
            "patch_size": 2,
            "sample_size": 6,
            "channels": 3,
            "n_layer": 3,
        }
    assert run("diff", "slot_attention_32.pth", "new.pth").exit_code == 0
    again = run("config", "new.pth")
    assert "saved  metadata, written as inferred: 32 = num_slots (slots_mu, axis 0)" in again.stdout
    assert "num_slots" in run("inspect", "new.pth").stdout
    refused = run("config", "slot_attention_32.pth", *options)
    assert refused.exit_code == 2
    assert "exists" in refused.stderr
    assert run("config", "slot_attention_32.pth", *options, "--force").exit_code == 0


def test_a_contradiction_writes_nothing(run, run_json, run_folder):
    options = ("config", "train.pth", "--rules", "rules.toml", "--write", "new.pth")
    found = run(*options)
    assert found.exit_code == 1
    assert "new.pth was not written" in found.stderr
    assert not (run_folder / "new.pth").exists()
    assert run_json(*options, "--correct")["written"] == "new.pth"
    with open_checkpoint("new.pth") as ckpt:
        assert ckpt.config["sample_size"] == 6


def test_wrong_rules_and_files(run, run_folder):
    for options, problem in (
        (("--rules", "none.toml"), "none.toml: no such file"),
        (("--rules", "nothing"), "there are no shape rules 'nothing'"),
        (("--defaults", "rules.txt"), "is no config file"),
        (("--defaults", "none.json"), "none.json: no such file"),
    ):
        found = run("config", "train.pth", *options)
        assert found.exit_code == 2
        assert problem in found.stderr


def test_what_a_file_says_cannot_move_the_cursor(run, tmp_path):
    torch.save(
        {"model_state_dict": {"w": torch.ones(2)}, "args": {"a\x1b[2J": "b\x1b[2J"}}, tmp_path / "a.pth"
    )
    for options in ((), ("--format", "toml"), ("--format", "json"), ("--format", "args")):
        found = run("config", tmp_path / "a.pth", *options)
        assert found.exit_code == 0
        assert "\x1b" not in found.stdout
