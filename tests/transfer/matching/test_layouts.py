"""Layouts of matrices within one framework: which side has its inputs first, and what a table is."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
import torch
from torch import nn
from transfer.matching.test_blocks import Shapes, two_layouts
from transfer.matching.test_lines import flax_layer, mapping, template

from ckpt_core.transfer.matching import plan_transfer
from ckpt_core.transfer.matching.words import read_segment


def without_biases(shapes: Shapes) -> Shapes:
    return {name: shape for name, shape in shapes.items() if not name.endswith("bias")}


@pytest.mark.parametrize("inputs_first", [True, False])
def test_matrices_without_biases_that_take_their_inputs_first_go_by_their_names(inputs_first: bool) -> None:
    sides = [
        template("torch", without_biases(two_layouts(first))) for first in (inputs_first, not inputs_first)
    ]
    plan = plan_transfer(*sides)
    assert not plan.unsettled
    assert {rule.source: rule.target for rule in plan.rules} == {
        rule.source: rule.source for rule in plan.rules
    }
    turned = {rule.target[0] for rule in plan.rules if rule.ops}
    assert turned == {
        f"h.{{i}}.{name}.weight" for name in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    }


@pytest.mark.parametrize(
    ("own", "other"), [("ff/W_{}", "ff/w{}/weight"), ("ff/fc{}/weight", "ff/lin{}/weight")]
)
def test_the_way_forth_is_not_the_way_back_of_a_model_with_other_layouts(own: str, other: str) -> None:
    source = {own.format(1): (8, 16), own.format(2): (16, 8), "attn/W_q": (8, 8), "attn/W_k": (8, 8)}
    target = {
        other.format(1): (16, 8),
        other.format(2): (8, 16),
        "attn/q/weight": (8, 8),
        "attn/k/weight": (8, 8),
    }
    for sides in ((source, target), (target, source)):
        plan = plan_transfer(*(template("torch", side) for side in sides))
        pairs = {(rule.source[0], rule.target[0]) for rule in plan.rules if rule.ops}
        forth = {tuple(name.format(n).replace("/", ".") for name in (own, other)) for n in (1, 2)}
        assert pairs >= (forth if sides[0] is source else {pair[::-1] for pair in forth})
        assert all(rule.ops for rule in plan.rules)


class Product(nn.Module):
    """A layer of one's own that has its inputs first."""

    def __init__(self, into: int, out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(into, out))


def test_square_matrices_of_a_class_of_ones_own_are_open_without_a_sibling() -> None:
    def layers(kind: type[nn.Module], *widths: int) -> nn.Sequential:
        return nn.Sequential(*(kind(width, 8) for width in widths))

    linear = functools.partial(nn.Linear, bias=False)
    plan = plan_transfer(layers(Product, 8, 8), layers(linear, 8, 8))
    assert not plan.rules
    assert all("turned round both fit" in line.reason for line in plan.unsettled)
    plan = plan_transfer(layers(Product, 5, 8, 8), layers(linear, 5, 8, 8))
    assert not plan.unsettled
    assert all(rule.ops for rule in plan.rules)


class Linear(nn.Module):
    """A layer of one's own that has its inputs first, called as torch's that has them last."""

    def __init__(self, into: int, out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(into, out))


def test_a_class_of_ones_own_with_the_name_of_torchs_is_not_torchs() -> None:
    target = template("flax", {f"Dense_{i}/kernel": (8, 8) for i in range(2)})
    plan = plan_transfer(nn.Sequential(Linear(8, 8), Linear(8, 8)), target)
    assert not plan.rules
    target = template("flax", {f"Dense_{i}/kernel": (8, 8 - 2 * i) for i in range(2)})
    plan = plan_transfer(nn.Sequential(Linear(8, 8), Linear(8, 6)), target)
    assert [(rule.source, rule.target, rule.ops) for rule in plan.rules] == [
        (("0.weight",), ("Dense_0/kernel",), ()),
        (("1.weight",), ("Dense_1/kernel",), ()),
    ]
    plan = plan_transfer(nn.Sequential(nn.Linear(8, 8, bias=False), nn.Linear(8, 6, bias=False)), target)
    assert len(plan.rules) == 2
    assert all(rule.ops for rule in plan.rules)


