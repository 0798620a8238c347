"""Blocks that the two sides number, nest or name in other ways: lists within lists, sublayers, norms, gates."""

from __future__ import annotations

import numpy as np
import pytest
from transfer.matching.test_lines import flax_layer, mapping, template, torch_layer

from ckpt_core.framework import Template
from ckpt_core.transfer.matching import plan_transfer

Shapes = dict[str, tuple[int, ...]]


def both(torch: Shapes, flax: Shapes) -> tuple[Template, Template]:
    return template("torch", torch), template("flax", flax)


def found(sides: tuple[Template, Template]) -> tuple[dict[str, str], dict[str, str]]:
    """Where each weight goes by the plans forth and back, both by the names of Flax."""
    forth = mapping(plan_transfer(*sides), *sides)
    back = mapping(plan_transfer(*reversed(sides)), *reversed(sides))
    return forth, {source: target for target, source in back.items()}


def test_lists_within_lists_and_two_numbers_in_one_name_are_the_same_blocks() -> None:
    torch: Shapes = {}
    flax: Shapes = {}
    for stage, width in enumerate((8, 16)):
        for block in range(2):
            torch[f"layers/{stage}/blocks/{block}/gamma"] = (width,)
            flax[f"stage{stage + 1}_block{block}/layer_scale"] = (width,)
            torch |= torch_layer(f"layers/{stage}/blocks/{block}/attn/qkv", width, 3 * width)
            flax |= flax_layer(f"stage{stage + 1}_block{block}/WindowAttention_0/qkv", width, 3 * width)
    for names in found(both(torch, flax)):
        assert set(names) == set(flax)
        assert names["stage2_block1/WindowAttention_0/qkv/kernel"] == "layers/1/blocks/1/attn/qkv/weight"
        assert names["stage1_block1/layer_scale"] == "layers/0/blocks/1/gamma"


def t5() -> tuple[Template, Template]:
    """Sublayers by number, of which the other side has names."""
    torch: Shapes = {}
    flax: Shapes = {}
    for i in range(2):
        for short, long in (("q", "query"), ("k", "key"), ("v", "value"), ("o", "out")):
            torch[f"block/{i}/layer/0/SelfAttention/{short}/weight"] = (8, 8)
            flax[f"layers_{i}/attention/{long}/kernel"] = (8, 8)
        for name in ("wi", "wo"):
            torch[f"block/{i}/layer/1/DenseReluDense/{name}/weight"] = (8, 8)
            flax[f"layers_{i}/mlp/{name}/kernel"] = (8, 8)
        for sublayer, name in enumerate(("pre_attention_layer_norm", "pre_mlp_layer_norm")):
            torch[f"block/{i}/layer/{sublayer}/layer_norm/weight"] = (8,)
            flax[f"layers_{i}/{name}/scale"] = (8,)
    return both(torch, flax)


def test_numbers_of_sublayers_are_those_of_no_list_where_the_other_side_has_names() -> None:
    sides = t5()
    for names in found(sides):
        assert names["layers_1/attention/out/kernel"] == "block/1/layer/0/SelfAttention/o/weight"
        assert names["layers_0/mlp/wi/kernel"] == "block/0/layer/1/DenseReluDense/wi/weight"
        assert len(names) == 12


def test_what_is_left_in_blocks_of_another_kind_is_a_candidate() -> None:
    for sides in (t5(), t5()[::-1]):
        plan = plan_transfer(*sides)
        assert plan.unsettled
        assert all(len(line.candidates) == 2 for line in plan.unsettled)


def gpt(bias_first: bool = False) -> tuple[Template, Template]:
    torch: Shapes = {}
    flax: Shapes = {}
    for i in range(2):
        torch |= torch_layer(f"h/{i}/attn/c_attn", 8, 24) | torch_layer(f"h/{i}/mlp/c_fc", 8, 32)
        torch |= torch_layer(f"h/{i}/attn/c_proj", 8, 8) | torch_layer(f"h/{i}/mlp/c_proj", 32, 8)
        for name in ("query", "key", "value"):
            arrays: list[tuple[str, tuple[int, ...]]] = [
                (f"blocks/{i}/attn/{name}/kernel", (8, 2, 4)),
                (f"blocks/{i}/attn/{name}/bias", (2, 4)),
            ]
            flax |= dict(arrays[::-1] if bias_first and name == "key" else arrays)
        flax |= {f"blocks/{i}/attn/out/kernel": (2, 4, 8), f"blocks/{i}/attn/out/bias": (8,)}
        flax |= flax_layer(f"blocks/{i}/up", 8, 32) | flax_layer(f"blocks/{i}/down", 32, 8)
    return both(torch, flax)


