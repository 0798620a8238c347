"""Stage one: train the siamese transformer, and pickle its parameters.

python train_stage1.py --out out
"""

from __future__ import annotations

import argparse
import pickle
from pathlib import Path

import jax
from models import Siamese, fit, pairs


def main(argv: list[str] | None = None) -> Path:
    """Train, and return the path of the final checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out"))
    args = parser.parse_args(argv)
    a, b = pairs(0)
    model = Siamese()
    params = model.init(jax.random.key(0), a, b)["params"]
    params = fit(lambda p: ((model.apply({"params": p}, a, b) - 1) ** 2).mean(), params)
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / "stage1_final.pkl"
    path.write_bytes(pickle.dumps({"params": jax.device_get(params), "step": 20}))
    print(f"stage one: saved {path.name}")
    return path


if __name__ == "__main__":
    main()
