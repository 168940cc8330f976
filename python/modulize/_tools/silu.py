"""``nn.SiLU`` in two operations, as tools want it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

__all__ = ["replace_silu"]


def replace_silu(prepared: torch.fx.GraphModule, make: Callable[[], nn.Module]) -> None:
    """Put what `make` makes in the place of each ``nn.SiLU``, unless it writes into what something else may read."""
    for path, module in list(prepared.named_modules()):
        if type(module) is nn.SiLU and (not module.inplace or _writes_unread(prepared, path)):
            parent, _, name = path.rpartition(".")
            setattr(prepared.get_submodule(parent), name, make())


def _writes_unread(prepared: torch.fx.GraphModule, path: str) -> bool:
    """Is every input of the module the fresh output of a layer, and read by nothing else?"""
    sources = [node.args[0] for node in prepared.graph.nodes if node.op == "call_module" and node.target == path]
    return bool(sources) and all(
        isinstance(source, torch.fx.Node)
        and source.op == "call_module"
        and len(source.users) == 1
        and bool(prepared.get_submodule(str(source.target))._parameters)  # no Identity, no Flatten
        for source in sources
    )
