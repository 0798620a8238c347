"""The table of layers, judged by the layers themselves: both forward passes agree, in float64, on random values."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from torch.nn.utils import parametrizations
from transfer.flax_sides import Linen, Nnx

from ckpt_core.errors import UsageError
from ckpt_core.transfer.applying import apply_plan
from ckpt_core.transfer.layers import BUILTIN, find_layer, layer_rules
from ckpt_core.transfer.plan import TransferPlan
from ckpt_core.transfer.reversing import reverse_plan
from ckpt_core.transfer.sides import Target, arrays_by_name, opened, target_of

F64 = jnp.float64
Move = Callable[[np.ndarray], np.ndarray]
rng = np.random.default_rng(7)


@dataclass
class Case:
    """A torch layer, the Flax layer that is the same function, and how both are called.

    Arguments:
        torch: the layer.
        flax: the layer on the other side.
        row: the names of the two classes, as the table has them.
        inputs: as torch takes them.
        moved, back: the inputs as Flax takes them, and its output as torch gives it.
        settings: what is known of the layer.
        ending: the ending of torch's names.
        within: the path of the Flax layer among its variables.
        call: how torch's layer is called, where not plainly.
        exact: whether the way back gives every bit of the torch side.
        tolerance: of the forward passes, relative and absolute.
    """

    torch: torch.nn.Module
    flax: Linen | Nnx
    row: tuple[str, str]
    inputs: tuple[np.ndarray, ...]
    moved: Move = lambda array: array
    back: Move = lambda array: array
    settings: Mapping[str, Any] = field(default_factory=dict)
    ending: str = ""
    within: tuple[str, ...] = ()
    call: Callable[..., Any] | None = None
    exact: bool = True
    tolerance: float = 1e-12


def x(*shape: int) -> np.ndarray:
    return rng.normal(size=shape)


def channels_last(array: np.ndarray) -> np.ndarray:
    return np.moveaxis(array, 1, -1)


def channels_first(array: np.ndarray) -> np.ndarray:
    return np.moveaxis(array, -1, 1)


def randomised(module: torch.nn.Module) -> torch.nn.Module:
    """The module in float64 with random values in every parameter and statistic."""
    module = module.double().eval()
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                random = torch.from_numpy(np.array(rng.normal(size=tuple(value.shape))))
                positive = name.endswith(("running_var", "original0", "weight_g"))
                value.copy_(random.abs() + 0.5 if positive else random)
        if torch.nn.utils.parametrize.is_parametrized(module):
            module.train()
            for _ in range(2000):  # a step of the power iteration each, where there is one
                _ = module.weight
        for hook in module._forward_pre_hooks.values():  # the same in the older spelling
            module.train()
            for _ in range(2000):
                hook(module, ())
    return module.eval()


def rngs() -> nnx.Rngs:
    return nnx.Rngs(0)


CASES: dict[str, Callable[[], Case]] = {}


def case(name: str) -> Callable[[Callable[[], Case]], Callable[[], Case]]:
    def add(make: Callable[[], Case]) -> Callable[[], Case]:
        CASES[name] = make
        return make

    return add


# Dense layers, embeddings, single arrays.


for _bias in (True, False):
    CASES[f"linear, bias={_bias}"] = lambda b=_bias: Case(
        torch.nn.Linear(5, 5, bias=b),
        Linen(nn.Dense(5, use_bias=b, param_dtype=F64)),
        ("Linear", "nn.Dense"),
        (x(3, 5),),
    )
    CASES[f"linear, nnx, bias={_bias}"] = lambda b=_bias: Case(
        torch.nn.Linear(5, 7, bias=b),
        Nnx(nnx.Linear(5, 7, use_bias=b, param_dtype=F64, rngs=rngs())),
        ("Linear", "nnx.Linear"),
        (x(3, 5),),
    )


def _flatten(flax: Linen | Nnx, row: str) -> Case:
    layer = torch.nn.Linear(3 * 4 * 5, 6)
    return Case(
        layer,
        flax,
        ("Linear", row),
        (x(2, 3, 4, 5),),
        moved=lambda a: channels_last(a).reshape(len(a), -1),
        settings={"flatten": "NCHW -> NHWC", "channels": 3, "height": 4, "width": 5, "features": 60},
        call=lambda image: layer(image.flatten(1)),
    )


CASES["linear after flatten"] = lambda: _flatten(Linen(nn.Dense(6, param_dtype=F64)), "nn.Dense")
CASES["linear after flatten, nnx"] = lambda: _flatten(
    Nnx(nnx.Linear(60, 6, param_dtype=F64, rngs=rngs())), "nnx.Linear"
)
CASES["embedding"] = lambda: Case(
    torch.nn.Embedding(6, 6, padding_idx=0),
    Linen(nn.Embed(6, 6, param_dtype=F64)),
    ("Embedding", "nn.Embed"),
    (np.array([[0, 3, 5]]),),
)
CASES["embedding, nnx"] = lambda: Case(
    torch.nn.Embedding(9, 4),
    Nnx(nnx.Embed(9, 4, param_dtype=F64, rngs=rngs())),
    ("Embedding", "nnx.Embed"),
    (np.array([[8, 0, 5]]),),
)


class Tied(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(6, 6)
        self.head = torch.nn.Linear(6, 6, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.embedding(tokens))


def _tied(flax: Linen | Nnx, row: str) -> Case:
    return Case(Tied(), flax, ("Embedding", row), (np.array([[0, 3, 5]]),), settings={"tied": True})


@case("tied embedding")
def _tied_linen() -> Case:
    module = nn.Embed(6, 6, param_dtype=F64)

    def call(variables: Any, tokens: Any) -> Any:
        hidden = module.apply(variables, tokens)
        return module.apply(variables, hidden, method="attend")

    return _tied(Linen(module, call), "nn.Embed")


@case("tied embedding, nnx")
def _tied_nnx() -> Case:
    module = nnx.Embed(6, 6, param_dtype=F64, rngs=rngs())
    return _tied(Nnx(module, lambda tokens: module.attend(module(tokens))), "nnx.Embed")


@case("bilinear")
def _bilinear() -> Case:
    module = nnx.Einsum("oij,ni->noj", (4, 3, 3), (4,), param_dtype=F64, rngs=rngs())

    def call(a: Any, b: Any) -> Any:
        return jnp.einsum("...i,oij,...j->...o", a, module.kernel[...], b) + module.bias[...]

    return Case(torch.nn.Bilinear(3, 3, 4), Nnx(module, call), ("Bilinear", "nnx.Einsum"), (x(2, 3), x(2, 3)))


CASES["prelu"] = lambda: Case(
    torch.nn.PReLU(), Linen(nn.PReLU(param_dtype=F64)), ("PReLU", "nn.PReLU"), (x(3, 4),)
)
CASES["prelu, nnx"] = lambda: Case(
    torch.nn.PReLU(), Nnx(nnx.PReLU(param_dtype=F64)), ("PReLU", "nnx.PReLU"), (x(3, 4),)
)

# Convolutions.


def _conv(rank: int, groups: int, nnx_side: bool, channels: int = 4, out: int = 8) -> Case:
    kind = (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)[rank - 1]
    size = (3, 3, 3)[:rank]
    options = {"padding": "VALID", "feature_group_count": groups, "param_dtype": F64}
    flax: Linen | Nnx = (
        Nnx(nnx.Conv(channels, out, size, rngs=rngs(), **options))
        if nnx_side
        else Linen(nn.Conv(out, size, **options))
    )
    return Case(
        kind(channels, out, size, groups=groups),
        flax,
        (kind.__name__, "nnx.Conv" if nnx_side else "nn.Conv"),
        (x(2, channels, *(5, 6, 7)[:rank]),),
        channels_last,
        channels_first,
    )


def _transposed(rank: int, kept: bool, nnx_side: bool) -> Case:
    kind = (torch.nn.ConvTranspose1d, torch.nn.ConvTranspose2d, torch.nn.ConvTranspose3d)[rank - 1]
    size, stride, padding, extra = (3,) * rank, (2,) * rank, 1, 1
    pads = [(2 - padding, 2 - padding + extra)] * rank
    options = {"strides": stride, "padding": pads, "transpose_kernel": kept, "param_dtype": F64}
    flax: Linen | Nnx = (
        Nnx(nnx.ConvTranspose(4, 4, size, rngs=rngs(), **options))
        if nnx_side
        else Linen(nn.ConvTranspose(4, size, **options))
    )
    return Case(
        kind(4, 4, size, stride=stride, padding=padding, output_padding=extra),
        flax,
        (kind.__name__, "nnx.ConvTranspose" if nnx_side else "nn.ConvTranspose"),
        (x(2, 4, *(5, 6, 7)[:rank]),),
        channels_last,
        channels_first,
        settings={"transpose_kernel": kept},
    )


for _side in (False, True):
    for _rank in (1, 2, 3):
        for _groups in (1, 2) if _rank == 2 else (1,):
            CASES[f"conv{_rank}d, groups={_groups}, nnx={_side}"] = lambda r=_rank, g=_groups, s=_side: _conv(
                r, g, s
            )
        for _kept in (False, True):
            CASES[f"transposed conv{_rank}d, kept={_kept}, nnx={_side}"] = lambda r=_rank, k=_kept, s=_side: (
                _transposed(r, k, s)
            )
    CASES[f"depthwise conv2d, nnx={_side}"] = lambda s=_side: _conv(2, 4, s, 4, 4)

# Normalisations.


def _norm(kind: torch.nn.Module, flax: Linen | Nnx, row: str, *shape: int, **settings: Any) -> Case:
    spatial = len(shape) > 2 and type(kind).__name__ != "RMSNorm"
    last = spatial and not (type(kind).__name__ == "LayerNorm" and not settings)
    moved, back = (channels_last, channels_first) if last else (lambda a: a, lambda a: a)
    return Case(kind, flax, (type(kind).__name__, row), (x(*shape),), moved, back, settings)


_OPTIONS: dict[str, Any] = {"epsilon": 1e-5, "param_dtype": F64}
_CHW = {"reduction_axes": (-3, -2, -1), "feature_axes": (-3, -2, -1)}
CASES |= {
    "layer norm": lambda: _norm(torch.nn.LayerNorm(6), Linen(nn.LayerNorm(**_OPTIONS)), "nn.LayerNorm", 3, 6),
    "layer norm, nnx": lambda: _norm(
        torch.nn.LayerNorm(6), Nnx(nnx.LayerNorm(6, rngs=rngs(), **_OPTIONS)), "nnx.LayerNorm", 3, 6
    ),
    "layer norm of images": lambda: _norm(
        torch.nn.LayerNorm((4, 4, 4)),
        Linen(nn.LayerNorm(**_OPTIONS, **_CHW)),
        "nn.LayerNorm",
        *(2, 4, 4, 4),
        normalized_shape="CHW -> HWC",
    ),
    "group norm": lambda: _norm(
        torch.nn.GroupNorm(2, 6), Linen(nn.GroupNorm(num_groups=2, **_OPTIONS)), "nn.GroupNorm", 3, 6, 4, 5
    ),
    "group norm, nnx": lambda: _norm(
        torch.nn.GroupNorm(2, 6),
        Nnx(nnx.GroupNorm(6, num_groups=2, rngs=rngs(), **_OPTIONS)),
        "nnx.GroupNorm",
        *(3, 6, 4, 5),
    ),
    "rms norm": lambda: _norm(
        torch.nn.RMSNorm(6, eps=1e-5), Linen(nn.RMSNorm(**_OPTIONS)), "nn.RMSNorm", 3, 6
    ),
    "rms norm, nnx": lambda: _norm(
        torch.nn.RMSNorm(6, eps=1e-5), Nnx(nnx.RMSNorm(6, rngs=rngs(), **_OPTIONS)), "nnx.RMSNorm", 3, 6
    ),
    "instance norm": lambda: _norm(
        torch.nn.InstanceNorm2d(3, affine=True),
        Linen(nn.InstanceNorm(**_OPTIONS)),
        "nn.InstanceNorm",
        2,
        3,
        4,
        5,
    ),
    "instance norm, nnx": lambda: _norm(
        torch.nn.InstanceNorm1d(3, affine=True),
        Nnx(nnx.InstanceNorm(3, rngs=rngs(), **_OPTIONS)),
        "nnx.InstanceNorm",
        *(2, 3, 7),
    ),
    "batch norm": lambda: _norm(
        torch.nn.BatchNorm2d(3),
        Linen(nn.BatchNorm(use_running_average=True, **_OPTIONS)),
        "nn.BatchNorm",
        *(2, 3, 4, 5),
    ),
    "batch norm, nnx": lambda: _norm(
        torch.nn.BatchNorm1d(3),
        Nnx(nnx.BatchNorm(3, use_running_average=True, rngs=rngs(), **_OPTIONS)),
        "nnx.BatchNorm",
        *(4, 3),
    ),
}

# Attention.


def _attention(nnx_side: bool, **separate: int) -> Case:
    layer = torch.nn.MultiheadAttention(8, 2, batch_first=True, **separate)
    inputs = (x(2, 5, 8), x(2, 7, separate.get("kdim", 8)), x(2, 7, separate.get("vdim", 8)))
    options: dict[str, Any] = {"num_heads": 2, "qkv_features": 8, "param_dtype": F64, "dtype": F64}
    if nnx_side:
        module = nnx.MultiHeadAttention(
            in_features=8, in_kv_features=separate.get("kdim", 8), decode=False, rngs=rngs(), **options
        )
        flax: Linen | Nnx = Nnx(module)
    else:
        flax = Linen(nn.MultiHeadDotProductAttention(out_features=8, **options))
    return Case(
        layer,
        flax,
        ("MultiheadAttention", "nnx.MultiHeadAttention" if nnx_side else "nn.MultiHeadDotProductAttention"),
        inputs,
        settings={"num_heads": 2, "head_dim": 4, "_qkv_same_embed_dim": not separate},
        call=lambda *arrays: layer(*arrays, need_weights=False)[0],
        tolerance=1e-4 if nnx_side else 1e-12,  # NNX computes attention in float32, whatever its dtype
    )


CASES |= {
    "attention": lambda: _attention(False),
    "attention, nnx": lambda: _attention(True),
    "attention, separate": lambda: _attention(False, kdim=5, vdim=5),
    "attention, separate, nnx": lambda: _attention(True, kdim=5, vdim=5),
}

# Recurrent layers.


def _recurrent(kind: type, cell: Any, row: str, ending: str = "_l0", **options: Any) -> Case:
    layer = kind(4, 4, batch_first=True, **options)
    if row.startswith("nnx"):
        flax: Linen | Nnx = Nnx(nnx.RNN(cell, reverse=ending.endswith("reverse"), keep_order=True))
    else:
        flax = Linen(nn.RNN(cell, reverse=ending.endswith("reverse"), keep_order=True))
    half = slice(4, 8) if ending.endswith("reverse") else slice(0, 4)
    return Case(
        layer,
        flax,
        (kind.__name__, row),
        (x(2, 5, 4),),
        ending=ending,
        within=("cell",),
        call=lambda inputs: layer(inputs)[0][..., half],
        exact=not options.get("bias", True),
    )


CASES |= {
    "lstm": lambda: _recurrent(
        torch.nn.LSTM, nn.OptimizedLSTMCell(4, param_dtype=F64), "nn.OptimizedLSTMCell"
    ),
    "lstm, plain cell": lambda: _recurrent(torch.nn.LSTM, nn.LSTMCell(4, param_dtype=F64), "nn.LSTMCell"),
    "lstm, backwards": lambda: _recurrent(
        torch.nn.LSTM, nn.LSTMCell(4, param_dtype=F64), "nn.LSTMCell", "_l0_reverse", bidirectional=True
    ),
    "lstm, nnx": lambda: _recurrent(
        torch.nn.LSTM, nnx.LSTMCell(4, 4, dtype=F64, param_dtype=F64, rngs=rngs()), "nnx.LSTMCell"
    ),
    "lstm, nnx, optimized": lambda: _recurrent(
        torch.nn.LSTM,
        nnx.OptimizedLSTMCell(4, 4, dtype=F64, param_dtype=F64, rngs=rngs()),
        "nnx.OptimizedLSTMCell",
    ),
    "gru": lambda: _recurrent(torch.nn.GRU, nn.GRUCell(4, param_dtype=F64), "nn.GRUCell"),
    "gru, nnx": lambda: _recurrent(
        torch.nn.GRU, nnx.GRUCell(4, 4, dtype=F64, param_dtype=F64, rngs=rngs()), "nnx.GRUCell", bias=False
    ),
    "lstm, no bias": lambda: _recurrent(
        torch.nn.LSTM, nn.LSTMCell(4, param_dtype=F64), "nn.LSTMCell", bias=False
    ),
    "gru, no bias": lambda: _recurrent(
        torch.nn.GRU, nn.GRUCell(4, param_dtype=F64), "nn.GRUCell", bias=False
    ),
    "rnn": lambda: _recurrent(torch.nn.RNN, nn.SimpleCell(4, param_dtype=F64), "nn.SimpleCell"),
    "rnn, nnx": lambda: _recurrent(
        torch.nn.RNN, nnx.SimpleCell(4, 4, dtype=F64, param_dtype=F64, rngs=rngs()), "nnx.SimpleCell"
    ),
}

# Weight norm.


def _inner(kind: str, nnx_side: bool) -> tuple[torch.nn.Module, Any, tuple[int, ...]]:
    """A layer to wrap, its Flax counterpart, and the shape of its input; as many features in as out where it can be."""
    if kind == "Linear":
        dense = nnx.Linear(5, 5, param_dtype=F64, rngs=rngs()) if nnx_side else nn.Dense(5, param_dtype=F64)
        return torch.nn.Linear(5, 5), dense, (3, 5)
    rank = int(kind[-2])
    options: dict[str, Any] = {"padding": "VALID", "param_dtype": F64}
    if "Transpose" in kind:
        options["transpose_kernel"] = True
    flax = getattr(nnx if nnx_side else nn, "ConvTranspose" if "Transpose" in kind else "Conv")
    size = (3,) * rank
    layer = flax(4, 4, size, rngs=rngs(), **options) if nnx_side else flax(4, size, **options)
    return getattr(torch.nn, kind)(4, 4, 3), layer, (2, 4, *(5, 6, 7)[:rank])


def _wrapped(kind: str, norm: str, nnx_side: bool, *, old: bool = False) -> Case:
    inner, layer, shape = _inner(kind, nnx_side)
    wrap, row = ("weight_norm", "WeightNorm") if norm == "weight" else ("spectral_norm", "SpectralNorm")
    options = {"rngs": rngs()} if nnx_side else {}
    flax = getattr(nnx if nnx_side else nn, row)(layer, param_dtype=F64, **options)
    image, call = len(shape) > 2, None
    if norm == "spectral":
        call = (
            (lambda x: flax(x, update_stats=False))
            if nnx_side
            else (lambda variables, x: flax.apply(variables, x, update_stats=False))
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # the older spelling
        wrapped = getattr(torch.nn.utils if old else parametrizations, wrap)(inner)
    return Case(
        wrapped,
        Nnx(flax, call) if nnx_side else Linen(flax, call, {"update_stats": False} if call else {}),
        (kind, f"{'nnx' if nnx_side else 'nn'}.{row}"),
        (x(*shape),),
        channels_last if image else lambda a: a,
        channels_first if image else lambda a: a,
        settings={wrap: True, "transpose_kernel": True},
        exact=norm == "weight",
        tolerance=1e-9,
    )


for _side in (False, True):
    for _kind in ("Linear", "Conv1d", "Conv2d", "Conv3d"):
        for _what in ("weight", "spectral"):
            for _old in (False, True):
                _name = f"{_what} norm of {_kind}, nnx={_side}{', older spelling' if _old else ''}"
                CASES[_name] = lambda k=_kind, n=_what, s=_side, o=_old: _wrapped(k, n, s, old=o)
    for _kind in ("ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"):
        CASES[f"weight norm of {_kind}, nnx={_side}"] = lambda k=_kind, s=_side: _wrapped(k, "weight", s)


# The tests.


@pytest.fixture(autouse=True)
def _float64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def plan_of(case: Case, names: list[str]) -> TransferPlan:
    row = find_layer(*case.row, case.settings)
    inner = [name.removesuffix(case.ending) for name in names if name.endswith(case.ending)]
    within = (*(("layer",) if isinstance(case.flax, Nnx) else ()), *case.within)
    rules = layer_rules(row, inner, target=within, settings=case.settings, ending=case.ending)
    return TransferPlan(rules)


@pytest.mark.parametrize("name", CASES)
def test_both_forward_passes_agree_and_the_way_back_is_exact(name: str) -> None:
    case = CASES[name]()
    layer = randomised(case.torch)
    sources = arrays_by_name(opened(layer))
    moved = tuple(map(case.moved, case.inputs))
    target = case.flax.target(moved)
    plan = plan_of(case, list(sources))
    mine = {n: array for n, array in sources.items() if not case.ending or n.endswith(case.ending)}
    arrays = apply_plan(plan, mine, target).arrays
    with torch.no_grad():
        expected = (case.call or layer)(*map(torch.from_numpy, case.inputs)).numpy()
    actual = case.back(case.flax.run(target, arrays, moved))
    np.testing.assert_allclose(actual, expected, rtol=case.tolerance, atol=case.tolerance)

    template = target_of(layer).template
    turned = reverse_plan(plan, {n: array.spec for n, array in mine.items()}, target.template.by_name())
    back = apply_plan(
        turned, arrays, Target(template, sources), kept=[n for n in sources if n not in mine]
    ).arrays
    for key, array in mine.items():
        if case.exact and "num_batches_tracked" not in key:
            assert back[key].read().tobytes() == array.read().tobytes(), key
    again = apply_plan(plan, {n: back[n] for n in mine}, target).arrays
    for key, array in arrays.items():
        assert again[key].read().tobytes() == array.read().tobytes(), key


def test_every_row_has_a_case() -> None:
    used = {find_layer(*case.row, case.settings).name for case in (make() for make in CASES.values())}
    assert used == {row.name for row in BUILTIN}


def test_a_bias_without_a_place_is_an_error_that_says_why() -> None:
    with pytest.raises(UsageError, match=r"bias_hh, bias_ih of a GRU has no place in nnx\.GRUCell") as error:
        layer_rules(find_layer("GRU", "nnx.GRUCell"), {"weight_ih", "weight_hh", "bias_ih", "bias_hh"})
    assert "no hidden bias" in str(error.value)


def test_an_unknown_pair_lists_what_there_is() -> None:
    with pytest.raises(
        UsageError, match=r"no row of the table of layers leads from Linear to nn\.Conv"
    ) as error:
        find_layer("Linear", "nn.Conv")
    assert "nn.Dense, nnx.Linear" in str(error.value)


def test_a_missing_setting_is_named() -> None:
    with pytest.raises(UsageError, match="needs the setting num_heads"):
        layer_rules(find_layer("MultiheadAttention", "nnx.MultiHeadAttention"), {"in_proj_weight"})