def test_only_the_own_name_of_an_array_says_that_it_is_a_table() -> None:
    names = (
        "cls/transform",
        "time_embedding/linear_2",
        "pos_embed/0",
        "encoder/relative_bias",
        "tok_embed",
        "ff/up",
    )
    shapes = ((8, 8), (8, 8), (8, 8), (4, 2), (8, 8), (16, 8))
    source = {f"{name}/weight": shape for name, shape in zip(names, shapes, strict=True)}
    kept = ("encoder/relative_bias/weight", "tok_embed/weight")
    target = {name: shape if name in kept else shape[::-1] for name, shape in source.items()}
    plan = plan_transfer(template("torch", source), template("torch", target))
    assert {rule.source[0] for rule in plan.rules if not rule.ops} == {
        name.replace("/", ".") for name in kept
    }
    assert not plan.unsettled


def test_kernels_with_an_axis_for_heads_become_dense_ones_in_one_framework() -> None:
    names = ("query", "key", "value", "out")
    apart: Shapes = {f"MultiHeadDotProductAttention_0/{name}/kernel": (8, 2, 4) for name in names[:3]}
    apart |= {"MultiHeadDotProductAttention_0/out/kernel": (2, 4, 8), "Dense_0/kernel": (8, 16)}
    apart |= {f"MultiHeadDotProductAttention_0/{name}/bias": (2, 4) for name in names[:3]}
    joined: Shapes = {f"attn/{name}_proj/kernel": (8, 8) for name in "qkvo"} | {"fc/kernel": (8, 16)}
    joined |= {f"attn/{name}_proj/bias": (8,) for name in "qkv"}
    for sides in ((apart, joined), (joined, apart)):
        plan = plan_transfer(*(template("flax", side) for side in sides))
        assert not plan.unsettled
        assert len(plan.rules) == len(joined)
        assert (
            {str(op) for rule in plan.rules for op in rule.ops} >= {"reshape(8, 8)"}
            if sides[0] is apart
            else True
        )


def test_arrays_called_w_and_b_are_the_layer_that_holds_them() -> None:
    source = {
        f"layer{i}/{name}": shape
        for i, width in enumerate((5, 8))
        for name, shape in (("W", (width, 8)), ("b", (8,)))
    }
    plan = plan_transfer(
        template("", source), template("flax", flax_layer("Dense_0", 5, 8) | flax_layer("Dense_1", 8, 8))
    )
    assert {rule.source[0]: rule.target[0] for rule in plan.rules if "layer0" in rule.source[0]} == {
        "layer0/W": "Dense_0/kernel",
        "layer0/b": "Dense_0/bias",
    }


def test_a_typed_convolution_does_not_become_a_transposed_one() -> None:
    source = nn.ModuleDict({"a": nn.Conv2d(4, 4, 3), "b": nn.ConvTranspose2d(4, 4, 3)})
    target = nn.ModuleDict({"x": nn.ConvTranspose2d(4, 4, 3), "y": nn.Conv2d(4, 4, 3)})
    names = {rule.source[0]: rule.target[0] for rule in plan_transfer(source, target).rules}
    assert names == {"a.weight": "y.weight", "a.bias": "y.bias", "b.weight": "x.weight", "b.bias": "x.bias"}


def test_to_k_is_a_key() -> None:
    assert [token.concept for token in read_segment("to_k").tokens] == ["to", "key"]
    assert [token.concept for token in read_segment("tok_emb").tokens] == ["token", "embedding"]


