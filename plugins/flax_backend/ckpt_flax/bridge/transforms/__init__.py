"""optax transformations that update as torch's optimizers do, where no stock one does: one file each.

Each is the rule alone, as optax's `scale_by_...` are: chain it with `optax.scale_by_learning_rate`, and with
`optax.add_decayed_weights` before it (torch's L2 term) or after it (decoupled decay). Every formula follows the
single-tensor code of torch.optim 2.13 term by term, so that float64 runs agree to rounding.
"""

from ckpt_flax.bridge.transforms.adafactor import torch_adafactor
from ckpt_flax.bridge.transforms.adagrad import scale_by_torch_adagrad
from ckpt_flax.bridge.transforms.amsgrad import scale_by_torch_amsgrad
from ckpt_flax.bridge.transforms.clipping import torch_clip_by_global_norm
from ckpt_flax.bridge.transforms.muon import scale_by_torch_muon
from ckpt_flax.bridge.transforms.nadam import scale_by_torch_nadam
from ckpt_flax.bridge.transforms.naming import labels_by_name, mask_by_name
from ckpt_flax.bridge.transforms.radam import scale_by_torch_radam
from ckpt_flax.bridge.transforms.rprop import scale_by_torch_rprop
from ckpt_flax.bridge.transforms.schedules import cosine_annealing, cosine_restarts, every

__all__ = [
    "cosine_annealing",
    "cosine_restarts",
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
