"""Drift, mismatches, structure, and a config written into a copy."""

from __future__ import annotations

import argparse
import dataclasses
import datetime as dt
import math
from pathlib import Path, PurePosixPath

import numpy as np
import orbax.checkpoint as ocp
import pytest
import safetensors.torch
import torch

from ckpt_core import ShapeRules, config_drift, convert, diff, open_checkpoint, resolve_config
from ckpt_core.config import Cause, explain_counts, explain_mismatch, structure_of, write_config
from ckpt_core.errors import TargetError
from ckpt_core.schema.config_attribute import ATTRIBUTE, config_attribute, written_config

RULES = ShapeRules(
    {"slots_mu": "num_slots slot_dim", "scale": "patch**2 * samples * channels", "h/*": "count depth"}
)

# Drift.

SAVED = {
    "lr": 0.1,
    "betas": [0.9, 0.99],
    "width": 8,
    "depth": 2,
    "log_dir": "a",
    "nan": math.nan,
    "old": 1,
    "flag": True,
    "optim": {"eps": 1e-8, "warmup_steps": 10},
}


def test_paths_and_moments_are_shown_as_their_text():
    saved = {
        "out": PurePosixPath("."),
        "logs": [Path("a")],
        "day": dt.date(2026, 1, 2),
        "blank": " ",
        "none": "",
    }
    lines = [line.split() for line in str(resolve_config({}, overrides=saved)).splitlines()]
    shown = {line[0]: " ".join(line[1 : line.index("override")]) for line in lines if "override" in line}
    assert shown == {"out": ".", "logs": "['a']", "day": "'2026-01-02'", "blank": "' '", "none": "''"}
    assert str(config_drift(saved, {**saved, "out": Path("runs")})) == (
        "bookkeeping\n  out: saved '.', now 'runs'"
    )


def test_what_changed_is_grouped_by_consequence():
    current = {
        "lr": 0.2,
        "betas": (0.9, 0.99),
        "width": 16,
        "depth": 2.0,
        "log_dir": "b",
        "nan": math.nan,
        "flag": 1,
        "optim": {"eps": 1e-8, "warmup_steps": 20},
        "zeal": 3,
    }
    drift = config_drift(SAVED, current)
    assert str(drift) == (
        "changes shapes\n  width: saved 8, now 16\n"
        "changes optimisation\n  lr: saved 0.1, now 0.2\n  optim.warmup_steps: saved 10, now 20\n"
        "bookkeeping\n  log_dir: saved 'a', now 'b'\n"
        "consequence unknown\n  flag: saved True, now 1\n  zeal: 3, not saved\n  old: saved 1, not there now"
    )
    assert [change.name for change in drift.of("shapes")] == ["width"]
    assert drift


def test_a_field_that_is_a_dict_is_compared_as_one():
    @dataclasses.dataclass
    class Data:
        sizes: dict[str, dict[str, int]]
        lr: float = 0.1

    saved = {"lr": 0.1, "sizes": {"train": {"n": 3}, "val": {"n": 1}}}
    assert not config_drift(saved, Data({"train": {"n": 3}, "val": {"n": 1}}))
    (change,) = config_drift(saved, Data({"train": {"n": 4}})).changes
    assert (change.name, change.kind, change.current) == ("sizes", "changed", {"train": {"n": 4}})


def test_no_drift_is_false():
    drift = config_drift(SAVED, {**SAVED, "betas": (0.9, 0.99)})
    assert not drift
    assert str(drift) == "the saved hyperparameters and those of now agree"


def test_what_a_rule_names_changes_shapes(tmp_path):
    state = {"model_state_dict": {"slots_mu": torch.ones(3, 4)}, "args": argparse.Namespace(beta=3, LR=1)}
    torch.save(state, tmp_path / "a.pth")
    rules = {"slots_mu": "beta _"}
    current = argparse.Namespace(beta=4, lr=2)
    for ckpt in (tmp_path / "a.pth", open_checkpoint(tmp_path / "a.pth")):
        drift = config_drift(ckpt, current, rules=rules)
        assert [(c.name, c.kind, c.saved, c.current, c.consequence) for c in drift.changes] == [
            ("beta", "changed", 3, 4, "shapes"),
            ("lr", "changed", 1, 2, "optimisation"),
        ]
    assert config_drift(tmp_path / "a.pth", current).changes[0].consequence == "optimisation"


@dataclasses.dataclass
class Current:
    lr: float = 0.1
    width: int = 8
    new: int = 1


def test_current_values_of_a_dataclass_are_given_ones_and_defaults():
    drift = config_drift({"lr": 0.1, "width": 8}, Current(width=9))
    assert [(c.name, c.kind) for c in drift.changes] == [("width", "changed"), ("new", "added")]


