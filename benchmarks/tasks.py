"""What is timed: one function per task, run in a process of its own by `benchmarks.run`.

    python -m benchmarks.tasks TASK FOLDER REPEATS

prints one JSON object: the seconds of each repeat, and the peak of private memory above the interpreter with
its imports, in MiB.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.data import NAMES

Task = Callable[[Path], object]


# Opening.


def ckpt_open(name: str) -> Task:
    from ckpt_core import open_checkpoint
    from ckpt_core.registry import registry

    registry()

    def task(folder: Path) -> object:
        with open_checkpoint(folder / NAMES[name]) as ckpt:
            return ckpt.tree

    return task


def torch_load(mmap: bool) -> Task:
    import torch

    return lambda folder: torch.load(folder / NAMES["torch"], mmap=mmap, weights_only=True)


def safe_open_shapes() -> Task:
    from safetensors import safe_open

    def task(folder: Path) -> object:
        with safe_open(folder / NAMES["safetensors"], "np") as file:
            return {name: file.get_slice(name).get_shape() for name in list(file.keys())}

    return task


def pickle_load() -> Task:
    def task(folder: Path) -> object:
        with open(folder / NAMES["pickle"], "rb") as file:
            return pickle.load(file)

    return task


def msgpack_restore() -> Task:
    from flax.serialization import msgpack_restore as restore

    return lambda folder: restore((folder / NAMES["msgpack"]).read_bytes())


def orbax_metadata(name: str) -> Task:
    import orbax.checkpoint as ocp

    return lambda folder: ocp.PyTreeCheckpointer().metadata((folder / NAMES[name]).absolute())


def orbax_restore(name: str) -> Task:
    import jax
    import numpy as np
    import orbax.checkpoint as ocp

    def task(folder: Path) -> object:
        path = (folder / NAMES[name]).absolute()
        checkpointer = ocp.PyTreeCheckpointer()
        tree = checkpointer.metadata(path).item_metadata.tree
        arguments = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
        return checkpointer.restore(path, restore_args=arguments)

    return task


# Converting.


def ckpt_convert(name: str, to: str, verify: bool = True) -> Task:
    from ckpt_core import convert
    from ckpt_core.registry import registry

    registry()
    if "orbax" in (name, to):
        import tensorstore  # noqa: F401  # counts among the imports
    return lambda folder: convert(folder / NAMES[name], folder / "out", to=to, verify=verify)


def torch_to_safetensors(mmap: bool) -> Task:
    import torch
    from safetensors.torch import save_file

    def task(folder: Path) -> object:
        save_file(torch.load(folder / NAMES["torch"], mmap=mmap, weights_only=True), folder / "out")
        return sync(folder / "out")

    return task


def pickle_to_safetensors() -> Task:
    from safetensors.numpy import save_file

    load = pickle_load()

    def task(folder: Path) -> object:
        save_file(flat(load(folder)), folder / "out")
        return sync(folder / "out")

    return task


def msgpack_to_safetensors() -> Task:
    from safetensors.numpy import save_file

    load = msgpack_restore()

    def task(folder: Path) -> object:
        save_file(flat(load(folder)), folder / "out")
        return sync(folder / "out")

    return task


def safetensors_to_torch() -> Task:
    import torch
    from safetensors.torch import load_file

    def task(folder: Path) -> object:
        torch.save(load_file(folder / NAMES["safetensors"]), folder / "out")
        return sync(folder / "out")

    return task


def safetensors_to_msgpack() -> Task:
    from flax.serialization import msgpack_serialize
    from safetensors.numpy import load_file

    def task(folder: Path) -> object:
        (folder / "out").write_bytes(msgpack_serialize(load_file(folder / NAMES["safetensors"])))
        return sync(folder / "out")

    return task


def safetensors_to_pickle() -> Task:
    from safetensors.numpy import load_file

    def task(folder: Path) -> object:
        with open(folder / "out", "wb") as file:
            pickle.dump(load_file(folder / NAMES["safetensors"]), file, protocol=5)
        return sync(folder / "out")

    return task


def orbax_to_safetensors(name: str) -> Task:
    from safetensors.numpy import save_file

    restore = orbax_restore(name)

    def task(folder: Path) -> object:
        save_file(flat(restore(folder)), folder / "out")
        return sync(folder / "out")

    return task


def torch_to_orbax() -> Task:
    import orbax.checkpoint as ocp
    import torch

    def task(folder: Path) -> object:
        state = torch.load(folder / NAMES["torch"], weights_only=True)
        with ocp.PyTreeCheckpointer() as checkpointer:
            checkpointer.save(
                (folder / "out").absolute(), {name: tensor.numpy() for name, tensor in state.items()}
            )
        return sync(folder / "out")

    return task


def cp_and_sync(name: str) -> Task:
    def task(folder: Path) -> object:
        subprocess.run(["cp", "-r", folder / NAMES[name], folder / "out"], check=True)
        return sync(folder / "out")

    return task


# Transferring: every matrix transposed, every leaf under its own name.


def ckpt_transfer(name: str) -> Task:
    from ckpt_core import open_checkpoint, transfer
    from ckpt_core.arrays import ArraySpec
    from ckpt_core.framework import Slot, Template
    from ckpt_core.keypath import split_name
    from ckpt_core.registry import registry
    from ckpt_core.transfer import Rule, TransferPlan
    from ckpt_core.transfer.ops import Transpose
    from ckpt_core.transfer.patterns import literal

    registry()

    def task(folder: Path) -> object:
        with open_checkpoint(folder / NAMES[name]) as ckpt:
            slots, rules = [], []
            for leaf, array in ckpt.params.leaves():
                turned = array.ndim == 2
                path = split_name(leaf)
                shape = array.shape[::-1] if turned else array.shape
                slots.append(Slot(path, ArraySpec(shape, array.dtype)))
                rules.append(Rule((literal(path),), (literal(path),), (Transpose(),) if turned else ()))
            with transfer(ckpt, Template(tuple(slots)), rules=TransferPlan(tuple(rules))) as result:
                return result.save(folder / "out", to="safetensors")

    return task


def transpose_by_hand() -> Task:
    from safetensors.torch import load_file, save_file

    def task(folder: Path) -> object:
        state = load_file(folder / NAMES["safetensors"])
        save_file({k: v.T.contiguous() if v.ndim == 2 else v for k, v in state.items()}, folder / "out")
        return sync(folder / "out")

    return task


def flat(tree: object) -> dict[str, object]:
    """Nested dicts as one flat dict, names joined by dots."""
    table: dict[str, object] = {}
    stack = [("", tree)]
    while stack:
        name, node = stack.pop()
        if isinstance(node, dict):
            stack += [(f"{name}.{key}" if name else key, child) for key, child in node.items()]
        else:
            table[name] = node
    return table


def sync(path: Path) -> None:
    """Flush a file, or every file of a directory, to disk, as `sync FILE...` does."""
    files = [path] if path.is_file() else list(path.rglob("*"))
    for file in (*files, path.parent):
        fd = os.open(file, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)


TASKS: dict[str, Callable[[], Task]] = {
    "torch.load": lambda: torch_load(False),
    "torch.load(mmap=True)": lambda: torch_load(True),
    "safe_open + shapes": safe_open_shapes,
    "pickle.load": pickle_load,
    "msgpack_restore": msgpack_restore,
    "orbax metadata": lambda: orbax_metadata("orbax"),
    "orbax restore": lambda: orbax_restore("orbax"),
    "orbax metadata (plain)": lambda: orbax_metadata("orbax_plain"),
    "torch.load + save_file": lambda: torch_to_safetensors(False),
    "torch.load(mmap=True) + save_file": lambda: torch_to_safetensors(True),
    "pickle.load + save_file": pickle_to_safetensors,
    "msgpack_restore + save_file": msgpack_to_safetensors,
    "load_file + torch.save": safetensors_to_torch,
    "load_file + msgpack_serialize": safetensors_to_msgpack,
    "load_file + pickle.dump": safetensors_to_pickle,
    "orbax restore + save_file": lambda: orbax_to_safetensors("orbax"),
    "torch.load + orbax save": torch_to_orbax,
    "ckpt transfer": lambda: ckpt_transfer("safetensors"),
    "load_file + .T.contiguous() + save_file": transpose_by_hand,
}
for _name in NAMES:
    TASKS[f"ckpt open {_name}"] = lambda name=_name: ckpt_open(name)
    TASKS[f"cp + sync {_name}"] = lambda name=_name: cp_and_sync(name)
    for _to in ("torch", "safetensors", "pickle", "msgpack", "orbax"):
        TASKS[f"ckpt {_name} -> {_to}"] = lambda name=_name, to=_to: ckpt_convert(name, to)
        TASKS[f"ckpt {_name} -> {_to}, --no-verify"] = lambda name=_name, to=_to: ckpt_convert(
            name, to, False
        )


class PrivateMemory(threading.Thread):
    """Samples the anonymous memory of this process, and keeps the highest value."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.base = self.now()
        self.peak = self.base
        self.stop = threading.Event()

    @staticmethod
    def now() -> float:
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("RssAnon")) / 1024

    def run(self) -> None:
        while not self.stop.wait(0.002):
            self.peak = max(self.peak, self.now())


def remove(path: Path) -> None:
    """Remove a file or a directory, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def main() -> None:
    name, folder, repeats = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    task = TASKS[name]()
    memory = PrivateMemory()
    memory.start()
    seconds = []
    for _ in range(repeats):
        remove(folder / "out")
        started = time.perf_counter()
        result = task(folder)
        seconds.append(time.perf_counter() - started)
        del result
    remove(folder / "out")
    memory.stop.set()
    print(json.dumps({"seconds": seconds, "mib": memory.peak - memory.base}))


if __name__ == "__main__":
    main()
