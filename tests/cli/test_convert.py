from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from flax import serialization
from safetensors.torch import load_file

from ckpt_core import open_checkpoint


def test_the_receipt_says_what_happened(run, files, tmp_path):
    target = tmp_path / "a.safetensors"
    result = run("convert", files / "a.pth", target)
    assert result.exit_code == 0
    first, second, *rest = result.stdout.splitlines()
    assert first == f"{files / 'a.pth'} (torch) -> {target} (safetensors)"
    assert second.startswith("62 arrays, ")
    assert second.endswith("/s)")
    assert any(line.startswith("carried in the target's metadata") for line in rest)
    assert "  a value of type int @ epoch" in rest
    state = torch.load(files / "a.pth", weights_only=False)
    written = load_file(target)
    for name, tensor in state["model_state_dict"].items():
        assert torch.equal(written[f"model_state_dict.{name}"], tensor)


def test_json_receipt(run_json, files, tmp_path):
    found = run_json("convert", files / "weights.safetensors", tmp_path / "w.pth")
    assert (found["source_format"], found["target_format"]) == ("safetensors", "torch")
    loaded = torch.load(tmp_path / "w.pth")
    assert found["arrays"] == len(loaded)
    assert found["nbytes"] == sum(tensor.nbytes for tensor in loaded.values())
    assert found["losses"] == []


def test_long_receipts_are_shortened(run, tmp_path):
    torch.save({f"name{chr(97 + i)}": i for i in range(26)} | {"w": torch.ones(2)}, tmp_path / "n.pth")
    lines = run("convert", tmp_path / "n.pth", tmp_path / "n.safetensors").stdout.splitlines()
    assert "carried in the target's metadata, and restored from it: 26" in lines
    assert "  and 14 more (--json has all)" in lines
    assert len(lines) < 20


def test_only_parts_of_it(run, files, tmp_path):
    target = tmp_path / "p.pth"
    result = run("convert", files / "a.pth", target, "--only", "params")
    assert "left behind by request" in result.stdout
    weights = torch.load(files / "a.pth", weights_only=False)["model_state_dict"]
    loaded = torch.load(target)
    assert set(loaded) == {name for name in weights if "running" not in name and "batches" not in name}


def test_select_strip_and_cast(run, files, tmp_path):
    state = torch.load(files / "a.pth", weights_only=False)["model_state_dict"]
    torch.save({f"module.{name}": tensor for name, tensor in state.items()}, tmp_path / "m.pth")
    result = run(
        "convert", tmp_path / "m.pth", tmp_path / "s.safetensors",
        "--strip-prefix", "module", "--cast", "bf16", "--select", "h/*/attn/**", "--select", "wte.*",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    loaded = load_file(tmp_path / "s.safetensors")
    assert set(loaded) == {
        "wte.weight",
        *(f"h.{i}.attn.{kind}" for i in range(3) for kind in ("weight", "bias")),
    }
    for name, tensor in loaded.items():
        assert torch.equal(tensor, state[name].bfloat16())


def test_another_layout(run, files, tmp_path):
    result = run("convert", files / "a.pth", tmp_path / "t.msgpack", "--layout", "train_state")
    assert result.exit_code == 0, result.stderr
    assert "the layout train_state has no place for it @ epoch" in result.stdout
    restored = serialization.msgpack_restore((tmp_path / "t.msgpack").read_bytes())
    assert restored["step"] == 4120
    weights = torch.load(files / "a.pth", weights_only=False)["model_state_dict"]
    np.testing.assert_array_equal(
        restored["params"]["h"]["1"]["attn"]["weight"], weights["h.1.attn.weight"].numpy()
    )


def test_shards(run, files, tmp_path):
    target = tmp_path / "shards"
    result = run(
        "convert", files / "weights.safetensors", target, "--to", "safetensors", "--max-shard-size", "500B"
    )
    assert result.exit_code == 0, result.stderr
    index = json.loads((target / "model.safetensors.index.json").read_text())
    whole = load_file(files / "weights.safetensors")
    assert set(index["weight_map"]) == set(whole)
    assert len(set(index["weight_map"].values())) > 1
    for name, shard in index["weight_map"].items():
        assert torch.equal(load_file(target / shard)[name], whole[name])


def test_losses_are_shown_and_strict_refuses_them(run, tmp_path):
    torch.save({"w": torch.ones(2), "z": torch.ones(2, dtype=torch.complex128)}, tmp_path / "z.pth")
    lost = run("convert", tmp_path / "z.pth", tmp_path / "z.safetensors", "--strict")
    assert lost.exit_code == 2
    assert "cannot hold 1 thing" in lost.stderr
    assert "@ z" in lost.stderr
    assert not (tmp_path / "z.safetensors").exists()
    shown = run("convert", tmp_path / "z.pth", tmp_path / "z.safetensors")
    assert shown.exit_code == 0
    assert "LOST, the target cannot hold it: 1" in shown.stdout


def test_an_existing_target_needs_force(run, files, tmp_path):
    target = tmp_path / "t.pth"
    target.write_bytes(b"precious")
    refused = run("convert", files / "weights.safetensors", target)
    assert refused.exit_code == 2
    assert "exists already" in refused.stderr
    assert "--force" in refused.stderr
    assert target.read_bytes() == b"precious"
    assert run("convert", files / "weights.safetensors", target, "--force").exit_code == 0
    with open_checkpoint(target) as ckpt:
        assert ckpt.format == "torch"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("x.foo",), "the name does not tell the target format"),
        (("x.eqx",), "the format 'equinox' can only be read"),
        (("",), "an empty path names no target"),
        (("", "--to", "torch"), "an empty path names no target"),
        (("x", "--to", "foo"), "unknown format 'foo'\n  To write: msgpack, "),
        (("x", "--to", "safetensor"), "unknown format 'safetensor'\n  Did you mean safetensors? To write: "),
        (("absent/x.pth",), "there is no such directory to write into"),
        (("x.pth", "--cast", "int8"), "'int8' is no floating-point dtype"),
        (("x.pth", "--cast", ""), "cast= is empty"),
        (("x.pth", "--strip-prefix", ""), "strip_prefix= is empty"),
        (("x.pth", "--layout", ""), "layout= is empty"),
        (("x.pth", "--only", "everything"), "takes params, buffers, weights, ema"),
        (("x.pth", "--only", "ema"), "there are no ema in it"),
        (("x.pth", "--select", "absent/*"), "the pattern 'absent/*' matches nothing"),
        (("x.pth", "--strip-prefix", "module"), "no name of a weight begins with 'module'"),
        (("x.pth", "--layout", "foo"), "unknown layout 'foo'"),
        (("x.pth", "--unreplicate"), "does not look replicated"),
        (("x.pth", "--max-shard-size", "5GB"), "torch has no option max_shard_size"),
        (("x.safetensors", "--max-shard-size", "many"), "is no size"),
        (("x.pth", "--format", "torch"), "error: "),
        (("x.pth", "--step", "3"), "has no step 3"),
    ],
)
def test_bad_requests_get_a_sentence(run, files, tmp_path, monkeypatch, arguments, text):
    monkeypatch.chdir(tmp_path)
    result = run("convert", files / "weights.safetensors", *arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert text in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []
