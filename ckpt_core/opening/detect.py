"""Detection: which backend opens a source, by its bytes; never by its name alone."""

from __future__ import annotations

from ckpt_core.backend import Backend, Stored
from ckpt_core.collector import paused_collector
from ckpt_core.compression import compression_of, decompressed
from ckpt_core.errors import (
    AmbiguousFormatError,
    BrokenPluginError,
    CheckpointError,
    DamagedFileError,
    UnknownFormatError,
    UnsafePathError,
)
from ckpt_core.fitting.unfit import unfit
from ckpt_core.opening.directory import Opened, open_members
from ckpt_core.opening.lookalike import distributed, lookalike
from ckpt_core.registry import Plugin, Registry
from ckpt_core.shards import is_index, open_shards
from ckpt_core.source import Source

__all__ = ["Opened", "open_source"]


def open_source(source: Source, registry: Registry, format: str | None = None) -> Opened:
    """Open a source by the one backend that claims it, or by the one that `format` names.

    Raises:
        UnknownFormatError: nobody claims it; says what each one looked for.
        AmbiguousFormatError: two claim it; names both.
        CheckpointError: what the backend found wrong.
    """
    if not source.is_directory and source.size == 0:
        raise DamagedFileError("is empty (0 bytes)", path=source.path, remedy="Fetch it again.")
    if format is not None:
        return _open_as(registry.backend(format), source, registry)
    claims, refusals = _claims(source, registry)
    if not claims and not source.is_directory:
        compression = compression_of(source)
        if compression is not None:
            source = decompressed(source, compression)
            claims, refusals = _claims(source, registry)
    if len(claims) > 1:
        names = " and ".join(f"{backend.name} of {plugin}" for plugin, backend in claims)
        raise AmbiguousFormatError(
            f"is claimed by {names}",
            path=source.path,
            remedy=f"Say which is meant: format={claims[0][1].name!r} (--format {claims[0][1].name}).",
        )
    if claims:
        return _open(claims[0][1], source)
    _refuse_distributed(source)
    opened = None
    if source.is_directory:
        opened = open_members(
            source,
            lambda member: open_source(member, registry),
            lambda member: any(_sniff(backend, member) for _, backend in registry.backends),
        )
    elif is_index(source):
        opened = _open_index(source, registry)
    if opened is None:
        raise _unknown(source, registry, refusals)
    return opened


def _open_as(backend: Backend, source: Source, registry: Registry) -> Opened:
    """Open a source by the backend that was named, whatever it looks like."""
    is_its_own = _sniff(backend, source)
    if not is_its_own and not source.is_directory:
        compression = compression_of(source)
        if compression is not None:
            source = decompressed(source, compression)
            is_its_own = _sniff(backend, source)
    try:
        return _open(backend, source)
    except CheckpointError as error:
        if is_its_own:
            raise
        claims = " or ".join(other.name for _, other in _claims(source, registry)[0])
        known = lookalike(source)
        if claims:
            error.reason = f"does not look like {backend.name}, which looks for {backend.looks_for}"
            error.place, error.remedy = None, f"It looks like {claims}: leave out format= (--format)."
        elif known is not None:
            error.reason, error.remedy = known
        raise


def _claims(source: Source, registry: Registry) -> tuple[list[tuple[Plugin, Backend]], list[str]]:
    claims: list[tuple[Plugin, Backend]] = []
    refusals: list[str] = []
    for plugin, backend in registry.backends:
        try:
            if backend.sniff(source):
                claims.append((plugin, backend))
            else:
                refusals.append(f"{backend.name} looks for {backend.looks_for}")
        except UnsafePathError:
            raise
        except CheckpointError as error:
            refusals.append(f"{backend.name}: {error.reason}")
        except Exception as error:  # noqa: BLE001  # a stranger's sniffer must not keep the others from looking
            refusals.append(
                f"{backend.name}: its plugin {plugin} failed with {type(error).__name__}: {error}"
            )
    return claims, refusals


def _sniff(backend: Backend, source: Source) -> bool:
    try:
        return backend.sniff(source)
    except CheckpointError:
        return False


def _open(backend: Backend, source: Source) -> Opened:
    try:
        with paused_collector():
            stored = backend.open(source)
            if not isinstance(stored, Stored):
                raise BrokenPluginError(
                    f"the backend {backend.name} returned {type(stored).__name__}, not Stored"
                )
            stored, tied = unfit(stored, backend.holds)
    except CheckpointError as error:
        _refuse_distributed(source)
        error.located(source.path)
        raise
    except (RecursionError, MemoryError, OverflowError) as error:
        raise DamagedFileError(
            f"asks for more than is reasonable ({type(error).__name__})", path=source.path
        ) from error
    return Opened(stored, backend.name, tied)


def _open_index(index: Source, registry: Registry) -> Opened:
    formats: set[str] = set()

    def open_one(shard: Source) -> Stored:
        opened = open_source(shard, registry)
        formats.add(opened.format)
        return opened.stored

    stored = open_shards(index, index.parent(), open_one)
    return Opened(stored, " and ".join(sorted(formats)))


# When nobody claims it.


def _refuse_distributed(source: Source) -> None:
    known = distributed(source)
    if known is not None:
        raise UnknownFormatError(known[0], path=source.path, remedy=known[1])


def _unknown(source: Source, registry: Registry, refusals: list[str]) -> CheckpointError:
    known = lookalike(source)
    if known is not None:
        return UnknownFormatError(known[0], path=source.path, remedy=f"{known[1]}{registry.broken_text()}")
    tried = "".join(f"\n    {line}" for line in refusals)
    begins = "" if source.is_directory else f"It begins with {source.head[:16]!r}."
    return UnknownFormatError(
        "no installed format recognises it",
        path=source.path,
        remedy=f"Tried:{tried or ' nothing, no backend is installed'}{registry.broken_text()}\n  {begins}".rstrip(),
    )
