"""Files that the training libraries wrote: what they are taken to mean is what the libraries' objects held."""

from __future__ import annotations

import pytest
from layouts.meaning import GOLDEN, differences, facts_of, golden_layouts, owners

from ckpt_core import convert, diff, open_checkpoint
from ckpt_core.layouts import BUILTIN
from ckpt_core.tree import render_path

NAMES = golden_layouts()


@pytest.mark.parametrize("name", NAMES)
def test_a_file_means_what_its_library_held(name):
    with open_checkpoint(GOLDEN / name) as ckpt:
        assert list(differences(ckpt, facts_of(name))) == []


@pytest.mark.parametrize("name", NAMES)
def test_every_leaf_is_in_one_role_or_in_extra(name):
    with open_checkpoint(GOLDEN / name) as ckpt:
        wrong = {render_path(path): roles for path, roles in owners(ckpt).items() if len(roles) != 1}
    assert wrong == {}


@pytest.mark.parametrize("name", NAMES)
def test_a_conversion_keeps_everything(name, tmp_path):
    receipt = convert(GOLDEN / name, tmp_path / "out.pkl")
    assert receipt.losses == ()
    assert diff(GOLDEN / name, tmp_path / "out.pkl").is_equal


def test_every_layout_of_a_library_has_a_file():
    rows = {row.name for row in BUILTIN if not row.is_general}
    assert rows - {facts_of(name)["layout"] for name in NAMES} == {"basicsr", "detectron2", "fairseq"}
