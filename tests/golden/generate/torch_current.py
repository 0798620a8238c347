"""Golden files of torch 2.13: zip, legacy stream, TorchScript, and the tar that torch wrote before 0.1.10.

python3.11 -m venv a && a/bin/pip install torch==2.13.0 numpy==2.4.6 ml_dtypes==0.6.0 omegaconf==2.4.0
a/bin/python torch_current.py
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import datetime
import gzip
import io
import pathlib
import pickle
import struct
import tarfile
import warnings
import zipfile

import numpy as np
import omegaconf
import torch
from golden import Arr, Opaque, Rec, arr, expect, itemsize, of, target
from omegaconf import OmegaConf
from torch.utils.serialization import config
from torch_tree import neutral, tensor_arr

HOW = f"torch {torch.__version__.split('+')[0]}, numpy {np.__version__}, omegaconf {omegaconf.__version__}"
warnings.simplefilter("ignore")

# The legacy format keeps the source text and its path for each module class; a short stand-in is enough here.
torch.serialization.get_source_lines_and_file = lambda cls: (
    [f"class {cls.__name__}: ...\n"],
    0,
    cls.__module__.replace(".", "/") + ".py",
)


@dataclasses.dataclass
class RunConfig:
    """A config class that lives in the training script."""

    lr: float = 1e-3
    layers: int = 2
    name: str = "run"
    betas: tuple = (0.9, 0.999)


class Tied(torch.nn.Module):
    """A module class of the training script, with tied weights, a nested module and a plain attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(5, 3)
        self.head = torch.nn.Linear(3, 5, bias=False)
        self.head.weight = self.embed.weight
        self.blocks = torch.nn.ModuleList([torch.nn.Linear(3, 3), torch.nn.LayerNorm(3)])
        self.register_buffer("scale", torch.zeros(2))
        self.register_buffer("scratch", torch.zeros(2), persistent=False)
        self.hidden = 3


def tensor(seed: str, dtype: str = "float32", shape: tuple[int, ...] = (3, 4)) -> torch.Tensor:
    """Return a tensor of seeded bits; its storage is exactly as long as it must be."""
    made = arr(f"torch2.13/{seed}", dtype, shape)
    if not made.data:
        return torch.empty(shape, dtype=getattr(torch, dtype))
    flat = torch.frombuffer(bytearray(made.data), dtype=torch.uint8).clone()
    return flat.view(getattr(torch, dtype)).reshape(shape)


def fill(module: torch.nn.Module) -> torch.nn.Module:
    """Fill parameters and buffers with seeded bits."""
    for name, value in [*module.named_parameters(), *module.named_buffers()]:
        value.data.copy_(tensor(name, str(value.dtype)[6:], tuple(value.shape)))
    return module


def write(
    name: str, value: object, expected: object = None, *, notes: str = "", more: dict | None = None, **options
) -> None:
    """Save one file and its expectation."""
    path = target(f"torch/{name}")
    tree = neutral(value) if expected is None else expected
    torch.save(value, str(path), **options)
    expect(f"torch/{name}", tree, how=HOW, notes=notes, **(more or {}))


def dtypes() -> dict[str, torch.Tensor]:
    names = "bool uint8 int8 int16 int32 int64 uint16 uint32 uint64 float16 bfloat16 float32 float64 complex64 complex128"
    names += " float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz float8_e8m0fnu"
    state = collections.OrderedDict((name, tensor("dtypes", name)) for name in names.split())
    state["zero_d"] = tensor("zero_d", "float32", ())
    state["zero_d_bf16"] = tensor("zero_d", "bfloat16", ())
    state["empty"] = tensor("empty", "float32", (0, 3))
    state["empty_fp8"] = tensor("empty", "float8_e5m2", (0,))
    return state


# The dtypes that torch saves over an UntypedStorage.
UNTYPED = (
    torch.uint16,
    torch.uint32,
    torch.uint64,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
    torch.float8_e4m3fnuz,
    torch.float8_e5m2fnuz,
    torch.float8_e8m0fnu,
)

VIEW_FACTS = {
    "tied": [[["base"], ["tied"], ["same"]]],
    "overlapping": [[["base"], ["transposed"], ["row"], ["column"], ["steps"]]],
}


