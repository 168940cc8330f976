"""Packages that only a part of modulize needs."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["MissingExtraError", "need"]


class MissingExtraError(ImportError):
    """A package is not installed that an extra of modulize brings."""


def need(name: str, extra: str) -> Any:
    """The module ``name``, or an error that says which extra brings it."""
    package = name.partition(".")[0]
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != package:
            raise
        raise MissingExtraError(
            f"this needs the package {package}, which is not installed: pip install 'modulize[{extra}]'"
        ) from None
