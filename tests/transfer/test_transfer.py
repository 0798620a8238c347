"""transfer: problems all at once, parts into parts, receipts, what is written, and the way back."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from ckpt_core import hash_weights, open_checkpoint, save_checkpoint
from ckpt_core.errors import CheckpointError, CheckpointNotFoundError, PlanError, UsageError
from ckpt_core.template import template_of
from ckpt_core.transfer import Rule, TransferPlan, parse_plan, read_plan, transfer, verify, write_plan

rng = np.random.default_rng(5)


def f32(*shape: int) -> np.ndarray:
    return rng.normal(size=shape).astype(np.float32)


def tower() -> dict[str, Any]:
    return {f"layer_{i}": {"kernel": f32(4, 4), "bias": f32(4)} for i in range(2)}


def leaves(tree: Any) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


SOURCE = {"siamese_transformer": tower(), "head": {"kernel": f32(4, 2)}}
LIKE = {
    "matcher": {"transformer_global": tower(), "transformer_local": tower()},
    "head": {"kernel": f32(4, 5)},
}
INTO = ["matcher/transformer_global", "matcher/transformer_local"]
RENAMES = """
[[rule]]
source = "old_{i}.weight"
target = "new_{i+1}/kernel"
ops = ["transpose"]
"""


# Problems.


def test_every_problem_is_reported_at_once() -> None:
    plan = parse_plan("""
[[rule]]
source = "a"
target = "x"
[[rule]]
source = "nowhere_{i}"
target = "x"
[[rule]]
source = "b"
target = ["x", "y"]
ops = ["copy(2)"]
[[rule]]
source = "c"
target = "zz"
[[rule]]
source = "d"
target = "v"
[[unsettled]]
source = "e"
target = "w"
reason = "both are square"
settled_by = "A forward pass."
""")
    source = {"a": f32(2), "b": f32(2), "c": f32(2), "d": f32(3), "e": f32(2), "f": f32(2)}
    like = {"x": f32(2), "y": f32(2), "z": f32(2), "v": f32(4), "w": f32(2), "u": f32(2, 2)}
    with pytest.raises(PlanError, match="cannot be transferred into the model") as error:
        transfer(source, like, rules=plan, skip=["f", "u"])
    assert [(problem.kind, problem.place) for problem in error.value.problems] == [
        ("unmatched", "nowhere_{i} -> x"),
        ("unexpected", "c"),
        ("claimed twice", "x"),
        ("shape", "v"),
        ("unsettled", "w"),
    ]
    text = str(error.value)
    assert "claimed twice: claimed by a and by b @ x" in text
    assert "shape: [3] from d, where the target has [4] @ v" in text
    assert "unsettled: both are square @ w\n        A forward pass." in text


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ('source = "a"\ntarget = ["x", "y"]', 'Independent copies: ops = ["copy(2)"]'),
        (
            'source = "a"\ntarget = "x"\nops = ["transpose(1, 0)"]',
            "transpose(1, 0) does not fit: [1, 0] is no order",
        ),
        ('source = "a"', "a rule without a target has one op: skip"),
        ('target = "x"\nops = ["skip"]', "a rule without a source has one op: initial or constant"),
        ('source = ["{i}", "a"]\ntarget = "x"', "the patterns of one side have different captures"),
        ('source = ["a", "b"]\ntarget = "x"\nops = ["tie(2)"]', "tie(2) does not fit: the arrays differ"),
    ],
)
def test_a_rule_that_does_not_work_says_why(rule: str, problem: str) -> None:
    like = {name: f32(2) for name in ("x", "y") if f'"{name}"' in rule or name == "x"}
    with pytest.raises(PlanError) as error:
        transfer({"a": f32(2), "b": f32(2)}, like, rules=parse_plan(f"[[rule]]\n{rule}"))
    assert problem in str(error.value)


# Rules.


def test_captures_count_gather_and_scatter() -> None:
    source = {f"old_{i}": {"weight": f32(2, 3)} for i in range(11)}
    unrolled = {f"new_{i + 1}": {"kernel": f32(3, 2)} for i in range(11)}
    result = transfer(source, unrolled, rules=parse_plan(RENAMES))
    for i in range(11):
        np.testing.assert_array_equal(
            result.arrays[f"new_{i + 1}/kernel"].read(), source[f"old_{i}"]["weight"].T
        )
    stack = parse_plan(
        '[[rule]]\nsource = "old_{i}.weight"\ntarget = "all/kernel"\nops = ["transpose", "stack"]'
    )
    stacked = transfer(source, {"all": {"kernel": f32(11, 3, 2)}}, rules=stack)
    expected = np.stack([source[f"old_{i}"]["weight"].T for i in range(11)])
    np.testing.assert_array_equal(stacked.load()["all"]["kernel"], expected)
    back = transfer(stacked.load(), source, rules=stack, reverse=True)
    for mine, theirs in zip(leaves(back.load()), leaves(source), strict=True):
        assert mine.tobytes() == theirs.tobytes()


def test_what_a_rule_skips_or_fills_is_out_of_reach_of_the_others() -> None:
    plan = parse_plan("""
