"""The session that the README shows: torch to linen and NNX, the same outputs, and back to the same bits.

python session.py --out out
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import flax_nets
import numpy as np
import torch
from train import DigitNet, digits, train

from ckpt_core import hash_weights, open_checkpoint, plan_transfer, restore, settle_by_forward, transfer
from ckpt_core.transfer import rule_toml, write_plan

HERE = Path(__file__).parent


def ckpt(line: str, folder: Path, expected: int = 0) -> None:
    """Run one command as a person would, and show it."""
    print(f"\n$ ckpt {line}", flush=True)
    command = [sys.executable, "-m", "ckpt_core.cli", *shlex.split(line)]
    done = subprocess.run(command, cwd=folder, check=False, stderr=subprocess.STDOUT)
    assert done.returncode == expected, done.returncode


def right(logits: Any) -> int:
    """How many of the 400 held-out digits are told."""
    return int((np.asarray(logits).argmax(1) == digits()[3]).sum())


def settle(model: DigitNet, path: Path, images: np.ndarray, plan_path: Path) -> None:
    """Find the plan for linen, settle by outputs what names and shapes do not, and save it."""
    like = flax_nets.linen()
    plan = plan_transfer(path, like)
    settled = settle_by_forward(
        plan,
        lambda x: model(torch.from_numpy(x)),
        lambda tree, x: flax_nets.LinenNet().apply(tree, x.transpose(0, 2, 3, 1)),
        [images[:16]],
        source=path,
        like=like,
    )
    print(f"\nsettled by outputs: {settled.text}")
    print(rule_toml(settled.plan.rules[-1]))
    write_plan(settled.plan, plan_path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE / "out")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    for name in ("flax_nets.py", "nnx_rule.toml"):
        (out / name).write_bytes((HERE / name).read_bytes())
    path, images = out / "digits.pth", digits()[2]
    model = train(path)
    with torch.no_grad():
        expected = model(torch.from_numpy(images)).numpy()
    print(f"torch: {right(expected)} of {len(images)} right")

    ckpt("transfer digits.pth --like flax_nets:linen --plan-only", out, expected=1)
    settle(model, path, images, out / "plan.toml")
    ckpt(
        "transfer digits.pth --like flax_nets:linen --rules plan.toml --to flax --out digits_linen --force",
        out,
    )

    linen = restore(out / "digits_linen", flax_nets.linen()).model
    logits = np.asarray(flax_nets.LinenNet().apply(linen, images.transpose(0, 2, 3, 1)))
    assert np.allclose(logits, expected, rtol=1e-4, atol=1e-4)
    print(f"linen: {right(logits)} of {len(images)} right, the same logits within 1e-4")

    net = flax_nets.nnx_net()
    result = transfer(path, net, rules=out / "nnx_rule.toml")
    restore(result.checkpoint, net)
    logits = np.asarray(net(images.transpose(0, 2, 3, 1)))
    assert np.allclose(logits, expected, rtol=1e-4, atol=1e-4)
    print(f"NNX:   {right(logits)} of {len(images)} right, the same logits within 1e-4")

    ckpt("inspect digits.pth --template digits.json", out)
    ckpt("transfer digits_linen --like digits.json --rules plan.toml --reverse --out back.pth --force", out)
    with open_checkpoint(path) as before, open_checkpoint(out / "back.pth") as after:
        learned = [name for name, _ in before.params.leaves()]
        same = all(
            before.params[name].read().tobytes() == after.params[name].read().tobytes() for name in learned
        )
    print(
        f"back in torch: {len(learned)} learned arrays, {'all of them the same to the bit' if same else 'CHANGED'}"
    )
    assert same
    back = transfer(net, DigitNet(), rules=result.plan, reverse=True)
    assert hash_weights(back.checkpoint) == hash_weights(open_checkpoint(out / "back.pth"))


if __name__ == "__main__":
    main()
