"""Functions of a graph in pickles."""

from __future__ import annotations

import collections
import contextlib
import functools
import importlib
import sys
import types
from collections.abc import Iterator
from typing import Any

from modulize._engine import statements_of


class _Held:
    """Stands in a pickle for a function that its name does not give: decorated, a lambda, in a closure."""

    def __init__(self, module: str, path: tuple[str | int, ...]) -> None:
        self.module, self.path = module, path

    def __reduce__(self) -> tuple[Any, ...]:
        return _held, (self.module, self.path)


def _held(module: str, path: tuple[str | int, ...]) -> Any:
    found: Any = importlib.import_module(module)
    for step in path:
        found = dict(_holds(found))[step]
    return found


def _holds(holder: Any) -> Iterator[tuple[str | int, Any]]:
    """What functions may be reached through, by its place."""
    if isinstance(holder, (types.ModuleType, type)):
        yield from tuple(vars(holder).items())
    for name in ("__wrapped__", "__func__", "func", "fget"):
        if name in getattr(holder, "__dict__", ()) or isinstance(holder, _WRAPPERS):
            with contextlib.suppress(AttributeError):
                yield name, getattr(holder, name)
    if isinstance(holder, types.FunctionType):
        for place, cell in enumerate(holder.__closure__ or ()):
            with contextlib.suppress(ValueError):  # empty
                yield place, cell.cell_contents


_WRAPPERS = (staticmethod, classmethod, property, functools.partial, type(functools.lru_cache(id)))


def _path_to(function: Any, module: Any) -> tuple[str | int, ...] | None:
    """The shortest way from a module to a function that it holds; None if there is none."""
    ways: collections.deque[tuple[Any, tuple[str | int, ...]]] = collections.deque([(module, ())])
    seen = {id(module)}
    while ways:
        holder, path = ways.popleft()
        for step, value in _holds(holder):
            if value is function:
                return (*path, step)
            of_module = isinstance(value, type) and value.__module__ == module.__name__
            if (of_module or isinstance(value, (types.FunctionType, *_WRAPPERS))) and id(value) not in seen:
                seen.add(id(value))
                ways.append((value, (*path, step)))
    return None


class _Statements:
    """Stands in a pickle for statements of a function that are a function of their own."""

    def __init__(self, function: Any, lines: Any, base: type | None) -> None:
        self.function, self.lines = _named(function, base), lines

    def __reduce__(self) -> tuple[Any, ...]:
        return statements_of, (self.function, self.lines)


def picklable(objects: list[Any], base: type | None) -> list[Any]:
    return [_named(item, base) if isinstance(item, types.FunctionType) else item for item in objects]


def _named(function: types.FunctionType, base: type | None) -> Any:
    """`base`: whose module may hold the function, beside the function's own."""
    if hasattr(function, "_modulize_statements"):
        whole, lines = function._modulize_statements
        return _Statements(whole, lines, base)
    found: Any = sys.modules.get(function.__module__)
    for name in function.__qualname__.split("."):
        found = getattr(found, name, None)
    if found is function:
        return function
    for module in {function.__module__: None, getattr(base, "__module__", ""): None}:
        path = _path_to(function, sys.modules[module]) if module in sys.modules else None
        if path:
            return _Held(module, path)
    return function
