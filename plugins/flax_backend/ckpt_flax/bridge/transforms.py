"""optax transformations that update as torch's optimizers do, where no stock one does.

Each is the rule alone, as optax's `scale_by_...` are: chain it with `optax.scale_by_learning_rate`, and with
`optax.add_decayed_weights` before it (torch's L2 term) or after it (decoupled decay). Every formula follows the
single-tensor code of torch.optim 2.13 term by term, so that float64 runs agree to rounding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ckpt_core.keypath import join_name

__all__ = [
    "every",
    "labels_by_name",
    "mask_by_name",
    "scale_by_torch_adagrad",
    "scale_by_torch_amsgrad",
    "scale_by_torch_muon",
    "scale_by_torch_nadam",
    "scale_by_torch_radam",
    "scale_by_torch_rprop",
    "torch_adafactor",
    "torch_clip_by_global_norm",
]


class ScaleByTorchAmsgradState(NamedTuple):
    """Adam's moments, and the largest raw second moment so far."""

    count: Any
    mu: Any
    nu: Any
    max_nu: Any


class ScaleByTorchNadamState(NamedTuple):
    """Adam's moments, and for each parameter the product of the momenta so far, in float32 as torch has it."""

    count: Any
    mu: Any
    nu: Any
    mu_product: Any


class ScaleByTorchRadamState(NamedTuple):
    """Adam's moments."""

    count: Any
    mu: Any
    nu: Any


class ScaleByTorchAdagradState(NamedTuple):
    """The sums of squared gradients."""

    count: Any
    sum_of_squares: Any


class ScaleByTorchRpropState(NamedTuple):
    """The step sizes, and the gradients before."""

    step_sizes: Any
    prev_grads: Any


class ScaleByTorchMuonState(NamedTuple):
    """The running mean of the gradients."""

    momentum: Any


class TorchAdafactorState(NamedTuple):
    """Means of squared gradients over each of two dimensions (kept with size 1), or unfactored; None elsewhere."""

    count: Any
    row_var: Any
    col_var: Any
    variance: Any


def _zeros(params: Any) -> Any:
    return jax.tree.map(jnp.zeros_like, params)


def _moments(grads: Any, state: Any, b1: float, b2: float) -> tuple[Any, Any, Any]:
    """Adam's moments and the count after one more gradient."""
    mu = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.mu, grads)
    nu = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, state.nu, grads)
    return optax.safe_increment(state.count), mu, nu


def _power(base: float, count: Any, like: Any) -> Any:
    return jnp.asarray(base, like.dtype) ** count


def scale_by_torch_amsgrad(
    b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8
) -> optax.GradientTransformation:
    """Scale as `torch.optim.Adam(amsgrad=True)` does: by the maximum of the raw second moments, corrected afterwards.

    u = m / (1 - b1^t) / (sqrt(max_nu / (1 - b2^t)) + eps), max_nu = max(max_nu, nu).

    Arguments:
        b1: decay of the first moment.
        b2: decay of the second moment.
        eps: added to the root.
    """

    def init(params: Any) -> ScaleByTorchAmsgradState:
        return ScaleByTorchAmsgradState(
            jnp.zeros([], jnp.int32), _zeros(params), _zeros(params), _zeros(params)
        )

    def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, ScaleByTorchAmsgradState]:
        del params
        count, mu, nu = _moments(grads, state, b1, b2)
        largest = jax.tree.map(jnp.maximum, state.max_nu, nu)

        def scaled(m: Any, v: Any) -> Any:
            root = jnp.sqrt(v) / jnp.sqrt(1 - _power(b2, count, v)) + eps
            return m / (1 - _power(b1, count, m)) / root

        return jax.tree.map(scaled, mu, largest), ScaleByTorchAmsgradState(count, mu, nu, largest)

    return optax.GradientTransformation(init, update)


