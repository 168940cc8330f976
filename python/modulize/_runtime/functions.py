"""Functions called in ways that a graph has no words for."""

from __future__ import annotations

import types
from typing import Any

import torch


def plain_sizes(tensor: torch.Tensor, *dim: Any, **kwargs: Any) -> Any:
    """``tensor.size(...)`` in plain numbers, also in a torch.jit.trace; an export to ONNX keeps sizes dynamic."""
    sizes = tensor.size(*dim, **kwargs)
    if not torch.jit.is_tracing() or torch.onnx.is_in_onnx_export():
        return sizes
    return int(sizes) if isinstance(sizes, torch.Tensor) else torch.Size([int(size) for size in sizes])


def call_spread(function: Any, args: Any, more: Any, kwargs: Any, more_kwargs: Any) -> Any:
    """``function(*args, *more, **kwargs, **more_kwargs)``."""
    return function(*args, *more, **kwargs, **more_kwargs)


def closure(function: Any, cells: dict[int, Any]) -> Any:
    """``function`` with other values in its closure, by position."""
    held = tuple(types.CellType(cells[i]) if i in cells else cell for i, cell in enumerate(function.__closure__))
    made = types.FunctionType(function.__code__, function.__globals__, function.__name__, function.__defaults__, held)
    made.__kwdefaults__ = function.__kwdefaults__
    return made


class Apply:
    """The ``apply`` of a :class:`torch.autograd.Function` in a torch.fx graph, which cannot write the builtin down."""

    def __init__(self, function: Any) -> None:
        self.function = function
        self.__name__ = self.__qualname__ = f"{function.__name__}_apply"
        self.__module__ = function.__module__

    def __call__(self, *args: Any) -> Any:
        return self.function.apply(*args)


def vmap(function: Any, in_dims: Any, out_dims: Any, randomness: str, size: Any, /, *args: Any, **kwargs: Any) -> Any:
    """``torch.vmap(function, ...)(*args, **kwargs)``."""
    return torch.vmap(function, in_dims, out_dims, randomness, chunk_size=size)(*args, **kwargs)


def gradient(transform: str, function: Any, argnums: Any, has_aux: bool, args: Any, kwargs: Any) -> Any:
    """``torch.func.grad(function, ...)(*args, **kwargs)``, and the like."""
    return getattr(torch.func, transform)(function, argnums, has_aux)(*args, **kwargs)


class Bound:
    """A function with arguments that torch.fx could not write down: classes, functions, arbitrary objects."""

    def __init__(self, function: Any, constants: dict[int | str, Any]) -> None:
        self.function, self.constants = function, constants
        self.__name__ = self.__qualname__ = getattr(function, "__name__", type(function).__name__)
        self.__module__ = getattr(function, "__module__", None) or __name__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        positional = list(args)
        for place, value in self.constants.items():  # places in ascending order
            if isinstance(place, int):
                positional.insert(place, value)
            else:
                kwargs[place] = value
        return self.function(*positional, **kwargs)

    # Found where the function is looked up: torch.fx keeps those with an effect in a set.
    def __hash__(self) -> int:
        return hash(self.function)

    def __eq__(self, other: object) -> bool:
        return other is self or other is self.function