# Mismatches.


def test_the_field_behind_a_mismatch():
    (cause,) = explain_mismatch("slots_mu", (7, 64), (32, 64), RULES)
    assert cause == Cause("num_slots", (32,), (7,), "32 = num_slots")
    assert cause.value == 32
    known = {"patch": 2, "samples": 5, "channels": 3}
    assert explain_mismatch("scale", (60,), (72,), [RULES], known) == (
        Cause("samples", (6,), (5,), "72 = 2**2 * samples * 3"),
    )


def test_a_mismatch_that_several_fields_could_explain():
    causes = explain_mismatch("scale", (60,), (72,), RULES)
    assert {cause.field for cause in causes} == {"samples", "channels"}
    assert all(cause.value is None and 6 in cause.values and 5 in cause.instead for cause in causes)


def test_a_mismatch_of_which_no_rule_says_anything():
    assert explain_mismatch("other", (7,), (8,), RULES) == ()
    assert explain_mismatch("slots_mu", (7,), (8,), RULES) == ()
    assert explain_mismatch("slots_mu", (7, 64), (7, 64), RULES) == ()


def test_more_or_fewer_blocks():
    ours = [(f"h/{i}/w", (4,)) for i in range(5)]
    assert explain_counts(ours[:3], ours, RULES) == (Cause("depth", (5,), (3,), "5 = depth"),)
    assert explain_counts(ours, ours, RULES) == ()


# Structure.


def test_repeated_blocks_depth_embedding_and_hidden_sizes_without_rules():
    leaves = [
        ("wte/weight", (5000, 64)),
        ("pos_embedding", (1, 10, 64)),
        ("head/weight", (10, 64)),
        ("head/bias", (10,)),
    ]
    for i in range(12):
        leaves += [
            (f"h/{i}/attn/weight", (192, 64)),
            (f"h/{i}/mlp/weight", (256, 64)),
            (f"h/{i}/experts/0/w", (64, 3)),
            (f"h/{i}/experts/1/w", (64, 3)),
        ]
    found = structure_of(leaves)
    assert [(b.pattern, b.count, b.are_alike) for b in found.blocks] == [
        ("h/*", 12, True),
        ("h/*/experts/*", 2, True),
    ]
    assert found.depth == 12
    assert found.hidden_size == 64
    assert [(e.name, e.entries, e.width) for e in found.embeddings] == [("wte/weight", 5000, 64)]


@pytest.mark.parametrize(
    ("leaves", "blocks"),
    [
        (
            [("conv_layers/0/w", (8, 3)), ("conv_layers/2/w", (8, 8)), ("conv_layers/4/w", (8, 8))],
            [("conv_layers/*", 3, False)],
        ),
        (
            [("Dense_0/kernel", (8, 8)), ("Dense_1/kernel", (8, 8)), ("Conv_0/kernel", (3, 3))],
            [("Dense_*", 2, True)],
        ),
        ([("a", (3,)), ("b0", (3,)), ("b1", (3,))], []),
    ],
)
def test_blocks_are_siblings_that_differ_in_a_number(leaves, blocks):
    assert [(b.pattern, b.count, b.are_alike) for b in structure_of(leaves).blocks] == blocks


def test_nothing_at_all():
    found = structure_of([])
    assert (found.depth, found.hidden_size, found.blocks, found.embeddings) == (None, None, (), ())


def test_a_real_transformer_is_described_without_rules(tmp_path):
    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(32, 4, 128)
    model = torch.nn.ModuleDict(
        {
            "embed": torch.nn.Embedding(100, 32),
            "encoder": torch.nn.TransformerEncoder(layer, 3, enable_nested_tensor=False),
        }
    )
    torch.save(model.state_dict(), tmp_path / "a.pth")
    found = resolve_config(tmp_path / "a.pth").structure
    assert [(b.pattern, b.count) for b in found.blocks if b.pattern.endswith("layers/*")] == [
        ("encoder/layers/*", 3)
    ]
    assert found.hidden_size == 32
    assert [(e.name, e.entries, e.width) for e in found.embeddings] == [("embed/weight", 100, 32)]


# Written.


