"""Core and every reader run without a framework: proved in a fresh interpreter, and proved to be able to fail."""

from __future__ import annotations

import ast
import importlib
import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import ckpt_core
from ckpt_core import api, save_checkpoint

FRAMEWORKS = frozenset({"torch", "jax", "jaxlib", "flax", "optax", "orbax", "safetensors"})
HEAVY = FRAMEWORKS | {"tensorstore", "ml_dtypes", "matplotlib", "scipy", "pandas"}
IMPORT_CORE = frozenset({"numpy", "pluggy", "ckpt_core"})

PROBE = """
import contextlib, io, json, sys
before = set(sys.modules)
output = io.StringIO()
with contextlib.redirect_stdout(output):
    {code}
loaded = {{name.partition(".")[0] for name in set(sys.modules) - before}}
print(json.dumps(sorted(loaded - set(sys.stdlib_module_names))))
print(output.getvalue())
"""
INSPECT = """
    from ckpt_core.cli import main
    sys.argv = ["ckpt", "inspect", {path!r}, *{options!r}]
    try:
        main()
    except SystemExit as stop:
        assert not stop.code, stop.code
"""


def loaded_by(code: str) -> tuple[set[str], str]:
    """Run code in a fresh interpreter; return the top-level packages that it imported, and what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(code=code)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    names, _, printed = done.stdout.partition("\n")
    return set(json.loads(names)), printed


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One small float32 checkpoint per format, written by the format's own library where that is possible."""
    import flax.serialization
    import orbax.checkpoint as ocp
    import safetensors.numpy
    import torch

    from ckpt_core import save_checkpoint

    folder = tmp_path_factory.mktemp("formats")
    arrays = {
        "dense.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
        "dense.bias": np.ones(2, np.float32),
    }
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    torch.save({"model_state_dict": tensors, "epoch": 3}, folder / "zip.pth")
    torch.save(tensors, folder / "legacy.pth", _use_new_zipfile_serialization=False)
    (folder / "state.pkl").write_bytes(pickle.dumps({"params": arrays, "step": 3}))
    safetensors.numpy.save_file(arrays, folder / "model.safetensors")
    (folder / "state.msgpack").write_bytes(flax.serialization.to_bytes({"params": arrays, "step": 3}))
    save_checkpoint(folder / "plain_orbax", {"params": arrays, "step": 3})
    with ocp.PyTreeCheckpointer() as checkpointer:
        checkpointer.save(folder / "ocdbt_orbax", {"params": arrays, "step": 3})
    return {path.name: path for path in folder.iterdir()}


def test_importing_core_costs_nothing_and_its_functions_numpy_and_pluggy_alone() -> None:
    assert loaded_by("import ckpt_core")[0] == {"ckpt_core"}
    loaded, _ = loaded_by("from ckpt_core import *")
    assert loaded == IMPORT_CORE, f"ckpt_core also imports {sorted(loaded - IMPORT_CORE)}"


@pytest.mark.parametrize("options", [[], ["--stats"], ["--json"]], ids=["structure", "stats", "json"])
@pytest.mark.parametrize(
    "name", ["zip.pth", "legacy.pth", "state.pkl", "model.safetensors", "state.msgpack", "plain_orbax"]
)
def test_inspecting_imports_no_framework(files: dict[str, Path], name: str, options: list[str]) -> None:
    loaded, printed = loaded_by(INSPECT.format(path=str(files[name]), options=options))
    assert "bias" in printed
    assert not loaded & HEAVY, f"ckpt inspect {name} imports {sorted(loaded & HEAVY)}"


def test_an_ocdbt_directory_needs_no_framework(files: dict[str, Path]) -> None:
    loaded, printed = loaded_by(INSPECT.format(path=str(files["ocdbt_orbax"]), options=["--stats"]))
    assert "bias" in printed
    assert not loaded & HEAVY, f"reading OCDBT imports {sorted(loaded & HEAVY)}"


@pytest.mark.parametrize("name", ["torch", "jax", "flax", "ml_dtypes", "tensorstore"])
def test_the_probe_sees_a_framework(name: str) -> None:
    """The tests above can fail: whatever imports a framework, late and inside a function, is found."""
    loaded, _ = loaded_by(f"import ckpt_core; (lambda: __import__({name!r}))()")
    assert name in loaded & HEAVY
    assert not loaded <= IMPORT_CORE


def test_the_probe_sees_a_plugin_that_imports_a_framework(tmp_path: Path) -> None:
    """A reader that asked for its framework would be caught, since detection loads every plugin."""
    plugin = tmp_path / "stranger.py"
    plugin.write_text("import torch\n")
    info = tmp_path / "stranger-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ckpt_core]\nstranger = stranger\n")
    code = f"sys.path.insert(0, {str(tmp_path)!r}); from ckpt_core.registry import registry; registry()"
    loaded, _ = loaded_by(code)
    assert "torch" in loaded & FRAMEWORKS


# Public names are imported when they are asked for.


def test_type_checkers_and_programs_see_the_same_public_names() -> None:
    tree = ast.parse(Path(api.__file__).read_text(encoding="utf-8"))
    shown = {
        alias.name: node.module
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert sorted(shown) == sorted(api.__all__) == sorted(ckpt_core.__all__)
    for name, module in shown.items():
        assert getattr(ckpt_core, name) is getattr(importlib.import_module(module), name)


def test_the_function_keeps_its_name_beside_the_package_of_that_name() -> None:
    code = "import ckpt_core.transfer.plan, ckpt_core; assert ckpt_core.transfer.__name__ == 'transfer'"
    code += "; from ckpt_core import transfer; assert callable(transfer)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(("call", "loads"), [("inspect", False), ("transfer", True)])
def test_a_command_imports_what_it_needs(call: str, loads: bool) -> None:
    """The second case proves that the first can fail."""
    code = (
        f"import sys; from ckpt_core.cli import ckpt; ckpt.main([{call!r}, '--help'], standalone_mode=False)"
    )
    code += "; print('ckpt_core.transfer' in sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == str(loads)


def test_a_dtype_without_its_library_says_how_to_install_it(tmp_path: Path):
    import ml_dtypes

    path = tmp_path / "a.pkl"
    save_checkpoint(path, {"w": np.ones(3, ml_dtypes.bfloat16)})
    code = f"""
    sys.modules["ml_dtypes"] = None
    from ckpt_core import open_checkpoint
    from ckpt_core.errors import MissingDependencyError
    with open_checkpoint({str(path)!r}) as ckpt:
        print(ckpt.tree["w"].dtype)
        try:
            ckpt.tree["w"].read()
        except MissingDependencyError as error:
            print(error)
    """
    _, printed = loaded_by(code)
    assert "bfloat16" in printed
    assert "numpy has no bfloat16 without ml_dtypes\n  pip install ml_dtypes" in printed