@pytest.mark.parametrize("bias_first", [False, True])
def test_what_is_left_beside_packs_has_one_place_each(bias_first: bool) -> None:
    for sides in (gpt(bias_first), gpt(bias_first)[::-1]):
        plan = plan_transfer(*sides)
        assert not plan.unsettled
        names = mapping(plan, *sides)
        ends = {"h/1/mlp/c_fc/weight", "blocks/1/up/kernel"}
        assert any({source, target} == ends for target, source in names.items())


NORMS = [
    (("ln_1", "ln_2"), ("attn_norm", "mlp_norm")),
    (("ln_1", "ln_2"), ("LayerNorm_0", "LayerNorm_1")),
    (("attention_norm", "ffn_norm"), ("input_layernorm", "post_attention_layernorm")),
    (("norm1", "norm2"), ("layernorm_before", "layernorm_after")),
    (("norm1", "norm2"), ("pre_attention_norm", "pre_mlp_norm")),
    (("self_attn_layer_norm", "final_layer_norm"), ("LayerNorm_0", "LayerNorm_1")),
    (("norm1", "norm2"), ("attention/output/LayerNorm", "output/LayerNorm")),
]


def normed(ours: tuple[str, ...], theirs: tuple[str, ...], seed: int) -> tuple[Template, Template]:
    """Blocks with norms of these names, in any order."""
    torch: Shapes = {}
    flax: Shapes = {}
    rng = np.random.default_rng(seed)
    for i in range(3):
        for name in rng.permutation(ours):
            torch |= {f"layers/{i}/{name}/weight": (8,), f"layers/{i}/{name}/bias": (8,)}
        for name in rng.permutation(theirs):
            flax |= {f"layers_{i}/{name}/scale": (8,), f"layers_{i}/{name}/bias": (8,)}
        torch |= torch_layer(f"layers/{i}/fc", 8, 4)
        flax |= flax_layer(f"layers_{i}/dense", 8, 4)
    return both(torch, flax)


@pytest.mark.parametrize(("ours", "theirs"), NORMS, ids=str)
def test_the_two_norms_of_a_block_are_its_attentions_and_its_dense_layers(
    ours: tuple[str, ...], theirs: tuple[str, ...]
) -> None:
    for names in found(normed(ours, theirs, 1)):
        for mine, other in zip(ours, theirs, strict=True):
            assert names[f"layers_2/{other}/scale"] == f"layers/2/{mine}/weight"


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (("ln_1", "ln_2"), ("attn_norm", "post_attn_norm")),
        (("norm1", "norm2", "norm3"), ("self_attn_norm", "cross_attn_norm", "mlp_norm")),
        (("norm1", "norm2"), ("query_norm", "key_norm")),
    ],
    ids=str,
)
def test_other_norms_say_no_order(ours: tuple[str, ...], theirs: tuple[str, ...]) -> None:
    for names in found(normed(ours, theirs, 2)):
        assert not any("norm" in name for name in names)


@pytest.mark.parametrize("width", [24, 8])
def test_the_second_of_three_matrices_says_which_the_others_are_by_its_shape_alone(width: int) -> None:
    torch: Shapes = {}
    flax: Shapes = {}
    for i in range(2):
        torch |= {f"layers/{i}/feed_forward/w{n}/weight": (width, 8) for n in (1, 3)}
        torch[f"layers/{i}/feed_forward/w2/weight"] = (8, width)
        flax |= {f"layers_{i}/mlp/{name}_proj/kernel": (8, width) for name in ("up", "gate")}
        flax[f"layers_{i}/mlp/down_proj/kernel"] = (width, 8)
    for names in found(both(torch, flax)):
        expected = {"gate": "w1", "down": "w2", "up": "w3"} if width != 8 else {}
        assert names == {
            f"layers_{i}/mlp/{name}_proj/kernel": f"layers/{i}/feed_forward/{word}/weight"
            for i in range(2)
            for name, word in expected.items()
        }


def test_numbers_on_one_side_alone_are_told_apart_while_blocks_stay_whole() -> None:
    torch: Shapes = {}
    flax: Shapes = {}
    for i, width in enumerate((8, 8, 12)):
        for place, (name, shape) in enumerate(
            (("expand", (width, 4, 1, 1)), ("depthwise", (width, 1, 3, 3)))
        ):
            torch[f"features/{i + 1}/conv/{place}/0/weight"] = shape
            flax[f"block{i}/{name}_conv/kernel"] = (*shape[2:], shape[1], shape[0])
            for part, other in (("weight", "scale"), ("bias", "bias")):
                torch[f"features/{i + 1}/conv/{place}/1/{part}"] = (width,)
                flax[f"block{i}/{name}_bn/{other}"] = (width,)
    for names in found(both(torch, flax)):
        assert names["block1/depthwise_conv/kernel"] == "features/2/conv/1/0/weight"
        assert names["block1/depthwise_bn/scale"] == "features/2/conv/1/1/weight"
        assert len(names) == len(flax)


