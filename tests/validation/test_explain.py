"""Errors that the real libraries raise, and what is made of them."""

from __future__ import annotations

import argparse
import gc
import gzip
import io
import json
import pickle
import sys
import types
import warnings
import zipfile

import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
import safetensors.torch
import torch
from flax import linen, nnx
from flax.training.train_state import TrainState

from ckpt_core import explain, explain_errors
from ckpt_core.errors import DamagedFileError
from ckpt_core.validation import ExplanationWarning

X = jnp.ones((2, 4))


def raised(function, *args, **kwargs):
    try:
        function(*args, **kwargs)
    except Exception as error:
        return error
    pytest.fail("the library raised nothing")


class Slots(torch.nn.Module):
    def __init__(self, count: int, name: str = "project") -> None:
        super().__init__()
        self.slots_mu = torch.nn.Parameter(torch.zeros(count, 8))
        setattr(self, name, torch.nn.Linear(8, 8))


@pytest.fixture
def slots(tmp_path):
    path = tmp_path / "slots.pth"
    torch.save({"model_state_dict": Slots(32).state_dict(), "config": {"num_slots": 32}}, path)
    return path


def weights_of(path):
    return torch.load(path)["model_state_dict"]


# torch: load_state_dict.


def test_a_size_mismatch_gives_the_config_field_and_the_command(slots):
    error = raised(Slots(7).load_state_dict, weights_of(slots))
    found = explain(error, slots)
    assert found.error == "torch: load_state_dict"
    assert found.cause == "the model was built with another num_slots than the checkpoint was"
    (field,) = found.fields
    assert (field.field, field.values, field.instead) == ("num_slots", (32,), (7,))
    text = str(found)
    assert "shape: float32[32, 8] in the checkpoint, float32[7, 8] in the model @ slots_mu" in text
    assert f"ckpt config {slots}" in text
    assert f"ckpt validate {slots} --like TEMPLATE.json" in text


def test_shape_rules_are_asked(slots):
    error = raised(Slots(7).load_state_dict, weights_of(slots))
    (field,) = explain(error, slots, rules={"slots_mu": "n_slots 8"}).fields
    assert (field.field, field.values, field.evidence) == ("n_slots", (32,), "32 = n_slots")


def test_the_words_of_an_error_are_enough():
    text = "size mismatch for slots_mu: torch.Size([32, 64]) from checkpoint ... torch.Size([7, 64])"
    found = explain(text)
    (problem,) = found.report.shape_mismatches
    assert (problem.found.shape, problem.expected.shape) == ((32, 64), (7, 64))


def test_missing_and_unexpected_names_are_paired(slots):
    error = raised(Slots(32, "projection").load_state_dict, weights_of(slots))
    found = explain(error, slots)
    assert {p.name: p.near for p in found.report.missing} == {
        "projection/weight": "project/weight",
        "projection/bias": "project/bias",
    }
    assert found.cause == "the model has other layers than the checkpoint, or other names for them"


def test_a_prefix_is_seen(slots):
    wrapped = torch.nn.DataParallel(Slots(32))
    found = explain(raised(wrapped.load_state_dict, weights_of(slots)), slots)
    assert found.cause == "the names of both sides differ by a prefix"
    assert found.report.prefix.model == "module"
    assert "without it everything fits" in str(found)


def test_an_error_about_another_file_is_noticed(slots, tmp_path):
    torch.save(torch.nn.Linear(2, 2).state_dict(), tmp_path / "other.pth")
    error = raised(Slots(7).load_state_dict, weights_of(slots))
    notes = explain(error, tmp_path / "other.pth").notes
    assert "no name in the error is in this checkpoint: it may be about another file" in notes


def test_optimizers_that_do_not_fit(tmp_path):
    model = torch.nn.Linear(2, 2)
    saved = torch.optim.Adam(model.parameters())
    torch.save({"model": model.state_dict(), "optimizer": saved.state_dict()}, tmp_path / "a.pth")
    two = torch.optim.Adam([{"params": [model.weight]}, {"params": [model.bias]}])
    one = torch.optim.Adam([model.weight])
    found = explain(raised(two.load_state_dict, saved.state_dict()), tmp_path / "a.pth")
    assert "the saved optimizer has another number of parameter groups" in found.cause
    assert "saved: optimizer: 2 parameters by group" in found.notes
    found = explain(raised(one.load_state_dict, saved.state_dict()), tmp_path / "a.pth")
    assert "has groups of other sizes" in found.cause