def scale_by_torch_nadam(
    b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8, momentum_decay: float = 4e-3
) -> optax.GradientTransformation:
    """Scale as `torch.optim.NAdam` does, its momentum schedule included.

    mu_t = b1 (1 - 0.96^(t momentum_decay) / 2), M_t = mu_1 ... mu_t;
    u = ((1 - mu_t) g / (1 - M_t) + mu_{t+1} m / (1 - M_{t+1})) / (sqrt(v / (1 - b2^t)) + eps).

    Arguments:
        b1: the momentum that the schedule tends to, and the decay of the first moment.
        b2: decay of the second moment.
        eps: added to the root.
        momentum_decay: torch's psi.
    """

    def init(params: Any) -> ScaleByTorchNadamState:
        product = jax.tree.map(lambda _: jnp.ones([], jnp.float32), params)
        return ScaleByTorchNadamState(jnp.zeros([], jnp.int32), _zeros(params), _zeros(params), product)

    def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, ScaleByTorchNadamState]:
        del params
        count, mu, nu = _moments(grads, state, b1, b2)
        wide = jnp.result_type(float)  # torch computes these scalars in Python's floats
        time = count.astype(wide)
        now = b1 * (1 - 0.5 * jnp.asarray(0.96, wide) ** (time * momentum_decay))
        following = b1 * (1 - 0.5 * jnp.asarray(0.96, wide) ** ((time + 1) * momentum_decay))
        product = jax.tree.map(lambda p: p * now.astype(p.dtype), state.mu_product)

        def scaled(m: Any, v: Any, g: Any, p: Any) -> Any:
            root = jnp.sqrt(v / (1 - _power(b2, count, v))) + eps
            p = p.astype(wide)
            gradient = ((1 - now) / (1 - p)).astype(g.dtype) * g
            momentum = (following / (1 - p * following)).astype(m.dtype) * m
            return gradient / root + momentum / root

        updates = jax.tree.map(scaled, mu, nu, grads, product)
        return updates, ScaleByTorchNadamState(count, mu, nu, product)

    return optax.GradientTransformation(init, update)


def scale_by_torch_radam(
    b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8
) -> optax.GradientTransformation:
    """Scale as `torch.optim.RAdam` does: eps is added to the root of the uncorrected second moment.

    u = r_t m / (1 - b1^t) sqrt(1 - b2^t) / (sqrt(v) + eps) once rho_t > 5, and m / (1 - b1^t) before.

    Arguments:
        b1: decay of the first moment.
        b2: decay of the second moment.
        eps: added to the root.
    """
    limit = 2 / (1 - b2) - 1

    def init(params: Any) -> ScaleByTorchRadamState:
        return ScaleByTorchRadamState(jnp.zeros([], jnp.int32), _zeros(params), _zeros(params))

    def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, ScaleByTorchRadamState]:
        del params
        count, mu, nu = _moments(grads, state, b1, b2)
        wide = jnp.result_type(float)
        decay = jnp.asarray(b2, wide) ** count
        # 1 - b2^t loses its digits in float32 while it is small; expm1 keeps them, and with them the threshold.
        rest = -jnp.expm1(count * jnp.log(jnp.asarray(b2, wide)))
        rho = limit - 2 * count * decay / rest
        safe = jnp.where(rho > 5, rho, 5.0)
        rect = jnp.sqrt((safe - 4) * (safe - 2) * limit / ((limit - 4) * (limit - 2) * safe))

        def scaled(m: Any, v: Any) -> Any:
            corrected = m / (1 - _power(b1, count, m))
            adaptive = jnp.sqrt(rest).astype(v.dtype) / (jnp.sqrt(v) + eps) * rect.astype(v.dtype)
            return jnp.where(rho > 5, corrected * adaptive, corrected)

        return jax.tree.map(scaled, mu, nu), ScaleByTorchRadamState(count, mu, nu)

    return optax.GradientTransformation(init, update)


