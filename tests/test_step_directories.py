"""Directories of several checkpoints: steps are asked for, parts are joined, and one among others is named."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from flax import nnx, serialization

from ckpt_core import open_checkpoint, save_checkpoint
from ckpt_core.errors import UsageError


def test_flax_files_of_several_steps(tmp_path: Path) -> None:
    for step in (1, 2, 10):
        state = {"params": {"w": np.full(3, step, np.float32)}}
        (tmp_path / f"checkpoint_{step}").write_bytes(serialization.to_bytes(state))
    with pytest.raises(UsageError, match=r"holds 3 steps: 1, 2, 10\n.*--step 10"):
        open_checkpoint(tmp_path)
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