# torch and pickle: objects by their class.


def test_weights_only_names_the_class_that_is_in_the_way(tmp_path):
    path = tmp_path / "a.pth"
    torch.save({"args": argparse.Namespace(lr=1.0), "model": torch.nn.Linear(2, 2).state_dict()}, path)
    found = explain(raised(torch.load, path), path)
    assert found.error == "torch: weights_only"
    assert "an object of argparse.Namespace beside its arrays" in found.cause
    assert "argparse.Namespace: the checkpoint names it; here it is read as data" in found.notes
    assert f"ckpt convert {path} weights.safetensors --only weights" in found.remedies


@pytest.fixture
def gone(tmp_path):
    """A whole model, pickled by a class whose module is no longer there."""
    module = types.ModuleType("vanished_models")
    kind = type("Net", (torch.nn.Linear,), {"__module__": "vanished_models", "__qualname__": "Net"})
    module.Net = kind
    sys.modules["vanished_models"] = module
    torch.save(kind(2, 2), tmp_path / "net.pth")
    yield tmp_path / "net.pth", module
    sys.modules.pop("vanished_models", None)


def test_a_module_that_is_gone(gone):
    path, _ = gone
    del sys.modules["vanished_models"]
    found = explain(raised(torch.load, path, weights_only=False), path)
    assert found.error == "pickle: a class that is gone"
    assert "Python cannot import vanished_models" in found.cause
    assert f"ckpt inspect {path} reads it as data, without the class" in found.remedies


def test_a_class_that_is_gone(gone):
    path, module = gone
    del module.Net
    assert (
        "cannot import vanished_models.Net"
        in explain(raised(torch.load, path, weights_only=False), path).cause
    )


# Bytes.


def write(path, content):
    path.write_bytes(content)
    return path


def load_pickle(path):
    with open(path, "rb") as file:
        return pickle.load(file)


@pytest.mark.parametrize(
    ("content", "load", "cause"),
    [
        (b"<!DOCTYPE html><html>", load_pickle, "an HTML or XML page"),
        (b"version https://git-lfs.github.com/spec/v1\noid", load_pickle, "a Git LFS pointer"),
        (gzip.compress(pickle.dumps({"a": 1}), mtime=0), load_pickle, "gzip"),
        (pickle.dumps({"a": np.zeros(9)})[:-30], load_pickle, "ends before its pickle does"),
        (b"", load_pickle, "ends before its pickle does"),
    ],
)
def test_what_is_no_pickle(content, load, cause, tmp_path):
    path = write(tmp_path / "a.pkl", content)
    found = explain(raised(load, path), path)
    assert cause in found.cause
    assert found.remedies == (f"ckpt inspect {path} says what it is, and runs nothing in it",)


def test_what_is_no_safetensors_file(tmp_path):
    weights = torch.nn.Linear(4, 4).state_dict()
    torch.save(weights, tmp_path / "a.pth")
    whole = safetensors.torch.save(weights)
    cases = {
        "no safetensors file": tmp_path / "a.pth",
        "cut off: the header promises more": write(tmp_path / "cut.safetensors", whole[:-9]),
        "its header is cut off": write(tmp_path / "head.safetensors", whole[:40]),
        "it is empty": write(tmp_path / "empty.safetensors", b""),
    }
    for cause, path in cases.items():
        found = explain(raised(safetensors.torch.load_file, path), path)
        assert found.error == "safetensors: the header"
        assert cause in found.cause, path


def test_a_torch_file_that_is_cut_off(tmp_path):
    buffer = io.BytesIO()
    torch.save(torch.nn.Linear(256, 256).state_dict(), buffer)
    path = write(tmp_path / "a.pth", buffer.getvalue()[:-60_000])
    error = raised(torch.load, io.BytesIO(path.read_bytes()))
    assert "PytorchStreamReader failed" in str(error)
    found = explain(error, path)
    assert found.error == "torch: a damaged file"
    assert any(note.startswith("opening it here: ") for note in found.notes)


def test_tensors_of_a_device_that_is_not_here():
    text = (
        "RuntimeError: Attempting to deserialize object on a CUDA device but torch.cuda.is_available() is False. "
        "If you are running on a CPU-only machine, please use torch.load with map_location"
    )
    assert 'torch.load(..., map_location="cpu")' in explain(text).remedies


