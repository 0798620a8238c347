"""Headers of `.npy` files, against numpy's own reader and writer."""

from __future__ import annotations

import io

import numpy as np
import pytest

from ckpt_core.errors import DamagedFileError
from ckpt_core.npy import read_header


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize(
    "dtype", ["<f4", ">i2", "|u1", "?", "<c16", "<f2", "<M8[ns]", "<M8[10us]", "|V2", "<U3", "O"]
)
def test_what_numpy_writes(dtype: str, version: tuple[int, int]) -> None:
    for array in (
        np.zeros((2, 3), dtype),
        np.zeros((), dtype),
        np.zeros((0, 5), dtype),
        np.zeros((2, 3), dtype, "F"),
    ):
        out = io.BytesIO()
        np.lib.format.write_array(out, array, version=version)
        header = read_header(out.getvalue())
        assert (header.shape, header.dtype) == (array.shape, array.dtype)
        assert header.is_fortran == (array.flags.fnc and array.ndim > 1)
        if dtype != "O":
            assert len(out.getvalue()) - header.start == array.nbytes


def header_of(text: str) -> bytes:
    return b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize(
    "text",
    [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 3L), }\n",
        '{"shape": (2,3), "descr": "<f4", "fortran_order": False}',
        "{'descr':'<f4','fortran_order':False,'shape':(2,3)}   \n",
    ],
)
def test_what_others_write(text: str) -> None:
    header = read_header(header_of(text))
    assert header[:3] == ((2, 3), False, np.dtype("<f4"))


@pytest.mark.parametrize(
    "text",
    [
        "{'descr': '<f4', 'fortran_order': False}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'shape': (3,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)} + 1",
        "{'descr': '<f4', 'fortran_order': 1, 'shape': (2,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-2,)}",
        "{'descr': print, 'fortran_order': False, 'shape': (2,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': '(2,)'}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (" + "1," * 65 + ")}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (" + "9" * 20 + ",)}",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(DamagedFileError, match="has no valid header"):
        read_header(header_of(text))
