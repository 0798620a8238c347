"""Every kind of config that can be filled, each judged by its own library."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import enum
import types
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import ml_collections
import numpy as np
import pydantic
import pytest
import torch

from ckpt_core import config_drift, open_checkpoint, resolve_config, save_checkpoint
from ckpt_core.config import NONE, explicit_arguments
from ckpt_core.config.plain import plain_config
from ckpt_core.errors import ConfigConflictError, LimitError, UsageError


@dataclasses.dataclass(frozen=True)
class Optim:
    lr: float = 0.1
    betas: tuple[float, float] = (0.9, 0.999)


@dataclasses.dataclass(frozen=True)
class Config:
    width: int
    depth: int = 2
    name: str | None = None
    optim: Optim = dataclasses.field(default_factory=lambda: Optim(lr=0.2))
    extra: dict[str, Any] = dataclasses.field(default_factory=dict)
    derived: int = dataclasses.field(init=False, default=0)


class OptimModel(pydantic.BaseModel):
    lr: float = 0.1
    betas: tuple[float, float] = (0.9, 0.999)


class Model(pydantic.BaseModel):
    width: int
    depth: int = 2
    name: str | None = None
    optim: OptimModel = OptimModel(lr=0.2)
    extra: dict[str, Any] = {}


SAVED = {
    "width": np.int64(8),
    "optim": {"lr": np.array(0.5), "betas": [0.5, 0.6]},
    "extra": {"a": {"b": 1}},
}


def fill(into, saved=SAVED, **options):
    return resolve_config({}, into, defaults=saved, beside=False, **options)


# One value, one place.


@pytest.mark.parametrize("kind", [Config, Model])
def test_a_class_is_filled_with_nested_ones(kind):
    config = fill(kind).config
    assert isinstance(config, kind)
    assert (config.width, config.depth, config.name) == (8, 2, None)
    assert type(config.width) is int
    assert (config.optim.lr, config.optim.betas) == (0.5, (0.5, 0.6))
    assert config.extra == {"a": {"b": 1}}


def test_what_is_not_given_keeps_the_default_that_its_parent_declares():
    assert fill(Config, {"width": 8}).config.optim == Optim(lr=0.2)
    assert fill(Config, {"width": 8, "optim": {"betas": [1, 2]}}).config.optim == Optim(0.2, (1.0, 2.0))
    assert fill(Model, {"width": 8, "optim": {"betas": [1, 2]}}).config.optim == OptimModel(
        lr=0.2, betas=(1, 2)
    )


def test_an_instance_is_copied_and_its_given_values_are_kept():
    old = Config(width=4, depth=5)
    config = fill(old).config
    assert config == Config(4, 5, None, Optim(0.5, (0.5, 0.6)), {"a": {"b": 1}})
    assert old == Config(width=4, depth=5)
    origins = fill(old).provenance
    assert (origins["width"].source, origins["width"].where) == ("override", "given in Config")
    assert origins["width"].overruled[0].value == 8


def test_a_pydantic_model_says_itself_what_was_set():
    model = Model(width=4, depth=2)  # 2 is the default, and was given
    config = fill(model, {**SAVED, "depth": 7, "name": "x"}).config
    assert (config.width, config.depth, config.name) == (4, 2, "x")
    assert config.optim.lr == 0.5
    assert model.name is None
    assert fill(Model).config.model_fields_set == {"width", "optim", "extra"}


def test_pydantic_fields_are_validated_under_their_alias():
    class Aliased(pydantic.BaseModel):
        width: int = pydantic.Field(alias="W", gt=0)

    assert fill(Aliased, {"width": 3}).config.width == 3
    with pytest.raises(UsageError, match=r"Aliased does not take these values(.|\n)*greater than 0"):
        fill(Aliased, {"width": -3})


def test_a_namespace_is_filled_and_what_it_has_counts_as_default():
    old = argparse.Namespace(width=1, depth=2, betas=(0.9, 0.99))
    new = fill(old, {"width": 8, "betas": [1, 2], "unknown": 3}).config
    assert new == argparse.Namespace(width=8, depth=2, betas=(1, 2))
    assert old.width == 1
    assert fill(old, {"width": 8}, explicit=["width"]).config.width == 1
    assert fill(argparse.Namespace, {"width": 8}).config == argparse.Namespace(width=8)


def test_a_dict_takes_everything_and_is_not_changed():
    old = {"optim": {"lr": 1.0, "eps": 1e-8}, "width": 1}
    found = fill(old).config
    assert found == {
        "optim": {"lr": 0.5, "eps": 1e-8, "betas": [0.5, 0.6]},
        "width": 8,
        "extra": {"a": {"b": 1}},
    }
    assert old == {"optim": {"lr": 1.0, "eps": 1e-8}, "width": 1}
    assert fill(None, {"a": 1}).config == fill(dict, {"a": 1}).config == {"a": 1}


def test_a_config_dict_keeps_its_types_and_its_lock():
    old = ml_collections.ConfigDict({"width": 1, "optim": {"lr": 1.0, "betas": (0.9, 0.99)}, "name": None})
    old.depth = ml_collections.config_dict.placeholder(int)
    old.lock()
    new = fill(old, {**SAVED, "name": "x", "depth": 3.0}).config
    assert type(new) is ml_collections.ConfigDict
    assert new.to_dict() == {
        "width": 8,
        "depth": 3,
        "name": "x",
        "optim": {"lr": 0.5, "betas": (0.5, 0.6)},
    }
    assert new.is_locked
    assert old.width == 1
    assert old.optim.lr == 1.0
    frozen = fill(ml_collections.FrozenConfigDict(old), {"width": 8, "depth": 3}).config
    assert type(frozen) is ml_collections.FrozenConfigDict
    assert (frozen.width, frozen.optim.lr) == (8, 1.0)
    assert fill(ml_collections.ConfigDict, {"optim": {"lr": 3}}).config.optim.lr == 3


def test_a_config_dict_that_refuses_a_type_is_an_error_of_ours():
    old = ml_collections.ConfigDict({"width": 1})
    with pytest.raises(UsageError, match="does not take width = 'wide'"):
        fill(old, {"width": "wide"})


def test_a_required_placeholder_without_a_value_is_missing():
    old = ml_collections.ConfigDict({"width": ml_collections.config_dict.required_placeholder(int)})
    with pytest.raises(UsageError, match="the ConfigDict has no value for width"):
        fill(old, {})
    assert fill(old, {"width": 3}).config.width == 3


# What the annotation asks for.


class Colour(enum.Enum):
    RED = 1


class Pair(NamedTuple):
    a: int
    b: int


@dataclasses.dataclass
class Kinds:
    value: Any = None


def coerced(annotation, value):
    kind = dataclasses.make_dataclass("Kind", [("value", annotation)])
    return fill(kind, {"value": value}).config.value


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        (int, np.array(3), 3),
        (int, 3.0, 3),
        (int, "3", 3),
        (float, 3, 3.0),
        (float, "1e-3", 0.001),
        (bool, np.bool_(True), True),
        (bool, 1, True),
        (str, Path("a"), "a"),
        (Path, "a/b", Path("a/b")),
        (tuple[int, ...], [1, 2.0], (1, 2)),
        (tuple[int, str], [1, "x"], (1, "x")),
        (tuple[int, ...], np.array([1, 2]), (1, 2)),
        (tuple, [1, [2]], (1, [2])),
        (list[float], (1, 2), [1.0, 2.0]),
        (list[tuple[int, int]], [[1, 2], [3, 4]], [(1, 2), (3, 4)]),
        (set[int], [1, 1], {1}),
        (frozenset[str], ["a"], frozenset("a")),
        (dict[str, tuple[int, ...]], {"a": [1]}, {"a": (1,)}),
        (int | None, None, None),
        (int | None, np.int32(4), 4),
        (int | str, "4", "4"),
        (float | None, 1, 1.0),
        (Literal["a", "b"], "b", "b"),
        (Colour, "RED", Colour.RED),
        (Colour, 1, Colour.RED),
        (Pair, [1, 2], Pair(1, 2)),
        (list[Optim], [{"lr": 1}], [Optim(lr=1.0)]),
        (Any, [1], [1]),
        (np.dtype, "float32", "float32"),
    ],
    ids=str,
)
def test_values_take_the_form_that_the_annotation_asks(annotation, value, expected):
    found = coerced(annotation, value)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("annotation", "value", "problem"),
    [
        (int, 3.5, "is no whole number"),
        (int, "three", "is no whole number"),
        (int, float("inf"), "is no whole number"),
        (float, "fast", "is no number"),
        (bool, "yes", "is neither true nor false"),
        (str, 3, "is no text"),
        (tuple[int, int], [1], "has 1 elements, not 2"),
        (tuple[int, ...], 3, "is no sequence"),
        (Literal["a"], "c", "is none of 'a'"),
        (Colour, "BLUE", "is none of RED"),
        (int | None, "x", "is not None|is no whole number"),
    ],
    ids=str,
)
def test_what_cannot_be_had_in_that_form_is_named(annotation, value, problem):
    with pytest.raises(UsageError, match=rf"Kind does not take 1 of the values\n  value: .*{problem}"):
        coerced(annotation, value)


def test_annotations_of_what_is_not_there_are_no_obstacle():
    @dataclasses.dataclass
    class Loose:
        width: NotThere = 3  # noqa: F821
        depth: tuple[int, ...] = ()

    assert fill(Loose, {"width": [1], "depth": [2]}).config == Loose([1], (2,))


def test_a_class_that_refuses_its_values_is_an_error_of_ours():
    @dataclasses.dataclass
    class Strict:
        width: int = 1

        def __post_init__(self):
            if self.width > 5:
                raise ValueError("too wide")

    with pytest.raises(UsageError, match="Strict does not take these values: too wide"):
        fill(Strict, {"width": 6})


@pytest.mark.parametrize("into", [3, "text", object(), int, [1]])
def test_what_is_no_config_says_what_is(into):
    with pytest.raises(UsageError, match=r"is no config to fill\n  Pass a dict, a dataclass"):
        fill(into)


# Given explicitly, and left at the default.


def parser():
    made = argparse.ArgumentParser()
    made.add_argument("--lr", type=float, default=0.1)
    made.add_argument("--width", type=int, default=7)
    made.add_argument("--flag", action="store_true")
    made.add_argument("--verbose", "-v", action="count", default=0)
    made.add_argument("--tags", action="append", default=["a"])
    made.set_defaults(seed=3)
    commands = made.add_subparsers(dest="command")
    train = commands.add_parser("train")
    train.add_argument("--epochs", type=int, default=5)
    return made


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ([], set()),
        (["--lr", "0.1"], {"lr"}),
        (["--flag", "-vv", "--tags", "b"], {"flag", "verbose", "tags"}),
        (["train"], {"command"}),
        (["train", "--epochs", "5"], {"command", "epochs"}),
    ],
)
def test_a_parser_says_which_options_were_given(line, expected):
    made = parser()
    assert explicit_arguments(made, line) == expected
    assert made.parse_args(line) == parser().parse_args(line)


def test_a_parser_tells_given_options_from_defaults(monkeypatch):
    monkeypatch.setattr("sys.argv", ["train.py", "--lr", "0.1"])
    made = parser()
    found = fill(made.parse_args(), {"lr": 0.5, "width": 32}, explicit=made)
    assert (found.config.lr, found.config.width) == (0.1, 32)
    assert found.provenance["lr"].source == "override"


def test_an_override_of_none_means_not_given_unless_none_is_meant():
    saved = {"width": 8, "name": "x"}
    assert fill(Config, saved, overrides={"name": None}).config.name == "x"
    found = fill(Config, saved, overrides={"name": NONE})
    assert found.config.name is None
    assert found.provenance["name"].source == "override"


# Nested, of any kinds in any others.


class Mode(enum.Flag):
    TRAIN = 1
    EVAL = 2


@dataclasses.dataclass(frozen=True)
class Encoder:
    width: int = 4
    depth: int = 2


@dataclasses.dataclass(frozen=True)
class Needs:
    a: int
    b: int


class Averaging(pydantic.BaseModel):
    decay: float = 0.9


NESTING = {
    "namespace": argparse.Namespace(width=1, depth=2),
    "dict": {"width": 1, "depth": 2},
    "dataclass": Encoder(),
    "pydantic": pydantic.create_model("E", width=(int, 1), depth=(int, 2))(),
    "config dict": ml_collections.ConfigDict({"width": 1, "depth": 2}),
}


def values_in(config):
    return (
        config if isinstance(config, dict) else {name: getattr(config, name) for name in ("width", "depth")}
    )


@pytest.mark.parametrize("inner", NESTING)
@pytest.mark.parametrize("outer", NESTING)
def test_any_kind_is_filled_inside_of_any_other(outer, inner):
    value = NESTING[inner]
    default = dataclasses.field(default_factory=lambda: value)
    around = {
        "namespace": argparse.Namespace(enc=value),
        "dict": {"enc": value},
        "dataclass": dataclasses.make_dataclass("Outer", [("enc", Any, default)])(),
        "pydantic": pydantic.create_model("Outer", enc=(Any, value))(),
        "config dict": ml_collections.ConfigDict({"enc": value}),
    }[outer]
    before = repr(around)
    found = fill(around, {"enc": {"width": 8, "depth": 3}})
    config = found.config["enc"] if outer in ("dict", "config dict") else found.config.enc
    if (outer, inner) != ("config dict", "dict"):  # which a ConfigDict makes one of its own
        assert type(config) is type(value)
    assert values_in(config) == {"width": 8, "depth": 3}
    assert repr(around) == before
    assert not found.lost


class OptionalModel(pydantic.BaseModel):
    enc: Averaging | None = None
    ema: Averaging | None = Averaging()


@dataclasses.dataclass
class OptionalParts:
    enc: Averaging | None = None
    ema: Averaging | None = dataclasses.field(default_factory=Averaging)


@pytest.mark.parametrize("kind", [OptionalParts, OptionalModel])
@pytest.mark.parametrize("is_instance", [False, True])
def test_what_was_saved_says_whether_an_optional_part_is_there(kind, is_instance):
    into = kind() if is_instance else kind
    found = fill(into, {"enc": {"decay": 0.5}, "ema": None})
    assert (found.config.enc, found.config.ema) == (Averaging(decay=0.5), None)
    assert found.provenance["ema"].value is None
    found = fill(into, {})
    assert (found.config.enc, found.config.ema) == (None, Averaging())


def test_a_part_without_entries_is_there_and_has_its_defaults():
    assert fill(OptionalParts, {"enc": {}}).config.enc == Averaging()
    bare = dataclasses.make_dataclass("Bare", [])
    whole = dataclasses.make_dataclass("Whole", [("enc", bare | None, None)])
    assert fill(whole, {}, overrides={"enc": bare()}).config.enc == bare()
    needed = dataclasses.make_dataclass("Needed", [("enc", Encoder)])
    assert fill(needed, {}).config.enc == Encoder()


def test_what_an_instance_says_of_an_optional_part_weighs_more_than_what_was_saved():
    kept = fill(
        OptionalParts(enc=Averaging(decay=0.7), ema=None), {"enc": None, "ema": {"decay": 0.1}}
    ).config
    assert kept == OptionalParts(Averaging(decay=0.7), None)


def test_overrides_reach_into_optional_parts_and_replace_whole_ones():
    saved = {"enc": {"decay": 0.5}}
    assert fill(OptionalParts, saved, overrides={"enc.decay": 0.1}).config.enc == Averaging(decay=0.1)
    assert fill(OptionalParts, {}, overrides={"enc": {"decay": 0.1}}).config.enc == Averaging(decay=0.1)
    assert fill(OptionalParts, saved, overrides={"enc": NONE}).config.enc is None
    found = fill(Config, SAVED, overrides={"optim": Optim(lr=7.0)})
    assert found.config.optim == Optim(lr=7.0)
    assert found.provenance["optim.betas"].source == "override"


def test_a_class_that_holds_itself_ends_where_the_saved_values_do():
    chain = {"width": 1, "inner": {"width": 2, "inner": {"width": 3}}}
    assert fill(Chain, chain).config == Chain(1, Chain(2, Chain(3)))


@dataclasses.dataclass(frozen=True)
class Chain:
    width: int = 0
    inner: Chain | None = None


def test_shapes_settle_what_is_in_an_optional_part():
    whole = dataclasses.make_dataclass("Whole", [("enc", Encoder | None, None)])
    weights, rules = {"enc/w": np.zeros((16, 4))}, {"enc/w": "enc.width _"}
    found = resolve_config(weights, whole, rules=rules, overrides={"enc.depth": 3})
    assert found.config.enc == Encoder(16, 3)
    with pytest.raises(ConfigConflictError, match=r"gives enc.width = 16; config says 8 \(override"):
        resolve_config(weights, whole, rules=rules, overrides={"enc": Encoder(8)})


def test_a_dict_field_is_overridden_as_a_whole():
    assert fill(Config, SAVED, overrides={"extra": {"b": {"c": 2}}}).config.extra == {"b": {"c": 2}}


def test_keys_of_a_dict_stay_what_they_are():
    assert fill({"d": {1: 0}}, {"d": {1: 2}}).config == {"d": {1: 2}}


def test_defaults_may_be_an_object_of_the_class_that_is_filled():
    found = resolve_config({}, Encoder, defaults=Encoder(width=9), beside=False)
    assert found.config == Encoder(9, 2)


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        (list[Needs], [{"a": 1, "b": 2}], [Needs(1, 2)]),
        (dict[str, Encoder], {"x": {"width": 1}}, {"x": Encoder(1)}),
        (Encoder | Needs | None, {"a": 1, "b": 2}, Needs(1, 2)),
        (list[Averaging], [{"decay": 1}], [Averaging(decay=1.0)]),
        (Pair, {"a": 1, "b": 2}, Pair(1, 2)),
        (Mode, 3, Mode.TRAIN | Mode.EVAL),
    ],
    ids=str,
)
def test_objects_are_made_of_saved_entries(annotation, value, expected):
    assert coerced(annotation, value) == expected


@pytest.mark.parametrize(
    ("annotation", "value", "problem"),
    [
        (list[Needs], [{"a": 1}], "lacks b, which Needs needs"),
        (Pair, [1, 2, 3], "makes no Pair: .*positional arguments"),
        (list[Averaging], [{"decay": "fast"}], "is no number"),
        (int | str, 1.5, "is none of int, str"),
        (int | None, 1.5, "is no whole number"),
    ],
    ids=str,
)
def test_objects_that_cannot_be_made_are_named(annotation, value, problem):
    with pytest.raises(UsageError, match=rf"Kind does not take 1 of the values\n  value: .*{problem}"):
        coerced(annotation, value)


def test_entries_that_an_object_has_no_place_for_are_lost_and_said(tmp_path):
    from ckpt_core import save_checkpoint

    kind = dataclasses.make_dataclass("Kind", [("parts", list[Encoder])])
    saved = {"parts": [{"width": 1, "gone": 3}]}
    save_checkpoint(tmp_path / "a.pth", {"model": {"w": np.zeros(2)}, "config": saved})
    found = resolve_config(tmp_path / "a.pth", kind)
    assert found.config.parts == [Encoder(1)]
    assert found.lost == {"parts.0.gone": 3}


def test_a_pydantic_instance_is_validated_and_read_by_its_alias():
    class Checked(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(frozen=True)
        width: int = pydantic.Field(default=1, gt=0, alias="W")
        parts: list[Averaging] = []

    found = fill(Checked(), {"W": 3, "parts": [{"decay": 0.5}]}).config
    assert (found.width, found.parts) == (3, [Averaging(decay=0.5)])
    with pytest.raises(UsageError, match=r"Checked does not take these values(.|\n)*greater than 0"):
        fill(Checked(W=2), {}, overrides={"width": -3})


@pytest.mark.parametrize("kind", [dict, argparse.Namespace])
def test_a_config_that_holds_itself_is_no_config(kind):
    into = kind(a=1)
    (into if kind is dict else vars(into))["me"] = into
    with pytest.raises(LimitError, match="too deeply nested for a config"):
        fill(into)


class Loose(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    width: int = 4


class Around(pydantic.BaseModel):
    inner: Loose = Loose()


SPARE = {"width": 8, "seed": 3, "data": {"root": "/d", "sizes": [1, 2]}}


@pytest.mark.parametrize("into", [Loose, Loose(), Loose(kept=1)])
def test_a_model_that_allows_more_takes_what_it_does_not_declare(into, tmp_path):
    save_checkpoint(tmp_path / "a.pth", torch.nn.Linear(2, 2), epoch=1, config=SPARE)
    resolved = resolve_config(tmp_path / "a.pth", into, overrides={"extra.deep": 5})
    kept = {} if isinstance(into, type) else into.model_extra
    assert resolved.config.width == 8
    assert resolved.config.model_extra == {**kept, "seed": 3, "data": SPARE["data"], "extra": {"deep": 5}}
    assert resolved.lost == {}
    sources = {name: resolved.provenance[name].source for name in ("data.root", "extra.deep")}
    assert sources == {"data.root": "saved", "extra.deep": "override"}
    assert isinstance(into, type) or into.width == 4


def test_only_the_part_that_allows_more_takes_it(tmp_path):
    save_checkpoint(tmp_path / "a.pth", torch.nn.Linear(2, 2), epoch=1, config={"inner": SPARE, "other": 1})
    resolved = resolve_config(tmp_path / "a.pth", Around)
    assert resolved.config.inner.model_extra == {"seed": 3, "data": SPARE["data"]}
    assert resolved.lost == {"other": 1}
    with pytest.raises(UsageError, match="has no field 'nothing'"):
        resolve_config({}, Around, overrides={"nothing": 1}, beside=False)


# What save_checkpoint writes of a config comes home.


class Act(enum.Enum):
    RELU = "relu"
    GELU = "gelu"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@dataclasses.dataclass
class Rich:
    act: Act = Act.RELU
    level: Level = Level.LOW
    folder: Path = Path("a")
    tags: frozenset[str] = frozenset()
    sizes: set[int] = dataclasses.field(default_factory=set)
    names: dict[int, str] = dataclasses.field(default_factory=dict)
    day: datetime.date = datetime.date(2020, 1, 1)
    dtype: torch.dtype = torch.float32
    loss: Callable[..., Any] = torch.nn.functional.l1_loss
    optim: Optim = Optim()


class RichModel(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    act: Act = Act.RELU
    level: Level = Level.LOW
    when: datetime.datetime = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
    token: str = pydantic.Field(default_factory=lambda: uuid.uuid4().hex)
    optim: OptimModel = OptimModel()


RICH = Rich(
    Act.GELU,
    Level.HIGH,
    Path("b"),
    frozenset({"x", "y"}),
    {1, 2},
    {3: "c"},
    datetime.date(2025, 2, 3),
    optim=Optim(0.5),
)
PLAIN = {
    "act": "gelu", "level": 2, "folder": "b", "tags": ["x", "y"], "sizes": [1, 2], "names": {"3": "c"},
    "day": "2025-02-03", "dtype": "torch.float32", "loss": "torch.nn.functional.l1_loss",
    "optim": {"lr": 0.5, "betas": (0.9, 0.999)},
}  # fmt: skip


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors", "a.msgpack", "a.pkl", "a.orbax"])
def test_a_saved_dataclass_comes_home(tmp_path, name):
    save_checkpoint(tmp_path / name, torch.nn.Linear(2, 2), epoch=1, config=RICH)
    with open_checkpoint(tmp_path / name) as ckpt:
        assert ckpt.config == PLAIN
        assert resolve_config(ckpt, Rich).config == RICH
        assert not config_drift(ckpt, RICH)
        assert [change.name for change in config_drift(ckpt, Rich()).changes] == [
            "act", "level", "folder", "tags", "sizes", "names", "day", "optim.lr"
        ]  # fmt: skip


def test_a_saved_pydantic_model_comes_home(tmp_path):
    model = RichModel(
        act=Act.GELU,
        when=datetime.datetime(2025, 2, 3, tzinfo=datetime.timezone.utc),
        optim=OptimModel(lr=0.5),
    )
    save_checkpoint(tmp_path / "a.pth", torch.nn.Linear(2, 2), epoch=1, config=model)
    resolved = resolve_config(tmp_path / "a.pth", RichModel)
    assert resolved.config == model
    assert torch.load(tmp_path / "a.pth")["config"]["token"] == model.token, (
        "what it holds, and no new default"
    )


def test_a_saved_configdict_comes_home(tmp_path):
    saved = ml_collections.ConfigDict({"lr": 0.5, "net": {"width": 8, "dims": (1, 2)}, "none": {}})
    saved.seed = ml_collections.config_dict.required_placeholder(int)
    save_checkpoint(tmp_path / "a.pth", torch.nn.Linear(2, 2), epoch=1, config=saved)
    assert torch.load(tmp_path / "a.pth")["config"] == {
        "lr": 0.5, "net": {"width": 8, "dims": (1, 2)}, "none": {}
    }  # fmt: skip
    into = ml_collections.ConfigDict({"lr": 0.1, "net": {"width": 4, "dims": (0,)}})
    assert resolve_config(tmp_path / "a.pth", into).config.to_dict() == {
        "lr": 0.5, "net": {"width": 8, "dims": (1, 2)}
    }  # fmt: skip


def test_a_simple_namespace_is_filled_like_that_of_argparse(tmp_path):
    saved = types.SimpleNamespace(lr=0.5, net=types.SimpleNamespace(width=8))
    save_checkpoint(tmp_path / "a.pth", torch.nn.Linear(2, 2), epoch=1, config=saved)
    into = types.SimpleNamespace(lr=0.1, net=types.SimpleNamespace(width=4))
    assert resolve_config(tmp_path / "a.pth", into).config == saved
    assert into.net.width == 4


def test_what_is_saved_of_a_function_is_its_name():
    assert plain_config(
        {"act": torch.nn.GELU, "own": fill, "part": np.float32(2), "flag": np.bool_(True)}
    ) == {
        "act": "torch.nn.modules.activation.GELU",
        "own": f"{__name__}.fill",
        "part": 2.0,
        "flag": True,
    }
