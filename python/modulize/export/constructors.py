"""How a module is made: its constructor's arguments, found from its attributes and tried out."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn

from modulize.export.values import Imports, Unspellable, is_name, spell

__all__ = ["Constructors", "attributes_of", "is_operation"]

_INTERNAL = frozenset(nn.Module().__dict__) | {
    *("_modulize_tied", "_modulize_added", "_modulize_constants"),
    *("_flat_weights", "_flat_weight_refs"),  # of recurrent layers: their parameters once more
}
_MISSING = object()


def is_operation(module: nn.Module) -> bool:
    """Whether the class is one of modulize.nn's small ones, which are written along."""
    return type(module).__module__.startswith("modulize.nn")


def attributes_of(module: nn.Module) -> dict[str, Any]:
    """What its constructor and its users have set on it, tensors among parameters and buffers and children left out."""
    return {name: value for name, value in module.__dict__.items() if name not in _INTERNAL}


class Constructors:
    """Finds constructor calls; trying one out costs a module, so equal calls are tried once."""

    def __init__(self) -> None:
        self._made: dict[tuple[type, str], nn.Module | None] = {}

    def find(self, module: nn.Module, imports: Imports) -> tuple[str, dict[str, Any]] | None:
        """The arguments as source, and the attributes that differ afterwards. None where no call makes the module."""
        short = self._try(module, imports, short=True)
        return short if short and not short[1] else self._try(module, imports, short=False)

    def _try(self, module: nn.Module, imports: Imports, short: bool) -> tuple[str, dict[str, Any]] | None:
        try:
            arguments = self._arguments(module, imports, short)
        except (ValueError, TypeError, Unspellable):
            return None
        if arguments is None:
            return None
        texts, values, keywords = arguments
        text = ", ".join(texts)
        key = (type(module), text)
        if key not in self._made:
            self._made[key] = _make(type(module), values, keywords)
        made = self._made[key]
        if made is None or not _same_tensors(made, module):
            return None
        return text, _differing(made, module)

    def _arguments(
        self, module: nn.Module, imports: Imports, short: bool
    ) -> tuple[list[str], list[Any], dict[str, Any]] | None:
        cls = type(module)
        parameters = dict(inspect.signature(cls.__init__).parameters)
        if isinstance(module, nn.RNNBase):  # *args, **kwargs
            parameters = dict(inspect.signature(nn.RNNBase.__init__).parameters)
            parameters.pop("mode", None)
        parameters.pop(next(iter(parameters), ""), None)  # self
        texts: list[str] = []
        positional: list[Any] = []
        keywords: dict[str, Any] = {}
        for name, parameter in parameters.items():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                continue
            value = _setting(module, name)
            required = parameter.default is parameter.empty
            # nn.Conv2d(8, 8, 3) keeps kernel_size=(3, 3).
            if short and type(value) is tuple and value and all(item is value[0] for item in value):
                value = value[0]
            if value is _MISSING:
                if required:
                    return None
                continue
            if not required and _is_equal(value, parameter.default):
                continue
            if isinstance(value, (torch.Tensor, nn.Module)):
                return None
            text = spell(value, imports)
            if required and not keywords and parameter.kind is not parameter.KEYWORD_ONLY:
                texts.append(text)
                positional.append(value)
            elif is_name(name):
                texts.append(f"{name}={text}")
                keywords[name] = value
            else:
                return None
        return texts, positional, keywords


def _setting(module: nn.Module, name: str) -> Any:
    """The value that a constructor's parameter had, as torch.nn keeps them."""
    if name in ("device", "dtype") or name.startswith("_"):
        return _MISSING
    tensors: dict[str, Any] = {**module._parameters, **module._buffers}
    if name == "bias" and not isinstance(module.__dict__.get("bias", None), bool):
        if "bias" in tensors:
            return tensors["bias"] is not None
        return tensors["in_proj_bias"] is not None if "in_proj_bias" in tensors else _MISSING
    if name == "add_bias_kv" and "bias_k" in module.__dict__ | tensors:
        return getattr(module, "bias_k", None) is not None
    if name == "num_parameters" and "weight" in tensors:  # PReLU
        return module.__dict__.get(name, tensors["weight"].numel())
    return module.__dict__.get(name, _MISSING)


def _is_equal(a: Any, b: Any) -> bool:
    if a is b:
        return True
    try:
        return type(a) is type(b) and bool(a == b)
    except Exception:  # whatever comparison a user's class has
        return False


def _make(cls: type, args: list[Any], kwargs: dict[str, Any]) -> nn.Module | None:
    """The module that the call makes, without memory for its tensors and without drawing random numbers."""
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        try:
            made = cls(*args, **kwargs)
        except Exception:  # a constructor that wants other arguments: the module is assembled instead
            return None
    return made if isinstance(made, nn.Module) else None


def _same_tensors(made: nn.Module, module: nn.Module) -> bool:
    """The same tree of classes with tensors of the same names and shapes, in the same order."""
    if type(made) is not type(module) or list(made._modules) != list(module._modules):
        return False
    for ours, theirs in ((made._parameters, module._parameters), (made._buffers, module._buffers)):
        if list(ours) != list(theirs):
            return False
        for name, tensor in ours.items():
            other = theirs[name]
            if getattr(tensor, "shape", None) != getattr(other, "shape", None):
                return False
    if made._non_persistent_buffers_set != module._non_persistent_buffers_set:
        return False
    return all(
        (ours is None and theirs is None)
        or (ours is not None and theirs is not None and _same_tensors(ours, theirs) and not _differing(ours, theirs))
        for ours, theirs in zip(made._modules.values(), module._modules.values())
    )


def _differing(made: nn.Module, module: nn.Module) -> dict[str, Any]:
    """Attributes that the constructor leaves otherwise."""
    own = attributes_of(made)
    found = {
        name: value for name, value in attributes_of(module).items() if not _is_equal(own.get(name, _MISSING), value)
    }
    if type(module).__module__.startswith("torch.nn."):  # forward reads none that the constructor does not set
        found = {name: value for name, value in found.items() if name in own}
    return {name: value for name, value in found.items() if not _same_kind(own.get(name), value)}


def _same_kind(a: Any, b: Any) -> bool:
    """Objects that the constructor makes anew each time, such as lists of weights' names, compare by content."""
    return isinstance(b, (list, tuple)) and type(a) is type(b) and repr(a) == repr(b)
