"""JSON documents of a checkpoint directory, read within bounds."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from ckpt_core.errors import CheckpointError, DamagedFileError, LimitError
from ckpt_core.source import Source

__all__ = ["MAX_JSON", "parse_json", "parse_object", "read_entries", "read_json", "read_object"]

MAX_JSON: Final = 1 << 30
"""Bytes that one document may have."""


def read_json(source: Source) -> Any:
    """Parse a file as one JSON value.

    Raises:
        DamagedFileError: it is no JSON, is nested too deep, or is larger than MAX_JSON.
    """
    if source.size > MAX_JSON:
        raise LimitError(f"a JSON document of {source.size} bytes", path=source.path)
    try:
        return parse_json(source.read(0, source.size))
    except DamagedFileError as error:
        raise error.located(source.path) from error.__cause__


def read_object(source: Source) -> dict[str, Any]:
    """Parse a file as one JSON object; raises DamagedFileError when it is anything else."""
    value = read_json(source)
    if not isinstance(value, dict):
        raise DamagedFileError("is not a JSON object", path=source.path)
    return value


def parse_object(data: bytes) -> dict[str, Any]:
    """Parse bytes as one JSON object; raises DamagedFileError when they are anything else."""
    value = parse_json(data)
    if not isinstance(value, dict):
        raise DamagedFileError("is not a JSON object")
    return value


def parse_json(data: bytes) -> Any:
    """Parse bytes as one JSON value; raises DamagedFileError when they are none, or are nested too deep."""
    try:
        return json.loads(data)
    except RecursionError as error:
        raise LimitError("JSON nested too deep") from error
    except ValueError as error:
        raise DamagedFileError(f"is not valid JSON ({str(error)[:200]})") from error


# A document with very many entries.


def read_entries(source: Source, name: str, entry: Callable[[str, Any], None]) -> dict[str, Any]:
    """Parse a file as one JSON object, and do not keep the members of its member `name`.

    Each of those is handed on as it is parsed: as Python objects all of them would take six times the bytes of the
    file at once.

    Arguments:
        source: the file.
        name: the member that is an object of very many entries.
        entry: called with the key and the value of each entry, in their order.

    Returns:
        The object, with an empty object in the place of that member.

    Raises:
        DamagedFileError: it is no JSON object, is nested too deep, or is larger than MAX_JSON.
    """
    if source.size > MAX_JSON:
        raise LimitError(f"a JSON document of {source.size} bytes", path=source.path)
    data = source.read(0, source.size)
    try:
        text = data.decode(json.detect_encoding(data))
        del data
        if not text.lstrip(" \t\n\r").startswith("{"):
            raise DamagedFileError("is not a JSON object")
        reader = _Reader(text)
        document: dict[str, Any] = {}
        for key in reader.members():
            if key == name and reader.at("{"):
                for entry_key in reader.members():
                    entry(entry_key, reader.value())
                document[key] = {}
            else:
                document[key] = reader.value()
        reader.end()
    except RecursionError as error:
        raise LimitError("JSON nested too deep", path=source.path) from error
    except CheckpointError as error:
        raise error.located(source.path) from error.__cause__
    except ValueError as error:
        raise DamagedFileError(f"is not valid JSON ({str(error)[:200]})", path=source.path) from error
    return document


class _Reader:
    """Reads a JSON text from the start, one value after the other."""

    _decode = json.JSONDecoder().raw_decode
    _sign = re.compile(r"[ \t\n\r]*([{},:]|)[ \t\n\r]*").match

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0

    def members(self) -> Iterator[str]:
        """Yield the keys of an object; the caller reads each value before it asks for the next key."""
        self.step("{")
        if self.at("}"):
            self.step("}")
            return
        while True:
            key = self.value()
            if type(key) is not str:
                raise ValueError(f"a name is expected before char {self.position}")
            self.step(":")
            yield key
            if self.step(",}") == "}":
                return

    def value(self) -> Any:
        """Parse the value that stands here."""
        value, self.position = self._decode(self.text, self.position)
        return value

    def at(self, sign: str) -> bool:
        """Say whether a sign stands here."""
        return self.text.startswith(sign, self.position)

    def step(self, signs: str) -> str:
        """Step over one of the signs, and over the space around it."""
        match = self._sign(self.text, self.position)
        sign = match[1] if match else ""
        if not sign or sign not in signs:
            raise ValueError(f"one of {signs} is expected at char {self.position}")
        self.position = match.end() if match else self.position
        return sign

    def end(self) -> None:
        """Raise ValueError when anything else follows."""
        if self.position != len(self.text):
            raise ValueError(f"more after its end at char {self.position}")
