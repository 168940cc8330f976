"""Prepared models in the hands of a tool that traces them once more with torch.fx."""

from __future__ import annotations

from typing import Any

import torch
import torch.fx

from modulize._runtime import _is_compiling

__all__ = ["is_proxy", "is_traced", "replay"]


def is_traced(*values: Any) -> bool:
    """Is one of the arguments of forward a stand-in by which torch.fx traces the prepared model?"""
    for value in values:
        if type(value) is not torch.Tensor and value is not None and not _is_compiling() and is_proxy(value):
            return True
    return False


def is_proxy(value: Any) -> bool:
    """Is it a ``Proxy`` of torch.fx, or of a copy of torch.fx, such as Brevitas has?"""
    return any(cls.__name__ == "Proxy" and cls.__module__.endswith(".fx.proxy") for cls in type(value).__mro__)


def replay(prepared: Any, *values: Any) -> Any:
    """What forward computes, node by node as calls that the tracer of the arguments records.

    Running forward on the tracer's proxies would stop at what Python asks them: ``x[i] = y``, ``len(x)``, ``**kwargs``.
    Modules are called, so that the tracer decides which of them it looks into.
    """
    tracer: Any = next(value.tracer for value in values if is_proxy(value))
    prefix = "" if tracer.root is prepared else tracer.path_of_module(prepared) + "."
    given = iter(values)
    known: dict[torch.fx.Node, Any] = {}

    def value_of(argument: Any) -> Any:
        return torch.fx.node.map_arg(argument, known.__getitem__)

    for node in prepared.graph.nodes:
        if node.op == "placeholder":
            known[node] = next(given)
        elif node.op == "output":
            return value_of(node.args[0])
        elif node.op == "call_module":
            known[node] = prepared.get_submodule(node.target)(*value_of(node.args), **value_of(node.kwargs))
        else:
            target = prefix + node.target if node.op == "get_attr" else node.target
            known[node] = tracer.create_proxy(node.op, target, value_of(node.args), value_of(node.kwargs))
    return None
