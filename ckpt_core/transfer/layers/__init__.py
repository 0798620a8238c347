"""What is known of layers in torch and in Flax, one family per file, rows as data."""

from __future__ import annotations

from ckpt_core.layers import Layer, Line, line
from ckpt_core.transfer.layers.table import BUILTIN, find_layer, known_layers, layer_rules

__all__ = ["BUILTIN", "Layer", "Line", "find_layer", "known_layers", "layer_rules", "line"]
