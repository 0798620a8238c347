"""Trees by the documented structure of libraries that cannot be installed, and what all rows have in common."""

from __future__ import annotations

import pytest
from layouts import trees
from layouts.meaning import owners
from layouts.trees import adam, array, opened, state_dict

from ckpt_core.errors import UsageError
from ckpt_core.layouts import Layout, Roles
from ckpt_core.layouts.table import BUILTIN, recognise
from ckpt_core.tree import Record, render_path

BUILT = [trees.fairseq, trees.detectron2, trees.detectron2_of_old, trees.basicsr, trees.big_dict]


@pytest.mark.parametrize("tree", BUILT)
def test_every_leaf_is_in_one_role_or_in_extra(tree):
    ckpt = opened(tree())
    assert {render_path(path): roles for path, roles in owners(ckpt).items() if len(roles) != 1} == {}


def test_fairseq():
    ckpt = opened(trees.fairseq())
    assert ckpt.layout == "fairseq"
    assert (ckpt.step, ckpt.epoch) == (300, 3)
    assert ckpt.metrics == {"val_loss": 2.75, "best": 2.5}
    assert ckpt.config == {"model": {"dim": 4}, "optimization": {"lr": [0.1]}}
    assert ckpt.opt_state.step == 7
    assert list(ckpt.schedulers) == ["lr_scheduler_state"]
    assert (ckpt.weights, list(ckpt.ema)) == ("raw", ["ema"])
    old = trees.fairseq()
    del old["cfg"], old["extra_state"]["ema"]
    ckpt = opened({**old, "args": Record("argparse.Namespace", {"arch": "transformer"})})
    assert (ckpt.layout, ckpt.config, ckpt.ema) == ("fairseq", {"arch": "transformer"}, {})


@pytest.mark.parametrize("tree", [trees.detectron2, trees.detectron2_of_old])
def test_detectron2(tree):
    ckpt = opened(tree())
    assert ckpt.layout == "detectron2"
    assert ckpt.step == 999
    assert ckpt.opt_state.step == 7
    assert len(ckpt.schedulers) == 1
    assert (ckpt.scaler is not None) == ("trainer" in tree())


def test_basicsr():
    ckpt = opened(trees.basicsr())
    assert (ckpt.layout, list(ckpt.ema), ckpt.metadata.extra) == ("basicsr", ["params_ema"], {})
    assert [name for name, _ in ckpt.params.leaves()] == ["net/conv/weight", "head/weight"]
    flax = opened(
        {"params": {"Dense_0": {"kernel": array(2, 3)}}, "params_ema": {"Dense_0": {"kernel": array(2, 3)}}}
    )
    assert flax.layout == "training_dict"


def test_what_fits_two_rows_says_so():
    both = {**trees.detectron2_of_old(), "arch": "tiny", "version": 2, "state_dict": state_dict()}
    ckpt = opened(both)
    assert ckpt.layout == "timm"
    assert any("fits the layouts timm and detectron2; read as timm" in note for note in ckpt.metadata.notes)
    other = opened(both, layout="detectron2")
    assert other.layout == "detectron2"
    assert not any("fits the layouts" in note for note in other.metadata.notes)
    with pytest.raises(UsageError, match="is not arranged as lightning"):
        opened(both, layout="lightning")


def test_a_row_that_knows_the_writer_comes_before_the_general_ones():
    class Anything(Layout):
        """A general row of a plugin, which fits everything."""

        name = "anything"
        is_general = True

        def recognise(self, tree: object) -> Roles | None:
            return Roles(params=((),))

    row, _ = recognise(trees.basicsr(), [Anything(), *BUILTIN])
    assert row is not None and row.name == "basicsr"
    row, _ = recognise({"a": {"b": 1}}, [Anything(), *BUILTIN])
    assert row is not None and row.name == "anything"


def test_claims_name_the_row_of_each_part():
    tree = {
        "default": {"params": {"w": array(2)}, "opt_state": [{"mu": {"w": array(2)}}], "step": 3},
        "metrics": {"loss": 0.5},
    }
    claims = {(claim.role, claim.row) for claim in opened(tree).claims}
    assert claims == {
        ("params", "train_state"), ("opt_states", "train_state"), ("step", "train_state"), ("metrics", "items"),
    }  # fmt: skip


def test_weights_that_zero_stage_3_left_empty_are_told():
    module = {"a.weight": array(0), "a.bias": array(0)}
    ckpt = opened({"module": module, "param_shapes": [{"a.weight": (2, 3)}], "global_steps": 4})
    assert any(
        "all 2 parameters are empty arrays, as DeepSpeed's ZeRO stage 3" in note
        for note in ckpt.metadata.notes
    )


def test_a_training_state_without_weights():
    ckpt = opened({"epoch": 3, "iter": 200, "optimizers": [adam()], "schedulers": [{"last_epoch": 3}]})
    assert (ckpt.layout, ckpt.epoch, ckpt.step, ckpt.params) == ("training_dict", 3, 200, {})
    assert "there are no weights in it" in ckpt.metadata.notes
    assert ckpt.opt_states["optimizers"].step == 7


def test_haiku_keeps_its_own_names_when_it_is_written():
    from ckpt_core.select import Selection, selected

    tree = {"params": {"mlp/~/linear_0": {"w": array(2, 3), "b": array(3)}}, "state": {}, "step": 4}
    ckpt = opened(tree)
    assert [name for name, _ in ckpt.params.leaves()] == ["mlp/~/linear_0/w", "mlp/~/linear_0/b"]
    written, _ = selected(ckpt, Selection(only=("params",)))
    assert written == tree["params"]
