"""Recurrent layers, object slots, mixers, variational heads, and networks of several parts."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import flax.linen as fnn
import jax
import jax.numpy as jnp
import torch
from torch import nn
from torch.nn.utils import parametrizations
from transfer.matching.judge import Pair

# Recurrent layers: one matrix for all gates against one for each.


class TorchTagger(nn.Module):
    def __init__(self, kind: type[nn.Module], **options: Any) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 6)
        self.rnn = kind(6, 8, num_layers=2, batch_first=True, **options)
        self.fc = nn.Linear(16 if options.get("bidirectional") else 8, 4)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.fc(self.rnn(self.embed(tokens))[0])


class FlaxTagger(fnn.Module):
    kind: type[fnn.RNNCellBase]
    both_ways: bool = False

    @fnn.compact
    def __call__(self, tokens: Any) -> Any:
        x = fnn.Embed(11, 6, name="embed")(tokens)
        for i in range(2):
            if self.both_ways:
                there, back = (fnn.RNN(self.kind(8, name=f"{way}_{i}")) for way in ("fwd", "bwd"))
                x = fnn.Bidirectional(there, back)(x)
            else:
                x = fnn.RNN(self.kind(8, name=f"rnn_{i}"))(x)
        return fnn.Dense(4, name="out")(x)


def tagger(torch_kind: type[nn.Module], flax_kind: type[fnn.RNNCellBase], **options: Any) -> Pair:
    both_ways = bool(options.get("bidirectional"))
    name = " ".join([torch_kind.__name__, *options])
    return Pair(
        name,
        lambda: TorchTagger(torch_kind, **options),
        lambda: FlaxTagger(flax_kind, both_ways),
        (2, 5),
        tokens=11,
    )


# Slot attention: a GRU, three projections and norms with names of their own.


class SlotAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.slots_mu = nn.Parameter(torch.zeros(1, 1, 8))
        self.norm_inputs = nn.LayerNorm(8, eps=1e-6)
        self.norm_slots = nn.LayerNorm(8, eps=1e-6)
        self.norm_mlp = nn.LayerNorm(8, eps=1e-6)
        self.project_q = nn.Linear(8, 8, bias=False)
        self.project_k = nn.Linear(8, 8, bias=False)
        self.project_v = nn.Linear(8, 8, bias=False)
        self.gru = nn.GRUCell(8, 8)
        self.mlp = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x, slots = self.norm_inputs(x), self.slots_mu.expand(len(x), 3, 8)
        k, v = self.project_k(x), self.project_v(x)
        for _ in range(2):
            q = self.project_q(self.norm_slots(slots))
            weights = torch.softmax(q @ k.transpose(1, 2), 1)
            slots = self.gru((weights @ v).flatten(0, 1), slots.flatten(0, 1)).view_as(slots)
            slots = slots + self.mlp(self.norm_mlp(slots))
        return slots


class FlaxSlotAttention(fnn.Module):
    @fnn.compact
    def __call__(self, x: Any) -> Any:
        slots = jnp.tile(self.param("slots_mu", fnn.initializers.zeros, (1, 1, 8)), (len(x), 3, 1))
        x = fnn.LayerNorm(name="norm_inputs")(x)
        k, v = (fnn.Dense(8, use_bias=False, name=name)(x) for name in ("k", "v"))
        norm, to_q = fnn.LayerNorm(name="norm_slots"), fnn.Dense(8, use_bias=False, name="q")
        gru, norm_mlp = fnn.GRUCell(8, name="gru"), fnn.LayerNorm(name="norm_mlp")
        one, two = fnn.Dense(8, name="mlp_dense1"), fnn.Dense(8, name="mlp_dense2")
        for _ in range(2):
            weights = jax.nn.softmax(to_q(norm(slots)) @ k.swapaxes(1, 2), 1)
            slots, _ = gru(slots, weights @ v)
            slots = slots + two(fnn.relu(one(norm_mlp(slots))))
        return slots


# A mixer: two feed-forward layers in each block.


class MixerBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        mlp = lambda n: nn.Sequential(nn.Linear(n, 2 * n), nn.GELU("tanh"), nn.Linear(2 * n, n))  # noqa: E731
        self.norm1, self.norm2 = nn.LayerNorm(8, eps=1e-6), nn.LayerNorm(8, eps=1e-6)
        self.token_mixer, self.channel_mixer = mlp(8), mlp(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.token_mixer(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.channel_mixer(self.norm2(x))


class Mixer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*[MixerBlock() for _ in range(2)])
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(x))


class FlaxMlp(fnn.Module):
    @fnn.compact
    def __call__(self, x: Any) -> Any:
        y = fnn.gelu(fnn.Dense(2 * x.shape[-1])(x))
        return fnn.Dense(x.shape[-1])(y)


class FlaxMixerBlock(fnn.Module):
    @fnn.compact
    def __call__(self, x: Any) -> Any:
        y = fnn.LayerNorm()(x).swapaxes(1, 2)
        x = x + FlaxMlp(name="token_mixing")(y).swapaxes(1, 2)
        return x + FlaxMlp(name="channel_mixing")(fnn.LayerNorm()(x))


class FlaxMixer(fnn.Module):
    @fnn.compact
    def __call__(self, x: Any) -> Any:
        for _ in range(2):
            x = FlaxMixerBlock()(x)
        return fnn.Dense(3)(x)


# A variational encoder: two heads of one shape.


class Variational(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(6, 12), nn.ReLU())
        self.fc_mu, self.fc_logvar = nn.Linear(12, 4), nn.Linear(12, 4)
        self.decoder = nn.Sequential(nn.Linear(4, 12), nn.ReLU(), nn.Linear(12, 6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.encoder(x)
        return self.decoder(self.fc_mu(h) + torch.exp(self.fc_logvar(h)))


class FlaxVariational(fnn.Module):
    @fnn.compact
    def __call__(self, x: Any) -> Any:
        h = fnn.relu(fnn.Dense(12, name="enc")(x))
        z = fnn.Dense(4, name="mean")(h) + jnp.exp(fnn.Dense(4, name="log_var")(h))
        return fnn.Dense(6, name="dec_out")(fnn.relu(fnn.Dense(12, name="dec_hidden")(z)))


# Two towers of one architecture.


def tower(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(6, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 4)
    )


class TwoTowers(nn.Module):
    def __init__(self, first: str, second: str) -> None:
        super().__init__()
        self.names = first, second
        self.add_module(first, tower(8))
        self.add_module(second, tower(8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        one, two = (getattr(self, name)(x) for name in self.names)
        return one + two**2


class FlaxTower(fnn.Module):
    @fnn.compact
    def __call__(self, x: Any) -> Any:
        x = fnn.relu(fnn.Dense(8)(x))
        x = fnn.relu(fnn.Dense(8)(x))
        return fnn.Dense(4)(x)


class FlaxTwoTowers(fnn.Module):
    names: tuple[str, str]

    @fnn.compact
    def __call__(self, x: Any) -> Any:
        one, two = (FlaxTower(name=name)(x) for name in self.names)
        return one + two**2


class Widths(nn.Module):
    """Attention whose keys and values are of other widths than its queries: torch keeps three matrices, one bias."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, kdim=6, vdim=5, batch_first=True)
        self.dense = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dense(self.attention(x, x[..., :6], x[..., :5])[0])


