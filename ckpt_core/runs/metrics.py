"""Which way a metric is better, told from its name; and which names are of a running best."""

from __future__ import annotations

import re
from typing import Final, Literal

from ckpt_core.errors import UsageError

__all__ = ["Mode", "direction", "is_metric", "is_running_best", "mode_of", "words_of"]

Mode = Literal["min", "max"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_LOSSES: Final = frozenset({"loss", "losses", "err", "error", "errors", "eer"})
"""Words that say "lower is better" whatever stands beside them: `top1_error`, `loss_iou`."""

_DOWN: Final = _LOSSES | _words(
    "wer cer per ter fid kid fad ppl perplexity mse rmse mae mape smape msle rmsle lpips nll bpd bpc ece brier fpr "
    "fnr far frr dcf epe crps kl regret chamfer hausdorff hd mcd hamming energy"
)
_UP: Final = _words(
    "acc accuracy top f1 f2 fbeta auc auroc auprc ap map mar iou miou dice jaccard psnr ssim bleu rouge rougel "
    "meteor cider chrf r2 precision recall sensitivity specificity tpr tnr reward rewards return returns score "
    "fitness ndcg mrr hit hits mcc kappa ari nmi pesq stoi sdr snr elbo likelihood pck em success pearson spearman "
    "correlation purity"
)
_RUNNING: Final = frozenset({"best", "lowest", "highest"})
_SPLITS: Final = _words("val valid validation train training test eval dev")
_OPPOSITE: Final = frozenset({"neg", "negative"})
_MODES: Final[dict[str, Mode]] = {"min": "min", "max": "max"}
_FLIPPED: Final[dict[Mode, Mode]] = {"min": "max", "max": "min"}


def words_of(name: str) -> list[str]:
    """Return the words of a name in lower case: at `_`, `-`, `/`, `.`, `:`, spaces, and before capitals.

    Example:
        >>> words_of("val/MeanIoU_top1")
        ['val', 'mean', 'iou', 'top1']
    """
    name = re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", "_", name)
    return [word.lower() for word in re.split(r"[\s_\-/.:@]+", name) if word]


def direction(name: str) -> Mode | None:
    """Say whether a metric is better when it is lower ("min") or higher ("max"); None where the name does not tell.

    Losses and error rates (eer, wer, fid, perplexity, mse, ...) go down; accuracies, f1, auc, bleu, iou, psnr,
    r2, rewards and the like go up. `neg_` turns it round.

    Example:
        >>> direction("best_val_eer"), direction("val_acc"), direction("temperature")
        ('min', 'max', None)
    """
    words = words_of(name)
    known = [(mode, bare) for mode, bare in map(_of_word, words) if mode is not None]
    if not known:
        return None
    mode: Mode = "min" if any(bare in _LOSSES for _, bare in known) else known[-1][0]
    return _FLIPPED[mode] if _OPPOSITE & set(words) else mode


def _of_word(word: str) -> tuple[Mode | None, str]:
    for bare in (word, word.rstrip("0123456789")):  # acc1, top5, map50
        if bare in _DOWN:
            return "min", bare
        if bare in _UP:
            return "max", bare
    return None, word


def mode_of(name: str, mode: str | None = None) -> Mode:
    """Return which way a metric is better: as told, or as its name tells.

    Raises:
        UsageError: `mode` is neither "min" nor "max", or is not given and the name does not tell.
    """
    if mode not in (None, "min", "max"):
        raise UsageError(f'mode={mode!r} is neither "min" nor "max"')
    told = direction(name) if mode is None else _MODES[mode]
    if told is None:
        raise UsageError(
            f"the name of the metric {name!r} does not tell whether lower or higher is better",
            remedy='Say so: mode="min" or mode="max" (--mode min, --mode max).',
        )
    return told


def is_running_best(name: str) -> bool:
    """Say whether a name is of the best value so far (`best_val_eer`), which says nothing about this checkpoint."""
    return bool(_RUNNING & set(words_of(name)))


def is_metric(name: str) -> bool:
    """Say whether a name is that of a metric, as far as names tell."""
    words = words_of(name)
    return bool(words) and (direction(name) is not None or (len(words) > 1 and words[0] in _SPLITS))