@pytest.fixture
def old(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "old.pth"
    state = {"slots_mu": torch.randn(7, 4), "tied": torch.randn(3)}
    state["other"] = state["tied"]
    torch.save(state, path)
    return path


def resolved(path):
    return resolve_config(
        path, rules={"slots_mu": "num_slots slot_dim"}, overrides={"optim.betas": (0.9, 0.99)}
    )


@pytest.mark.parametrize("name", ["new.pth", "new.safetensors", "new_orbax", "new.msgpack", "new.pkl"])
def test_a_copy_carries_the_config_with_its_provenance(tmp_path, old, name):
    receipt = write_config(old, tmp_path / name, resolved(old))
    assert not receipt.losses
    assert diff(old, tmp_path / name).is_equal
    with open_checkpoint(tmp_path / name) as ckpt:
        assert ckpt.config == {"num_slots": 7, "slot_dim": 4, "optim": {"betas": (0.9, 0.99)}}
    again = resolve_config(tmp_path / name)
    assert again.config == {"num_slots": 7, "slot_dim": 4, "optim": {"betas": (0.9, 0.99)}}
    assert again.provenance["num_slots"].source == "saved"
    assert (
        again.provenance["num_slots"].where
        == "metadata, written as inferred: 7 = num_slots (slots_mu, axis 0)"
    )
    assert again.provenance["optim.betas"].where == "metadata, written as override: overrides"
    convert(tmp_path / name, tmp_path / "last.safetensors")
    with open_checkpoint(tmp_path / "last.safetensors") as ckpt:
        assert ckpt.config["num_slots"] == 7


def test_the_official_loaders_read_the_copy_as_they_read_the_old_one(tmp_path, old):
    expected = torch.load(old)
    write_config(old, tmp_path / "new.pth", resolved(old))
    loaded = torch.load(tmp_path / "new.pth")
    assert list(loaded) == list(expected)
    assert all(torch.equal(loaded[name], expected[name]) for name in expected)
    assert loaded["tied"].data_ptr() == loaded["other"].data_ptr()
    write_config(old, tmp_path / "new.safetensors", resolved(old))
    assert set(safetensors.torch.load_file(tmp_path / "new.safetensors")) == set(expected)
    write_config(old, tmp_path / "new_orbax", resolved(old), to="orbax")
    tree = ocp.PyTreeCheckpointer().restore(tmp_path / "new_orbax")
    assert np.array_equal(tree["slots_mu"], expected["slots_mu"].numpy())


def test_a_copy_without_a_known_suffix_keeps_the_format(tmp_path, old):
    convert(old, tmp_path / "dir_orbax")
    assert write_config(tmp_path / "dir_orbax", tmp_path / "plain", resolved(old)).target_format == "orbax"


def test_an_existing_target_is_left_alone(tmp_path, old):
    (tmp_path / "new.pth").write_bytes(b"mine")
    with pytest.raises(TargetError, match=r"new\.pth"):
        write_config(old, tmp_path / "new.pth", resolved(old))
    assert (tmp_path / "new.pth").read_bytes() == b"mine"


def test_a_config_of_objects_is_written_as_plain_data(tmp_path, old):
    @dataclasses.dataclass
    class Config:
        num_slots: int = 1
        dtype: object = torch.float32
        betas: tuple[float, ...] = (0.5,)

    found = resolve_config(old, Config, rules={"slots_mu": "num_slots _"})
    write_config(old, tmp_path / "new.pth", found)
    with open_checkpoint(tmp_path / "new.pth") as ckpt:
        assert ckpt.config == {"num_slots": 7, "dtype": "torch.float32", "betas": (0.5,)}


@pytest.mark.parametrize(
    "text",
    [3, "", "{", "[]", '{"version": 2, "values": {}, "sources": {}}', '{"version": 1, "values": 3, "sources": {}}',
     '{"version": 1, "values": {"a": {"$array": {}}}, "sources": {}}', '{"version": 1, "values": {}}', "[" * 100_000],
)  # fmt: skip
def test_a_text_that_is_no_config_is_none(text):
    assert written_config({ATTRIBUTE: text}) is None


def test_values_come_back_exactly():
    values = {"a": (1, [2.5, None]), "big": 1 << 200, 3: "key", "nan": math.inf}
    assert written_config({ATTRIBUTE: config_attribute(values, {"a": "saved"})}) == (values, {"a": "saved"})


def test_numbers_within_names_and_layers_of_one_module_are_blocks():
    lstm = torch.nn.LSTM(16, 32, num_layers=3, bidirectional=True)
    leaves = [(f"lstm/{name}", tuple(value.shape)) for name, value in lstm.named_parameters()]
    found = structure_of([*leaves, ("mix/w1", (2, 3)), ("mix/w2", (4,))])
    assert [(one.pattern, one.count, one.are_alike) for one in found.blocks] == [
        ("lstm/weight_hh_l*", 3, True)
    ]
    assert found.depth == 3
    linen = [(f"tok{i}_{end}/kernel", (4, 8)) for i in range(4) for end in ("in", "out")]
    assert [(one.pattern, one.count) for one in structure_of(linen).blocks] == [
        ("tok*_in", 4),
        ("tok*_out", 4),
    ]
