"""Carry the run over: from the torch checkpoint into JAX's train state, or back.

python cross.py to-flax out/a.pth out/a_flax
python cross.py to-torch out/b_flax out/b.pth
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ckpt_core.transfer import transfer

PLAN = Path(__file__).parent / "plan.toml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("direction", choices=["to-flax", "to-torch"])
    parser.add_argument("source")
    parser.add_argument("target")
    args = parser.parse_args()
    if args.direction == "to-flax":
        from flax_part import transformation, variables

        like = variables()
        opt_state = transformation().init(
            like["params"]
        )  # this program's own chain, which is filled as it is
        with transfer(args.source, like, rules=PLAN, optimizer=opt_state) as done:
            print(done.receipt)
            print(done.suggestion.code)
            done.save(args.target, to="orbax", force=True)
    else:
        from torch_part import DigitsNet, made_optimizer

        model = DigitsNet()
        # An optax state holds no hyperparameters: the optimizer that goes on with it says what they are.
        optimizer = made_optimizer(model)
        with transfer(args.source, model, rules=PLAN, reverse=True, optimizer=optimizer) as done:
            print(done.receipt)
            done.save(args.target, force=True)


if __name__ == "__main__":
    main()
