"""Real directories with one file cut off, or one bit of it flipped, at every byte of the small ones.

Cut off, a directory is refused, or what is missing says nothing and the tree is the whole one. Flipped, it is
refused or still well-formed. The nodes of a database carry a checksum, so that a flip there says little about the
parser; some are damaged and get the right checksum again.
"""

from __future__ import annotations

import functools
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ckpt_flax.orbax.crc32c import crc32c

from ckpt_core import convert, open_checkpoint, save_checkpoint
from tests.attacks.case import EITHER, OPENS, Case
from tests.attacks.inspecting import BrokenRuleError, well_formed

GOLDEN = Path(__file__).parents[1] / "golden" / "orbax"
TREE = {
    "w": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b": {"x": np.ones(2, np.float16)},
    "epoch": 3,
    "note": "a text",
    "t": (1, None),
}
WHOLLY = ("files", "database")
"""The directories whose small files are cut and flipped at every byte."""

SMALL = 130
"""Bytes that a small file has at most."""

PLACES = 3
"""Places that are drawn in every other file."""


@functools.cache
def samples() -> dict[str, Path]:
    """Whole directories by name; they live as long as the process."""
    folder = Path(tempfile.mkdtemp())
    save_checkpoint(folder / "files", {"w": TREE["w"], "note": TREE["note"]}, to="orbax")
    save_checkpoint(
        folder / "database", {"arrays": {f"a{i}": np.arange(i + 1) for i in range(40)}}, to="orbax"
    )
    save_checkpoint(folder / "one.safetensors", TREE)
    convert(folder / "one.safetensors", folder / "shards", to="safetensors", options={"max_shard_size": 16})
    golden = ("0.12.8_sharded_zarr3", "0.12.8_keys_ocdbt", "0.12.8_v1_pytree", "0.2.7_aggregate_some")
    names = {name: GOLDEN / name for name in golden}
    return {"files": folder / "files", "database": folder / "database", "shards": folder / "shards", **names}


def files_of(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@functools.cache
def digest(name: str) -> str:
    """The digest of a whole sample."""
    with open_checkpoint(samples()[name]) as ckpt:
        return well_formed(ckpt.tree)[0]


def same_as(name: str) -> Callable[[Any], None]:
    def check(tree: Any) -> None:
        found, refused = well_formed(tree)
        if not refused and found != digest(name):
            raise BrokenRuleError("it opens, and not as the tree that was written")

    return check


def cases() -> Iterator[Case]:
    for name, folder in samples().items():
        digest(name)
        yield Case(f"whole/{name}", functools.partial(shutil.copytree, folder), OPENS, same_as(name))
        for file in files_of(folder):
            yield from _damaged(name, file)
    yield from _resealed()


def _copy(folder: Path, file: str, content: bytes) -> Callable[[Path], None]:
    """Make the directory with other content in one file; the other files are links to the sample's."""

    def make(path: Path) -> None:
        shutil.copytree(folder, path, copy_function=os.link)
        (path / file).unlink()
        (path / file).write_bytes(content)

    return make


def _damaged(name: str, file: str) -> Iterator[Case]:
    folder = samples()[name]
    content = (folder / file).read_bytes()
    rng = random.Random(f"{name} {file}")
    places: Sequence[int] = range(len(content))
    if name not in WHOLLY or len(content) > SMALL:
        places = rng.sample(places, min(PLACES, len(content)))
    label = f"{name}/{file.replace('/', '-')}"
    for at in places:
        cut = _copy(folder, file, content[:at])
        yield Case(f"cut/{label}/{at}/{name}", cut, EITHER, same_as(name), light=True)
        flipped = bytearray(content)
        flipped[at] ^= 1 << rng.randrange(8)
        yield Case(f"flip/{label}/{at}/{name}", _copy(folder, file, bytes(flipped)), EITHER, light=True)


# Nodes of a database with the right checksum.


def sealed(body: bytes, magic: int) -> bytes:
    """Put the frame of an uncompressed node around what is in it."""
    head = magic.to_bytes(4, "big") + (len(body) + 18).to_bytes(8, "little") + b"\0\0"
    return head + body + crc32c(head + body).to_bytes(4, "little")


DOCUMENT = b'{"zarr_format":2,"shape":[2],"chunks":[2],"dtype":"<f4","order":"C","compressor":null,"filters":null,"fill_value":null}'
METADATA = b"""{"tree_metadata": {"('w',)": {"key_metadata": [{"key": "w", "key_type": 2}],
"value_metadata": {"value_type": "np.ndarray", "skip_deserialize": false}}}, "use_ocdbt": true}"""


def _leaf() -> bytes:
    """Two keys below `w/`: the document, inline, and the chunk, eight bytes of the data file `d`."""
    lengths = bytes([7, 1, len(DOCUMENT), 8])
    return b"\0\1\1\0d\2\0" + lengths[:2] + b".zarray" + b"0" + lengths[2:] + b"\0\1" + b"\0\0" + DOCUMENT


def _root(length: int) -> bytes:
    """One child, below the key `w/`, at byte 8 of the data file."""
    return b"\1\1\1\0d\1\2\2w/\0\x08" + bytes([length | 128, length >> 7]) + b"\2\1\1"


def _manifest(start: int, length: int) -> bytes:
    numbers = bytes([start & 127 | 128, start >> 7, length])
    version = b"\1\1\1\0" + numbers + b"\2\1\1" + bytes(8)
    return bytes(16) + b"\0\x10\x7f\4\0" + b"\1\1\0d" + version + b"\0"


def _database(path: Path, leaf: bytes, root: bytes | None = None, manifest: bytes | None = None) -> None:
    path.mkdir()
    node = sealed(leaf, 0x0CDB20DE)
    above = sealed(_root(len(node)) if root is None else root, 0x0CDB20DE)
    (path / "d").write_bytes(bytes(8) + node + above)
    body = _manifest(8 + len(node), len(above)) if manifest is None else manifest
    (path / "manifest.ocdbt").write_bytes(sealed(body, 0x0CDB3A2A))
    (path / "_METADATA").write_bytes(METADATA)


def _resealed() -> Iterator[Case]:
    leaf = _leaf()
    length = len(sealed(leaf, 0))
    root = _root(length)
    manifest = _manifest(8 + length, len(sealed(root, 0)))
    yield Case("resealed/whole/c", functools.partial(_database, leaf=leaf), OPENS)
    for part, body in {"leaf": leaf, "root": root, "manifest": manifest}.items():
        for at in range(min(len(body), 40)):
            for value in {255, body[at] ^ 2} - {body[at]}:
                changed = {"leaf": leaf, part: body[:at] + bytes([value]) + body[at + 1 :]}
                yield Case(
                    f"resealed/{part}/{at}-{value}/c",
                    functools.partial(_database, **changed),
                    EITHER,
                    light=True,
                )
        for at in range(0, len(body), 3):
            cut = {"leaf": leaf, part: body[:at]}
            yield Case(f"resealed/{part}/cut-{at}/c", functools.partial(_database, **cut), EITHER, light=True)