[[rule]]
source = "{x**}"
target = "{x**}"
[[rule]]
source = "old/b"
ops = ["skip('not needed')"]
[[rule]]
target = "new/c"
ops = ["constant(1.5)"]
[[rule]]
target = "new/d"
ops = ["initial"]
""")
    like = {"a": f32(2), "new": {"c": f32(2, 2), "d": f32(3)}}
    result = transfer({"a": f32(2), "old": {"b": f32(1)}}, like, rules=plan)
    assert np.all(result.load()["new"]["c"] == 1.5)
    np.testing.assert_array_equal(result.load()["new"]["d"], like["new"]["d"])
    assert [(row.name, row.bucket) for row in result.receipt.filled] == [
        ("a", "transferred"),
        ("new/c", "constant"),
        ("new/d", "initial"),
    ]
    assert [(row.name, row.bucket) for row in result.receipt.taken] == [
        ("a", "transferred"),
        ("old/b", "skipped"),
    ]


def test_two_slots_from_one_source_do_not_share_their_bytes() -> None:
    plan = parse_plan('[[rule]]\nsource = "a"\ntarget = "x"\n[[rule]]\nsource = "a"\ntarget = "y"')
    result = transfer({"a": f32(2)}, {"x": f32(2), "y": f32(2)}, rules=plan)
    assert result.arrays["x"].identity != result.arrays["y"].identity


def test_a_tied_slot_is_given_the_array_of_its_partner() -> None:
    class Tied(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = torch.nn.Embedding(5, 3)
            self.head = torch.nn.Linear(3, 5, bias=False)
            self.head.weight = self.embed.weight

    plan = parse_plan('[[rule]]\nsource = "table"\ntarget = "embed.weight"')
    table = f32(5, 3)
    result = transfer({"table": table}, Tied(), rules=plan)
    state = result.load()
    np.testing.assert_array_equal(state["embed.weight"], table)
    np.testing.assert_array_equal(state["head.weight"], table)
    assert [row.bucket for row in result.receipt.filled] == ["transferred", "tied"]
    there = transfer(Tied(), {"table": table}, rules=plan, reverse=True)
    assert [row.bucket for row in there.receipt.taken] == ["transferred", "tied"]


# Parts.


def test_the_first_part_that_is_there_goes_into_each_place_and_the_rest_stays() -> None:
    result = transfer(SOURCE, LIKE, select=["loftr_transformer/**", "siamese_transformer/**"], into=INTO)
    filled = result.load()
    for name in ("transformer_global", "transformer_local"):
        for mine, theirs in zip(
            leaves(filled["matcher"][name]), leaves(SOURCE["siamese_transformer"]), strict=True
        ):
            assert mine.tobytes() == theirs.tobytes()
    assert filled["head"]["kernel"].tobytes() == LIKE["head"]["kernel"].tobytes()
    assert str(result.receipt) == (
        "Transferred 40 parameters into matcher/transformer_global (4 leaves)\n"
        "Transferred 40 parameters into matcher/transformer_local (4 leaves)\n"
        "from siamese_transformer of the source\n"
        "1 slot keeping the target's own values (20 parameters)\n"
        "1 source outside of the selection (8 parameters)"
    )
    assert result.receipt.selected == "siamese_transformer"
    buckets = {row.name: row.bucket for row in result.receipt.taken}
    assert buckets.pop("head/kernel") == "not selected"
    assert set(buckets.values()) == {"transferred"}


@pytest.mark.parametrize(
    ("request_", "problem"),
    [
        (
            {"select": ["loftr", "coarse"]},
            "there is no loftr or coarse in it\n  Its parts: siamese_transformer (4 arrays)",
        ),
        (
            {"into": "decoder"},
            "there is no decoder in it\n  Its parts: matcher (8 arrays), matcher/transformer_global",
        ),
        ({"select": "a*b"}, "'a*b' is no part"),
        ({"skip": "decoder/**"}, "the pattern 'decoder/**' of skip= matches nothing"),
        ({"resize": {"nowhere": "head.kernel"}}, "resize= names nowhere, and the target has no such slot"),
    ],
)
def test_a_request_that_matches_nothing_lists_what_is_there(request_: dict[str, Any], problem: str) -> None:
    with pytest.raises(UsageError) as error:
        transfer(SOURCE, LIKE, **request_)
    assert problem in str(error.value)


def test_skips_must_cover_every_difference() -> None:
    like = {"siamese_transformer": tower(), "head": {"kernel": f32(4, 5)}, "extra": f32(2)}
    with pytest.raises(PlanError, match="missing: float32\\[2\\] has no source @ extra"):
        transfer(SOURCE, like, skip="head/**")
    result = transfer(SOURCE, like, skip=["head/**", "extra"])
    assert result.load()["head"]["kernel"].tobytes() == like["head"]["kernel"].tobytes()


def test_a_table_that_grew_keeps_its_new_rows() -> None:
    source, like = {"table": f32(3, 2), "w": f32(2)}, {"table": f32(5, 2), "w": f32(2)}
    with pytest.raises(CheckpointError):
        transfer(source, like)
    table = transfer(source, like, resize={"table": "table"}).load()["table"]
    np.testing.assert_array_equal(table, np.concatenate([source["table"], like["table"][3:]]))


def test_an_absent_source_raises_or_warns(tmp_path: Path) -> None:
    path = tmp_path / "none.pkl"
    with pytest.raises(CheckpointNotFoundError):
        transfer(path, LIKE)
    with pytest.warns(UserWarning, match="every slot keeps its initial value"):
        result = transfer(path, LIKE, optional=True)
    for mine, theirs in zip(leaves(result.load()), leaves(LIKE), strict=True):
        assert mine.tobytes() == theirs.tobytes()
    assert {row.bucket for row in result.receipt.filled} == {"initial"}


def test_an_optional_source_is_looked_for_where_paths_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path / "there.pkl", {"a": f32(2)})
    monkeypatch.setenv("CKPT_ROOT", str(tmp_path))
    result = transfer("there.pkl", {"a": f32(2)}, optional=True)
    assert [row.bucket for row in result.receipt.filled] != ["initial"]


def test_verify_says_what_is_missing_before_anything_is_read() -> None:
    assert verify(SOURCE, LIKE, select="siamese_transformer", into=INTO)
    check = verify({"a": f32(2)}, {"a": f32(2), "b": f32(3)})
    assert not check
    assert (
        str(check) == "the source does not hold what the model needs\n  missing: float32[3] has no source @ b"
    )


def test_initial_values_are_needed_where_slots_keep_them() -> None:
    like = {"a": jax.ShapeDtypeStruct((2,), jnp.float32), "b": jax.ShapeDtypeStruct((3,), jnp.float32)}
    with pytest.raises(
        PlanError, match=r"would keep its initial value, and the target has shapes alone.* @ b"
    ):
        transfer({"a": f32(2)}, like, skip="b")
    with pytest.raises(
        PlanError, match=r"would keep its initial value, and the target has shapes alone.* @ b"
    ):
        transfer({"a": f32(2)}, template_of(like), select="a", into="a")
    with (
        pytest.warns(UserWarning, match="every slot keeps its initial value"),
        pytest.raises(PlanError, match="2 problems"),
    ):
        transfer(None, template_of(like), optional=True)


def test_buffers_that_are_computed_are_left_where_they_are() -> None:
    model = torch.nn.Module()
    model.fc = torch.nn.Linear(2, 3)
    model.register_buffer("frequencies", torch.arange(4.0))
    like = {"fc": {"kernel": f32(2, 3), "bias": f32(3)}}
    with transfer(model, like) as result:
        assert [row.name for row in result.receipt.taken if row.bucket == "skipped"] == ["frequencies"]
        there = result.load()
    back = transfer(there, model).load()
    np.testing.assert_array_equal(back["frequencies"], np.arange(4.0))
    np.testing.assert_array_equal(back["fc.weight"], model.fc.weight.detach().numpy())


def test_a_cast_is_of_what_is_transferred_alone() -> None:
    like = {"a": f32(2), "head": {"w": f32(3)}, "rest": f32(4)}
    with pytest.raises(
        UsageError, match=r"'head' of skip= matches nothing\n.*What is below it is 'head/\*\*'"
    ):
        transfer({"a": f32(2)}, like, skip=["head", "rest"])
    result = transfer({"a": f32(2)}, like, skip=["head/**", "rest"], cast="bf16")
    assert [result.arrays[name].dtype for name in ("a", "head/w", "rest")] == [
        "bfloat16",
        "float32",
        "float32",
    ]


def test_a_part_may_be_a_single_array() -> None:
    source = {"m.weight": f32(2, 3), "m.bias": f32(3)}
    like = {"table": f32(2, 3), "left": {"kernel": f32(3, 2)}, "right": {"inner": {"kernel": f32(3, 2)}}}
    result = transfer(source, like, select="m.weight", into=["left/kernel", "right"])
    assert [str(row) for row in result.receipt.destinations] == [
        "Transferred 6 parameters into left/kernel (1 leaf)",
        "Transferred 6 parameters into right (1 leaf)",
    ]
    loaded = result.load()
    np.testing.assert_array_equal(loaded["left"]["kernel"], source["m.weight"].T)
    np.testing.assert_array_equal(loaded["right"]["inner"]["kernel"], source["m.weight"].T)
    np.testing.assert_array_equal(loaded["table"], like["table"])


def test_patterns_that_are_left_out_may_overlap() -> None:
    like = {"a": f32(2), "head": {"w": f32(3)}}
    receipt = transfer({"a": f32(2)}, like, skip=["head/**", "head/w"]).receipt
    assert [(row.name, row.bucket) for row in receipt.filled] == [("a", "transferred"), ("head/w", "initial")]


def test_an_asterisk_in_a_rule_says_what_captures_are() -> None:
    for rule in (Rule(("head.*",), ("head/{x*}",)), Rule(("a",), ("head/**",))):
        with pytest.raises(PlanError, match=r"\{x\*\} stands for text within a segment"):
            transfer(
                {"a": f32(2), "head.w": f32(3)},
                {"a": f32(2), "head": {"w": f32(3)}},
                rules=TransferPlan((rule,)),
            )


# Across frameworks, and files.


class Net(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
        x = nn.relu(
            nn.BatchNorm(use_running_average=True, epsilon=1e-5, name="norm")(nn.Dense(8, name="first")(x))
        )
        return nn.Dense(3, name="second")(x)


class TorchNet(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.second = (
            torch.nn.Linear(8, 8),
            torch.nn.BatchNorm1d(8),
            torch.nn.Linear(8, 3),
        )
        with torch.no_grad():
            for value in self.state_dict().values():
                if value.is_floating_point():
                    value.copy_(torch.from_numpy(f32(*value.shape)).abs() + 0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.relu(self.norm(self.first(x))))


def abstract() -> Any:
    return jax.eval_shape(Net().init, jax.random.key(0), jnp.ones((2, 8)))


def test_a_torch_model_becomes_a_flax_one_and_comes_back_through_files(tmp_path: Path) -> None:
    model = TorchNet().eval()
    torch.save(model.state_dict(), tmp_path / "model.pth")
    with transfer(tmp_path / "model.pth", abstract()) as result:
        receipt = result.save(tmp_path / "out.msgpack")
        write_plan(result.plan, tmp_path / "plan.toml")
        variables = jax.tree.map(jnp.asarray, result.load())
    x = f32(5, 8)
    with torch.no_grad():
        expected = model(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(Net().apply(variables, x), expected, rtol=1e-4, atol=1e-5)

    with open_checkpoint(tmp_path / "out.msgpack") as ckpt:
        assert set(ckpt.tree) == {"params", "batch_stats"}
        for row in receipt.filled:
            array = {**dict(ckpt.params.leaves()), **dict(ckpt.buffers.leaves())}[row.name].read()
            head = f"float32{list(array.shape)}\n".encode()
            assert row.sha256 == hashlib.sha256(head + array.tobytes()).hexdigest()

    like = template_of(tmp_path / "model.pth")
    with transfer(tmp_path / "out.msgpack", like, rules=tmp_path / "plan.toml", reverse=True) as back:
        back.save(tmp_path / "back.pth")
    with open_checkpoint(tmp_path / "model.pth") as a, open_checkpoint(tmp_path / "back.pth") as b:
        assert hash_weights(a) == hash_weights(b)
    state = torch.load(tmp_path / "back.pth", weights_only=True)
    TorchNet().load_state_dict(state)
    assert read_plan(tmp_path / "plan.toml").rules


@pytest.mark.parametrize("name", ["out.safetensors", "out.pth", "out.msgpack", "out_orbax", "out.pkl"])
def test_a_transposed_array_is_written_in_every_format(name: str, tmp_path: Path) -> None:
    weight = f32(300, 200)
    plan = parse_plan('[[rule]]\nsource = "a"\ntarget = "b"\nops = ["transpose"]')
    with transfer({"a": weight}, {"b": np.zeros((200, 300), np.float32)}, rules=plan) as result:
        receipt = result.save(tmp_path / name, to="orbax" if name == "out_orbax" else None)
    with open_checkpoint(tmp_path / name) as ckpt:
        np.testing.assert_array_equal(ckpt.params["b"].read(), weight.T)
    head = b"float32[200, 300]\n"
    assert receipt.filled[0].sha256 == hashlib.sha256(head + weight.T.tobytes()).hexdigest()


def test_names_of_another_framework_are_not_relabelled(tmp_path: Path) -> None:
    result = transfer({"first.weight": f32(2)}, {"first.weight": torch.zeros(2)})
    with pytest.raises(UsageError, match="has the names of torch, not of flax"):
        result.save(tmp_path / "out", to="flax")


def test_a_cast_is_asked_for() -> None:
    like = {"a": np.zeros(3, "float16")}
    result = transfer({"a": f32(3)}, like)
    assert result.receipt.notes == ("1 array is float32 where the target has float16; nothing was cast",)
    assert transfer({"a": f32(3)}, like, cast="fp16").arrays["a"].dtype == "float16"


def test_a_counter_goes_along_with_the_layer_that_it_is_of() -> None:
    tower = torch.nn.ModuleDict({"conv": torch.nn.Conv2d(3, 4, 3), "norm": torch.nn.BatchNorm2d(4)})
    tower["norm"].num_batches_tracked += 7
    branch = {name: np.asarray(array) for name, array in tower.state_dict().items()}
    like = {
        f"{side}.{name.replace('conv', '0').replace('norm', '1')}": a
        for side in "ab"
        for name, a in branch.items()
    }
    done = transfer(tower, like, into=["a", "b"])
    assert {name: int(np.asarray(array)) for name, array in done.arrays.items() if "tracked" in name} == {
        "a/1/num_batches_tracked": 7,
        "b/1/num_batches_tracked": 7,
    }
    uncounted = {name: array for name, array in branch.items() if "tracked" not in name}
    done = transfer(uncounted, torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)))
    assert int(np.asarray(done.arrays["1/num_batches_tracked"])) == 0
