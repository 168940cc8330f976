"""Context managers that forward enters."""

from __future__ import annotations

import functools
from typing import Any

import torch

from modulize import _core


def enter(name: str, *args: Any, **kwargs: Any) -> Any:
    """Enter the context manager that ``name`` makes of the arguments; in the generated source, a ``with`` block."""
    manager = _imported(name)(*args, **kwargs)
    manager.__enter__()
    return manager


def leave(manager: Any) -> None:
    """Leave what :func:`enter` returned."""
    manager.__exit__(None, None, None)


def given(manager: Any) -> Any:
    """A context manager that the model already had."""
    return manager


def sdpa_kernel(*backends: str, **options: Any) -> Any:
    """``torch.nn.attention.sdpa_kernel`` for backends by name."""
    attention = torch.nn.attention
    return attention.sdpa_kernel([getattr(attention.SDPBackend, name) for name in backends], **options)


def reentrant(*tensors: Any) -> Any:
    """The gradient mode inside of a reentrant checkpoint, which records nothing unless an argument asks for it."""
    return torch.set_grad_enabled(torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors))


@functools.cache
def _imported(name: str) -> Any:
    return _core.resolve_name(name)
