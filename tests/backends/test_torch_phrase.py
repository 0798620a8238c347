"""Tensors that are read at once, against the same opcodes read one by one."""

from __future__ import annotations

import random
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from ckpt_torch.archive import _Storages
from ckpt_torch.constructors import tensor_constructors
from ckpt_torch.phrase import TensorPhrase
from ckpt_torch.tensors import StorageArray, Tensors

from ckpt_core import open_checkpoint
from ckpt_core.arrays import LazyArray
from ckpt_core.errors import CheckpointError
from ckpt_core.pickles import PLAIN, unpickle
from ckpt_core.source import Source
from ckpt_core.storage import FileStorage
from ckpt_core.tree import Record, walk
from ckpt_core.zips import Zip


class Counting(TensorPhrase):
    """Counts the calls that were read at once."""

    reached = 0

    def _read(self, found: Any, target: Any, stack: list[Any], memo: list[Any]) -> bool:
        is_read = super()._read(found, target, stack, memo)
        self.reached += is_read
        return is_read


def state_dict() -> dict[str, Any]:
    """Return tensors of every kind that torch's pickler writes in its usual words, and of kinds that it does not."""
    generator = torch.Generator().manual_seed(0)
    plain = {f"first.{index}": torch.randn(2, 3, generator=generator) for index in range(60)}
    flat = torch.arange(70_000, dtype=torch.int32)
    tied = torch.randn(5, generator=generator)
    odd = {
        "scalar": torch.tensor(3),
        "empty": torch.empty(0, 4),
        "five": torch.zeros(2, 1, 3, 1, 2, dtype=torch.float16),
        "transposed": torch.randn(3, 4, generator=generator).T,
        "expanded": torch.ones(1).expand(7),
        "view": flat[600:1200].view(20, 30),
        "far": flat[69_000:],
        "one.wide": torch.zeros(1, 8).T,
        "tied": tied,
        "tied again": tied,
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "conj": torch.ones(2, dtype=torch.complex64).conj(),
        "ключ": torch.zeros(2, dtype=torch.bfloat16),
        "long" * 80: torch.zeros(3),
        "hXq.r": torch.zeros(3, dtype=torch.bool),
    }
    last = {f"last.{index}": torch.randn(index % 4 + 1, 2, generator=generator) for index in range(30)}
    nested = {
        "step": 7,
        "optimizer": {index: {name: torch.ones(2) for name in ("m", "v")} for index in range(20)},
    }
    return {**plain, **odd, **last, **nested}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("phrase") / "model.pth"
    torch.save(state_dict(), path)
    return path


def read(path: Path, at_once: bool, data: Path | None = None) -> tuple[Any, int]:
    """Return what an archive holds, or why it has nothing, and how many of its tensors were read at once.

    Arguments:
        path: the archive.
        at_once: whether tensors may be read at once.
        data: a pickle in place of the one that is in it.
    """
    archive = Zip(Source(str(path)))
    root = next(iter(archive.entries)).split("/")[0]
    tensors = Tensors()
    load = _Storages(archive, f"{root}/data/", tensors).load
    phrase = Counting(tensors, load)
    source = archive.open(f"{root}/data.pkl") if data is None else Source(str(data))
    constructors = {**PLAIN, **tensor_constructors(tensors)}
    try:
        tree = unpickle(source, constructors, persistent_load=load, phrase=phrase if at_once else None).value
    except CheckpointError as error:
        return str(error), phrase.reached
    return [(path, describe(node)) for path, node in walk(tree)], phrase.reached


def describe(node: Any) -> Any:
    if isinstance(node, LazyArray):
        kind = node.torch_dtype if type(node) is StorageArray else type(node)
        places = [(place_of(piece.storage), piece.storage.nbytes, *piece[1:]) for piece in node.pieces]
        return kind, node.shape, node.dtype, places
    if type(node) is Record:
        return node.type_name, list(node), repr(node.args), repr(node.appended), repr(node.state)
    return (type(node), list(node)) if isinstance(node, dict) else (type(node), repr(node))


def place_of(storage: Any) -> int:
    return int(storage.start if isinstance(storage, FileStorage) else place_of(storage.inner))


def test_what_is_read_at_once_is_what_the_opcodes_say(archive: Path) -> None:
    expected, none = read(archive, at_once=False)
    found, reached = read(archive, at_once=True)
    assert found == expected
    assert none == 0 and reached > 60


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_other_protocols_are_left_to_the_opcodes(tmp_path: Path, protocol: int) -> None:
    torch.save(state_dict(), tmp_path / "model.pth", pickle_protocol=protocol)
    assert read(tmp_path / "model.pth", at_once=True)[0] == read(tmp_path / "model.pth", at_once=False)[0]


def test_the_older_format_says_the_same_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(state_dict(), tmp_path / "model.pth", _use_new_zipfile_serialization=False)

    def found() -> list[Any]:
        return [(where, describe(node)) for where, node in walk(open_checkpoint(tmp_path / "model.pth").tree)]

    made: list[Counting] = []
    monkeypatch.setattr(
        "ckpt_torch.legacy.TensorPhrase", lambda *given: made.append(Counting(*given)) or made[-1]
    )
    at_once = found()
    monkeypatch.setattr("ckpt_torch.legacy.TensorPhrase", lambda *_: None)
    assert found() == at_once
    assert [phrase.reached > 60 for phrase in made] == [True]


def pickle_of(archive: Path) -> bytes:
    with zipfile.ZipFile(archive) as file:
        return file.read(next(name for name in file.namelist() if name.endswith("data.pkl")))


def test_a_changed_byte_means_the_same_at_once_and_one_by_one(archive: Path, tmp_path: Path) -> None:
    """Whatever a byte becomes, the tree and the error, with its place, do not depend on how it was read."""
    data, pickle = pickle_of(archive), tmp_path / "data.pkl"
    rng = random.Random(5)
    outcomes = set()
    for _ in range(400):
        changed = bytearray(data)
        for _ in range(rng.choice((1, 1, 2))):
            at = rng.randrange(4000, len(data))
            changed[at] = rng.choice(
                (rng.randrange(256), changed[at] ^ 1, changed[at - 1], ord("r"), ord("("))
            )
        pickle.write_bytes(changed)
        expected, _ = read(archive, at_once=False, data=pickle)
        found, _ = read(archive, at_once=True, data=pickle)
        assert found == expected
        outcomes.add(type(expected))
    assert outcomes == {str, list}


def test_numbers_of_the_memo_that_are_not_the_next_ones_are_kept_as_they_are(
    archive: Path, tmp_path: Path
) -> None:
    """The size of a tensor is stored under another number, and fetched in place of a later one."""
    data = pickle_of(archive)
    at = data.index(b"last.9")
    put = data.index(b"\x86r", at)
    number = struct.unpack_from("<I", data, put + 2)[0]
    changed = data[: put + 2] + struct.pack("<I", number + 100_000) + data[put + 6 :]
    (tmp_path / "data.pkl").write_bytes(changed)
    expected, _ = read(archive, at_once=False, data=tmp_path / "data.pkl")
    found, reached = read(archive, at_once=True, data=tmp_path / "data.pkl")
    assert found == expected and isinstance(found, list)
    assert reached < read(archive, at_once=True)[1]
