from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file


def test_equal(run, files, tmp_path):
    assert run("convert", files / "a.pth", tmp_path / "a.msgpack").exit_code == 0
    result = run("diff", files / "a.pth", tmp_path / "a.msgpack")
    assert result.exit_code == 0
    assert "equal: all " in result.stdout


def test_different(run, run_json, files):
    result = run("diff", files / "a.pth", files / "b.pth")
    assert result.exit_code == 1
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert any(line.startswith("different: 2 leaves differ, ") for line in lines)
    assert "value 10 -> 11 epoch" in lines
    assert "value float32[12, 4] model_state_dict/h.1.attn.weight" in lines
    found = run_json("diff", files / "a.pth", files / "b.pth")
    assert found["equal"] is False
    assert {d["path"]: (d["kind"], d["a"], d["b"]) for d in found["differences"]}["epoch"] == (
        "value",
        10,
        11,
    )


def test_how_leaves_were_paired_is_said(run, run_json, files, tmp_path):
    assert run("convert", files / "a.pth", tmp_path / "w.safetensors", "--only", "weights").exit_code == 0
    for options, by, said in (
        ((files / "a.pth", files / "b.pth"), "path", None),
        ((files / "a.pth", tmp_path / "w.safetensors"), "meaning", "compared by meaning"),
        ((files / "a.pth", tmp_path / "w.safetensors", "--weights-only"), "weights", "buffers alone"),
    ):
        text = run("diff", *options).stdout
        assert said in text if said else "compared" not in text
        assert run_json("diff", *options)["by"] == by


def test_repeated_differences_share_a_line(run, tmp_path):
    a = {f"h.{i}.w": np.zeros(2, np.float32) for i in range(12)} | {
        "b": np.zeros(3, np.int8),
        "d": np.zeros(1, np.int8),
    }
    b = {"b": np.zeros(4, np.int8), "d": np.zeros(1, np.uint8), "new": np.zeros(1, np.int8)}
    save_file(a, tmp_path / "a.safetensors")
    save_file(b, tmp_path / "b.safetensors")
    text = run("diff", tmp_path / "a.safetensors", tmp_path / "b.safetensors").stdout
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "only in a float32[2] params/h/{0..11}/w (12 leaves)" in lines
    assert "only in b int8[1] params/new" in lines
    assert "shape (3,) -> (4,) params/b" in lines or "shape [3] -> [4] params/b" in lines
    assert "dtype int8 -> uint8 params/d" in lines


def test_stats_rank_what_moved(run, run_json, files):
    result = run("diff", files / "a.pth", files / "b.pth", "--stats")
    rows = [line.split() for line in result.stdout.splitlines()]
    at = next(i for i, row in enumerate(rows) if row[:1] == ["relative"])
    assert rows[at + 1][0] == "0.5"
    assert rows[at + 1][-1] == "model_state_dict/h.1.attn.weight"
    first = run_json("diff", files / "a.pth", files / "b.pth", "--stats")["movements"][0]
    a, b = (
        torch.load(files / f"{n}.pth", weights_only=False)["model_state_dict"]["h.1.attn.weight"]
        for n in "ab"
    )
    assert first["relative"] == pytest.approx(((b - a).norm() / a.norm()).item(), rel=1e-5)
    assert first["cosine"] == pytest.approx(1)
    assert first["maximum"] == pytest.approx((b - a).abs().max().item())


def test_weights_only(run, files):
    result = run("diff", files / "a.pth", files / "weights.safetensors", "--weights-only")
    assert result.exit_code == 0


def test_not_a_number_is_text_in_json(run_json, files):
    found = run_json("diff", files / "weights.safetensors", files / "broken.safetensors", "--stats")
    assert {m["path"]: m["maximum"] for m in found["movements"]}["h.0.attn.bias"] == "NaN"


def test_plot(run, files, tmp_path):
    for name, magic in (("d.png", b"\x89PNG"), ("d.svg", b"<?xml"), ("d.pdf", b"%PDF")):
        result = run("diff", files / "a.pth", files / "b.pth", "--plot", tmp_path / name)
        assert result.exit_code == 1, result.stderr
        assert f"drawn: {tmp_path / name}" in result.stdout
        assert (tmp_path / name).read_bytes().startswith(magic)


def test_plot_of_odd_values(run, tmp_path):
    save_file({"$x^$": np.zeros(2, np.float32), "\u202e": np.ones(2, np.float32)}, tmp_path / "a.safetensors")
    save_file(
        {"$x^$": np.ones(2, np.float32), "\u202e": np.full(2, np.nan, np.float32)}, tmp_path / "b.safetensors"
    )
    result = run("diff", tmp_path / "a.safetensors", tmp_path / "b.safetensors", "--plot", tmp_path / "d.png")
    assert result.exit_code == 1, result.stderr
    same = run("diff", tmp_path / "a.safetensors", tmp_path / "a.safetensors", "--plot", tmp_path / "e.png")
    assert same.exit_code == 0, same.stderr


def test_plot_never_writes_over_a_checkpoint(run, files):
    before = (files / "b.pth").read_bytes()
    result = run("diff", files / "a.pth", files / "b.pth", "--plot", files / "b.pth")
    assert result.exit_code == 2
    assert "is no name of a picture" in result.stderr
    assert (files / "b.pth").read_bytes() == before


def test_plot_without_matplotlib_names_the_install_line(run, files, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = run("diff", files / "a.pth", files / "b.pth", "--plot", "d.png")
    assert result.exit_code == 2
    assert "pip install 'ckpt-core[plot]'" in result.stderr


def test_errors_are_told_apart_from_differences(run, files, tmp_path):
    assert run("diff", files / "a.pth", tmp_path / "absent.pth").exit_code == 2
    result = run("diff", files / "a.pth", files / "b.pth", "--format-b", "safetensors")
    assert result.exit_code == 2
    assert str(files / "b.pth") in result.stderr
    assert "leave out format= (--format-b)" in result.stderr
