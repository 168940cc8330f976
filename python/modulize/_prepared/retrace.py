"""Prepared models in the hands of a tool that traces them once more with torch.fx."""

from __future__ import annotations

import importlib
from typing import Any

import torch
import torch.fx

from modulize._runtime import Bound
from modulize._runtime.checks import _is_compiling

__all__ = ["is_proxy", "is_traced", "replay", "replay_branch"]


def is_traced(*values: Any) -> bool:
    """Is one of the arguments of forward a stand-in by which torch.fx traces the prepared model?"""
    for value in values:
        if type(value) is not torch.Tensor and value is not None and not _is_compiling() and is_proxy(value):
            return True
    return False


def is_proxy(value: Any) -> bool:
    """Is it a ``Proxy`` of torch.fx, or of a copy of torch.fx, such as Brevitas has?"""
    first, *bases = type(value).__mro__
    if first.__module__ == "modulize._core":  # of a capture without inputs, which sees the calls themselves
        return False
    return any(cls.__name__ == "Proxy" and cls.__module__.endswith(".fx.proxy") for cls in (first, *bases))


def replay(prepared: Any, *values: Any) -> Any:
    """What forward computes, node by node as calls that the tracer of the arguments records.

    Running forward on the tracer's proxies would stop at what Python asks them: ``x[i] = y``, ``len(x)``, ``**kwargs``.
    Modules are called, so that the tracer decides which of them it looks into. Of a model in evaluation, what depends
    on the mode is what evaluation does, as in any trace of torch.fx; one in training asks the mode at every call.
    """
    return _replay(prepared, prepared.graph, values)


def replay_branch(branch: Any, condition: Any, *values: Any) -> Any:
    """The side that runs; where only a call can tell, the branch is one module."""
    if is_proxy(condition):
        return condition.tracer.create_proxy(
            "call_module", condition.tracer.path_of_module(branch), (condition, *values), {}
        )
    (owner,), (on_true, on_false) = branch._modulize_owner, branch._modulize_sides
    return _replay(owner, (on_true if condition else on_false).make_fx_graph(owner), values)


def _replay(root: Any, graph: Any, values: tuple[Any, ...]) -> Any:
    tracer = next(value.tracer for value in values if is_proxy(value))
    brevitas = importlib.import_module("modulize._tools.brevitas") if _is_of_brevitas(tracer) else None
    prefix = "" if tracer.root is root else tracer.path_of_module(root) + "."
    given = iter(values)
    known: dict[torch.fx.Node, Any] = {}
    decided = set()  # nodes that depend on the mode alone

    def value_of(argument: Any) -> Any:
        return torch.fx.node.map_arg(argument, known.__getitem__)

    for node in graph.nodes:
        args, kwargs = value_of(node.args), value_of(node.kwargs)
        if node.op == "placeholder":
            known[node] = next(given)
        elif node.op == "output":
            return args[0]
        elif node.op == "call_module" and brevitas and brevitas.is_leaf(root, node.target):
            known[node] = tracer.create_proxy("call_module", prefix + node.target, args, kwargs)
        elif node.op == "call_module":
            module = root.get_submodule(node.target)
            known[node] = module(*args, **kwargs)
            if brevitas and brevitas.returns_tuple(module):
                known[node][1]  # recorded
        elif node.op == "get_attr" and node.target == "_modulize_module":  # no attribute that a tool could copy
            known[node] = tracer.create_proxy("call_function", Bound(_itself, {0: root}), (), {})
        elif node.op == "get_attr" and node.target.rpartition(".")[2] == "training" and _in_evaluation(root, node):
            known[node] = False
            decided.add(node)
        elif (dtype := _dtype_of_state(root, node)) is not None:
            known[node] = dtype
        elif node.op == "call_function" and node.all_input_nodes and decided.issuperset(node.all_input_nodes):
            known[node] = node.target(*args, **kwargs)
            decided.add(node)
        else:
            op, target = brevitas.spelling(node) if brevitas else (node.op, node.target)
            known[node] = tracer.create_proxy(op, prefix + target if op == "get_attr" else target, args, kwargs)
    return None


def _is_of_brevitas(tracer: Any) -> bool:
    return any(cls.__module__.startswith("brevitas.") for cls in type(tracer).__mro__)


def _dtype_of_state(root: Any, node: torch.fx.Node) -> torch.dtype | None:
    """The dtype of a parameter or buffer where the node asks for it, as in any trace of torch.fx.

    A tool may put a module in the place of its owner whose weight has none.
    """
    if node.op != "call_function" or node.target is not getattr or node.args[1:] != ("dtype",):
        return None
    read: Any = node.args[0]
    if read.op != "get_attr":
        return None
    path, _, name = read.target.rpartition(".")
    owner = root.get_submodule(path)
    value = {**owner._parameters, **owner._buffers}.get(name)  # getattr would give a proxy
    return None if value is None else value.dtype


def _itself(root: Any) -> Any:
    return root


def _in_evaluation(root: Any, flag: torch.fx.Node) -> bool:
    return root.get_submodule(str(flag.target).rpartition(".")[0]).training is False
