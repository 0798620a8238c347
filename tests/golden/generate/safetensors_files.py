"""Golden safetensors files: python3.11 -m venv a && a/bin/pip install safetensors==0.8.0 torch==2.13.0 numpy==2.4.6"""

from __future__ import annotations

import json

import numpy as np
import safetensors
import safetensors.numpy
import safetensors.torch
import torch
from golden import Arr, arr, expect, target

HOW = (
    f"safetensors {safetensors.__version__}, torch {torch.__version__.split('+')[0]}, numpy {np.__version__}"
)


def tensor(made: Arr) -> torch.Tensor:
    """Return a torch tensor with the same bits."""
    if not made.data:
        return torch.empty(made.shape, dtype=getattr(torch, made.dtype))
    return (
        torch.frombuffer(bytearray(made.data), dtype=torch.uint8)
        .view(getattr(torch, made.dtype))
        .reshape(made.shape)
    )


def main() -> None:
    names = (
        "bool uint8 int8 int16 int32 int64 uint16 uint32 uint64 float16 bfloat16 float32 float64 complex64"
    )
    names += " float8_e4m3fn float8_e5m2 float8_e8m0fnu float8_e4m3fnuz float8_e5m2fnuz"
    made = {name: arr(f"safetensors/{name}", name, (2, 3)) for name in names.split()}
    made["zero_d"], made["empty"] = arr("safetensors/0", "float32", ()), Arr("float32", (0, 3), b"")
    made["layers.0.attn.weight"] = arr("safetensors/w", "float32", (3, 4))
    made["naïve/☃"] = arr("safetensors/n", "float32", (2,))
    held = {}
    for name, item in made.items():
        try:
            safetensors.torch.save({name: tensor(item)})
            held[name] = item
        except (KeyError, safetensors.SafetensorError) as error:
            print("safetensors cannot hold", name, error)
    notes = "safetensors orders tensors by its own rule: the order of keys is not expected"
    metadata = {"format": "pt", "step": "7", "text": "naïve"}
    path = target("safetensors/torch_dtypes.safetensors")
    safetensors.torch.save_file({k: tensor(v) for k, v in held.items()}, path, metadata=metadata)
    expect("safetensors/torch_dtypes.safetensors", held, how=HOW, notes=notes, metadata=metadata)
    plain = {
        k: v
        for k, v in made.items()
        if k in ("float32", "float64", "int64", "bool", "uint16", "zero_d", "empty")
    }
    safetensors.numpy.save_file(
        {k: v.numpy() for k, v in plain.items()}, target("safetensors/numpy.safetensors")
    )
    expect("safetensors/numpy.safetensors", plain, how=HOW, notes=notes)
    safetensors.numpy.save_file({}, target("safetensors/empty.safetensors"))
    expect("safetensors/empty.safetensors", {}, how=HOW)

    shards = [
        {
            f"layers.{i}.weight": arr(f"shard/{i}", "bfloat16", (3, 2)),
            f"layers.{i}.bias": arr(f"shard/b{i}", "float32", (2,)),
        }
        for i in range(3)
    ]
    folder = target("safetensors/sharded")
    folder.mkdir()
    weight_map = {}
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05}-of-00003.safetensors"
        safetensors.torch.save_file(
            {k: tensor(v) for k, v in shard.items()}, folder / file, metadata={"format": "pt"}
        )
        weight_map.update(dict.fromkeys(shard, file))
    total = sum(len(item.data) for shard in shards for item in shard.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
    everything = {key: item for shard in shards for key, item in shard.items()}
    expect(
        "safetensors/sharded",
        everything,
        how=HOW + "; index as the Hugging Face libraries write it",
        notes=notes,
    )


main()
