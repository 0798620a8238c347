"""Run every example in README.md and docs/: python and console fences, page by page, in order.

A page's fences share one folder, prepared with the sample checkpoints below, and its python fences share one
namespace. A comment on the line before a fence changes how it is treated:

    <!-- no-run: reason -->    the fence is not run
    <!-- exit: 1 -->           the last command of a console fence ends with this exit code
    <!-- raises: ErrorName --> a python fence ends with this exception
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import dataclasses
import inspect
import io
import pickle
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ckpt_core import hookspecs
from ckpt_core.backend import Backend, Holds

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
LANGUAGES = ("python", "console")

FENCE = re.compile(
    r"(?:^<!--\s*(?P<directive>[\w-]+):\s*(?P<argument>.*?)\s*-->[ \t]*\n+)?"
    r"^(?P<ticks>```+)(?P<language>\w*)[^\n]*\n(?P<code>.*?)^(?P=ticks)[ \t]*$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Fence:
    """One fence of a page, with the comment before it."""

    page: Path
    line: int
    language: str
    code: str
    directive: str = ""
    argument: str = ""

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def fences(page: Path, text: str) -> Iterator[Fence]:
    """Yield the fences of a page in order."""
    for match in FENCE.finditer(text):
        line = text.count("\n", 0, match.start("ticks")) + 1
        yield Fence(
            page, line, match["language"], match["code"], match["directive"] or "", match["argument"] or ""
        )


# Comparing what a command prints with what the page shows.

VOLATILE = [
    (re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d+)?)?( ?UTC|Z|[+-]\d\d:?\d\d)?"), "TIME"),
    (re.compile(r"\bTIME \(\d+(\.\d+)?\)"), "TIME"),
    (re.compile(r"\b\d+(\.\d+)? (?:[kMG]?B)/s"), "RATE"),
    (re.compile(r"\bin \d+(\.\d+)? (?:ms|s|min)\b"), "in TIME"),
    (re.compile(r"(?:/[\w.+-]+)+/(?=[\w.+-])"), "DIR/"),
    (re.compile(r"\b[0-9a-f]{40,64}\b"), "DIGEST"),
    (re.compile(r"[ \t]+"), " "),
]


def normalised(text: str) -> list[str]:
    """Return lines without times, rates, folders, digests and column widths."""
    for pattern, word in VOLATILE:
        text = pattern.sub(word, text)
    return [line.strip() for line in text.strip().splitlines()]


def agrees(shown: str, printed: str) -> bool:
    """Say whether a page shows what was printed; a line `...` on the page stands for any lines."""
    wanted, got = normalised(shown), normalised(printed)
    pattern = "".join(r"(?:.*\n)*?" if line in {"...", "…"} else re.escape(line) + "\n" for line in wanted)
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in got)) is not None


def commands(code: str) -> Iterator[tuple[str, str]]:
    """Yield (command, output shown) of a console fence; `\\` at the end of a line continues it."""
    command, shown = "", []
    for line in code.replace("\\\n", " ").splitlines():
        if line.startswith("$ "):
            if command:
                yield command, "\n".join(shown)
            command, shown = line[2:], []
        else:
            shown.append(line)
    if command:
        yield command, "\n".join(shown)


# Running.


def run_console(fence: Fence, folder: Path) -> None:
    """Run the `$ ckpt ...` lines; the output is compared where the page shows any."""
    pairs = list(commands(fence.code))
    assert pairs, f"{fence}: a console fence without a `$ ` line"
    for index, (command, shown) in enumerate(pairs):
        words = shlex.split(command, comments=True)
        code = re.search(r"#.*\bexit (\d+)", command)
        expected = int(code[1]) if code else 0
        if fence.directive == "exit" and index == len(pairs) - 1:
            expected = int(fence.argument)
        assert words[0] == "ckpt", f"{fence}: only ckpt is run here; mark the fence <!-- no-run: why -->"
        done = subprocess.run(
            [sys.executable, "-m", "ckpt_core.cli", *words[1:]],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == expected, f"{fence}: $ {command}\nexit {done.returncode}\n{done.stdout}"
        if shown.strip():
            assert agrees(shown, done.stdout), (
                f"{fence}: $ {command}\nprints\n{done.stdout}\nthe page shows\n{shown}"
            )


def run_python(fence: Fence, namespace: dict[str, Any]) -> None:
    """Run a fence in the page's namespace; `# value` comments after print() are not compared."""
    source = "\n" * fence.line + fence.code  # errors name the page's own lines
    code = compile(source, str(fence.page), "exec", dont_inherit=True)
    with contextlib.redirect_stdout(io.StringIO()):
        if fence.directive == "raises":
            with pytest.raises(Exception) as caught:
                exec(code, namespace)
            assert fence.argument in {kind.__name__ for kind in type(caught.value).__mro__}, repr(
                caught.value
            )
        else:
            exec(code, namespace)


