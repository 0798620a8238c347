"""The session that the README shows: packed attention, tied embeddings and scanned layers, there and back.

python session.py --out out
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import torch
from flax_gpt import GPT, gpt
from torch_gpt import LENGTH, WORDS, random_gpt

from ckpt_core import open_checkpoint, restore, transfer, verify_transfer

HERE = Path(__file__).parent


def ckpt(line: str, folder: Path, expected: int = 0) -> None:
    """Run one command as a person would, and show it."""
    print(f"\n$ ckpt {line}", flush=True)
    command = [sys.executable, "-m", "ckpt_core.cli", *shlex.split(line)]
    done = subprocess.run(command, cwd=folder, check=False, stderr=subprocess.STDOUT)
    assert done.returncode == expected, done.returncode


def torch_layers(model: Any, tokens: np.ndarray) -> dict[str, Any]:
    """Run the torch model, and return what each block gives, and the logits."""
    seen: dict[str, Any] = {}
    for i, block in enumerate(model.h):
        block.register_forward_hook(lambda *call, i=i: seen.update({f"block {i}": call[2]}))
    logits = model(torch.from_numpy(tokens))
    return {**seen, "logits": logits}


def flax_layers(variables: Any, tokens: np.ndarray) -> dict[str, Any]:
    """Run the linen model, and return the same."""
    logits, state = GPT().apply(variables, tokens, capture_intermediates=True, mutable="intermediates")
    blocks = state["intermediates"]["layers"]["__call__"][0][0]
    return {**{f"block {i}": block for i, block in enumerate(blocks)}, "logits": logits}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE / "out")
    out = parser.parse_args().out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    for name in ("flax_gpt.py", "rules.toml"):
        (out / name).write_bytes((HERE / name).read_bytes())
    model = random_gpt()
    torch.save(model.state_dict(), out / "gpt.pth")

    ckpt("transfer gpt.pth --like flax_gpt:gpt --rules rules.toml --plan-only --save-plan plan.toml", out)
    ckpt("transfer gpt.pth --like flax_gpt:gpt --rules plan.toml --to flax --out gpt_flax --force", out)

    variables = restore(out / "gpt_flax", gpt()).model
    tokens = np.random.default_rng(0).integers(0, WORDS, (2, LENGTH))
    agreement = verify_transfer(
        lambda x: torch_layers(model, x), lambda x: flax_layers(variables, x), [tokens], rtol=1e-4, atol=1e-4
    )
    print(
        f"\nthe outputs of both models: {', '.join(row.name for row in agreement.differences if row.agrees)} agree"
    )
    assert agreement, str(agreement)

    swapped = jax.tree.map(np.array, jax.device_get(variables))
    attention = swapped["params"]["layers"]["attn"]
    attention["query"], attention["key"] = attention["key"], attention["query"]
    parted = verify_transfer(lambda x: torch_layers(model, x), lambda x: flax_layers(swapped, x), [tokens])
    print(f"with queries and keys swapped they part at: {parted.first_apart}")

    with transfer(out / "gpt_flax", model, rules=out / "plan.toml", reverse=True) as back:
        back.save(out / "back.pth", force=True)
    ckpt("diff gpt.pth back.pth", out)
    with open_checkpoint(out / "back.pth") as opened:
        print(f"tied, as they were: {' and '.join(opened.ties[0])}")


if __name__ == "__main__":
    main()
