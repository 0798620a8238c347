"""The session that the README shows: a run trained with another sample size, found out before the first forward pass.

python session.py --out out
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
import sys
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
from flax.errors import ScopeParamShapeError
from images import draw_sets
from model import SetDenoiser
from train import STEPS, denoising_loss, train

from ckpt_core import check_config, open_checkpoint, resolve_config
from ckpt_core.config import ConfigWarning
from ckpt_core.errors import ConfigConflictError, DataConflictError

HERE = Path(__file__).parent


@dataclass(frozen=True)
class DenoiserConfig:
    """The fields of `SetDenoiser`; today's values stand in constants.py."""

    patch_size: int
    sample_size: int
    channels: int
    width: int
    depth: int
    heads: int


def ckpt(line: str, folder: Path, exit_code: int = 0) -> None:
    """Run one command as a person would, and show it."""
    print(f"\n$ ckpt {line}", flush=True)
    command = [sys.executable, "-m", "ckpt_core.cli", *shlex.split(line)]
    done = subprocess.run(command, cwd=folder, check=False, stderr=subprocess.STDOUT)
    assert done.returncode == exit_code


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE / "out")
    out = parser.parse_args().out.absolute()
    shutil.rmtree(out / "run", ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    rules, constants = (Path(shutil.copy(HERE / name, out)) for name in ("rules.toml", "constants.py"))
    run = out / "run" / str(STEPS)

    trained = {"patch_size": 2, "sample_size": 6, "channels": 3, "width": 32, "depth": 2, "heads": 4}
    loss = train(out / "run", image_size=8, **trained)
    steps = ", ".join(sorted((path.name for path in run.parent.glob("*0")), key=int))
    print(f"trained {STEPS} steps, loss {loss:.3f}; Orbax saved steps {steps}")

    # What a script without a check runs into, in the middle of its first forward pass.
    with open_checkpoint(run) as opened:
        params = opened.params.load()
    print("\nToday's constants, a forward pass later:")
    wrong = SetDenoiser(2, 5, 3, 32, 2, 4)
    try:
        wrong.apply({"params": params}, jnp.asarray(draw_sets(1, 5, 8, seed=1)), jnp.ones(1))
    except ScopeParamShapeError as error:
        print(f"  ScopeParamShapeError: {str(error).split('. (')[0]}")

    # The same, before anything is built.
    ckpt(f"config run/{STEPS} --rules rules.toml --defaults constants.py", out, exit_code=1)
    print("\nIn a script:")
    try:
        resolve_config(run, DenoiserConfig, rules=rules, defaults=constants)
    except ConfigConflictError as error:
        print(f"  {error.reason}")
        print(f"  error.corrected = {error.corrected}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConfigWarning)
        config = resolve_config(
            run, DenoiserConfig, rules=rules, defaults=constants, on_conflict="correct"
        ).config
    assert asdict(config) == trained
    assert check_config(run, config, rules) is config

    print("\nThe data has to agree, too:")
    try:
        check_config(run, config, rules, data={"sets": draw_sets(1, 5, 8, seed=1)})
    except DataConflictError as error:
        print(f"  {error.reason}")
    sets = draw_sets(64, config.sample_size, 8, seed=1)
    check_config(run, config, rules, data={"sets": sets})

    model = SetDenoiser(**asdict(config))
    held_out = denoising_loss(model.apply, params, jnp.asarray(sets), jax.random.key(0))
    print(f"\nThe first forward pass, of held-out sets of {config.sample_size}: loss {held_out:.3f}")
    assert held_out < 0.9, "no better than predicting no noise at all"


if __name__ == "__main__":
    main()
