"""Backend: the abstract class that a format implements, and what passes between it and core."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ckpt_core.arrays import LazyArray
from ckpt_core.dtypes import ITEMSIZE
from ckpt_core.errors import UnsupportedError
from ckpt_core.sink import Sink
from ckpt_core.source import Source
from ckpt_core.tree import Global, Record

__all__ = ["Backend", "Holds", "Stored"]


@dataclass(frozen=True, slots=True)
class Stored:
    """What a container holds.

    Arguments:
        tree: dicts, lists, tuples and Records with LazyArrays and plain values as leaves.
        attributes: the container's free metadata, as JSON values under string keys.
        notes: what a reader should be told about the file, one sentence each.
    """

    tree: Any
    attributes: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Holds:
    """What a container can hold; core fits a tree to it before the first byte is written.

    Arguments:
        dtypes: the dtypes of arrays, by neutral name.
        values: the kinds of leaves besides arrays: "None", "bool", "int", "float", "complex", "str", "bytes",
            "scalar" for numpy scalars, and "surrogates" for texts that are no valid Unicode.
        containers: "dict", "list", "tuple", "OrderedDict"; none of them means a flat table of named arrays, in
            which paths are joined by ".".
        keys: the kinds of dictionary keys: "str", "surrogates", "int", "float", "bool", "None", "bytes", "tuple".
        int_bits: the width of integers (signed), None where they have no limit.
        sharing: tied arrays can share their bytes.
        overlapping: arrays that share a part of their bytes can, too.
        order: the order of keys survives.
        unique_names: no two leaves may have the same path when it is joined by ".".
        pointed_texts: texts are found by their joined paths as JSON pointers, so that no such path may have a "~" or
            be the beginning of another at a "/".
        attributes: "json" (any JSON value), "text" (strings only) or "none".
        reserved: top-level names that the container keeps for itself.
        loader_gaps: for dtypes that the container holds and not all of its official loaders read, which do not,
            as the end of a sentence ("is not read by ...").
    """

    dtypes: frozenset[str] = frozenset(ITEMSIZE)
    values: frozenset[str] = frozenset()
    containers: frozenset[str] = frozenset()
    keys: frozenset[str] = frozenset({"str"})
    int_bits: int | None = 64
    sharing: bool = False
    overlapping: bool = False
    order: bool = True
    unique_names: bool = False
    pointed_texts: bool = False
    attributes: str = "json"
    reserved: frozenset[str] = frozenset()
    loader_gaps: Mapping[str, str] = field(default_factory=dict)


class Backend(abc.ABC):
    """One format.

    `sniff` and `open` are required. A format that can be written also states what it `holds` and implements
    `save`. Objects are stateless and shared between threads.
    """

    name: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]] = ()
    looks_for: ClassVar[str] = "its own marker"
    """What `sniff` looks for, as shown when nothing claims a file."""
    holds: ClassVar[Holds | None] = None
    options: ClassVar[tuple[str, ...]] = ()
    """The names of the options that `save` takes; core refuses any other."""
    framework: ClassVar[str] = ""
    """The framework whose orientation and names weights of this format have, where it has one: "pt", "flax"."""
    framework_key: ClassVar[str] = ""
    """The attribute in which readers of this format look for the framework, if they do."""

    @abc.abstractmethod
    def sniff(self, source: Source) -> bool:
        """Say whether the source is of this format, from its first bytes or its members; cheap, and pure."""

    @abc.abstractmethod
    def open(self, source: Source) -> Stored:
        """Read the structure; arrays stay where they are until they are asked for.

        Raises:
            DamagedFileError: the bytes contradict themselves.
            MissingDependencyError: a library that this format needs is not installed.
        """

    def save(self, stored: Stored, sink: Sink, options: Mapping[str, object]) -> None:
        """Write a tree that fits `holds`, leaf by leaf."""
        raise UnsupportedError(f"the {self.name} backend only reads")

    def foreign(self, source: Source) -> tuple[str, ...]:
        """Return the paths of what lies in a directory of this format and is no part of the checkpoint.

        Core replaces a directory as a whole, and only where there is nothing of the kind.
        """
        return ()

    def adopt(self, value: object) -> LazyArray | Record | Global | None:
        """Wrap a live array of the framework that this format belongs to; None for anything else.

        Its values that are no plain arrays, such as typed random keys and dtypes, may become what a pickle of them
        reads as. It must not import the framework: an array of it can only exist when somebody else has.
        """
        return None
