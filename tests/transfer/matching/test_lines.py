"""What a found plan says: rules that fold, evidence, open lines with their candidates, and rules of the user."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ckpt_core.arrays import ArraySpec
from ckpt_core.framework import Slot, Template
from ckpt_core.transfer import Rule, TransferPlan
from ckpt_core.transfer.binding import bind
from ckpt_core.transfer.matching import plan_transfer
from ckpt_core.transfer.toml import parse_plan, plan_toml


def template(framework: str, shapes: Mapping[str, tuple[int, ...]]) -> Template:
    slots = (Slot(tuple(name.split("/")), ArraySpec(shape, "float32")) for name, shape in shapes.items())
    return Template(tuple(slots), framework)


def torch_layer(name: str, into: int, out: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}/weight": (out, into), f"{name}/bias": (out,)}


def flax_layer(name: str, into: int, out: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}/kernel": (into, out), f"{name}/bias": (out,)}


def mapping(plan: TransferPlan, source: Template, target: Template) -> dict[str, str]:
    specs = {slot.name: slot.spec for slot in source.slots}
    steps = bind(plan, specs, target.by_name()).steps
    return {target: step.sources[0] for step in steps for target in step.targets}


def blocks(count: int) -> tuple[Template, Template]:
    torch: dict[str, tuple[int, ...]] = {}
    flax: dict[str, tuple[int, ...]] = {}
    for i in range(count):
        for short, long in (("q", "query"), ("k", "key"), ("v", "value"), ("o", "out")):
            torch |= torch_layer(f"model/layers/{i}/self_attn/{short}_proj", 8, 8)
            flax |= flax_layer(f"block_{i + 1}/attention/{long}", 8, 8)
        torch |= torch_layer(f"model/layers/{i}/mlp/fc1", 8, 32) | torch_layer(
            f"model/layers/{i}/mlp/fc2", 32, 8
        )
        flax |= flax_layer(f"block_{i + 1}/mlp/Dense_0", 8, 32) | flax_layer(
            f"block_{i + 1}/mlp/Dense_1", 32, 8
        )
    return template("torch", torch), template("flax", flax)


def test_repeated_blocks_are_one_rule_for_each_array() -> None:
    source, target = blocks(12)
    plan = plan_transfer(source, target)
    assert len(plan.rules) == 12
    assert not plan.unsettled
    names = [(rule.source, rule.target) for rule in plan.rules]
    assert (("model.layers.{i}.mlp.fc1.weight",), ("block_{i+1}/mlp/Dense_0/kernel",)) in names
    assert parse_plan(plan_toml(plan)) == plan


def test_ten_thousand_leaves_are_few_rules() -> None:
    source, target = blocks(840)
    assert len(source.slots) > 10_000
    plan = plan_transfer(source, target)
    assert len(plan.rules) == 12
    assert len(mapping(plan, source, target)) == len(target.slots)


def test_square_matrices_are_turned_round_as_their_siblings_say() -> None:
    source, target = blocks(2)
    rule = next(r for r in plan_transfer(source, target).rules if "q_proj.weight" in r.source[0])
    assert [str(op) for op in rule.ops] == ["transpose(1, 0)"]
    assert "siblings: 2 of the same kind are turned round" in map(str, rule.evidence)


def test_an_input_first_sibling_tells_about_the_square_one() -> None:
    source = template(
        "torch",
        {"attn/c_attn/weight": (8, 24), "attn/c_attn/bias": (24,), **torch_layer("attn/c_proj", 8, 8)},
    )
    target = template("flax", flax_layer("attn/c_attn", 8, 24) | flax_layer("attn/c_proj", 8, 8))
    rule = next(r for r in plan_transfer(source, target).rules if r.target == ("attn/c_proj/kernel",))
    assert rule.ops == ()


def test_an_open_line_names_its_candidates_and_what_would_settle_it() -> None:
    source = template("torch", torch_layer("left", 8, 8) | torch_layer("right", 8, 8))
    target = template("flax", flax_layer("a", 8, 8) | flax_layer("b", 8, 8))
    plan = plan_transfer(source, target)
    assert not plan.rules
    first = plan.unsettled[0]
    assert first.target == ("a/kernel", "a/bias")
    assert "2 sources fit 8x8, and nothing tells which is meant" in first.reason
    assert [candidate.text for candidate in first.candidates] == ["left", "right"]
    assert first.candidates[1].rules[0].source == ("right.weight",)
    assert "rule" in first.settled_by


def test_a_rule_for_one_tower_settles_the_other() -> None:
    torch: dict[str, tuple[int, ...]] = {}
    flax: dict[str, tuple[int, ...]] = {}
    for one, other in (("first", "alpha"), ("second", "omega")):
        for layer in ("query", "key", "value"):
            torch |= torch_layer(f"{one}/{layer}", 8, 8)
            flax |= flax_layer(f"{other}/{layer}", 8, 8)
    source, target = template("torch", torch), template("flax", flax)
    assert not mapping(plan_transfer(source, target), source, target)
    known = TransferPlan((Rule(("first.query.bias",), ("omega/query/bias",)),))
    plan = plan_transfer(source, target, known)
    found = mapping(plan, source, target)
    assert plan.rules[0] == known.rules[0]
    assert found["omega/key/kernel"] == "first/key/weight"
    assert found["alpha/value/bias"] == "second/value/bias"


def test_a_norm_named_after_what_comes_before_it_is_not_the_one_named_after_what_comes_behind() -> None:
    source = template(
        "torch", {"layers/0/query_norm/weight": (8,), "layers/0/post_attention_layernorm/weight": (8,)}
    )
    target = template("flax", {"layers_0/attention_norm/scale": (8,), "layers_0/ffn_norm/scale": (8,)})
    assert not plan_transfer(source, target).rules


def test_a_head_of_its_own_gets_no_other_head() -> None:
    source = template(
        "torch",
        torch_layer("encoder/fc1", 8, 16)
        | torch_layer("encoder/fc2", 16, 8)
        | torch_layer("pooler/dense", 8, 8),
    )
    target = template(
        "flax",
        flax_layer("encoder/fc1", 8, 16)
        | flax_layer("encoder/fc2", 16, 8)
        | flax_layer("predictions/transform", 8, 8)
        | flax_layer("predictions/out", 8, 11),
    )
    plan = plan_transfer(source, target)
    assert set(mapping(plan, source, target)) == {
        "encoder/fc1/kernel",
        "encoder/fc1/bias",
        "encoder/fc2/kernel",
        "encoder/fc2/bias",
    }


def test_the_only_array_of_a_size_proves_nothing_where_each_side_has_parts_that_the_other_lacks() -> None:
    body = torch_layer("body/first", 8, 32) | torch_layer("body/second", 32, 32)
    norm = {"predictions/transform/norm/weight": (32,), "predictions/transform/norm/bias": (32,)}
    source = template("torch", body | norm | {"predictions/decoder/weight": (100, 32)})
    layers = {"inner": (32, 64), "middle": (64, 48), "back": (48, 32)}
    question = {f"question/{name}/kernel": shape for name, shape in layers.items()}
    question |= {"question/norm/scale": (32,), "question/norm/bias": (32,)}
    target = template("flax", flax_layer("body/first", 8, 32) | flax_layer("body/second", 32, 32) | question)
    plan = plan_transfer(source, target)
    assert all(name.startswith("body/") for name in mapping(plan, source, target))
    line = next(line for line in plan.unsettled if "question/norm/scale" in line.target)
    assert [candidate.text for candidate in line.candidates] == ["predictions/transform/norm"]


def test_bookkeeping_goes_nowhere() -> None:
    bn = {
        "bn/weight": (8,),
        "bn/bias": (8,),
        "bn/running_mean": (8,),
        "bn/running_var": (8,),
        "bn/num_batches_tracked": (),
    }
    source = template("torch", bn)
    target = template(
        "flax", {"bn/scale": (8,), "bn/bias": (8,), "bn/mean": (8,), "bn/var": (8,), "count": ()}
    )
    found = mapping(plan_transfer(source, target), source, target)
    assert found == {
        "bn/scale": "bn/weight",
        "bn/bias": "bn/bias",
        "bn/mean": "bn/running_mean",
        "bn/var": "bn/running_var",
    }


def typed(template: Template, types: Mapping[str, str]) -> Template:
    """The template, with a type of layer for what lies below some names."""
    slots = [
        replace(slot, layer={"type": kind}) if slot.name.startswith(name + "/") else slot
        for slot in template.slots
        for name, kind in [
            next((pair for pair in types.items() if slot.name.startswith(pair[0] + "/")), ("", ""))
        ]
    ]
    return replace(template, slots=tuple(slots))


def test_a_square_weight_of_a_class_that_nobody_knows_is_open_and_its_sibling_tells() -> None:
    names = torch_layer("fc1", 8, 8) | torch_layer("fc2", 8, 8) | torch_layer("head", 8, 3)
    target = template("flax", flax_layer("fc1", 8, 8) | flax_layer("fc2", 8, 8) | flax_layer("head", 8, 3))
    own = {"fc1": "Mine", "fc2": "Mine", "head": "Linear"}
    plan = plan_transfer(typed(template("torch", names), own), target)
    assert [rule.target for rule in plan.rules] == [("head/kernel",), ("head/bias",)]
    assert plan.unsettled[0].reason == "turned round and kept both fit its shape"
    told = names | {"fc1/weight": (8, 5), "fc1/bias": (5,), "fc2/weight": (8, 8)}
    target = template("flax", flax_layer("fc1", 8, 5) | flax_layer("fc2", 8, 8) | flax_layer("head", 8, 3))
    plan = plan_transfer(typed(template("torch", told), own), target)
    assert not plan.unsettled
    assert next(rule.ops for rule in plan.rules if rule.target == ("fc2/kernel",)) == ()


def test_norms_of_different_types_are_no_match() -> None:
    source = typed(template("torch", {"norm/weight": (8,), **torch_layer("fc", 8, 3)}), {"norm": "LayerNorm"})
    target = template("flax", {"norm/scale": (8,), **flax_layer("fc", 8, 3)})
    assert plan_transfer(source, typed(target, {"norm": "nn.RMSNorm"})).unsettled
    assert not plan_transfer(source, typed(target, {"norm": "nn.LayerNorm"})).unsettled


def test_arrays_of_a_layer_may_stand_in_another_order_in_each_block() -> None:
    rows = [
        (f"layers/{i}/norm/{part}", (8,)) for i in range(4) for part in ("weight", "bias")[:: 1 - i % 2 * 2]
    ]
    source = template("torch", dict(rows))
    target = template("flax", {"layers/norm/scale": (4, 8), "layers/norm/bias": (4, 8)})
    plan = plan_transfer(source, target)
    assert [(rule.source, rule.target) for rule in plan.rules] == [
        (("layers.{i}.norm.weight",), ("layers/norm/scale",)),
        (("layers.{i}.norm.bias",), ("layers/norm/bias",)),
    ]
    back = plan_transfer(target, source)
    assert mapping(back, target, source)["layers/3/norm/bias"] == "layers/norm/bias"


def test_a_rule_that_is_out_of_order_opens_what_goes_by_numbers() -> None:
    source = template(
        "torch", {k: v for i in range(4) for k, v in torch_layer(f"ups/{i}/conv", 8, 8).items()}
    )
    target = template("flax", {k: v for i in range(4) for k, v in flax_layer(f"up_{i}/conv", 8, 8).items()})
    found = mapping(plan_transfer(source, target), source, target)
    assert found["up_1/conv/kernel"] == "ups/1/conv/weight"
    known = TransferPlan((Rule(("ups.0.conv.bias",), ("up_3/conv/bias",)),))
    assert "up_1/conv/kernel" not in mapping(plan_transfer(source, target, known), source, target)


def test_a_pack_with_an_axis_for_its_parts_is_named_among_the_conventions() -> None:
    source = template("torch", torch_layer("qkv", 8, 24))
    target = template("flax", {"qkv/kernel": (8, 3, 2, 4), "qkv/bias": (3, 2, 4)})
    plan = plan_transfer(source, target)
    assert not plan.unsettled
    assert "packed query, key and value" in plan.conventions


def test_an_embedding_of_relative_positions_may_be_turned_round() -> None:
    source = template("torch", {"relative_attention_bias/weight": (8, 8)})
    target = template("flax", {"rel_embedding": (8, 8)})
    for layer in ({}, {"type": "Embedding"}):
        slots = tuple(replace(slot, layer=layer) for slot in source.slots)
        plan = plan_transfer(replace(source, slots=slots), target)
        assert [c.text for c in plan.unsettled[0].candidates] == ["same", "transpose"]


def test_a_word_that_says_little_settles_nothing() -> None:
    torch = torch_layer("image_head_linear", 8, 8) | torch_layer("image_head", 8, 8)
    flax = flax_layer("image_head_fc", 8, 8) | flax_layer("img_head_top", 8, 8)
    for i in range(4):
        torch |= torch_layer(f"text_{i}", 8, 9 + i)
        flax |= flax_layer(f"text_{i}", 8, 9 + i)
    plan = plan_transfer(template("torch", torch), template("flax", flax))
    assert [line.target[0] for line in plan.unsettled] == ["image_head_fc/kernel", "img_head_top/kernel"]


def test_a_layer_that_goes_to_other_blocks_than_its_neighbours_is_open() -> None:
    torch: dict[str, tuple[int, ...]] = {}
    flax: dict[str, tuple[int, ...]] = {}
    for i in range(4):
        torch |= torch_layer(f"layers/{i}/fc1", 8, 9) | torch_layer(f"layers/{i}/fc2", 9, 8)
        flax |= flax_layer(f"layers_{i}/fc1", 8, 9) | flax_layer(f"layers_{i}/fc2", 9, 8)
    for ours, theirs in ((1, 0), (3, 2)):
        torch |= torch_layer(f"layers/{ours}/cross", 8, 11)
        flax |= flax_layer(f"layers_{theirs}/cross", 8, 11)
    source, target = template("torch", torch), template("flax", flax)
    plan = plan_transfer(source, target)
    assert len(mapping(plan, source, target)) == 16
    assert {name for line in plan.unsettled for name in line.target} == {
        f"layers_{i}/cross/{part}" for i in (0, 2) for part in ("kernel", "bias")
    }


def test_what_excludes_each_other_never_goes_together() -> None:
    source, target = template("torch", torch_layer("q_proj", 8, 8)), template("flax", flax_layer("key", 8, 8))
    plan = plan_transfer(source, target)
    assert not plan.rules
    assert plan.unsettled[0].reason == "one source fits 8x8, and nothing says that it is meant"


def test_siblings_that_disagree_say_nothing_about_a_square_matrix() -> None:
    kept = {"a/weight": (8, 5), "b/weight": (6, 8), "c/weight": (8, 8)}
    target = template("flax", {"a/kernel": (8, 5), "b/kernel": (8, 6), "c/kernel": (8, 8)})
    plan = plan_transfer(template("torch", kept), target)
    assert {rule.target[0]: len(rule.ops) for rule in plan.rules} == {"a/kernel": 0, "b/kernel": 1}
    assert plan.unsettled[0].target == ("c/kernel",)


def test_where_one_matrix_is_stored_input_first_another_may_be() -> None:
    names = {"attn/c_attn": (8, 24), "mlp/c_fc": (8, 32), "mlp/c_proj": (32, 8)}
    torch = {f"{name}/weight": shape for name, shape in names.items()}
    flax = {f"{name}/kernel": shape for name, shape in names.items()}
    source, target = template("torch", torch), template("flax", flax)
    found = mapping(plan_transfer(source, target), source, target)
    assert found == {f"{name}/kernel": f"{name}/weight" for name in names}


def test_a_dense_layer_within_an_embedding_is_no_table() -> None:
    source = template("torch", torch_layer("time_embed", 8, 8) | {"pos_embed": (8, 8)})
    target = template("flax", flax_layer("time_embedding", 8, 8) | {"pos_embedding": (8, 8)})
    plan = plan_transfer(source, target)
    ops = {rule.target[0]: [str(op) for op in rule.ops] for rule in plan.rules}
    assert ops == {
        "time_embedding/kernel": ["transpose(1, 0)"],
        "time_embedding/bias": [],
        "pos_embedding": [],
    }


def test_the_number_of_a_layer_is_none_of_its_block() -> None:
    torch: dict[str, tuple[int, ...]] = {}
    flax: dict[str, tuple[int, ...]] = {}
    for i in range(2):
        torch |= {f"dec{i + 1}/conv1/weight": (8, 16 - 4 * i), f"dec{i + 1}/conv2/weight": (8, 8)}
        flax |= {f"decoder/{i}/conv_a/kernel": (16 - 4 * i, 8), f"decoder/{i}/conv_b/kernel": (8, 8)}
    source, target = template("torch", torch), template("flax", flax)
    plan = plan_transfer(source, target)
    assert mapping(plan, source, target) == {
        f"decoder/{i}/conv_{other}/kernel": f"dec{i + 1}/conv{one}/weight"
        for i in range(2)
        for one, other in ((1, "a"), (2, "b"))
    }


def test_one_text_with_two_numbers_is_not_the_same_name() -> None:
    torch: dict[str, tuple[int, ...]] = {}
    flax: dict[str, tuple[int, ...]] = {}
    for i in range(3):
        torch |= {f"layers/{i}/ln1/weight": (8,), f"layers/{i}/norm2/weight": (8,)} | torch_layer(
            f"layers/{i}/fc", 8, 9
        )
        flax |= {f"layers_{i}/norm1/scale": (8,), f"layers_{i}/ln2/scale": (8,)} | flax_layer(
            f"layers_{i}/fc", 8, 9
        )
    plan = plan_transfer(template("torch", torch), template("flax", flax))
    assert not [rule for rule in plan.rules if "scale" in rule.target[0]]
    assert len(plan.unsettled) == 2


def test_a_norm_outside_of_blocks_is_none_within() -> None:
    source = template(
        "torch", {"encoder/layer/0/ln1/weight": (8,), "norm/weight": (8,)} | torch_layer("fc", 8, 9)
    )
    target = template(
        "flax", {"block_0/norm_in/scale": (8,), "encoder_norm/scale": (8,)} | flax_layer("fc", 8, 9)
    )
    found = mapping(plan_transfer(source, target), source, target)
    assert found.get("encoder_norm/scale") != "encoder/layer/0/ln1/weight"


def test_numbers_that_begin_elsewhere_are_not_the_same_names() -> None:
    torch = {f"{name}/weight": (8, 8) for name in ("dense", "dense_1", "dense_2")}
    flax = {f"dense_{i}/kernel": (8, 8) for i in (1, 2, 3)}
    assert not plan_transfer(template("torch", torch), template("flax", flax)).rules


def test_both_spellings_of_weight_norm_are_one() -> None:
    rest = torch_layer("head", 4, 5)
    old = {"pos/conv/weight_g": (1, 1, 6), "pos/conv/weight_v": (8, 4, 6), "pos/conv/bias": (8,)}
    new = {
        "pos/conv/parametrizations/weight/original0": (1, 1, 6),
        "pos/conv/parametrizations/weight/original1": (8, 4, 6),
        "pos/conv/bias": (8,),
    }
    source, target = template("torch", new | rest), template("flax", old | {"logits/kernel": (4, 7)})
    assert mapping(plan_transfer(source, target), source, target) == {
        "pos/conv/weight_g": "pos/conv/parametrizations/weight/original0",
        "pos/conv/weight_v": "pos/conv/parametrizations/weight/original1",
        "pos/conv/bias": "pos/conv/bias",
    }


def convolution(into: int, out: int, size: int = 3, *, flax: bool = False) -> tuple[int, ...]:
    return (size, size, into, out) if flax else (out, into, size, size)


def decoder(name: str, *, flax: bool) -> dict[str, tuple[int, ...]]:
    """Blocks of two convolutions, the second of which is square, and one convolution that may be a transposed one."""
    part = "kernel" if flax else "weight"
    found: dict[str, tuple[int, ...]] = {}
    for i, (into, out) in enumerate(((24, 16), (16, 8))):
        block = f"decoder/{name}_{i}" if flax else f"decoder/{name}/{i}"
        found[f"{block}/conv1/{part}"] = convolution(into, out, flax=flax)
        found[f"{block}/conv2/{part}"] = convolution(out, out, flax=flax)
    return found


def test_square_convolutions_of_a_decoder_are_as_those_of_their_name_elsewhere() -> None:
    torch, flax = decoder("resnets", flax=False), decoder("resnets", flax=True)
    for name in ("resnets/0", "resnets/1"):
        torch[f"encoder/{name}/conv2/weight"] = convolution(8, 8)
        flax[f"encoder/{name.replace('/', '_')}/conv2/kernel"] = convolution(8, 8, flax=True)
    torch["decoder/mix/weight"] = convolution(8, 8, 1)
    flax["decoder/mix/kernel"] = convolution(8, 8, 1, flax=True)
    torch["decoder/upsampler/conv/weight"] = convolution(8, 8)
    flax["decoder/upsampler/conv/kernel"] = convolution(8, 8, flax=True)
    plan = plan_transfer(template("torch", torch), template("flax", flax))
    assert {str(op) for rule in plan.rules for op in rule.ops} == {"transpose(2, 3, 1, 0)"}
    (line,) = plan.unsettled
    assert line.target == ("decoder/upsampler/conv/kernel",)
    assert [candidate.text for candidate in line.candidates] == ["conv", "flip"]


def test_what_linen_named_by_its_class_is_a_plain_convolution() -> None:
    torch = {"decoder/0/weight": convolution(16, 8), "decoder/2/weight": convolution(8, 8)}
    flax = {"decoder/Conv_0/kernel": convolution(16, 8, flax=True), "decoder/Conv_1/kernel": (3, 3, 8, 8)}
    plan = plan_transfer(template("torch", torch), template("flax", flax))
    assert not plan.unsettled


def test_dense_layers_beside_convolutions_whose_widths_are_made_by_others_see_no_image() -> None:
    torch = {"conv/weight": convolution(4, 8), "conv_out/weight": convolution(8, 4)}
    flax = {"conv/kernel": convolution(4, 8, flax=True), "conv_out/kernel": convolution(8, 4, flax=True)}
    for name, into, out in (
        ("time_embedding/linear_1", 8, 32),
        ("time_embedding/linear_2", 32, 32),
        ("ff/proj_in", 8, 128),  # values and gates
        ("ff/proj_out", 64, 8),
    ):
        torch |= torch_layer(name, into, out)
        flax |= flax_layer(name, into, out)
    source = template("torch", dict(sorted(torch.items(), key=lambda item: item[0].startswith("conv_out"))))
    plan = plan_transfer(source, template("flax", flax))
    assert not plan.unsettled


def test_an_open_line_names_both_sides_in_one_order() -> None:
    torch = {"up/conv/bias": (8,), "up/conv/weight": convolution(8, 8)}
    flax = {"up/conv/kernel": convolution(8, 8, flax=True), "up/conv/bias": (8,)}
    (line,) = plan_transfer(template("torch", torch), template("flax", flax)).unsettled
    assert line.source == ("up.conv.weight", "up.conv.bias")
    assert line.target == ("up/conv/kernel", "up/conv/bias")
