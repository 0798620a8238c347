"""Flax msgpack files.

backend     MsgpackBackend: claims, opens and saves; the metadata entry
sniffing    whether a file is one
reading     the tree of a file; heads remembers the arrays that it met
extensions  arrays and numbers; chunks puts together what is over 1 GiB
writing     writes a tree
tokens      the tokens of msgpack
"""

from __future__ import annotations

from ckpt_flax.msgpack.backend import MsgpackBackend, read_msgpack

__all__ = ["MsgpackBackend", "read_msgpack"]
