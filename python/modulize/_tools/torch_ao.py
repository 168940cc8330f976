"""What quantization by torch.ao needs beside `FloatFunctional`s."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.ao.nn.quantized import FloatFunctional
from torch.ao.quantization import DeQuantStub, QuantStub

from modulize._tools.example import run_for_hooks
from modulize._tools.silu import replace_silu

__all__ = ["SiLU", "finish", "fusable_modules", "observe_floats_alone", "unobservable_modules"]


class SiLU(nn.Module):
    """``nn.SiLU`` in two operations that have int8 kernels, as SiLU itself has none."""

    def __init__(self) -> None:
        super().__init__()
        self.sigmoid = nn.Sigmoid()
        self.mul = FloatFunctional()

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return self.mul.mul(input, self.sigmoid(input))


def finish(prepared: torch.fx.GraphModule, example: tuple[Any, ...] | None, kwargs: dict[str, Any]) -> None:
    """Put stubs at the borders: where floating-point tensors come in, and where they go out, in containers as well."""
    replace_silu(prepared, SiLU)
    graph = prepared.graph
    given = None if example is None else inspect.signature(prepared.forward).bind_partial(*example, **kwargs).arguments
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
    results = list(_results(output))
    stubs = []
    for user, node in results:
        with graph.inserting_before(user):
            stub = graph.call_module(_add(prepared, "dequant", DeQuantStub(), len(results) > 1), (node,))
        user.replace_input_with(node, stub)
        stubs.append((node, stub))
    prepared.recompile()
    if example is not None:
        met = _given(prepared, example, kwargs)  # of the stubs, those that floating-point tensors pass stay
        for node, stub in stubs:
            if not _is_float(*met.get(prepared.get_submodule(str(stub.target)), (None,))):
                stub.replace_all_uses_with(node)
                graph.erase_node(stub)
                prepared.delete_submodule(str(stub.target))
        prepared.recompile()


def _results(user: torch.fx.Node) -> Iterator[tuple[torch.fx.Node, torch.fx.Node]]:
    """What the output holds, each with the container or the output that takes it."""
    for node in user.all_input_nodes:
        if node.op == "call_function" and node.target in (dict, list, tuple) and len(node.users) == 1:
            yield from _results(node)
        else:
            yield user, node


def _given(model: nn.Module, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[nn.Module, tuple[Any, ...]]:
    """What each module is given in a run of the model."""
    given: dict[nn.Module, tuple[Any, ...]] = {}
    hooks = [
        module.register_forward_pre_hook(lambda module, args: given.update({module: args}))
        for module in model.modules()
    ]
    try:
        run_for_hooks(model, inputs, kwargs)
    finally:
        for hook in hooks:
            hook.remove()
    return given


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


def unobservable_modules(prepared: torch.fx.GraphModule, *inputs: Any, **kwargs: Any) -> list[str]:
    """Paths of the modules that compute with integers or with numbers of the graph, which no observer can take.

    ``prepare_fx`` would observe them all the same: ``qconfig_mapping.set_module_name(path, None)`` for each.
    """
    given = _given(prepared, inputs, kwargs)
    return [
        str(node.target)
        for node in prepared.graph.nodes
        if node.op == "call_module"
        and not all(map(_is_observable, node.args, given.get(prepared.get_submodule(str(node.target)), ())))
    ]


def observe_floats_alone(mapping: Any, prepared: torch.fx.GraphModule, *inputs: Any, **kwargs: Any) -> Any:
    """Take out of a ``QConfigMapping`` what computes with integers or with sizes, and return it.

    By path the modules of :func:`unobservable_modules`; by name the methods and functions that a tensor of integers is
    given to, for which ``prepare_fx`` knows no places. Floating-point tensors pass those in float as well.
    """
    for path in unobservable_modules(prepared, *inputs, **kwargs):
        mapping.set_module_name(path, None)
    names = _given_integers(prepared, inputs, kwargs)
    for node in prepared.graph.nodes:
        name = getattr(node.target, "__name__", node.target)  # of a method, its name
        if node.op in ("call_method", "call_function") and names & {name, f"__{name}__"}:
            mapping.set_object_type(node.target, None)
    return mapping


def _given_integers(prepared: torch.fx.GraphModule, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> set[str]:
    """Names of the functions and methods whose first argument is a tensor of no floating-point numbers."""
    from torch.overrides import TorchFunctionMode

    names: set[str] = set()

    class Note(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if args and isinstance(args[0], torch.Tensor) and not args[0].is_floating_point():
                names.add(func.__name__)
            return func(*args, **(kwargs or {}))

    with Note():
        run_for_hooks(prepared, inputs, kwargs)
    return names


def _is_observable(argument: Any, value: Any) -> bool:
    if isinstance(argument, (list, tuple)):
        return all(map(_is_observable, argument, value))
    return not isinstance(argument, torch.fx.Node) or _is_float(value)


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
