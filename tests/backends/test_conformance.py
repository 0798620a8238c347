"""Every backend of this project, and the example from outside, against the public conformance suite."""

from __future__ import annotations

import importlib
import pickle
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ckpt_safetensors.header import CODES

from ckpt_core.backend import Backend
from ckpt_core.dtypes import to_numpy
from ckpt_core.testing import BackendTests

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
