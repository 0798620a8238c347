"""Optimizers that torch does not have; importing this module imports torch."""

from ckpt_torch.bridge.rules import Lion

__all__ = ["Lion"]
