"""Hostile and damaged files of every kind end in one family of errors, and nothing in them runs.

The files are made by code in `attacks/`, and read in worker processes with limited memory, under an audit hook,
by a runner that notices when one dies or does not answer.
"""

from __future__ import annotations

import ast
import collections
import importlib
import inspect
import pkgutil
import re
from pathlib import Path
from typing import Any

import pytest
from ckpt_pickle.joblib import TABLE
from ckpt_torch.formats import constructors

from ckpt_core.pickles import JAX, NUMPY, OPTAX, STDLIB
from tests.attacks import runner

SAFETY = Path(__file__).parents[1] / "docs" / "safety.md"
SUITES = {
    "hostile_calls": 800,
    "pickles": 800,
    "torch_files": 450,
    "flat_files": 550,
    "directories": 450,
    "damaged_directories": 700,
    "npz_files": 400,
    "equinox_files": 900,
    "damage": 4000,
}
"""The suites, and at least how many files each has."""


def listed(results: list[dict[str, Any]]) -> str:
    broken = [result for result in results if result["broken"]]
    lines = [f"{result['name']} {result['outcome']}: {result['broken']}" for result in broken[:20]]
    return "\n".join([f"{len(broken)} of {len(results)} files break a rule", *lines])


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("suite", SUITES)
def test_every_file_ends_as_it_must(suite: str, tmp_path: Path) -> None:
    results = runner.run(suite, tmp_path)
    assert not any(result["broken"] for result in results), listed(results)
    assert len(results) >= SUITES[suite]
    assert len({result["name"] for result in results}) == len(results), "two cases have one name"
    assert not list(tmp_path.rglob("ckpt-attack-canary"))
    outcomes = collections.Counter(result["outcome"] for result in results if result["expect"] == "inert")
    if outcomes:
        assert outcomes["opened"] >= 0.95 * outcomes.total(), outcomes


@pytest.mark.slow
def test_a_short_run_of_the_fuzzer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CKPT_FUZZ_COUNT", "400")
    results = runner.run("fuzz", tmp_path)
    assert len(results) == 400
    assert not any(result["broken"] for result in results), listed(results)


def test_the_runner_finds_what_it_looks_for(tmp_path: Path) -> None:
    results = {result["name"]: result for result in runner.run("offenders", tmp_path, shards=1, seconds=5)}
    offenders = importlib.import_module("tests.attacks.offenders").EXPECTED
    assert results.keys() == offenders.keys()
    for name, text in offenders.items():
        assert re.search(text, results[name]["broken"]) if text else not results[name]["broken"], results[
            name
        ]


# The page about safety.


def caps_on_the_page() -> dict[str, int]:
    """{dotted name of a constant: the value that docs/safety.md states}"""
    rows = re.findall(
        r"^\| `([\w.]+\.[A-Z_0-9]+)` \| ([\d,]+)(?: << (\d+))?(?: \([^)]*\))? \|",
        SAFETY.read_text(),
        re.MULTILINE,
    )
    return {name: int(number.replace(",", "")) << int(shift or 0) for name, number, shift in rows}


def caps_in_the_code() -> dict[str, int]:
    """Every constant whose name says that it limits something, by the module that defines it."""
    found = {}
    for package in ("ckpt_core", "ckpt_torch", "ckpt_flax", "ckpt_pickle", "ckpt_safetensors"):
        root = importlib.import_module(package)
        for info in pkgutil.walk_packages(root.__path__, f"{package}."):
            if (
                info.name.endswith(".__main__")
                or ".bridge" in info.name
                or ".testing" in info.name
                or ".cli" in info.name
            ):
                continue
            module = importlib.import_module(info.name)
            defined = {
                target.id
                for node in ast.parse(inspect.getsource(module)).body
                for target in ([node.target] if isinstance(node, ast.AnnAssign) else [])
                if isinstance(target, ast.Name)
            }
            for name in defined:
                value = getattr(module, name, None)
                if re.match(r"_?(MAX|MIN|FREE|WORK)_", name) and type(value) is int:
                    found[f"{info.name}.{name}"] = value
    return found


NO_READER = {
    "ckpt_flax.msgpack.writing.MAX_CHUNK",
    "ckpt_flax.orbax.writing.MAX_FILES",
    "ckpt_flax.orbax.writing._MAX_NAME",
}
"""What limits how something is written."""


def test_the_page_states_every_cap_as_it_is() -> None:
    assert caps_on_the_page() == {
        name: value for name, value in caps_in_the_code().items() if name not in NO_READER
    }


def test_the_page_lists_every_constructor() -> None:
    text = SAFETY.read_text()
    named = set(re.findall(r"`([\w.]+)`", text))
    table = {**STDLIB, **NUMPY, **JAX, **TABLE, **constructors(None)}  # type: ignore[arg-type]  # only the names matter
    missing = {
        name for name in table if name not in OPTAX and name.replace("numpy._core", "numpy.core") not in named
    }
    assert not missing
