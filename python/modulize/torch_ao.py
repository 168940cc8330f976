"""``prepare_model`` for the eager quantization of ``torch.ao.quantization``.

Sums, products and concatenations become ``FloatFunctional``\\ s, and stubs stand at the borders, so that
``prepare``, calibration and ``convert`` of ``torch.ao.quantization`` give a model of int8 kernels.
"""

from __future__ import annotations

import functools

import torch
from torch import nn

from modulize._api import prepare_model as _prepare_model

__all__ = ["fusable_modules", "prepare_model"]

prepare_model = functools.wraps(_prepare_model)(functools.partial(_prepare_model, target="torch.ao"))

_CHAINS = (
    (nn.Conv1d, nn.BatchNorm1d, nn.ReLU),
    (nn.Conv2d, nn.BatchNorm2d, nn.ReLU),
    (nn.Conv3d, nn.BatchNorm3d, nn.ReLU),
    (nn.Linear, nn.ReLU),
    (nn.BatchNorm2d, nn.ReLU),
)


def fusable_modules(prepared: torch.fx.GraphModule) -> list[list[str]]:
    """Chains of modules that ``torch.ao.quantization.fuse_modules`` makes one of, by their paths.

    Convolution, batch norm and ReLU in this order, and the parts of it that torch can fuse; only where each feeds the
    next and nothing else.
    """
    modules = dict(prepared.named_modules())
    taken: set[str] = set()
    found = []
    for node in prepared.graph.nodes:
        chain = _chain_from(node, modules)
        if len(chain) > 1 and not taken & set(chain):
            taken |= set(chain)
            found.append(chain)
    return found


def _chain_from(node: torch.fx.Node, modules: dict[str, nn.Module]) -> list[str]:
    chain: list[str] = []
    kinds: list[type] = []
    while node.op == "call_module":
        kind = type(modules[str(node.target)])
        wanted = [*kinds, kind]
        # A chain may leave the batch norm out, but keeps the order.
        if not any(wanted == [k for k in chain_of if k in wanted] for chain_of in _CHAINS):
            break
        kinds, chain = wanted, [*chain, str(node.target)]
        if len(node.users) != 1:
            break
        node = next(iter(node.users))
    return chain
