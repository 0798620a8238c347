"""Every backend of this project, and the example from outside, against the public conformance suite."""

from __future__ import annotations

import importlib
import pickle
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ckpt_safetensors import SafetensorsBackend
from ckpt_safetensors.header import CODES

from ckpt_core.arrays import LazyArray
from ckpt_core.backend import Backend, Stored
from ckpt_core.dtypes import to_numpy
from ckpt_core.errors import CheckpointError
from ckpt_core.sink import Sink
from ckpt_core.source import Source
from ckpt_core.storage import MemoryStorage
from ckpt_core.testing import BackendTests, differences
from ckpt_core.tree import Record

EXAMPLE = Path(__file__).parents[2] / "examples" / "third_party_backend"


def backend_of(module: str, name: str) -> Backend:
    """Return a backend by the module and name of its class."""
    backend = getattr(importlib.import_module(module), name)()
    assert isinstance(backend, Backend)
    return backend


class TestSafetensors(BackendTests):
    backend = backend_of("ckpt_safetensors", "SafetensorsBackend")
    suffix = ".safetensors"
    kindred = frozenset({"safetensors"})

    # the library's numpy loader knows no 8-bit floats; test_safetensors has them through torch
    official_dtypes = frozenset(name for name in CODES if not name.startswith("float8"))

    def official_load(self, path: Path) -> Mapping[str, Any]:
        from safetensors.numpy import load_file

        return load_file(path)


class TestMsgpack(BackendTests):
    backend = backend_of("ckpt_flax.msgpack", "MsgpackBackend")
    suffix = ".msgpack"
    kindred = frozenset({"msgpack"})

    def official_load(self, path: Path) -> Mapping[str, Any]:
        from flax.serialization import msgpack_restore

        loaded = msgpack_restore(path.read_bytes())
        assert isinstance(loaded, dict)
        return loaded


sys.path.insert(0, str(EXAMPLE))
try:
    npz_backend = backend_of("ckpt_npz_example", "NpzBackend")
finally:
    sys.path.remove(str(EXAMPLE))


class TestNpz(BackendTests):
    backend = npz_backend
    suffix = ".npz"
    kindred = frozenset({"npz"})

    def official_load(self, path: Path) -> Mapping[str, Any]:
        with np.load(path) as loaded:
            return {name: loaded[name] for name in loaded.files if name != "attributes.json"}


class TestTorch(BackendTests):
    backend = backend_of("ckpt_torch.backend", "TorchBackend")
    suffix = ".pth"

    def official_load(self, path: Path) -> Mapping[str, Any]:
        import torch

        loaded = torch.load(path, weights_only=True)
        return {name: numpy_of(tensor) for name, tensor in loaded.items()}


def numpy_of(tensor: Any) -> Any:
    """A tensor as numpy, its bits untouched."""
    import torch

    dtype = to_numpy(str(tensor.dtype).removeprefix("torch."))
    raw = tensor.contiguous().reshape(-1).view(torch.uint8).numpy()
    return np.frombuffer(raw.tobytes(), dtype).reshape(tensor.shape)


class TestPickle(BackendTests):
    backend = backend_of("ckpt_pickle.backend", "PickleBackend")
    suffix = ".pkl"
    kindred = frozenset({"pickle 0", "pickle 2", "pickle 4", "pickle 5"})

    def official_load(self, path: Path) -> Mapping[str, Any]:
        loaded = pickle.loads(path.read_bytes())
        return {name: array for name, array in loaded.items() if isinstance(array, np.ndarray)}


class TestOrbax(BackendTests):
    backend = backend_of("ckpt_flax.orbax", "OrbaxBackend")
    suffix = ".orbax"
    volatile = ("_CHECKPOINT_METADATA",)  # times

    def official_load(self, path: Path) -> Mapping[str, Any]:
        import orbax.checkpoint as ocp

        with ocp.PyTreeCheckpointer() as checkpointer:
            loaded: Mapping[str, Any] = checkpointer.restore(path)
        return loaded


# The suite itself: a backend that breaks a rule fails the test of that rule.


class Sound(SafetensorsBackend):
    """A backend that keeps the rules; those below break one each."""


class ClaimsAll(Sound):
    def sniff(self, source: Source) -> bool:
        return True


class Leaks(Sound):
    def open(self, source: Source) -> Stored:
        if not self.sniff(source):
            raise KeyError("header")
        return super().open(source)


class Sorts(Sound):
    def open(self, source: Source) -> Stored:
        stored = super().open(source)
        return Stored(dict(sorted(stored.tree.items())), stored.attributes)


