"""Operations of libraries and users, and the modules that stand for them."""

from __future__ import annotations

import importlib
import re
import types
import weakref
from collections.abc import Callable
from typing import Any

import torch

from modulize import _core

# Name in graphs -> the function that has it, while it lives.
_functions: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()


def register_operation(function: Callable[..., Any], module_class: type, *, name: str | None = None) -> None:
    """Let calls of an operation become modules from now on.

    Models prepared afterwards hold one ``module_class()`` a call of ``function``, called with that call's arguments.
    A Python function is not traced through any more. Registering the same function again replaces its class.

    Parameters
    ----------
    function : callable
        An operator of ``torch.ops``, a ``torch.library.custom_op``, or a Python function.
    module_class : type
        A subclass of :class:`torch.nn.Module` that can be imported by its qualified name and is made without
        arguments. Its ``forward`` takes what ``function`` takes, and computes the same.
    name : str, optional
        New modules are called ``module_<name>``. The function's own name where it is left out.

    Raises
    ------
    ArgumentError
        ``function`` cannot be told apart in a model or has a module already, or ``module_class`` is not such a class.

    Examples
    --------
    >>> import torch
    >>> from modulize import prepare_model, register_operation
    >>> def swish(x):
    ...     return x * torch.sigmoid(x)
    >>> register_operation(swish, torch.nn.SiLU)
    >>> class Net(torch.nn.Module):
    ...     def forward(self, x):
    ...         return swish(x)
    >>> prepare_model(Net()).module_swish
    SiLU()
    """
    call, own_name = _call_of(function)
    module = class_name(module_class)
    base = own_name if name is None else name
    if not isinstance(base, str) or not re.fullmatch(r"[A-Za-z_]\w*", base):
        raise _core.ArgumentError(f"name must be an identifier, not {base!r}: modules are called module_<name>")
    _functions[call] = function
    _core.register_operation(function, call, module, base)


def _call_of(function: Any) -> tuple[str, str]:
    """Under which name calls of ``function`` are recorded, and its own name."""
    if isinstance(function, torch.library.CustomOpDef):
        function = function._opoverload
    if isinstance(function, (torch._ops.OpOverload, torch._ops.OpOverloadPacket)):
        call = _core.function_name(function)
        if call is None:
            raise _core.ArgumentError(f"function must be an operator with a name, not {function}")
        own_name = call.split(".")[3]
        if isinstance(function, torch._ops.OpOverload) and len(function.overloadpacket.overloads()) == 1:
            call = call.rpartition(".")[0]
    elif isinstance(function, types.FunctionType):
        call, own_name = _name_of_function(function), function.__name__
    else:
        shown = _core.function_name(function) if callable(function) else None
        if shown is None or not shown.startswith("torch."):
            raise _core.ArgumentError(
                f"function must be an operator of torch.ops, a torch.library.custom_op or a Python function, not "
                f"{function!r}: calls of it cannot be seen; wrap it into a function"
            )
        call, own_name = shown, shown.rpartition(".")[2]
    if _core.is_known_operation(call):
        raise _core.ArgumentError(f"function is {call}, which has a module already: see docs/ops.md")
    return call, re.sub(r"\W", "_", own_name)


def _name_of_function(function: types.FunctionType) -> str:
    for name, known in _functions.items():
        if known is function:
            return name
    call = _core.function_name(function)
    if call is None:
        # In __main__ or within another function: no such name can be imported, nor will it have to be.
        parts = [part for part in re.split(r"\W+", f"{function.__module__}.{function.__qualname__}") if part]
        call = ".".join(["modulize", "registered", *parts])
    number, free = 0, call
    while _functions.get(free, function) is not function:
        number += 1
        free = f"{call}_{number}"
    return free


def class_name(module_class: Any) -> str:
    """The name under which a class of modules that is made without arguments can be imported."""
    if not (isinstance(module_class, type) and issubclass(module_class, torch.nn.Module)):
        raise _core.ArgumentError(f"module_class must be a subclass of torch.nn.Module, not {module_class!r}")
    qualified = f"{module_class.__module__}.{module_class.__qualname__}"
    try:
        found: Any = importlib.import_module(module_class.__module__)
        for part in module_class.__qualname__.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError):
        found = None
    if found is not module_class:
        raise _core.ArgumentError(
            f"module_class must be importable by its qualified name, but {qualified} is not this class: define it at "
            "the top level of a module"
        )
    try:
        module_class()
    except TypeError as error:
        raise _core.ArgumentError(f"module_class must be constructible without arguments: {error}") from error
    return qualified


def _register_vision() -> None:
    """The operators of torchvision that compute, by name: torchvision need not be there."""
    classes = {
        "roi_align": "RoIAlign",
        "roi_pool": "RoIPool",
        "ps_roi_align": "PSRoIAlign",
        "ps_roi_pool": "PSRoIPool",
        "deform_conv2d": "DeformConv2d",
    }
    for name, module in classes.items():
        _core.register_operation(None, f"torch.ops.torchvision.{name}", f"modulize.nn.{module}", name)


_register_vision()
