"""Python objects as source: an expression that makes an equal object, from text that cannot be anything else."""

from __future__ import annotations

import collections
import dataclasses
import enum
import functools
import keyword
import math
import pathlib
import re
import sys
import types
from typing import Any

import torch

from modulize._core import UnsupportedError

__all__ = ["Imports", "Unspellable", "is_name", "spell"]


class Unspellable(UnsupportedError):
    """An object that no source can stand for."""


def is_name(text: str) -> bool:
    """Whether a text means in source what it says: no keyword, and nothing that Python's parser would change."""
    return text.isascii() and text.isidentifier() and not keyword.iskeyword(text)


def is_private(text: str) -> bool:
    """Whether a class body would mangle the name."""
    return text.startswith("__") and not text.endswith("__")


class Imports:
    """The modules that a source needs, found by the objects it names."""

    def __init__(self) -> None:
        self.modules: set[str] = set()
        self.written: set[str] = set()  # what runtime.py must define

    def name(self, value: Any) -> str:
        """The expression for something that can be imported by its qualified name."""
        module, qualified = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
        if module == "builtins" and qualified and is_name(qualified):
            return qualified
        for text in public_names(value, module, qualified):
            found = self.reach(text)
            while found is not value and "__wrapped__" in getattr(found, "__dict__", ()):  # what its decorator hides
                found, text = found.__wrapped__, f"{text}.__wrapped__"
            if found is value:
                hidden = self.hidden_module(text)
                if not hidden:
                    return text
                self.modules.add("importlib")
                return f"importlib.import_module({quoted(hidden)}){text[len(hidden) :]}"
        where = f"{module}.{qualified}" if module else repr(value)
        hint = "define it at the top level of a module that can be imported"
        raise Unspellable(f"{where[:200]!r} cannot be imported by its name: {hint}")

    def reach(self, text: str) -> Any:
        """What a qualified name leads to; notes the module to import. None where it leads nowhere."""
        parts = text.split(".")
        if not all(is_name(part) and not is_private(part) for part in parts) or parts[0] == "__main__":
            return None
        for count in range(len(parts) - 1, 0, -1):
            module = ".".join(parts[:count])
            if not isinstance(sys.modules.get(module), types.ModuleType):
                continue
            found: Any = sys.modules[module]
            for part in parts[count:]:
                found = getattr(found, part, None)
            if found is not None:
                self.modules.add(module)
            return found
        return None

    def hidden_module(self, text: str) -> str:
        """The module of a name that attributes do not lead to, as a function of its name stands in the package."""
        parts = text.split(".")
        found: Any = sys.modules.get(parts[0])
        for count, part in enumerate(parts[1:], 2):
            found = getattr(found, part, None)
            module = ".".join(parts[:count])
            if (
                count < len(parts)
                and isinstance(sys.modules.get(module), types.ModuleType)
                and found is not sys.modules[module]
            ):
                return module
        return ""

    def statements(self) -> list[str]:
        """Import statements; the parents of a module come with it."""
        return [f"import {module}" for module in sorted(self.modules - {"torch.nn", "builtins"})]


def public_names(value: Any, module: str | None, qualified: str | None) -> list[str]:
    """The names under which people know it first: torch.nn.Conv2d, not torch.nn.modules.conv.Conv2d."""
    if not module or not qualified:
        return []
    names = []
    if module.startswith("torch.nn.modules."):
        names.append(f"torch.nn.{qualified}")
    if module.startswith("torch._C"):
        names += [f"torch.nn.functional.{qualified}", f"torch.{qualified}"]
    return [*names, f"{module}.{qualified}"]


CONTAINERS: dict[Any, tuple[str, str]] = {list: ("[", "]"), tuple: ("(", ")"), set: ("{", "}")}


