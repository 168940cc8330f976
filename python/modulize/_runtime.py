"""What the generated source calls."""

from __future__ import annotations

from typing import Any


def root_attribute(root: Any, name: str) -> Any:
    """An attribute of the prepared model that torch.fx.GraphModule hides by one of its own, such as `code`."""
    for key in ("_parameters", "_buffers", "_modules"):
        if name in root.__dict__[key]:
            return root.__dict__[key][name]
    return root.__dict__[name]