def test_the_whole_file_in_place_of_its_weights(slots):
    found = explain(raised(Slots(32).load_state_dict, torch.load(slots)), slots)
    assert found.cause == (
        "the whole file was passed instead of the weights in it, which are below 'model_state_dict'"
    )
    assert found.remedies[0] == f"restore({str(slots)!r}, model) takes the weights alone"
    model = explain(raised(Slots(32).load_state_dict, Slots(32)), slots)
    assert "was given a" in model.cause and "takes a state dict" in model.cause


def test_a_key_that_scripts_look_for(slots):
    found = explain(raised(lambda: torch.load(slots)["state_dict"]), slots)
    assert found.error == "a key that is not there"
    assert "its entries are: model_state_dict, config" in found.notes
    assert not explain(raised(lambda: {}["my own key"]), slots).is_known


def test_files_of_another_kind(slots, tmp_path):
    script = str(tmp_path / "program.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), script)
        program = raised(torch.load, script, weights_only=True)
        no_program = raised(torch.jit.load, str(slots))
    np.savez(tmp_path / "a.npz", w=np.ones(3))
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"w": 1}))
    with zipfile.ZipFile(slots) as archive:
        member = io.BytesIO(archive.read("slots/data.pkl"))
    causes = {
        "which torch.jit.load opens": program,
        "torch.jit.load was given a file of torch.save": no_program,
        "a ZIP archive that torch.save did not write": raised(torch.load, tmp_path / "a.npz"),
        "numpy.load was given a pickle": raised(np.load, tmp_path / "a.pkl"),
        "its arrays stand outside of the pickle": raised(pickle.load, member),
        "the path is a directory": raised(torch.load, tmp_path),
        "the bytes are no whole msgpack document": raised(flax.serialization.msgpack_restore, b"\xc1"),
    }
    for cause, error in causes.items():
        assert cause in explain(error, slots).cause, error
    found = explain(causes["the path is a directory"], tmp_path)
    assert found.remedies == (f"ckpt ls {tmp_path} lists the checkpoints in it",)


def test_pickles_that_torch_did_not_write_and_files_that_orbax_did_not(slots, tmp_path):
    path = tmp_path / "state.pkl"
    path.write_bytes(pickle.dumps({"params": {"w": np.ones(3)}}))
    found = explain(raised(torch.load, path, weights_only=False), path)
    assert found.error == "torch: no torch file"
    assert found.notes == ("it opens here as pickle, variables",)
    with ocp.StandardCheckpointer() as reader:
        found = explain(raised(reader.restore, slots.absolute()), slots)
    assert found.error == "orbax: no whole checkpoint"
    assert found.notes == ("it opens here as torch, training_dict",)


def test_relative_paths_are_shown_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cut.pth").write_bytes(b"PK\x03\x04half")
    for error in ("division by zero", "pickle data was truncated"):
        assert explain(error, "cut.pth").remedies[0].startswith(f"ckpt inspect {tmp_path / 'cut.pth'} ")


def test_what_cannot_be_opened_is_not_to_be_restored(tmp_path):
    path = write(tmp_path / "page.pth", b"<!DOCTYPE html><html>")
    found = explain(raised(torch.load, path), path)
    assert "opening it here: is a web page, not a checkpoint" in found.notes
    assert found.remedies == (f"ckpt inspect {path} says what is in the file",)


def test_a_tensor_that_safetensors_does_not_have(tmp_path):
    path = tmp_path / "a.safetensors"
    safetensors.torch.save_file(Slots(2, "project").state_dict(), path)
    with safetensors.safe_open(path, "pt") as file:
        found = explain(raised(file.get_tensor, "projekt.weight"), path)
    assert ("missing", "projekt/weight") in [(p.kind, p.name) for p in found.report.problems]


def test_numpy_2():
    error = raised(np.array, [1, 2], copy=False)
    assert "which numpy 2 refuses" in explain(error).cause


# Flax.


class Net(linen.Module):
    width: int = 3
    name_of_layer: str = "dense"

    @linen.compact
    def __call__(self, x):
        x = linen.Dense(self.width, name=self.name_of_layer)(x)
        return linen.BatchNorm(use_running_average=True, name="norm")(x)


@pytest.fixture
def variables(tmp_path):
    made = Net().init(jax.random.key(0), X)
    (tmp_path / "v.msgpack").write_bytes(flax.serialization.to_bytes(made))
    return made, tmp_path / "v.msgpack"


