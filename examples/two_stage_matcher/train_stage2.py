"""Stage two: begin both branches of the matcher with stage one's transformer, and train on.

python train_stage2.py --pretrained_ckpt out/stage1_final.pkl --out out
"""

from __future__ import annotations

import argparse
import pickle
from pathlib import Path
from typing import Any

import jax
import numpy as np
from models import Matcher, fit, pairs

from ckpt_core import add_transfer_arguments

CONFIG: dict[str, Any] = {"train": {"pretrained_ckpt": None}}


def main(argv: list[str] | None = None) -> Path:
    """Train, and return the path of the final checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out"))
    pretrained = add_transfer_arguments(parser, key="train.pretrained_ckpt")
    args = parser.parse_args(argv)

    a, b = pairs(1)
    model = Matcher()
    initial = jax.device_get(model.init(jax.random.key(1), a, b)["params"])
    params = pretrained.apply(
        args,
        initial,
        config=CONFIG,
        select=["loftr_transformer/**", "siamese_transformer/**"],
        into=["transformer_global", "transformer_local"],
    ).load()
    same = all(map(np.array_equal, jax.tree.leaves(params["head"]), jax.tree.leaves(initial["head"])))
    print(f"the head has {'its initial values, to the bit' if same else 'CHANGED'}")

    wanted = jax.numpy.eye(a.shape[1])
    params = fit(lambda p: ((model.apply({"params": p}, a, b) - wanted) ** 2).mean(), params)
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / "stage2_final.pkl"
    path.write_bytes(pickle.dumps({"params": jax.device_get(params), "step": 20}))
    print(f"stage two: saved {path.name}")
    return path


if __name__ == "__main__":
    main()
