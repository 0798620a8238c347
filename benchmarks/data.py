"""The checkpoints that the benchmarks read: one of about 1.4 GB in 300 leaves, one of 100,000 leaves.

    python -m benchmarks.data FOLDER [--small]

Each is written by the format's own library, so that what is measured is a file as people have it.
"""

from __future__ import annotations

import argparse
import os
import pickle
from pathlib import Path

import numpy as np

NAMES = {
    "torch": "model.pth",
    "safetensors": "model.safetensors",
    "pickle": "model.pkl",
    "msgpack": "model.msgpack",
    "orbax": "model_orbax",
    "orbax_plain": "model_orbax_plain",
}


def big(scale: float = 1.0) -> dict[str, np.ndarray]:
    """About 1.4 GB in 300 leaves: 25 blocks of 12 float32 arrays, as a transformer has them."""
    rng = np.random.default_rng(0)
    width = int(1088 * scale**0.5)
    arrays: dict[str, np.ndarray] = {}
    for i in range(25):
        for name, shape in {
            "attn.qkv.weight": (3 * width, width),
            "attn.qkv.bias": (3 * width,),
            "attn.out.weight": (width, width),
            "attn.out.bias": (width,),
            "mlp.in.weight": (4 * width, width),
            "mlp.in.bias": (4 * width,),
            "mlp.out.weight": (width, 4 * width),
            "mlp.out.bias": (width,),
            "ln1.weight": (width,),
            "ln1.bias": (width,),
            "ln2.weight": (width,),
            "ln2.bias": (width,),
        }.items():
            arrays[f"blocks.{i}.{name}"] = rng.standard_normal(shape, dtype=np.float32)
    return arrays


def many(count: int = 100_000) -> dict[str, np.ndarray]:
    """Many leaves of 64 bytes each."""
    rng = np.random.default_rng(1)
    values = rng.standard_normal((count, 16), dtype=np.float32)
    return {f"layers.{i // 10}.experts.{i % 10}.weight": values[i].reshape(4, 4).copy() for i in range(count)}


def nested(flat: dict[str, np.ndarray]) -> dict[str, object]:
    """The same arrays nested by the parts of their names, as Flax has them."""
    tree: dict[str, object] = {}
    for name, array in flat.items():
        node = tree
        *path, last = name.split(".")
        for key in path:
            node = node.setdefault(key, {})  # type: ignore[assignment]  # dicts all the way down
        node[last] = array
    return tree


def write_all(folder: Path, flat: dict[str, np.ndarray], orbax: bool = True) -> None:
    """Write the arrays in every format, with the format's own library; files that are there stay."""
    import torch
    from flax import serialization
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / NAMES["torch"]).exists():
        torch.save({name: torch.from_numpy(array) for name, array in flat.items()}, folder / NAMES["torch"])
    if not (folder / NAMES["safetensors"]).exists():
        save_file(flat, folder / NAMES["safetensors"])
    if not (folder / NAMES["pickle"]).exists():
        with open(folder / NAMES["pickle"], "wb") as file:
            pickle.dump(nested(flat), file, protocol=5)
    if not (folder / NAMES["msgpack"]).exists():
        (folder / NAMES["msgpack"]).write_bytes(serialization.msgpack_serialize(nested(flat)))
    if orbax:
        write_orbax(folder, nested(flat))
    os.sync()


def write_orbax(folder: Path, tree: dict[str, object]) -> None:
    """Write with Orbax itself, in its default way and as plain zarr files."""
    import orbax.checkpoint as ocp

    for name, use_ocdbt in (("orbax", True), ("orbax_plain", False)):
        path = folder / NAMES[name]
        if not path.exists() and (use_ocdbt or len(str(tree)) < 10_000_000):
            with ocp.Checkpointer(ocp.PyTreeCheckpointHandler(use_ocdbt=use_ocdbt)) as checkpointer:
                checkpointer.save(path.absolute(), tree)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--small", action="store_true", help="a hundredth of the size, to try the scripts")
    arguments = parser.parse_args()
    write_all(arguments.folder / "big", big(0.01 if arguments.small else 1.0))
    write_all(arguments.folder / "many", many(1000 if arguments.small else 100_000))


if __name__ == "__main__":
    main()
