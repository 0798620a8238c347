from __future__ import annotations

import json

import jax
import numpy as np
import pytest
import torch
from flax import linen, nnx
from validation.models import TorchModel, arrays, write_msgpack, write_torch

from ckpt_core import open_checkpoint, validate
from ckpt_core.arrays import ArraySpec
from ckpt_core.backend import Stored
from ckpt_core.errors import MismatchError, UsageError
from ckpt_core.opening import checkpoint_of
from ckpt_core.slots import abstract
from ckpt_core.template import template_json, template_of


def memory(specs):
    """A checkpoint whose arrays cannot be read: whoever tries fails."""
    return checkpoint_of(Stored({name: abstract(spec) for name, spec in specs.items()}), format="memory")


def spec(*shape, dtype="float32"):
    return ArraySpec(shape, dtype)


# What a report says.


def test_every_difference_is_in_the_report_with_both_sides(tmp_path):
    write_torch(tmp_path / "a.pth", arrays(slots=32, depth=5))
    report = validate(tmp_path / "a.pth", TorchModel())
    assert {p.name: (p.found, p.expected) for p in report.shape_mismatches} == {
        "slots_mu": (spec(32, 4), spec(7, 4)),
        "head/bias": (spec(32), spec(7)),
    }
    assert [p.name for p in report.unexpected] == ["layers/3/kernel", "layers/4/kernel"]
    assert report.missing == report.dtype_mismatches == ()
    lines = str(report).splitlines()
    assert (
        lines[0]
        == f"{tmp_path}/a.pth does not fit the model: 2 of another shape, 2 unexpected; 3 arrays agree"
    )
    assert "  shape: float32[32, 4] in the checkpoint, float32[7, 4] in the model @ slots_mu" in lines
    folded = "float32[4, 4] in the checkpoint, nothing in the model @ layers/{3,4}/kernel (2 leaves)"
    assert f"  unexpected: {folded}" in lines
    assert "  note: layers has 5 entries in the checkpoint, 3 in the model" in lines


def test_the_exception_carries_the_report(tmp_path):
    write_torch(tmp_path / "a.pth", arrays(slots=32))
    report = validate(tmp_path / "a.pth", TorchModel())
    with pytest.raises(MismatchError, match=r"a\.pth: does not fit the model: 2 of another shape") as caught:
        report.raise_if_failed()
    assert caught.value.report is report
    assert "float32[32, 4] in the checkpoint, float32[7, 4] in the model @ slots_mu" in str(caught.value)


def test_likely_fields_come_from_rules_and_counts(tmp_path):
    write_torch(tmp_path / "a.pth", arrays(slots=32, depth=5))
    report = validate(
        tmp_path / "a.pth", TorchModel(), rules={"slots_mu": "num_slots slot_dim", "layers/*": "count depth"}
    )
    found = {field.field: (field.values, field.instead, field.evidence) for field in report.fields}
    assert found == {
        "num_slots": ((32,), (7,), "32 = num_slots"),
        "depth": ((5,), (3,), "5 = depth"),
    }
    assert any("num_slots=32, depth=5" in remedy and "ckpt config" in remedy for remedy in report.remedies)


def test_without_rules_a_saved_value_of_the_size_that_differs_is_shown(tmp_path):
    state = {name.replace("/", "."): torch.from_numpy(array) for name, array in arrays(slots=32).items()}
    torch.save({"model_state_dict": state, "config": {"num_slots": 32, "lr": 0.1}}, tmp_path / "a.pth")
    (field,) = validate(tmp_path / "a.pth", TorchModel()).fields
    assert (field.field, field.values, field.instead) == ("num_slots", (32,), (7,))
    assert "the saved config has num_slots = 32" in field.evidence


def test_near_names_are_meant_with_their_numbers():
    found = {f"blocks.{i}.attn.q.weight": spec(4, 4) for i in range(32)} | {"head.weight": spec(2)}
    expected = {f"blocks.{i}.attn.query.weight": spec(4, 4) for i in range(32)} | {"head.weight": spec(2)}
    report = validate(memory(found), expected)
    near = {p.name: p.near for p in report.missing}
    assert near == {f"blocks/{i}/attn/query/weight": f"blocks/{i}/attn/q/weight" for i in range(32)}
    assert (
        "missing: nothing in the checkpoint, float32[4, 4] in the model @ blocks/{0..31}/attn/query/weight "
        "(32 leaves), did you mean blocks/{0..31}/attn/q/weight?"
    ) in str(report)
    assert any(remedy.startswith("ckpt transfer") for remedy in report.remedies)


def test_what_is_far_is_not_meant():
    report = validate(memory({"aaaa.bias": spec(2), "w": spec(1)}), {"zzzz.kernel": spec(3), "w": spec(1)})
    assert [p.near for p in report.missing] == [None]


