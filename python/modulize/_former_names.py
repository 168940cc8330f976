"""Names that stand in pickles, graphs and exported packages of earlier versions, and the modules that have them now."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
from types import ModuleType
from typing import Any

_MOVED = {
    "modulize._bytecode": ("modulize._engine",),
    "modulize._calls": ("modulize._prepare.calls",),
    "modulize._graph_module": tuple(
        f"modulize._prepared.{part}"
        for part in ("module", "branch", "containers", "fx_graph", "pickling", "program", "ties")
    ),
    "modulize._operations": ("modulize._prepare.operations",),
    "modulize._plain_outputs": ("modulize._runtime.plain_outputs",),
    "modulize._sites": ("modulize._runtime.sites",),
    "modulize._statements": ("modulize._engine.statements",),
    "modulize._targets": ("modulize._prepare.targets",),
    "modulize._tools.replay": ("modulize._prepared.retrace",),
    "modulize._verify": ("modulize._prepare.verify", "modulize._engine"),
}


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the modules of former names; Python asks it after all others."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        return importlib.machinery.ModuleSpec(name, self) if name in _MOVED else None

    def create_module(self, spec: Any) -> None:
        """An ordinary one."""

    def exec_module(self, module: ModuleType) -> None:
        """Its attributes are those of the modules that have them now."""
        now = [importlib.import_module(name) for name in _MOVED[module.__name__]]

        def find(name: str) -> Any:
            for one in now:
                if name in vars(one):
                    return vars(one)[name]
            raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")

        module.__getattr__ = find  # type: ignore[method-assign]


def install() -> None:
    sys.meta_path.append(_Finder())
