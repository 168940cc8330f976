"""Checks of what the model was captured with, and decisions."""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.fx

from modulize import _core


def check(value: Any, expected: Any, what: str, place: str = "") -> None:
    """Raise unless ``value`` is what the model was specialised to: equal and of the same kind (1 is not True)."""
    if value is expected:
        return
    if isinstance(value, torch.fx.Proxy):  # a tool traces the prepared model: the check goes into its graph
        value.tracer.create_proxy("call_function", check, (value, expected, what, place), {})
        return
    if isinstance(value, torch.Tensor) and value.dim() == 0 and torch.jit.is_tracing():
        value = value.item()  # a number of the traced model
    if _kind(value) is not _kind(expected) or value != expected:
        what += f" at {place}" if place else ""
        if repr(value) == repr(expected):
            raise _core.AssumptionError(
                f"{what} is another {type(value).__name__} than when the model was prepared, though it looks the same: "
                "give that object, or prepare the model again with this one"
            )
        raise _core.AssumptionError(
            f"{what} was {expected!r} when the model was prepared, and is {_shown(value)} in this call: prepare the "
            "model again with that value"
        )


def _kind(value: Any) -> Any:
    """Its class; for the numbers and containers by which torch.export and torch.fx stand for Python's, Python's."""
    for kind, stand_ins in _KINDS:
        if isinstance(value, stand_ins):
            return kind
    return type(value)


_KINDS = tuple(
    (kind, tuple(c for c in (kind, getattr(torch, symbolic, None)) if c))
    for kind, symbolic in ((bool, "SymBool"), (int, "SymInt"), (float, "SymFloat"), (list, ""), (dict, ""))
)


def truth(value: Any) -> bool:
    """The Python truth of a value, by which forward decides."""
    return bool(value)


def select(condition: Any, first: Any, second: Any) -> Any:
    """``first`` where the condition holds, else ``second``; both are there already."""
    return first if condition else second


def require(condition: Any, expected: bool, error: Any) -> None:
    """Raise what the model raises where the condition is not as expected; a text is an assumption."""
    if bool(condition) is not expected:
        if isinstance(error, str):
            raise _core.AssumptionError(error)
        raise copy.copy(error)


# torch 2.1 and later
_is_compiling = getattr(getattr(torch, "compiler", None), "is_compiling", bool)


def check_structure(value: Any, expected: Any, what: str) -> None:
    """Raise unless an object still has the classes, keys, plain values and tensors that the model was captured with."""
    if not _is_compiling():  # whose own guards ask for more
        _require_structure(value, expected, what, "prepare the model again with such an object")


def check_made(value: Any, expected: Any, what: str) -> None:
    """Raise unless what kept code has made is of the kind that the model was captured with."""
    if not _is_compiling() and not isinstance(value, torch.fx.Proxy):  # no graph of a tool's holds the expectation
        way_out = "exclude the function or module around it, so that what is decided by it lies inside"
        _require_structure(value, expected, what, way_out)


def _require_structure(value: Any, expected: Any, what: str, way_out: str) -> None:
    difference = _core.structure_difference(value, expected, what)
    if difference:
        raise _core.AssumptionError(f"{difference}: {way_out}")


def length(value: Any, kind: str, what: str) -> int:
    """The length of a list or tuple that an argument is or holds; Python may decide by which of them it is."""
    return len(_of_kind(value, list if kind == "list" else tuple, what))


def keys(value: Any, what: str) -> list[Any]:
    """The keys of a dict that an argument is or holds."""
    return list(_of_kind(value, dict, what))


def _of_kind(value: Any, kind: type, what: str) -> Any:
    if isinstance(value, kind):
        return value
    raise _core.AssumptionError(
        f"{what} was a {kind.__name__} when the model was prepared, and is a {type(value).__name__} in this call: "
        "prepare the model again with that value"
    )


def contents(value: Any) -> Any:
    """What is in a container now, for ``check_unchanged``."""
    return None if _is_compiling() else _core.contents_of(value)


def check_unchanged(before: Any, value: Any, what: str) -> None:
    """Raise unless a container still holds what it held."""
    if before is not None and not _core.same_contents(before, _core.contents_of(value)):
        raise _core.AssumptionError(
            f"{what} when the model was prepared is changed in this call: exclude the function or module around it, so "
            "that what is done with it lies inside"
        )


def _shown(value: Any) -> str:
    return f"a {type(value).__name__}" if hasattr(value, "shape") else repr(value)