def scale_by_torch_adagrad(
    eps: float = 1e-10, lr_decay: float = 0.0, initial_accumulator_value: float = 0.0
) -> optax.GradientTransformation:
    """Scale as `torch.optim.Adagrad` does: eps is added to the root, and the rate decays with the step.

    s = s + g^2; u = g / (sqrt(s) + eps) / (1 + (t - 1) lr_decay).

    Arguments:
        eps: added to the root.
        lr_decay: torch's decay of the learning rate.
        initial_accumulator_value: what the sums begin with.
    """

    def init(params: Any) -> ScaleByTorchAdagradState:
        sums = jax.tree.map(lambda p: jnp.full_like(p, initial_accumulator_value), params)
        return ScaleByTorchAdagradState(jnp.zeros([], jnp.int32), sums)

    def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, ScaleByTorchAdagradState]:
        del params
        sums = jax.tree.map(lambda s, g: s + g * g, state.sum_of_squares, grads)
        slowed = 1 + state.count.astype(jnp.result_type(float)) * lr_decay
        updates = jax.tree.map(lambda g, s: g / (jnp.sqrt(s) + eps) / slowed.astype(g.dtype), grads, sums)
        return updates, ScaleByTorchAdagradState(optax.safe_increment(state.count), sums)

    return optax.GradientTransformation(init, update)


def scale_by_torch_rprop(
    learning_rate: float,
    eta_minus: float = 0.5,
    eta_plus: float = 1.2,
    min_step_size: float = 1e-6,
    max_step_size: float = 50.0,
) -> optax.GradientTransformation:
    """Step as `torch.optim.Rprop` does; chain it with `optax.scale(-1.0)`.

    s = sign(g g'); the step grows by eta_plus where s > 0 and shrinks by eta_minus where s < 0, where g counts as 0.

    Arguments:
        learning_rate: the first step size.
        eta_minus: the factor where the gradient's sign has changed.
        eta_plus: the factor where it has not.
        min_step_size: the smallest step size.
        max_step_size: the largest step size.
    """

    def init(params: Any) -> ScaleByTorchRpropState:
        return ScaleByTorchRpropState(
            jax.tree.map(lambda p: jnp.full_like(p, learning_rate), params), _zeros(params)
        )

    def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, ScaleByTorchRpropState]:
        del params
        signs = jax.tree.map(lambda g, before: jnp.sign(g * before), grads, state.prev_grads)

        def resized(step: Any, sign: Any) -> Any:
            factor = jnp.where(sign > 0, eta_plus, jnp.where(sign < 0, eta_minus, 1.0)).astype(step.dtype)
            return jnp.clip(step * factor, min_step_size, max_step_size)

        steps = jax.tree.map(resized, state.step_sizes, signs)
        kept = jax.tree.map(lambda g, sign: jnp.where(sign < 0, jnp.zeros_like(g), g), grads, signs)
        return jax.tree.map(lambda g, s: jnp.sign(g) * s, kept, steps), ScaleByTorchRpropState(steps, kept)

    return optax.GradientTransformation(init, update)


def scale_by_torch_muon(
    momentum: float = 0.95,
    nesterov: bool = True,
    ns_coefficients: Sequence[float] = (3.4445, -4.775, 2.0315),
    eps: float = 1e-7,
    ns_steps: int = 5,
    adjust_lr_fn: str | None = None,
    transposed: bool = True,
) -> optax.GradientTransformation:
    """Orthogonalise as `torch.optim.Muon` does, its bfloat16 rounding included; every parameter is a matrix.

    Arguments:
        momentum: decay of the running mean.
        nesterov: whether the gradient is mixed in once more.
        ns_coefficients: a, b, c of the Newton-Schulz iteration.
        eps: the smallest norm divided by.
        ns_steps: iterations.
        adjust_lr_fn: None or "original" for sqrt(max(1, rows / columns)), "match_rms_adamw" for
            0.2 sqrt(max(rows, columns)), of torch's (out, in) shape.
        transposed: the parameters are (in, out), as Flax's kernels are.
    """
    a, b, c = ns_coefficients

    def rounded(x: Any) -> Any:
        return jax.lax.reduce_precision(x, exponent_bits=8, mantissa_bits=7)

    def orthogonal(x: Any) -> Any:
        dtype = x.dtype
        x = rounded(x.astype(jnp.float32))
        tall = x.shape[0] > x.shape[1]
        x = x.T if tall else x
        x = rounded(x / jnp.maximum(rounded(jnp.linalg.norm(x)), eps))
        for _ in range(ns_steps):
            gram = rounded(jnp.matmul(x, x.T, precision="highest"))
            mixed = rounded(b * gram + c * jnp.matmul(gram, gram, precision="highest"))
            x = rounded(a * x + jnp.matmul(mixed, x, precision="highest"))
        return (x.T if tall else x).astype(dtype)

    def ratio(shape: tuple[int, int]) -> float:
        rows, columns = (shape[1], shape[0]) if transposed else shape
        if adjust_lr_fn in (None, "original"):
            return float(max(1, rows / columns) ** 0.5)
        return float(0.2 * max(rows, columns) ** 0.5) if adjust_lr_fn == "match_rms_adamw" else 1.0

    def init(params: Any) -> ScaleByTorchMuonState:
        return ScaleByTorchMuonState(_zeros(params))

    def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, ScaleByTorchMuonState]:
        del params
        means = jax.tree.map(lambda m, g: m + (1 - momentum) * (g - m), state.momentum, grads)

        def scaled(g: Any, m: Any) -> Any:
            mixed = g + momentum * (m - g) if nesterov else m
            matrix = mixed.T if transposed else mixed
            made = orthogonal(matrix)
            return (made.T if transposed else made) * ratio(g.shape)

        return jax.tree.map(scaled, grads, means), ScaleByTorchMuonState(means)

    return optax.GradientTransformation(init, update)


