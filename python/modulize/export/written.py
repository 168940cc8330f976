"""What exported packages bring along: parts of this file are copied into their ``runtime.py``. Needs torch alone."""

from __future__ import annotations

import collections
import enum
import json
import os
import types
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from modulize._prepared.ties import _after_load, hide_tied, retie, tied_names


class AssumptionError(RuntimeError):
    """A call of the model breaks an assumption made when it was captured."""


class Branch(nn.Module):
    """Control flow of the original: runs one of two functions of the model it is part of."""

    on_true: Any
    on_false: Any
    _modulize_owner: Any

    def forward(self, condition: Any, *values: Any) -> Any:
        side = self.on_true if condition else self.on_false
        return side(self._modulize_owner[0], *values)


class Buffer:
    """A buffer to be, for :func:`assemble`."""

    def __init__(self, tensor: torch.Tensor, persistent: bool = True) -> None:
        self.tensor, self.persistent = tensor, persistent


class Shared(nn.Module):
    """Keeps the place of a module that stands elsewhere as well, until :func:`alias` puts it there."""


def alias(model: nn.Module, path: str, first_path: str) -> None:
    """Makes a module stand under a second path."""
    module, name = place_of(model, path)
    owner, owner_name = place_of(model, first_path)
    module._modules[name] = owner._modules[owner_name]


def own_branches(model: nn.Module, *paths: str) -> None:
    """Tells branches whose tree their functions work on."""
    for path in paths:
        branch, _ = place_of(model, path + ".")
        branch.__dict__["_modulize_owner"] = (model,)


def place_of(model: nn.Module, path: str) -> tuple[Any, str]:
    """The module and the name in it that a path leads to, whatever hides it from attribute access."""
    *parents, name = path.split(".")
    module: Any = model
    for part in parents:
        children = module.__dict__.get("_modules") or {}
        module = children[part] if part in children else getattr(module, part)
    return module, name


def assemble(cls: type, /, **parts: Any) -> Any:
    """A module of a class made without its constructor, of its parameters, buffers, children and attributes."""
    module: Any = object.__new__(cls)
    nn.Module.__init__(module)
    for name, part in parts.items():
        add(module, name, part)
    return module


def add(module: Any, name: str, part: Any) -> None:
    """Adds a parameter, buffer, child or attribute, past the class's own ``__setattr__``."""
    if isinstance(part, Buffer):
        module._buffers[name] = part.tensor
        if not part.persistent:
            module._non_persistent_buffers_set.add(name)
    elif isinstance(part, nn.Parameter):
        module._parameters[name] = part
    elif isinstance(part, nn.Module):
        module._modules[name] = part
    else:
        object.__setattr__(module, name, part)


def parametrized(module: Any) -> Any:
    """The module with its ``parametrizations`` at work, as ``torch.nn.utils.parametrize`` leaves it."""
    parametrize._inject_new_class(module)
    for name in module.parametrizations:
        parametrize._inject_property(module, name)
    return module


def with_parts(module: Any, /, **parts: Any) -> Any:
    """The module with further parts."""
    for name, part in parts.items():
        add(module, name, part)
    return module


def tie(model: nn.Module, path: str, owner_path: str, hidden: bool = False) -> None:
    """Makes one tensor stand under two names; a hidden one is left out of the state_dict."""
    module, name = place_of(model, path)
    owner, owner_name = place_of(model, owner_path)
    tied = module.__dict__.setdefault("_modulize_tied", {})
    tied[name] = (owner, owner_name)
    kind = module._parameters if name in module._parameters else module._buffers
    kind[name] = (owner._parameters if owner_name in owner._parameters else owner._buffers)[owner_name]
    if hidden:
        hide_tied(module)
    if _after_load not in model._load_state_dict_post_hooks.values():
        model.register_load_state_dict_post_hook(_after_load)


