"""Moves that really fail: a device of torch without room, and devices of jax in a process without memory.

Each runs in a process of its own: devices cannot be taken back once they are there.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest
import torch

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the limits of a process are Linux's")

TORCH = """
    import sys, torch
    from torch.utils.backend_registration import _setup_privateuseone_for_python_backend
    from ckpt_core import restore
    from ckpt_core.errors import DeviceMemoryError

    # A device in Python, as torch's own tests make one, on which nothing but an empty tensor has room.
    _setup_privateuseone_for_python_backend("tiny")
    library = torch.library.Library("aten", "IMPL")

    class Tiny(torch.Tensor):
        @staticmethod
        def __new__(cls, size, dtype):
            return torch.Tensor._make_wrapper_subclass(cls, size, dtype=dtype, device="tiny:0")

        @classmethod
        def __torch_dispatch__(cls, function, kinds, args=(), kwargs=None):
            raise NotImplementedError(str(function))

    def allocated(size, *_, dtype=None, **__):
        if torch.Size(size).numel():
            raise torch.OutOfMemoryError("tiny out of memory. Tried to allocate more than nothing")
        return Tiny(size, dtype or torch.float32)

    library.impl("empty.memory_format", allocated, "PrivateUse1")
    library.impl("empty_strided", allocated, "PrivateUse1")

    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    try:
        restore(sys.argv[1], model, optimizer, device="tiny")
    except DeviceMemoryError as error:
        print(error)
    same = all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    print("as it was:", same, {str(value.device) for value in model.state_dict().values()}, optimizer.param_groups[0]["lr"])
"""

JAX = """
    import os, resource, sys
    os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"
    import jax, jax.numpy as jnp, numpy as np
    from jax.sharding import Mesh, NamedSharding, PartitionSpec
    from ckpt_core import restore, save_checkpoint
    from ckpt_core.errors import DeviceMemoryError, UsageError

    mesh = Mesh(np.array(jax.devices()), ("x",))
    split, whole = NamedSharding(mesh, PartitionSpec("x")), NamedSharding(mesh, PartitionSpec())
    shapes = {"params": {"w": (32 << 20,), "b": (7,), "s": ()}}
    arrays = jax.tree.map(lambda shape: np.ones(shape, np.float32), shapes, is_leaf=lambda x: isinstance(x, tuple))
    save_checkpoint(sys.argv[1], arrays)
    like = jax.tree.map(lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype), arrays)
    model = restore(sys.argv[1], like, sharding={"params": {"w": split, "b": whole, "s": whole}}).model
    print({name: len(leaf.sharding.device_set) for name, leaf in model["params"].items()})
    try:
        restore(sys.argv[1], like, sharding=split)
    except UsageError as error:
        print(error)
    del arrays, model
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (400 << 20), -1))
    try:
        restore(sys.argv[1], like, sharding=whole)
    except DeviceMemoryError as error:
        print(error)
"""


def said(script: str, *arguments: str) -> str:
    command = [sys.executable, "-c", textwrap.dedent(script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_torch_device_without_room(tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "a.pth")
    nbytes = sum(value.nbytes for value in model.state_dict().values())
    assert said(TORCH, str(tmp_path / "a.pth")) == (
        f"the model needs {nbytes} bytes ({nbytes} B) on tiny: tiny out of memory. Tried to allocate more than nothing\n"
        '  It was left as it was. device="cpu" needs none there.\n'
        "as it was: True {'cpu'} 0.5\n"
    )


def test_jax_shardings_that_do_not_fit_and_devices_without_room(tmp_path):
    text = said(JAX, str(tmp_path / "a.msgpack"))
    assert "{'b': 4, 's': 4, 'w': 4}" in text
    assert "the sharding does not fit 2 of the 3 arrays" in text
    assert (
        "params/b [7] by PartitionSpec('x',): array axis 0 is partitioned 4 times, but the dimension size is 7"
        in (text.replace("P('x',)", "PartitionSpec('x',)"))
    )
    assert "params/s [] by" in text and "it has fewer dimensions" in text
    assert "the model needs 536,871,040 bytes (537 MB) there: RESOURCE_EXHAUSTED: Out of memory" in text
