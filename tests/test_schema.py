"""What a tree means: the layouts that are recognised, and the parts that come out of them."""

from __future__ import annotations

import copy
import pickle
import random

import numpy as np
import optax
import pytest
import torch

from ckpt_core.aliases import unshare
from ckpt_core.arrays import LazyArray
from ckpt_core.backend import Stored
from ckpt_core.errors import UnknownFormatError, UsageError
from ckpt_core.opening import checkpoint_of, open_checkpoint
from ckpt_core.schema import Checkpoint
from ckpt_core.select import Selection, matches, selected
from ckpt_core.tree import Alias, Global, Part, Record, flatten


def array(*shape: int, dtype: str = "float32", fill: float = 0.0) -> LazyArray:
    return LazyArray.from_numpy(np.full(shape, fill, dtype))


def opened(tree, layout=None) -> Checkpoint:
    return checkpoint_of(Stored(unshare(tree)), layout=layout, format="memory")


def state_dict() -> dict:
    return {
        "encoder.conv1.weight": array(8, 3, 3, 3),
        "encoder.bn.running_mean": array(8),
        "encoder.bn.num_batches_tracked": array(dtype="int64"),
        "head.weight": array(10, 8),
    }


def adamw() -> dict:
    slots = {"step": array(fill=7.0), "exp_avg": array(10, 8), "exp_avg_sq": array(10, 8)}
    group = {
        "lr": 1e-3,
        "betas": (0.9, 0.999),
        "amsgrad": False,
        "decoupled_weight_decay": True,
        "params": [0],
    }
    return {"state": {0: slots}, "param_groups": [group]}


def test_a_bare_state_dict():
    ckpt = opened(state_dict())
    assert ckpt.layout == "state_dict"
    assert [name for name, _ in ckpt.params.leaves()] == ["encoder/conv1/weight", "head/weight"]
    assert [name for name, _ in ckpt.buffers.leaves()] == [
        "encoder/bn/running_mean",
        "encoder/bn/num_batches_tracked",
    ]
    assert ckpt.params["encoder"]["conv1"]["weight"] is ckpt.params["encoder/conv1/weight"]
    assert (ckpt.step, ckpt.epoch, ckpt.config, ckpt.metrics, ckpt.opt_state) == (None, None, {}, {}, None)
    with pytest.raises(KeyError, match="there is: encoder, head"):
        ckpt.params["decoder"]
    with pytest.raises(KeyError, match=r"did you mean encoder/conv1/weight\? there is: encoder, head"):
        ckpt.params["encoder.conv1.weight"]
    assert "encoder/conv1/weight" in ckpt.params and "encoder/conv1" in ckpt.params
    assert ckpt.params.get("encoder/conv1/weight") is ckpt.params["encoder"]["conv1"]["weight"]
    for absent in ("encoder/conv2", "encoder/", "encoder.conv1", 5, None):
        assert absent not in ckpt.params and ckpt.params.get(absent, "none") == "none"


def test_a_training_dict():
    ckpt = opened(
        {
            "epoch": 10,
            "global_step": np.int64(4120),
            "model_state_dict": state_dict(),
            "optimizer_state_dict": adamw(),
            "scheduler_state_dict": {"last_epoch": 10},
            "val_loss": np.float64(0.3876),
            "train_losses": [0.5, 0.4],
            "args": Record("argparse.Namespace", {"lr": 1e-3, "path": None}),
            "num_slots": 7,
            "rng_state": array(5, dtype="uint8"),
            "git": Record("some.Class", {"sha": "abc"}),
        }
    )
    assert ckpt.layout == "training_dict"
    assert (ckpt.epoch, ckpt.step) == (10, 4120)
    assert ckpt.metrics == {"val_loss": 0.3876, "train_losses": [0.5, 0.4]}
    assert type(ckpt.metrics["val_loss"]) is float
    assert ckpt.config["lr"] == 1e-3
    assert ckpt.config["num_slots"] == 7
    assert list(ckpt.schedulers) == ["scheduler_state_dict"]
    assert list(ckpt.rng) == ["rng_state"]
    state = ckpt.opt_state
    assert state.kind == ("adamw",)
    assert state.step == 7
    assert set(state.slots) == {"mu", "nu"}
    assert state.hyperparams["lr"] == 1e-3