def test_scope_param_shape(variables):
    made, path = variables
    found = explain(raised(Net(5).apply, made, X), path, rules={"dense/kernel": "4 width"})
    assert found.error == "flax: ScopeParamShapeError"
    assert "shape: float32[4, 3] in the checkpoint, float32[4, 5] in the model @ dense/kernel" in str(found)
    assert [(f.field, f.values, f.instead) for f in found.fields] == [("width", (3,), (5,))]
    assert "the framework stops at the first difference; validate(ckpt, model) lists them all" in found.notes


def test_scope_param_shape_of_older_flax(variables):
    text = (
        "flax.errors.ScopeParamShapeError: Initializer expected to generate shape (4, 5) but got shape (4, 3) "
        'instead for parameter "kernel" in "/dense".'
    )
    assert explain(text, variables[1]).report.shape_mismatches[0].name == "dense/kernel"
    found = explain("ScopeParamShapeError: expected (60,), received (72,)")
    assert found.error == "flax: ScopeParamShapeError"
    assert "other sizes" in found.cause


def test_scope_param_not_found(variables):
    made, path = variables
    found = explain(raised(Net(3, "other").apply, made, X), path)
    assert found.error == "flax: ScopeParamNotFoundError"
    assert [p.name for p in found.report.missing] == ["other/kernel"]


def test_scope_collection_not_found(variables):
    made, path = variables
    found = explain(raised(Net().apply, {"params": made["params"]}, X), path)
    assert "the variables have no collection 'batch_stats'" in found.cause


def test_from_bytes(variables):
    _, path = variables
    data = path.read_bytes()
    load = flax.serialization.from_bytes
    found = explain(raised(load, Net(3, "other").init(jax.random.key(0), X), data), path)
    assert found.error == "flax: from_state_dict"
    assert [p.name for p in found.report.missing] == ["other"]
    state = TrainState.create(apply_fn=None, params={"w": X}, tx=optax.adam(1e-3))
    assert (
        "the target is a TrainState, and the file has no 'step'"
        in explain(raised(load, state, data), path).cause
    )
    chained = state.replace(opt_state=optax.chain(optax.clip(1.0), optax.adam(1e-3)).init({"w": X}))
    error = raised(load, chained, flax.serialization.to_bytes(state))
    assert "saved by another chain of transformations (at ./opt_state/0)" in explain(error).cause
    assert "the file is cut off" in explain(raised(load, {}, data[:-9])).cause


# A restore that fails leaves tasks behind in Orbax whose errors nobody fetched; they are collected here, not in the
# test that happens to come next.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_orbax(variables, tmp_path):
    made, _ = variables
    path = tmp_path / "orbax"
    saver = ocp.StandardCheckpointer()
    saver.save(path, made)
    saver.wait_until_finished()
    wider = jax.eval_shape(Net(5).init, jax.random.key(0), X)
    found = explain(raised(saver.restore, path, wider), path)
    assert found.error == "orbax: restore"
    assert {(p.found.shape, p.expected.shape) for p in found.report.shape_mismatches} == {((3,), (5,))}
    assert any("does not say which array" in note for note in found.notes)
    renamed = jax.eval_shape(Net(3, "other").init, jax.random.key(0), X)
    found = explain(raised(saver.restore, path, renamed), path)
    assert [p.name for p in found.report.missing] == ["other/bias"]
    trees = raised(ocp.PyTreeCheckpointer().restore, path, item=Net(3, "other").init(jax.random.key(0), X))
    found = explain(trees, path)
    assert {p.name for p in found.report.missing} == {"other"}
    assert {p.name for p in found.report.unexpected} == {"dense/kernel", "dense/bias"}
    saver.close()
    gc.collect()


def test_nnx(tmp_path):
    class Model(nnx.Module):
        def __init__(self, name):
            setattr(self, name, nnx.Linear(2, 2, rngs=nnx.Rngs(0)))

    saved, other = nnx.state(Model("dense")), nnx.state(Model("other"))
    (tmp_path / "n.pkl").write_bytes(pickle.dumps(jax.tree.map(np.asarray, nnx.to_pure_dict(saved))))
    error = raised(nnx.replace_by_pure_dict, other, nnx.to_pure_dict(saved))
    found = explain(error, tmp_path / "n.pkl")
    assert found.error == "nnx: replace_by_pure_dict"
    assert [p.name for p in found.report.unexpected] == ["dense/bias"]