def views() -> dict[str, torch.Tensor]:
    base, wave = tensor("base", "float32", (4, 6)), tensor("wave", "complex64", (2, 3))
    return collections.OrderedDict(
        base=base,
        tied=base,
        same=base[:],
        transposed=base.t(),
        row=base[2],
        column=base[:, 1],
        steps=base[::2, 1::3],
        expanded=tensor("one", "int16", (1, 3)).expand(4, 3),
        broadcast=tensor("scalar", "bfloat16", ()).expand(2, 2),
        channels_last=tensor("image", "float16", (1, 2, 3, 2)).contiguous(memory_format=torch.channels_last),
        complex=wave,
        conj=wave.conj(),
        conj_row=wave.conj()[1],
        neg=tensor("wave2", "complex64", (2, 3)).conj().imag,
        conj_neg=torch._neg_view(tensor("wave3", "complex128", (2,)).conj()),
        parameter=torch.nn.Parameter(tensor("parameter", "float64", (2, 2))),
        buffer=torch.nn.Buffer(tensor("buffer", "float64", (2,))),
    )


def training() -> tuple[dict, dict]:
    model = fill(
        torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2, bias=False))
    )
    optimizer = torch.optim.AdamW(
        [
            {"params": list(model[0].parameters()), "weight_decay": 0.1},
            {"params": [*model[1].parameters(), model[2].weight]},
        ],
        lr=1e-3,
    )
    for index, parameter in enumerate(model.parameters()):
        shape = tuple(parameter.shape)
        optimizer.state[parameter] = {
            "step": torch.tensor(7.0),
            "exp_avg": tensor(f"mu{index}", shape=shape),
            "exp_avg_sq": tensor(f"nu{index}", shape=shape),
        }
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    conf = OmegaConf.create({"model": {"hidden": 4, "act": "relu"}, "lrs": [0.1, 0.2], "none": None})
    value = {
        "epoch": 5,
        "global_step": 4120,
        "model_state_dict": model.state_dict(),
        "optimizer_state_dict": optimizer.state_dict(),
        "scheduler_state_dict": scheduler.state_dict(),
        "scaler": {"scale": 65536.0, "growth_factor": 2.0, "_growth_tracker": 3},
        "rng_state": tensor("rng", "uint8", (16,)),
        "loss": np.float64(0.125),
        "best_acc": np.float32(0.75),
        "count": np.int64(9),
        "flag": np.bool_(True),
        "array": np.arange(6, dtype=">i4").reshape(2, 3),
        "history": [0.5, float("inf"), (1, None, True)],
        "args": argparse.Namespace(lr=1e-3, arch="mlp", hidden=[4, 2], resume=None),
        "run_config": RunConfig(),
        "out_dir": pathlib.PurePosixPath("runs/exp1"),
        "when": datetime.datetime(2026, 11, 21, 8, 30, 0, 5),  # noqa: DTZ001  # a naive one is meant
        "classes": {7: "seven", (1, 2): "pair", None: "none", 2.5: "half"},
        "set": {3},
        "big": 1 << 80,
        "text": "naïve ☃",
        "raw": b"\x00\xff",
        "complex": 1 - 2j,
        "dtype": torch.bfloat16,
        "size": torch.Size([2, 3]),
        "device": torch.device("cpu"),
        "cfg": conf,
    }
    omitted = ("dtype", "size", "device", "cfg", "out_dir", "when", "set", "array")
    tree = {key: neutral(child) for key, child in value.items() if key not in omitted}
    tree["array"] = of(value["array"])
    expected = {key: tree.get(key, Opaque(None, [])) for key in value}
    return value, expected