def test_plain_values_beside_the_weights_are_config():
    ckpt = opened(
        {"epoch": 1, "model_state_dict": state_dict(), "num_slots": 7, "arch": "cnn", "best_acc": 0.5}
    )
    assert ckpt.config == {"num_slots": 7, "arch": "cnn"}
    assert ckpt.metrics == {"best_acc": 0.5}


def flax_params() -> dict:
    return {"Conv_0": {"kernel": array(3, 3, 1, 8), "bias": array(8)}, "Dense_0": {"kernel": array(8, 10)}}


def adam_state() -> tuple:
    moments = {"mu": flax_params(), "nu": flax_params()}
    first = Record(
        "optax._src.transform.ScaleByAdamState", {"count": array(dtype="int32", fill=5), **moments}
    )
    return (first, Record("optax._src.base.EmptyState"))


def test_a_flax_train_state():
    tree = Record(
        "flax.training.train_state.TrainState",
        {
            "step": array(dtype="int32", fill=5),
            "apply_fn": Global("model.apply"),
            "params": Record("flax.core.frozen_dict.FrozenDict", flax_params()),
            "opt_state": adam_state(),
            "batch_stats": {"BatchNorm_0": {"mean": array(8)}},
        },
    )
    ckpt = opened(tree)
    assert ckpt.layout == "train_state"
    assert ckpt.step == 5
    assert [name for name, _ in ckpt.params.leaves()] == ["Conv_0/kernel", "Conv_0/bias", "Dense_0/kernel"]
    assert [name for name, _ in ckpt.buffers.leaves()] == ["BatchNorm_0/mean"]
    assert ckpt.opt_state.step == 5
    assert "adamw" in ckpt.opt_state.kind
    assert ckpt.opt_state.slots["mu"] == flax_params() or set(ckpt.opt_state.slots) == {"mu", "nu"}
    assert ckpt.metadata.extra == {"apply_fn": Global("model.apply")}


@pytest.mark.parametrize("nested", [True, False])
def test_state_beside_metadata_and_its_flat_form(nested):
    state = {"params": flax_params(), "opt_state": adam_state(), "step": 9}
    metadata = {"epoch": 3, "config": {"lr": 0.1}}
    tree = {"state": state, "metadata": metadata} if nested else {**state, **metadata}
    ckpt = opened({**tree, "timestamp": 1763.5})
    assert ckpt.layout == ("state_metadata" if nested else "train_state")
    assert (ckpt.step, ckpt.epoch, ckpt.config, ckpt.timestamp) == (9, 3, {"lr": 0.1}, 1763.5)
    assert ckpt.metadata.extra == {}


def test_flax_variables_and_nnx_states():
    ckpt = opened({"params": flax_params(), "batch_stats": {"mean": array(8)}})
    assert ckpt.layout == "variables"
    assert [name for name, _ in ckpt.buffers.leaves()] == ["mean"]
    nnx = opened({"layers": {"0": {"kernel": {"value": array(2, 3)}, "bias": {"value": array(3)}}}})
    assert [name for name, _ in nnx.params.leaves()] == ["layers/0/kernel", "layers/0/bias"]


def module(parameters=(), buffers=(), children=()) -> Record:
    fields = {
        "training": True,
        "_parameters": dict(parameters),
        "_buffers": dict(buffers),
        "_modules": dict(children),
    }
    return Record("models.Net", fields)


def test_a_whole_pickled_module():
    inner = module({"weight": array(2, 2), "bias": None}, {"running_scale": array(2)})
    ckpt = opened(module(children={"fc": inner, "again": inner}))
    assert ckpt.layout == "module"
    assert [name for name, _ in ckpt.params.leaves()] == ["fc/weight", "again/weight"]
    assert [name for name, _ in ckpt.buffers.leaves()] == ["fc/running_scale", "again/running_scale"]
    inside = opened({"model": module({"w": array(1)}), "epoch": 1})
    assert [name for name, _ in inside.params.leaves()] == ["w"]


