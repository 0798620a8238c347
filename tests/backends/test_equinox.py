"""Equinox files: numpy and JAX write the records, and what is read is what was written."""

from __future__ import annotations

import io
import json
from pathlib import Path

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from ckpt_flax.equinox import EquinoxBackend

from ckpt_core import CheckpointError, convert, diff, open_checkpoint
from ckpt_core.source import Source


def write(path: Path, *leaves: object, settings: object = None) -> Path:
    """Write what `equinox.tree_serialise_leaves` writes: each leaf by `jnp.save`, maybe after a line of JSON."""
    out = io.BytesIO()
    if settings is not None:
        out.write(json.dumps(settings).encode() + b"\n")
    for leaf in leaves:
        jnp.save(out, leaf)
    path.write_bytes(out.getvalue())
    return path


def test_leaves_come_back_in_order_with_their_bytes(tmp_path):
    rng = np.random.default_rng(1)
    leaves = [
        rng.normal(size=(2, 3)).astype(np.float32),
        np.asfortranarray(rng.normal(size=(3, 2))),
        np.arange(4, dtype=">i4"),
        np.float64(0.5),
        np.zeros((0, 2), np.complex64),
        np.array(True),
        jnp.arange(3, dtype=jnp.bfloat16),
    ]
    path = write(tmp_path / "model.eqx", *leaves, settings={"width": 3})
    with open_checkpoint(path) as ckpt:
        assert (ckpt.format, ckpt.layout, ckpt.config) == ("equinox", "equinox", {"width": 3})
        found = [array.read() for _, array in ckpt.params.leaves()]
        assert [name for name, _ in ckpt.params.leaves()] == [str(i) for i in range(len(leaves))]
    for array, leaf in zip(found, leaves, strict=True):
        expected = np.asarray(leaf)
        assert array.dtype == expected.dtype.newbyteorder("=")
        assert np.array_equal(array, expected)
    assert found[-1].dtype == ml_dtypes.bfloat16
    convert(path, tmp_path / "out.safetensors")
    assert diff(path, tmp_path / "out.safetensors").is_equal


def test_eight_bit_floats_stay_bytes(tmp_path):
    values = jnp.ones(3, jnp.float8_e4m3fn)
    with open_checkpoint(write(tmp_path / "m.eqx", values, values)) as ckpt:
        assert ckpt.params["0"].dtype == "uint8"
        assert ckpt.params["0"].read().tobytes() == np.asarray(values).tobytes()
        assert any("2 leaves are of an 8-bit type" in note for note in ckpt.metadata.notes)


def test_what_is_claimed(tmp_path):
    def claims(name: str, content: bytes) -> bool:
        (tmp_path / name).write_bytes(content)
        with Source(tmp_path / name) as source:
            return EquinoxBackend().sniff(source)

    one = io.BytesIO()
    np.save(one, np.ones(2))
    assert claims("a.eqx", one.getvalue())
    assert claims("two.bin", one.getvalue() * 2)
    assert claims("line.bin", b'{"a": 1}\n' + one.getvalue())
    assert not claims("one.npy", one.getvalue())
    assert not claims("text.json", b'{"a": 1}\n')
    assert not claims("short.bin", one.getvalue() + b"\x93NUM")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x93NUMPY\x01\x00\x01\x00{", r"record 0, byte 0: has no valid header"),
        (None, r"record 1, byte 152: does not hold the \(3,\) of float64 that its header declares"),
    ],
)
def test_what_is_refused(tmp_path, content, message):
    path = write(tmp_path / "m.eqx", np.ones(3), np.ones(3))
    path.write_bytes(path.read_bytes()[:-1] if content is None else content)
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(path)


def test_objects_are_refused(tmp_path):
    out = io.BytesIO()
    np.save(out, np.array([{}], object), allow_pickle=True)
    (tmp_path / "m.eqx").write_bytes(out.getvalue())
    with pytest.raises(CheckpointError, match="holds numpy object, which is no array of numbers"):
        open_checkpoint(tmp_path / "m.eqx")
