"""Directories of several checkpoints: steps are asked for, parts are joined, and one among others is named."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
import safetensors.numpy
from flax import nnx, serialization

from ckpt_core import convert, open_checkpoint, save_checkpoint
from ckpt_core.errors import UsageError

GOLDEN = Path(__file__).parent / "golden" / "orbax"


def test_flax_files_of_several_steps(tmp_path: Path) -> None:
    for step in (1, 2, 10):
        state = {"params": {"w": np.full(3, step, np.float32)}}
        (tmp_path / f"checkpoint_{step}").write_bytes(serialization.to_bytes(state))
    with pytest.raises(UsageError, match=r"holds 3 steps: 1, 2, 10\n.*--step 10"):
        open_checkpoint(tmp_path)
    with pytest.raises(UsageError, match="step= takes a number, not '2'"):
        open_checkpoint(tmp_path, step="2")  # type: ignore[arg-type]  # a text: that is the point
    with open_checkpoint(tmp_path, step=2) as ckpt:
        assert ckpt.params["w"].read().tolist() == [2, 2, 2]


@pytest.mark.parametrize("names", [("model_epoch_1.pth", "model_epoch_2.pth"), ("a7.pkl", "a12.pkl")])
def test_files_that_differ_in_a_number(tmp_path: Path, names: tuple[str, str]) -> None:
    for name in names:
        save_checkpoint(tmp_path / name, {"w": np.ones(2, np.float32)})
    with pytest.raises(UsageError, match="holds 2 steps"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "names",
    [
        ("rank_0.pth", "rank_1.pth"),
        ("random_states_0.pkl", "random_states_1.pkl"),
        ("encoder1.pth", "decoder2.pth"),
        ("model.pth", "model2.pth"),
        ("only_1.pth",),
    ],
)
def test_parts_are_no_steps(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        save_checkpoint(tmp_path / name, {"w": np.ones(2, np.float32)})
    with open_checkpoint(tmp_path) as ckpt:
        assert set(ckpt.tree) == set(names)


def test_a_root_of_steps_among_other_files(tmp_path: Path) -> None:
    with ocp.CheckpointManager(tmp_path / "orbax") as manager:
        for step in (1, 2):
            manager.save(step, args=ocp.args.StandardSave({"w": jnp.ones(2)}))
    with pytest.raises(UsageError, match="holds 2 steps: 1, 2"):
        open_checkpoint(tmp_path)
    save_checkpoint(tmp_path / "model.pth", {"w": np.ones(2, np.float32)})
    with open_checkpoint(tmp_path) as ckpt:
        assert list(ckpt.tree) == ["model.pth"]
        assert any("orbax: left out, it holds 2 steps: 1, 2" in note for note in ckpt.metadata.notes)
    shutil.rmtree(tmp_path / "orbax" / "1")
    with open_checkpoint(tmp_path) as ckpt:
        assert list(ckpt.tree) == ["model.pth", "orbax"]


def test_a_pickled_nnx_state_has_the_names_of_its_variables(tmp_path: Path) -> None:
    model = nnx.Sequential(nnx.Linear(2, 3, rngs=nnx.Rngs(0)), nnx.Linear(3, 1, rngs=nnx.Rngs(1)))
    path = tmp_path / "state.pkl"
    path.write_bytes(pickle.dumps({"model": nnx.state(model), "epoch": 3}))
    with open_checkpoint(path) as ckpt:
        kernel = ckpt.params["layers/0/kernel"]
        np.testing.assert_array_equal(kernel.read(), model.layers[0].kernel[...])
        assert set(ckpt.params["layers/1"]) == {"kernel", "bias"}
        assert ckpt.epoch == 3


def test_the_number_of_a_step_that_only_its_directory_has(tmp_path: Path) -> None:
    for name, options in {
        "run": {},
        "padded": {"step_prefix": "ckpt", "step_format_fixed_length": 6},
    }.items():
        root = tmp_path / name
        with ocp.CheckpointManager(root, options=ocp.CheckpointManagerOptions(**options)) as manager:
            manager.save(500, args=ocp.args.StandardSave({"params": {"w": jnp.ones(2)}}))
        (step,) = (path for path in root.iterdir() if path.is_dir())
        for path in (root, step):
            with open_checkpoint(path) as ckpt:
                assert ckpt.step == 500
        for target in ("a.pth", "a.safetensors", "a.msgpack", "a.pkl", "a_orbax"):
            convert(root, tmp_path / target, force=True)
            with open_checkpoint(tmp_path / target) as ckpt:
                assert ckpt.step == 500
                assert list(ckpt.tree) == ["params"]


def test_the_step_in_the_tree_is_the_step(tmp_path: Path) -> None:
    with ocp.CheckpointManager(tmp_path / "run") as manager:
        manager.save(500, args=ocp.args.StandardSave({"params": {"w": jnp.ones(2)}, "step": 499}))
    with open_checkpoint(tmp_path / "run") as ckpt:
        assert ckpt.step == 499


def test_a_number_in_the_name_of_a_tree_is_no_step(tmp_path: Path) -> None:
    ocp.PyTreeCheckpointer().save(tmp_path / "model_2", {"params": {"w": jnp.ones(2)}})
    with open_checkpoint(tmp_path / "model_2") as ckpt:
        assert ckpt.step is None


@pytest.mark.parametrize(("text", "step"), [("1200", 1200), ("latest", None), ("9" * 40, None), ("-1", None)])
def test_counters_in_the_metadata_of_a_container(tmp_path: Path, text: str, step: int | None) -> None:
    metadata = {"step": text, "epoch": "3"}
    safetensors.numpy.save_file({"w": np.ones(2)}, tmp_path / "a.safetensors", metadata)
    with open_checkpoint(tmp_path / "a.safetensors") as ckpt:
        assert (ckpt.step, ckpt.epoch) == (step, 3)


def test_a_directory_with_one_file_of_flax(tmp_path: Path) -> None:
    state = {
        "step": 11,
        "params": {"w": np.ones(3, np.float32)},
        "opt_state": {"0": {"mu": {"w": np.ones(3)}}},
    }
    (tmp_path / "checkpoint_11").write_bytes(serialization.to_bytes(state))
    with open_checkpoint(tmp_path) as ckpt:
        assert [name for name, _ in ckpt.params.leaves()] == ["w"]
        assert ckpt.step == 11
        assert len(ckpt.opt_states) == 1


def test_the_metadata_of_all_steps_is_kept(tmp_path: Path) -> None:
    with ocp.CheckpointManager(tmp_path / "run", metadata={"dataset": "digits", "note": "all"}) as manager:
        manager.save(3, args=ocp.args.StandardSave({"w": jnp.ones(2)}), custom_metadata={"note": "this"})
    convert(tmp_path / "run", tmp_path / "a.pth")
    for path in ("run", "a.pth"):
        with open_checkpoint(tmp_path / path) as ckpt:
            assert ckpt.metadata.attributes == {"dataset": "digits", "step": 3, "note": "this"}


@pytest.mark.parametrize("version", ["0.2.7", "0.11.5", "0.12.8"])
def test_the_metadata_of_all_steps_of_every_vintage(version: str, tmp_path: Path) -> None:
    shutil.copytree(GOLDEN / f"{version}_manager", tmp_path / "run")
    steps = sorted(
        (path for path in (tmp_path / "run").iterdir() if path.name != "metadata"), key=lambda p: p.name
    )
    for path in steps[1:]:
        shutil.rmtree(path)
    with open_checkpoint(tmp_path / "run") as ckpt:
        assert ckpt.metadata.attributes["seed"] == 1
    with open_checkpoint(GOLDEN / f"{version}_manager", step=20) as ckpt:
        assert ckpt.metadata.attributes["seed"] == 1
        assert ckpt.metadata.attributes["step"] == 20


def test_a_step_that_is_asked_for_has_its_number(tmp_path: Path) -> None:
    options = ocp.CheckpointManagerOptions(step_prefix="ckpt", step_format_fixed_length=6)
    with ocp.CheckpointManager(tmp_path / "run", options=options, item_names=("state", "extra")) as manager:
        for step in (7, 20):
            items = {"state": ocp.args.StandardSave({"w": jnp.ones(2)}), "extra": ocp.args.JsonSave({"a": 1})}
            manager.save(step, args=ocp.args.Composite(**items))
    with open_checkpoint(tmp_path / "run", step=20) as ckpt:
        assert ckpt.step == 20
