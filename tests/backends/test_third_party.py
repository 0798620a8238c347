"""A backend from outside: the example is installed like any distribution, and core finds it by its entry point."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

EXAMPLE = Path(__file__).parents[2] / "examples" / "third_party_backend"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which the example is installed, from a copy of its sources."""
    folder = tmp_path_factory.mktemp("third_party")
    source, target = folder / "source", folder / "target"
    shutil.copytree(EXAMPLE, source, ignore=shutil.ignore_patterns("__pycache__", "dist"))
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"]
    command += ["--no-deps", "--no-build-isolation", "--no-compile", "--target", str(target), str(source)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return target


def run(code: str, *arguments: object, plugins: Path | None = None) -> str:
    """Run Python in a process of its own, with what is installed in `plugins` on its path; returns its output."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    if plugins is not None:
        environment["PYTHONPATH"] = str(plugins)
    command = [sys.executable, "-W", "error", "-c", code, *map(str, arguments)]
    result = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture
def npz(tmp_path: Path) -> Path:
    path = tmp_path / "weights.npz"
    arrays = {
        "encoder.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
        "encoder.bias": np.array([1, 2], ">i4"),
        "scale": np.float64(0.5),
        "fortran": np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3)),
        "empty": np.zeros((0, 4), np.complex64),
    }
    np.savez(path, **arrays)  # type: ignore[arg-type]  # the keywords are names of arrays
    return path


def test_without_it_the_format_is_unknown(npz: Path) -> None:
    code = """
import sys
from ckpt_core import open_checkpoint
from ckpt_core.errors import UnknownFormatError
try:
    open_checkpoint(sys.argv[1])
except UnknownFormatError as error:
    print(error)
"""
    assert "weights.npz" in run(code, npz)


def test_it_is_listed_with_its_distribution(installed: Path) -> None:
    code = """
from ckpt_core.registry import registry
assert not registry().broken, registry().broken
print(*[f"{plugin}: {backend.name}" for plugin, backend in registry().backends], sep="\\n")
"""
    assert "npz_example (ckpt-npz-example): npz" in run(code, plugins=installed).splitlines()


@pytest.mark.parametrize("compressed", [False, True])
def test_an_npz_is_opened(installed: Path, npz: Path, compressed: bool) -> None:
    expected = dict(np.load(npz))
    if compressed:
        np.savez_compressed(npz, **expected)
    code = """
import json, sys
from ckpt_core import open_checkpoint
with open_checkpoint(sys.argv[1]) as ckpt:
    arrays = {name: (array.dtype, array.shape, array.read().tolist()) for name, array in ckpt.tree.items()}
    del arrays["empty"]
    print(json.dumps([ckpt.format, arrays]))
"""
    name, arrays = json.loads(run(code, npz, plugins=installed))
    assert name == "npz"
    assert arrays.pop("scale") == ["float64", [], 0.5]
    assert sorted(arrays) == ["encoder.bias", "encoder.weight", "fortran"]
    for key, (dtype, shape, values) in arrays.items():
        assert np.array_equal(np.array(values, dtype).reshape(shape), expected[key])


def test_an_npz_is_converted_there_and_back(installed: Path, npz: Path, tmp_path: Path) -> None:
    target, back = tmp_path / "out.safetensors", tmp_path / "back.npz"
    code = """
import sys
from ckpt_core import convert
first = convert(sys.argv[1], sys.argv[2])
second = convert(sys.argv[2], sys.argv[3])
print(first.source_format, first.target_format, second.target_format, len(first.losses), len(second.losses))
"""
    assert run(code, npz, target, back, plugins=installed).split() == ["npz", "safetensors", "npz", "0", "0"]
    with np.load(npz) as original, np.load(back) as returned:
        official = load_file(target)
        assert returned.files == original.files
        for name in original.files:
            expected = original[name].astype(original[name].dtype.newbyteorder("="))
            for array in (official[name], returned[name]):
                assert (array.dtype, array.shape) == (expected.dtype, expected.shape)
                assert array.tobytes() == expected.tobytes(order="C")


def test_a_nested_tree_comes_back_from_an_npz(installed: Path, tmp_path: Path) -> None:
    code = """
import sys
import numpy as np
from ckpt_core import open_checkpoint, save_checkpoint
tree = {"params": {"w": np.arange(3.0), "a/b": np.int8(5)}, "step": 7, "betas": (0.9, 0.999), 3: [None, "x"]}
fitted = save_checkpoint(sys.argv[1], tree)
assert not fitted.losses, fitted.losses
with open_checkpoint(sys.argv[1]) as ckpt:
    assert ckpt.tree["params"]["w"].read().tolist() == [0, 1, 2]
    rest = {key: value for key, value in ckpt.tree.items() if key != "params"}
    assert rest == {"step": 7, "betas": (0.9, 0.999), 3: [None, "x"]}, rest
    print(*ckpt.tree["params"])
"""
    path = tmp_path / "state.npz"
    assert run(code, path, plugins=installed).split() == ["w", "a/b"]
    with np.load(path) as official:
        assert official["params.w"].tolist() == [0, 1, 2]


def test_a_layout_from_outside(installed: Path) -> None:
    """What big_vision writes opens with its optimizer, and what the file means is what was put in."""
    code = """
import sys
sys.path[:0] = sys.argv[2:]
from ckpt_core import open_checkpoint
from layouts.meaning import GOLDEN, differences, facts_of, owners
with open_checkpoint(GOLDEN / sys.argv[1]) as ckpt:
    print(*differences(ckpt, facts_of(sys.argv[1])), sep="\\n")
    print({len(roles) for roles in owners(ckpt).values()}, {claim.row for claim in ckpt.claims})
"""
    tests = Path(__file__).parents[1]
    said = run(code, "big_vision/checkpoint.npz", tests, plugins=installed)
    assert said.strip() == "{1} {'big_vision'}"


@pytest.mark.parametrize("kind", ["objects", "a short member", "no header", "texts"])
def test_what_it_refuses(installed: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "bad.npz"
    if kind == "objects":
        np.savez(path, a=np.array([{}], object))
    elif kind == "texts":
        np.savez(path, a=np.array(["text"]))
    else:
        import zipfile

        data = b"nothing" if kind == "no header" else (b"\x93NUMPY\x01\x00\x40\x00" + _header() + bytes(3))
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.npy", data)
    code = """
import sys
from ckpt_core import CheckpointError, open_checkpoint
try:
    open_checkpoint(sys.argv[1], format="npz")
except CheckpointError as error:
    print(error)
"""
    reasons = {
        "objects": "a.npy: holds numpy object, which is no array of numbers",
        "texts": "a.npy: holds numpy <U4, which is no array of numbers",
        "a short member": "a.npy: does not hold the (1,) of float32 that its header declares",
        "no header": "a.npy: has no valid header",
    }
    assert reasons[kind] in run(code, path, plugins=installed)


def _header() -> bytes:
    return b"{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }".ljust(63) + b"\n"


def test_its_layers_are_asked_before_the_built_in_ones(installed: Path) -> None:
    code = """
from ckpt_core.transfer.layers import find_layer, layer_rules
for rule in layer_rules(find_layer("GatedLinear", "GatedDense"), {"proj/weight"}, source=("mlp",), target=("mlp",)):
    print(*rule.source, "->", *rule.target, *map(str, rule.ops))
"""
    expected = "mlp/proj/weight -> mlp/gate/kernel mlp/value/kernel split(axis=0, parts=2) transpose"
    assert run(code, plugins=installed).strip() == expected


def test_its_layers_are_found_in_live_models(installed: Path) -> None:
    code = """
import torch
from ckpt_core import ArraySpec, plan_transfer
class GatedLinear(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.proj = torch.nn.Linear(4, 8)
spec = lambda *shape: ArraySpec(shape, "float32")
dense = lambda: {"kernel": spec(4, 4), "bias": spec(4)}
like = {"ff": {"gate": dense(), "value": dense()}, "out": dense()}
plan = plan_transfer(torch.nn.ModuleDict({"mlp": GatedLinear(), "out": torch.nn.Linear(4, 4)}), like)
for rule in plan.rules:
    print(*rule.source, "->", *rule.target)
"""
    assert run(code, plugins=installed).splitlines() == [
        "mlp.proj.weight -> ff/gate/kernel ff/value/kernel",
        "mlp.proj.bias -> ff/gate/bias ff/value/bias",
        "out.weight -> out/kernel",
        "out.bias -> out/bias",
    ]


def test_its_shape_rules_are_used_where_they_fit(installed: Path, tmp_path: Path) -> None:
    code = """
import sys
import numpy as np
from ckpt_core import resolve_config
block = "params/Transformer/encoderblock_{}/"
arrays = {
    "params/embedding/kernel": (4, 4, 3, 8),
    "params/pos_embedding": (1, 49, 8),
    "params/head/kernel": (8, 10),
}
for i in range(3):
    arrays[block.format(i) + "MlpBlock_0/Dense_0/kernel"] = (8, 32)
    arrays[block.format(i) + "MultiHeadDotProductAttention_0/query/kernel"] = (8, 2, 4)
np.savez(sys.argv[1], **{name: np.zeros(shape, np.float32) for name, shape in arrays.items()})
found = resolve_config(sys.argv[1], {"mlp_size": 0, "dropout": 0.1})
print(found.rules, found.config, dict(found.not_inferable))
print(resolve_config(sys.argv[1], rules="vit").facts["depth"])
"""
    first, second = run(code, tmp_path / "vit.npz", plugins=installed).splitlines()
    expected = {
        "mlp_size": 32,
        "dropout": 0.1,
        "patch_size": 4,
        "channels": 3,
        "width": 8,
        "grid": 7,
        "depth": 3,
    }
    expected |= {"num_heads": 2, "head_dim": 4}
    assert first == f"('vit',) {expected} {{'dropout': 'it leaves no trace in the weights'}}"
    assert second == "3"


RECIPE = (
    "import optax tx = optax.chain(optax.trace(decay=0.9), optax.scale_by_sign(), "
    "optax.scale_by_learning_rate(0.001))"
)


def test_its_optimizer_is_read_carried_over_and_back(installed: Path, tmp_path: Path) -> None:
    """A rule that neither framework has: inspected, trained on in the other framework, and home again."""
    code = """
import contextlib, io, json, sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
import torch
from ckpt_npz_example_torch import Signum
from optimizers.crossing import InFlax, as_flax, deviation, save_torch, to_flax, to_torch
from optimizers.worlds import mlp, precision, stepper, train_flax, train_torch
from ckpt_core import open_checkpoint, suggest_optimizer
from ckpt_core.cli.app import main

folder = Path(sys.argv[1])
with precision("float64"):
    world = mlp()
    model = world.torch_model()
    optimizer = Signum(model.parameters(), lr=0.001)
    train_torch(world, model, optimizer, 0, 20)
    run = to_flax(world, folder, model, optimizer)
    step = stepper(world, run.tx)
    there = train_flax(world, step, run.state, 20, 100)
    train_torch(world, model, optimizer, 20, 100)
    print(deviation(there[0], as_flax(world, model)) < 1e-9)
    known = {"optimizer_kind": "signum", "hyperparams": {"learning_rate": 0.001}}
    back = to_torch(world, folder, InFlax(*there, run.tx), **known)
    train_torch(world, back.model, back.optimizer, 120, 100)
    train_torch(world, model, optimizer, 120, 100)
    print(deviation(as_flax(world, back.model), as_flax(world, model)) < 1e-9, type(back.optimizer).__name__)
    save_torch(folder / "a.pth", model, optimizer, 220)
    with open_checkpoint(folder / "a.pth") as ckpt:
        print(type(suggest_optimizer(ckpt.opt_state, model=model).live).__name__)
        print(" ".join(suggest_optimizer(ckpt.opt_state, "optax").code.split()))
    said = io.StringIO()
    sys.argv = ["ckpt", "inspect", str(folder / "a.pth"), "--json"]
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        main()
    state = json.loads(said.getvalue())["opt_state"]
    print(state["kind"], state["hyperparams"], list(state["slots"]))
"""
    tests = Path(__file__).parents[1]
    assert run(code, tmp_path, tests, plugins=installed).splitlines() == [
        "True",
        "True Signum",
        "Signum",
        RECIPE,
        "['signum'] {'lr': 0.001, 'momentum': 0.9} ['trace']",
    ]


def test_without_it_its_optimizer_is_of_an_unknown_rule(tmp_path: Path) -> None:
    import torch

    state = {"state": {0: {"sign_momentum": torch.ones(2)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
    torch.save({"model_state_dict": {"w": torch.ones(2)}, "optimizer_state_dict": state}, tmp_path / "a.pth")
    code = """
import sys
from ckpt_core import CheckpointError, open_checkpoint, suggest_optimizer
with open_checkpoint(sys.argv[1]) as ckpt:
    print(ckpt.opt_state.kind, list(ckpt.opt_state.slots))
    try:
        suggest_optimizer(ckpt.opt_state, "optax")
    except CheckpointError as error:
        print(error)
"""
    kind, message = run(code, tmp_path / "a.pth").splitlines()[:2]
    assert kind == "() ['sign_momentum']"
    assert message == "the optimizer state is of no known rule, or of several at once: it keeps sign_momentum"
