"""The session that the README shows: train, lose the config, infer it, and look at what was learned.

python session.py --out out
"""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from model import SlotAutoencoder, SlotConfig
from pictures import draw_features, draw_slots, learned
from train import STEPS, train

from ckpt_core import check_config, convert, open_checkpoint, resolve_config

HERE = Path(__file__).parent


def ckpt(line: str, folder: Path) -> None:
    """Run one command as a person would, and show it."""
    print(f"\n$ ckpt {line}", flush=True)
    command = [sys.executable, "-m", "ckpt_core.cli", *shlex.split(line)]
    subprocess.run(command, cwd=folder, check=True, stderr=subprocess.STDOUT)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE / "out")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    path, rules = out / "slot_attention_32.pth", out / "rules.toml"
    rules.write_bytes((HERE / "rules.toml").read_bytes())

    torch.set_num_threads(1)  # more of them would only wait for each other
    loss = train(path)
    print(f"trained {STEPS} steps, loss {loss:.4f}; saved the weights alone as {path.name}")

    print("\nToday's script builds the model with its defaults:")
    try:
        SlotAutoencoder(SlotConfig()).load_state_dict(torch.load(path))
    except RuntimeError as error:
        print(f"  {str(error).splitlines()[-1].strip()}")

    ckpt("inspect slot_attention_32.pth --depth 2", out)
    ckpt("config slot_attention_32.pth", out)
    ckpt("config slot_attention_32.pth --rules rules.toml", out)

    print("\nThe same in a script, with an override of what shapes cannot tell:")
    resolved = resolve_config(path, SlotConfig, rules=rules, overrides={"slot_iterations": 5})
    config = resolved.config
    print(f"  {config}")
    for field in dataclasses.fields(config):
        origin = resolved.provenance[field.name]
        print(f"  {field.name:<16}{origin.value:>3}  {origin.source:<9} {origin.where}")
    assert check_config(path, config, rules) is config
    SlotAutoencoder(config).load_state_dict(torch.load(path))
    print("  the model that it builds takes every weight")

    convert(path, out / "slots_orbax", to="orbax", force=True)
    pictures = {}
    for name in (path.name, "slots_orbax"):
        with open_checkpoint(out / name) as opened:
            pictures[name] = learned(opened, rules)
        stem = name.removesuffix(".pth")
        draw_slots(pictures[name], out / f"{stem}_slots.png")
        draw_features(pictures[name], out / f"{stem}_features.png")
    first, second = pictures.values()
    assert all(np.array_equal(first[key], second[key]) for key in first)
    print("\nDrawn from the .pth and from its Orbax conversion, equal to the bit:")
    for picture in sorted(out.glob("*.png")):
        print(f"  {picture.name}")
    off = np.square(first["image"] - first["reconstruction"]).mean()
    assert off < first["image"].var(), f"the reconstruction is off by {off}"


if __name__ == "__main__":
    main()
