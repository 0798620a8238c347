"""What the words in weights' names mean: synonyms, words that say little, and words that exclude each other.

Words are matched in lower case and without separators, longest first: `self_attn`, `SelfAttn` and `selfattn` are one.
A word that stands in no table stands for itself. Nothing here is a model's name.
"""

from __future__ import annotations

from typing import Final

__all__ = ["BUFFERS", "CONCEPTS", "EXCLUSIVE", "GENERIC", "LISTS", "PARTS", "TABLES"]


def _table(text: str) -> dict[str, tuple[str, ...]]:
    """Lines of `concept concept: spelling spelling ...`."""
    found: dict[str, tuple[str, ...]] = {}
    for line in text.strip().splitlines():
        concepts, _, spellings = line.partition(":")
        for spelling in spellings.split():
            found[spelling] = tuple(concepts.split())
    return found


CONCEPTS: Final = _table("""
query: q query queries wq qs
key: k key keys wk ks
value: v value values wv vs
query key value packed: qkv cattn inproj wqkv
query key value packed interleaved: querykeyvalue
key value packed: kv wkv
out: o out output outputs outproj wo
in: in input inputs inp
self attention: selfattn selfattention selfattend selfatt
cross attention: crossattn crossattention encoderattn encattn encdecattn encdecattention encoderdecoderattn encoderdecoderattention srcattn memoryattn multiheadattn crossatt crossattend
attention: attn att attention attend mha msa mhsa multiheadattention multiheaddotproductattention multiheadselfattention
feedforward: ff ffn mlp feedforward densereludense positionwisefeedforward mlpblock fforward ffwd feedfwd ffnet
feedforward expand: intermediate cfc wi
expand: upproj
contract: downproj
norm: norm ln layernorm layernormalization rmsnorm bn batchnorm groupnorm gn instancenorm normalization norms layernorms lnorm bnorm normalize
embedding: emb embed embedding embeddings embeds embeddingtable embedder
token embedding: wte wordembeddings wordembedding tokenembedding tokenembeddings tokembeddings tokemb embedtokens tokenembed wordemb wordembed tokembed wordemb shared
position embedding: wpe positionembeddings positionembedding positionalembedding posembedding posembeddings posembed posemb embedpositions positionembed posencoding positionalencoding
type embedding: tokentypeembeddings tokentypeembedding segmentembeddings segmentembedding segemb typeembed typeembedding
token: token tokens tok word words vocab
position: pos position positions positional
type: segment segments seg
class: class cls
head: head heads classifier clf logits
language head: lmhead languagemodelinghead outputembeddings
encoder: enc encoder
decoder: dec decoder
text: text txt lang
image: image images img vision visual vis pixel
audio: audio speech sound
source: src source
target: tgt trg target
left: left lhs
right: right rhs
up: up upsample upsampling ups
down: down downsampling downs
shortcut: shortcut downsample skip residual res identity convproj normproj convshortcut projshortcut
transposed: convtranspose convtransposed deconv upconv transposed
gate: gate gating gated gates
pool: pool pooler pooling pooled
patch: patch patches patchify
project: projector
stem: stem
temperature: logitscale temperature
final: final last
final norm: lnf normf finalnorm finallayernorm lnfinal lnpost normfinal outnorm
first: first
mean: mu mean
deviation: logvar logstd sigma
bottleneck: bottleneck mid middle
activation: act activation
convolution: conv conv1d conv2d conv3d cnn convolution convs convolutional
projection: proj projection projections
linear: linear dense fc lin fullyconnected
relative: relative rel
attention bias: attentionbias attnbias
bias: bias b
mixing: mixer mixing mix
hidden: hidden hid
recurrent: rnn lstm gru
generator: generator gen netg
discriminator: discriminator disc netd critic
forward: forward fwd fw
backward: backward bwd bw reverse reversed
student: student
teacher: teacher
online: online
momentum: momentum ema
""")
"""Spelling -> what it means; several concepts where one word says several things."""

GENERIC: Final = frozenset({
    "linear", "convolution", "projection", "norm", "layer", "block", "module", "net", "network", "model", "base",
    "backbone", "main", "trunk", "weight", "params", "param", "c", "to", "w", "nn", "fn", "func", "function", "op",
    "unit", "cell", "sequential", "seq", "sublayer", "features", "feature", "embedding", "activation", "the", "of",
    "group", "root", "body", "m", "l", "h", "list", "project", "x", "kernel", "scale", "bias", "expand", "contract",
    "hidden", "state", "dict", "core", "inner",
})  # fmt: skip
"""Concepts that hardly tell one weight from another."""

LISTS: Final = frozenset({
    "layers", "layer", "blocks", "block", "blk", "blks", "h", "modules", "module", "list", "cells", "resblocks",
    "sublayers", "units", "l", "b", "lyr", "lyrs", "stack",
})  # fmt: skip
"""Words before a number that name a list; all say the same: nothing."""

EXCLUSIVE: Final = (
    frozenset({"query", "key", "value", "out"}),
    frozenset({"in", "out"}),
    frozenset({"encoder", "decoder"}),
    frozenset({"self", "cross"}),
    frozenset({"attention", "feedforward"}),
    frozenset({"expand", "contract"}),
    frozenset({"up", "down", "gate"}),
    frozenset({"text", "image", "audio"}),
    frozenset({"source", "target"}),
    frozenset({"left", "right"}),
    frozenset({"first", "final"}),
    frozenset({"token", "position", "type"}),
    frozenset({"mean", "deviation"}),
    frozenset({"generator", "discriminator"}),
    frozenset({"student", "teacher"}),
    frozenset({"online", "target", "momentum"}),
    frozenset({"forward", "backward"}),
    frozenset({"global", "local"}),
    frozenset({"row", "column"}),
    frozenset({"reset", "update"}),
    frozenset({"coarse", "fine"}),
)
"""Concepts of which a weight has one at most in one place: where the two sides differ in it, they differ."""

TABLES: Final = frozenset({"embedding", "position", "token", "type", "class", "latent", "slot", "prompt"})
"""What an array that no layer holds is called when its rows are vectors, one for each thing."""

PARTS: Final[dict[str, str]] = {
    **dict.fromkeys(("weight", "kernel", "embedding", "scale", "gamma", "weights", "w", "W"), "weight"),
    **dict.fromkeys(("bias", "beta", "b", "offset"), "bias"),
    **dict.fromkeys(("running_mean", "mean", "moving_mean"), "mean"),
    **dict.fromkeys(("running_var", "var", "moving_variance", "moving_var"), "var"),
}
"""The last segment of a name -> which part of its layer it is."""

BUFFERS: Final = frozenset({
    "num_batches_tracked", "position_ids", "token_type_ids", "attn_mask", "mask", "causal_mask", "masked_bias",
    "relative_position_index", "inv_freq", "bias_mask", "mask_token_ids",
})  # fmt: skip
"""Bookkeeping that a framework makes anew: it has no place on the other side."""
