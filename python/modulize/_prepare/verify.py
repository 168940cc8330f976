"""Compares the outputs of the original and the prepared model on the example."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch

from modulize import _core
from modulize._core import Checkpoint, VerificationError
from modulize._engine.comparison import Comparison

__all__ = ["Verified", "run", "verify_outputs"]


class Verified(NamedTuple):
    """What a comparison of both models' outputs has found."""

    difference: float | None  # the largest absolute one; None where there are no values to compare
    reason: str = ""  # why not


def verify_outputs(
    model: torch.nn.Module,
    prepared: Any,
    inputs: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    plain_outputs: Callable[[Any], Any] | None = None,
    exact: bool = True,
) -> Verified:
    """Run both models on the example and return the largest absolute difference: 0.0 where they must be ``exact``.

    The original runs by itself, with nothing that records: what it computed during the capture is no reference, as a
    traced number is not quite an int.

    Raises
    ------
    VerificationError
        The outputs, or what was written to the inputs, differ in structure or in any bit; if they need not be
        ``exact``, by more than rounding (``modulize._engine.comparison``).
    """
    gradients = not set(prepared.report.questions).isdisjoint(_core.gradient_questions())
    written = prepared.report.written_state
    with contextlib.nullcontext() if exact else _layers_without_fast_path():
        expected, expected_inputs = run(model, inputs, kwargs, gradients, written)
    try:
        # Code that is kept whole may hold the original, or a part of it.
        with Checkpoint(model, _tensors(model, written)) if prepared.report.kept else contextlib.nullcontext():
            actual, actual_inputs = run(prepared, inputs, kwargs, gradients, written, _counterparts(model, prepared))
    except Exception as error:
        says_so_itself = isinstance(error, _core.ModulizeError) and not isinstance(error, _core.AssumptionError)
        if says_so_itself or isinstance(error, MemoryError):
            raise
        # Eager went on here: the capture took something for granted that does not hold.
        raise VerificationError(
            f"the prepared model raises {type(error).__name__} where the original runs: {error}"
        ) from error
    signature = inspect.signature(model.forward)  # the prepared model's may take anything
    after = [signature.bind(*args, **named).arguments for args, named in (expected_inputs, actual_inputs)]
    if plain_outputs:
        expected = plain_outputs(expected)
    pairs = [(expected, actual, "the output")]
    pairs += [(value, after[1][name], f"argument '{name}' after the call") for name, value in after[0].items()]
    comparisons = [Comparison(exact) for _ in pairs]
    largest = max(comparison.compare(*pair) for comparison, pair in zip(comparisons, pairs))
    if all(comparison.has_all_values for comparison in comparisons):
        return Verified(largest)
    return Verified(None, "on the meta device tensors have no values: shapes and dtypes alone were compared")


@contextlib.contextmanager
def _layers_without_fast_path() -> Iterator[None]:
    """Attention layers run step by step: the kernel for a whole layer zeroes padded places."""
    mha = getattr(torch.backends, "mha", None)  # torch 2.1 and later
    was = mha.get_fastpath_enabled() if mha else False
    if mha:
        mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        if mha:
            mha.set_fastpath_enabled(was)


def run(
    model: Any,
    inputs: tuple[Any, ...],
    kwargs: dict[str, Any],
    gradients: bool,
    written: list[str],
    instead: dict[torch.nn.Module, torch.nn.Module] | None = None,
) -> tuple[Any, tuple[tuple[Any, ...], dict[str, Any]]]:
    """The output, and the arguments as forward left them."""
    inputs, kwargs = _core.copied((inputs, kwargs), instead or {})
    # Gradients cost memory and change nothing, unless forward asks for them.
    world = Checkpoint(model, _tensors(model, written), (inputs, kwargs))
    with world, torch.set_grad_enabled(gradients and torch.is_grad_enabled()):
        output = model.forward(*inputs, **kwargs)
    return output, (inputs, kwargs)


def _counterparts(model: torch.nn.Module, prepared: torch.nn.Module) -> dict[torch.nn.Module, torch.nn.Module]:
    """What the prepared model is to be given where the original is given a module of its own."""
    own = dict(prepared.named_modules())
    return {module: own[path] for path, module in model.named_modules() if path in own}


def _tensors(model: Any, names: list[str]) -> list[torch.Tensor]:
    """The Parameters and other tensors among attributes, which both models share."""
    values = (functools.reduce(_attribute, name.split("."), model) for name in names)
    return [value for value in values if isinstance(value, torch.Tensor)]


def _attribute(value: Any, name: str) -> Any:
    return getattr(value, name, None)
