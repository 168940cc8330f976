"""What the generated source calls."""

from __future__ import annotations

import copy
from typing import Any

import torch.fx

from modulize import _core


def check(value: Any, expected: Any, what: str) -> None:
    """Raise unless ``value`` is what the model was specialised to: equal and of the same type (1 is not True)."""
    if value is not expected and not (type(value) is type(expected) and value == expected):
        raise _core.AssumptionError(
            f"{what} was {expected!r} when the model was prepared, and is {_shown(value)} in this call: prepare the "
            "model again with that value"
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


# Nothing reads its result: torch.fx must not take it for dead code.
if hasattr(torch.fx.node, "has_side_effect"):
    torch.fx.node.has_side_effect(check)
    torch.fx.node.has_side_effect(require)


def root_attribute(root: Any, name: str) -> Any:
    """An attribute of the prepared model that torch.fx.GraphModule hides by one of its own, such as `code`."""
    for key in ("_parameters", "_buffers", "_modules"):
        if name in root.__dict__[key]:
            return root.__dict__[key][name]
    return root.__dict__[name]


def _shown(value: Any) -> str:
    return f"a {type(value).__name__}" if hasattr(value, "shape") else repr(value)