def test_names_that_begin_alike_are_neighbours() -> None:
    torch: Shapes = {"down/0/0/weight": (4, 3, 4, 4), "down/1/1/weight": (8, 4, 2, 2)}
    flax: Shapes = {"stem_conv/kernel": (4, 4, 3, 4), "down_conv/kernel": (2, 2, 4, 8)}
    for name, place in (("stem", "down/0/1"), ("down", "down/1/0")):
        torch |= {f"{place}/weight": (4,), f"{place}/bias": (4,)}
        flax |= {f"{name}_norm/scale": (4,), f"{name}_norm/bias": (4,)}
    for names in found(both(torch, flax)):
        assert names["stem_norm/scale"] == "down/0/1/weight"
        assert names["down_norm/bias"] == "down/1/0/bias"


def test_vectors_that_a_numbered_block_holds_itself_go_to_a_counter() -> None:
    torch: Shapes = {}
    flax: Shapes = {}
    for i in range(4):
        width = 8 if i < 2 else 16
        torch[f"stages/{i // 2}/{i % 2}/gamma"] = (width,)
        flax[f"Block_{i}/layer_scale"] = (width,)
        torch |= torch_layer(f"stages/{i // 2}/{i % 2}/pw", width, 4 * width)
        flax |= flax_layer(f"Block_{i}/Dense_0", width, 4 * width)
    for names in found(both(torch, flax)):
        assert names["Block_1/layer_scale"] == "stages/0/1/gamma"
        assert names["Block_2/Dense_0/kernel"] == "stages/1/0/pw/weight"
        assert len(names) == len(flax)


def two_layouts(inputs_first: bool, width: int = 8) -> Shapes:
    """A GPT-2 as `transformers` has it, whose matrices take their inputs first, or as everybody else does."""
    found: Shapes = {"wte/weight": (30, width), "wpe/weight": (width, width), "ln_f/weight": (width,)}
    for i in range(2):
        for name, into, out in (
            ("attn/c_attn", width, 3 * width),
            ("attn/c_proj", width, width),
            ("mlp/c_fc", width, 4 * width),
            ("mlp/c_proj", 4 * width, width),
        ):
            shape = (into, out) if inputs_first else (out, into)
            found |= {f"h/{i}/{name}/weight": shape, f"h/{i}/{name}/bias": (out,)}
    return found


@pytest.mark.parametrize("inputs_first", [True, False])
def test_matrices_of_one_framework_that_take_their_inputs_first_on_one_side(inputs_first: bool) -> None:
    source, target = (template("torch", two_layouts(first)) for first in (inputs_first, not inputs_first))
    plan = plan_transfer(source, target)
    assert not plan.unsettled
    turned = {rule.target[0] for rule in plan.rules if rule.ops}
    assert turned == {
        f"h.{{i}}.{name}.weight" for name in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    }


def test_square_matrices_of_one_framework_are_kept() -> None:
    names = ("q", "k", "v")
    source, target = (
        template("torch", {f"{block}/{name}/weight": (8, 8) for name in names})
        for block in ("attn", "attention")
    )
    plan = plan_transfer(source, target)
    assert len(plan.rules) == 3
    assert not any(rule.ops for rule in plan.rules)


def test_numbers_count_among_what_is_left() -> None:
    torch = torch_layer("mlp/0", 12, 12) | torch_layer("mlp/2", 12, 12) | torch_layer("mlp/4", 12, 1)
    flax = flax_layer("hidden_0", 12, 12) | flax_layer("hidden_1", 12, 12) | flax_layer("out", 12, 1)
    for names in found(both(torch, flax)):
        assert names["hidden_1/kernel"] == "mlp/2/weight"
        assert len(names) == 6


def test_a_matrix_that_a_model_multiplies_with_by_itself_has_its_inputs_first() -> None:
    own: Shapes = {
        "text_projection": (8, 8),
        "visual/proj": (12, 8),
        "positional_embedding": (8, 8),
        "type_embedding": (3, 8),
    }
    layers: Shapes = {
        "text_projection/weight": (8, 8),
        "visual_projection/weight": (8, 12),
        "position_embedding/weight": (8, 8),
        "type_embedding/weight": (3, 8),
    }
    for source, target in ((own, layers), (layers, own)):
        plan = plan_transfer(template("torch", source), template("torch", target))
        assert not plan.unsettled
        turned = {rule.source[0].split(".")[0] for rule in plan.rules if rule.ops}
        assert turned == {"text_projection", "visual" if source is own else "visual_projection"}
        plan = plan_transfer(
            *(
                template("torch", {k: v for k, v in side.items() if "visual" not in k})
                for side in (source, target)
            )
        )
        (line,) = plan.unsettled  # nothing tells
        assert "text_projection" in line.source[0]
