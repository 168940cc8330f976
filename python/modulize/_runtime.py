"""What the generated source calls."""

from __future__ import annotations

import collections
import copy
import functools
import types
from typing import Any

import torch
import torch.fx

from modulize import _core


def check(value: Any, expected: Any, what: str) -> None:
    """Raise unless ``value`` is what the model was specialised to: equal and of the same kind (1 is not True)."""
    if value is expected:
        return
    if isinstance(value, torch.fx.Proxy):  # a tool traces the prepared model: the check goes into its graph
        value.tracer.create_proxy("call_function", check, (value, expected, what), {})
        return
    if isinstance(value, torch.Tensor) and value.dim() == 0:
        value = value.item()  # a number under torch.jit.trace
    if _kind(value) is not _kind(expected) or value != expected:
        raise _core.AssumptionError(
            f"{what} was {expected!r} when the model was prepared, and is {_shown(value)} in this call: prepare the "
            "model again with that value"
        )


def _kind(value: Any) -> Any:
    """Its class; for the numbers and containers by which torch.export and torch.fx stand for Python's, Python's."""
    for kind, stand_ins in _KINDS:
        if isinstance(value, stand_ins):
            return kind
    return type(value)


_KINDS = tuple(
    (kind, tuple(c for c in (kind, getattr(torch, symbolic, None)) if c))
    for kind, symbolic in ((bool, "SymBool"), (int, "SymInt"), (float, "SymFloat"), (list, ""), (dict, ""))
)


def plain_sizes(tensor: torch.Tensor, *dim: Any, **kwargs: Any) -> Any:
    """``tensor.size(...)`` in plain numbers, also in a torch.jit.trace; an export to ONNX keeps sizes dynamic."""
    sizes = tensor.size(*dim, **kwargs)
    if not torch.jit.is_tracing() or torch.onnx.is_in_onnx_export():
        return sizes
    return int(sizes) if isinstance(sizes, torch.Tensor) else torch.Size([int(size) for size in sizes])


def truth(value: Any) -> bool:
    """The Python truth of a value, by which forward decides."""
    return bool(value)


def select(condition: Any, first: Any, second: Any) -> Any:
    """``first`` where the condition holds, else ``second``; both are there already."""
    return first if condition else second


def require(condition: Any, expected: bool, error: Any) -> None:
    """Raise what the model raises where the condition is not as expected; a text is an assumption."""
    if bool(condition) is not expected:
        if isinstance(error, str):
            raise _core.AssumptionError(error)
        raise copy.copy(error)


def call_spread(function: Any, args: Any, more: Any, kwargs: Any, more_kwargs: Any) -> Any:
    """``function(*args, *more, **kwargs, **more_kwargs)``."""
    return function(*args, *more, **kwargs, **more_kwargs)


# torch 2.1 and later
_is_compiling = getattr(getattr(torch, "compiler", None), "is_compiling", bool)


def check_structure(value: Any, expected: Any, what: str) -> None:
    """Raise unless an object still has the classes, keys, plain values and tensors that the model was captured with."""
    if not _is_compiling():  # whose own guards ask for more
        _require_structure(value, expected, what, "prepare the model again with such an object")


def check_made(value: Any, expected: Any, what: str) -> None:
    """Raise unless what kept code has made is of the kind that the model was captured with."""
    if not _is_compiling() and not isinstance(value, torch.fx.Proxy):  # no graph of a tool's holds the expectation
        way_out = "exclude the function or module around it, so that what is decided by it lies inside"
        _require_structure(value, expected, what, way_out)


def _require_structure(value: Any, expected: Any, what: str, way_out: str) -> None:
    difference = _core.structure_difference(value, expected, what)
    if difference:
        raise _core.AssumptionError(f"{difference}: {way_out}")


def length(value: Any, kind: str, what: str) -> int:
    """The length of a list or tuple that an argument is or holds; Python may decide by which of them it is."""
    return len(_of_kind(value, list if kind == "list" else tuple, what))


def keys(value: Any, what: str) -> list[Any]:
    """The keys of a dict that an argument is or holds."""
    return list(_of_kind(value, dict, what))


def _of_kind(value: Any, kind: type, what: str) -> Any:
    if isinstance(value, kind):
        return value
    raise _core.AssumptionError(
        f"{what} was a {kind.__name__} when the model was prepared, and is a {type(value).__name__} in this call: "
        "prepare the model again with that value"
    )