def spell(value: Any, imports: Imports, depth: int = 0) -> str:
    """An expression for the value. Raises Unspellable where there is none."""
    if depth > 40:
        raise Unspellable("a value that nests more than 40 deep")

    def inner(item: Any) -> str:
        return spell(item, imports, depth + 1)

    if value is None or value is ... or isinstance(value, bool):
        return "..." if value is ... else repr(bool(value) if isinstance(value, bool) else None)
    if isinstance(value, enum.Enum):
        return f"{imports.name(type(value))}[{value.name!a}]"
    kind = type(value)
    if kind is float:
        return repr(value) if math.isfinite(value) else f'float("{value!r}")'
    if kind is str:
        return quoted(value)
    if kind in (int, bytes, complex):
        return repr(value)
    if kind in CONTAINERS:
        first, last = CONTAINERS[kind]
        if kind is set:
            return "{" + ", ".join(sorted(map(inner, value))) + "}" if value else "set()"
        comma = "," if kind is tuple and len(value) == 1 else ""
        return first + ", ".join(map(inner, value)) + comma + last
    if kind is frozenset:
        return f"frozenset({inner(set(value))})"
    if kind is dict:
        return "{" + ", ".join(f"{inner(key)}: {inner(item)}" for key, item in value.items()) + "}"
    if kind is slice:
        return f"slice({inner(value.start)}, {inner(value.stop)}, {inner(value.step)})"
    if kind is torch.Size:
        return f"torch.Size({inner(list(value))})"
    if isinstance(value, (torch.dtype, torch.memory_format, torch.layout)):
        return str(value)
    if kind is torch.device:
        return f"torch.device({str(value)!a})"
    if isinstance(value, pathlib.PurePath) and kind.__module__.partition(".")[0] == "pathlib":
        return f"{imports.name(kind)}({quoted(str(value))})"
    if isinstance(value, type) or kind in (types.FunctionType, types.BuiltinFunctionType):
        return function(value, imports)
    if isinstance(value, (torch._ops.OpOverload, torch._ops.OpOverloadPacket)):
        return operator_name(value)
    if kind is functools.partial:
        given = [value.func, *value.args]
        return f"functools.partial({', '.join([*map(inner, given), *_keywords(value.keywords, inner)])})"
    if isinstance(value, BaseException):
        return f"{imports.name(kind)}({', '.join(map(inner, value.args))})"
    if isinstance(value, re.Pattern):
        imports.modules.add("re")
        return f"re.compile({inner(value.pattern)}, {int(value.flags)})"
    if isinstance(value, tuple) and hasattr(kind, "_fields"):
        return f"{imports.name(kind)}({', '.join(map(inner, value))})"
    if isinstance(value, (collections.OrderedDict, collections.defaultdict)):
        factory = [inner(value.default_factory)] if isinstance(value, collections.defaultdict) else []
        return f"{imports.name(kind)}({', '.join([*factory, inner(dict(value))])})"
    if dataclasses.is_dataclass(value):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.init}
        return f"{imports.name(kind)}({', '.join(_keywords(fields, inner))})"
    if kind.__module__ == "numpy" and hasattr(value, "tolist") and value.dtype.kind in "biufc" and value.size <= 4096:
        imports.modules.add("numpy")
        made = f'numpy.array({inner(value.tolist())}, dtype="{value.dtype.str}")'
        return f"{made}.reshape({inner(value.shape)})" if value.ndim else f"{made}[()]"
    raise Unspellable(f"an object of class {kind.__module__}.{kind.__qualname__} cannot be written as source")


def _keywords(values: dict[str, Any], inner: Any) -> list[str]:
    named = [f"{name}={inner(item)}" for name, item in values.items() if is_name(name) and not is_private(name)]
    others = {name: item for name, item in values.items() if not is_name(name) or is_private(name)}
    return named + ([f"**{inner(others)}"] if others else [])


def quoted(text: str) -> str:
    """A literal of a text, ASCII only, in double quotes where a formatter would write them."""
    literal = ascii(text)
    return '"' + literal[1:-1] + '"' if literal[0] == "'" and '"' not in literal else literal


def function(value: Any, imports: Imports) -> str:
    owner = getattr(value, "__self__", None)
    if isinstance(owner, type) and is_name(value.__name__) and not is_private(value.__name__):
        return f"{imports.name(owner)}.{value.__name__}"  # a class method, the apply of an autograd.Function
    outer, _, name = getattr(value, "__qualname__", "").rpartition(".<locals>.")
    if outer and is_name(name) and "<locals>" not in outer and value.__closure__ is None and not value.__defaults__:
        found = imports.reach(f"{value.__module__}.{outer}")
        if found is not None:  # the function that it is defined in can be imported
            imports.written.add("local_function")
            return f"runtime.local_function({value.__module__}.{outer}, {quoted(name)})"
    return imports.name(value)


def operator_name(value: Any) -> str:
    text = f"torch.ops.{str(value).replace('::', '.')}"
    if not all(is_name(part) for part in text.split(".")):
        raise Unspellable(f"the operator {value} cannot be written as source")
    return text
