"""Checkpoint: what a tree means, whichever framework wrote it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from ckpt_core.aliases import spelled_out
from ckpt_core.backend import Stored
from ckpt_core.errors import UsageError
from ckpt_core.layouts.base import Roles, node_at
from ckpt_core.layouts.spelling import CONFIG_KEYS, METRICS_KEYS
from ckpt_core.layouts.values import number
from ckpt_core.optimizers import OptimizerState, parameters_of, read_optimizers
from ckpt_core.schema import replicas
from ckpt_core.schema.claims import Claim, claims_of, paths_besides, unclaimed
from ckpt_core.schema.config_attribute import written_config
from ckpt_core.schema.copies import copy_named, in_place_of
from ckpt_core.schema.metadata import Metadata, common_prefixes, remarks
from ckpt_core.schema.plainly import as_plain, counter, listed, spread, written_counter
from ckpt_core.schema.ties import ties_of
from ckpt_core.source import Source
from ckpt_core.tree import KeyPath, get, render_path
from ckpt_core.view import Nested, Weights, named_weights, nest

__all__ = ["Checkpoint", "Metadata", "OptimizerState"]


class Checkpoint:
    """An open checkpoint: its parts by meaning, and its tree exactly as it was saved.

    Nothing is read until it is asked for. Use it in a `with` block, or call `close`.

    Arguments:
        stored: the tree and the container's metadata.
        roles: which part of the tree plays which role.
        layout: the name of the layout that was recognised, or None.
        format: the name of the backend.
        path: where it was opened, or "" for one in memory.
        source: what to close.
        tied: groups of paths that were tied before a container separated them.
        members: of a directory that was opened file by file, the format of each file.
        broken: of such a directory, what is wrong with each part of the checkpoint that cannot be read.
        weights: the copy of the weights that `params` and `buffers` are to be, where it is not the one that the
            layout takes for them: "raw", "ema" for the only averaged copy, or a name.

    Raises:
        UsageError: there is no such copy of the weights; lists those there are.
    """

    def __init__(
        self,
        stored: Stored,
        roles: Roles,
        *,
        layout: str | None,
        format: str,
        path: str = "",
        source: Source | None = None,
        tied: tuple[tuple[KeyPath, ...], ...] = (),
        members: Mapping[str, str] | None = None,
        broken: Mapping[str, str] | None = None,
        weights: str | None = None,
    ) -> None:
        self.stored = stored
        self.roles = roles
        self.layout = layout
        self.format = format
        self.path = path
        self.declared_ties = tied
        self.members = dict(members or {})
        self.broken = dict(broken or {})
        self.weights = (
            roles.weights if weights is None else copy_named(weights, roles.weights, roles.ema, path)
        )
        """What `params` and `buffers` are: "raw", or the name of an averaged copy."""
        self.is_chosen = weights is not None
        """Whether somebody said which copy of the weights is meant."""
        self._source = source

    @property
    def tree(self) -> Any:
        """Everything, with exactly the keys that were saved."""
        return self.stored.tree

    def _at(self, path: KeyPath) -> Any:
        return get(self.tree, path)

    def _plain(self, path: KeyPath) -> Any:
        read = self.roles.reads.get(path)
        return as_plain(self._at(path) if read is None else read(self._at(path)), self.tree)

    # Weights.

    @functools.cached_property
    def _own(self) -> Weights:
        """The weights that the layout takes for params and buffers."""
        return named_weights(
            self.tree, self.roles.params, without=paths_besides(self.roles, "params")
        ) + named_weights(self.tree, self.roles.buffers, True)

    @functools.cached_property
    def _others(self) -> Mapping[str, Weights]:
        """The copies that the layout does not take for params."""
        return {name: named_weights(self.tree, [place]) for name, place in self.roles.ema.items()}

    @functools.cached_property
    def _picked(self) -> tuple[Weights, int]:
        """The weights that are meant, and how many of them are not their copy's own."""
        if self.weights == self.roles.weights:
            return self._own, 0
        return in_place_of(self._own, self._others[self.weights])

    @property
    def named_weights(self) -> Weights:
        """The weights of `params` and `buffers`, each with its name's segments and whether it is a buffer."""
        return self._picked[0]

    @functools.cached_property
    def named_copies(self) -> Mapping[str, Weights]:
        """The other copies of the weights, in the same form."""
        others = {name: copy for name, copy in self._others.items() if name != self.weights}
        return others if self.weights == self.roles.weights else {self.roles.weights: self._own, **others}

    @functools.cached_property
    def params(self) -> Nested:
        """The learned weights, nested by module path; `weights` says which copy of them."""
        return nest((segments, array) for segments, array, is_buffer in self.named_weights if not is_buffer)

    @functools.cached_property
    def buffers(self) -> Nested:
        """Model state that is not learned (torch's buffers, Flax's batch_stats)."""
        return nest((segments, array) for segments, array, is_buffer in self.named_weights if is_buffer)

    @functools.cached_property
    def ema(self) -> Mapping[str, Nested]:
        """The other copies of the weights, by the name they were saved under: averaged ones, and "raw"."""
        return {
            name: nest((segments, array) for segments, array, _ in copy)
            for name, copy in self.named_copies.items()
        }

    # Training.

    @functools.cached_property
    def opt_states(self) -> Mapping[str, OptimizerState]:
        """The optimizers, by the name they were saved under."""
        if not self.roles.opt_states:
            return {}
        weights = parameters_of([(segments, array) for segments, array, buffer in self._own if not buffer])
        saved = self.stored.attributes.get("optimizers")
        found: dict[str, OptimizerState] = {}
        for name, place in self.roles.opt_states.items():
            node = spelled_out(self.tree, node_at(self.tree, place))
            found.update(read_optimizers(name, node, weights, config=self.config, descriptions=saved))
        return found

    @property
    def opt_state(self) -> OptimizerState | None:
        """The single optimizer's state, or None.

        Raises:
            UsageError: there are several; names them.
        """
        states = self.opt_states
        if len(states) > 1:
            raise UsageError(
                f"holds {len(states)} optimizers: {', '.join(states)}",
                path=self.path or None,
                remedy="Choose one from opt_states.",
            )
        return next(iter(states.values()), None)

    @property
    def schedulers(self) -> Mapping[str, Any]:
        """The states of learning-rate schedulers, by name, as saved."""
        return {name: spelled_out(self.tree, self._at(path)) for name, path in self.roles.schedulers.items()}

    @property
    def scaler(self) -> Any:
        """The state of a gradient scaler, as saved, or None."""
        return None if self.roles.scaler is None else self._at(self.roles.scaler)

    @property
    def rng(self) -> Mapping[str, Any]:
        """The states of random generators, by name, as saved."""
        return {name: self._at(path) for name, path in self.roles.rng.items()}

    @functools.cached_property
    def step(self) -> int | None:
        """The number of optimizer steps, as saved; where the tree has none, as the container's metadata says."""
        return self._counter("step", self.roles.step)

    @functools.cached_property
    def epoch(self) -> int | None:
        """The epoch, as saved; where the tree has none, as the container's metadata says."""
        return self._counter("epoch", self.roles.epoch)

    @functools.cached_property
    def timestamp(self) -> Any:
        """When it was saved, as saved (a number or text), or None."""
        value = number(self._role(self.roles.timestamp))
        return value.isoformat() if hasattr(value, "isoformat") else value

    def _counter(self, attribute: str, path: KeyPath | None) -> int | None:
        if path is None:
            return written_counter(self.stored.attributes.get(attribute))
        return counter(self._at(path))

    def _role(self, path: KeyPath | None) -> Any:
        return None if path is None else self._at(path)

    @functools.cached_property
    def metrics(self) -> Mapping[str, Any]:
        """Losses, accuracies and the like, as Python numbers."""
        values = {name: self._plain(path) for name, path in self.roles.metrics.items()}
        groups = {
            name for name, value in values.items() if name in METRICS_KEYS and isinstance(value, Mapping)
        }
        return spread(values, groups)

    @functools.cached_property
    def config(self) -> Mapping[str, Any]:
        """The saved hyperparameters as plain data; empty when none were saved."""
        written = written_config(self.stored.attributes)
        if written is not None:
            return written.values
        values = {name: listed(self._plain(path)) for name, path in self.roles.config.items()}
        groups = {name for name, value in values.items() if name in CONFIG_KEYS and isinstance(value, dict)}
        if isinstance(values.get(""), dict):
            groups = {""}
        return spread(values, groups) if len(groups) == 1 else values

    @functools.cached_property
    def metadata(self) -> Metadata:
        """Everything else that was saved, with what was noticed."""
        weights, lacking = self._picked
        prefixes = common_prefixes(weights)
        count = replicas.count_of(self._role(self.roles.step), [array for _, array, _ in self._own])
        noticed = remarks(
            weights,
            is_recognised=self.layout is not None,
            copy=self.weights,
            lacking=lacking,
            own=self.roles.weights,
            prefixes=prefixes,
            replicas=count,
        )
        return Metadata(
            extra={render_path(path): node for path, node in unclaimed(self.tree, self.roles)},
            attributes=dict(self.stored.attributes),
            notes=(*self.stored.notes, *self.roles.notes, *noticed),
            prefixes=prefixes,
            replicas=count,
        )

    @property
    def claims(self) -> tuple[Claim, ...]:
        """Which role stands where in the tree, and which row of the table of layouts claimed it."""
        return claims_of(self.roles, self.layout or "")

    @functools.cached_property
    def ties(self) -> tuple[tuple[str, ...], ...]:
        """Groups of rendered paths whose arrays share all their bytes."""
        return tuple(tuple(map(render_path, group)) for group in (*ties_of(self.tree), *self.declared_ties))

    def unreplicated(self) -> Checkpoint:
        """Return the checkpoint with one copy of leaves that pmap replicated, once they are proven equal.

        Raises:
            UsageError: it does not look replicated, or the copies differ; names the first leaf that does.
        """
        count = self.metadata.replicas
        if not count:
            raise UsageError("does not look replicated over devices", path=self.path or None)
        return self.with_tree(replicas.first_copies(self.tree, count, self.path))

    def with_tree(self, tree: Any) -> Checkpoint:
        """Return a checkpoint of another tree with the same roles, over the same files."""
        return Checkpoint(
            Stored(tree, self.stored.attributes, self.stored.notes),
            self.roles,
            layout=self.layout,
            format=self.format,
            path=self.path,
            source=self._source,
            members=self.members,
            broken=self.broken,
            weights=self.weights if self.is_chosen else None,
        )

    # Life.

    def close(self) -> None:
        """Close the files; arrays that were not read can no longer be."""
        if self._source is not None:
            self._source.close()

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Checkpoint {self.path or 'in memory'}: {self.format}, {self.layout or 'no layout'}>"

    def _repr_html_(self) -> str:
        from ckpt_core.schema.html import checkpoint_html

        return checkpoint_html(self)
