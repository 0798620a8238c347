"""The cells of the notebook: Markdown, and code that the build executes."""

from __future__ import annotations

__all__ = ["CELLS"]

CELLS: list[tuple[str, str]] = [
    (
        "markdown",
        """# Looking into a training run

A small network was trained on scikit-learn's handwritten digits, with a checkpoint after each epoch. This notebook
lists them, picks the best, loads it, and looks at what training changed.""",
    ),
    (
        "code",
        """import matplotlib.pyplot as plt
import torch
from train import Net, held_out, train_run

from ckpt_core import Run, diff, open_checkpoint
from ckpt_core.validation import restore

train_run("runs/digits")""",
    ),
    (
        "markdown",
        """## The checkpoints and their metrics

A run shows itself as a table: duplicates once, the best and the final one by their roles.""",
    ),
    ("code", 'run = Run("runs/digits")\nrun'),
    ("code", 'run.metrics().dataframe().set_index("name")[["epoch", "val_loss", "val_acc"]].round(4)'),
    (
        "code",
        """fig, left = plt.subplots(figsize=(6, 2.6))
right = left.twinx()
periodic = [entry for entry in run if entry.role == "periodic"]
epochs = [entry.epoch for entry in periodic]
left.plot(epochs, [entry.metrics["val_loss"] for entry in periodic], "o-", color="tab:blue")
right.plot(epochs, [100 * entry.metrics["val_acc"] for entry in periodic], "s--", color="tab:orange")
left.set(xlabel="epoch", title="held-out loss and accuracy")
left.set_ylabel("val_loss", color="tab:blue")
right.set_ylabel("val_acc, %", color="tab:orange")
left.axvline(run.best("val_loss").epoch, color="gray", lw=1, ls=":")
fig.tight_layout()""",
    ),
    (
        "markdown",
        "## The best one\n\n`select` says which rule chose, and `open_checkpoint` reads the structure alone.",
    ),
    ("code", 'chosen = run.select(best="val_loss")\nchosen.entry.name, chosen.reason'),
    ("code", "ckpt = open_checkpoint(chosen.path)\nckpt"),
    ("markdown", "## Load it\n\n`restore` fills a live model, all of it or an error, and says what it did."),
    ("code", "torch.manual_seed(1)\nfresh, model = Net(), Net()\nrestore(chosen.path, model)"),
    ("markdown", "A restored model that predicts what a fresh one does was not restored. This one was:"),
    (
        "code",
        """images, labels = held_out()


@torch.no_grad()
def predict(network):
    return network.eval()(images).argmax(1)


def accuracy(found):
    return f"{(found == labels).float().mean():.1%}"


before, after = predict(fresh), predict(model)
assert (before != after).float().mean() > 0.5
print(f"fresh {accuracy(before)}, restored {accuracy(after)}, {(before != after).sum()} of {len(labels)} predictions differ")""",
    ),
    (
        "code",
        """fig, axes = plt.subplots(2, 8, figsize=(8, 3))
for i, axis in enumerate(axes.flat):
    axis.imshow(images[i, 0], cmap="gray_r")
    axis.set_title(f"{before[i]} → {after[i]}", fontsize=9, color="black" if after[i] == labels[i] else "red")
    axis.axis("off")
fig.suptitle("what a fresh network says → what the restored one says", fontsize=10)
fig.tight_layout()""",
    ),
    (
        "markdown",
        "## Two checkpoints side by side\n\nThe first epoch against the best one: on which digits do they disagree?",
    ),
    (
        "code",
        """first = Net()
restore(run.entries[0].path, first)
early = predict(first)
disagree = (early != after).nonzero().flatten()
print(f"epoch 1 {accuracy(early)}, {chosen.entry.name} {accuracy(after)}; they disagree on {len(disagree)} images")
fig, axes = plt.subplots(1, 8, figsize=(8, 1.6))
for axis, i in zip(axes, disagree[:8], strict=False):
    axis.imshow(images[i, 0], cmap="gray_r")
    axis.set_title(f"{early[i]} → {after[i]}\\n(is {labels[i]})", fontsize=8, color="green" if after[i] == labels[i] else "red")
for axis in axes:
    axis.axis("off")
fig.tight_layout()""",
    ),
    (
        "markdown",
        "## Which layers moved most\n\n`diff(..., stats=True)` compares the files; no model is needed.",
    ),
    (
        "code",
        """moved = diff(run.entries[0].path, chosen.path, stats=True, weights_only=True)
ranked = sorted(moved.movements, key=lambda movement: movement.relative)
fig, axis = plt.subplots(figsize=(6, 2.6))
axis.barh([movement.path for movement in ranked], [movement.relative for movement in ranked], color="tab:green")
axis.set(xlabel="relative change, |b - a| / |a|", title="from epoch 1 to the best")
fig.tight_layout()""",
    ),
    ("code", "moved"),
    ("markdown", "## Parameters, memory, layers"),
    (
        "code",
        """import pandas as pd

layers = pd.DataFrame(
    [(name, tuple(array.shape), array.dtype, array.size, array.nbytes / 1000) for name, array in ckpt.params.leaves()],
    columns=["layer", "shape", "dtype", "parameters", "kB"],
).set_index("layer")
optimizer = sum(array.nbytes for slot in ("mu", "nu") for array in ckpt.opt_state.slots[slot].values() for array in array.values())
print(f"{layers.parameters.sum():,} parameters, {layers.kB.sum():.1f} kB; the optimizer has {optimizer / 1000:.1f} kB more")
layers""",
    ),
    (
        "code",
        """fig, axis = plt.subplots(figsize=(6, 2.4))
axis.barh(layers.index[::-1], layers.kB[::-1], color="tab:purple")
axis.set(xlabel="kB", title="memory by layer")
fig.tight_layout()
ckpt.close()""",
    ),
    (
        "markdown",
        "## A picker\n\nWith `ipywidgets` installed and a live kernel, choose a checkpoint and see what is in it.",
    ),
    (
        "code",
        """try:
    import ipywidgets
except ImportError:
    print("ipywidgets is not installed: `run` above is the list")
else:
    def show(name):
        with open_checkpoint(next(entry.path for entry in run if entry.name == name)) as picked:
            display(picked)

    names = [entry.name for entry in run if entry.is_whole]
    ipywidgets.interact(show, name=ipywidgets.Dropdown(options=names, description="checkpoint"))""",
    ),
]