def test_what_nobody_recognises_keeps_its_arrays():
    ckpt = opened([array(2), {"x": array(3)}, "text"])
    assert ckpt.layout is None
    assert [name for name, _ in ckpt.params.leaves()] == ["0", "1/x"]
    assert any("no layout recognised" in note for note in ckpt.metadata.notes)


def test_the_value_decides_not_the_key():
    optimizer = opened({"model": state_dict(), "opt": adamw()})
    assert list(optimizer.opt_states) == ["opt"]
    settings = opened({"model": state_dict(), "opt": Record("argparse.Namespace", {"lr": 1})})
    assert settings.opt_states == {}
    assert settings.config == {"lr": 1}
    text = opened({"model": "resnet18", "state_dict": state_dict()})
    assert text.config == {"model": "resnet18"}


def test_several_optimizers_must_be_named():
    ckpt = opened(
        {"netG": state_dict(), "netD": state_dict(), "optimizer_G": adamw(), "optimizer_D": adamw()}
    )
    assert list(ckpt.params) == ["netG", "netD"]
    assert list(ckpt.opt_states) == ["optimizer_G", "optimizer_D"]
    with pytest.raises(UsageError, match="holds 2 optimizers: optimizer_G, optimizer_D"):
        _ = ckpt.opt_state


def test_wrapper_prefixes_are_noticed_and_removed_on_request():
    wrapped = {f"module._orig_mod.{name}": leaf for name, leaf in state_dict().items()}
    ckpt = opened({"model": wrapped, "epoch": 1})
    assert ckpt.metadata.prefixes == ("module", "_orig_mod")
    tree, _ = selected(ckpt, Selection(strip_prefix="module._orig_mod"))
    assert list(tree["model"]) == list(state_dict())
    with pytest.raises(UsageError, match="no name of a weight begins"):
        selected(opened(state_dict()), Selection(strip_prefix="module"))


def test_replicated_leaves_are_noticed_and_proven():
    copies = {
        "params": {"w": LazyArray.from_numpy(np.ones((4, 3), np.float32))},
        "step": array(4, dtype="int32", fill=2),
    }
    ckpt = opened(copies)
    assert ckpt.metadata.replicas == 4
    assert ckpt.step == 2
    one = ckpt.unreplicated()
    assert one.params["w"].shape == (3,)
    assert one.step == 2
    copies["params"]["w"] = LazyArray.from_numpy(np.arange(12, dtype=np.float32).reshape(4, 3))
    with pytest.raises(UsageError, match="the copies of params/w differ"):
        opened(copies).unreplicated()


def test_nothing_is_lost_between_the_roles():
    tree = {
        "model_state_dict": state_dict(),
        "odd": {"deep": [1, {"x": array(1)}]},
        5: "five",
        "when": Record("q.T"),
    }
    ckpt = opened(tree)
    assert set(ckpt.metadata.extra) == {"odd", "(5)", "when"}


def test_layouts_can_be_named():
    tree = {"params": flax_params(), "step": 1}
    assert opened(tree, "training_dict").layout == "training_dict"
    with pytest.raises(UsageError, match="is not arranged as module"):
        opened(tree, "module")
    with pytest.raises(UnknownFormatError, match=r"Known layouts: .*train_state"):
        opened(tree, "nothing")


def test_only_writes_the_models_own_names_and_says_what_is_left():
    ckpt = opened({"epoch": 1, "model_state_dict": state_dict(), "ema": state_dict(), "note": "x"})
    tree, left = selected(ckpt, Selection(only=("params",)))
    assert list(tree) == ["encoder.conv1.weight", "head.weight"]
    assert {"epoch", "note", "model_state_dict/encoder.bn.running_mean"} <= {remark.path for remark in left}
    weights, _ = selected(ckpt, Selection(only=("weights",)))
    assert set(weights) == set(state_dict())
    averaged, _ = selected(ckpt, Selection(only=("ema",)))
    assert list(averaged) == list(state_dict())
    nested, _ = selected(opened({"params": flax_params(), "step": 1}), Selection(only=("params",)))
    assert nested == flax_params() or list(nested) == ["Conv_0", "Dense_0"]
    with pytest.raises(UsageError, match="there are no ema"):
        selected(opened(state_dict()), Selection(only=("ema",)))
    with pytest.raises(UsageError, match="only= takes"):
        selected(ckpt, Selection(only=("everything",)))


