"""Golden pickles of numpy states, joblib, cloudpickle and compressed files.

python3.11 -m venv a && a/bin/pip install numpy==2.4.6 ml_dtypes==0.6.0 joblib==1.6.0 cloudpickle==3.1.2 \\
        scikit-learn==1.9.1
python3.8 -m venv b && b/bin/pip install numpy==1.22.4 joblib==0.14.1 cloudpickle==1.2.2
python3.7 -m venv c && c/bin/pip install numpy==1.16.6
each: bin/python numpy_states.py; and python2.7 numpy_py27.py first, with numpy 1.16.6 and joblib 0.13.2
"""

from __future__ import annotations

import bz2
import collections
import datetime
import fractions
import functools
import gzip
import lzma
import pathlib
import pickle
import sys
import zlib

import numpy as np
from golden import Arr, Opaque, Rec, Special, arr, encode, expect, of, target, without_paths

VERSION = ".".join(np.__version__.split(".")[:2])
HOW = f"numpy {np.__version__}"
DTYPES = [
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "float32",
    "float64",
    "complex64",
    "complex128",
]


def state():
    """Return a state of every kind of numpy value, and its expected tree."""
    value, tree = collections.OrderedDict(), {}

    def put(name, made, expected):
        value[name], tree[name] = made, expected

    for name in DTYPES:
        made = arr(f"numpy/{name}", name, (2, 3))
        put(name, made.numpy(), made)
    for name, code in (("big_f4", ">f4"), ("big_c16", ">c16"), ("big_i8", ">i8"), ("big_u2", ">u2")):
        made = arr(f"numpy/{name}", np.dtype(code).name, (2, 4))
        put(name, made.numpy().astype(code) if code[1] != "c" and code[1] != "f" else _big(made), made)
    made = arr("numpy/fortran", "float32", (3, 4))
    put("fortran", np.asfortranarray(made.numpy()), made)
    put(
        "fortran_3d",
        np.asfortranarray(arr("numpy/f3", "int16", (2, 3, 2)).numpy()),
        arr("numpy/f3", "int16", (2, 3, 2)),
    )
    put(
        "strided",
        np.concatenate([made.numpy(), made.numpy()])[::2],
        of(np.concatenate([made.numpy(), made.numpy()])[::2]),
    )
    put(
        "transposed", arr("numpy/t", "int32", (2, 3)).numpy().T, of(arr("numpy/t", "int32", (2, 3)).numpy().T)
    )
    put("zero_d", arr("numpy/0", "float64", ()).numpy(), arr("numpy/0", "float64", ()))
    put("empty", np.empty((0, 3), "f4"), Arr("float32", (0, 3), b""))
    put("empty_2", np.empty((2, 0), "i8"), Arr("int64", (2, 0), b""))
    for name, scalar in (
        ("np_f8", np.float64(0.125)),
        ("np_f4", np.float32(1.5)),
        ("np_f2", np.float16(2)),
        ("np_i8", np.int64(-3)),
        ("np_u1", np.uint8(250)),
        ("np_bool", np.bool_(True)),
        ("np_c8", np.complex64(1 - 2j)),
    ):
        put(name, scalar, scalar)
    special = {
        "str_": np.array([["a", "bcd"], ["é", ""]]),
        "bytes_": np.array([b"ab", b"c"]),
        "datetime": np.array(["2026-11-21", "NaT"], "M8[D]"),
        "datetime_ms": np.array(["2026-11-21T08:30:00.125"], "M8[ms]"),
        "timedelta": np.array([5, -1], "m8[s]"),
        "structured": np.array(
            [(1, 2.5, [3, 4]), (5, 6.5, [7, 8])], [("a", "<i4"), ("b", ">f8"), ("c", "<u2", (2,))]
        ),
        "void": np.array([b"abcd"], "V4"),
        "np_str": np.str_("text"),
        "np_datetime": np.datetime64("2026-11-21"),
        "np_timedelta": np.timedelta64(5, "s"),
    }
    for name, made in special.items():
        put(name, made, Special(made))
    objects = np.array([[1, "a"], [None, np.float32(2)]], dtype=object)
    put("objects", objects, Special(objects, [encode(v) for v in objects.ravel()]))
    masked = np.ma.MaskedArray(np.arange(3, dtype="<f4"), [False, True, False])
    put("masked", masked, Opaque(None, []))
    put("a_dtype", np.dtype("<f4"), Opaque("numpy.dtype", []))
    put(
        "plain",
        {
            "step": 5,
            3: [1.5, (None, True)],
            (1, 2): b"\x00\xff",
            "big": 1 << 70,
            "neg": -(1 << 40),
            "nan": float("nan"),
        },
        {
            "step": 5,
            3: [1.5, (None, True)],
            (1, 2): b"\x00\xff",
            "big": 1 << 70,
            "neg": -(1 << 40),
            "nan": float("nan"),
        },
    )
    return value, tree