def specials() -> None:
    indices, values = torch.tensor([[0, 2], [1, 0]]), tensor("sparse", "float32", (2,))
    per_tensor = torch.quantize_per_tensor(torch.tensor([[-1.0, 0.5], [0.25, 2.0]]), 0.25, 10, torch.quint8)
    per_channel = torch.quantize_per_channel(
        torch.tensor([[-1.0, 0.5], [0.25, 2.0]]),
        torch.tensor([0.1, 0.5]).double(),
        torch.tensor([1, 2]),
        0,
        torch.qint8,
    )
    csr = torch.sparse_csr_tensor(
        torch.tensor([0, 1, 2]), torch.tensor([1, 0]), tensor("csr", "float64", (2,)), (2, 3)
    )
    value = {
        "weight": tensor("beside", "float32", (2, 2)),
        "coo": torch.sparse_coo_tensor(indices, values, (3, 2)),
        "csr": csr,
        "quantized": per_tensor,
        "per_channel": per_channel,
        "nested": torch.nested.nested_tensor(
            [tensor("n0", "float32", (2, 3)), tensor("n1", "float32", (1, 3))]
        ),
        "storage": tensor("storage", "float32", (3,)).untyped_storage(),
        "meta": torch.empty(2, 3, device="meta"),
    }

    def quantized(made: torch.Tensor) -> Arr:
        return Arr(
            "uint8" if made.dtype == torch.quint8 else "int8", made.shape, made.int_repr().numpy().tobytes()
        )

    expected = {
        "weight": neutral(value["weight"]),
        "coo": Opaque("torch._utils._rebuild_sparse_tensor", [tensor_arr(indices), tensor_arr(values)]),
        "csr": Opaque(
            "torch._utils._rebuild_sparse_tensor",
            [tensor_arr(csr.crow_indices()), tensor_arr(csr.col_indices()), tensor_arr(csr.values())],
        ),
        "quantized": Opaque("torch._utils._rebuild_qtensor", [quantized(per_tensor)]),
        "per_channel": Opaque("torch._utils._rebuild_qtensor", [quantized(per_channel)]),
        "nested": Opaque("torch._utils._rebuild_nested_tensor", [tensor_arr(value["nested"].values())]),
        "storage": Opaque(None, []),
        "meta": Opaque(None, []),
    }
    notes = (
        "inner representations (int_repr, indices, values); the paths below each object are the reader's own"
    )
    write("zip_2.13_special.pt", value, expected, notes=notes)


def script() -> None:
    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = torch.nn.ModuleList([torch.nn.Linear(3, 2), torch.nn.Linear(2, 2)])
            self.register_buffer("count", torch.zeros(2, dtype=torch.int64))
            self.head = self.layers[1]

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for layer in self.layers:
                x = layer(x)
            return self.head(x) + self.count.sum()

    net = fill(Net())
    view = {name: neutral(value) for name, value in net.state_dict().items()}
    for name, made in (
        ("torchscript_2.13.pt", torch.jit.script(net)),
        ("torchscript_2.13_traced.pt", torch.jit.trace(net, torch.zeros(1, 3))),
    ):
        torch.jit.save(made, str(target(f"torch/{name}")), _extra_files={"config.json": '{"lr": 0.1}'})
        expect(
            f"torch/{name}",
            view,
            how=HOW,
            view="state_dict",
            notes="view state_dict: paths are the dotted names of torch's own state_dict, not those of the container",
        )


def big_endian() -> None:
    """Write what torch writes on a big-endian machine: swapped storages and the member `byteorder`."""
    names = ["int16", "float32", "float64", "bfloat16", "complex64", "int8"]
    value = {name: tensor("big", name, (2, 3)) for name in names}
    plain = io.BytesIO()
    torch.save(value, plain)
    path = target("torch/zip_big_endian.pt")
    order = {str(index): 4 if name == "complex64" else itemsize(name) for index, name in enumerate(names)}
    with zipfile.ZipFile(plain) as old, zipfile.ZipFile(path, "w") as new:
        for info in old.infolist():
            data, member = old.read(info), info.filename.split("/", 1)[1]
            if member == "byteorder":
                data = b"big"
            if member.startswith("data/"):
                data = np.frombuffer(data, f"u{order[member[5:]]}").byteswap().tobytes()
            new.writestr(zipfile.ZipInfo(info.filename, (1980, 1, 1, 0, 0, 0)), data)
    loaded = torch.load(path, weights_only=True)
    assert all(neutral(loaded[n]).data == neutral(value[n]).data for n in names)
    expect(
        "torch/zip_big_endian.pt",
        neutral(value),
        how=HOW + "; storages swapped by hand, torch.load reads it so",
    )


