"""Whether two values are equal: the outputs of two models, the state that two calls leave."""

from __future__ import annotations

from typing import Any

import torch

from modulize import _core
from modulize._core import VerificationError

# What operations in another order may differ by, as a share of the largest value of a tensor.
_ROUNDING = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}


class Comparison:
    """One comparison of two values: tensors by bits, containers and objects part by part."""

    def __init__(self, exact: bool = True) -> None:
        self.has_all_values = True  # of the tensors that it has met; those on the meta device have shapes alone
        self._exact = exact
        self._met: dict[int, Any] = {}  # object of the original -> what stands in its place; both are alive

    def compare(self, expected: Any, actual: Any, where: str) -> float:
        if isinstance(expected, torch.Tensor):
            _require_same_kind(expected, actual, where)
            if expected.is_meta and actual.is_meta:
                self.has_all_values &= expected is actual
                return 0.0
            return _compare_values(expected, actual, where, self._exact)
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
    """Whether two values are equal, tensors in every bit; nobody knows of two that are on the meta device."""
    comparison = Comparison()
    try:
        return comparison.compare(expected, actual, "") == 0.0 and comparison.has_all_values
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


def _require_same_kind(expected: torch.Tensor, actual: Any, where: str) -> None:
    if not isinstance(actual, torch.Tensor):
        raise VerificationError(f"{where} is a tensor, but the prepared model gives {_article(actual)}")
    if expected.shape != actual.shape or expected.dtype != actual.dtype:
        raise VerificationError(
            f"{where} is {expected.dtype} {tuple(expected.shape)}, but the prepared model gives "
            f"{actual.dtype} {tuple(actual.shape)}"
        )


def _compare_values(expected: torch.Tensor, actual: torch.Tensor, where: str, exact: bool) -> float:
    if torch.equal(expected, actual):
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