# What is not known, and scripts.


def test_a_number_in_an_error_is_a_part_of_a_name(tmp_path):
    path = tmp_path / "state.pkl"
    path.write_bytes(pickle.dumps({"params": {"layers": {"0": {"w": np.ones(3)}, "3": {"w": np.ones(3)}}}}))
    error = "Found data on value of type '<class 'flax.nnx.statelib.State'>' assigned to static attribute '3' of Pytree"
    assert not any("another file" in note for note in explain(f"ValueError: {error}", path).notes)


def test_an_unknown_error_says_so(slots):
    found = explain("KeyError: 'lr'", slots)
    assert not found.is_known
    assert str(found).startswith("not a known error")
    json.dumps(found.as_dict())


def test_an_unknown_error_about_a_damaged_file_tells_of_the_damage(tmp_path):
    path = write(tmp_path / "a.pth", b"PK\x03\x04 no more")
    found = explain("OSError: [Errno 22] Invalid argument", path)
    assert found.is_known
    assert found.error == "the file"


def test_a_script_gets_the_explanation_with_the_error(slots):
    with pytest.raises(RuntimeError, match="size mismatch for slots_mu") as caught, explain_errors(slots):
        Slots(7).load_state_dict(weights_of(slots))
    (note,) = caught.value.__notes__
    assert "likely cause: num_slots = 32 in the checkpoint, 7 in the model" in note


def test_errors_of_other_kinds_go_on_without_one(slots):
    with pytest.raises(KeyError) as caught, explain_errors(slots):
        raise KeyError("lr")
    assert not hasattr(caught.value, "__notes__")
    with pytest.raises(ModuleNotFoundError) as missing, explain_errors(slots):
        import no_such_module_at_all  # noqa: F401
    assert not hasattr(missing.value, "__notes__"), "the checkpoint does not name it"
    with pytest.raises(DamagedFileError) as own, explain_errors(slots):
        raise DamagedFileError("is cut off")
    assert not hasattr(own.value, "__notes__")
    assert issubclass(ExplanationWarning, UserWarning)


def test_a_class_that_the_checkpoint_names_is_explained(gone):
    path, _ = gone
    del sys.modules["vanished_models"]
    with pytest.raises(ModuleNotFoundError) as caught, explain_errors(path):
        torch.load(path, weights_only=False)
    assert "holds objects by their class" in caught.value.__notes__[0]


# The forward pass: the data, or the model, is of another size.

RULES = {
    "embed/weight": "dim patch**2*sample_size*channels",
    "embed/kernel": "patch**2*sample_size*channels dim",
}


@pytest.fixture
def trained(tmp_path):
    """A checkpoint whose first layer takes 72 = 2**2 * 6 * 3."""
    weights = {
        "embed.weight": torch.zeros(64, 72), "embed.bias": torch.zeros(64), "norm.weight": torch.zeros(72),
        "stem.weight": torch.zeros(16, 3, 5, 5), "groups.weight": torch.zeros(8, 2, 3, 3),
        "back.weight": torch.zeros(6, 8, 3, 3), "rnn.weight_ih_l0": torch.zeros(32, 72),
    }  # fmt: skip
    path = tmp_path / "trained.pth"
    torch.save({"model_state_dict": weights, "config": {"patch": 2, "channels": 3, "dim": 64}}, path)
    return path