def contents(value: Any) -> Any:
    """What is in a container now, for ``check_unchanged``."""
    return None if _is_compiling() else _core.contents_of(value)


def check_unchanged(before: Any, value: Any, what: str) -> None:
    """Raise unless a container still holds what it held."""
    if before is not None and not _core.same_contents(before, _core.contents_of(value)):
        raise _core.AssumptionError(
            f"{what} when the model was prepared is changed in this call: exclude the function or module around it, so "
            "that what is done with it lies inside"
        )


def rebuild(cls: type, items: Any, bound: int | None, /, **attributes: Any) -> Any:
    """An object of class ``cls`` with these items and attributes, made without its constructor.

    ``bound`` is a deque's."""
    if issubclass(cls, tuple):
        made: Any = tuple.__new__(cls, items or ())
    else:
        base: Any = next((c for c in _BASES if issubclass(cls, c)), object)
        made = base.__new__(cls)
        if base is collections.deque:
            collections.deque.__init__(made, items, bound)
        elif base is list:
            list.extend(made, items)
        elif base is not object:
            for key, item in items.items():
                base.__setitem__(made, key, item)
    for name, value in attributes.items():
        object.__setattr__(made, name, value)
    return made


_BASES: tuple[Any, ...] = (collections.OrderedDict, collections.defaultdict, dict, list, collections.deque)


def set_attribute(target: Any, name: str, value: Any) -> None:
    """Set an attribute past the class's own ``__setattr__``."""
    object.__setattr__(target, name, value)


def delete_attribute(target: Any, name: str) -> None:
    """Delete an attribute past the class's own ``__delattr__``."""
    object.__delattr__(target, name)


def required(value: Any, what: str) -> Any:
    """A value that a block takes from around it, by keyword."""
    if value is ...:
        raise TypeError(what)
    return value


def hand_out(taken: Any, name: str, value: Any) -> None:
    """Leave a value of a block to what is around it, if it asks: nothing that the block returns holds it."""
    if taken is not None:
        taken[name] = value


def extend(target: Any, items: Any) -> None:
    """Append to a list or deque what forward has appended to it."""
    (list if isinstance(target, list) else collections.deque).extend(target, items)


def set_items(target: Any, items: Any) -> None:
    """Give a list or deque other items."""
    if isinstance(target, list):
        list.__setitem__(target, slice(None), items)
    else:
        collections.deque.clear(target)
        collections.deque.extend(target, items)


def enter(name: str, *args: Any, **kwargs: Any) -> Any:
    """Enter the context manager that ``name`` makes of the arguments; in the generated source, a ``with`` block."""
    manager = _imported(name)(*args, **kwargs)
    manager.__enter__()
    return manager


def leave(manager: Any) -> None:
    """Leave what :func:`enter` returned."""
    manager.__exit__(None, None, None)


def given(manager: Any) -> Any:
    """A context manager that the model already had."""
    return manager


def sdpa_kernel(*backends: str, **options: Any) -> Any:
    """``torch.nn.attention.sdpa_kernel`` for backends by name."""
    attention = torch.nn.attention
    return attention.sdpa_kernel([getattr(attention.SDPBackend, name) for name in backends], **options)


def reentrant(*tensors: Any) -> Any:
    """The gradient mode inside of a reentrant checkpoint, which records nothing unless an argument asks for it."""
    return torch.set_grad_enabled(torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors))


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


@functools.cache
def _imported(name: str) -> Any:
    return _core.resolve_name(name)


def root_attribute(root: Any, name: str) -> Any:
    """An attribute of the prepared model that torch.fx.GraphModule hides by one of its own, such as `code`."""
    for key in ("_parameters", "_buffers", "_modules"):
        if name in root.__dict__[key]:
            return root.__dict__[key][name]
    return root.__dict__[name]


def _shown(value: Any) -> str:
    return f"a {type(value).__name__}" if hasattr(value, "shape") else repr(value)


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


# torch.fx must not take them for dead code.
if hasattr(torch.fx.node, "has_side_effect"):
    for _name in _core.functions_that_act():
        _home, _, _own = _name.rpartition(".")
        torch.fx.node.has_side_effect(globals()[_own] if _home == __name__ else _core.resolve_name(_name))
