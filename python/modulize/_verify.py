"""Compares the outputs of the original and the prepared model on the example."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import torch

from modulize import _core
from modulize._core import SavedState, VerificationError

__all__ = ["run", "verify_outputs"]


def verify_outputs(
    model: torch.nn.Module,
    prepared: Any,
    inputs: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    plain_outputs: Callable[[Any], Any] | None = None,
    exact: bool = True,
) -> float:
    """Run both models on the example and return the largest absolute difference: 0.0 where they must be ``exact``.

    The original runs by itself, with nothing that records: what it computed during the capture is no reference, as a
    traced number is not quite an int.

    Raises
    ------
    VerificationError
        The outputs, or what was written to the inputs, differ in structure or in any bit; if they need not be
        ``exact``, by more than rounding (``_ROUNDING``).
    """
    gradients = "torch.is_grad_enabled" in prepared.report.questions
    written = prepared.report.written_state
    with contextlib.nullcontext() if exact else _layers_without_fast_path():
        expected, expected_inputs = run(model, inputs, kwargs, gradients, written)
    actual, actual_inputs = run(prepared, inputs, kwargs, gradients, written)
    signature = inspect.signature(model.forward)  # the prepared model's may take anything
    after = [signature.bind(*args, **named).arguments for args, named in (expected_inputs, actual_inputs)]
    if plain_outputs:
        expected = plain_outputs(expected)
    largest = _Comparison(exact).compare(expected, actual, "the output")
    for name, value in after[0].items():
        where = f"argument '{name}' after the call"
        largest = max(largest, _Comparison(exact).compare(value, after[1][name], where))
    return largest


# What operations in another order may differ by, as a share of the largest value of a tensor.
_ROUNDING = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}


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
    model: Any, inputs: tuple[Any, ...], kwargs: dict[str, Any], gradients: bool, written: list[str]
) -> tuple[Any, tuple[tuple[Any, ...], dict[str, Any]]]:
    """The output, and the arguments as forward left them."""
    inputs, kwargs = _core.copied((inputs, kwargs))
    # What the run writes on the model and the random state are put back.
    saved = SavedState(model)
    overwritten = [(tensor, tensor.detach().clone()) for tensor in _tensors(model, written)]
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    # Gradients cost memory and change nothing, unless forward asks for them.
    with torch.random.fork_rng(devices=devices), torch.set_grad_enabled(gradients and torch.is_grad_enabled()):
        try:
            output = model.forward(*inputs, **kwargs)
        finally:
            saved.restore()
            for tensor, copy in overwritten:
                tensor.detach().copy_(copy)
    return output, (inputs, kwargs)


def _tensors(model: Any, names: list[str]) -> list[torch.Tensor]:
    """The Parameters and other tensors among attributes, which both models share."""
    values = (functools.reduce(_attribute, name.split("."), model) for name in names)
    return [value for value in values if isinstance(value, torch.Tensor)]


def _attribute(value: Any, name: str) -> Any:
    return getattr(value, name, None)


class _Comparison:
    """One comparison of two values: tensors by bits, containers and objects part by part."""

    def __init__(self, exact: bool = True) -> None:
        self._exact = exact
        self._met: dict[int, Any] = {}  # object of the original -> what stands in its place; both are alive

    def compare(self, expected: Any, actual: Any, where: str) -> float:
        if isinstance(expected, torch.Tensor):
            return _compare_tensors(expected, actual, where, self._exact)
        if not isinstance(actual, type(expected)) and not isinstance(expected, type(actual)):
            raise VerificationError(f"{where} is {_article(expected)}, but the prepared model gives {_article(actual)}")
        parts = _core.parts_of(expected)
        if parts is None:
            if _same(expected, actual):
                return 0.0
            raise VerificationError(f"{where} is {expected!r}, but the prepared model gives {actual!r}")
        if id(expected) in self._met:
            if self._met[id(expected)] is not actual and not isinstance(expected, tuple):
                raise VerificationError(f"{where} is the same object as another part, but not in the prepared model")
            return 0.0
        self._met[id(expected)] = actual
        others = _core.parts_of(actual) or []
        if [text for text, _ in parts] != [text for text, _ in others]:
            raise VerificationError(f"{where} has {_names(parts)}, but the prepared model gives {_names(others)}")
        pairs = zip(parts, others)
        return max((self.compare(e, a, where + text) for (text, e), (_, a) in pairs), default=0.0)


def is_same(expected: Any, actual: Any) -> bool:
    """Whether two values are equal, tensors in every bit."""
    try:
        return _Comparison().compare(expected, actual, "") == 0.0
    except VerificationError:
        return False


def _names(parts: list[tuple[str, Any]]) -> str:
    shown = ", ".join(text for text, _ in parts[:20]) + (", ..." if len(parts) > 20 else "")
    return f"{len(parts)} items" + (f" ({shown})" if parts else "")


def _article(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__}"


def _same(expected: Any, actual: Any) -> bool:
    by_identity: Any = object.__eq__
    if expected is actual or type(expected).__eq__ is by_identity:  # nothing to compare
        return True
    equal = expected == actual
    return bool(equal) if isinstance(equal, (bool, int)) else bool(getattr(equal, "all", lambda: True)())


def _compare_tensors(expected: torch.Tensor, actual: Any, where: str, exact: bool) -> float:
    if not isinstance(actual, torch.Tensor):
        raise VerificationError(f"{where} is a tensor, but the prepared model gives {_article(actual)}")
    if expected.shape != actual.shape or expected.dtype != actual.dtype:
        raise VerificationError(
            f"{where} is {expected.dtype} {tuple(expected.shape)}, but the prepared model gives "
            f"{actual.dtype} {tuple(actual.shape)}"
        )
    if (expected.is_meta and actual.is_meta) or torch.equal(expected, actual):
        return 0.0
    both_nan = expected.isnan() & actual.isnan() if expected.is_floating_point() else torch.zeros(())
    differs = (expected != actual) & ~both_nan.bool()
    if not differs.any():
        return 0.0
    gap = (expected.double() - actual.double()).abs()[differs.expand_as(expected)].max().item()
    if not exact and gap <= _ROUNDING.get(expected.dtype, 0.0) * expected.double().abs().max().item():
        return gap
    raise VerificationError(
        f"{where} of the prepared model differs from the original's in {int(differs.sum())} of "
        f"{differs.numel()} elements, by up to {gap:g}"
    )