def test_selecting_by_pattern():
    ckpt = opened({"epoch": 1, "model_state_dict": state_dict()})
    tree, left = selected(ckpt, Selection(select=("model_state_dict/encoder/**",)))
    assert list(tree["model_state_dict"]) == [name for name in state_dict() if name.startswith("encoder")]
    assert {remark.path for remark in left} == {"epoch", "model_state_dict/head.weight"}
    only, _ = selected(ckpt, Selection(only=("params",), select=("head.*",)))
    assert list(only) == ["head.weight"]
    with pytest.raises(UsageError, match=r"'nothing/\*' matches nothing"):
        selected(ckpt, Selection(select=("nothing/*",)))


def test_what_is_shared_with_a_part_that_is_left_is_written():
    rates = [0.1, 0.2]
    loop: dict = {"rates": rates}
    loop["self"] = loop
    state = adamw()
    state["param_groups"][0] |= {"schedule": rates, "loop": loop}
    tree = unshare({"args": {"rates": rates}, "model": state_dict(), "optimizer": state, "other": loop})
    found, _ = selected(opened(tree), Selection(layout="train_state"))
    assert found["opt_state"]["param_groups"][0]["schedule"] == rates
    assert list(found["opt_state"]["param_groups"][0]["loop"]) == ["rates", "self"]
    assert not [leaf for _, leaf in flatten(found) if isinstance(leaf, Alias)]
    found, left = selected(opened(tree), Selection(select=("optimizer/param_groups/**", "other/**")))
    assert found["optimizer"]["param_groups"][0]["schedule"] == rates == found["other"]["rates"]
    assert "args/rates/[0]" in {remark.path for remark in left}


@pytest.mark.parametrize("tree", [False, 3, None, {"a": 1}, []])
def test_where_there_are_no_weights(tree):
    with pytest.raises(UsageError, match="there are no weights in it"):
        selected(opened(tree), Selection(only=("weights",)))


@pytest.mark.parametrize("step", [2**70, -(2**5000), np.float64(3), np.int8(3)])
def test_a_step_may_be_any_number(step):
    assert opened({"model": state_dict(), "step": step}).step == int(step)


@pytest.mark.parametrize("step", [float("nan"), float("inf"), 1 + 2j, np.complex64(1), "3", None])
def test_what_counts_nothing_is_no_step(step):
    assert opened({"model": state_dict(), "step": step}).step is None


@pytest.mark.parametrize(
    ("name", "pattern", "fits"),
    [
        ("a/b/c", "a/**", True),
        ("a.b.c", "a/**", True),
        ("a/b/c", "a/*", False),
        ("a/b", "a.*", True),
        ("a/b/kernel", "**/kernel", True),
        ("kernel", "**/kernel", True),
        ("a/kernels", "**/kernel", False),
        ("a", "a/**", True),
        ("ab", "a?", True),
        ("a+b", "a+b", True),
    ],
)
def test_patterns(name, pattern, fits):
    assert matches(name, (pattern,)) is fits


def test_casting_touches_the_weights_alone():
    ckpt = opened({"model_state_dict": state_dict(), "optimizer_state_dict": adamw()})
    tree, _ = selected(ckpt, Selection(cast="bf16"))
    assert tree["model_state_dict"]["head.weight"].dtype == "bfloat16"
    assert tree["model_state_dict"]["encoder.bn.num_batches_tracked"].dtype == "int64"
    assert tree["optimizer_state_dict"]["state"][0]["exp_avg"].dtype == "float32"
    for wrong in ("int8", np.float16):
        with pytest.raises(UsageError, match="no floating-point dtype"):
            selected(ckpt, Selection(cast=wrong))  # type: ignore[arg-type]  # not a name: that is the point


