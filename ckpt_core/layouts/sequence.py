"""A tuple or list of parts, told by their values: `pickle.dump((params, opt_state), file)`."""

from __future__ import annotations

import dataclasses
import re
from typing import Any, Final

from ckpt_core.aliases import resolved
from ckpt_core.layouts.base import Layout, Roles, below, merged
from ckpt_core.layouts.flax import statistics_alone
from ckpt_core.layouts.haiku import averages_alone
from ckpt_core.layouts.spelling import claim_with_descriptions
from ckpt_core.layouts.values import are_layers, has_array, is_optimizer, is_scalar, is_weights
from ckpt_core.tree import Index, KeyPath, Part, Record, children

__all__ = ["Sequence"]

_MOST: Final = 16
_LOOK: Final = 1000
_STATES: Final = re.compile(r"(optax|jax\.(experimental|example_libraries)\.optimizers)\..*")
_LAYERS: Final = Roles(params=((),))
_MOMENTS: Final = frozenset({"mu", "nu", "v", "v_row"})


class Sequence(Layout):
    """`(params, opt_state)`, `[state_dict, {'epoch': 3}]`: weights, and what is no weights beside them.

    A NamedTuple of a script's own is one, too: the file has the values of its fields in order, and not their names.

    Arguments:
        rows: the rows that may recognise the weights.
    """

    name = "sequence"
    describes = "a tuple or list: weights, with an optimizer's state or settings beside them"
    is_general = True

    def __init__(self, rows: tuple[Layout, ...]) -> None:
        self.rows = rows

    def recognise(self, tree: Any) -> Roles | None:
        base: KeyPath = ()
        nodes = tree
        if isinstance(tree, Record) and not tree:
            base, nodes = (Part("args"),), tree.args
        entries = _entries(nodes)
        if not 2 <= len(entries) <= _MOST:
            return None
        parts = [((*base, key), self._of_part(resolved(tree, node))) for key, node in entries]
        found = {path: roles for path, roles in parts if roles is not None}
        if not any(roles.params for roles in found.values()):
            found |= {(*base, key): _LAYERS for key, node in entries if are_layers(node)}
        if not any(roles.params for roles in found.values()):
            return None
        others = [node for (_, node), (_, roles) in zip(entries, parts, strict=True) if roles is None]
        if all(roles.params for roles in found.values()) and (not others or any(map(has_array, others))):
            return None  # several sets of weights, or arrays beside them that nothing is known of
        placed = [below(roles, path) for path, roles in found.items()]
        states = [place for roles in placed for place in roles.opt_states.values()]
        names = ["optimizer"] if len(states) == 1 else [f"optimizer_{i}" for i in range(len(states))]
        return dataclasses.replace(
            merged(*placed),
            params=tuple(place for roles in placed for place in roles.params),
            opt_states=dict(zip(names, states, strict=True)),
        )

    def _of_part(self, node: Any) -> Roles | None:
        if is_optimizer(node) or _is_optax(node):
            return Roles(opt_states={"optimizer": ()}, rows={(): self.name})
        averages = averages_alone(node) or statistics_alone(node)
        if averages is not None:
            return dataclasses.replace(averages, rows={(): self.name})
        if not is_weights(node):
            return claim_with_descriptions(node) if type(node) is dict and node else None
        for row in self.rows:
            roles = row.recognise(node)
            if roles is not None:
                return dataclasses.replace(roles, rows={(): row.name, **roles.rows})
        return None


def _entries(nodes: Any) -> list[tuple[Any, Any]]:
    """The items in order, with their keys; msgpack keeps a tuple as a dict of its places."""
    if type(nodes) in (tuple, list):
        return [(Index(i), node) for i, node in enumerate(nodes)]
    if type(nodes) is dict and list(nodes) == [str(i) for i in range(len(nodes))]:
        return list(nodes.items())
    return []


def _has_moments(node: dict[Any, Any]) -> bool:
    """Say whether a dict has the fields of a transform's state, as msgpack and Orbax keep them: no type is there."""
    return (is_scalar(node.get("count")) and not _MOMENTS.isdisjoint(node)) or node.keys() == {"trace"}


def _is_optax(node: Any) -> bool:
    """Say whether there is a state of an optimizer's transform in it, looking at the first thousand nodes."""
    stack, looked = [node], 0
    while stack and looked < _LOOK:
        item = stack.pop()
        looked += 1
        if isinstance(item, Record) and _STATES.fullmatch(item.type_name):
            return True
        if type(item) is dict and _has_moments(item):
            return True
        stack += [child for _, child in reversed(children(item) or [])]
    return False
