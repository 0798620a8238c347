"""Mutate real files at random and read them, for as long as one likes; prints what breaks a rule.

    python -m tests.attacks.fuzz [--seconds 60] [--seed 0] [--keep FOLDER]

Each round is a suite of its own for the runner: ROUND files from the seed. Files that break a rule are kept.
"""

from __future__ import annotations

import argparse
import collections
import functools
import os
import random
import struct
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.attacks.case import EITHER, Case

GOLDEN = Path(__file__).parents[1] / "golden"
ROUND = 2000
LARGEST = 60_000
INTERESTING = (
    0,
    1,
    2,
    3,
    4,
    7,
    8,
    16,
    127,
    128,
    255,
    256,
    32767,
    65535,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**62,
    2**63 - 1,
    2**64 - 1,
)
OPCODES = b"().012FGIJKLMNPQRSTUVX]abcdeghijloqprstu}" + bytes(range(0x80, 0x99))


@functools.cache
def seeds() -> tuple[tuple[str, bytes], ...]:
    """Golden files that are single files, and not too long."""
    found = []
    for path in sorted(GOLDEN.rglob("*")):
        is_other = path.suffix == ".json" or "orbax" in path.parts or "generate" in path.parts
        if path.is_file() and not is_other and 0 < path.stat().st_size <= LARGEST:
            found.append((path.name, path.read_bytes()))
    return tuple(found)


@functools.cache
def directories() -> tuple[Path, ...]:
    """Golden directories of Orbax."""
    return tuple(path for path in sorted((GOLDEN / "orbax").iterdir()) if path.is_dir())


# Mutations: (random source, bytes) -> bytes.


def flip(rng: random.Random, raw: bytearray) -> bytearray:
    for _ in range(rng.choice((1, 1, 2, 8))):
        raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
    return raw


def replace(rng: random.Random, raw: bytearray) -> bytearray:
    raw[rng.randrange(len(raw))] = rng.randrange(256)
    return raw


def number(rng: random.Random, raw: bytearray) -> bytearray:
    """Write an interesting number over some bytes."""
    width = rng.choice((1, 2, 4, 8))
    order = rng.choice("<>")
    value = rng.choice(INTERESTING) & ((1 << 8 * width) - 1)
    at = rng.randrange(max(len(raw) - width, 1))
    raw[at : at + width] = struct.pack(order + {1: "B", 2: "H", 4: "I", 8: "Q"}[width], value)
    return raw


def cut(rng: random.Random, raw: bytearray) -> bytearray:
    return raw[: rng.randrange(len(raw))] or bytearray(b"\0")


def drop(rng: random.Random, raw: bytearray) -> bytearray:
    at = rng.randrange(len(raw))
    del raw[at : at + rng.choice((1, 1, 2, 4, 8, 64))]
    return raw or bytearray(b"\0")


def insert(rng: random.Random, raw: bytearray) -> bytearray:
    at = rng.randrange(len(raw) + 1)
    raw[at:at] = rng.randbytes(rng.choice((1, 1, 2, 4, 8)))
    return raw


def repeat(rng: random.Random, raw: bytearray) -> bytearray:
    at = rng.randrange(len(raw))
    piece = raw[at : at + rng.choice((1, 2, 4, 16, 64, 256))]
    raw[at:at] = piece * rng.choice((1, 2, 10, 1000))
    return raw


def splice(rng: random.Random, raw: bytearray) -> bytearray:
    """Put a piece of another file in."""
    other = rng.choice(seeds())[1]
    start = rng.randrange(len(other))
    piece = other[start : start + rng.choice((4, 16, 64, 256))]
    at = rng.randrange(len(raw))
    raw[at : at + rng.choice((0, len(piece)))] = piece
    return raw


def opcode(rng: random.Random, raw: bytearray) -> bytearray:
    """Replace or insert pickle opcodes where there are some."""
    places = [at for at in range(min(len(raw), 4000)) if raw[at] in OPCODES] or [0]
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = min(rng.choice(places), len(raw) - 1)
        code = bytes([rng.choice(OPCODES)])
        raw[at : at + rng.choice((0, 1))] = code
    return raw