def test_another_layout_names_what_it_has_no_place_for():
    ckpt = opened({"epoch": 3, "model_state_dict": state_dict(), "optimizer_state_dict": adamw(), "step": 8})
    tree, left = selected(ckpt, Selection(layout="train_state"))
    assert list(tree) == ["step", "params", "batch_stats", "opt_state"]
    assert [remark.path for remark in left] == ["epoch"]
    back = opened(tree)
    assert back.layout == "train_state"
    again, _ = selected(back, Selection(layout="training_dict"))
    assert sorted(again["model_state_dict"]) == sorted(state_dict())
    assert len(flatten(tree)) >= 6


def test_parameters_with_attributes_of_their_own_are_weights():
    wrapped = Record("torch.nn.parameter.Parameter", {"data": array(2, 2)}, state={"tag": 1})
    ckpt = opened({"a.w": wrapped, "a.b": array(2)})
    assert ckpt.layout == "state_dict"
    assert [(name, leaf.shape) for name, leaf in ckpt.params.leaves()] == [("a/w", (2, 2)), ("a/b", (2,))]


def test_unlisted_keys_are_told_by_their_values():
    ckpt = opened({"encoder": state_dict(), "decoder": state_dict(), "optimizer_g": adamw(), "epoch": 2})
    assert ckpt.layout == "training_dict"
    assert list(ckpt.params) == ["encoder", "decoder"]
    assert list(ckpt.opt_states) == ["optimizer_g"]


@pytest.mark.parametrize("inner", ["train_state", "params"])
def test_a_step_of_a_checkpoint_manager_with_metrics(inner):
    state = (
        {"params": flax_params(), "opt_state": adam_state(), "step": 9}
        if inner == "train_state"
        else flax_params()
    )
    ckpt = opened({"default": state, "metrics": {"val_loss": 0.5}})
    assert ckpt.layout == "items"
    assert ckpt.step == (9 if inner == "train_state" else None)
    assert ckpt.metrics == {"val_loss": 0.5}
    assert [name for name, _ in ckpt.params.leaves()] == ["Conv_0/kernel", "Conv_0/bias", "Dense_0/kernel"]


def test_a_nested_tree_of_weights_alone_is_whole():
    tree = {
        "wte": {"weight": array(2)},
        "h": {"0": {"attn": {"weight": array(2)}}},
        "head": {"weight": array(2)},
    }
    assert [name for name, _ in opened(tree).params.leaves()] == [
        "wte/weight",
        "h/0/attn/weight",
        "head/weight",
    ]
    assert opened(tree).layout == "state_dict"
    beside = opened({**tree, "epoch": 3})
    assert [name for name, _ in beside.params.leaves()] == ["wte/weight", "h/0/attn/weight", "head/weight"]
    assert beside.epoch == 3


def test_nested_weights_alone_are_all_weights():
    """Blocks of different depth, a typed random key among them: none of it is left out."""
    key = {
        "count": {"value": array(dtype="uint32")},
        "key": {"value": {"impl": "fry", "data": array(2, dtype="uint32")}},
    }
    tree = {
        "head": {"kernel": {"value": array(2, 3)}},
        "blocks": {"0": {"dense": {"kernel": {"value": array(3, 3)}}}},
        "dropout": {"rngs": key},
    }
    ckpt = opened(tree)
    assert ckpt.layout == "nnx_state"
    assert [name for name, _ in ckpt.params.leaves()] == ["head/kernel", "blocks/0/dense/kernel"]
    assert [name for name, _ in ckpt.buffers.leaves()] == ["dropout/rngs/count", "dropout/rngs/key/data"]
    assert ckpt.metadata.extra == {}


def test_of_rival_counters_the_telling_one_counts_and_the_others_are_config():
    ckpt = opened({"num_steps": 1000, "model": state_dict(), "global_step": 30, "step": 2})
    assert ckpt.step == 30
    assert ckpt.config == {"num_steps": 1000, "step": 2}
    assert ckpt.metadata.extra == {}
    assert opened({"model": state_dict(), "iter_num": 2000}).step == 2000


def test_counters_that_are_nnx_variables():
    ckpt = opened({"opt_state": adam_state(), "step": {"value": array(fill=4)}, "model": flax_params()})
    assert ckpt.step == 4