FORWARD = {
    "linear": lambda: torch.nn.Linear(72, 64)(torch.zeros(2, 5, 60)),
    "batch norm": lambda: torch.nn.BatchNorm1d(72)(torch.zeros(2, 60)),
    "layer norm": lambda: torch.nn.LayerNorm(72)(torch.zeros(2, 60)),
    "group norm": lambda: torch.nn.GroupNorm(4, 72)(torch.zeros(2, 60, 3)),
    "lstm": lambda: torch.nn.LSTM(72, 8)(torch.zeros(3, 2, 60)),
    "attention": lambda: torch.nn.MultiheadAttention(72, 4)(*[torch.zeros(3, 2, 60)] * 3),
    "sum": lambda: torch.zeros(2, 60) + torch.zeros(72),
    "sum the other way round": lambda: torch.zeros(72) + torch.zeros(2, 60),
    "expand": lambda: torch.zeros(72).expand(2, 60),
    "einsum": lambda: torch.einsum("bi,oi->bo", torch.zeros(2, 60), torch.zeros(64, 72)),
    "nnx linear": lambda: nnx.Linear(72, 64, rngs=nnx.Rngs(0))(jnp.zeros((2, 60))),
    "nnx batch norm": lambda: nnx.BatchNorm(72, rngs=nnx.Rngs(0))(jnp.zeros((2, 60))),
    "nnx layer norm": lambda: nnx.LayerNorm(72, rngs=nnx.Rngs(0))(jnp.zeros((2, 60))),
    "nnx attention": lambda: nnx.MultiHeadAttention(4, 72, rngs=nnx.Rngs(0), decode=False)(
        jnp.zeros((2, 3, 60))
    ),
    "jit": lambda: jax.jit(jnp.matmul)(jnp.zeros((2, 60)), jnp.zeros((72, 64))),
    "jnp einsum": lambda: jnp.einsum("bi,ij->bj", jnp.zeros((2, 60)), jnp.zeros((72, 3))),
    "jnp sum": lambda: jnp.zeros((2, 60)) + jnp.zeros(72),
    "lax sum": lambda: jax.lax.add(jnp.zeros((2, 60)), jnp.zeros((2, 72))),
    "numpy": lambda: np.zeros((2, 60)) @ np.zeros((72, 64)),
    "numpy sum": lambda: np.zeros((2, 60)) + np.zeros(72),
}


@pytest.mark.parametrize("name", FORWARD)
def test_data_of_another_size_than_in_training(trained, name):
    found = explain(raised(FORWARD[name]), trained, rules=RULES)
    assert found.cause.startswith("data of size 60 met a layer that takes 72, as in the checkpoint")
    assert found.path == str(trained)
    assert "float32[" in found.notes[0] and "72" in found.notes[0]


@pytest.mark.parametrize("name", ["linear", "sum", "nnx linear", "jnp einsum", "numpy"])
def test_data_of_another_size_gives_the_field_behind_it(trained, name):
    found = explain(raised(FORWARD[name]), trained, rules=RULES)
    (field,) = found.fields
    assert (field.field, field.values, field.instead) == ("sample_size", (6,), (5,))
    assert field.evidence == "72 = 2**2 * sample_size * 3"
    assert "prepare the data with sample_size=6" in found.remedies[0]
    assert found.as_dict()["fields"][0]["field"] == "sample_size"
    assert "sample_size = 6 in the checkpoint, and would have to be 5 for the data" in str(found)


@pytest.mark.parametrize(
    ("layer", "data", "name", "sizes"),
    [
        (torch.nn.Conv2d(3, 16, 5), (2, 1, 8, 8), "stem/weight", "size 1 met a layer that takes 3"),
        (
            torch.nn.Conv2d(4, 8, 3, groups=2),
            (2, 6, 8, 8),
            "groups/weight",
            "size 6 met a layer that takes 4",
        ),
        (torch.nn.ConvTranspose2d(6, 8, 3), (2, 5, 8, 8), "back/weight", "size 5 met a layer that takes 6"),
    ],
)
def test_convolutions_are_told_by_the_shapes_of_their_weights(trained, layer, data, name, sizes):
    found = explain(raised(layer, torch.zeros(data)), trained)
    assert sizes in found.cause
    assert f"of that size in the checkpoint: {name} float32" in found.notes[0]


def test_a_channel_too_few_names_the_saved_setting(trained):
    found = explain(raised(torch.nn.Conv2d(3, 16, 5), torch.zeros(2, 1, 8, 8)), trained)
    (field,) = found.fields
    assert (field.field, field.values, field.instead) == ("channels", (3,), (1,))
    error = raised(nnx.Conv(3, 16, (3, 3), rngs=nnx.Rngs(0)), jnp.zeros((2, 8, 8, 1)))
    assert "data of size 1 met a layer that takes 3" in explain(error, trained).cause


def test_a_model_that_was_built_otherwise_than_its_checkpoint(trained):
    """The weights were never loaded: the data is that of the training, and the model is not."""
    error = raised(torch.nn.Linear(60, 64), torch.zeros(2, 72))
    found = explain(error, trained, rules=RULES)
    assert found.cause == "the model was built with another sample_size than the checkpoint was"
    (field,) = found.fields
    assert (field.values, field.instead) == ((6,), (5,))
    assert "shape: float32[64, 72] in the checkpoint, float32[64, 60] in the model @ embed/weight" in str(
        found
    )
    error = raised(torch.nn.Linear(60, 63), torch.zeros(2, 71))
    assert "no array of the checkpoint has the shape [63, 60] or [60, 63]" in explain(error, trained).cause


