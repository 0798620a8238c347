from __future__ import annotations

import re

import torch
from flax import serialization


def test_equal_weights_have_equal_digests_in_any_container(run, run_json, files, tmp_path):
    for name, options in (("p.pth", ("--only", "weights")), ("o", ("--to", "orbax")), ("a.msgpack", ())):
        assert run("convert", files / "a.pth", tmp_path / name, *options).exit_code == 0
    paths = [files / "a.pth", files / "weights.safetensors", files / "weights.msgpack"]
    paths += [tmp_path / "p.pth", tmp_path / "o", tmp_path / "a.msgpack"]
    digests = {path: run_json("hash", path)["sha256"] for path in paths}
    assert len(set(digests.values())) == 1
    assert run_json("hash", files / "b.pth")["sha256"] not in digests.values()
    line = run("hash", files / "a.pth").stdout
    assert re.fullmatch(rf"[0-9a-f]{{64}}  {re.escape(str(files / 'a.pth'))}\n", line)


def test_each(run, run_json, files):
    found = run_json("hash", files / "weights.safetensors", "--each")
    lines = run("hash", files / "weights.safetensors", "--each").stdout.splitlines()
    assert len(lines) == found["count"] + 1
    assert lines[0] == f"{found['leaves'][0]['sha256']}  {found['leaves'][0]['path']}"
    assert [leaf["path"] for leaf in found["leaves"]] == sorted(leaf["path"] for leaf in found["leaves"])


def test_one_bit_counts(run_json, tmp_path):
    tensor = torch.ones(3)
    torch.save({"w": tensor}, tmp_path / "a.pth")
    tensor.view(torch.int32)[1] ^= 1
    torch.save({"w": tensor}, tmp_path / "b.pth")
    assert run_json("hash", tmp_path / "a.pth")["sha256"] != run_json("hash", tmp_path / "b.pth")["sha256"]


def test_names_that_are_both_parameter_and_buffer(run_json, tmp_path):
    state = {"params": {"bn": torch.ones(2).numpy()}, "batch_stats": {"bn": torch.zeros(2).numpy()}}
    (tmp_path / "v.msgpack").write_bytes(serialization.to_bytes(state))
    assert run_json("hash", tmp_path / "v.msgpack")["count"] == 2


def test_no_weights_is_said(run, tmp_path):
    torch.save({"epoch": 3}, tmp_path / "e.pth")
    result = run("hash", tmp_path / "e.pth")
    assert result.exit_code == 0
    assert "there are no weights in it" in result.stderr
