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
_MODULES = (
    "modulize.export.written",
    *(f"modulize._runtime.{part}" for part in ("checks", "contexts", "functions", "objects", "sites")),
    "modulize._prepared.ties",
)


@cache
def _statements() -> list[tuple[ast.stmt, str]]:
    """The statements of those modules, each with the source that it stands in."""
    sources = [inspect.getsource(importlib.import_module(name)).replace("_core.", "") for name in _MODULES]
    return [(node, source) for source in sources for node in ast.parse(source).body]


@cache
def _imports() -> dict[str, str]:
    """Name -> the statement that imports it, of what those modules import from elsewhere; torch after the others."""
    found: dict[str, str] = {}
    for node, _ in _statements():
        for alias in node.names if isinstance(node, (ast.Import, ast.ImportFrom)) else ():
            module = node.module or "" if isinstance(node, ast.ImportFrom) else alias.name
            if module.partition(".")[0] not in ("modulize", "__future__"):
                one = ast.ImportFrom(module, [alias], 0) if isinstance(node, ast.ImportFrom) else ast.Import([alias])
                found[alias.asname or alias.name] = ast.unparse(one)
    return dict(sorted(found.items(), key=lambda item: ("torch" in item[1], item[1].startswith("from"), item[1])))


@cache
def _definitions() -> dict[str, tuple[str, frozenset[str]]]:
    """Name -> (source, the names that it reads), of everything that may be written along."""
    found: dict[str, tuple[str, frozenset[str]]] = {}
    for node, source in _statements():
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
    known, importable = _definitions(), _imports()
    missing = sorted(name for name in wanted if name not in known and name not in importable)
    if missing:
        raise KeyError(f"modulize has no {', '.join(missing)} to write along")
    taken: dict[str, None] = {}
    imports = {name for name in wanted if name in importable}

    def take(name: str) -> None:
        if name in importable:
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
    lines = [text for name, text in importable.items() if name in imports]
    groups = [[line for line in lines if ("torch" in line) is torch] for torch in (False, True)]
    return head + "\n\n".join("\n".join(group) for group in groups if group) + "\n\n\n" + _spaced(parts)


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
