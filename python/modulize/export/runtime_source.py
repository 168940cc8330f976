"""The small modules that are written along: their own source, and whatever that source refers to."""

from __future__ import annotations

import ast
import importlib
import inspect
import textwrap
from functools import cache
from typing import Any

__all__ = ["operations_source", "runtime_source"]

# In this order; what stands in an earlier one replaces what a later one defines.
_MODULES = ("modulize.export.written", "modulize._runtime", "modulize._graph_module")
_IMPORTS = {
    "collections": "import collections",
    "copy": "import copy",
    "enum": "import enum",
    "functools": "import functools",
    "json": "import json",
    "types": "import types",
    "Callable": "from collections.abc import Callable",
    "Iterator": "from collections.abc import Iterator",
    "Any": "from typing import Any",
    "torch": "import torch",
    "nn": "from torch import nn",
    "parametrize": "from torch.nn.utils import parametrize",
}


@cache
def _definitions() -> dict[str, tuple[str, frozenset[str]]]:
    """Name -> (source, the names that it reads), of everything that may be written along."""
    found: dict[str, tuple[str, frozenset[str]]] = {}
    for module_name in _MODULES:
        source = inspect.getsource(importlib.import_module(module_name)).replace(
            "_core.AssumptionError", "AssumptionError"
        )
        for node in ast.parse(source).body:
            names: list[str] = []
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                names = [node.name]
            elif isinstance(node, (ast.Assign, ast.AnnAssign)):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names = [target.id for target in targets if isinstance(target, ast.Name)]
            for name in names:
                text = ast.get_source_segment(source, node) or ""
                reads = {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)} - {name}
                found.setdefault(name, (text, frozenset(reads)))
    return found


def runtime_source(wanted: set[str]) -> str:
    """``runtime.py`` with these names and all that they need."""
    known = _definitions()
    missing = sorted(name for name in wanted if name not in known and name not in _IMPORTS)
    if missing:
        raise KeyError(f"modulize has no {', '.join(missing)} to write along")
    taken: dict[str, None] = {}
    imports = {name for name in wanted if name in _IMPORTS}

    def take(name: str) -> None:
        if name in _IMPORTS:
            imports.add(name)
        elif name in known and name not in taken:
            for inner in sorted(known[name][1]):
                take(inner)
            taken.setdefault(name)

    for name in sorted(wanted):
        take(name)
    parts = [known[name][0] for name in taken]
    head = '"""What the model calls besides torch. Written by modulize; needs torch alone."""\n\n'
    head += "from __future__ import annotations\n\n"
    return head + "\n".join(text for name, text in _IMPORTS.items() if name in imports) + "\n\n\n" + _spaced(parts)


def operations_source(names: set[str]) -> str:
    """``operations.py`` with these classes of modulize.nn."""
    module: Any = importlib.import_module("modulize.nn")
    classes = [textwrap.dedent(inspect.getsource(getattr(module, name))).strip() for name in sorted(names)]
    head = '"""Modules for operations that torch.nn has none for. Written by modulize; needs torch alone."""\n\n'
    return head + "import torch\nfrom torch.nn import Module\n\n\n" + _spaced(classes)


def _spaced(parts: list[str]) -> str:
    """Definitions two lines apart, constants beside each other."""
    text = ""
    for part in parts:
        definition = part.startswith(("def ", "class ", "@"))
        text += part + ("\n\n\n" if definition else "\n\n")
    return text.rstrip() + "\n"