def constant(model: nn.Module, path: str, shape: Any, dtype: torch.dtype) -> None:
    """Adds a tensor of the program: it moves with the model, and stands in no state_dict and no list of buffers."""
    module, name = place_of(model, path)
    module._buffers[name] = torch.empty(shape, dtype=dtype)
    module._non_persistent_buffers_set.add(name)
    module.__dict__.setdefault("_modulize_constants", set()).add(name)


def local_function(outer: Any, name: str) -> Any:
    """The function that ``outer`` defines under this name inside of its body, and that reads nothing of it."""
    while hasattr(outer, "__wrapped__"):
        outer = outer.__wrapped__
    for code in outer.__code__.co_consts:
        if isinstance(code, types.CodeType) and code.co_name == name and not code.co_freevars:
            return types.FunctionType(code, outer.__globals__, name)
    raise AttributeError(f"{outer.__qualname__} has no function {name}")


def freeze(model: nn.Module, *paths: str) -> None:
    """Marks parameters that need no gradient."""
    for path in paths:
        module, name = place_of(model, path)
        module._parameters[name].requires_grad_(False)


def set_modes(model: nn.Module, training: bool, *others: str) -> None:
    """Sets the mode of every module; the named ones are in the other mode."""
    for module in model.modules():
        module.training = training
    for path in others:
        module, _ = place_of(model, path + "." if path else path)
        module.training = not training


DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "C64": torch.complex64,
}


def read_tensors(file: str) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file."""
    with open(file, "rb") as stream:
        start = stream.read(8)
        rest = bytearray(stream.read())
    size = int.from_bytes(start, "little")
    try:
        head = json.loads(rest[:size])
        whole = size + max(
            (entry["data_offsets"][1] for key, entry in head.items() if key != "__metadata__"), default=0
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        whole = -1
    if whole != len(rest):
        raise ValueError(f"{file} is no safetensors file, or not all of one")
    data = memoryview(rest)[size:]
    tensors = {}
    for name, entry in head.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        dtype, shape = DTYPES[entry["dtype"]], entry["shape"]
        if begin == end:
            tensors[name] = torch.empty(shape, dtype=dtype)
        else:
            count = (end - begin) // torch.empty((), dtype=dtype).element_size()
            flat = torch.frombuffer(data, dtype=dtype, count=count, offset=begin)
            tensors[name] = flat.clone().reshape(shape)
    return tensors


def load_tensors(model: nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    """Gives the model, which is on the meta device, these tensors by their paths."""
    names = tied_names(model)
    for path, tensor in tensors.items():
        try:
            module, name = place_of(model, path)
            held = module.__dict__
            old: Any = {**held, **held.get("_buffers", {}), **held.get("_parameters", {})}[name]
        except (AttributeError, KeyError):
            raise ValueError(f"the weights hold {path!r}, which the model does not have") from None
        if old.shape != tensor.shape:
            raise ValueError(f"the weights hold {path!r} of shape {tuple(tensor.shape)}, the model {tuple(old.shape)}")
        if isinstance(module, nn.Module) and name in module._parameters:
            module._parameters[name] = nn.Parameter(tensor, requires_grad=old.requires_grad)
        elif isinstance(module, nn.Module) and name in module._buffers:
            module._buffers[name] = tensor
        else:
            object.__setattr__(module, name, tensor)
    retie(names)
    for path, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.is_meta:
            raise ValueError(f"the weights lack {path!r}")
    for module in model.modules():
        if isinstance(module, nn.RNNBase):  # keeps a list of its weights beside
            module._flat_weights = [getattr(module, weight, None) for weight in module._flat_weights_names]


def is_user_code(code: types.CodeType) -> bool:
    """Whether it is code of neither torch nor Python's own import system, nor a method that Python has made."""
    is_made = code.co_filename == "<string>" and code.co_name.startswith("__")
    return not is_made and not code.co_filename.startswith((os.path.dirname(torch.__file__) + os.sep, "<frozen"))


