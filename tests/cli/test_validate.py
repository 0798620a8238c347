from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from ckpt_core.template import read_template, template_of


@pytest.fixture
def template(run, files, tmp_path):
    path = tmp_path / "template.json"
    result = run("inspect", files / "a.pth", "--template", path)
    assert result.exit_code == 0
    assert "23 arrays of" in result.stdout
    return path


def test_the_template_is_what_the_checkpoint_has(files, template, run):
    assert read_template(template).slots == template_of(files / "a.pth").slots
    printed = run("inspect", files / "a.pth", "--template", "-").stdout
    assert json.loads(printed) == json.loads(template.read_text())


def test_a_template_replaces_a_template_and_nothing_else(run, files, template, tmp_path):
    assert run("inspect", files / "b.pth", "--template", template).exit_code == 0
    precious = tmp_path / "precious.pth"
    precious.write_bytes(b"weeks of compute")
    result = run("inspect", files / "b.pth", "--template", precious)
    assert result.exit_code == 2
    assert "exists, and is no template" in result.stderr
    assert precious.read_bytes() == b"weeks of compute"


@pytest.mark.parametrize("name", ["a.pth", "b.pth", "weights.safetensors", "weights.msgpack"])
def test_what_fits_exits_with_0(run, run_json, files, template, name):
    result = run("validate", files / name, "--like", template)
    assert result.exit_code == 0, result.stdout
    assert result.stdout.endswith("23 arrays agree\n")
    assert run_json("validate", files / name, "--like", files / "a.pth")["ok"] is True


def test_what_does_not_fit_exits_with_1_and_says_why(run, run_json, template, tmp_path):
    arrays = {
        slot.name.replace("/", "."): np.zeros(slot.spec.shape, slot.spec.dtype)
        for slot in read_template(template).slots
    }
    for i in range(3):
        arrays[f"h.{i}.attn.weight"] = np.zeros((16, 4), np.float32)
    arrays["extra"] = np.zeros(2, np.float32)
    save_file(arrays, tmp_path / "other.safetensors")
    result = run("validate", tmp_path / "other.safetensors", "--like", template)
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert "does not fit" in lines[0]
    assert (
        "  shape: float32[16, 4] in the checkpoint, float32[12, 4] in the model @ h/{0..2}/attn/weight (3 leaves)"
        in lines
    )
    assert "  unexpected: float32[2] in the checkpoint, nothing in the model @ extra" in lines
    found = run_json("validate", tmp_path / "other.safetensors", "--like", template)
    assert found["ok"] is False
    assert len(found["problems"]) == 4
    allowed = run(
        "validate", tmp_path / "other.safetensors", "--like", template,
        "--partial", "extra", "--partial", "h/*/attn/weight",
    )  # fmt: skip
    assert allowed.exit_code == 0


def test_prefixes_dtypes_and_rules(run, files, template, tmp_path):
    state = torch.load(files / "a.pth", weights_only=False)["model_state_dict"]
    torch.save({f"module.{name}": tensor for name, tensor in state.items()}, tmp_path / "p.pth")
    result = run("validate", tmp_path / "p.pth", "--like", template)
    assert result.exit_code == 1
    assert "names in the checkpoint begin with 'module'; without it everything fits" in result.stdout
    assert run("validate", tmp_path / "p.pth", "--like", template, "--strip-prefix", "module").exit_code == 0
    torch.save(
        {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()},
        tmp_path / "h.pth",
    )
    assert run("validate", tmp_path / "h.pth", "--like", template).exit_code == 1
    assert run("validate", tmp_path / "h.pth", "--like", template, "--dtypes", "widen").exit_code == 0
    rules = tmp_path / "rules.toml"
    rules.write_text('[shapes]\n"wte/weight" = "vocabulary width"\n')
    state["wte.weight"] = torch.zeros(20, 4)
    torch.save(state, tmp_path / "w.pth")
    result = run("validate", tmp_path / "w.pth", "--like", template, "--rules", rules)
    assert (
        "likely cause: vocabulary = 20 in the checkpoint, 10 in the model (20 = vocabulary)" in result.stdout
    )


def test_errors_exit_with_2(run, files, tmp_path):
    assert run("validate", files / "a.pth", "--like", tmp_path / "none.json").exit_code == 2
    (tmp_path / "no.json").write_text("{}")
    result = run("validate", files / "a.pth", "--like", tmp_path / "no.json")
    assert result.exit_code == 2
    assert "is JSON, and no template" in result.stderr


def test_no_framework_is_imported(process, files, template):
    code = (
        "import sys; from ckpt_core import validate; "
        f"assert validate({str(files / 'a.pth')!r}, {str(template)!r}).ok; "
        "assert not {'torch', 'jax', 'flax'} & set(sys.modules)"
    )
    import subprocess
    import sys

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