def run_page(page: Path, folder: Path) -> int:
    """Run all fences of a page and return how many were run."""
    namespace: dict[str, Any] = {"__name__": f"docs.{page.stem}"}
    count = 0
    for fence in fences(page, page.read_text(encoding="utf-8")):
        if fence.directive == "no-run":
            assert fence.argument, f"{fence}: no-run needs a reason"
        elif fence.language in LANGUAGES:
            count += 1
            if fence.language == "python":
                run_python(fence, namespace)
            else:
                run_console(fence, folder)
    return count


# The checkpoints that the pages may name.


def write_samples(folder: Path) -> None:
    """Leave a training run of ten epochs and the usual single files.

    `runs/exp1/checkpoint_epoch_{9,10}.pth`, `model.pth`, `a.pth`, `b.pth` (other weights), `b_orbax/` (equal to
    a.pth), `model.safetensors`, `state.msgpack`, `state.pkl`; of Lightning `averaged.ckpt`, and of the Hugging Face
    Trainer `checkpoint-4/`.
    """
    import flax.serialization
    import numpy as np
    import safetensors.numpy
    import torch

    from ckpt_core import convert

    def network(seed: int) -> torch.nn.Module:
        torch.manual_seed(seed)
        encoder = torch.nn.Module()
        encoder.conv1 = torch.nn.Conv2d(1, 16, 3)
        encoder.norm = torch.nn.BatchNorm2d(16)
        model = torch.nn.Module()
        model.encoder = encoder
        model.head = torch.nn.Linear(64, 10)
        return model

    (folder / "runs/exp1").mkdir(parents=True)
    for epoch in (9, 10):
        model = network(epoch)
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        checkpoint = {
            "epoch": epoch,
            "step": 412 * epoch,
            "model_state_dict": model.state_dict(),
            "optimizer_state_dict": optimizer.state_dict(),
            "metrics": {"val_loss": 3.876 / epoch, "val_acc": 0.9984},
            "args": argparse.Namespace(lr=3e-4, width=16),
        }
        torch.save(checkpoint, folder / f"runs/exp1/checkpoint_epoch_{epoch}.pth")
    weights = network(0).state_dict()
    torch.save(weights, folder / "model.pth")
    torch.save(
        dict(weights), folder / "a.pth"
    )  # a plain dict: without the _metadata that a state dict carries
    torch.save(dict(network(1).state_dict()), folder / "b.pth")
    convert(folder / "a.pth", folder / "b_orbax", to="orbax")
    arrays = {name: tensor.numpy() for name, tensor in weights.items()}
    safetensors.numpy.save_file(arrays, folder / "model.safetensors")
    state = {"params": {"dense": {"kernel": np.ones((4, 3), np.float32)}}, "step": 7}
    (folder / "state.msgpack").write_bytes(flax.serialization.to_bytes(state))
    (folder / "state.pkl").write_bytes(pickle.dumps(state))
    shutil.copy(ROOT / "tests/golden/lightning/2.6_averaged.ckpt", folder / "averaged.ckpt")
    shutil.copytree(ROOT / "tests/golden/huggingface/trainer", folder / "checkpoint-4")


