"""What eager quantization of torch.ao needs beside `FloatFunctional`s."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn
from torch.ao.nn.quantized import FloatFunctional
from torch.ao.quantization import DeQuantStub, QuantStub

__all__ = ["SiLU", "finish"]


class SiLU(nn.Module):
    """``nn.SiLU`` in two operations that have int8 kernels, as SiLU itself has none."""

    def __init__(self) -> None:
        super().__init__()
        self.sigmoid = nn.Sigmoid()
        self.mul = FloatFunctional()

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return self.mul.mul(input, self.sigmoid(input))


def finish(prepared: torch.fx.GraphModule, example: tuple[Any, ...] | None) -> None:
    """Put stubs at the borders: where floating-point tensors come in, and at every result."""
    for path, module in list(prepared.named_modules()):
        if type(module) is nn.SiLU:
            parent, _, name = path.rpartition(".")
            setattr(prepared.get_submodule(parent), name, SiLU())
    graph = prepared.graph
    given = None if example is None else inspect.signature(prepared.forward).bind_partial(*example).arguments
    inputs = [
        node
        for node in graph.nodes
        if node.op == "placeholder" and node.users and (given is None or _is_float(given.get(str(node.target))))
    ]
    for node in inputs:
        with graph.inserting_after(node):
            stub = graph.call_module(_add(prepared, "quant", QuantStub(), len(inputs) > 1), (node,))
        node.replace_all_uses_with(stub, delete_user_cb=lambda user, stub=stub: user is not stub)
    (output,) = (node for node in graph.nodes if node.op == "output")
    results = output.all_input_nodes
    for node in results:
        with graph.inserting_before(output):
            stub = graph.call_module(_add(prepared, "dequant", DeQuantStub(), len(results) > 1), (node,))
        output.replace_input_with(node, stub)
    prepared.recompile()


def _is_float(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def _add(prepared: nn.Module, name: str, stub: nn.Module, numbered: bool) -> str:
    number = 0
    path = f"{name}_0" if numbered else name
    while hasattr(prepared, path):
        number += 1
        path = f"{name}_{number}"
    prepared.add_module(path, stub)
    return path