# --- what checks of objects look at ------------------------------------------------------


PLAIN = (type(None), bool, int, float, complex, str, bytes, type(...), torch.dtype, torch.device, torch.Size, enum.Enum)


def has_parts(value: Any) -> bool:
    if isinstance(value, (torch.Tensor, nn.Module, type, types.FunctionType, PLAIN)):
        return False
    if isinstance(value, (list, tuple, dict, collections.deque)):
        return True
    return bool(type(value).__flags__ & (1 << 9)) and hasattr(value, "__dict__")  # a class written in Python


def parts_of(value: Any) -> list[tuple[bool, Any, Any]]:
    """(is an attribute, its name or the item's key, the part): attributes by name, then items in order."""
    attributes = dict(getattr(value, "__dict__", {}))
    for cls in type(value).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                attributes[name] = getattr(value, name)
    parts = [(True, name, attributes[name]) for name in sorted(attributes)]
    if isinstance(value, dict):
        parts += [(False, key, item) for key, item in dict.items(value)]
    elif isinstance(value, (list, tuple, collections.deque)):
        parts += [(False, i, item) for i, item in enumerate(value)]
    return parts


def contents_of(value: Any, seen: Any = ()) -> list[Any]:
    """Everything inside of a value, flat."""
    found = [value]
    if has_parts(value) and id(value) not in seen:
        for _, key, part in parts_of(value):
            found += [key, *contents_of(part, (*seen, id(value)))]
        found.append(...)
    return found


def same_contents(before: list[Any], now: list[Any]) -> bool:
    """Whether the same objects stand in the same places."""
    return len(before) == len(now) and all(
        a is b or (isinstance(a, PLAIN) and type(a) is type(b) and a == b) for a, b in zip(before, now)
    )


def structure_difference(value: Any, expected: Any, text: str, seen: dict[int, int] | None = None) -> str:
    """Where a value is not what was captured, or an empty text."""
    kind, seen = expected[0], {} if seen is None else seen
    tensor, parts = isinstance(value, torch.Tensor), has_parts(value)
    if tensor and kind == "any tensor":
        return ""
    if (tensor or parts) and id(value) in seen and type(value) is not tuple:
        same = kind == "same" and expected[1] == seen[id(value)]
        return "" if same else f"{text} is an object that stands elsewhere in it as well, and was not"
    if tensor or parts:
        seen[id(value)] = len(seen)
    if kind == "number" and (value.dim() == 0 if tensor else type(value) in (int, float)):
        return ""
    if tensor:
        return "" if kind == "tensor" else f"{text} was no tensor when the model was prepared, and is one in this call"
    if not parts:
        if kind == "class":
            same = type(value) is expected[1]
        elif kind == "sizes":
            same = type(value) is torch.Size and len(value) == expected[1]
        elif kind == "set":
            same = isinstance(value, (set, frozenset)) and frozenset(value) == expected[1]
        else:
            same = kind in ("value", "is") and (
                value is expected[1] or (type(value) is type(expected[1]) and value == expected[1])
            )
        return "" if same else f"{text} was {expected[-1]!r} when the model was prepared, and is {value!r} in this call"
    if kind == "each" and type(value) is list:
        items = (structure_difference(item, expected[1], f"{text}[{i}]") for i, item in enumerate(value) if expected[1])
        return next((found for found in items if found), "")
    if kind != "parts" or type(value) is not expected[1]:
        return f"{text} is a {type(value).__name__}, which it was not when the model was prepared"
    now = parts_of(value)
    if [part[:2] for part in now] != [tuple(part[:2]) for part in expected[2]]:
        return f"{text} has other parts than when the model was prepared"
    for (is_attribute, key, part), (_, _, inner) in zip(now, expected[2]):
        found = structure_difference(part, inner, f"{text}.{key}" if is_attribute else f"{text}[{key!r}]", seen)
        if found:
            return found
    return ""
