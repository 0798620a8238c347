"""Config files beside a checkpoint and files of defaults: what is found, what is read, and what is refused."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
import yaml

from ckpt_core import convert, resolve_config
from ckpt_core.config.constants import read_constants
from ckpt_core.config.files import read_config_file
from ckpt_core.errors import CheckpointError, DamagedFileError, LimitError, UsageError


@dataclasses.dataclass
class Rate:
    lr: float = 0.0


def sources(found):
    return {name: (origin.value, origin.source, origin.where) for name, origin in found.provenance.items()}


# Beside.


@pytest.mark.parametrize(
    "name", ["config.json", "args.json", "hparams.yaml", ".hydra/config.yaml", "config.toml"]
)
def test_files_that_training_scripts_leave_are_read(tmp_path, name):
    torch.save({"w": torch.ones(3)}, tmp_path / "model.pth")
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    values = {"lr": 0.5, "model": {"width": 3}}
    writers = {".json": json.dumps, ".yaml": yaml.safe_dump}
    file.write_text(writers.get(file.suffix, lambda _: "lr = 0.5\n[model]\nwidth = 3\n")(values))
    found = resolve_config(tmp_path / "model.pth")
    assert found.config == values
    assert sources(found)["model.width"] == (3, "beside", name)


@pytest.mark.parametrize(
    "place",
    [
        "checkpoints/model.pth",
        "exp_ckpts/model.pth",
        "checkpoint-500/model.pth",
        "weights/step_100/model.pth",
    ],
)
def test_a_directory_of_checkpoints_has_its_config_above(tmp_path, place):
    path = tmp_path / place
    path.parent.mkdir(parents=True)
    torch.save({"w": torch.ones(3)}, path)
    (tmp_path / "hparams.yaml").write_text("lr: 0.5\n")
    assert resolve_config(path).config == {"lr": 0.5}


def test_any_other_directory_above_is_none_of_its_business(tmp_path):
    (tmp_path / "exp1").mkdir()
    torch.save({"w": torch.ones(3)}, tmp_path / "exp1/model.pth")
    (tmp_path / "config.json").write_text('{"lr": 0.5}')
    assert resolve_config(tmp_path / "exp1/model.pth").config == {}


def test_a_step_of_a_run_that_is_a_directory(tmp_path):
    torch.save({"w": torch.ones(3)}, tmp_path / "model.pth")
    (tmp_path / "run").mkdir()
    convert(tmp_path / "model.pth", tmp_path / "run/100", to="orbax")
    (tmp_path / "run/config.json").write_text('{"lr": 0.5}')
    (tmp_path / "config.json").write_text('{"lr": 0.6, "seed": 1}')
    found = resolve_config(tmp_path / "run/100")
    assert found.config == {"lr": 0.5}


def test_the_nearer_file_wins(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    torch.save({"w": torch.ones(3)}, tmp_path / "checkpoints/model.pth")
    (tmp_path / "checkpoints/args.json").write_text('{"lr": 1, "a": 1}')
    (tmp_path / "config.json").write_text('{"lr": 2, "b": 2}')
    found = resolve_config(tmp_path / "checkpoints/model.pth")
    assert found.config == {"lr": 1, "a": 1, "b": 2}
    assert found.provenance["lr"].overruled[0].where == "../config.json"


def test_a_file_that_cannot_be_read_is_noted_and_does_no_harm(tmp_path):
    torch.save({"w": torch.ones(3)}, tmp_path / "model.pth")
    (tmp_path / "config.json").write_text("{not json")
    (tmp_path / "hparams.yaml").write_text("lr: 0.5\n")
    found = resolve_config(tmp_path / "model.pth")
    assert found.config == {"lr": 0.5}
    (note,) = found.notes
    assert "config.json: is no JSON" in note


# What is refused.


@pytest.mark.parametrize(
    ("name", "text", "kind", "problem"),
    [
        ("a.json", "[1]", DamagedFileError, "holds no mapping"),
        ("a.json", "{", DamagedFileError, "is no JSON"),
        ("a.json", "[" * 100_000, CheckpointError, "nested too deeply|is no JSON"),
        ("a.json", '{"a": ' + "9" * 10_000 + "}", DamagedFileError, "is no JSON"),
        ("a.yaml", "a: [1", DamagedFileError, "is no YAML"),
        ("a.yaml", "[" * 5_000, CheckpointError, "nested too deeply|is no YAML"),
        ("a.yaml", "- 1", DamagedFileError, "holds no mapping"),
        ("a.yaml", "&a [*a]", LimitError, "holds itself"),
        ("a.yaml", "a: {? {b: 1} : 2}", DamagedFileError, "is no YAML"),
        ("a.toml", "a = ", DamagedFileError, "is no TOML"),
        ("a.toml", "a = " + "[" * 5_000, CheckpointError, "nested too deeply|is no TOML"),
        ("a.py", "def (", DamagedFileError, "is no Python"),
        ("a.py", "x = " + "(" * 5_000 + ")" * 5_000, DamagedFileError, "is no Python"),
        ("a.py", "x = " + "-" * 100_000 + "1", CheckpointError, "nested too deeply|is no Python"),
        ("a.py", "x = 1 " + "+ 1" * 20_000, CheckpointError, "nested too deeply|is no Python"),
        ("a.ini", "", UsageError, "is no config file"),
    ],
)
def test_damaged_and_hostile_files_are_named(tmp_path, name, text, kind, problem):
    (tmp_path / name).write_text(text)
    with pytest.raises(kind, match=rf"{name}: .*({problem})"):
        read_config_file(tmp_path / name)


def test_yaml_aliases_cannot_unfold_without_end(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    (tmp_path / "bomb.yaml").write_text("\n".join(lines))
    with pytest.raises(LimitError, match="holds more than 100000 values, its aliases unfolded"):
        read_config_file(tmp_path / "bomb.yaml")
    merges = ["m0: &m0 {x: 1, y: 2}"] + [
        f"m{i}: &m{i} {{<<: [{', '.join([f'*m{i - 1}'] * 9)}]}}" for i in range(1, 9)
    ]
    (tmp_path / "merge.yaml").write_text("\n".join(merges))
    with pytest.raises(LimitError, match="holds more than 100000 values, its aliases unfolded"):
        read_config_file(tmp_path / "merge.yaml")


def test_a_file_that_is_too_large_or_no_file_is_refused(tmp_path):
    with (tmp_path / "large.json").open("wb") as file:
        file.truncate(5 << 20)
    with pytest.raises(LimitError, match=r"large\.json: has 5242880 bytes, more than a config"):
        read_config_file(tmp_path / "large.json")
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(UsageError, match="is no regular file"):
        read_config_file(tmp_path / "folder.json")
    with pytest.raises(CheckpointError, match=r"none\.json: no such file"):
        read_config_file(tmp_path / "none.json")
    (tmp_path / "latin.json").write_bytes(b'{"a": "\xe9"}')
    with pytest.raises(DamagedFileError, match="is no UTF-8 text"):
        read_config_file(tmp_path / "latin.json")


def test_yaml_tags_are_data_and_nothing_is_made_of_them(tmp_path):
    file = tmp_path / "hparams.yaml"
    mark = tmp_path / "mark"
    file.write_text(
        "betas: !!python/tuple [0.9, 0.99]\n"
        f"evil: !!python/object/apply:os.mkdir ['{mark}']\n"
        "model: !!python/object:models.Model {width: 8}\n"
        "path: !!python/object/apply:pathlib.PosixPath [a, b]\n"
        "kind: !!python/name:torch.float32 ''\n"
        "lr: 1e-3\nbase: &base {a: 1}\nmore: {<<: *base, b: 2}\n"
    )
    assert read_config_file(file) == {
        "betas": [0.9, 0.99],
        "evil": [str(mark)],
        "model": {"width": 8},
        "path": ["a", "b"],
        "kind": "",
        "lr": "1e-3",
        "base": {"a": 1},
        "more": {"a": 1, "b": 2},
    }
    assert not mark.exists()


def test_text_that_yaml_takes_for_no_number_becomes_one_where_the_field_asks(tmp_path):
    torch.save({"w": torch.ones(3)}, tmp_path / "model.pth")
    (tmp_path / "hparams.yaml").write_text("lr: 1e-3\n")
    assert resolve_config(tmp_path / "model.pth").config == {"lr": "1e-3"}
    assert resolve_config(tmp_path / "model.pth", Rate).config == Rate(0.001)


# Python constants.


def test_constants_are_read_and_the_file_is_never_run(tmp_path):
    file, mark = tmp_path / "constants.py", tmp_path / "mark"
    file.write_text(
        f"import os\nos.mkdir({str(mark)!r})\n"
        "from dataclasses import dataclass, field\n"
        "HIDDEN_DIM = 64\nMLP: int = 4 * HIDDEN_DIM\nA, B = 1, (2, -3.5)\nX = Y = 'text'\n"
        "FLAGS = {'a': [True, None]}\nSIZE = os.cpu_count()\nHIDDEN = HIDDEN_DIM\nHIDDEN += 1\n"
        "@dataclass\nclass Config:\n    slots: int = 7\n    lr: float = field(default=1e-3)\n"
        "    dims: list = field(default_factory=list)\n    width = HIDDEN_DIM // 2\n    bare: int\n"
        "def f():\n    INNER = 3\n"
        "if True:\n    BRANCH = 1\n"
    )
    assert read_config_file(file) == {
        "HIDDEN_DIM": 64,
        "MLP": 256,
        "A": 1,
        "B": (2, -3.5),
        "X": "text",
        "Y": "text",
        "FLAGS": {"a": [True, None]},
        "HIDDEN": 65,
        "Config": {"slots": 7, "lr": 0.001, "width": 32},
    }
    assert not mark.exists()

    @dataclasses.dataclass
    class Config:
        hidden_dim: int
        slots: int

    found = resolve_config({}, Config, defaults=file)
    assert found.config == Config(64, 7)
    assert sources(found)["hidden_dim"] == (64, "default", str(file))


def test_a_name_that_is_assigned_no_constant_later_has_none():
    assert read_constants("A = 1\nA = f()\nB = 2\nB += g()\nC, D = 1, 2\nC, D = h()\n") == {}


@pytest.mark.parametrize(
    "text",
    [
        "A = 9 ** 9 ** 9",
        "A = 2 ** 100000",
        "A = 'a' * 10**12",
        "A = [0] * 10**12",
        "A = 1 / 0",
        "A = -'x'",
        "A = {**B}",
    ],
)
def test_arithmetic_without_bounds_is_no_constant(text):
    assert read_constants(text) == {}


def test_doubling_text_again_and_again_stops():
    text = "A = 'xxxxxxxxxxxxxxxx'\n" + "A += A\n" * 100
    assert len(read_constants(text).get("A", "")) <= 1 << 20
