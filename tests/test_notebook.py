"""What notebooks show: everything that is asked for is there, and nothing that a file says is markup."""

from __future__ import annotations

import html.parser

import numpy as np
import pytest
import torch

from ckpt_core import convert, diff, open_checkpoint, plan_resume, resolve_config, save_checkpoint
from ckpt_core.rendering.html import table_html
from ckpt_core.validation import restore, validate

HOSTILE = "<script>alert(1)</script>"


class Tags(html.parser.HTMLParser):
    """Collects the tags, and checks that each is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag, attrs) -> None:
        self.open.append(tag)
        self.seen.add(tag)

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        self.text += data


def parsed(value) -> str:
    """The text of an object's HTML, once it is proven to be tables and nothing else."""
    tags = Tags()
    tags.feed(value._repr_html_())
    tags.close()
    assert tags.open == []
    assert tags.seen <= {"div", "table", "thead", "tbody", "tr", "th", "td", "details", "summary"}
    return tags.text


@pytest.fixture
def path(tmp_path):
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    state = {
        "model_state_dict": {**model.state_dict(), HOSTILE: torch.ones(4)},
        "optimizer_state_dict": torch.optim.SGD(model.parameters(), lr=0.1).state_dict(),
        "epoch": 3,
        "metrics": {f"{HOSTILE}loss": 0.25},
        "config": {"name": HOSTILE, "lr": 0.1},
    }
    torch.save(state, tmp_path / "a.pth")
    return tmp_path / "a.pth"


def test_a_checkpoint(path) -> None:
    with open_checkpoint(path) as ckpt:
        text = parsed(ckpt)
    for expected in (
        str(path),
        "training_dict",
        "epoch3",
        f"name = '{HOSTILE}'",
        "sgd",
        "params: 3 arrays, 12 elements",
    ):
        assert expected in text, expected


def test_reports(path, tmp_path) -> None:
    other = {"model_state_dict": {"weight": np.zeros((2, 3), np.float32), HOSTILE: np.zeros(4, np.float32)}}
    save_checkpoint(tmp_path / "b.pth", other)
    assert "leaves differ" in parsed(diff(path, tmp_path / "b.pth", stats=True))
    receipt = convert(path, tmp_path / "c.safetensors")
    assert "c.safetensors (safetensors)" in parsed(receipt)
    report = validate(path, torch.nn.Linear(3, 4))
    text = parsed(report)
    assert "does not fit" in text and "shape" in text and HOSTILE in text
    model = torch.nn.Linear(3, 2)
    torch.save({"model_state_dict": model.state_dict(), "epoch": 1}, tmp_path / "d.pth")
    assert "parameters8 (8 trainable, 0 frozen)" in parsed(restore(tmp_path / "d.pth", model))
    assert "name" in parsed(resolve_config(path, {"name": "", "lr": 0.0}))
    assert "weights, with a fresh optimizer" in parsed(plan_resume(model_path=path, config={"lr": 0.2}))


def test_tables_are_bounded() -> None:
    text = table_html(["a"], [["x" * 10_000 + "\x1b"]] * 600)
    assert text.count("<tr>") == 501 and "and 100 more rows" in text
    assert len(text) < 500_000 and "\x1b" not in text
