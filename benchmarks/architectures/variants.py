"""Other names for the same model: what another person would have called it.

A variant renames the segments of a template, consistently within a model, by tables of its own; it never looks at the
other side. Each returns the new template and, for every slot, the name it had.
"""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Callable
from dataclasses import replace

from ckpt_core.framework import Template

Renaming = Callable[[str], str]

SYNONYMS = [
    ["query", "q_proj", "q", "to_q", "wq", "q_lin"],
    ["key", "k_proj", "k", "to_k", "wk", "k_lin"],
    ["value", "v_proj", "v", "to_v", "wv", "v_lin"],
    ["out_proj", "o", "out", "proj_out", "out_lin", "o_proj"],
    ["attention", "attn", "self_attention", "self_attn", "SelfAttention", "mha"],
    ["encoder_attn", "cross_attn", "crossattention", "EncDecAttention"],
    ["LayerNorm", "layer_norm", "ln", "norm", "layernorm"],
    ["intermediate", "ff_in", "up_proj", "mlp_in"],
    ["mlp", "ffn", "feed_forward", "ff"],
    ["encoder", "enc"],
    ["decoder", "dec"],
    ["embeddings", "embed", "emb", "embedding"],
    ["word_embeddings", "embed_tokens", "wte", "token_embedding", "tok_emb"],
    ["position_embeddings", "embed_positions", "wpe", "position_embedding", "pos_emb"],
    ["token_type_embeddings", "segment_embeddings", "type_embed"],
    ["classifier", "head", "clf"],
    ["pooler", "pool"],
    ["text_model", "text", "txt_tower"],
    ["vision_model", "visual", "image_tower", "img"],
    ["convolution", "conv"],
    ["normalization", "bn"],
    ["dense", "linear", "fc", "lin"],
    ["lm_head", "output_embeddings"],
    ["shortcut", "downsample"],
    ["text_projection", "text_proj"],
    ["visual_projection", "image_proj"],
]
LISTS = ["layer", "layers", "block", "blocks", "h"]
SHORT = {
    "encoder": "enc", "decoder": "dec", "attention": "attn", "embeddings": "emb", "embedding": "emb",
    "intermediate": "interm", "output": "outp", "query": "qry", "classifier": "clsf", "projection": "proj",
    "position": "pos", "predictions": "preds", "transform": "trf", "convolution": "conv", "normalization": "nrm",
    "LayerNorm": "ln", "feature": "feat", "extractor": "extr", "vision": "vis", "model": "mdl", "dense": "dns",
    "relationship": "rel", "pooler": "plr", "residual": "resid", "layernorm": "lnorm", "attn": "att",
}  # fmt: skip


def renamed(
    template: Template, rename: Callable[[tuple[str, ...]], tuple[str, ...]]
) -> tuple[Template, dict[str, str]]:
    """Return the template with other paths, and the old name of each new one; the last segment stays."""
    paths = {slot.path: (*rename(slot.path[:-1]), slot.path[-1]) for slot in template.slots}
    if len(set(paths.values())) != len(paths):
        return template, {slot.name: slot.name for slot in template.slots}
    slots = tuple(
        replace(slot, path=paths[slot.path], tied=None if slot.tied is None else paths[slot.tied])
        for slot in template.slots
    )
    return replace(template, slots=slots), {
        new.name: old.name for new, old in zip(slots, template.slots, strict=True)
    }


def plain(template: Template, seed: int) -> tuple[Template, dict[str, str]]:
    """The names as they are."""
    return renamed(template, lambda path: path)


def synonyms(template: Template, seed: int) -> tuple[Template, dict[str, str]]:
    """Other words of the field, the same one for the same one throughout."""
    rng = random.Random(seed)
    chosen = {word: rng.choice(group) for group in SYNONYMS for word in group}
    return renamed(template, lambda path: tuple(chosen.get(s, s) for s in path))


def numbering(template: Template, seed: int) -> tuple[Template, dict[str, str]]:
    """Blocks as `layers_0`, `block1` or `h.0`, counted from 0 or 1, in lists of another name."""
    rng = random.Random(seed)
    shift, style, name = rng.choice([0, 1]), rng.choice(["{}_{}", "{}{}", "{}.{}"]), rng.choice(LISTS)

    def rename(path: tuple[str, ...]) -> tuple[str, ...]:
        made: list[str] = []
        for segment in path:
            if segment.isdigit() and made:
                before = made.pop()
                word = name if before in LISTS else before
                made += style.format(word, int(segment) + shift).split(".")
            else:
                made.append(segment)
        return tuple(made)

    return renamed(template, rename)


def shuffled(template: Template, seed: int) -> tuple[Template, dict[str, str]]:
    """The same names in random order."""
    slots = list(template.slots)
    random.Random(seed).shuffle(slots)
    return replace(template, slots=tuple(slots)), {slot.name: slot.name for slot in slots}


def abbreviated(template: Template, seed: int) -> tuple[Template, dict[str, str]]:
    """Words cut short."""

    def rename(path: tuple[str, ...]) -> tuple[str, ...]:
        return tuple("_".join(SHORT.get(word, word) for word in segment.split("_")) for segment in path)

    return renamed(template, rename)


def wrapped(template: Template, seed: int) -> tuple[Template, dict[str, str]]:
    """One more module around, and words run together in the other style."""

    def rename(path: tuple[str, ...]) -> tuple[str, ...]:
        camel = [re.sub(r"_([a-z])", lambda m: m[1].upper(), segment) for segment in path]
        return ("net", *camel)

    return renamed(template, rename)


def opaque(template: Template, seed: int) -> tuple[Template, dict[str, str]]:
    """Names that say nothing, the same one for the same one throughout; only numbers and the last segment stay."""
    rng = random.Random(seed)
    chosen: dict[str, str] = {}

    def rename(path: tuple[str, ...]) -> tuple[str, ...]:
        for segment in path:
            if not segment.isdigit():
                chosen.setdefault(
                    segment, "".join(rng.choices("bdfgjlmnprstvz", k=2)) + "".join(rng.choices("aeiou", k=2))
                )
        return tuple(chosen.get(segment, segment) for segment in path)

    return renamed(template, rename)


def everything(template: Template, seed: int) -> tuple[Template, dict[str, str]]:
    """All of it."""
    back = {slot.name: slot.name for slot in template.slots}
    for variant in (synonyms, numbering, wrapped, shuffled):
        template, names = variant(template, seed)
        back = {new: back[old] for new, old in names.items()}
    return template, back


def untyped(template: Template) -> Template:
    """The template without the types of layers."""
    return replace(template, slots=tuple(replace(slot, layer={}) for slot in template.slots))


VARIANTS = {
    f.__name__: f for f in (plain, synonyms, numbering, shuffled, abbreviated, wrapped, everything, opaque)
}


def seed_of(name: str) -> int:
    """A seed of each architecture's own."""
    return zlib.crc32(name.encode())
