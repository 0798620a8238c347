"""A Flax model of transformers 4.57.6, the last that had them, saved in shards.

python3.11 -m venv a && a/bin/pip install transformers==4.57.6 flax==0.12.8 jax==0.10.2
a/bin/python huggingface_flax.py
"""

from __future__ import annotations

import warnings
from importlib.metadata import version

import jax
import transformers
from flax.traverse_util import flatten_dict
from layouts import digests, meaning, target

warnings.simplefilter("ignore")
transformers.logging.set_verbosity_error()
CONFIG = {
    "hidden_size": 4,
    "intermediate_size": 8,
    "num_attention_heads": 2,
    "num_hidden_layers": 1,
    "vocab_size": 8,
    "max_position_embeddings": 4,
}
NAME = "huggingface/sharded_flax"


def main() -> None:
    model = transformers.FlaxBertModel(transformers.BertConfig(**CONFIG), seed=3)
    folder = target(NAME)
    model.save_pretrained(folder, max_shard_size="1KB")
    again = transformers.FlaxBertModel.from_pretrained(folder)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), model.params, again.params))
    meaning(
        NAME,
        how=f"transformers {transformers.__version__}, flax {version('flax')}",
        layout="hf_model",
        params=digests(flatten_dict(model.params, sep="/")),
        config=CONFIG,
    )


if __name__ == "__main__":
    main()
