"""The flags of resuming in an argparse script."""

from __future__ import annotations

import argparse

import pytest

from ckpt_core import add_resume_arguments
from ckpt_core.errors import UsageError


@pytest.fixture
def script(tmp_path):
    """A script's parser with the flags, and what plans its arguments."""

    def call(*argv: str, **options):
        parser = argparse.ArgumentParser(prog="train.py")
        parser.add_argument("--lr", type=float, default=0.1)
        parser.add_argument("--width", type=int, default=16)
        parser.add_argument("--seed", type=int, default=0)
        parser.add_argument("--epochs", type=int, default=5)
        resuming = add_resume_arguments(
            parser, run_dir=lambda args: tmp_path / f"lr_{args.lr}_width_{args.width}", **options
        )
        args = parser.parse_args(argv)
        said: list[str] = []
        return resuming.plan(args, say=said.append), said

    return call


def test_a_run_is_resumed_and_said(save, tmp_path, script) -> None:
    path = save(
        "lr_0.1_width_16/checkpoint_epoch_2.pth",
        epoch=2,
        step=20,
        config={"lr": 0.1, "width": 16, "seed": 7, "epochs": 5},
    )
    plan, said = script("--auto_resume", "--epochs", "9", first_epoch=1)
    assert (plan.action, plan.path, plan.epoch, plan.remaining) == ("resume", str(path), 3, 7)
    assert [change.name for change in plan.drift.changes] == ["seed", "epochs"], (
        "the flags are no hyperparameters"
    )
    assert said == [str(plan)] and str(path) in said[0]


def test_the_flags_are_no_hyperparameters_where_a_script_saved_them_either(save, script) -> None:
    everything = vars(argparse.Namespace(lr=0.1, width=16, seed=0, epochs=5, resume=False, model_path=None))
    save("lr_0.1_width_16/checkpoint_epoch_2.pth", epoch=2, config=everything)
    plan, (said,) = script("--auto_resume")
    assert not plan.drift
    assert "not there now" not in said


def test_a_run_that_cannot_be_resumed_is_no_sibling_of_its_own(save, script) -> None:
    config = {"lr": 0.1, "width": 16, "seed": 0, "epochs": 5}
    save("lr_0.1_width_16/weights.pth", optimizer=False, config=config)
    plan, _ = script("--auto_resume")
    assert plan.action == "fresh"
    assert not any("has checkpoints, and" in note for note in plan.notes)


def test_both_spellings(save, script) -> None:
    path = save("elsewhere/model.pth", epoch=2)
    assert (
        script("--model_path", str(path))[0].action
        == script("--model-path", str(path))[0].action
        == "weights"
    )
    assert script("--resume", "--model_path", str(path))[0].action == "resume"
    assert script("--fresh-start")[0].action == script()[0].action == "fresh"


def test_a_refused_combination_ends_as_argparse_does(script, capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        script("--resume", "--fresh_start")
    assert caught.value.code == 2
    assert "train.py: error: --resume and --fresh_start contradict each other" in capsys.readouterr().err


def test_weights_alone_raise(save, script) -> None:
    path = save("legacy.pth", optimizer=False)
    with pytest.raises(UsageError, match="cannot resume one"):
        script("--resume", "--model_path", str(path))


def test_the_list_prints_and_exits(save, tmp_path, script, capsys) -> None:
    save("lr_0.1_width_16/checkpoint_epoch_2_warm.pth", epoch=2, val_loss=0.25)
    save("lr_0.1_width_16/checkpoint_epoch_10_cold.pth", seed=1, epoch=10)
    said: list[str] = []
    parser = argparse.ArgumentParser()
    resuming = add_resume_arguments(parser, run_dir=str(tmp_path / "lr_0.1_width_16"))
    for argv, shown in ((["--list_checkpoints"], True), (["--list_checkpoints", "--comment", "warm"], False)):
        with pytest.raises(SystemExit) as caught:
            resuming.plan(parser.parse_args(argv), say=said.append)
        assert caught.value.code == 0
        assert "checkpoint_epoch_2_warm.pth" in said[-1] and "0.25" in said[-1]
        assert ("checkpoint_epoch_10_cold.pth" in said[-1]) is shown
    with pytest.raises(SystemExit) as caught:
        script("--list_checkpoints", "--width", "3")
    assert caught.value.code == 0


def test_comment_filters_what_auto_takes(save, script) -> None:
    save("lr_0.1_width_16/checkpoint_epoch_2_warm.pth", epoch=2)
    save("lr_0.1_width_16/checkpoint_epoch_10_cold.pth", seed=1, epoch=10)
    assert script("--auto_resume", "--comment", "warm")[0].entry.epoch == 2


def test_siblings_are_named_by_their_saved_arguments(save, tmp_path, script) -> None:
    save("lr_0.2_width_16/checkpoint_epoch_2.pth", epoch=2, config={"lr": 0.2, "width": 16, "seed": 3})
    save("lr_0.2_width_32/checkpoint_epoch_2.pth", epoch=2, config={"lr": 0.2, "width": 32, "seed": 3})
    save("unrelated/checkpoint_epoch_2.pth", epoch=2, config={"lr": 0.2, "width": 16})
    (tmp_path / "lr_0.3_width_16").mkdir()
    plan, said = script("--auto_resume")
    assert plan.action == "fresh"
    assert plan.notes == (
        f"{tmp_path}/lr_0.2_width_16 has checkpoints, and differs in lr (0.2 there, 0.1 now)",
        f"{tmp_path}/lr_0.2_width_32 has checkpoints, and differs in lr (0.2 there, 0.1 now), width (32 there, 16 now)",
    )
    assert plan.notes[0] in said[0]


def test_siblings_without_a_config_are_named_by_their_names(save, tmp_path, script) -> None:
    save("lr_0.1_width_64/checkpoint_epoch_2.pth", epoch=2)
    save("something_else/checkpoint_epoch_2.pth", epoch=2)
    plan, _ = script("--auto_resume")
    assert plan.notes == (
        f"{tmp_path}/lr_0.1_width_64 has checkpoints, and its name differs in 64 (here 16)",
    )


def test_an_option_that_the_script_has_keeps_its_meaning(tmp_path) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--comment", default="mine", help="of the script")
    parser.add_argument("--model_path", default="")
    resuming = add_resume_arguments(parser, run_dir=tmp_path, epochs=None)
    args = parser.parse_args([])
    assert args.comment == "mine"
    plan = resuming.plan(args, say=lambda text: None)
    assert (plan.action, plan.target) == ("fresh", None)


def test_a_script_whose_own_resume_takes_the_path(save, tmp_path, capsys) -> None:
    """As torchvision's references and many others have it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--resume", default="", type=str, metavar="PATH")
    resuming = add_resume_arguments(parser, run_dir=tmp_path)
    path = str(save("checkpoint.pth", epoch=2, step=20))

    def planned(*argv: str):
        return resuming.plan(parser.parse_args(argv), say=lambda _: None)

    assert planned().action == "fresh"
    assert (planned("--resume", path).action, planned("--resume", path).path) == ("resume", path)
    assert planned("--resume", path, "--model_path", path).action == "resume"
    with pytest.raises(SystemExit):
        planned("--resume", path, "--model_path", "other.pth")
    assert "--resume and --model_path name two checkpoints" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        planned("--resume", path, "--fresh_start")
    assert "contradict each other" in capsys.readouterr().err
