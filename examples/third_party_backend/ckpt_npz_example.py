"""A backend for NumPy's `.npz`: a ZIP archive with one `.npy` member per array, and `attributes.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote

from ckpt_core.backend import Backend, Holds, Stored
from ckpt_core.errors import DamagedFileError
from ckpt_core.families import EMPTY, Call, Family, Keeps, OptaxRule, Part, TorchRule, chained, learning_rate
from ckpt_core.hookspecs import hookimpl
from ckpt_core.layers import Layer, line
from ckpt_core.layouts import Layout, Leaves, Roles
from ckpt_core.npy import NPY_DTYPES, as_npy, read_npy
from ckpt_core.shapes import ShapeRules
from ckpt_core.sink import Sink
from ckpt_core.source import Source
from ckpt_core.zips import Zip, ZipWriter

ATTRIBUTES = "attributes.json"


class NpzBackend(Backend):
    name = "npz"
    suffixes = (".npz",)
    looks_for = "ZIP archive of .npy members"
    holds = Holds(dtypes=NPY_DTYPES)

    def sniff(self, source: Source) -> bool:
        is_zip = source.head[:4] in (b"PK\x03\x04", b"PK\x05\x06")
        return is_zip and all(name.endswith(".npy") or name == ATTRIBUTES for name in Zip(source).entries)

    def open(self, source: Source) -> Stored:
        archive = Zip(source)
        names = [name for name in archive.entries if name != ATTRIBUTES]
        tree = {unquote(name.removesuffix(".npy")): read_npy(archive.storage(name), name) for name in names}
        if len(tree) < len(names):
            raise DamagedFileError("two members stand for one name")
        return Stored(tree, archive.read_json(ATTRIBUTES))

    def save(self, stored: Stored, sink: Sink, options: Mapping[str, object]) -> None:
        with sink.file() as file:
            archive = ZipWriter(file)
            for name, array in stored.tree.items():
                archive.add_array(quote(name, safe=" ") + ".npy", as_npy(array))
            if stored.attributes:
                archive.add(ATTRIBUTES, json.dumps(dict(stored.attributes)).encode())
            archive.finish()


@hookimpl
def ckpt_core_backends() -> list[Backend]:
    return [NpzBackend()]


class BigVision(Layout):
    name = "big_vision"
    describes = "big_vision: params/..., opt/... and chrono/... in one flat table"
    parts = ("params", "opt", "chrono")

    def recognise(self, tree: Any) -> Roles | None:
        if not isinstance(tree, dict) or not all(str(key).startswith(self.parts) for key in tree):
            return None
        places = {part: self.below(tree, part) for part in self.parts}
        if not places["params"].paths:
            return None
        opt_states = {"opt": places["opt"]} if places["opt"].paths else {}
        return Roles(params=(places["params"],), opt_states=opt_states)

    def below(self, tree: dict[str, Any], part: str) -> Leaves:
        prefix = f"{part}/"
        return Leaves({tuple(key.split("/")[1:]): (key,) for key in tree if key.startswith(prefix)})


@hookimpl
def ckpt_core_layouts() -> list[Layout]:
    return [BigVision()]


@hookimpl
def ckpt_core_rules() -> list[ShapeRules]:
    blocks = "**/Transformer/encoderblock_*"
    shapes = {
        "**/embedding/kernel": "patch_size patch_size channels width",
        "**/pos_embedding": "1 grid**2 width",
        blocks: "count depth",
        f"{blocks}/MlpBlock_0/Dense_0/kernel": "width mlp_dim",
        f"{blocks}/MultiHeadDotProductAttention_0/query/kernel": "width num_heads head_dim",
    }
    reasons = {"dropout": "it leaves no trace in the weights"}
    return [ShapeRules(shapes, reasons, aliases={"mlp_dim": ["mlp_size"]}, name="vit")]


@hookimpl
def ckpt_core_layers() -> list[Layer]:
    lines = (
        line("proj.weight -> gate/kernel value/kernel", "split(axis=0, parts=2)", "transpose"),
        line("proj.bias -> gate/bias value/bias", "split(axis=0, parts=2)"),
    )
    return [Layer("gated", torch=("GatedLinear",), flax=("GatedDense",), lines=lines)]


class Signum(Family):
    """`ckpt_npz_example_torch.Signum` and `optax.chain(trace, scale_by_sign, scale_by_learning_rate)`.

    Both: m = momentum m + g; p = p - lr sign(m). Exact, torch's `sign_momentum` is `trace`.

    Source: Bernstein et al., arXiv:1802.04434.
    """

    torch = (
        TorchRule(
            "signum",
            "ckpt_npz_example_torch.Signum",
            slots={"sign_momentum": "trace"},
            defaults={"lr": 0.01, "momentum": 0.9},
            has_step=False,
        ),
    )
    trace = Keeps("optax.transforms._accumulation.TraceState", ("trace",))
    optax = (OptaxRule("signum", defaults={"learning_rate": None, "momentum": 0.9}, keeps=(trace,)),)
    functions = {"optax.scale_by_sign": lambda _: EMPTY}
    names = {"lr": "learning_rate", "momentum": "momentum"}
    takes_mask = False  # it has no weight decay

    def to_optax(self, part: Part) -> Part:
        return part.becoming("signum", self.in_optax(part))

    def to_torch(self, part: Part) -> Part:
        part = self.complete(part)
        return part.becoming("signum", self.in_torch(part))

    def optax_recipe(self, kind: str, hyperparams: Mapping[str, Any], mask: Call | None = None) -> Call:
        momentum = Call("optax.trace", (), {"decay": hyperparams["momentum"]})
        return chained(momentum, Call("optax.scale_by_sign"), learning_rate(hyperparams))


@hookimpl
def ckpt_core_optimizers() -> list[Family]:
    return [Signum()]
