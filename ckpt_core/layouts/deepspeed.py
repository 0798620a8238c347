"""DeepSpeed's checkpoints: a directory of files per rank, or one file of them.

    mp_rank_00_model_states.pt                            the module, counters, settings, what the script added
    [bf16_]zero_pp_rank_N_mp_rank_00_optim_states.pt      ZeRO: rank N's part of the optimizer and the fp32 weights
    zero_pp_rank_N_mp_rank_00_model_states.pt             ZeRO stage 3: the module with empty weights, per rank

Sources: `deepspeed/runtime/engine.py` (`_save_checkpoint`), `deepspeed/checkpoint/constants.py`,
`deepspeed/utils/zero_to_fp32.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from ckpt_core.arrays import LazyArray
from ckpt_core.layouts.base import Layout, Leaves, Roles, below
from ckpt_core.layouts.members import is_deepspeed_optimizer, is_deepspeed_states
from ckpt_core.layouts.spelling import claim_by_spelling
from ckpt_core.layouts.values import is_weights

__all__ = ["DeepSpeed"]

_OWN: Final = frozenset(
    {
        "module", "buffer_names", "param_shapes", "frozen_param_shapes", "frozen_param_fragments", "shared_params",
        "data_sampler", "random_ltd", "sparse_tensor_module_names", "skipped_steps", "global_samples",
        "dp_world_size", "mp_world_size", "num_experts", "checkpoint_parallel_dimensions", "ds_config", "ds_version",
    }
)  # fmt: skip
"""What the engine keeps beside the optimizer, the schedule and the step; everything else is the script's."""


class DeepSpeed(Layout):
    """`mp_rank_00_model_states.pt`, alone or in its directory; shards of ZeRO are named, and not merged."""

    name = "deepspeed"
    describes = (
        "DeepSpeed: mp_rank_00_model_states.pt, with the shards of ZeRO beside it, which are not merged"
    )

    def recognise(self, tree: Any) -> Roles | None:
        if _is_model_states(tree):
            return _of_file(tree)
        if not isinstance(tree, Mapping):
            return None
        models = [
            name
            for name, node in tree.items()
            if isinstance(node, dict) and _is_model_states(node) and is_deepspeed_states(str(name))
        ]
        if not models:
            return None
        roles = below(_of_file(tree[models[0]]), (models[0],))
        notes = list(roles.notes)
        if len(models) > 1 and roles.params:
            notes.append(
                f"the model is split over {len(models)} files, which are not merged: {_listed(models)}; "
                "each opens by itself"
            )
            roles = dataclasses.replace(roles, params=(), buffers=())
        shards = [name for name in tree if is_deepspeed_optimizer(str(name))]
        if shards:
            notes.append(
                f"the optimizer's state and the fp32 weights are in {len(shards)} shards of ZeRO, which are not "
                f"merged: {_listed(shards)}; zero_to_fp32.py, which DeepSpeed saves with them, makes weights of them"
            )
        return dataclasses.replace(roles, notes=tuple(notes))


def _is_model_states(node: Any) -> bool:
    own = ("global_steps", "dp_world_size", "mp_world_size")
    return isinstance(node, Mapping) and is_weights(node.get("module")) and all(key in node for key in own)


def _of_file(state: Mapping[Any, Any]) -> Roles:
    module = state["module"]
    roles = claim_by_spelling({key: value for key, value in state.items() if key not in _OWN})
    names = state.get("buffer_names")
    kept = [name for name in names if name in module] if isinstance(names, list) else []
    buffers = Leaves({tuple(name.split(".")): ("module", name) for name in kept}, ("module",))
    config = {"ds_config": ("ds_config",)} if isinstance(state.get("ds_config"), Mapping) else {}
    is_partitioned = any(isinstance(array, LazyArray) and array.shape == (0,) for array in module.values())
    note = "the weights are partitioned (ZeRO stage 3): they are in the shards, and the module has none"
    return dataclasses.replace(
        roles,
        params=() if is_partitioned else (("module",),),
        buffers=(buffers,) if kept else (),
        config={**roles.config, **config},
        notes=(note,) if is_partitioned else (),
    )


def _listed(names: list[str]) -> str:
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
