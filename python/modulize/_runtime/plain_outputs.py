"""Outputs of tensors, tuples, lists and dicts alone, as torch.jit.trace and quantization tools need them."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
import torch.fx

from modulize._core import UnsupportedError

__all__ = ["plain", "traceable"]

_ATOMS = (
    *(torch.Tensor, torch.fx.Proxy, torch.nn.Module, torch.Size, torch.dtype, torch.device),
    *(str, bytes, int, float, complex, type(None), type),
)


def plain(value: Any) -> Any:
    """The same tensors in plain containers.

    ============================================  =====================================================
    what the model returns                        what it becomes
    ============================================  =====================================================
    tensor, number, text, None                    itself
    tuple, named tuple                            tuple
    list, deque                                   list
    dict, ``ModelOutput``, any mapping            dict
    cache of keys and values                      tuple of ``(keys, values)``, one a layer
    dataclass                                     dict of the fields that are not None
    any other object with tensors in it           dict of the attributes that hold tensors
    ============================================  =====================================================

    Raises
    ------
    UnsupportedError
        An object contains itself.
    """
    return _plain(value, "the output", ())


def traceable(value: Any) -> Any:
    """The same tensors in tuples alone, as torch.jit.trace takes them; what holds no tensor goes."""
    return _tuples(plain(value))


def _tuples(value: Any) -> Any:
    if not isinstance(value, (dict, list, tuple)):
        return value
    items = value.values() if isinstance(value, dict) else value
    return tuple(_tuples(item) for item in items if _holds_tensor(item))


def _is_tensor(value: Any) -> bool:
    return isinstance(value, (torch.Tensor, torch.fx.Proxy))


def _plain(value: Any, where: str, around: tuple[int, ...]) -> Any:
    if isinstance(value, _ATOMS):
        return value
    if id(value) in around:
        raise UnsupportedError(f"{where} contains itself, and so cannot be plain: leave plain_outputs out")
    around = (*around, id(value))
    if isinstance(value, Mapping):
        return {key: _plain(item, f"{where}[{key!r}]", around) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(_plain(item, f"{where}[{i}]", around) for i, item in enumerate(value))
    if isinstance(value, (list, collections.deque)):
        return [_plain(item, f"{where}[{i}]", around) for i, item in enumerate(value)]
    layers = _cache_layers(value)
    if layers is not None:
        return tuple(_plain(layer, f"{where}.layers[{i}]", around) for i, layer in enumerate(layers))
    if dataclasses.is_dataclass(value):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {name: _plain(item, f"{where}.{name}", around) for name, item in fields.items() if item is not None}
    attributes = getattr(value, "__dict__", {})
    made = {name: _plain(item, f"{where}.{name}", around) for name, item in attributes.items()}
    kept = {name: item for name, item in made.items() if _holds_tensor(item)}
    return kept or value


def _cache_layers(value: Any) -> list[Any] | None:
    """The keys and values of a cache, layer by layer: transformers' ``Cache`` in its two forms."""
    if isinstance(getattr(value, "layers", None), list):
        layers = [(getattr(layer, "keys", None), getattr(layer, "values", None)) for layer in value.layers]
    elif isinstance(getattr(value, "key_cache", None), list) and isinstance(getattr(value, "value_cache", None), list):
        layers = list(zip(value.key_cache, value.value_cache))
    else:
        return None
    filled = all(isinstance(tensor, torch.Tensor) for layer in layers for tensor in layer)
    return layers if layers and filled else None


def _holds_tensor(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_holds_tensor(item) for item in value.values())
    if isinstance(value, (tuple, list)):
        return any(_holds_tensor(item) for item in value)
    return _is_tensor(value)
