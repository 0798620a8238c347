"""Golden files of old torch releases: the legacy stream of 1.0 and the first zip files of 1.6.

python3.7 -m venv a && a/bin/pip install torch==1.0.0 numpy==1.16.6 && a/bin/python torch_old.py
python3.8 -m venv b && b/bin/pip install torch==1.6.0 numpy==1.18.5 && b/bin/python torch_old.py
"""

from __future__ import annotations

import argparse
import collections

import numpy as np
import torch
from golden import arr, expect, target
from torch_tree import neutral

VERSION = ".".join(torch.__version__.split("+")[0].split(".")[:2])
KIND = "zip" if VERSION == "1.6" else "legacy"
HOW = f"torch {torch.__version__}, numpy {np.__version__}"


# The legacy format keeps the source text and its path for each module class; a short stand-in is enough here.
torch.serialization.inspect = argparse.Namespace(
    getsource=lambda cls: f"class {cls.__name__}: ...\n",
    getsourcefile=lambda cls: cls.__module__.replace(".", "/") + ".py",
)


def tensor(seed, dtype="float32", shape=(3, 4)):
    """Return a tensor of seeded bits."""
    made = arr(f"torch{VERSION}/{seed}", dtype, shape)
    if dtype == "bfloat16":
        wide = torch.from_numpy((made.raw().astype("<u4") << 16).view("<f4").reshape(made.shape))
        return wide.to(torch.bfloat16)
    if dtype in ("int8", "int16"):  # torch 1.0 takes neither from numpy
        return torch.tensor(made.numpy().reshape(-1).tolist(), dtype=getattr(torch, dtype)).reshape(
            made.shape
        )
    return torch.from_numpy(made.numpy())


def save(name, value, **more):
    """Save one file and its expectation."""
    path = target(f"torch/{KIND}_{VERSION}_{name}.pt")
    expected = neutral(value)
    torch.save(value, str(path))
    expect(f"torch/{path.name}", expected, how=HOW, **more)


def dtypes():
    names = ["uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"]
    if VERSION == "1.6":
        names += ["bool", "bfloat16", "complex64", "complex128"]
    state = collections.OrderedDict((name, tensor("dtypes", name)) for name in names)
    state["zero_d"] = tensor("zero_d", "float32", ())
    state["empty"] = tensor("empty", "float32", (0, 3))
    save("dtypes", state)


def views():
    base = tensor("base", "float32", (4, 6))
    state = collections.OrderedDict(
        base=base,
        tied=base,
        same=base[:],
        transposed=base.t(),
        row=base[2],
        column=base[:, 1],
        steps=base[::2, 1::3],
        expanded=tensor("one", "int16", (1, 3)).expand(4, 3),
        parameter=torch.nn.Parameter(tensor("parameter", "float64", (2, 2))),
    )
    save(
        "views",
        state,
        tied=[[["base"], ["tied"], ["same"]]],
        overlapping=[[["base"], ["transposed"], ["row"], ["column"], ["steps"]]],
    )


def model():
    made = torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2, bias=False)
    )
    for name, value in [*made.named_parameters(), *made.named_buffers()]:
        dtype = "int64" if value.dtype == torch.int64 else "float32"
        value.data.copy_(tensor(name, dtype, tuple(value.shape)))
    return made


def training():
    made = model()
    optimizer = torch.optim.Adam(made.parameters(), lr=1e-3)
    for index, parameter in enumerate(made.parameters()):
        shape = tuple(parameter.shape)
        optimizer.state[parameter] = {
            "step": 7,
            "exp_avg": tensor(f"mu{index}", shape=shape),
            "exp_avg_sq": tensor(f"nu{index}", shape=shape),
        }
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 10)
    state = optimizer.state_dict()
    if VERSION == "1.0":  # keys are the ids of live objects: made the same on every run
        ids = [key for group in state["param_groups"] for key in group["params"]]
        names = {key: 140000000000000 + 8 * i for i, key in enumerate(ids)}
        state["state"] = {names[key]: value for key, value in state["state"].items()}
        state["param_groups"][0]["params"] = [names[key] for key in ids]
    save(
        "training",
        {
            "epoch": 5,
            "model_state_dict": made.state_dict(),
            "optimizer_state_dict": state,
            "scheduler_state_dict": scheduler.state_dict(),
            "loss": np.float64(0.125),
            "best_acc": np.float32(0.75),
            "history": [0.5, 0.25, (1, None, True)],
            "args": argparse.Namespace(lr=1e-3, arch="mlp", hidden=[4, 2], resume=None),
            "rng": np.arange(6, dtype="<u4"),
        },
    )


def script():
    class Net(torch.jit.ScriptModule if VERSION == "1.0" else torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(tensor("script/weight", "float32", (2, 3)))
            self.register_buffer("count", tensor("script/count", "int64", (2,)))
            if VERSION != "1.0":
                self.inner = torch.nn.Linear(3, 2)
                self.inner.weight.data.copy_(tensor("script/inner.weight", "float32", (2, 3)))
                self.inner.bias.data.copy_(tensor("script/inner.bias", "float32", (2,)))

        def forward(self, x):
            return x

    net = Net()
    expected = {name: neutral(value) for name, value in net.state_dict().items()}
    path = target(f"torch/torchscript_{VERSION}.pt")
    torch.jit.save(net if VERSION == "1.0" else torch.jit.script(net), str(path))
    expect(
        f"torch/{path.name}",
        expected,
        how=HOW,
        view="state_dict",
        notes="view state_dict: paths are the dotted names of torch's own state_dict, not those of the container; "
        "1.0 wrote model.json and tensors/, which torch 2.13 itself refuses",
    )


for make in (dtypes, views, training, script):
    make()
save("module", model())
save("tensor", tensor("bare", "float64", (2, 3)))
if VERSION == "1.6":
    KIND = "legacy"
    made = collections.OrderedDict(
        weight=tensor("legacy/weight", "bfloat16"), bias=tensor("legacy/bias", "bool", (3,))
    )
    path = target("torch/legacy_1.6_state.pt")
    torch.save(made, str(path), _use_new_zipfile_serialization=False)
    expect("torch/legacy_1.6_state.pt", neutral(made), how=HOW)
