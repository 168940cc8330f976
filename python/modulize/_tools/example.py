"""Runs of the example."""

from __future__ import annotations

from typing import Any

from modulize._prepare.verify import run

__all__ = ["run_for_hooks"]


def run_for_hooks(model: Any, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Run the model for what hooks see: whatever it writes, the arguments and the random state are as before."""
    report = getattr(model, "report", None)
    run(model, inputs, kwargs, False, report.written_state if report else [])