def _big(made):
    """Return a big-endian array with the same bits; a cast could quiet a NaN."""
    native = made.numpy()
    return native.byteswap().view(native.dtype.newbyteorder(">"))


def write(name, data, tree, **more):
    target(f"pickle/{name}").write_bytes(data)
    expect(f"pickle/{name}", tree, **{"how": HOW, **more})


def small():
    made = {
        "w": arr("small/w", "float32", (3, 4)),
        "b": arr("small/b", "int16", (5,)),
        "step": 7,
        "items": [1, (2.5, None)],
    }
    return {key: child.numpy() if isinstance(child, Arr) else child for key, child in made.items()}, made


def shared():
    """Containers met twice and a cycle; arrays met twice, and views of one array (pickle copies those)."""
    base = arr("shared", "float32", (2, 3))
    array, inner = base.numpy(), {"x": 1}
    value = {
        "first": array,
        "second": array,
        "view": array[0],
        "inner": inner,
        "again": [inner, inner],
        "cycle": [],
    }
    value["cycle"].append(value["cycle"])
    again = Opaque(None, [])
    return value, {
        "first": base,
        "second": base,
        "view": of(array[0]),
        "inner": inner,
        "again": [again, again],
        "cycle": [again],
    }


def builtins_state():
    value = {
        "date": datetime.datetime(2026, 11, 21, 8, 30, 0, 5),  # noqa: DTZ001  # a naive one is meant
        "day": datetime.date(2026, 11, 21),
        "took": datetime.timedelta(1, 2, 3),
        "zoned": datetime.datetime(2026, 11, 21, tzinfo=datetime.timezone.utc),
        "path": pathlib.PurePosixPath("runs/exp1"),
        "set": {3},
        "frozen": frozenset(["a"]),
        "ordered": collections.OrderedDict(b=1, a=2),
        "default": collections.defaultdict(list, x=[1]),
        "counter": collections.Counter("aab"),
        "deque": collections.deque([1, 2], 5),
        "complex": 1 - 2j,
        "bytearray": bytearray(b"ab"),
        "fraction": fractions.Fraction(1, 3),
        "range": range(3),
        "slice": slice(1, 2),
        "partial": functools.partial(int, base=2),
        "ellipsis": ...,
        "class": collections.OrderedDict,
        "function": len,
        "weights": arr("builtins", "float32", (2,)).numpy(),
    }
    known = {
        "set": value["set"],
        "frozen": value["frozen"],
        "ordered": dict(value["ordered"]),
        "complex": 1 - 2j,
        "default": Rec("collections.defaultdict", {"x": [1]}),
        "weights": arr("builtins", "float32", (2,)),
    }
    return value, {key: known.get(key, Opaque(None, [])) for key in value}


def current():
    import cloudpickle
    import joblib
    import ml_dtypes
    import sklearn.linear_model
    from sklearn import __version__ as sklearn_version

    extended = [
        "bfloat16",
        "float8_e4m3fn",
        "float8_e5m2",
        "float8_e4m3b11fnuz",
        "float8_e8m0fnu",
        "int4",
        "uint4",
        "int2",
        "float4_e2m1fn",
    ]
    made = {name: arr(f"ml/{name}", name, (2, 3)) for name in extended}
    for protocol in (2, 5):
        write(
            f"ml_dtypes_p{protocol}.pkl",
            pickle.dumps({k: v.numpy() for k, v in made.items()}, protocol),
            made,
            how=f"{HOW}, ml_dtypes {ml_dtypes.__version__}",
        )
    value, tree = small()
    data = pickle.dumps(value, 4)
    for suffix, packed in (
        ("gz", gzip.compress(data, mtime=0)),
        ("bz2", bz2.compress(data)),
        ("xz", lzma.compress(data)),
        ("zlib", zlib.compress(data)),
        ("lzma", lzma.compress(data, lzma.FORMAT_ALONE)),
    ):
        write(f"small.pkl.{suffix}", packed, tree)
    value, tree = shared()
    for protocol in (0, 2, 5):
        write(
            f"shared_p{protocol}.pkl",
            pickle.dumps(value, protocol),
            tree,
            notes="`first` and `second` are one array; `again` holds `inner` twice; `cycle` holds itself",
        )
    value, tree = builtins_state()
    for protocol in (0, 3, 5):
        write(f"builtins_p{protocol}.pkl", pickle.dumps(value, protocol), tree)
    source = np.random.RandomState(7)
    key = of(source.get_state()[1])
    value = {"legacy_tuple": source.get_state(), "state": source, "generator": np.random.default_rng(7)}
    tree = {
        "legacy_tuple": ("MT19937", key, 624, 0, 0.0),
        "state": Opaque(None, [key]),
        "generator": Opaque(None, []),
    }
    write("random_p2.pkl", pickle.dumps(value, 2), tree)
    write("random_p5.pkl", pickle.dumps(value, 5), tree)
    _cloudpickle(cloudpickle)
    _joblib(joblib)
    model = sklearn.linear_model.LogisticRegression(C=0.5)
    model.coef_, model.intercept_ = (
        arr("lr/coef", "float64", (2, 3)).numpy(),
        arr("lr/b", "float64", (2,)).numpy(),
    )
    model.classes_ = np.array([0, 1])
    fields = model.__getstate__()
    fields = {k: of(v) if isinstance(v, np.ndarray) else v for k, v in fields.items()}
    joblib.dump(model, str(target("pickle/joblib_sklearn.joblib")))
    expect(
        "pickle/joblib_sklearn.joblib",
        Rec("sklearn.linear_model._logistic.LogisticRegression", fields),
        how=f"joblib {joblib.__version__}, scikit-learn {sklearn_version}, {HOW}",
    )


