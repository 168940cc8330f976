"""Prepares one model of the catalogue and says what holds of the result."""

from __future__ import annotations

import collections
import copy
import dataclasses
import re
import time
from typing import Any

import torch
from torch import nn

from catalogue import Entry, Inputs
from fidelity import Snapshot, assert_same, assert_same_state, assert_strict_state, tensors_in
from modulize import AssumptionError, ModulizeError, prepare_model
from observe import observe

# What can be said of a comparison.
# An assumption that the call breaks is said by an AssumptionError; RAISES is any other error.
EQUAL, DIFFERENT, ASSUMED, RAISES, REFUSED = "yes", "NO", "assumes", "raises", "-"


@dataclasses.dataclass
class Row:
    library: str
    name: str
    prepared: bool = False
    example: str = ""
    values: str = ""
    batch: str = ""
    size: str = ""
    # The original is untouched, and the prepared model has its parameters, buffers and keys.
    state: str = ""
    modules: int = 0
    leftovers: list[str] = dataclasses.field(default_factory=list)
    share: float = 0.0
    kept: list[str] = dataclasses.field(default_factory=list)
    kept_calls: list[str] = dataclasses.field(default_factory=list)
    repeated: list[str] = dataclasses.field(default_factory=list)
    assumptions: list[str] = dataclasses.field(default_factory=list)
    # Root, or a block of which the model has several, kept whole.
    blocks_kept: list[str] = dataclasses.field(default_factory=list)
    seconds: float = 0.0
    forward_seconds: float = 0.0
    error: str = ""
    message: str = ""

    @property
    def holds(self) -> bool:
        """All that the issue asks of a model."""
        compared = (self.example, self.values, self.batch)
        return (
            self.prepared
            and all(found == EQUAL for found in compared)
            and self.size in (EQUAL, ASSUMED, REFUSED)
            and self.state == EQUAL
            and self.share >= 0.99
            and not self.blocks_kept
        )

    @property
    def reason(self) -> str:
        """Why not everything holds."""
        if self.error and not self.holds:
            return f"{self.error}: {self.message}"
        if self.blocks_kept:
            return f"kept whole: {', '.join(self.blocks_kept)}"
        if self.holds:
            return ""
        what = ", ".join(self.kept) or ", ".join(self.leftovers)
        return f"fewer than 99 of 100 computing calls are modules: {what} ({self.share:.2%})"

    @property
    def silently_wrong(self) -> bool:
        return DIFFERENT in (self.example, self.values, self.batch, self.size)

    def as_dict(self) -> dict[str, Any]:
        found = {"holds": self.holds, "silently_wrong": self.silently_wrong, "reason": self.reason}
        return without_folders({**dataclasses.asdict(self), **found})

    def assert_holds(self) -> None:
        assert self.holds, (
            f"{self.name}: prepared {self.prepared}, equal on the example {self.example}, values {self.values}, batch "
            f"{self.batch}, size {self.size}, state {self.state}, share {self.share:.2%}\n"
            f"{self.reason}\n"
            f"leftovers {self.leftovers[:9]}\nin kept code {self.kept_calls[:9]}\nkept {self.kept}\n"
            f"blocks kept {self.blocks_kept}"
        )


def _run(model: nn.Module, inputs: Inputs) -> Any:
    args, kwargs = copy.deepcopy(inputs)
    torch.manual_seed(5)
    with torch.no_grad():
        result = model(*args, **kwargs)
    return result, args, kwargs  # the inputs after the call: caches that forward extends


def compare(row: Row, model: nn.Module, prepared: nn.Module, inputs: Inputs, where: str) -> str:
    try:
        expected = _run(model, inputs)
    except Exception as error:
        if where in ("example", "values"):
            row.state, row.error = DIFFERENT, "state"
            row.message = f"after preparing, the original raises {type(error).__name__}: {_one_line(error)}"
        return REFUSED  # the original takes no such inputs
    floats = [tensor for tensor in tensors_in(expected[0]) if tensor.is_floating_point()]
    assert not any(tensor.isnan().any() for tensor in floats), f"{where}: the original gives nan"
    assert sum(tensor.numel() for tensor in floats), f"{where}: the original gives nothing to compare"
    try:
        assert_same(_run(prepared, inputs), expected, where)
    except AssertionError as error:
        row.error, row.message = row.error or "different", row.message or _one_line(error)
        return DIFFERENT
    except Exception as error:
        row.error, row.message = row.error or type(error).__name__, row.message or f"{where}: {_one_line(error)}"
        return ASSUMED if isinstance(error, AssumptionError) else RAISES
    return EQUAL