class Quiets(Sound):
    def open(self, source: Source) -> Stored:
        stored = super().open(source)
        tree = {
            name: LazyArray.from_numpy(np.nan_to_num(array.read())) for name, array in stored.tree.items()
        }
        return Stored(tree, stored.attributes)


class Litters(Sound):
    def save(self, stored: Stored, sink: Sink, options: Mapping[str, object]) -> None:
        Path(sink.target).with_name("sidecar.json").write_text("{}")
        super().save(stored, sink, options)


class Forgets(Sound):
    def save(self, stored: Stored, sink: Sink, options: Mapping[str, object]) -> None:
        super().save(Stored(stored.tree), sink, options)


class Pads(Sound):
    def open(self, source: Source) -> Stored:
        whole = int.from_bytes(source.read(0, 8), "little") + 8
        try:
            return super().open(source)
        except CheckpointError:
            return Stored({"a": LazyArray((whole,), "uint8", MemoryStorage(bytes(whole)))})


@pytest.mark.parametrize(
    ("kind", "test", "error"),
    [
        (ClaimsAll, "test_denies_short_files", AssertionError),
        (ClaimsAll, "test_denies_strange_directories", AssertionError),
        (Sorts, "test_keeps_the_order_of_keys", AssertionError),
        (Quiets, "test_keeps_signalling_nans_and_signed_zeros", AssertionError),
        (Quiets, "test_reading_after_close_is_an_error", pytest.fail.Exception),
        (Forgets, "test_keeps_attributes", AssertionError),
        (Forgets, "test_keeps_nested_trees", AssertionError),
        (Forgets, "test_tied_arrays", AssertionError),
        (Pads, "test_truncated_files_are_refused", AssertionError),
    ],
)
def test_the_suite_notices(
    tmp_path: Path, kind: type[Backend], test: str, error: type[BaseException]
) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.mkdir()
    bad.mkdir()
    getattr(_suite(Sound()), test)(good)
    with pytest.raises(error):
        getattr(_suite(kind()), test)(bad)


def test_the_suite_notices_errors_of_another_family(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="header"):
        _suite(Leaks()).test_refuses_other_formats_that_it_is_told_to_open(tmp_path, "text")


def test_the_suite_notices_files_that_are_left(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        _suite(Litters()).test_an_aborted_save_leaves_nothing(tmp_path, False)


def _suite(tested: Backend) -> BackendTests:
    suite = type("Suite", (BackendTests,), {"backend": tested, "suffix": ".safetensors"})()
    assert isinstance(suite, BackendTests)
    return suite


@pytest.mark.parametrize(
    ("left", "right", "message"),
    [
        ({"a": 1}, {"a": 2}, "1 became 2 @ a"),
        ({"a": 1}, {"a": True}, "1 became True @ a"),
        ({"a": 1}, {"a": 1.0}, "1 became 1.0 @ a"),
        ({"a": 0.0}, {"a": -0.0}, "0.0 became -0.0 @ a"),
        ({"a": 1j}, {"a": -1j}, "became"),
        ({"a": np.float32(1)}, {"a": np.float64(1)}, "became"),
        ({"a": np.float32(1)}, {"a": 1.0}, "became"),
        ({"a": [1]}, {"a": (1,)}, "list became tuple @ a"),
        ({"a": {}}, {"a": []}, "dict became list @ a"),
        ({"a": {}}, {"a": None}, "became None @ a"),
        ({"a": {}}, {"a": Record("x")}, "dict became Record x @ a"),
        ({1: 0}, {True: 0}, "the keys"),
        ({"a": 0, "b": 1}, {"b": 1, "a": 0}, "the keys"),
        ({"a": 0}, {}, "the keys"),
        ([1, 2], [1], "the keys"),
        (LazyArray.from_numpy(np.int32([1])), LazyArray.from_numpy(np.uint32([1])), "became"),
        (LazyArray.from_numpy(np.int32([1])), LazyArray.from_numpy(np.int32([2])), "became"),
        (LazyArray.from_numpy(np.int32([1])), LazyArray.from_numpy(np.int32([[1]])), "became"),
        (LazyArray.from_numpy(np.int32([1])), 1, "became"),
    ],
    ids=repr,
)
def test_differences_are_found(left: Any, right: Any, message: str) -> None:
    assert differences(left, left) == []
    assert message in "\n".join(differences(left, right))


def test_the_order_of_keys_can_be_left_out_of_account() -> None:
    assert differences({"a": 0, "b": 1}, {"b": 1, "a": 0}, ordered=False) == []
    assert differences({"a": 0, "b": 1}, {"b": 0, "a": 1}, ordered=False) != []


def test_core_does_not_import_pytest() -> None:
    code = "import ckpt_core, ckpt_core.api, sys; assert 'pytest' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
