"""A training script in PyTorch that can be stopped at any batch and goes on as if it never was.

    python train_torch.py --epochs 4 [--auto_resume | --resume --model_path PATH | ...]

What ckpt_core does in it: `add_resume_arguments` (one line), the plan, `restore`, and `run.save`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from digits import BATCHES, batches, held_out
from preemption import STOPPED, Preemption
from torch import nn

from ckpt_core import ResumePlan, Run, add_resume_arguments, open_checkpoint, save_checkpoint
from ckpt_core.validation import restore


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="train_torch.py", description=__doc__)
    parser.add_argument("--out", default="runs")
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--preempt_at", type=int, help="send this process SIGTERM after that step")
    resuming = add_resume_arguments(
        parser, run_dir=lambda args: f"{args.out}/torch_lr_{args.lr}", steps_per_epoch=BATCHES
    )
    args = parser.parse_args(argv)
    config = {"lr": args.lr, "seed": args.seed, "epochs": args.epochs}
    return train(args, config, resuming.plan(args, config=config), resuming.run(args))


def train(args: argparse.Namespace, config: dict[str, object], plan: ResumePlan, run: Run) -> int:
    torch.set_num_threads(1)  # the same sums in the same order
    torch.manual_seed(args.seed)
    model = nn.Sequential(nn.Linear(64, 96), nn.ReLU(), nn.Dropout(0.2), nn.Linear(96, 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    if plan.path is not None:
        restore(plan.path, model, optimizer if plan.optimizer else None, mode="train")
    if plan.optimizer:
        with open_checkpoint(plan.path) as ckpt:
            scheduler.load_state_dict(ckpt.tree["scheduler_state_dict"])
            torch.set_rng_state(torch.from_numpy(ckpt.tree["rng"]["torch"][:]))
    preemption, step = Preemption(args.preempt_at), plan.step

    def state(epoch: float) -> dict[str, object]:
        rng = {"torch": torch.get_rng_state()}
        return {
            "epoch": epoch,
            "step": step,
            "config": config,
            "scheduler": scheduler.state_dict(),
            "rng": rng,
        }

    for epoch in plan.epochs:
        start = plan.batch if epoch == plan.epoch else 0
        for batch, (images, labels) in enumerate(batches(args.seed, epoch, start), start + 1):
            loss = nn.functional.cross_entropy(model(torch.from_numpy(images)), torch.from_numpy(labels))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            if preemption.after(step):
                path = Path(run.given, f"checkpoint_epoch_{epoch - 1}_step_{step}.pth")
                save_checkpoint(path, model, optimizer, **state(epoch - 1 + batch / BATCHES))
                print(f"stopped after step {step}; saved {path.name}")
                return STOPPED
        scheduler.step()
        metrics = {"val_acc": accuracy(model)}
        final = epoch == plan.epochs[-1]
        run.save(model, optimizer, **state(epoch), metrics=metrics, best="val_acc", final=final)
        print(f"epoch {epoch}: val_acc {metrics['val_acc']:.4f}")
    return 0


def accuracy(model: nn.Module) -> float:
    images, labels = held_out()
    with torch.no_grad():
        found = model.eval()(torch.from_numpy(images)).argmax(1)
    model.train()
    return float((found == torch.from_numpy(labels)).float().mean())


if __name__ == "__main__":
    sys.exit(main())