def digits(rng: random.Random, raw: bytearray) -> bytearray:
    """Replace a number in a text."""
    places = [at for at in range(min(len(raw), 4000)) if 48 <= raw[at] <= 57] or [0]
    at = rng.choice(places)
    raw[at : at + 1] = str(rng.choice((*INTERESTING, -1, 0.5, "1e400", "NaN", "null", "[]"))).encode()
    return raw


MUTATIONS: tuple[Callable[[random.Random, bytearray], bytearray], ...] = (
    flip, flip, replace, number, number, cut, drop, insert, repeat, splice, opcode, opcode, digits,
)  # fmt: skip


def mutated(rng: random.Random, raw: bytes) -> bytes:
    """Return the bytes with one to three mutations, the CRC-32s of a ZIP archive mended now and then."""
    changed = bytearray(raw)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        changed = rng.choice(MUTATIONS)(rng, changed) or bytearray(b"\0")
    if raw[:4] == b"PK\x03\x04" and rng.random() < 0.7:
        mend(changed)
    return bytes(changed)


def mend(raw: bytearray) -> None:
    """Make the CRC-32 of every stored member right again, so that what is inside gets read."""
    end = raw.rfind(b"PK\x05\x06")
    at = raw.find(b"PK\x01\x02")
    while 0 <= at < end and at + 46 <= len(raw):
        size, n_name, offset = (
            struct.unpack_from("<I", raw, at + 24)[0], struct.unpack_from("<H", raw, at + 28)[0], struct.unpack_from("<I", raw, at + 42)[0],
        )  # fmt: skip
        if offset + 30 <= len(raw) and raw[offset : offset + 4] == b"PK\x03\x04":
            start = offset + 30 + sum(struct.unpack_from("<2H", raw, offset + 26))
            crc = struct.pack("<I", zlib.crc32(raw[start : start + size]))
            raw[at + 16 : at + 20] = crc
            raw[offset + 14 : offset + 18] = crc
        at = raw.find(b"PK\x01\x02", at + 46 + n_name)


def cases() -> Iterator[Case]:
    """One round, from the seed in the environment."""
    seed = int(os.environ.get("CKPT_FUZZ_SEED", "0"))
    count = int(os.environ.get("CKPT_FUZZ_COUNT", str(ROUND)))
    for index in range(count):
        rng = random.Random(f"{seed} {index}")
        if rng.random() < 0.12:
            yield Case(f"fuzz/{seed}-{index}", _directory(f"{seed} {index}"), EITHER, light=index % 40 != 0)
            continue
        name, raw = rng.choice(seeds())
        yield Case(
            f"fuzz/{seed}-{index}-{name}", _file(f"{seed} {index} bytes", raw), EITHER, light=index % 20 != 0
        )


def _file(seed: str, raw: bytes) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.write_bytes(mutated(random.Random(seed), raw))

    return make


def _directory(seed: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        rng = random.Random(seed + " directory")
        source = rng.choice(directories())
        import shutil

        shutil.copytree(source, path)
        files = [file for file in sorted(path.rglob("*")) if file.is_file() and file.stat().st_size]
        for _ in range(rng.choice((1, 1, 2))):
            file = rng.choice(files)
            if file.exists():
                file.write_bytes(mutated(rng, file.read_bytes() or b"\0"))

    return make


def main() -> None:
    from tests.attacks import runner

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "ckpt-fuzz")
    options = parser.parse_args()
    until = time.monotonic() + options.seconds
    seed = options.seed
    counts: collections.Counter[str] = collections.Counter()
    while time.monotonic() < until:
        os.environ["CKPT_FUZZ_SEED"] = str(seed)
        with tempfile.TemporaryDirectory() as folder:
            results = runner.run("fuzz", Path(folder))
        counts.update(result["outcome"] for result in results)
        wrong = {result["name"]: result for result in results if result["broken"]}
        for case in cases() if wrong else ():
            if case.name in wrong:
                kept = options.keep / case.name
                kept.parent.mkdir(parents=True, exist_ok=True)
                if not kept.exists():
                    case.make(kept)
                print(f"{kept}: {wrong[case.name]['outcome']}: {wrong[case.name]['broken']}", flush=True)
        seed += 1
    print(f"seeds {options.seed} to {seed - 1}: {dict(counts)}")


if __name__ == "__main__":
    main()