class FlaxWidths(fnn.Module):
    @fnn.compact
    def __call__(self, x: Any) -> Any:
        attention = fnn.MultiHeadDotProductAttention(2, qkv_features=8, out_features=8)
        return fnn.Dense(8)(attention(x, inputs_k=x[..., :6], inputs_v=x[..., :5]))


PAIRS = (
    tagger(nn.LSTM, fnn.OptimizedLSTMCell),
    tagger(nn.GRU, fnn.GRUCell),
    tagger(nn.LSTM, fnn.LSTMCell, bidirectional=True),
    tagger(nn.GRU, fnn.GRUCell, bidirectional=True),
    Pair("slot attention", SlotAttention, FlaxSlotAttention, (2, 5, 8)),
    Pair("attention of several widths", Widths, FlaxWidths, (2, 7, 8)),
    Pair("mixer", Mixer, FlaxMixer, (2, 8, 8)),
    Pair("variational", Variational, FlaxVariational, (3, 6)),
    Pair(
        "towers with names",
        lambda: TwoTowers("image_encoder", "text_encoder"),
        lambda: FlaxTwoTowers(("visual", "textual")),
        (3, 6),
    ),
)

WITHOUT_BIASES = (
    tagger(nn.LSTM, fnn.OptimizedLSTMCell, bias=False),
    tagger(nn.GRU, fnn.GRUCell, bias=False, bidirectional=True),
)


# Reparametrised layers: what a wrapper of linen keeps lies beside the layer.


class TorchWrapped(nn.Module):
    def __init__(self, wrap: Callable[[nn.Module], nn.Module]) -> None:
        super().__init__()
        self.first = wrap(nn.Linear(8, 8))
        self.conv = wrap(nn.Conv2d(1, 4, 3, padding=1))
        self.last = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.conv(torch.tanh(self.first(x))[:, None]).mean((2, 3)))


class FlaxWrapped(fnn.Module):
    @fnn.compact
    def __call__(self, x: Any) -> Any:
        x = fnn.tanh(fnn.WeightNorm(fnn.Dense(8, name="first"))(x))
        x = fnn.WeightNorm(fnn.Conv(4, (3, 3), padding=1, name="conv"))(x[..., None])
        return fnn.Dense(2, name="last")(x.mean((1, 2)))


WRAPPED = (
    Pair("weight norm", lambda: TorchWrapped(parametrizations.weight_norm), FlaxWrapped, (3, 8, 8)),
    Pair("weight norm, older spelling", lambda: TorchWrapped(old_weight_norm), FlaxWrapped, (3, 8, 8)),
)


def old_weight_norm(layer: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return nn.utils.weight_norm(layer)
