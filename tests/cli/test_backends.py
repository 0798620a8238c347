from __future__ import annotations

import pytest

from ckpt_core.backend import Backend, Stored
from ckpt_core.cli.backends import _lines, _object
from ckpt_core.errors import UnknownFormatError
from ckpt_core.hookspecs import hookimpl
from ckpt_core.opening.detect import open_source
from ckpt_core.registry import Broken, Plugin, Registry
from ckpt_core.source import Source


class Alien(Backend):
    name = "torch"
    suffixes = (".alien\x1b",)

    def sniff(self, source):
        return False

    def open(self, source):
        return Stored({})


class AlienPlugin:
    @hookimpl
    def ckpt_core_backends(self):
        return [Alien()]


class BrokenPlugin:
    @hookimpl
    def ckpt_core_backends(self):
        raise RuntimeError("needs\x1b a newer library")


@pytest.fixture
def crowded() -> Registry:
    registry = Registry()
    registry.add(Plugin("one", "first-dist"), AlienPlugin())
    registry.add(Plugin("two", "second-dist"), AlienPlugin())
    registry.add(Plugin("three", "third-dist"), BrokenPlugin())
    registry.broken.append(Broken(Plugin("four"), "ModuleNotFoundError: No module named 'absent'"))
    return registry


def test_lists_what_is_installed(run, run_json):
    found = run_json("backends")
    rows = {row["name"]: row for row in found["backends"]}
    assert {"torch", "safetensors", "msgpack", "orbax", "pickle"} <= set(rows)
    assert rows["torch"]["distribution"] == "ckpt-core"
    assert ".pth" in rows["torch"]["suffixes"]
    assert rows["torch"]["writes"]
    assert found["broken"] == []
    assert "train_state" in {row["name"] for row in found["layouts"]}
    text = run("backends").stdout
    for name in rows:
        assert name in text


def test_broken_plugins_and_conflicts_are_named(crowded):
    found = _object(crowded)
    assert [broken["plugin"] for broken in found["broken"]] == ["three", "four"]
    assert found["conflicts"] == [
        {"kind": "name", "claim": "torch", "by": ["one (first-dist)", "two (second-dist)"]}
    ]
    text = "\n".join(_lines(found))
    assert "conflict: the name 'torch' is claimed by one (first-dist) and two (second-dist)" in text
    assert "broken: three (third-dist): RuntimeError: needs\\x1b a newer library" in text
    assert "\x1b" not in text


def test_a_broken_plugin_is_named_wherever_its_format_is_missed(crowded, tmp_path):
    lines = "\n  The plugin three (third-dist) is broken: RuntimeError: needs"
    (tmp_path / "model.pth").write_bytes(b"PK\3\4" + bytes(60) + b"PK\5\6" + bytes(18))
    (tmp_path / "other.pth").write_bytes(b"nothing known")
    for name, reason in (("model.pth", "holds no checkpoint format"), ("other.pth", "recognises it")):
        with Source(tmp_path / name) as source, pytest.raises(UnknownFormatError, match=reason) as caught:
            open_source(source, crowded)
        assert lines in str(caught.value)
    with pytest.raises(UnknownFormatError, match="unknown format 'safetensors'") as caught:
        crowded.backend("safetensors")
    assert lines in str(caught.value)


def test_none_installed():
    assert _lines(_object(Registry()))[0] == "no backend is installed"