def test_entries_beside_a_state_dict_that_describe_it():
    meta = {"epoch": 12, "iter": 2000, "classes": ("a", "b")}
    ckpt = opened({"meta": meta, "state_dict": state_dict(), "optimizer": adamw()})
    assert (ckpt.epoch, ckpt.step, ckpt.config) == (12, 2000, {"classes": ("a", "b")})
    assert opened({"meta": {"w": array(2)}, "state_dict": state_dict()}).epoch is None


def test_metrics_and_settings_of_one_name_stay_apart():
    train, val = {"loss": 0.5}, {"loss": 0.7}
    ckpt = opened({"model": state_dict(), "train_metrics": train, "val_metrics": val})
    assert ckpt.metrics == {"train_metrics": train, "val_metrics": val}
    args = {"lr": 0.1}
    assert opened({"model": state_dict(), "lr": 0.2, "args": args}).config == {"lr": 0.2, "args": args}


def test_metrics_in_groups_keep_the_name_of_the_group():
    tree = {
        "model": state_dict(),
        "train": {"loss": 0.5},
        "val": {"loss": 0.75, "top1_acc": 0.25, "by_class": {"iou": 0.5}},
        "epoch_metrics": {"lr": 0.1},
        "data": {"train_size": 100, "loss_weight": 2},
        "test": {"batch_size": 8, "loss": 1},
    }
    ckpt = opened(tree)
    assert ckpt.metrics == {key: tree[key] for key in ("train", "val", "epoch_metrics")}
    assert ckpt.config == {key: tree[key] for key in ("data", "test")}, "of settings not all are measures"


@pytest.mark.parametrize("key", ["state", "default"])
def test_an_item_that_describes_a_state(key):
    """Items of a CheckpointManager: the state, and JSON beside it."""
    state = {"params": {"w": array(2)}, "opt_state": {"mu": array(2)}, "step": 40}
    ckpt = opened({key: state, "meta": {"epoch": 5, "config": {"h": 16}}, "metrics": {"val_loss": 0.5}})
    assert (ckpt.step, ckpt.epoch, ckpt.config, ckpt.metrics) == (40, 5, {"h": 16}, {"val_loss": 0.5})


@pytest.mark.parametrize("key", ["metadata", "extra"])
def test_an_item_that_describes_the_parts_of_a_state(key):
    """Items of a CheckpointManager: a part of the state each, and JSON beside them."""
    tree = {"params": {"w": array(2)}, "opt_state": {"mu": array(2)}, key: {"epoch": 5, "lr": 0.5}}
    ckpt = opened(tree)
    assert (ckpt.layout, ckpt.epoch, ckpt.config) == ("train_state", 5, {"lr": 0.5})


def test_optimizers_in_one_dict_are_told_apart():
    ckpt = opened({"model": state_dict(), "optimizer": {"adam": adamw(), "muon": adamw()}})
    assert list(ckpt.opt_states) == ["optimizer[adam]", "optimizer[muon]"]
    assert all(state.step == 7 for state in ckpt.opt_states.values())


