"""What live models expect, as the frameworks' own state dicts and states have it."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import optax
import pytest
import torch
from flax import linen, nnx
from flax.training.train_state import TrainState

from ckpt_core.errors import DamagedFileError
from ckpt_core.template import read_template, template_json, template_of

X = jnp.ones((2, 4, 4, 1))


def names(template):
    return {slot.name for slot in template.slots}


def layers(template):
    return {slot.name: slot.layer for slot in template.slots}


# torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(4, 8, 3, groups=2)
        self.norm = torch.nn.BatchNorm2d(8)
        self.attention = torch.nn.MultiheadAttention(8, 2)
        self.embed = torch.nn.Embedding(5, 8)
        self.head = torch.nn.Linear(8, 5, bias=False)
        self.head.weight = self.embed.weight
        self.own = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(2, 3))
        self.register_buffer("mask", torch.ones(3))
        self.register_buffer("cache", torch.ones(3), persistent=False)


def test_a_torch_module_expects_its_state_dict():
    model = Net()
    state = model.state_dict()
    template = template_of(model)
    assert template.framework == "torch"
    assert names(template) == {name.replace(".", "/") for name in state}
    for slot in template.slots:
        tensor = state[".".join(slot.path)]
        assert slot.spec.shape == tuple(tensor.shape)
        assert f"torch.{slot.spec.dtype}" == str(tensor.dtype)
    buffers = {name.replace(".", "/") for name, _ in model.named_buffers()} - {"cache"}
    assert {slot.name for slot in template.slots if slot.role == "buffer"} == buffers
    assert {slot.name: slot.tied for slot in template.slots if slot.tied} == {
        "head/weight": ("embed", "weight")
    }


def test_layers_of_torch_have_their_settings():
    found = layers(template_of(Net()))
    assert found["conv/weight"]["type"] == "Conv2d"
    assert found["conv/weight"]["groups"] == 2
    assert found["attention/in_proj_weight"]["num_heads"] == 2
    assert found["attention/out_proj/weight"]["type"] == "Linear"
    assert found["norm/running_mean"]["type"] == "BatchNorm2d"
    own = found["own/parametrizations/weight/original0"]
    assert (own["type"], own["parametrization"]) == ("Linear", ["_WeightNorm"])


def test_a_class_of_ones_own_is_named_beside_the_layer_it_derives_from():
    class Scaled(torch.nn.Linear):
        pass

    layer = layers(template_of(torch.nn.Sequential(Scaled(2, 2))))["0/weight"]
    assert (layer["type"], layer["class"]) == ("Linear", "Scaled")


def test_the_meta_device_expects_the_same():
    with torch.device("meta"):
        hollow = Net()
    assert template_of(hollow) == template_of(Net())


def test_free_form_state_is_no_array():
    class Keeper(torch.nn.Linear):
        def get_extra_state(self):
            return {"seen": 3}

        def set_extra_state(self, state):
            self.seen = state["seen"]

    template = template_of(Keeper(2, 2))
    assert names(template) == {"weight", "bias"}
    assert template.extra == ("_extra_state",)


def test_wrappers_keep_their_prefix():
    assert names(template_of(torch.nn.DataParallel(torch.nn.Linear(2, 2)))) == {
        "module/weight",
        "module/bias",
    }


# Flax


class Setup(linen.Module):
    def setup(self):
        self.conv = linen.Conv(4, (3, 3), feature_group_count=1)
        self.layers = [linen.Dense(3) for _ in range(2)]

    def __call__(self, x):
        x = self.conv(x)
        for layer in self.layers:
            x = layer(x)
        return x


class Compact(linen.Module):
    @linen.compact
    def __call__(self, x):
        x = Setup()(x)
        x = linen.ConvTranspose(3, (2, 2), transpose_kernel=True, name="up")(x)
        return linen.BatchNorm(use_running_average=False)(linen.Dense(3)(x))


def test_linen_variables_have_roles_by_collection():
    variables = Compact().init(jax.random.key(0), X)
    shapes = jax.eval_shape(Compact().init, jax.random.key(0), X)
    template = template_of((Compact(), variables))
    assert template.framework == "flax"
    leaves = jax.tree_util.tree_flatten_with_path(variables)[0]
    assert names(template) == {"/".join(str(key.key) for key in path[1:]) for path, _ in leaves}
    buffers = {slot.name for slot in template.slots if slot.role == "buffer"}
    assert buffers == {"BatchNorm_0/mean", "BatchNorm_0/var"}
    assert template_of((Compact(), shapes)) == template
    assert names(template_of(variables)) == names(template_of(Compact().bind(variables))) == names(template)


def test_layers_of_linen_are_known_from_setup_and_from_names():
    variables = Setup().init(jax.random.key(0), X)
    found = layers(template_of(Setup().bind(variables)))
    assert found["conv/kernel"]["type"] == "nn.Conv"
    assert found["conv/kernel"]["feature_group_count"] == 1
    assert found["layers_1/kernel"]["features"] == 3
    found = layers(template_of((Compact(), Compact().init(jax.random.key(0), X))))
    assert found["Dense_0/kernel"] == {"type": "nn.Dense"}
    assert found["up/kernel"] == {}


def test_a_train_state_expects_its_weights():
    variables = Setup().init(jax.random.key(0), X)
    state = TrainState.create(apply_fn=None, params=variables["params"], tx=optax.adam(1e-3))
    assert names(template_of(state)) == names(template_of(variables))
    assert template_of(jax.eval_shape(lambda: state)) == template_of(state)


class Nnx(nnx.Module):
    def __init__(self, rngs):
        self.up = nnx.ConvTranspose(1, 4, (3, 3), transpose_kernel=True, rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.layers = nnx.List([nnx.Linear(4, 4, rngs=rngs) for _ in range(2)])
        self.attention = nnx.MultiHeadAttention(2, 4, decode=False, rngs=rngs)


def test_nnx_models_are_known_by_their_graph():
    model = Nnx(nnx.Rngs(0))
    template = template_of(model)
    found = layers(template)
    assert found["up/kernel"]["type"] == "nnx.ConvTranspose"
    assert found["up/kernel"]["transpose_kernel"] is True
    assert found["layers/1/kernel"]["type"] == "nnx.Linear"
    assert {slot.name for slot in template.slots if slot.role == "buffer"} == {"norm/mean", "norm/var"}
    assert {"/".join(path) for path in template.optional} == {"drop/rngs/count", "drop/rngs/key/data"}
    assert template_of(nnx.eval_shape(lambda: Nnx(nnx.Rngs(0)))) == template
    assert names(template_of(nnx.state(model))) == names(template)


# Files


def test_a_template_goes_through_json(tmp_path):
    template = template_of(Net())
    path = tmp_path / "t.json"
    path.write_text(json.dumps(template_json(template)))
    read = read_template(path)
    assert read.slots == template.slots
    assert (read.framework, read.title) == ("torch", str(path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "something"}, "is JSON, and no template"),
        ({"version": 2}, "is a template of version 2, not 1"),
        ({"slots": None}, "has no list of slots"),
        ({"slots": [{"shape": [1]}]}, r"slots\[0\]: has no path"),
        ({"slots": [{"path": "w", "shape": [-1], "dtype": "float32"}]}, r"has no shape: \[-1\]"),
        ({"slots": [{"path": "w", "shape": [1], "dtype": "float3"}]}, "has an unknown dtype"),
        ({"slots": [{"path": "w", "shape": [1], "dtype": "float32", "role": "x"}]}, "has an unknown role"),
    ],
)
def test_a_damaged_template_says_what_is_wrong(change, message, tmp_path):
    path = tmp_path / "t.json"
    path.write_text(
        json.dumps({"kind": "ckpt-template", "version": 1, "framework": "", "slots": [], **change})
    )
    with pytest.raises(DamagedFileError, match=message):
        read_template(path)