@pytest.fixture
def samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_samples(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_examples_of_a_page_run(page: Path, samples: Path) -> None:
    run_page(page, samples)


# The runner itself can fail.


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("```python\nassert 1 == 2, 'page.md says so'\n```\n", "says so"),
        ("```python\nfrom ckpt_core import no_such_name\n```\n", "no_such_name"),
        ("```console\n$ ckpt inspect no_such_file.pth\n```\n", "exit 2"),
        ("```console\n$ ckpt diff a.pth b.pth\n```\n", "exit 1"),
        ("```console\n$ ckpt diff a.pth b_orbax/\nsomething else\n```\n", "the page shows"),
        ("```console\n$ rm -rf x\n```\n", "only ckpt is run"),
        ("<!-- no-run: -->\n```python\n1\n```\n", "needs a reason"),
        ("<!-- raises: KeyError -->\n```python\nint('x')\n```\n", "ValueError"),
    ],
)
def test_a_wrong_example_fails(text: str, reason: str, samples: Path) -> None:
    page = samples / "page.md"
    page.write_text(text)
    with pytest.raises((AssertionError, ImportError), match=reason):
        run_page(page, samples)


def test_right_examples_pass(samples: Path) -> None:
    page = samples / "page.md"
    page.write_text(
        "```python\nx = 1\n```\ntext\n\n```python\nassert x == 1\n```\n"
        "<!-- no-run: it needs a network -->\n```python\n1 / 0\n```\n"
        "<!-- raises: CheckpointError -->\n```python\nimport ckpt_core\nckpt_core.open_checkpoint('none.pth')\n```\n"
        "```console\n$ ckpt diff a.pth b_orbax/\n...\nequal: all 9 leaves are the same\n"
        "$ ckpt diff a.pth b.pth    # exit 1: they differ\n```\n"
        "<!-- exit: 2 -->\n```console\n$ ckpt inspect none.pth\n```\n"
        "```json\n{}\n```\n"
    )
    assert run_page(page, samples) == 5


def test_the_outputs_of_two_runs_agree() -> None:
    shown = "a.pth -> b (orbax)\n35 arrays, 120 kB in 31 ms (3.9 MB/s)\ntime  2026-11-21 09:01:11 UTC (1795251671.8)"
    printed = (
        "a.pth ->   b (orbax)\n35 arrays, 120 kB in 1.2 s (44 kB/s)\ntime 2027-01-02 03:04:05 UTC (1.5)\n"
    )
    assert agrees(shown, printed)
    assert not agrees(shown.replace("35", "36"), printed)
    assert agrees("...\n35 arrays, 120 kB in 31 ms (3.9 MB/s)\n...", printed)


# docs/write-a-backend.md says what a plugin implements, exactly.

GUIDE = ROOT / "docs/write-a-backend.md"
EXAMPLE = ROOT / "examples/third_party_backend/ckpt_npz_example.py"


def signature_of(function: Any) -> str:
    """A function's name and signature as its source spells them."""
    return function.__name__ + re.sub("'([^']*)'", r"\1", str(inspect.signature(function)))


def headings(text: str) -> set[str]:
    """The headings that are one piece of code."""
    return set(re.findall(r"^#+ `(.+)`$", text, re.MULTILINE))


def test_every_hook_is_documented_with_its_signature() -> None:
    hooks = {name: getattr(hookspecs, name) for name in hookspecs.__all__ if name != "hookimpl"}
    assert {name for name in vars(hookspecs) if name.startswith("ckpt_core_")} == set(hooks)
    wanted = {signature_of(hook) for hook in hooks.values()}
    assert {heading for heading in headings(GUIDE.read_text()) if heading.startswith("ckpt_core_")} == wanted


def test_every_method_of_a_backend_is_documented_with_its_signature() -> None:
    methods = [
        member for name, member in vars(Backend).items() if inspect.isfunction(member) and name[0] != "_"
    ]
    wanted = {signature_of(method) for method in methods}
    assert {heading for heading in headings(GUIDE.read_text()) if "(self" in heading} == wanted


def test_every_attribute_of_a_backend_is_documented() -> None:
    text = GUIDE.read_text()
    rows = {
        name
        for row in re.findall(r"^\| (`.+?`) \|", text, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", row)
    }
    assert set(inspect.get_annotations(Backend)) <= rows
    assert {field.name for field in dataclasses.fields(Holds)} <= rows


def test_the_guide_shows_the_code_of_the_example() -> None:
    text, source = GUIDE.read_text(), EXAMPLE.read_text()
    lines = source.splitlines()
    for node in ast.parse(source).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            assert "\n".join(lines[first - 1 : node.end_lineno]) in text, node.name