def test_a_dense_layer_called_an_embedding_is_no_table_and_its_features_are_those_of_a_layer() -> None:
    torch_side: Shapes = {f"conv{i}/weight": shape for i, shape in enumerate(((8, 3, 3, 3), (16, 8, 3, 3)))}
    torch_side |= {
        "embedding/weight": (32, 256),
        "norm/weight": (32,),
        "norm/bias": (32,),
        "head/weight": (5, 32),
    }
    flax_side: Shapes = {f"Conv_{i}/kernel": shape for i, shape in enumerate(((3, 3, 3, 8), (3, 3, 8, 16)))}
    flax_side |= {
        "embedding/kernel": (256, 32),
        "norm/scale": (32,),
        "norm/bias": (32,),
        "head/kernel": (32, 5),
    }
    (line,) = plan_transfer(template("torch", torch_side), template("flax", flax_side)).unsettled
    assert line.target == ("embedding/kernel",)


def test_an_open_line_names_what_has_its_size_in_a_layer_of_another_kind() -> None:
    source: Shapes = {"conv/weight": (7, 16), "conv/bias": (16,), "extra": (9,)}
    target: Shapes = {"conv/lin/weight": (16, 7), "conv/bias": (16,), "other": (5,)}
    plan = plan_transfer(template("torch", source), template("torch", target))
    reasons = {line.target[0]: line.reason for line in plan.unsettled}
    same = "no layer that is left has the same arrays; of the size"
    assert reasons == {
        "conv.lin.weight": f"{same} 16x7: conv.weight",
        "conv.bias": f"{same} 16: conv.bias",
        "other": "no source that is left fits 5",
    }


def test_sizes_do_not_count() -> None:
    counted: Shapes = {f"down/{i}/fc/weight": (8, 8) for i in range(3)}
    by_size: Shapes = {f"down_{size}/fc/kernel": (8, 8) for size in (32, 16, 8)}
    plan = plan_transfer(template("torch", counted), template("flax", by_size))
    assert not plan.rules
    assert all("the order of the numbers" in line.reason for line in plan.unsettled)
    same: Shapes = {f"b{size}/fc/weight": (8, 8) for size in (4, 8, 16)}
    both_by_size: Shapes = {f"block_{size}/fc/kernel": (8, 8) for size in (4, 8, 16)}
    plan = plan_transfer(template("torch", same), template("flax", both_by_size))
    assert not plan.unsettled


NAMES = ("layers/{}", "fc{}", "net/{}", "dense_{}", "w{}", "hidden_{}")


@pytest.mark.parametrize("framework", ["torch", "flax"])
@pytest.mark.parametrize("inputs_first", [True, False])
def test_no_stack_of_layers_of_either_layout_goes_in_wrongly(framework: str, inputs_first: bool) -> None:
    """Layers that are called in the order of their numbers, and some of which tell the layout by their shapes."""
    rng = np.random.default_rng(7)
    exact = 0
    for _ in range(25):
        ours, theirs = rng.permutation(NAMES)[:2]
        widths = [int(width) for width in rng.choice([4, 8, 8, 16], rng.integers(4, 7))]
        widths[0], widths[-1] = 8, 5
        source: Shapes = {}
        target: Shapes = {}
        leaf = "weight" if framework == "torch" else "kernel"
        for i, (into, out) in enumerate(itertools.pairwise(widths)):
            source[f"{ours.format(i)}/weight"] = (into, out) if inputs_first else (out, into)
            target[f"{theirs.format(i)}/{leaf}"] = (out, into) if framework == "torch" else (into, out)
        pairs = dict(zip(target, source, strict=True))
        sides = template("torch", source), template(framework, target)
        plan = plan_transfer(*sides)
        found = mapping(plan, *sides)
        assert found.items() <= pairs.items()
        is_turned = inputs_first == (framework == "torch")
        assert {bool(rule.ops) for rule in plan.rules} <= {is_turned}
        exact += found == pairs
    assert exact >= 12
