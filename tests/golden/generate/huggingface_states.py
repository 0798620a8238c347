"""Directories of transformers 5.24 (Trainer, models, shards), peft 0.21 and accelerate 1.15.

python3.11 -m venv a && a/bin/pip install torch==2.13.0 transformers==5.24.0 peft==0.21.2 accelerate==1.15.0
a/bin/python huggingface_states.py
"""

from __future__ import annotations

import json
import shutil
import tempfile
import warnings
from pathlib import Path

import accelerate
import peft
import torch
import transformers
from layouts import digests, meaning, target

warnings.simplefilter("ignore")
transformers.logging.set_verbosity_error()
TORCH = f"torch {torch.__version__.split('+')[0]}"
HOW = f"transformers {transformers.__version__}, {TORCH}"
SIZES = {
    "hidden_size": 4,
    "intermediate_size": 8,
    "num_attention_heads": 2,
    "num_hidden_layers": 1,
    "vocab_size": 8,
}
CONFIG = {**SIZES, "max_position_embeddings": 4}


def model() -> transformers.PreTrainedModel:
    torch.manual_seed(3)
    config = transformers.BertConfig(**CONFIG, num_labels=2)
    return transformers.BertForSequenceClassification(config)


class Rows(torch.utils.data.Dataset):
    """Four short texts with labels."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, i: int) -> dict:
        return {
            "input_ids": torch.tensor([1, 2, i]),
            "attention_mask": torch.ones(3),
            "labels": torch.tensor(i % 2),
        }


def params(net: torch.nn.Module) -> dict:
    return digests(dict(net.named_parameters()))


def trained(net: torch.nn.Module, folder: str) -> transformers.Trainer:
    arguments = transformers.TrainingArguments(
        "out", max_steps=4, per_device_train_batch_size=2, per_device_eval_batch_size=2, eval_strategy="steps",
        eval_steps=2, save_steps=4, logging_steps=1, use_cpu=True, report_to=[], disable_tqdm=True,
        load_best_model_at_end=False, metric_for_best_model="eval_loss",
    )  # fmt: skip
    arguments.output_dir = folder
    trainer = transformers.Trainer(net, arguments, train_dataset=Rows(), eval_dataset=Rows())
    trainer.train()
    return trainer


def without_folder(path: Path, folder: str) -> None:
    """Take the temporary folder out of what was saved."""
    state = path / "trainer_state.json"
    state.write_text(state.read_text().replace(folder, "out"))
    arguments = torch.load(path / "training_args.bin", weights_only=False)
    arguments.output_dir = "out"
    torch.save(arguments, path / "training_args.bin")


def trainer_checkpoint(name: str, net: torch.nn.Module, config: dict) -> None:
    with tempfile.TemporaryDirectory() as folder:
        trainer = trained(net, folder)
        without_folder(Path(folder, "checkpoint-4"), folder)
        shutil.copytree(Path(folder, "checkpoint-4"), target(name))
    logged = {key: value for entry in trainer.state.log_history for key, value in entry.items()}
    best = trainer.state.best_metric
    meaning(
        name, how=HOW, layout="hf_trainer", step=4, epoch=2,
        metrics={"eval_loss": logged["eval_loss"]} | ({} if best is None else {"best_metric": best}),
        config=config, opt_states={"optimizer": [["adamw"], 4]}, schedulers=["scheduler"], rng=["rng_state"],
        params=params(net),
    )  # fmt: skip


def main() -> None:
    net = model()
    trainer_checkpoint(
        "huggingface/trainer", net, {**SIZES, "training_args": {"max_steps": 4, "save_steps": 4}}
    )

    net = model()
    net.save_pretrained(target("huggingface/model"))
    meaning("huggingface/model", how=HOW, layout="hf_model", params=params(net), config=SIZES)
    net.save_pretrained(target("huggingface/sharded"), max_shard_size="1KB")
    meaning("huggingface/sharded", how=HOW, layout="hf_model", params=params(net), config=SIZES)
    bin_shards(net)
    adapters()
    accelerated()


def bin_shards(net: transformers.PreTrainedModel) -> None:
    """Shards of torch.save, as transformers 4 wrote them; version 5 reads them, which is asserted, and writes none."""
    path = target("huggingface/sharded_bin")
    path.mkdir()
    state = net.state_dict()
    names = list(state)
    halves = {
        "pytorch_model-00001-of-00002.bin": names[: len(names) // 2],
        "pytorch_model-00002-of-00002.bin": names[len(names) // 2 :],
    }
    for file, keys in halves.items():
        torch.save({key: state[key] for key in keys}, path / file)
    total = sum(value.nbytes for value in state.values())
    weight_map = {key: file for file, keys in halves.items() for key in keys}
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    (path / "pytorch_model.bin.index.json").write_text(json.dumps(index, indent=2))
    net.config.save_pretrained(path)
    again = type(net).from_pretrained(path)
    assert all(torch.equal(value, state[key]) for key, value in again.state_dict().items())
    meaning("huggingface/sharded_bin", how=HOW, layout="hf_model", params=params(net), config=SIZES)


def adapters() -> None:
    net = peft.get_peft_model(
        model(), peft.LoraConfig(r=2, target_modules=["query"], base_model_name_or_path="tiny-bert")
    )
    how = f"peft {peft.__version__}, {HOW}"
    path = target("huggingface/adapter")
    net.save_pretrained(path)
    (path / "README.md").unlink(missing_ok=True)
    held = peft.get_peft_model_state_dict(net)
    meaning(
        "huggingface/adapter", how=how, layout="peft", params=digests(held), config={"peft_type": "LORA", "r": 2},
        notes=["not a full model"],
    )  # fmt: skip


def accelerated() -> None:
    torch.manual_seed(5)
    accelerator = accelerate.Accelerator(cpu=True)
    net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 1))
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    net, optimizer, scheduler = accelerator.prepare(net, optimizer, scheduler)

    class Counter:
        """An object of the script's own that is saved along."""

        def state_dict(self) -> dict:
            return {"seen": 12}

        def load_state_dict(self, state: dict) -> None: ...

    accelerator.register_for_checkpointing(Counter())
    for _ in range(2):
        accelerator.backward(net(torch.randn(4, 2)).pow(2).mean())
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
    names = dict(net.named_parameters())
    state = net.state_dict()
    for name, safe in (("accelerate/safe", True), ("accelerate/bin", False)):
        accelerator.save_state(str(target(name)), safe_serialization=safe)
        meaning(
            name, how=f"accelerate {accelerate.__version__}, {TORCH}", layout="accelerate",
            params=digests({k: v for k, v in state.items() if k in names}),
            buffers=digests({k: v for k, v in state.items() if k not in names}),
            opt_states={"optimizer": [["adamw"], 2]}, schedulers=["scheduler"], rng=["random_states_0"],
            extra=["custom_checkpoint_0.pkl"],
        )  # fmt: skip


if __name__ == "__main__":
    main()
