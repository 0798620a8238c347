"""The flag of a training script that begins with weights from elsewhere."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from typing import Any

from ckpt_core.transfer.transferring import Transferred, transfer

__all__ = ["TransferArguments", "add_transfer_arguments"]


def add_transfer_arguments(
    parser: argparse.ArgumentParser, *, flag: str = "pretrained_ckpt", key: str | None = None
) -> TransferArguments:
    """Add `--pretrained_ckpt PATH` to a parser.

    Arguments:
        parser: the script's parser.
        flag: the flag's name; `-` works in place of `_`, too.
        key: where a config names the path when the flag is not given, dotted ("train.init_from"); without it the
            flag's name.

    Returns:
        What turns the parsed arguments into a transfer.

    Example:
        parser = argparse.ArgumentParser()
        pretrained = add_transfer_arguments(parser)
        args = parser.parse_args()
        params = pretrained.apply(args, params, config=config, select="encoder", into="model/encoder").load()
    """
    spellings = dict.fromkeys((f"--{flag}", f"--{flag.replace('_', '-')}"))
    parser.add_argument(
        *spellings, metavar="PATH", help="begin with the weights of this checkpoint; '' for none"
    )
    return TransferArguments(flag, key or flag)


class TransferArguments:
    """The flag on a parser; `apply` does what it says."""

    def __init__(self, flag: str, key: str) -> None:
        self._flag = flag
        self._key = key

    def path(self, args: argparse.Namespace, config: Mapping[str, Any] | None = None) -> str | None:
        """Return the path that the flag gives, else the config; None where neither does, or the flag is ''."""
        given = getattr(args, self._flag)
        if given is None:
            given = _looked_up(config or {}, self._key)
        return os.fspath(given) if given else None

    def apply(
        self,
        args: argparse.Namespace,
        like: Any,
        *,
        config: Mapping[str, Any] | None = None,
        say: Callable[[str], object] = print,
        **request: Any,
    ) -> Transferred:
        """Transfer the checkpoint that was asked for, and print the receipt.

        Where none was asked for, every slot keeps its initial value. One that was asked for must be there, unless
        `optional=True` is among the request.

        Arguments:
            args: the parsed arguments.
            like: the live model, or its tree of arrays.
            config: names the path where the flag does not.
            say: what prints.
            request: select, into, skip, resize, rules, ... of `transfer`.

        Raises:
            CheckpointError: the checkpoint is not there, or does not hold what the target needs.
        """
        path = self.path(args, config)
        if path is None:
            say(f"no --{self._flag}: every weight keeps its initial value")
            return transfer({}, like, skip="**")
        result = transfer(path, like, **request)
        say(str(result.receipt))
        return result


def _looked_up(config: Mapping[str, Any], key: str) -> Any:
    if key in config:
        return config[key]
    node: Any = config
    for part in key.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return node