class Sharing(torch.nn.Module):
    """Modules and parameters that stand in two places, and a buffer that is no part of the state."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = torch.nn.Linear(2, 3)
        self.layers = torch.nn.ModuleList([self.encoder, torch.nn.BatchNorm1d(3)])
        self.scale = torch.nn.Parameter(torch.ones(2))
        self.scale.tag = "kept as an attribute"
        self.again = self.scale
        self.register_buffer("cache", torch.zeros(1), persistent=False)
        self.norm = torch.nn.BatchNorm1d(2)
        self.copied = copy.copy(self.norm)  # another object over the same tables


class Program(torch.nn.Module):
    """A module whose parts have names that trainers use for whole models."""

    def __init__(self) -> None:
        super().__init__()
        self.model = torch.nn.Linear(2, 2)
        self.head = torch.nn.BatchNorm1d(2)
        self.scale = torch.nn.Parameter(torch.ones(1))
        self.steps = 3

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.model(x) * self.scale * self.steps)


@pytest.mark.parametrize("kind", ["pickled", "scripted"])
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_whole_modules_have_the_names_of_their_state_dicts(tmp_path, kind):
    path = tmp_path / "model.pt"
    model = Sharing() if kind == "pickled" else Program()
    if kind == "pickled":
        torch.save(model, path)
    else:
        torch.jit.script(model).save(path)
    with open_checkpoint(path) as ckpt:
        assert ckpt.layout == "module"
        names = [name.replace("/", ".") for name, _ in (*ckpt.params.leaves(), *ckpt.buffers.leaves())]
        assert sorted(names) == sorted(model.state_dict())


def test_an_optimizer_alone():
    ckpt = opened(adamw())
    assert ckpt.layout == "optimizer"
    assert ckpt.opt_state.kind == ("adamw",)
    assert ckpt.params == {}
    assert ckpt.metadata.extra == {}


def test_a_plain_value_beside_nested_weights_is_config():
    ckpt = opened({"wte": {"weight": array(2)}, "h": {"0": {"weight": array(2)}}, "num_heads": 4})
    assert ckpt.layout == "training_dict"
    assert ckpt.config == {"num_heads": 4}
    assert [name for name, _ in ckpt.params.leaves()] == ["wte/weight", "h/0/weight"]


@pytest.mark.parametrize("name", ["key", "rng", "net", "model", "module", "student"])
def test_a_module_may_have_the_name_of_a_role(name):
    tree = {name: {"kernel": array(3, 3)}, "query": {"kernel": array(3, 3)}, "out": {"bias": array(3)}}
    ckpt = opened(tree)
    assert [leaf for leaf, _ in ckpt.params.leaves()] == [f"{name}/kernel", "query/kernel", "out/bias"]
    assert (ckpt.layout, ckpt.rng, ckpt.metadata.extra) == ("state_dict", {}, {})


def test_random_states_are_integers():
    words = array(2, dtype="uint32")
    ckpt = opened({"model": state_dict(), "rng": {"torch": words, "python": (3, (1, 2), None)}, "key": words})
    assert list(ckpt.rng) == ["rng", "key"]


def test_arrays_beside_the_models_are_named():
    ckpt = opened({"model": state_dict(), "epoch": 3, "centers": {"means": array(3, 4)}})
    assert ckpt.metadata.notes == ("arrays beside the model's, under keys that say nothing: centers",)
    assert list(ckpt.metadata.extra) == ["centers"]


def test_an_optimizer_that_shares_containers_with_the_weights(tmp_path):
    weights = {"dense": {"kernel": np.ones((2, 3), np.float32), "bias": np.zeros(3, np.float32)}}
    adam = optax.ScaleByAdamState(np.zeros((), np.int32), weights, weights)
    path = tmp_path / "state.pkl"
    path.write_bytes(pickle.dumps({"params": weights, "opt_state": (adam,), "step": 1}))
    with open_checkpoint(path) as ckpt:
        assert ckpt.tree["opt_state"][0]["mu"] == Alias(("params",))
        names = [name for name, _ in ckpt.params.leaves()]
        assert {slot: [name for name, _ in tree.leaves()] for slot, tree in ckpt.opt_state.slots.items()} == {
            "mu": names,
            "nu": names,
        }
        assert ckpt.opt_state.native[0]["mu"]["dense"]["bias"] is ckpt.params["dense/bias"]


def test_an_optimizer_that_holds_itself():
    state = {"mu": {"w": array(2)}, "nu": {"w": array(2)}}
    state["mu"]["again"] = state
    ckpt = opened({"params": {"w": array(2)}, "opt_state": state, "step": 1})
    assert "w" in ckpt.opt_state.slots["mu"]


@pytest.mark.parametrize("members", [5, None, "ab", [[1]], [{}], [(1, [2])], {"a": 1}])
def test_groups_of_an_optimizer_that_are_none(members):
    saved = adamw()
    saved["param_groups"][0]["params"] = members
    ckpt = opened({"model": state_dict(), "optimizer": saved})
    assert ckpt.opt_state.groups[0]["params"] == ()
    saved["param_groups"] = members
    assert opened({"model": state_dict(), "optimizer": saved}).opt_state.groups in ((), ({"params": ()},))


@pytest.mark.parametrize("group", ["_buffers", "_non_persistent_buffers_set"])
@pytest.mark.parametrize("value", ["text", 5, array(2), [1]])
def test_a_module_whose_tables_are_none(group, value):
    node = module({"w": array(1)}, {"b": array(2)})
    node[group] = value
    ckpt = opened(node)
    assert [name for name, _ in ckpt.params.leaves()] == ["w"]
    assert len(list(ckpt.buffers.leaves())) == (group != "_buffers")


def test_a_config_whose_objects_were_made_with_the_same_arguments():
    shared = (["cosine"],)
    made = {"a": Record("x.Schedule", args=shared), "b": Record("x.Schedule", args=shared)}
    ckpt = opened({"model": state_dict(), "config": made})
    assert ckpt.tree["config"]["b"].args == Alias(("config", "a", Part("args")))
    assert ckpt.config == {"a": ["cosine"], "b": ["cosine"]}


def test_attributes_of_a_whole_module_that_are_no_weights_are_told():
    def module(**fields):
        tables = {"_parameters": {"w": array(2)}, "_buffers": {"b": array(3)}, "_modules": {}}
        return Record("own.Layer", {**tables, **fields})

    assert not opened(module(copy=1)).metadata.notes
    weight = array(2)
    tied = module(flat=[weight])
    tied["_parameters"]["w"] = weight
    assert not opened(tied).metadata.notes
    outer = module(mask=array(4))
    outer["_modules"]["inner"] = module(packed=(array(5), 0.1))
    assert opened(outer).metadata.notes == (
        "2 arrays are attributes of modules, neither parameters nor buffers: _modules/inner/packed/[0], ...",
    )
    assert [name for name, _ in opened(outer).params.leaves()] == ["w", "inner/w"]


@pytest.mark.parametrize("key", ["py_rng", "anything"])
def test_states_of_random_generators_are_told_by_their_values(key, tmp_path):
    states = {key: random.Random(1).getstate(), "np_state": np.random.RandomState(1).get_state()}
    (tmp_path / "a.pkl").write_bytes(
        pickle.dumps({"model": {"w": np.ones(2, np.float32)}, "lr": 0.1, **states})
    )
    with open_checkpoint(tmp_path / "a.pkl") as ckpt:
        assert list(ckpt.rng) == [key, "np_state"]
        assert ckpt.config == {"lr": 0.1}
    numbers = {"model": state_dict(), "milestones": (3, (10, 20), None), "betas": (3, 0.9, 0.99)}
    assert not opened(numbers).rng


def test_an_entry_of_any_name_that_holds_the_epoch_describes_the_others():
    info = {"epoch": 9, "val": {"acc": 0.9}, "author": "jane"}
    ckpt = opened({"weights": state_dict(), "info": info, "args": {"epoch": 100, "lr": 0.1}})
    assert ckpt.epoch == 9
    assert ckpt.metrics == {"val": {"acc": 0.9}}
    assert ckpt.config == {"author": "jane", "epoch": 100, "lr": 0.1}


@pytest.mark.parametrize("names", [("actor", "actor_target"), ("critic", "actor", "step_of_it")])
def test_one_state_under_several_names(names):
    state = {"net": state_dict(), "opt": adamw()}
    ckpt = opened(unshare({**dict.fromkeys(names, state), "step": 3}))
    assert [name for name, _ in ckpt.params.leaves()] == ["encoder/conv1/weight", "head/weight"]
    assert len(ckpt.opt_states) == 1 and ckpt.step == 3
    assert set(ckpt.tree) == {*names, "step"}


def test_an_object_that_holds_itself_beside_weights():
    tree: dict = {"net": state_dict(), "opt": adamw(), "lr": 0.1}
    tree["history"] = tree
    ckpt = opened(unshare(tree))
    assert [name for name, _ in ckpt.params.leaves()] == ["encoder/conv1/weight", "head/weight"]
    assert [name for name, _ in opened(unshare([tree, {"epoch": 1}, tree])).params.leaves()]