TAR_STORAGES = {
    "float32": torch.FloatStorage,
    "int64": torch.LongStorage,
    "uint8": torch.ByteStorage,
    "float64": torch.DoubleStorage,
}
TAR_TENSORS = {
    "float32": torch.FloatTensor,
    "int64": torch.LongTensor,
    "uint8": torch.ByteTensor,
    "float64": torch.DoubleTensor,
}


class _TarPickler(pickle.Pickler):
    """Pickles tensors by id and module classes with their source, as torch did before 0.1.10."""

    def __init__(self, file: io.BytesIO, keys: dict[int, int]) -> None:
        super().__init__(file, protocol=2)
        self.keys = keys
        self.classes: set[type] = set()

    def persistent_id(self, obj: object) -> object:
        if isinstance(obj, type) and issubclass(obj, torch.nn.Module) and obj not in self.classes:
            self.classes.add(obj)
            return (obj, obj.__module__.replace(".", "/") + ".py", f"class {obj.__name__}: ...\n")
        return str(self.keys[id(obj)]) if id(obj) in self.keys else None


def tar(name: str, value: object, tensors: list[torch.Tensor], expected: object, **facts) -> None:
    """Write the tar format: members `storages`, `tensors` and `pickle`, as torch/serialization.py reads them."""
    roots: dict[int, tuple[str, str, bytes]] = {}
    keys, rows = {}, []
    for index, item in enumerate(tensors):
        storage, dtype = item.untyped_storage(), str(item.dtype)[6:]
        key = 94000000000000 + [*roots, storage.data_ptr()].index(storage.data_ptr()) * 64
        roots.setdefault(storage.data_ptr(), (str(key), dtype, bytes(storage.tolist())))
        keys[id(item)] = 95000000000000 + index * 64
        rows.append((keys[id(item)], roots[storage.data_ptr()][0], dtype, item))
    storages, tables, body = io.BytesIO(), io.BytesIO(), io.BytesIO()
    pickle.dump(len(roots), storages, 2)
    for key, dtype, data in roots.values():
        pickle.dump((int(key), "cpu", TAR_STORAGES[dtype]), storages, 2)
        storages.write(struct.pack("<q", len(data) // itemsize(dtype)) + data)
    pickle.dump([], storages, 2)
    pickle.dump(len(rows), tables, 2)
    for key, root, dtype, item in rows:
        pickle.dump((key, int(root), TAR_TENSORS[dtype]), tables, 2)
        dims = item.dim()
        tables.write(struct.pack("<ii", dims, 0) + struct.pack(f"<{2 * dims}q", *item.shape, *item.stride()))
        tables.write(struct.pack("<q", item.storage_offset()))
    _TarPickler(body, keys).dump(value)
    path = target(f"torch/{name}")
    with tarfile.open(path, "w:", format=tarfile.PAX_FORMAT) as out:
        out.addfile(
            _member("sys_info", data := pickle.dumps({"protocol_version": 1000, "little_endian": True}, 2)),
            io.BytesIO(data),
        )
        for member, file in (("pickle", body), ("tensors", tables), ("storages", storages)):
            out.addfile(_member(member, file.getvalue()), io.BytesIO(file.getvalue()))
    loaded = torch.load(path, weights_only=False)
    if isinstance(loaded, torch.nn.Module):
        loaded, value = loaded._modules["0"]._buffers, value._modules["0"]._buffers
    assert list(loaded) == list(value)
    for key, item in value.items():
        if isinstance(item, torch.Tensor):
            assert tensor_arr(loaded[key]).data == tensor_arr(item).data, key
    expect(
        f"torch/{name}",
        expected,
        how=f"built by hand from torch/serialization.py; torch {torch.__version__.split('+')[0]} reads it",
        **facts,
    )


def _member(name: str, data: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    return info


def tars() -> None:
    base = tensor("tar", "float32", (3, 4))
    state = collections.OrderedDict(
        weight=base,
        tied=base,
        transposed=base.t(),
        row=base[1],
        index=tensor("tar", "int64", (5,)),
        mask=tensor("tar", "uint8", (2, 2)),
        double=tensor("tar", "float64", (2,)),
        epoch=3,
    )
    unique = {id(item): item for item in state.values() if isinstance(item, torch.Tensor)}
    tar(
        "tar_state.pt",
        state,
        list(unique.values()),
        neutral(state),
        tied=[[["weight"], ["tied"]]],
        overlapping=[[["weight"], ["transposed"], ["row"]]],
    )
    plain = torch.nn.Module.__new__(torch.nn.Sequential)
    child = torch.nn.Module.__new__(torch.nn.Linear)
    for module in (plain, child):  # the attributes that modules had in 2016
        vars(module).update(
            _parameters=collections.OrderedDict(),
            _buffers=collections.OrderedDict(),
            _backward_hooks=collections.OrderedDict(),
            _forward_hooks=collections.OrderedDict(),
            _modules=collections.OrderedDict(),
            training=True,
        )
    child._buffers["running"] = tensor("tar/running", "float32", (2,))
    child._buffers["weight"] = tensor("tar/weight", "float32", (2, 3))
    plain._modules["0"] = child
    module_tree = Rec(
        "torch.nn.modules.container.Sequential", {k: neutral(v) for k, v in vars(plain).items()}
    )
    inner = Rec("torch.nn.modules.linear.Linear", {k: neutral(v) for k, v in vars(child).items()})
    module_tree.fields["_modules"] = {"0": inner}
    tar("tar_module.pt", plain, list(child._buffers.values()), module_tree)


def main() -> None:
    facts = {"more": VIEW_FACTS}
    write("zip_2.13_dtypes.pt", dtypes())
    write("zip_2.13_views.pt", views(), **facts)
    value, expected = training()
    write("zip_2.13_training.pt", value, expected)
    write("zip_2.13_protocol5.pt", value, expected, pickle_protocol=5)
    readable = {key: item for key, item in dtypes().items() if item.dtype not in UNTYPED}
    write("legacy_2.13_dtypes.pt", readable, _use_new_zipfile_serialization=False)
    untyped = {key: item for key, item in dtypes().items() if item.dtype in UNTYPED}
    write(
        "legacy_2.13_untyped.pt",
        untyped,
        notes="torch 2.13 writes this and cannot read it: a clean refusal is right too",
        more={"may_refuse": True},
        _use_new_zipfile_serialization=False,
    )
    write("legacy_2.13_views.pt", views(), **facts, _use_new_zipfile_serialization=False)
    write("legacy_2.13_training.pt", value, expected, _use_new_zipfile_serialization=False)
    model = fill(Tied())
    tied = {
        "tied": [
            [["_modules", "embed", "_parameters", "weight"], ["_modules", "head", "_parameters", "weight"]]
        ]
    }
    write("zip_2.13_module.pt", model, more=tied)
    write("legacy_2.13_module.pt", model, more=tied, _use_new_zipfile_serialization=False)
    write("zip_2.13_tensor.pt", tensor("bare", "bfloat16", (2, 3)))
    write("zip_2.13_parameter.pt", torch.nn.Parameter(tensor("bare", "float32", (2, 3))))
    write("zip_2.13_list.pt", [tensor("l0", "int32", (2,)), (tensor("l1", "float16", (2,)), {"a": 1}), []])
    specials()
    script()
    big_endian()
    tars()
    small = collections.OrderedDict(
        weight=tensor("small", "float32", (5,)), bias=tensor("small", "int8", (3,))
    )
    for name, field, setting in (
        ("alignment4096", "storage_alignment", 4096),
        ("alignment1", "storage_alignment", 1),
        ("no_crc", "compute_crc32", False),
    ):
        before = getattr(config.save, field)
        setattr(config.save, field, setting)
        write(
            f"zip_2.13_{name}.pt", small, notes=f"torch.utils.serialization.config.save.{field} = {setting}"
        )
        setattr(config.save, field, before)
    buffer = io.BytesIO()
    torch.save(small, buffer)
    for name, data in (
        ("zip_2.13_buffer.bin", buffer.getvalue()),
        ("zip_2.13.pt.gz", gzip.compress(buffer.getvalue(), mtime=0)),
    ):
        target(f"torch/{name}").write_bytes(data)
        expect(f"torch/{name}", neutral(small), how=HOW, notes="root folder `archive`, saved to a buffer")


if __name__ == "__main__":
    main()
