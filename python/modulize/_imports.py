"""Modules that are imported while a capture runs."""

from __future__ import annotations

import builtins
import contextlib
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any

__all__ = ["plain_imports"]

# What a capture stands in for, as it is without one.
_PLAIN: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (vars(builtins), {name: getattr(builtins, name) for name in ("range", "len", "max", "min")}),
    (vars(math), {name: value for name, value in vars(math).items() if callable(value)}),
]


@contextlib.contextmanager
def plain_imports() -> Iterator[None]:
    """Inside, modules find Python's own builtins while they are imported, and keep no stand-ins in their tables.

    torch._dynamo is imported by the first call on the meta device, and compiles by what it knows of ``range``.
    """
    finder = _Finder()
    at = sys.meta_path.index(PathFinder) if PathFinder in sys.meta_path else len(sys.meta_path)
    sys.meta_path.insert(at, finder)
    try:
        yield
    finally:
        if finder in sys.meta_path:
            sys.meta_path.remove(finder)


class _Finder:
    """Finds what PathFinder finds."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and type(spec.loader) is SourceFileLoader:
            # On this one loader: it stays as the module's, and is as it was once the module is there.
            vars(spec.loader)["exec_module"] = _plainly(spec.loader)
        return spec


def _plainly(loader: SourceFileLoader) -> Callable[[ModuleType], None]:
    def execute(module: ModuleType) -> None:
        vars(loader).pop("exec_module", None)
        before = [{name: variables[name] for name in plain} for variables, plain in _PLAIN]
        for variables, plain in _PLAIN:
            variables.update(plain)
        try:
            loader.exec_module(module)
        finally:
            for (variables, _), values in zip(_PLAIN, before):
                variables.update(values)

    return execute
