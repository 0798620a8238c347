"""Make the notebook from its cells, execute it, and write it with its outputs.

    python build.py [--out FILE]

Training runs in a temporary folder; in the outputs its path is written as /home/jane/digits.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import nbformat
from cells import CELLS
from nbclient import NotebookClient

HERE = Path(__file__).parent
SHOWN = "/home/jane/digits"


def build(folder: Path) -> nbformat.NotebookNode:
    """Execute the cells in a folder; raises CellExecutionError when one fails."""
    shutil.copy(HERE / "train.py", folder)
    make = {"markdown": nbformat.v4.new_markdown_cell, "code": nbformat.v4.new_code_cell}
    cells = [make[kind](source, id=f"cell-{i}") for i, (kind, source) in enumerate(CELLS)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    client = NotebookClient(
        notebook,
        timeout=120,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
    )
    client.execute()
    text = json.dumps(notebook).replace(str(folder.resolve()), SHOWN).replace(str(folder), SHOWN)
    done = nbformat.from_dict(json.loads(text))
    nbformat.validate(done)
    return done


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE / "checkpoints.ipynb")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        notebook = build(Path(folder))
    nbformat.write(notebook, args.out)
    outputs = sum(len(cell.get("outputs", ())) for cell in notebook.cells)
    print(
        f"{args.out}: {len(notebook.cells)} cells, {outputs} outputs, {args.out.stat().st_size / 1000:.0f} kB"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