@pytest.mark.parametrize(
    ("wrap_found", "wrap_expected", "sides"),
    [
        ("module.", "", ("module", "")),
        ("", "_orig_mod.", ("", "_orig_mod")),
        ("model.backbone.", "", ("model/backbone", "")),
        ("module.", "_orig_mod.", ("module", "_orig_mod")),
    ],
)
def test_a_prefix_that_explains_everything_is_found(wrap_found, wrap_expected, sides):
    names = {"a.weight": spec(2, 3), "a.bias": spec(2), "b.weight": spec(2, 2)}
    found = memory({wrap_found + name: value for name, value in names.items()})
    report = validate(found, {wrap_expected + name: value for name, value in names.items()})
    assert report.prefix is not None
    assert (report.prefix.checkpoint, report.prefix.model, report.prefix.remaining) == (*sides, ())
    assert len(report.missing) == len(report.unexpected) == 3  # the typed fields keep every name
    assert "without it everything fits" in str(report)
    if not wrap_expected:
        assert validate(found, dict(names), strip_prefix=wrap_found).ok


def test_what_a_prefix_leaves_is_shown():
    found = memory({"model.a.weight": spec(2, 3), "model.b.weight": spec(2, 9), "loss.scale": spec(1)})
    report = validate(found, {"a.weight": spec(2, 3), "b.weight": spec(2, 2)})
    assert report.prefix is not None
    assert [(p.kind, p.name) for p in report.prefix.remaining] == [
        ("shape", "b/weight"),
        ("unexpected", "loss/scale"),
    ]
    assert "without it 2 differences are left" in str(report)


def test_strip_prefix_must_be_there():
    with pytest.raises(UsageError, match="no name in the checkpoint begins with 'module'"):
        validate(memory({"w": spec(2)}), {"w": spec(2)}, strip_prefix="module")


def test_a_checkpoint_of_another_framework_says_so(tmp_path):
    torch.save(torch.nn.Linear(3, 4).state_dict(), tmp_path / "a.pth")
    variables = linen.Dense(4).init(jax.random.key(0), np.ones((1, 3), np.float32))
    report = validate(tmp_path / "a.pth", variables)
    assert any("names and array layouts of torch, the model those of flax" in note for note in report.notes)
    assert report.remedies[0].startswith(f"ckpt transfer {tmp_path}/a.pth")
    assert "--to flax" in report.remedies[0]


def test_names_kept_through_a_conversion_still_fit(tmp_path):
    from ckpt_core import convert

    model = torch.nn.Linear(3, 4)
    torch.save(dict(model.state_dict()), tmp_path / "a.pth")
    convert(tmp_path / "a.pth", tmp_path / "orbax", to="orbax")
    assert validate(tmp_path / "orbax", model).ok


# What is let through.


@pytest.mark.parametrize(
    ("found", "expected", "widen", "cast"),
    [
        ("float16", "float32", True, True),
        ("bfloat16", "float32", True, True),
        ("float32", "bfloat16", False, True),
        ("float32", "float16", False, True),
        ("int32", "int64", True, True),
        ("int64", "int32", False, True),
        ("float32", "int32", False, False),
        ("bool", "int32", False, False),
        ("complex64", "float32", False, False),
    ],
)
def test_dtypes_that_differ(found, expected, widen, cast):
    ckpt, like = memory({"w": spec(2, dtype=found)}), {"w": spec(2, dtype=expected)}
    exact = validate(ckpt, like)
    assert [p.kind for p in exact.problems] == ["dtype"]
    assert validate(ckpt, like, dtypes="widen").ok is widen
    allowed = validate(ckpt, like, dtypes="cast")
    assert allowed.ok is cast
    assert len(allowed.waived) == cast


def test_dtypes_is_one_of_three():
    with pytest.raises(UsageError, match="dtypes='float'"):
        validate(memory({"w": spec(2)}), {"w": spec(2)}, dtypes="float")


def test_partial_covers_differences_and_no_more():
    ckpt, like = (
        memory({"a": spec(2), "head.w": spec(3)}),
        {"a": spec(2), "head.w": spec(4), "head.b": spec(4)},
    )
    report = validate(ckpt, like, partial="head/**")
    assert report.ok
    assert [(p.kind, p.name) for p in report.waived] == [("missing", "head/b"), ("shape", "head/w")]
    assert [p.name for p in validate(ckpt, like, partial=["head.b"]).problems] == ["head/w"]
    with pytest.raises(UsageError, match=r"the pattern 'haed/\*\*' fits no name of either side"):
        validate(ckpt, like, partial=["haed/**"])


