"""Checks of the arguments of the public functions: each error says what was given, and the way out."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch

from modulize import _core


def before_compiling(model: torch.nn.Module) -> torch.nn.Module:
    """The model that ``torch.compile`` was given, of one that it has made; any other itself."""
    dynamo = sys.modules.get("torch._dynamo.eval_frame")
    while dynamo and isinstance(model, dynamo.OptimizedModule):
        model = model._orig_mod
    return model


def check_model(model: Any, name: str = "model") -> None:
    if not isinstance(model, torch.nn.Module):
        hint = ": call it first, prepare_model takes the object" if isinstance(model, type) else ""
        raise _core.ArgumentError(f"{name} must be a torch.nn.Module, not {_describe(model)}{hint}")
    if getattr(model.forward, "__func__", None) is torch.nn.Module.forward:
        raise _core.ArgumentError(f"{name} is {_describe(model)}, which has no forward")


def is_on_meta(model: torch.nn.Module) -> bool:
    """Whether the model has no values: all its parameters, or buffers where it has none, are on the meta device."""
    modules = {model}
    for module in (waiting := [model]):  # the engine refuses names that `named_modules` stumbles over
        waiting += (fresh := set(module.children()) - modules)
        modules |= fresh
    tensors: list[torch.Tensor] = [t for m in modules for t in m._parameters.values() if t is not None]
    tensors = tensors or [t for m in modules for t in m._buffers.values() if t is not None]
    return bool(tensors) and all(tensor.is_meta for tensor in tensors)


def check_inputs(example_inputs: Any, example_kwargs: Any) -> tuple[Any, ...] | None:
    if example_kwargs is not None and not (
        isinstance(example_kwargs, dict) and all(isinstance(k, str) for k in example_kwargs)
    ):
        raise _core.ArgumentError(f"example_kwargs must be a dict of keyword inputs, not {_describe(example_kwargs)}")
    if example_inputs is None:
        return None
    if isinstance(example_inputs, torch.Tensor):
        return (example_inputs,)
    if isinstance(example_inputs, (tuple, list)):
        return tuple(example_inputs)
    hint = ""
    if isinstance(example_inputs, dict):
        hint = ": keyword inputs go to example_kwargs; a dict that is itself the only input goes into a tuple"
    raise _core.ArgumentError(
        f"example_inputs must be a tensor, a tuple or a list, not {_describe(example_inputs)}{hint}"
    )


def check_excluded_modules(model: torch.nn.Module, excluded: Sequence[Any] | None) -> None:
    check_list("modules_to_exclude", excluded, lambda m: isinstance(m, torch.nn.Module), "modules of the model")
    if not excluded:
        return
    inside = {id(m) for m in model.modules()}
    for position, module in enumerate(excluded):
        if id(module) not in inside:
            raise _core.ArgumentError(
                f"modules_to_exclude[{position}], a {type(module).__name__}, is not in the model: "
                "give the object itself, such as model.layer1"
            )
        if module is model:
            raise _core.ArgumentError(
                f"modules_to_exclude[{position}] is the model itself: nothing would be left to prepare"
            )


def check_list(name: str, value: Any, accepts: Callable[[Any], bool], what: str) -> None:
    if value is None:
        return
    if not isinstance(value, (list, tuple, set, frozenset)):
        raise _core.ArgumentError(f"{name} must be a list of {what}, not {_mistaken(value)}")
    for position, item in enumerate(value):
        if not accepts(item):
            raise _core.ArgumentError(f"{name} must hold {what}, but entry {position} is {_mistaken(item)}")


def _mistaken(value: Any) -> str:
    hint = ": inputs are given as example_inputs=..." if isinstance(value, torch.Tensor) else ""
    return _describe(value) + hint


def check_concrete_args(model: torch.nn.Module, concrete_args: Any) -> None:
    if concrete_args is None:
        return
    if not isinstance(concrete_args, dict):
        raise _core.ArgumentError(f"concrete_args must be a dict of argument names, not {_describe(concrete_args)}")
    names = list(inspect.signature(model.forward).parameters)
    for name in concrete_args:
        if name not in names:
            raise _core.ArgumentError(
                f"concrete_args names '{name}', but forward of {type(model).__name__} has the arguments "
                f"{', '.join(names) or '(none)'}"
            )


def _describe(value: Any) -> str:
    if isinstance(value, type):
        return f"the class {value.__name__}"
    article = "an" if type(value).__name__[:1].lower() in "aeiou" else "a"
    return f"{article} {type(value).__name__}"
