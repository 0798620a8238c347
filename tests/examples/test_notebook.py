"""The notebook of examples/notebook executes, and the committed one is made of the same cells, with outputs."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import nbformat
import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "notebook"


@pytest.fixture(scope="module")
def build():
    """The example's build module."""
    sys.path.insert(0, str(EXAMPLE))
    try:
        spec = importlib.util.spec_from_file_location("notebook_build", EXAMPLE / "build.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(EXAMPLE))


def texts(notebook, kind: str) -> str:
    """All outputs of one kind, joined."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return "\n".join("".join(output.get("data", {}).get(kind, output.get("text", ""))) for output in outputs)


def check(notebook) -> None:
    """It shows what it is to show."""
    html, plain = texts(notebook, "text/html"), texts(notebook, "text/plain")
    assert "checkpoint_epoch_10.pth" in html and "checkpoint_best.pth" in html
    assert "is the lowest of 10" in plain
    assert "restored /home/jane/digits/runs/digits/checkpoint_epoch_" in html
    assert "parameters" in plain and "kB" in plain
    differ = re.search(r"(\d+) of (\d+) predictions differ", plain)
    assert int(differ[1]) > int(differ[2]) / 2
    assert "they disagree on" in plain and "Dropdown" in plain
    images = [
        o for cell in notebook.cells for o in cell.get("outputs", ()) if "image/png" in o.get("data", {})
    ]
    assert len(images) == 5
    assert not [o for cell in notebook.cells for o in cell.get("outputs", ()) if o.output_type == "error"]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("default")  # those of Jupyter's own client are not ours
def test_it_executes(build, tmp_path) -> None:
    notebook = build.build(tmp_path)
    check(notebook)
    assert str(tmp_path) not in nbformat.writes(notebook)


def test_the_committed_one_is_this_one_executed(build) -> None:
    notebook = nbformat.read(EXAMPLE / "checkpoints.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert [(cell.cell_type, cell.source) for cell in notebook.cells] == build.CELLS
    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")
    check(notebook)
