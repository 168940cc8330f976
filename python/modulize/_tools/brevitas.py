"""What Brevitas' graph quantization expects of the graph that it traces: its tensors are tuples with few methods."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import nn

from modulize._tools.torch_ao import unobservable_modules

__all__ = ["finish", "is_leaf", "returns_tuple", "spelling"]

_RETURN_TUPLES = (nn.MultiheadAttention, nn.RNNBase)
# What Brevitas' tensors have and Brevitas looks through.
_METHODS = frozenset({"contiguous", "dim", "flatten", "permute", "reshape", "size", "transpose", "view"})


def finish(prepared: torch.fx.GraphModule, example: tuple[Any, ...] | None, kwargs: dict[str, Any]) -> None:
    """Keep in mind which modules compute with integers or sizes: Brevitas takes every sum for one of activations."""
    if example is not None:
        prepared.__dict__["_modulize_leaves"] = frozenset(unobservable_modules(prepared, *example, **kwargs))


def is_leaf(prepared: Any, path: str) -> bool:
    """Must the trace not look into the module?"""
    return path in prepared.__dict__.get("_modulize_leaves", ())


def returns_tuple(module: nn.Module) -> bool:
    """Does Brevitas look at the items of what the module returns, where there are several?"""
    return isinstance(module, _RETURN_TUPLES)


def spelling(node: torch.fx.Node) -> tuple[str, Any]:
    """The op and the target of a node that computes the same and that Brevitas takes for what it is.

    Sums that stayed functions are those of sizes. Items, attributes and the methods that Brevitas' tensors lack are
    those of the values; so are views to sizes of the graph, which Brevitas would quantize.
    """
    if node.op == "call_method" and (node.target not in _METHODS or len(node.all_input_nodes) > 1):
        return "call_function", Method(str(node.target))
    if node.op == "call_function" and node.target in _VIEWS and len(node.all_input_nodes) > 1:
        return node.op, Method(_VIEWS[node.target])
    if node.op == "call_function":
        return node.op, _FUNCTIONS.get(node.target, node.target)
    return node.op, node.target


def _values(value: Any) -> Any:
    return value.value if _is_quantized(value) else value


def _is_quantized(value: Any) -> bool:
    return isinstance(value, tuple) and hasattr(value, "zero_point")


class Method:
    """A method of tensors as a function, on the values of quantized ones."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.__name__ = self.__qualname__ = name
        self.__module__ = __name__

    def __call__(self, tensor: Any, *args: Any, **kwargs: Any) -> Any:
        given = {key: _values(value) for key, value in kwargs.items()}
        return getattr(_values(tensor), self.name)(*map(_values, args), **given)


def _add(a: Any, b: Any) -> Any:
    return a + b


def _getattr(tensor: Any, name: str) -> Any:
    return getattr(_values(tensor), name)


def _getitem(value: Any, index: Any) -> Any:
    return _values(value)[index]


def _setitem(value: Any, index: Any, item: Any) -> None:
    _values(value)[index] = _values(item)


_VIEWS: dict[Any, str] = {torch.reshape: "reshape", torch.flatten: "flatten", torch.transpose: "transpose"}
_FUNCTIONS: dict[Any, Any] = {
    operator.add: _add,
    operator.iadd: _add,
    getattr: _getattr,
    operator.getitem: _getitem,
    operator.setitem: _setitem,
}
