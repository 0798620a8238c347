"""Golden pickles of Python 2.7: python2.7 -m pip install numpy==1.16.6 joblib==0.13.2; python2.7 numpy_py27.py

The bits are those of golden.py, whose rules are repeated here for Python 2; numpy_states.py writes the expectations.
"""

import hashlib
import os
import pickle

import joblib
import numpy as np

FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "pickle")
SPECIAL = {
    "float32": ("<u4", [0x7FC12345, 0xFFD54321, 0x80000000, 0x7F800000, 0x00000001]),
    "float64": ("<u8", [0x7FF8000012345678, 0xFFF9ABCDEF012345, 1 << 63, 0x7FF << 52, 1]),
    "complex64": ("<u4", [0x7FC12345, 0xFFD54321, 0x80000000, 0x7F800000, 0x00000001, 0x3F800000]),
}


class Old:
    """An old-style class: pickled by INST or OBJ."""

    def __init__(self):
        self.lr = 0.1


class New(object):  # noqa: UP004  # Python 2 needs it
    """A new-style class: protocol 0 and 1 go through copy_reg._reconstructor."""

    def __init__(self):
        self.lr = 0.1


def arr(seed, dtype, shape):
    """Return an array of seeded bits."""
    dtype = np.dtype(dtype)
    count, out = int(np.prod(shape)) * dtype.itemsize, b""
    while len(out) < count:
        out += hashlib.sha256("/".join([seed, dtype.name + ":" + str(len(out))]).encode("ascii")).digest()
    data = np.frombuffer(out[:count], "u1").copy()
    if dtype.kind == "b":
        data &= 1
    elif dtype.name in SPECIAL:
        code, patterns = SPECIAL[dtype.name]
        if len(data.view(code)) > len(patterns):
            data.view(code)[: len(patterns)] = patterns
    return data.view(dtype).reshape(shape)


def dump(name, value, protocol):
    with open(os.path.join(FOLDER, name), "wb") as out:
        pickle.dump(value, out, protocol)


state = {
    name: arr("py27/" + name, name, (2, 3))
    for name in ("float32", "float64", "int64", "uint8", "bool", "complex64")
}
weights = state["float32"]
state["fortran"] = np.asfortranarray(weights)
state["big"] = weights.byteswap().view(">f4")
state["zero_d"] = arr("py27/0", "float32", ())
state["empty"] = np.empty((0, 3), "f4")
state["scalar"] = np.float64(0.125)
state["text"] = b"unicode \xe2\x98\x83".decode("utf-8")
state["bytes"] = "plain"
state["long"] = 1 << 70
state["int"] = 7
state["list"] = [1, None, True]
if not os.path.isdir(FOLDER):
    os.makedirs(FOLDER)
for protocol in (0, 1, 2):
    dump("py27_p" + str(protocol) + ".pkl", state, protocol)
dump("py27_classes_p2.pkl", {"old_style": Old(), "new_style": New(), "weights": weights}, 2)
joblib.dump({"w": weights, "step": 7}, os.path.join(FOLDER, "py27_joblib_0.13.joblib"))
