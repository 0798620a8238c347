"""Orbax directories.

backend     OrbaxBackend: claims, opens and saves
layout      which kind of directory it is; the steps of a CheckpointManager
items       opens one item
metadata    the tree of an item; entries reads its document
zarr        what an array's own document says
store       where the bytes of documents and chunks are
database    the keys of an OCDBT database; btree and dump parse its nodes, crc32c checks them
arrays      LazyArrays over chunks
codec       decodes a compressed chunk
writing     writes a checkpoint
"""

from __future__ import annotations

from ckpt_flax.orbax.backend import OrbaxBackend
from ckpt_flax.orbax.layout import Step, steps

__all__ = ["OrbaxBackend", "Step", "steps"]
