"""resolve_config: precedence with provenance, what shapes say, what contradicts them, and what stays open."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest
import torch
from flax import serialization

from ckpt_core import ShapeRules, check_config, resolve_config
from ckpt_core.arrays import ArraySpec
from ckpt_core.config import ConfigWarning, Given, Hint
from ckpt_core.errors import ConfigConflictError, DataConflictError, UsageError

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
SCALE = "encoder/to_patch_embedding/norm/scale"
RULES = {"slots_mu": "num_slots slot_dim", SCALE: "patch_size**2 * sample_size * channels"}
TREE = {
    "slots_mu": ArraySpec((32, 64), "float32"),
    "encoder": {"to_patch_embedding": {"norm": {"scale": ArraySpec((72,), "float32")}}},
}
EQUATION = r"72 = 2\*\*2 \* sample_size \* 3 gives sample_size = 6; config says 5 \(default\)"


@dataclasses.dataclass(frozen=True)
class Config:
    patch_size: int = 2
    channels: int = 3
    sample_size: int = 5
    num_slots: int = 7
    slot_dim: int = 64
    iters: int = 3


@dataclasses.dataclass
class Optim:
    lr: float = 0.0


@dataclasses.dataclass
class Nested:
    optim: Optim
    width: int = 0


def weights():
    generator = torch.Generator().manual_seed(0)
    return {
        "slots_mu": torch.randn(32, 64, generator=generator),
        SCALE.replace("/", "."): torch.randn(72, generator=generator),
    }


def sources(found):
    return {name: (origin.value, origin.source) for name, origin in found.provenance.items()}


# Precedence.


def save(path, **config):
    torch.save({"model_state_dict": weights(), "args": argparse.Namespace(**config)}, path)
    return path


def test_each_source_wins_over_the_weaker_ones(tmp_path):
    path = save(tmp_path / "run.pth", a=1, b=1)
    (tmp_path / "config.json").write_text(json.dumps({"a": 2, "b": 2, "c": 2, "num_slots": 32}))
    defaults = {"a": 3, "b": 3, "c": 3, "d": 3, "slot_dim": 3}
    found = resolve_config(path, rules=RULES, overrides={"a": 0}, defaults=defaults)
    assert sources(found) == {
        "a": (0, "override"),
        "b": (1, "saved"),
        "c": (2, "beside"),
        "num_slots": (32, "beside"),
        "slot_dim": (64, "inferred"),
        "d": (3, "default"),
    }
    assert found.config == {"a": 0, "b": 1, "c": 2, "num_slots": 32, "slot_dim": 64, "d": 3}
    assert found.provenance["b"].where == "args/b"
    assert found.provenance["c"].where == "config.json"
    assert found.provenance["slot_dim"].where == "64 = slot_dim (slots_mu, axis 1)"
    assert found.provenance["a"].overruled == (
        Given(1, "saved", "args/a"),
        Given(2, "beside", "config.json"),
        Given(3, "default", "defaults"),
    )
    assert found.provenance["slot_dim"].overruled == (Given(3, "default", "defaults"),)


def test_files_beside_can_be_left_out(tmp_path):
    path = save(tmp_path / "run.pth", a=1)
    (tmp_path / "config.json").write_text('{"b": 2}')
    assert resolve_config(path, beside=False).config == {"a": 1}
    assert resolve_config(path).config == {"a": 1, "b": 2}


def test_names_match_whatever_their_case_and_by_aliases(tmp_path):
    @dataclasses.dataclass
    class Small:
        hidden_dim: int = 1
        depth: int = 1
        mlp: int = 1

    path = save(tmp_path / "run.pth", HIDDEN_DIM=8, num_layers=3, **{"mlp-size": 4})
    found = resolve_config(path, Small, aliases={"depth": ["num_layers"], "mlp": ["MLP_SIZE"]})
    assert found.config == Small(8, 3, 4)
    assert found.provenance["depth"].where == "args/num_layers"


def test_a_flat_field_is_found_in_a_nested_config_and_the_other_way_round(tmp_path):
    nested = save(tmp_path / "nested.pth", model={"width": 8}, optim={"lr": 0.5})
    assert resolve_config(nested, Nested).config == Nested(Optim(0.5), 8)
    flat = save(tmp_path / "flat.pth", width=8, lr=0.5)
    assert resolve_config(flat, Nested).config == Nested(Optim(0.5), 8)
    assert resolve_config(nested).config == {"model": {"width": 8}, "optim": {"lr": 0.5}}


def test_an_entry_beside_groups_counts_more_than_one_in_them():
    @dataclasses.dataclass
    class Small:
        debug: str = "none"
        lr: float = 0.0

    saved = {"training_args": {"state": {"debug": "inner", "lr": 2.0}, "debug": "outer", "lr": 1.0}}
    found = resolve_config({"w": ArraySpec((2,), "float32")}, Small, defaults=saved)
    assert (found.config, found.notes) == (Small("outer", 1.0), ())


def test_a_trainers_arguments_are_found_by_name_beside_the_models_config():
    @dataclasses.dataclass
    class Arguments:
        learning_rate: float = 1.0
        num_train_epochs: int = 1
        weight_decay: float = 9.0
        debug: tuple[str, ...] = ("unset",)
        hidden_size: int = 0
        vocab_size: int = 0

    found = resolve_config(GOLDEN / "huggingface" / "trainer", Arguments)
    assert found.config == Arguments(5e-5, 3, 0.0, (), 4, 8)
    places = {name: origin.where for name, origin in found.provenance.items()}
    assert places["learning_rate"] == "training_args.bin/learning_rate"
    assert places["hidden_size"] == "config.json/hidden_size"
    assert {origin.source for origin in found.provenance.values()} == {"saved"} and found.notes == ()


def test_two_entries_for_one_field_are_an_ambiguity_that_nobody_resolves(tmp_path):
    @dataclasses.dataclass
    class Small:
        width: int = 1

    path = save(tmp_path / "run.pth", encoder={"width": 8}, decoder={"width": 9})
    found = resolve_config(path, Small)
    assert found.config.width == 1
    assert found.notes == (
        "width is saved in several places, and none is taken: encoder.width = 8, decoder.width = 9",
    )
    same = save(tmp_path / "same.pth", encoder={"width": 8}, decoder={"width": 8})
    assert resolve_config(same, Small).config.width == 8


def test_fields_that_the_class_gained_or_lost_are_reported(tmp_path):
    path = save(tmp_path / "run.pth", patch_size=2, dropout=0.5, optim={"lr": 1, "eps": 2})
    found = resolve_config(path, Config)
    assert found.lost == {"dropout": 0.5, "optim.lr": 1, "optim.eps": 2}
    assert found.gained == ("channels", "sample_size", "num_slots", "slot_dim", "iters")


def test_a_field_without_any_value_is_named_with_what_it_could_be(tmp_path):
    @dataclasses.dataclass
    class Needs:
        patch_size: int
        sample_size: int
        heads: int
        channels: int = 3

    with pytest.raises(UsageError, match="Needs has no value for patch_size, sample_size, heads") as caught:
        resolve_config(TREE, Needs, rules=RULES)
    assert "patch_size can be 1, 2, by 72 = patch_size**2 * sample_size * 3" in str(caught.value)
    found = resolve_config(TREE, Needs, rules=RULES, on_conflict="report")
    assert found.config is None
    assert found.missing == ("patch_size", "sample_size", "heads")


def test_an_override_that_names_no_field_is_refused():
    with pytest.raises(UsageError, match="Config has no field 'num_slot'\n  It has: num_slots"):
        resolve_config(TREE, Config, rules=RULES, overrides={"num_slot": 8})


def test_keys_that_hold_dots_or_are_numbers_stay_as_they_were_saved(tmp_path):
    config = {"optim.lr": 0.1, "names": {0: "cat", 1: "dog"}, "empty": {}, "none": None}
    torch.save({"model_state_dict": weights(), "config": config}, tmp_path / "a.pth")
    found = resolve_config(tmp_path / "a.pth")
    assert found.config == config
    assert resolve_config(tmp_path / "a.pth", overrides={"lr": 0.2}).config["optim.lr"] == 0.2


# Inference.


def test_a_default_gives_way_to_what_shapes_alone_say():
    found = resolve_config(TREE, Config, rules=RULES, overrides={"patch_size": 2, "channels": 3})
    assert found.config == Config(2, 3, 6, 32, 64)
    assert sources(found)["sample_size"] == (6, "inferred")
    assert found.provenance["sample_size"].where == f"72 = 2**2 * sample_size * 3 ({SCALE})"
    assert found.provenance["num_slots"].overruled == (Given(7, "default", "Config"),)
    assert found.conflicts == ()
    assert found.facts["num_slots"] == 32


def test_with_nothing_known_all_solutions_are_listed_and_none_is_picked():
    found = resolve_config(TREE, rules=RULES)
    assert found.config == {"num_slots": 32, "slot_dim": 64}
    (group,) = found.undecided
    assert group.equations == ("72 = patch_size**2 * sample_size * channels",)
    assert len(group.solutions) == 24
    assert {"patch_size": 2, "sample_size": 6, "channels": 3} in group.solutions
    assert group.values("patch_size") == (1, 2, 3, 6)
    assert group.is_complete


def test_a_known_value_narrows_what_is_undecided():
    found = resolve_config(TREE, rules=RULES, overrides={"channels": 3})
    (group,) = found.undecided
    assert group.equations == ("72 = patch_size**2 * sample_size * 3",)
    assert group.solutions == ({"patch_size": 1, "sample_size": 24}, {"patch_size": 2, "sample_size": 6})


def test_what_shapes_cannot_tell_is_listed():
    rules = ShapeRules(RULES, {"iters": "a loop leaves no weights", "heads": "they split the width"})
    found = resolve_config(TREE, Config, rules=rules, overrides={"sample_size": 6})
    assert found.not_inferable == {
        "iters": "a loop leaves no weights",
        "heads": "they split the width",
    }
    found = resolve_config(TREE, Config, rules=rules, overrides={"sample_size": 6, "iters": 4})
    assert set(found.not_inferable) == {"heads"}
    plain = resolve_config(TREE, Config, rules=RULES, overrides={"sample_size": 6})
    assert plain.not_inferable == {"iters": "no shape rule names it"}


@pytest.mark.parametrize("name", ["slot_attention_32.pth", "slots-32-epoch.pth"])
def test_a_number_in_the_file_name_is_a_hint_and_never_a_value(tmp_path, name):
    torch.save(weights(), tmp_path / name)
    found = resolve_config(tmp_path / name, rules=RULES)
    assert found.hints == (Hint(32, ("num_slots",)),)
    silent = resolve_config(tmp_path / name)
    assert silent.config == {}
    assert silent.hints == (Hint(32, ("slots_mu, axis 0",)),)
    torch.save(weights(), tmp_path / "slots_6.pth")
    assert resolve_config(tmp_path / "slots_6.pth", rules=RULES).hints == (
        Hint(6, ("patch_size", "sample_size", "channels")),
    )
    assert "sample_size" not in resolve_config(tmp_path / "slots_6.pth", rules=RULES).config


def test_the_same_in_every_container(tmp_path):
    state = weights()
    torch.save(state, tmp_path / "a.pth")
    tree = {"slots_mu": state["slots_mu"].numpy()}
    tree["encoder"] = {"to_patch_embedding": {"norm": {"scale": np.zeros(72, np.float32)}}}
    (tmp_path / "a.msgpack").write_bytes(serialization.to_bytes({"params": tree}))
    expected = resolve_config(TREE, Config, rules=RULES, overrides={"sample_size": 6}).provenance
    specs = jax.tree.map(lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype), tree)
    for like in (tmp_path / "a.pth", str(tmp_path / "a.msgpack"), tree, specs):
        assert resolve_config(like, Config, rules=RULES, overrides={"sample_size": 6}).provenance == expected


def test_names_below_data_parallel_are_those_of_the_model(tmp_path):
    torch.save({f"module.{name}": value for name, value in weights().items()}, tmp_path / "a.pth")
    assert resolve_config(tmp_path / "a.pth", rules=RULES).config["num_slots"] == 32


def test_rules_that_fit_nothing_are_noted_and_all_of_them_an_error():
    found = resolve_config(TREE, rules={**RULES, "slot_log_sigma": "num_slots"})
    assert found.notes == ("the rule 'slot_log_sigma' fits nothing; there is: slots_mu",)
    with pytest.raises(UsageError, match=r"none of the shape rules fits an array\n.*'mu' fits nothing"):
        resolve_config(TREE, rules={"mu": "num_slots"})


# Contradictions.


def test_a_default_that_contradicts_the_shapes_is_an_error_that_offers_the_right_config():
    with pytest.raises(ConfigConflictError, match=EQUATION) as caught:
        resolve_config(TREE, Config, rules=RULES)
    assert caught.value.corrected == Config(2, 3, 6, 32, 64)
    assert "Set sample_size=6" in caught.value.remedy
    (conflict,) = caught.value.conflicts
    assert (conflict.field, conflict.correct, conflict.where) == ("sample_size", 6, SCALE)
    assert conflict.given == Given(5, "default", "Config")


def test_the_caller_can_have_it_corrected_or_kept():
    with pytest.warns(ConfigWarning, match=EQUATION + "; taken: sample_size = 6") as caught:
        found = resolve_config(TREE, Config, rules=RULES, on_conflict="correct")
    assert caught[0].filename == __file__
    assert found.config.sample_size == 6
    assert found.provenance["sample_size"].source == "inferred"
    with pytest.warns(ConfigWarning, match=EQUATION):
        assert resolve_config(TREE, Config, rules=RULES, on_conflict="warn").config.sample_size == 5
    found = resolve_config(TREE, Config, rules=RULES, on_conflict="report")
    assert found.config.sample_size == 5
    assert len(found.conflicts) == 1
    with pytest.raises(UsageError, match="is none of raise, correct, warn, report"):
        resolve_config(TREE, Config, rules=RULES, on_conflict="ignore")


def test_whoever_said_it(tmp_path):
    path = save(tmp_path / "run.pth", num_slots=8)
    with pytest.raises(
        ConfigConflictError, match=r"32 = num_slots gives num_slots = 32; config says 8 \(saved\)"
    ):
        resolve_config(path, rules=RULES)
    with pytest.raises(ConfigConflictError, match=r"config says 9 \(override\)"):
        resolve_config(path, rules=RULES, overrides={"num_slots": 9})
    assert resolve_config(path, rules=RULES, overrides={"num_slots": 32}).config["num_slots"] == 32
    (tmp_path / "config.json").write_text('{"slot_dim": 3}')
    with pytest.raises(ConfigConflictError, match=r"config says 3 \(beside\)"):
        resolve_config(path, rules=RULES, overrides={"num_slots": 32})


def test_every_contradiction_is_told_at_once():
    overrides = {"num_slots": 8, "slot_dim": 32, "channels": 4, "sample_size": 6, "patch_size": 2}
    with pytest.raises(ConfigConflictError, match="3 contradictions") as caught:
        resolve_config(TREE, Config, rules=RULES, overrides=overrides)
    assert [str(conflict) for conflict in caught.value.conflicts] == [
        "32 = num_slots gives num_slots = 32; config says 8 (override)",
        "64 = slot_dim gives slot_dim = 64; config says 32 (override)",
        "72 = 2**2 * 6 * channels gives channels = 3; config says 4 (override)",
    ]
    assert caught.value.corrected == Config(2, 3, 6, 32, 64)


def test_the_weakest_value_whose_change_helps_is_to_blame():
    tree, rules = {"w": ArraySpec((12,), "float32")}, {"w": "a * b"}
    with pytest.raises(ConfigConflictError, match=r"12 = 4 \* b gives b = 3; config says 2 \(default\)"):
        check_config(tree, dataclasses.make_dataclass("C", [("a", int, 1), ("b", int, 2)])(a=4), rules)
    with pytest.raises(ConfigConflictError, match=r"12 = a \* 4 gives a = 3; config says 5 \(default\)"):
        check_config(tree, dataclasses.make_dataclass("C", [("a", int, 5), ("b", int, 2)])(b=4), rules)


def test_where_several_changes_would_help_none_is_picked():
    tree, rules = {"w": ArraySpec((12,), "float32")}, {"w": "a * b"}
    with pytest.raises(ConfigConflictError) as caught:
        resolve_config(tree, rules=rules, overrides={"a": 2, "b": 4})
    assert "12 = a * b does not hold; config says a = 2 (override), b = 4 (override)" in str(caught.value)
    assert "a = 3 or b = 6 would fit" in str(caught.value)
    assert caught.value.corrected is None
    with pytest.raises(ConfigConflictError, match="would fit"):
        resolve_config(tree, rules=rules, overrides={"a": 2, "b": 4}, on_conflict="correct")
    with pytest.raises(ConfigConflictError, match="no single change makes it fit"):
        resolve_config(tree, rules=rules, overrides={"a": 5, "b": 7})


def test_shapes_that_contradict_each_other_are_shown_with_both_sides():
    tree = {"a": ArraySpec((64,), "float32"), "b": ArraySpec((3, 128), "float32")}
    with pytest.raises(ConfigConflictError) as caught:
        resolve_config(tree, rules={"a": "width", "b": "_ width"})
    assert "128 = width (b, axis 1) contradicts 64 = width (a)" in str(caught.value)
    assert caught.value.corrected is None


def test_values_that_are_no_sizes_take_no_part(tmp_path):
    path = save(tmp_path / "run.pth", num_slots=None, slot_dim="64")
    found = resolve_config(path, rules=RULES)
    assert sources(found) == {"num_slots": (32, "inferred"), "slot_dim": ("64", "saved")}


# Data.

BATCH = (8, 6, 32, 32, 3)
AXES = "batch sample_size h w channels"


@pytest.mark.parametrize(
    ("data", "bind"),
    [
        (BATCH, AXES),
        (np.zeros(BATCH, np.uint8), AXES),
        (jax.ShapeDtypeStruct(BATCH, np.float32), AXES),
        (
            {"image": ArraySpec(BATCH, "uint8"), "label": ArraySpec((8,), "int32")},
            {"image": AXES, "label": "batch"},
        ),
        ({"image": BATCH, "label": (8,)}, {"image": AXES}),
        ({"train": {"image": np.zeros(BATCH, np.uint8)}}, {"*/image": AXES}),
    ],
    ids=str,
)
def test_data_is_a_source_of_facts(data, bind):
    found = resolve_config(TREE, Config, rules=RULES, data=data, bind=bind)
    assert found.config == Config(2, 3, 6, 32, 64)
    assert found.provenance["sample_size"].source == "inferred"
    assert found.facts["batch"] == 8


def test_rules_can_name_the_axes_of_data():
    rules = ShapeRules(RULES, data={"image": AXES})
    assert resolve_config(TREE, Config, rules=rules, data={"image": BATCH}).config.sample_size == 6
    with pytest.raises(UsageError, match=r"the data has no array 'image'\n  It has: picture"):
        resolve_config(TREE, Config, rules=rules, data={"picture": BATCH})
    with pytest.raises(UsageError, match="the axes of the data have no names"):
        resolve_config(TREE, Config, rules=RULES, data=BATCH)
    with pytest.raises(UsageError, match="data has 5 dimensions"):
        resolve_config(TREE, Config, rules=RULES, data=BATCH, bind="batch features")


def test_data_that_contradicts_the_checkpoint_is_an_error_of_its_own(tmp_path):
    with pytest.raises(
        DataConflictError,
        match=r"72 = 2\*\*2 \* sample_size \* 3 gives sample_size = 6; data says 5 \(data, axis 1\)",
    ) as caught:
        resolve_config(TREE, Config(sample_size=6), rules=RULES, data=(8, 5, 32, 32, 3), bind=AXES)
    assert caught.value.corrected is None
    path = save(tmp_path / "run.pth", height=32)
    with pytest.raises(DataConflictError, match=r"height = 32; data says 16 \(data\)"):
        resolve_config(path, data=(16,), bind="height")
    with pytest.warns(ConfigWarning, match="data says 16"):
        assert resolve_config(path, data=(16,), bind="height", on_conflict="warn").config["height"] == 32


def test_a_config_that_contradicts_the_data_is_an_error_of_the_config():
    with pytest.raises(ConfigConflictError, match=r"16 = height gives height = 16; config says 32") as caught:
        resolve_config(TREE, rules=RULES, overrides={"height": 32}, data=(16,), bind="height")
    assert not isinstance(caught.value, DataConflictError)
    assert caught.value.corrected["height"] == 16


# check_config.


def test_a_consistent_config_comes_back_as_it_is_and_nothing_is_printed(capsys):
    config = Config(2, 3, 6, 32, 64)
    assert check_config(TREE, config, RULES) is config
    assert check_config(TREE, config, RULES, data=BATCH, bind=AXES) is config
    assert capsys.readouterr() == ("", "")


def test_a_config_is_checked_without_a_model():
    wrong = Config(num_slots=8)
    with pytest.raises(ConfigConflictError, match="2 contradictions") as caught:
        check_config(TREE, wrong, RULES)
    assert [str(conflict) for conflict in caught.value.conflicts] == [
        "32 = num_slots gives num_slots = 32; config says 8 (explicit)",
        "72 = 2**2 * sample_size * 3 gives sample_size = 6; config says 5 (default)",
    ]
    with pytest.warns(ConfigWarning):
        assert check_config(TREE, wrong, RULES, on_conflict="correct") == Config(2, 3, 6, 32, 64)
    assert wrong.num_slots == 8
    with pytest.raises(UsageError, match="no shape rules to check a config by"):
        check_config(TREE, wrong)


def test_a_dict_or_namespace_does_not_say_what_is_a_default():
    values = dataclasses.asdict(Config())
    for config in (values, argparse.Namespace(**values)):
        with pytest.raises(ConfigConflictError, match=r"config says 5 \(explicit\)"):
            check_config(TREE, config, RULES, on_conflict="raise")
        with pytest.raises(ConfigConflictError, match=r"config says 5 \(default\)"):
            check_config(TREE, config, RULES, explicit=["patch_size", "channels"])


# Registered rules.


@pytest.fixture
def registered(monkeypatch):
    from ckpt_core import registry as module

    made = module.Registry()
    made.backends, made.frameworks = module.registry().backends, module.registry().frameworks
    sets = [ShapeRules(RULES, name="slots"), ShapeRules({"other": "a"}, name="other")]
    plugin = type("Plugin", (), {"ckpt_core_rules": staticmethod(module.hookspecs.hookimpl(lambda: sets))})
    made.add(module.Plugin("mine"), plugin)
    assert not made.broken
    for name in ("ckpt_core.config.rules.registry", "ckpt_core.template.registry"):
        monkeypatch.setattr(name, lambda: made)
    return made


def test_registered_rules_are_used_where_all_their_patterns_fit(registered):
    found = resolve_config(TREE)
    assert found.rules == ("slots",)
    assert found.config == {"num_slots": 32, "slot_dim": 64}
    assert resolve_config({"slots_mu": ArraySpec((3, 4), "float32")}).rules == ()
    assert resolve_config(TREE, rules="slots").config == found.config
    with pytest.raises(UsageError, match=r"there are no shape rules 'slot'\n.*Registered: other, slots"):
        resolve_config(TREE, rules="slot")
    assert check_config(TREE, Config(2, 3, 6, 32, 64)).num_slots == 32


def test_rules_are_plain_data(tmp_path):
    file = tmp_path / "rules.toml"
    file.write_text(
        '[shapes]\nslots_mu = "num_slots slot_dim"\n"encoder/**/scale" = "patch_size**2 * sample_size * channels"\n'
        '[not_inferable]\niters = "a loop"\n[aliases]\nnum_slots = ["slots"]\n[data]\nimage = "batch sample_size"\n'
    )
    found = resolve_config(TREE, {"slots": 7}, rules=file, data={"image": (8, 6)})
    assert found.config["slots"] == 32
    assert found.config["sample_size"] == 6
    assert found.not_inferable == {"iters": "a loop"}
    assert found.rules == ("rules.toml",)
    two = resolve_config(TREE, rules=[{"slots_mu": "num_slots _"}, ShapeRules({"slots_mu": "_ slot_dim"})])
    assert two.config == {"num_slots": 32, "slot_dim": 64}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[shape]\na = 'b'\n", "has 'shape', which is no part of shape rules"),
        ("shapes = 3\n", "shapes is no table"),
        ("[shapes]\na = 'b +'\n", "'b \\+' ends too early"),
        ("[shapes\n", "is no TOML"),
        ("[shapes]\na = 3\n", "is 3, and no text"),
    ],
)
def test_a_wrong_file_of_rules_is_named(tmp_path, text, problem):
    from ckpt_core.errors import CheckpointError

    (tmp_path / "rules.toml").write_text(text)
    with pytest.raises(CheckpointError, match=rf"rules\.toml: .*{problem}"):
        resolve_config(TREE, rules=tmp_path / "rules.toml")


def test_what_an_instance_was_given_ranks_between_overrides_and_what_was_saved(tmp_path):
    @dataclasses.dataclass
    class Small:
        width: int = 1
        depth: int = 2
        lr: float = 0.1

    path = save(tmp_path / "run.pth", config={"width": 8, "depth": 9, "lr": 0.5})
    found = resolve_config(path, Small(width=4, depth=3), overrides={"depth": 7})
    assert found.config == Small(width=4, depth=7, lr=0.5)
    assert found.provenance["width"].where == "given in Small"
    assert [other.value for other in found.provenance["width"].overruled] == [8, 1]
