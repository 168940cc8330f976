"""What the generated source calls."""

from __future__ import annotations

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


# Nothing reads its result: torch.fx must not take it for dead code.
if hasattr(torch.fx.node, "has_side_effect"):
    torch.fx.node.has_side_effect(check)


def root_attribute(root: Any, name: str) -> Any:
    """An attribute of the prepared model that torch.fx.GraphModule hides by one of its own, such as `code`."""
    for key in ("_parameters", "_buffers", "_modules"):
        if name in root.__dict__[key]:
            return root.__dict__[key][name]
    return root.__dict__[name]


def _shown(value: Any) -> str:
    return f"a {type(value).__name__}" if hasattr(value, "shape") else repr(value)
