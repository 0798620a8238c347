"""convert keeps everything: from any container to any other and back, bit for bit."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import os
import pickle
from collections import OrderedDict
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from trees import TREES, same

from ckpt_core import convert, diff, open_checkpoint, save_checkpoint
from ckpt_core.arrays import LazyArray
from ckpt_core.dtypes import ITEMSIZE
from ckpt_core.errors import (
    AmbiguousFormatError,
    DamagedFileError,
    LossError,
    UnknownFormatError,
    UnsupportedError,
    UsageError,
)
from ckpt_core.hashing import hash_weights
from ckpt_core.registry import registry
from ckpt_core.storage import MemoryStorage
from ckpt_core.tree import Global, flatten

FORMATS = sorted(backend.name for _, backend in registry().backends if backend.holds is not None)
PAIRS = list(itertools.permutations(FORMATS, 2))


class Moments(NamedTuple):
    count: np.ndarray
    mu: dict


@dataclasses.dataclass
class Settings:
    width: int
    names: tuple


def rich_tree() -> dict:
    """A training checkpoint with a value of every kind that trainers save."""
    rng = np.random.default_rng(0)
    weights = OrderedDict(
        (f"layers.{i}.{name}", rng.standard_normal(shape).astype(np.float32))
        for i in range(2)
        for name, shape in [("weight", (3, 4)), ("bias", (4,)), ("running_mean", (4,)), ("scale", ())]
    )
    weights["empty"] = np.zeros((0, 3), np.float16)
    weights["nan"] = np.array([0x7FC00001, 0xFFC12345, 0x7F800000], np.uint32).view(np.float32)
    weights["big_endian"] = np.arange(5, dtype=">i4")
    weights["strided"] = np.arange(24, dtype=np.int64).reshape(4, 6)[::2, ::-1].T
    weights["tied"] = weights["layers.0.weight"]
    return {
        "epoch": 3,
        "model_state_dict": weights,
        "optimizer": {
            "state": {0: {"step": np.float32(7), "exp_avg": rng.standard_normal(4)}, 7: {}},
            "param_groups": [{"lr": 1e-3, "betas": (0.9, 0.999), "foreach": None, "params": [0, 7]}],
        },
        "opt_state": (Moments(np.array(3, np.int32), {"w": rng.standard_normal(2)}), None, ()),
        "args": argparse.Namespace(lr=0.1, layers=(1, 2), path=None, nested={"a": [1, {"b": "ü"}]}),
        "settings": Settings(4, ("x", "y")),
        "val_loss": float("nan"),
        "best": np.float64(0.25),
        "huge": 2**70,
        "complex": 1 + 2j,
        "raw": b"\x00\xff",
        ("tuple", 1): "key",
        "": "empty key",
        "a/b": "slash",
        "empty_list": [],
    }


def file_of(folder, to: str, name: str = "ckpt"):
    path = folder / f"{name}_{to}"
    save_checkpoint(path, rich_tree(), to=to)
    return path


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_there_and_back_is_the_same(tmp_path, first, second):
    source = file_of(tmp_path, first)
    there = convert(source, tmp_path / "there", to=second)
    back = convert(tmp_path / "there", tmp_path / "back", to=first)
    assert there.losses == back.losses == ()
    with (
        open_checkpoint(source) as a,
        open_checkpoint(tmp_path / "there") as b,
        open_checkpoint(tmp_path / "back") as c,
    ):
        assert (a.format, b.format, c.format) == (first, second, first)
        assert same(a.tree, b.tree)
        assert same(a.tree, c.tree)
        label = {registry().backend(first).framework_key: registry().backend(second).framework}
        assert dict(c.stored.attributes).items() - label.items() == dict(a.stored.attributes).items()
        assert hash_weights(a) == hash_weights(b) == hash_weights(c)
    assert diff(source, tmp_path / "there").is_equal


@pytest.mark.parametrize("to", FORMATS)
@settings(max_examples=25, suppress_health_check=list(HealthCheck), deadline=None)
@given(tree=TREES)
def test_random_trees_return_from_every_format(tmp_path, to, tree):
    path = tmp_path / "x"
    try:
        fitted = save_checkpoint(path, {"tree": tree, "w": np.ones(1)}, to=to, force=True)
    except UnsupportedError as error:
        pytest.fail(str(error))
    with open_checkpoint(path) as ckpt:
        assert not ckpt.stored.notes, ckpt.stored.notes
        if not fitted.losses:
            assert same(ckpt.tree["tree"], tree)


@pytest.mark.parametrize("to", FORMATS)
@pytest.mark.parametrize("dtype", sorted(ITEMSIZE))
def test_every_dtype_is_kept_bit_for_bit_or_named(tmp_path, to, dtype):
    bits = np.random.default_rng(5).bytes(ITEMSIZE[dtype] * 6)
    if dtype == "bool" or dtype in {
        "int4",
        "uint4",
        "int2",
        "uint2",
        "float4_e2m1fn",
        "float6_e2m3fn",
        "float6_e3m2fn",
    }:
        bits = bytes([0, 1, 1, 0, 1, 0])
    tree = {
        "w": LazyArray((2, 3), dtype, MemoryStorage(bits)),
        "scalar": LazyArray((), dtype, MemoryStorage(bits)),
    }
    fitted = save_checkpoint(tmp_path / "x", tree, to=to)
    with open_checkpoint(tmp_path / "x") as ckpt:
        assert ckpt.tree["w"].dtype == dtype
        assert ckpt.tree["w"].read().tobytes() == bits
        assert ckpt.tree["scalar"].shape == ()
    backend = registry().backend(to)
    if dtype in backend.holds.dtypes:
        assert fitted.losses == ()
    else:
        assert [loss.path for loss in fitted.losses] == ["w", "scalar"]
        with pytest.raises(LossError, match=rf"(?s){to} cannot hold 2 things.*{dtype}"):
            save_checkpoint(tmp_path / "strict", tree, to=to, strict=True)
        assert os.listdir(tmp_path) == ["x"]


@pytest.mark.parametrize("to", FORMATS)
def test_keys_are_tuples_of_anything(tmp_path, to):
    """Such as the tables of a fused optimizer, keyed by (dtype, device)."""
    keys = [(torch.float32, "cuda"), (1, (torch.nn.Linear, 2.5)), ((np.int64(3), None), 1j), (1 << 3000, "a")]
    with open(tmp_path / "a.pkl", "wb") as file:
        pickle.dump({"w": np.ones(2), **{key: i for i, key in enumerate(keys)}}, file)
    receipt = convert(tmp_path / "a.pkl", tmp_path / "b", to=to)
    assert receipt.losses == ()
    convert(tmp_path / "b", tmp_path / "c", to="pickle")
    with open_checkpoint(tmp_path / "a.pkl") as first, open_checkpoint(tmp_path / "c") as last:
        assert list(first.tree)[1:] == list(last.tree)[1:]
        assert [type(part) for key in list(last.tree)[1:] for part in key] == [
            *(Global, str, int, tuple, tuple, complex, int, str)
        ]


def test_ties_survive_several_containers_that_separate_them(tmp_path):
    shared = torch.arange(6.0)
    model = {"encoder.weight": shared, "head.bias": torch.zeros(2), "decoder.weight": shared}
    torch.save({"model": model, "epoch": 1}, tmp_path / "a.pth")
    names = ["a.pth", "b.safetensors", "c.msgpack", "d_orbax", "e.safetensors"]
    for source, target in itertools.pairwise(names):
        receipt = convert(tmp_path / source, tmp_path / target)
        assert "tied to model/encoder.weight, written as a copy @ model/decoder.weight" in map(
            str, receipt.carried
        )
    for only, weights in (((), ("model",)), ("weights", ())):
        convert(tmp_path / names[-1], tmp_path / "last.pth", only=only, force=True)
        loaded = torch.load(tmp_path / "last.pth", weights_only=True)
        for key in weights:
            loaded = loaded[key]
        assert loaded["decoder.weight"].data_ptr() == loaded["encoder.weight"].data_ptr()


@pytest.mark.parametrize("to", FORMATS)
def test_tied_arrays_stay_tied(tmp_path, to):
    source = file_of(tmp_path, "torch")
    convert(source, tmp_path / "there", to=to)
    convert(tmp_path / "there", tmp_path / "back", to="torch")
    for path in (tmp_path / "there", tmp_path / "back"):
        with open_checkpoint(path) as ckpt:
            assert ("model_state_dict/layers.0.weight", "model_state_dict/tied") in ckpt.ties
    with open_checkpoint(tmp_path / "back") as ckpt:
        weights = ckpt.tree["model_state_dict"]
        assert weights["tied"].identity == weights["layers.0.weight"].identity


def test_less_can_be_asked_for_and_what_is_left_is_said(tmp_path):
    source = file_of(tmp_path, "pickle")
    receipt = convert(source, tmp_path / "a.safetensors", only="params", select="layers/**", cast="bf16")
    with open_checkpoint(tmp_path / "a.safetensors") as ckpt:
        assert {leaf.dtype for _, leaf in flatten(ckpt.tree)} == {"bfloat16"}
        assert list(ckpt.tree) == [
            f"layers.{i}.{name}" for i in range(2) for name in ("weight", "bias", "scale")
        ]
    left = {remark.path for remark in receipt.left}
    assert {"epoch", "args/lr", "model_state_dict/layers.0.running_mean"} <= left
    assert receipt.arrays == 6


def test_another_layout(tmp_path):
    source = tmp_path / "a.pth"
    save_checkpoint(source, {"model_state_dict": {"a.w": np.ones(2)}, "epoch": 4, "step": 9})
    receipt = convert(source, tmp_path / "b", to="orbax", layout="train_state")
    with open_checkpoint(tmp_path / "b") as ckpt:
        assert ckpt.layout == "train_state"
        assert ckpt.step == 9
        assert ckpt.tree["params"]["a"]["w"].shape == (2,)
    assert [remark.path for remark in receipt.left] == ["epoch"]


def test_the_target_format_comes_from_the_name_or_is_asked_for(tmp_path):
    source = file_of(tmp_path, "pickle")
    assert convert(source, tmp_path / "a.safetensors").target_format == "safetensors"
    assert convert(source, tmp_path / "a.PTH").target_format == "torch"
    with pytest.raises(UnknownFormatError, match=r"does not tell the target format\n.*orbax.*safetensors"):
        convert(source, tmp_path / "a.xyz")
    with pytest.raises(UnknownFormatError, match=r"unknown format 'keras'\n.*To write: msgpack"):
        convert(source, tmp_path / "a", to="keras")
    assert sorted(os.listdir(tmp_path)) == ["a.PTH", "a.safetensors", "ckpt_pickle"]


def test_two_writers_of_one_suffix_must_be_told_apart(tmp_path):
    source = file_of(tmp_path, "pickle")
    clashing = {
        s for _, b in registry().backends for s in b.suffixes if len(registry().for_suffix(f"x{s}")) > 1
    }
    for suffix in clashing:
        with pytest.raises(AmbiguousFormatError, match="both write such names"):
            convert(source, tmp_path / f"a{suffix}")
    assert ".pth" not in clashing
    assert ".safetensors" not in clashing


def test_a_damaged_source_leaves_no_target(tmp_path):
    save_checkpoint(tmp_path / "a.pth", {"w": np.zeros(1000, np.float32), "v": np.ones(7)})
    data = bytearray((tmp_path / "a.pth").read_bytes())
    at = bytes(data).index(bytes(2000))
    data[at + 1000] ^= 1
    (tmp_path / "a.pth").write_bytes(data)
    for target in ("b.safetensors", "b.pkl", "b.msgpack"):
        with pytest.raises(DamagedFileError, match="checksum mismatch"):
            convert(tmp_path / "a.pth", tmp_path / target)
    assert os.listdir(tmp_path) == ["a.pth"]
    convert(tmp_path / "a.pth", tmp_path / "b.safetensors", verify=False)


def test_a_target_within_its_source_or_around_it_is_refused(tmp_path):
    source = tmp_path / "run" / "a_orbax"
    source.parent.mkdir()
    save_checkpoint(source, {"w": np.ones(2)})
    before = sorted(tmp_path.rglob("*"))
    (tmp_path / "link").symlink_to(source)
    for target in (source / "b.pth", tmp_path / "link" / "b.pth", source.parent):
        for force in (False, True):
            with pytest.raises(UsageError, match="lies inside of the source, or around it"):
                convert(source, target, to="torch", force=force)
    (tmp_path / "link").unlink()
    assert sorted(tmp_path.rglob("*")) == before


def test_contradicting_requests_are_refused(tmp_path):
    source = file_of(tmp_path, "pickle")
    with pytest.raises(UsageError, match="exclude each other"):
        convert(source, tmp_path / "x", to="torch", only="params", layout="train_state")


def test_progress_reaches_the_end(tmp_path):
    source = file_of(tmp_path, "pickle")
    seen: list[tuple[int, int]] = []
    receipt = convert(
        source, tmp_path / "x", to="torch", progress=lambda done, total: seen.append((done, total))
    )
    assert seen[-1][0] == seen[-1][1] == receipt.nbytes
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_open_checkpoints_can_be_converted_and_stay_open(tmp_path):
    with open_checkpoint(file_of(tmp_path, "pickle")) as ckpt:
        convert(ckpt, tmp_path / "x", to="safetensors")
        assert ckpt.params["layers/0/weight"].read().shape == (3, 4)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("dtype", ["fp16", "float8_e4m3fn"])
def test_numbers_beyond_the_dtype_of_a_cast_are_named(tmp_path, format, dtype):
    source, target = tmp_path / "a.pkl", tmp_path / "out"
    within = np.array([1.5, np.inf, np.nan, -0.0], np.float32)
    save_checkpoint(source, {"within": within, "beyond": np.array([1.0, -1e6], np.float32)})
    with pytest.raises(LossError, match=r"numbers beyond float\w+, written as infinity or NaN @ beyond"):
        convert(source, target, to=format, cast=dtype, strict=True)
    assert os.listdir(tmp_path) == ["a.pkl"]
    receipt = convert(source, target, to=format, cast=dtype)
    assert [remark.path for remark in receipt.losses] == ["beyond"]
    assert convert(source, tmp_path / "wide", to=format, cast="fp64", strict=True).losses == ()


@pytest.mark.parametrize("dtype", ["float4_e2m1fn", "float6_e2m3fn", "float6_e3m2fn"])
def test_numbers_beyond_a_dtype_without_infinity_are_named(tmp_path, dtype):
    trees = {"within": [1.5, -6.0, 0.0], "beyond": [1.0, -1e6], "infinite": [1.0, np.inf], "nan": [np.nan]}
    arrays = {name: np.array(values, np.float32) for name, values in trees.items()}
    save_checkpoint(tmp_path / "a.pkl", arrays)
    receipt = convert(tmp_path / "a.pkl", tmp_path / "b.pkl", cast=dtype)
    assert [str(remark) for remark in receipt.losses] == [
        f"numbers beyond {dtype}, written as its nearest @ {name}" for name in ("beyond", "infinite", "nan")
    ]


def test_a_layout_that_is_only_read_names_those_that_are_written(tmp_path):
    save_checkpoint(tmp_path / "a.pth", {"model": {"w": np.ones(2)}})
    with pytest.raises(UsageError, match=r"the layout lightning is only read\n  To write: .*training_dict"):
        convert(tmp_path / "a.pth", tmp_path / "b.pth", layout="lightning")
