"""Compares the outputs of the original and the prepared model on the example."""

from __future__ import annotations

from typing import Any

import torch

from modulize._core import SavedState, VerificationError

__all__ = ["verify_outputs"]


def verify_outputs(
    expected: Any, prepared: torch.nn.Module, inputs: tuple[Any, ...], kwargs: dict[str, Any]
) -> float:
    """Run the prepared model on the example and return the largest absolute difference to ``expected``, which is 0.0.

    ``expected`` is what the original returned from the same random state.

    Raises
    ------
    VerificationError
        The outputs differ in structure or in any bit.
    """
    return _compare(expected, _run(prepared, inputs, kwargs), "the output")


def _run(model: torch.nn.Module, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    # Copies, since forward may write its inputs; what it writes on the model and the random state are put back.
    saved = SavedState(model)
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    # Gradients cost memory and change nothing, unless forward asks for them.
    gradients = torch.is_grad_enabled() and any("is_grad_enabled" in text for text in model.report.assumptions)
    with torch.random.fork_rng(devices=devices), torch.set_grad_enabled(gradients):
        try:
            return model.forward(*_copied(inputs), **_copied(kwargs))
        finally:
            saved.restore()


def _copied(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, tuple) and hasattr(value, "_make"):
        return value._make(map(_copied, value))
    if isinstance(value, (list, tuple)):
        return type(value)(map(_copied, value))
    if isinstance(value, dict):
        return type(value)((key, _copied(item)) for key, item in value.items())
    return value


def _compare(expected: Any, actual: Any, where: str) -> float:
    if isinstance(expected, torch.Tensor):
        if not isinstance(actual, torch.Tensor):
            raise VerificationError(f"{where} is a tensor, but the prepared model gives a {type(actual).__name__}")
        if expected.shape != actual.shape or expected.dtype != actual.dtype:
            raise VerificationError(
                f"{where} is {expected.dtype} {tuple(expected.shape)}, but the prepared model gives "
                f"{actual.dtype} {tuple(actual.shape)}"
            )
        if torch.equal(expected, actual):
            return 0.0
        both_nan = expected.isnan() & actual.isnan() if expected.is_floating_point() else torch.zeros(())
        differs = (expected != actual) & ~both_nan.bool()
        if not differs.any():
            return 0.0
        gap = (expected.double() - actual.double()).abs()[differs.expand_as(expected)].max().item()
        raise VerificationError(
            f"{where} of the prepared model differs from the original's in {int(differs.sum())} of "
            f"{differs.numel()} elements, by up to {gap:g}"
        )
    if not isinstance(actual, type(expected)) and not isinstance(expected, type(actual)):
        raise VerificationError(
            f"{where} is a {type(expected).__name__}, but the prepared model gives a {type(actual).__name__}"
        )
    if isinstance(expected, dict):
        if list(expected) != list(actual):
            raise VerificationError(
                f"{where} has the keys {list(expected)}, but the prepared model gives {list(actual)}"
            )
        return max((_compare(expected[k], actual[k], f"{where}[{k!r}]") for k in expected), default=0.0)
    if isinstance(expected, (list, tuple)):
        if len(expected) != len(actual):
            raise VerificationError(f"{where} has {len(expected)} items, but the prepared model gives {len(actual)}")
        pairs = enumerate(zip(expected, actual))
        return max((_compare(e, a, f"{where}[{i}]") for i, (e, a) in pairs), default=0.0)
    if expected != actual and expected is not actual:
        raise VerificationError(f"{where} is {expected!r}, but the prepared model gives {actual!r}")
    return 0.0