def torch_adafactor(
    learning_rate: Any,
    beta2_decay: float = -0.8,
    eps: tuple[float | None, float] = (None, 1e-3),
    d: float = 1.0,
    weight_decay: float = 0.0,
    axes: Mapping[str, tuple[int, int]] | None = None,
) -> optax.GradientTransformation:
    """Update as `torch.optim.Adafactor` does, from gradient to step: it needs no learning rate beside it.

    Arguments:
        learning_rate: a number, or a schedule.
        beta2_decay: the second moments' weight at step t is t^beta2_decay.
        eps: (the smallest root mean, None for the dtype's epsilon; the smallest scale of a parameter).
        d: the largest root mean square of an update.
        weight_decay: decoupled weight decay.
        axes: for parameters of two dimensions and more, by name, which axes are torch's last and last but one. Else
            they are those of a Flax kernel: (0, 1) of a matrix (in, out), (1, 0) of a convolution (h, w, in, out).
    """
    eps1, eps2 = eps

    def dims(name: str, x: Any) -> tuple[int, int] | None:
        if x.ndim < 2:
            return None
        default = (x.ndim - 3, x.ndim - 4) if x.ndim >= 4 else (0, x.ndim - 1)
        return tuple((axes or {}).get(name, default))

    def init(params: Any) -> TorchAdafactorState:
        def mean(which: int) -> Any:
            def leaf(path: Any, x: Any) -> Any:
                found = dims(_name(path), x)
                if found is None:
                    return None
                return jnp.zeros(
                    [1 if i == found[which] else size for i, size in enumerate(x.shape)], x.dtype
                )

            return jax.tree_util.tree_map_with_path(leaf, params)

        whole = jax.tree.map(lambda x: jnp.zeros_like(x) if x.ndim < 2 else None, params)
        return TorchAdafactorState(jnp.zeros([], jnp.int32), mean(0), mean(1), whole)

    def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, TorchAdafactorState]:
        if params is None:
            raise ValueError("torch_adafactor needs the parameters: tx.update(grads, state, params)")
        count = optax.safe_increment(state.count)
        rate = learning_rate(state.count) if callable(learning_rate) else learning_rate
        time = count.astype(jnp.result_type(float))
        weight = time**beta2_decay
        bounded = jnp.minimum(rate, 1 / jnp.sqrt(time))

        def leaf(path: Any, g: Any, p: Any, row: Any, column: Any, whole: Any) -> _Updated:
            found = dims(_name(path), g)
            least = jnp.finfo(p.dtype).eps if eps1 is None else eps1
            w = weight.astype(g.dtype)
            if found is None:
                whole = whole + w * (g * g - whole)
                estimate = whole
            else:
                row = row + w * (jnp.mean(g * g, axis=found[0], keepdims=True) - row)
                column = column + w * (jnp.mean(g * g, axis=found[1], keepdims=True) - column)
                mean = jnp.maximum(jnp.mean(row, axis=found[1], keepdims=True), least)
                estimate = row * column / mean
            step = g / jnp.sqrt(jnp.maximum(estimate, least * least))
            scale = jnp.maximum(eps2, jnp.sqrt(jnp.mean(p * p))) * bounded.astype(g.dtype)
            scale /= jnp.maximum(1.0, jnp.sqrt(jnp.mean(step * step)) / d)
            decayed = (rate * weight_decay) * p if weight_decay else 0
            return _Updated(-(scale * step + decayed), row, column, whole)

        is_none = lambda x: x is None  # noqa: E731  # the holes are leaves here
        made = jax.tree_util.tree_map_with_path(
            leaf, grads, params, state.row_var, state.col_var, state.variance, is_leaf=is_none
        )
        parts = [
            jax.tree.map(lambda u, i=i: u[i], made, is_leaf=lambda x: isinstance(x, _Updated))
            for i in range(4)
        ]
        return parts[0], TorchAdafactorState(count, *parts[1:])

    return optax.GradientTransformation(init, update)