def _one_line(error: BaseException) -> str:
    return without_folders(" ".join(str(error).split()))[:400]


def without_folders(value: Any) -> Any:
    """Files by their place in the library, not on this machine."""
    if isinstance(value, str):
        inside = re.sub(r"/[^ ']*/site-packages/", "", value)
        return re.sub(r"(?<![\w.])/(?:[^ ':/]+/)+(?=[^ ':/]+/[^ ':/]+\.py)", "", inside)
    if isinstance(value, list):
        return [without_folders(item) for item in value]
    return {key: without_folders(item) for key, item in value.items()} if isinstance(value, dict) else value


def blocks_kept_whole(model: nn.Module, kept: list[dict[str, Any]]) -> list[str]:
    """The root, or modules of a class that the model has several of, among what was kept."""
    of_class = collections.Counter(type(module) for module in model.modules())
    modules = dict(model.named_modules(remove_duplicate=False))
    found = []
    for entry in kept:
        path = re.sub(r"^module ", "", str(entry["what"])).strip("'\"")
        if path in modules and (path == "" or of_class[type(modules[path])] > 1):
            found.append(path or "(root)")
    return found


def gradients(model: nn.Module, inputs: Inputs) -> dict[str, torch.Tensor]:
    model.zero_grad()
    args, kwargs = copy.deepcopy(inputs)
    outputs = [t for t in tensors_in(model(*args, **kwargs)) if t.requires_grad]
    torch.stack([tensor.square().mean() for tensor in outputs]).sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_same_gradients(entry: Entry) -> None:
    """Of every parameter, at other values than the example's."""
    model, (args, kwargs) = entry.make(), entry.example()
    prepared = prepare_model(model, example_inputs=args, example_kwargs=kwargs)
    expected, got = (gradients(of, entry.other_values()) for of in (model, prepared))
    assert list(got) == list(expected)
    assert len(got) > 0
    for name, gradient in expected.items():
        # Sums over several uses of a tensor are made in the order of the graph.
        torch.testing.assert_close(got[name], gradient, rtol=1e-5, atol=1e-7, msg=lambda text: f"{name}: {text}")


def measure(entry: Entry, *, warm: bool = False, **options: Any) -> Row:
    """Never raises for what the engine does wrong; raises where the entry itself is at fault.

    A ``warm`` model has run before it is prepared: models that cache by shape or install hooks then take other ways.
    """
    row = Row(entry.library, entry.name)
    model = entry.make()
    inputs = entry.example()
    if warm:
        _run(model, inputs)
    args, kwargs = inputs
    untouched = Snapshot(model, args, kwargs)
    start = time.perf_counter()
    try:
        prepared = prepare_model(model, example_inputs=args, example_kwargs=kwargs, **options)
    except Exception as error:
        row.error, row.message = type(error).__name__, _one_line(error)
        if not isinstance(error, ModulizeError):
            row.error += " (not a ModulizeError)"
        _run(model, inputs)  # shows an entry that is at fault itself
        return row
    row.seconds = time.perf_counter() - start
    row.prepared = True
    try:
        untouched.assert_unchanged()
        assert_same_state(prepared, model)
        row.state = EQUAL
    except AssertionError as error:
        row.state, row.error, row.message = DIFFERENT, "state", _one_line(error)
    row.assumptions = [str(text) for text in prepared.report.assumptions]
    row.kept = [" ".join(f"{k['what']}: {k['reason']} {k['where']}".split()) for k in prepared.report.kept]
    row.blocks_kept = blocks_kept_whole(model, prepared.report.kept)
    row.example = compare(row, model, prepared, inputs, "example")
    row.values = compare(row, model, prepared, entry.other_values(), "values")
    row.batch = compare(row, model, prepared, entry.another_batch(), "batch")
    row.size = compare(row, model, prepared, entry.another_size(), "size")
    if row.example == EQUAL:
        seen = observe(prepared, *copy.deepcopy(inputs))
        row.modules, row.leftovers, row.kept_calls, row.share = seen.modules, seen.leftovers, seen.kept, seen.share
        row.repeated = seen.repeated
    if row.example != REFUSED:
        start = time.perf_counter()
        _run(model, inputs)
        row.forward_seconds = time.perf_counter() - start
    if row.state == EQUAL:
        try:
            assert_strict_state(prepared, model)
        except AssertionError as error:
            row.state, row.error, row.message = DIFFERENT, row.error or "state", row.message or _one_line(error)
    return row