def test_sizes_alone_are_explained_as_far_as_they_go(trained):
    error = raised(FORWARD["linear"])
    assert explain(error).cause == "data of size 60 met a layer that takes 72"
    other = raised(lambda: torch.zeros(2, 1234) + torch.zeros(4321))
    assert not explain(other, trained).is_known, "the error is about something else"
    with pytest.raises(RuntimeError) as caught, explain_errors(trained):
        raise other
    assert not getattr(caught.value, "__notes__", [])
    both = explain(raised(lambda: torch.zeros(2, 64) + torch.zeros(72)), trained)
    assert both.cause == "sizes 64 and 72 met, which have to be equal"
    assert "embed/weight float32[64, 72], embed/bias float32[64]" in both.notes[0]


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: torch.nn.Embedding(10, 4)(torch.tensor([10])), "torch: an embedding"),
        (lambda: torch.nn.Linear(4, 4)(torch.zeros(2, 4, dtype=torch.float64)), "torch: another dtype"),
        (lambda: torch.nn.Conv2d(3, 4, 3)(torch.zeros(2, 3, 8, 8).half()), "torch: another dtype"),
        (lambda: torch.nn.Linear(4, 4, device="meta")(torch.zeros(2, 4)), "torch: another device"),
    ],
)
def test_what_a_first_batch_runs_into(trained, call, error):
    assert explain(raised(call), trained).error == error


def test_devices_and_dtypes_are_told_apart():
    text = "Input type (torch.cuda.FloatTensor) and weight type (torch.FloatTensor) should be the same"
    assert explain(text).error == "torch: another device"
    text = "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!"
    assert explain(text).error == "torch: another device"


# What a script takes a checkpoint for.


class Changed:
    def __init__(self, hidden_dim: int, dropout: float) -> None: ...


@pytest.mark.parametrize(
    "use", [lambda it: it.eval(), lambda it: it(torch.zeros(1)), lambda it: it.to("cpu")]
)
def test_a_state_dict_that_is_taken_for_a_model(slots, use):
    for loaded in (torch.load(slots), weights_of(slots)):
        found = explain(raised(use, loaded), slots)
        assert found.error == "no model" and f"restore({str(slots)!r}, model)" in found.remedies[0]
    with pytest.raises(AttributeError, match="eval") as caught, explain_errors(slots):
        torch.load(slots).eval()
    assert "no model" in caught.value.__notes__[0]


def test_a_class_that_lost_or_gained_a_field(tmp_path):
    path = tmp_path / "a.pth"
    torch.save({"model": Slots(3).state_dict(), "config": {"model": {"HIDDEN_DIM": 8, "width": 4}}}, path)
    lost = explain(raised(Changed, width=4), path)
    assert lost.cause == "the class does not take width, which was saved as model.width = 4"
    assert "resolve_config(" in lost.remedies[0]
    gained = explain(raised(Changed), path)
    assert "hidden_dim, which was saved as model.HIDDEN_DIM = 8" in gained.cause
    assert "dropout, which was not saved" in gained.cause
    assert f"ckpt config {path} --rules" in gained.remedies[1]
    assert not explain(raised(Changed, other=4), path).is_known
    assert not explain(raised(Changed)).is_known
    assert not explain(raised(lambda x: x), path).is_known, "no constructor"


def test_an_optax_state_that_meets_another_chain():
    weights = {"w": jnp.zeros(2)}
    one, other = optax.sgd(0.1).init(weights), optax.adam(0.1).init(weights)
    for error in (
        raised(jax.tree.map, lambda a, b: a, other, one),
        raised(jax.tree.map, lambda a, b: a, one, other),
        raised(optax.adam(0.1).update, weights, one, weights),
    ):
        assert "another chain of transformations" in explain(error).cause


def test_devices_that_are_not_there_or_too_small():
    assert (
        explain("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB").error
        == "out of memory"
    )
    found = explain("AssertionError: Torch not compiled with CUDA enabled")
    assert found.error == "torch: a device that is not here" and 'device="cpu"' in found.remedies[0]