class _Updated(NamedTuple):
    update: Any
    row: Any
    column: Any
    whole: Any


def torch_clip_by_global_norm(max_norm: float) -> optax.GradientTransformation:
    """Clip as `torch.nn.utils.clip_grad_norm_` does: by min(1, max_norm / (norm + 1e-6)).

    Arguments:
        max_norm: the largest norm of all gradients together.
    """

    def init(params: Any) -> Any:
        del params
        return optax.EmptyState()

    def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params
        norm = jnp.sqrt(sum(jnp.sum(g * g) for g in jax.tree.leaves(grads)))
        factor = jnp.minimum(1.0, max_norm / (norm + 1e-6))
        return jax.tree.map(lambda g: g * factor.astype(g.dtype), grads), state

    return optax.GradientTransformation(init, update)


def every(steps: int, schedule: Any) -> Any:
    """Return a schedule that moves on once in so many updates, as a torch scheduler that is stepped once an epoch.

    It is evaluated in the widest float that is enabled: optax's schedules turn an integer count into float32, also in
    float64 runs.

    Arguments:
        steps: the updates to a step of the schedule.
        schedule: a function of its own count.
    """
    return lambda count: schedule((count // steps).astype(jnp.result_type(float)))


# Names.


def labels_by_name(names: Mapping[str, Sequence[str]]) -> Any:
    """Return a function that labels parameters by name, for `optax.multi_transform`.

    Arguments:
        names: for each label, the names of its parameters, segments joined by `/`, as `ckpt inspect` shows them.

    Raises:
        KeyError: when applied, a parameter stands under no label.
    """
    label_of = {name: label for label, members in names.items() for name in members}

    def labels(params: Any) -> Any:
        def leaf(path: Any, _: Any) -> str:
            return label_of[_name(path)]

        return jax.tree_util.tree_map_with_path(leaf, params)

    return labels


def mask_by_name(names: Sequence[str]) -> Any:
    """Return a function that masks parameters by name: True for those that are listed.

    Arguments:
        names: the names, segments joined by `/`, as `ckpt inspect` shows them.
    """
    chosen = frozenset(names)

    def mask(params: Any) -> Any:
        return jax.tree_util.tree_map_with_path(lambda path, _: _name(path) in chosen, params)

    return mask


def _name(path: Sequence[Any]) -> str:
    """The neutral name of a leaf: without what wraps all parameters (`params`) or one value (`value`)."""
    segments = [_segment(key) for key in path]
    if len(segments) > 1 and segments[0] == "params":
        segments = segments[1:]
    if len(segments) > 1 and segments[-1] == "value":
        segments = segments[:-1]
    return join_name(tuple(segments))


def _segment(key: Any) -> str:
    tree = jax.tree_util
    if isinstance(key, (tree.DictKey, tree.FlattenedIndexKey)):
        return str(key.key)
    return str(key.name if isinstance(key, tree.GetAttrKey) else key.idx)
