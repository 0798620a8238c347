"""Rules that are read, and that the other framework does not have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ckpt_core.families.adam import ADAM_SLOTS
from ckpt_core.families.base import Family, Part, refuse
from ckpt_core.families.pieces import ADAM, TRACE
from ckpt_core.families.recipe import Call
from ckpt_core.families.rules import Keeps, OptaxRule, TorchRule

__all__ = ["OptaxOnly", "TorchOnly"]


class _Unpaired(Family):
    """Rules without a counterpart."""

    why: ClassVar[Mapping[str, tuple[str, str]]]
    """For each rule, why its state is not translated, and what to do instead."""

    def to_optax(self, part: Part) -> Part:
        refuse(*self.why[part.kind])

    def to_torch(self, part: Part) -> Part:
        refuse(*self.why[part.kind])

    def optax_recipe(self, kind: str, hyperparams: Mapping[str, Any], mask: Call | None = None) -> Call:
        refuse(f"an optax.{kind} is made by its own call alone", "Build it as the run did.")


class TorchOnly(_Unpaired):
    """torch's ASGD, LBFGS and SparseAdam, and the LAMB of third parties.

    Sources: `torch.optim.ASGD`, `torch.optim.LBFGS`, `torch.optim.SparseAdam`; You et al., arXiv:1904.00962.
    """

    torch = (
        TorchRule(
            "asgd",
            "torch.optim.ASGD",
            {"eta": "eta", "mu": "averaging_weight", "ax": "ax"},
            {"lr": 0.01, "lambd": 0.0001, "alpha": 0.75, "t0": 1000000.0, "weight_decay": 0, "foreach": None,
             "maximize": False, "differentiable": False, "capturable": False},
            marks=frozenset({"lambd", "t0"}),
        ),
        TorchRule(
            "lbfgs",
            "torch.optim.LBFGS",
            {name: name for name in ("func_evals", "n_iter", "d", "t", "old_dirs", "old_stps", "ro", "H_diag",
                                     "prev_flat_grad", "prev_loss", "al")},
            {"lr": 1, "max_iter": 20, "max_eval": 25, "tolerance_grad": 1e-07, "tolerance_change": 1e-09,
             "history_size": 100, "line_search_fn": None},
            optional=frozenset({"d", "t", "old_dirs", "old_stps", "ro", "H_diag", "prev_flat_grad", "prev_loss", "al"}),
            marks=frozenset({"history_size", "max_iter"}),
            has_step=False,
            is_joint=True,
        ),
        TorchRule(
            "sparseadam",
            "torch.optim.SparseAdam",
            ADAM_SLOTS,
            {"lr": 0.001, "betas": (0.9, 0.999), "eps": 1e-08, "maximize": False},
            lacks=frozenset({"weight_decay"}),
        ),
        TorchRule("lamb", "", ADAM_SLOTS, lacks=frozenset({"amsgrad"})),
    )  # fmt: skip
    scalars = frozenset({"eta", "averaging_weight"})
    why = {
        "asgd": (
            "torch's ASGD keeps an average of the iterates beside a learning rate that it lowers itself, and optax has no such rule",
            "Transfer the weights alone, and go on with optax.sgd and optax.ema of the weights; `ax` is that average.",
        ),
        "lbfgs": (
            "torch's LBFGS keeps its history as flat vectors over all parameters in torch's order, and optax.lbfgs as trees, beside a line search of its own",
            "Transfer the weights alone, and start optax.lbfgs anew: its history fills in a few steps.",
        ),
        "sparseadam": (
            "torch's SparseAdam updates only the rows that a batch touched, and optax has no such rule",
            "Transfer the weights alone; optax.adam updates every row.",
        ),
        "lamb": (
            "torch has no LAMB of its own, and those of third parties differ in bias correction and in the bounds of the trust ratio",
            "Transfer the weights alone, and start optax.lamb anew.",
        ),
    }


_LBFGS = Keeps(
    "optax._src.transform.ScaleByLBFGSState",
    ("count", "params", "updates", "diff_params_memory", "diff_updates_memory", "weights_memory"),
    scalars=frozenset({"params", "updates", "diff_params_memory", "diff_updates_memory", "weights_memory"}),
)


_BELIEF = Keeps("optax._src.transform.ScaleByBeliefState", ("count", "mu", "nu"))


def _adam_like(name: str, *keeps: Keeps) -> OptaxRule:
    return OptaxRule(name.rpartition(".")[2], f"optax.{name}", {}, keeps or (ADAM,))


class OptaxOnly(_Unpaired):
    """optax's Yogi, AdaBelief, NovoGrad, LAMB, LARS, SM3, ADOPT, ACProp and L-BFGS.

    Sources: `optax.yogi`, `optax.adabelief`, `optax.novograd`, `optax.lamb`, `optax.lars`, `optax.sm3`, `optax.lbfgs`,
    `optax.contrib.adopt`, `optax.contrib.acprop`.
    """

    optax = (
        _adam_like("yogi"),
        _adam_like("lamb"),
        _adam_like("contrib.adopt"),
        _adam_like("adabelief", _BELIEF),
        _adam_like("contrib.acprop", _BELIEF),
        _adam_like("novograd", Keeps("optax._src.transform.ScaleByNovogradState", ("count", "mu", "nu"))),
        OptaxRule("sm3", "optax.sm3", {}, (Keeps("optax._src.transform.ScaleBySM3State", ("mu", "nu")),)),
        OptaxRule("lars", "optax.lars", {}, (TRACE,), place=3),
        OptaxRule("lbfgs", "optax.lbfgs", {}, (_LBFGS,)),
    )
    why = {
        "lbfgs": (
            "optax.lbfgs keeps its history as trees beside a line search of its own, and torch's LBFGS as flat vectors",
            "Transfer the weights alone, and start torch.optim.LBFGS anew: its history fills in a few steps.",
        ),
    } | {
        kind: (
            f"torch has no {name} of its own, so that there is no one rule that would continue optax's",
            f"Stay in optax, or transfer the weights alone and start {instead} anew.",
        )
        for kind, name, instead in (
            ("yogi", "Yogi", "torch.optim.Adam"),
            ("adabelief", "AdaBelief", "torch.optim.AdamW"),
            ("adopt", "ADOPT", "torch.optim.AdamW"),
            ("acprop", "ACProp", "torch.optim.AdamW"),
            ("novograd", "NovoGrad", "torch.optim.AdamW"),
            ("lamb", "LAMB", "torch.optim.AdamW"),
            ("lars", "LARS", "torch.optim.SGD"),
            ("sm3", "SM3", "torch.optim.Adagrad"),
        )
    }
