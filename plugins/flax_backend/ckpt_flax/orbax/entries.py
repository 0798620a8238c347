"""A JSON document with very many entries, read block by block and handed on entry by entry."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from ckpt_core.errors import CheckpointError, DamagedFileError, LimitError
from ckpt_core.source import Source
from ckpt_flax.orbax.jsontext import MAX_JSON

__all__ = ["read_entries"]

_BLOCK: Final = 1 << 18
"""Bytes that are read at a time."""

_AHEAD: Final = 1 << 14
"""An entry with fewer characters from its start on may be cut off by the end of a block."""

Plain = Callable[[str, int], int]


def read_entries(
    source: Source, name: str, entry: Callable[[str, Any], None], plain: Plain
) -> dict[str, Any]:
    """Parse a file as one JSON object, and do not keep the members of its member `name`.

    Each of those is handed on as it is parsed: as Python objects all of them would take six times the bytes of the
    file at once.

    Arguments:
        source: the file.
        name: the member that is an object of very many entries.
        entry: called with the key and the value of each entry that `plain` does not take, in their order.
        plain: called with a text and the position of an entry in it. It may take this one and those that follow,
            each as far as the beginning of the next, which must be there; returns the position of the first that
            it did not take.

    Returns:
        The object, with an empty object in the place of that member.

    Raises:
        DamagedFileError: it is no JSON object, is nested too deep, or is larger than MAX_JSON.
    """
    if source.size > MAX_JSON:
        raise LimitError(f"a JSON document of {source.size} bytes", path=source.path)
    try:
        reader = _Reader(source)
        if reader.sign()[0] != "{":
            raise DamagedFileError("is not a JSON object")
        document: dict[str, Any] = {}
        for key in reader.members():
            if key == name and reader.at("{"):
                for entry_key in reader.members(plain):
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
    """Reads a JSON text from the start, one value after the other.

    What meets the end of a block may go on behind it, and is parsed again with all the rest of the file.
    """

    _decode = json.JSONDecoder().raw_decode
    _sign = re.compile(r"[ \t\n\r]*([{},:]|)[ \t\n\r]*").match

    def __init__(self, source: Source) -> None:
        self.source = source
        self.decoder = codecs.getincrementaldecoder(json.detect_encoding(source.head[:4]))()
        self.offset = 0  # in the file, of the next block
        self.text = ""
        self.position = 0
        self.passed = 0  # characters before the text
        self.read_on(_BLOCK)

    def read_on(self, length: int) -> bool:
        """Let go of what is done with, and read more; False where there is no more."""
        data = self.source.read(self.offset, min(length, self.source.size - self.offset))
        if not data:
            return False
        self.offset += len(data)
        decoded = self.decoder.decode(data, self.offset == self.source.size)
        del data
        self.text = self.text[self.position :] + decoded
        self.passed += self.position
        self.position = 0
        return True

    def members(self, plain: Plain | None = None) -> Iterator[str]:
        """Yield the keys of an object; the caller reads each value before it asks for the next key."""
        self.step("{")
        if self.at("}"):
            self.step("}")
            return
        while True:
            if plain is not None:
                self.leave_to(plain)
            key = self.value()
            if type(key) is not str:
                raise self.error("a name is expected", self.position)
            self.step(":")
            yield key
            if self.step(",}") == "}":
                return

    def leave_to(self, plain: Plain) -> None:
        """Let `plain` take what it can of block after block."""
        while True:
            self.position = plain(self.text, self.position)
            if len(self.text) - self.position >= _AHEAD or not self.read_on(_BLOCK):
                return

    def value(self) -> Any:
        """Parse the value that stands here."""
        try:
            value, end = self._decode(self.text, self.position)
        except json.JSONDecodeError as error:
            if not self.read_on(MAX_JSON):
                raise self.error(error.msg, error.pos) from None
            return self.value()
        if end == len(self.text) and self.read_on(MAX_JSON):
            return self.value()
        self.position = end
        return value

    def at(self, sign: str) -> bool:
        """Say whether a sign stands here."""
        return self.text.startswith(sign, self.position)

    def sign(self) -> tuple[str, int]:
        """Return the sign that comes next, or nothing, and the end of the space behind it."""
        match = self._sign(self.text, self.position)
        sign, end = (match[1], match.end()) if match else ("", self.position)
        return self.sign() if end == len(self.text) and self.read_on(MAX_JSON) else (sign, end)

    def step(self, signs: str) -> str:
        """Step over one of the signs, and over the space around it."""
        sign, end = self.sign()
        if not sign or sign not in signs:
            raise self.error(f"one of {signs} is expected", self.position)
        self.position = end
        return sign

    def end(self) -> None:
        """Raise ValueError when anything else follows."""
        if self.position != len(self.text):
            raise self.error("more after its end", self.position)

    def error(self, reason: str, position: int) -> ValueError:
        return ValueError(f"{reason} at char {self.passed + position}")