def _cloudpickle(cloudpickle):
    class Config:
        """A class that cloudpickle saves by value."""

        def __init__(self):
            self.lr, self.layers = 0.1, [4, 2]

    cloudpickle.register_pickle_by_value(sys.modules[__name__]) if hasattr(
        cloudpickle, "register_pickle_by_value"
    ) else None
    value, tree = small()
    value["apply_fn"], value["config"] = (lambda x: x + 1), Config()
    tree["apply_fn"], tree["config"] = Opaque(None, []), Opaque(None, [])
    value["last"] = tree["last"] = "end"
    # A code object keeps the name of its file: a neutral one.
    data = without_paths(cloudpickle.dumps(value), __file__)
    write(
        f"cloudpickle_{cloudpickle.__version__}.pkl",
        data,
        tree,
        how=f"cloudpickle {cloudpickle.__version__}, {HOW}",
    )


def _joblib(joblib):
    value, tree = small()
    value.update(
        fortran=np.asfortranarray(value["w"]),
        zero_d=np.array(1.5, "f4"),
        empty=np.empty((0, 2), "f8"),
        objects=np.array([1, "a", None], dtype=object),
        big=_big(tree["w"]),
        scalar=np.float64(0.125),
        last="end",
    )
    tree.update(
        fortran=tree["w"],
        zero_d=of(np.array(1.5, "f4")),
        empty=Arr("float64", (0, 2), b""),
        objects=Special(value["objects"], [encode(v) for v in (1, "a", None)]),
        big=tree["w"],
        scalar=np.float64(0.125),
        last="end",
    )
    version = ".".join(joblib.__version__.split(".")[:2])
    for name, compress in (
        ("plain", 0),
        ("zlib", 3),
        ("gzip", ("gzip", 3)),
        ("bz2", ("bz2", 3)),
        ("xz", ("xz", 3)),
        ("lzma", ("lzma", 3)),
    ):
        file = f"joblib_{version}_{name}.joblib"
        joblib.dump(value, str(target(f"pickle/{file}")), compress=compress)
        expect(f"pickle/{file}", tree, how=f"joblib {joblib.__version__}, {HOW}")


def python27():
    """Write the expectations of the files that numpy_py27.py made."""
    how = "Python 2.7.18, numpy 1.16.6"
    weights = {
        name: arr(f"py27/{name}", name, (2, 3))
        for name in ("float32", "float64", "int64", "uint8", "bool", "complex64")
    }
    weights["fortran"], weights["big"] = (
        arr("py27/float32", "float32", (2, 3)),
        arr("py27/float32", "float32", (2, 3)),
    )
    tree = {
        **weights,
        "zero_d": arr("py27/0", "float32", ()),
        "empty": Arr("float32", (0, 3), b""),
        "scalar": np.float64(0.125),
        "text": "unicode ☃",
        "bytes": "plain",
        "long": 1 << 70,
        "int": 7,
        "list": [1, None, True],
    }
    notes = "the order of keys is Python 2.7's own and not expected; Python 2 `str` is expected as str where it is ASCII; keys are Python 2 `str`"
    for protocol in (0, 1, 2):
        expect(f"pickle/py27_p{protocol}.pkl", tree, how=how, notes=notes)
    old = Opaque(None, [])
    expect(
        "pickle/py27_classes_p2.pkl",
        {"old_style": old, "new_style": old, "weights": weights["float32"]},
        how=how,
        notes=notes,
    )
    expect(
        "pickle/py27_joblib_0.13.joblib",
        {"w": weights["float32"], "step": 7},
        how=how + ", joblib 0.13.2",
        notes=notes,
    )


def main():
    value, tree = state()
    protocols = {"1.16": (2, 4), "1.22": (2, 5)}.get(VERSION, range(6))
    for protocol in protocols:
        write(f"numpy_{VERSION}_p{protocol}.pkl", pickle.dumps(value, protocol), tree)
    if VERSION == "1.22":
        import cloudpickle
        import joblib

        _cloudpickle(cloudpickle)
        _joblib(joblib)
    elif VERSION != "1.16":
        current()
        python27()


main()
