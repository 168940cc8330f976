"""Packages that only a part of modulize needs."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["MissingExtraError", "need"]


class MissingExtraError(ImportError):
    """A package is not installed that an extra of modulize brings."""


def need(name: str, extra: str) -> Any:
    """The module ``name``, or an error that says which extra brings it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtraError(
            f"this needs the package {name.partition('.')[0]}, which is not installed: pip install 'modulize[{extra}]'"
        ) from error