def test_a_tied_name_that_the_container_dropped_is_not_missing():
    model = torch.nn.Sequential(torch.nn.Embedding(5, 4), torch.nn.Linear(4, 5, bias=False))
    model[1].weight = model[0].weight
    assert validate(memory({"0.weight": spec(5, 4)}), model).ok
    assert validate(memory({"1.weight": spec(5, 4)}), model).ok
    assert not validate(memory({"other": spec(5, 4)}), model).ok


# What can be compared with.


def test_like_may_be_many_things(tmp_path):
    flat = arrays()
    write_torch(tmp_path / "a.pth", flat)
    write_msgpack(tmp_path / "a.msgpack", flat)
    template = tmp_path / "t.json"
    template.write_text(json.dumps(template_json(template_of(tmp_path / "a.pth"))))
    with torch.device("meta"):
        meta = TorchModel()
    with open_checkpoint(tmp_path / "a.pth") as ckpt:
        for like in (
            TorchModel(),
            meta,
            meta.state_dict(),
            flat,
            tmp_path / "a.msgpack",
            template,
            template_of(meta),
            ckpt,
        ):
            report = validate(ckpt, like)
            assert report.ok, str(report)
            assert report.matched == len(flat)


def test_flax_models_by_shape_alone(tmp_path):
    class Net(linen.Module):
        @linen.compact
        def __call__(self, x):
            return linen.BatchNorm(use_running_average=True)(linen.Dense(3)(x))

    net, x = Net(), np.ones((2, 4), np.float32)
    variables = net.init(jax.random.key(0), x)
    import flax.serialization

    (tmp_path / "v.msgpack").write_bytes(flax.serialization.to_bytes(variables))
    shapes = jax.eval_shape(net.init, jax.random.key(0), x)
    for like in (variables, shapes, (net, variables), (net, shapes), net.bind(variables)):
        report = validate(tmp_path / "v.msgpack", like)
        assert report.ok, str(report)
        assert report.matched == 6


def test_random_streams_are_not_missed(tmp_path):
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.dense = nnx.Linear(2, 2, rngs=rngs)
            self.drop = nnx.Dropout(0.5, rngs=rngs)

    import pickle

    net = Net(nnx.Rngs(0))
    with_streams = nnx.to_pure_dict(nnx.state(net))
    with_streams["drop"]["rngs"]["key"] = np.asarray(jax.random.key_data(with_streams["drop"]["rngs"]["key"]))
    for tree in (nnx.to_pure_dict(nnx.state(net, nnx.Param)), with_streams):
        (tmp_path / "n.pkl").write_bytes(pickle.dumps(jax.tree.map(np.asarray, tree)))
        report = validate(tmp_path / "n.pkl", net)
        assert report.missing == (), str(report)
    assert validate(tmp_path / "n.pkl", nnx.eval_shape(lambda: Net(nnx.Rngs(0)))).missing == ()


@pytest.mark.parametrize(
    ("like", "message", "remedy"),
    [
        (None, "None does not say what a model expects", "Pass a model"),
        (TorchModel, "TorchModel is a class, not a model", r"model = TorchModel\(\.\.\.\)"),
        (linen.Dense, "Dense is a class, not a model", r"module.init\(jax.random.key\(0\), INPUTS\)"),
        (linen.Dense(3), "a linen Dense holds no arrays", "jax.eval_shape"),
        (nnx.Linear, "Linear is a class, not a model", "nnx.eval_shape"),
        (torch.nn.LazyLinear(3), "belongs to a lazy layer, which has no shape yet", "Run one batch"),
    ],
)
def test_what_is_no_model_says_how_to_make_one(like, message, remedy):
    with pytest.raises(UsageError, match=rf"(?s){message}.*{remedy}"):
        validate(memory({"w": spec(2)}), like)


# At size.


def test_many_leaves_are_compared_without_reading_one():
    names = [f"layers.{i}.attn.{name}.weight" for i in range(500) for name in "qkvo"]
    ckpt = memory({name: spec(2, 3) for name in names})
    assert validate(ckpt, {name: spec(2, 3) for name in names}).matched == 2_000
    report = validate(ckpt, {name.replace("attn", "attention"): spec(2, 3) for name in names})
    assert len(report.missing) == len(report.unexpected) == 2_000
    assert all(p.near == p.name.replace("attention", "attn") for p in report.missing)
    assert len(str(report).splitlines()) < 50


def test_as_dict_is_json(tmp_path):
    write_torch(tmp_path / "a.pth", arrays(slots=32))
    data = json.loads(json.dumps(validate(tmp_path / "a.pth", TorchModel()).as_dict()))
    assert data["ok"] is False
    assert data["problems"][0] == {
        "kind": "shape",
        "name": "head/bias",
        "found": {"shape": [32], "dtype": "float32"},
        "expected": {"shape": [7], "dtype": "float32"},
        "role": "param",
        "near": None,
    }
