"""How far a run that crossed is from the run that stayed, for each update rule: the table of docs/optimizers.md.

    python -m benchmarks.optimizer_states [--only adam,sgd]

For each rule: train 20 steps in torch, carry everything into Flax through a file, train on in both. The deviation is
max|difference| / max|parameter| per tensor, the worst tensor counts. `fresh` is what two identical fresh starts in the
two frameworks drift apart by in float32 after 120 steps (of damped SGD that includes torch's undamped first step), and
`lost` the deviation of a run that crossed without its
optimizer, after 100 steps.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp

sys.path[:0] = [str(Path(__file__).parent.parent / "tests")]

from optimizers.crossing import as_flax, deviation, to_flax  # noqa: E402  # from the tests' folder
from optimizers.test_families import FROM_TORCH  # noqa: E402  # from the tests' folder
from optimizers.worlds import mlp, precision, stepper, train_flax, train_torch  # noqa: E402  # from the tests' folder


def measured(name: str, dtype: str) -> dict[str, float]:
    """Return the deviations of one rule in one precision."""
    found = {}
    with precision(dtype), tempfile.TemporaryDirectory() as folder:
        world = mlp()
        model = world.torch_model()
        optimizer = FROM_TORCH[name](model.parameters())
        train_torch(world, model, optimizer, 0, 20)
        run = to_flax(world, Path(folder), model, optimizer)
        step = stepper(world, run.tx)
        state, lost, done = run.state, (run.params, run.rest, run.tx.init(run.params)), 0
        for mark in (1, 10, 100):
            state = train_flax(world, step, state, 20 + done, mark - done)
            train_torch(world, model, optimizer, 20 + done, mark - done)
            lost = train_flax(world, step, lost, 20 + done, mark - done)
            done = mark
            found[f"@{mark}"] = deviation(state[0], as_flax(world, model))
        found["lost"] = deviation(lost[0], as_flax(world, model))
        if dtype == "float32":
            params = jax.tree.map(jnp.asarray, as_flax(world, world.torch_model()))
            beside = train_flax(world, step, (params, {}, run.tx.init(params)), 0, 120)
            found["fresh"] = deviation(beside[0], as_flax(world, model))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="rules, separated by commas")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    names = [name for name in FROM_TORCH if not args.only or name in args.only.split(",")]
    print("| rule | float64 @100 | float32 @1 | @10 | @100 | fresh starts, float32 | optimizer lost |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name in names:
        wide, narrow = measured(name, "float64"), measured(name, "float32")
        cells = [wide["@100"], *(narrow[key] for key in ("@1", "@10", "@100", "fresh", "lost"))]
        print(f"| {name} | " + " | ".join(f"{value:.0e}" for value in cells) + " |", flush=True)


if __name__ == "__main__":
    main()
