"""All traps: importing this registers those of every module here."""

from soundness import (  # noqa: F401
    aliasing,
    ambient,
    calls,
    decisions,
    habits,
    leaks,
    odd,
    plumbing,
    research,
    shapes,
    state,
    unseen,
    wrapped,
)
from soundness.rule import TRAPS

__all__ = ["TRAPS"]
