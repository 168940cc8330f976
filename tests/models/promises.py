"""What a user may do with a model, one operation each: whatever the original can, the prepared model can.

An operation returns what a user sees of it. It runs on the original first: where that raises, there is nothing to hold.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import inspect
import io
import logging
import pickle
import random
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy
import torch
from torch import nn

from catalogue import Entry, Inputs
from fidelity import assert_same, map_tensors, redraw, tensors_in
from modulize import prepare_model

# Verdicts of a cell.
HOLDS, FAILS, REFUSED = "yes", "NO", "-"


@dataclasses.dataclass(frozen=True)
class Cell:
    """One operation on one model. The message says why it does not hold, or what the original raises."""

    operation: str
    verdict: str
    message: str = ""


@dataclasses.dataclass(frozen=True)
class Operation:
    """``run(model, other, inputs)``: ``other`` is the original with other values, to exchange state with."""

    run: Callable[[nn.Module, nn.Module, Inputs], Any]
    tolerance: float = 0.0

    @property
    def name(self) -> str:
        return self.run.__name__


OPERATIONS: dict[str, Operation] = {}


def operation(function: Any = None, *, tolerance: float = 0.0) -> Any:
    def register(run: Any) -> Any:
        OPERATIONS[run.__name__] = Operation(run, tolerance)
        return run

    return register if function is None else register(function)


# --- parts of operations ----------------------------------------------------------------------------------------------


def call(model: Any, inputs: Inputs, seed: int = 5) -> Any:
    args, kwargs = copy.deepcopy(inputs)
    torch.manual_seed(seed)
    numpy.random.seed(seed)
    random.seed(seed)
    return model(*args, **kwargs)


@torch.no_grad()
def output(model: Any, inputs: Inputs) -> list[torch.Tensor]:
    return list(tensors_in(call(model, inputs)))


def loss(model: Any, inputs: Inputs) -> torch.Tensor:
    outputs = [tensor for tensor in tensors_in(call(model, inputs)) if tensor.requires_grad]
    return torch.stack([tensor.double().square().mean() for tensor in outputs]).sum()


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def buffers(model: nn.Module) -> dict[str, torch.Tensor]:
    """The persistent ones and the others."""
    return {name: tensor.detach().clone() for name, tensor in model.named_buffers()}


def converted(inputs: Inputs, convert: Callable[[torch.Tensor], torch.Tensor]) -> Inputs:
    return map_tensors(lambda t: convert(t) if t.is_floating_point() else t, copy.deepcopy(inputs))


# --- training ---------------------------------------------------------------------------------------------------------


@operation
def in_eval_mode(model: nn.Module, other: nn.Module, inputs: Inputs) -> Any:
    model.eval()
    return output(model, inputs)


@operation
def in_train_mode(model: nn.Module, other: nn.Module, inputs: Inputs) -> Any:
    model.train()
    return output(model, inputs), buffers(model), [torch.rand(1)]


@operation(tolerance=1e-6)
def gradients(model: nn.Module, other: nn.Module, inputs: Inputs) -> Any:
    loss(model, inputs).backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@operation(tolerance=1e-5)
def two_training_steps(model: nn.Module, other: nn.Module, inputs: Inputs) -> Any:
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, weight_decay=1e-2)
    losses = []
    for _ in range(2):
        optimizer.zero_grad()
        losses.append(loss(model, inputs))
        losses[-1].backward()
        optimizer.step()
    return [value.detach() for value in losses], state(model), buffers(model)


# --- state ------------------------------------------------------------------------------------------------------------


@operation
def names_and_order(model: nn.Module, other: nn.Module, inputs: Inputs) -> Any:
    keys = model.state_dict(keep_vars=True)
    tied: dict[int, list[str]] = {}
    for name, tensor in keys.items():
        tied.setdefault(id(tensor), []).append(name)
    return (
        [(name, tuple(p.shape), p.requires_grad) for name, p in model.named_parameters()],
        [(name, tuple(b.shape)) for name, b in model.named_buffers()],
        [(name, tuple(tensor.shape), tensor.dtype) for name, tensor in keys.items()],
        list(tied.values()),
    )


@operation
def strict_state_both_ways(model: nn.Module, other: nn.Module, inputs: Inputs) -> Any:
    before = copy.deepcopy(state(model))
    model.load_state_dict(other.state_dict(), strict=True)
    exchanged = output(model, inputs)
    other.load_state_dict(before, strict=True)
    return exchanged, output(other, inputs)


@operation
def load_with_assign(model: nn.Module, other: nn.Module, inputs: Inputs) -> Any:
    model.load_state_dict(copy.deepcopy(other.state_dict()), strict=True, assign=True)
    return output(model, inputs), list(model.state_dict())  # ties that the original loses stay


@operation
def to_empty(model: nn.Module, other: nn.Module, inputs: Inputs) -> Any:
    kept = {name: tensor for name, tensor in buffers(model).items() if name not in model.state_dict()}
    model.to("meta").to_empty(device="cpu")
    model.load_state_dict(other.state_dict(), strict=True)
    with torch.no_grad():
        for name, tensor in kept.items():
            model.get_buffer(name).copy_(tensor)
    return output(model, inputs), list(model.state_dict())


@operation
def deep_copy(model: nn.Module, other: nn.Module, inputs: Inputs) -> Any:
    copied = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()  # the copy has its own
    return output(copied, inputs), names_and_order(copied, other, inputs)


@operation
def pickled(model: nn.Module, other: nn.Module, inputs: Inputs) -> Any:
    copied = pickle.loads(pickle.dumps(model))
    return output(copied, inputs), names_and_order(copied, other, inputs)


@operation
def saved_and_loaded(model: nn.Module, other: nn.Module, inputs: Inputs) -> Any:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    copied = torch.load(file, weights_only=False)
    return output(copied, inputs), names_and_order(copied, other, inputs)


# --- moving -----------------------------------------------------------------------------------------------------------


@operation
def on_meta(model: nn.Module, other: nn.Module, inputs: Inputs) -> Any:
    model.to("meta")
    moved = map_tensors(lambda tensor: tensor.to("meta"), copy.deepcopy(inputs))
    return [(tuple(tensor.shape), tensor.dtype) for tensor in output(model, moved)]


@operation
def in_double(model: nn.Module, other: nn.Module, inputs: Inputs) -> Any:
    return output(model.double(), converted(inputs, torch.Tensor.double))


@operation
def in_bfloat16(model: nn.Module, other: nn.Module, inputs: Inputs) -> Any:
    return output(model.bfloat16(), converted(inputs, torch.Tensor.bfloat16))


@operation
def under_autocast(model: nn.Module, other: nn.Module, inputs: Inputs) -> Any:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return output(model, inputs)


# --- other compilers --------------------------------------------------------------------------------------------------


class Positional(nn.Module):
    """Takes the tensors of the inputs by position and gives tensors, as tracers want it."""

    def __init__(self, model: nn.Module, inputs: Inputs) -> None:
        super().__init__()
        self.model, self.inputs = model, inputs

    def forward(self, *tensors: torch.Tensor) -> Any:
        left = iter(tensors)
        args, kwargs = map_tensors(lambda _: next(left), self.inputs)
        return tuple(tensors_in(self.model(*args, **kwargs)))


@operation
def jit_traced(model: nn.Module, other: nn.Module, inputs: Inputs) -> Any:
    tensors = tuple(tensors_in(inputs))
    torch.manual_seed(5)
    traced = torch.jit.trace(Positional(model, inputs), tensors, check_trace=False)
    return list(traced(*copy.deepcopy(tensors)))


def in_order(model: nn.Module, inputs: Inputs) -> Inputs:
    """Keyword inputs in the order of the signature and without gaps, as torch.export hands them to a GraphModule."""
    args, kwargs = copy.deepcopy(inputs)
    named = list(inspect.signature(model.forward).parameters.values())[len(args) :]
    while named and named[-1].name not in kwargs:
        named.pop()
    return args, {parameter.name: kwargs.get(parameter.name, parameter.default) for parameter in named}


@operation
def exported(model: nn.Module, other: nn.Module, inputs: Inputs) -> Any:
    inputs = in_order(model, inputs)
    program = torch.export.export(model, *inputs, strict=False)
    # Every name of a tied tensor is there too, as always with torch.export.
    return output(program.module(), inputs), sorted(program.state_dict.keys() & other.state_dict().keys())


@operation
def exported_for_any_batch(model: nn.Module, other: nn.Module, inputs: Inputs) -> Any:
    batch = torch.export.Dim("batch", min=2, max=64)
    tensors = tuple(tensors_in(inputs))
    dynamic = {"tensors": tuple({0: batch} for _ in tensors)}
    program = torch.export.export(Positional(model, inputs), tensors, dynamic_shapes=dynamic, strict=False)
    rows = [torch.cat([tensor, tensor.flip(0)]) for tensor in tensors]
    return list(program.module()(*rows))


@operation
def exported_strictly(model: nn.Module, other: nn.Module, inputs: Inputs) -> Any:
    inputs = in_order(model, inputs)
    program = torch.export.export(model, *inputs, strict=True)
    return output(program.module(), inputs)


@operation
def compiled_without_a_break(model: nn.Module, other: nn.Module, inputs: Inputs) -> Any:
    return output(torch.compile(model, fullgraph=True, backend="eager"), inputs)


@operation
def compiled(model: nn.Module, other: nn.Module, inputs: Inputs) -> Any:
    return output(torch.compile(model, backend="eager"), inputs)


@operation(tolerance=1e-5)
def compiled_training(model: nn.Module, other: nn.Module, inputs: Inputs) -> Any:
    loss(torch.compile(model, backend="aot_eager"), inputs).backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@operation(tolerance=1e-4)
def compiled_by_inductor(model: nn.Module, other: nn.Module, inputs: Inputs) -> Any:
    return output(torch.compile(model), inputs)


def _onnx_outputs(content: bytes, tensors: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    names = [taken.name for taken in session.get_inputs()]
    values = dict(zip(names, (tensor.numpy() for tensor in tensors), strict=True))
    outputs, again = session.run(None, values), session.run(None, values)
    if not all(numpy.array_equal(*both, equal_nan=True) for both in zip(outputs, again)):
        raise RuntimeError("random numbers of onnxruntime's own")
    return [torch.from_numpy(value) for value in outputs]


@operation(tolerance=1e-3)
def to_onnx(model: nn.Module, other: nn.Module, inputs: Inputs) -> Any:
    tensors = tuple(tensors_in(inputs))
    program = torch.onnx.export(Positional(model, inputs), tensors, dynamo=True, verbose=False)
    file = io.BytesIO()
    program.save(file)
    return _onnx_outputs(file.getvalue(), tensors)


@operation(tolerance=1e-3)
def to_onnx_by_tracing(model: nn.Module, other: nn.Module, inputs: Inputs) -> Any:
    tensors, file = tuple(tensors_in(inputs)), io.BytesIO()
    torch.onnx.export(Positional(model, inputs), tensors, file, dynamo=False)
    return _onnx_outputs(file.getvalue(), tensors)


# By what they cost: seconds, or many.
COMPILERS = (
    "jit_traced exported exported_for_any_batch exported_strictly compiled_without_a_break compiled compiled_training "
    "compiled_by_inductor to_onnx to_onnx_by_tracing"
).split()
PLAIN = [name for name in OPERATIONS if name not in COMPILERS]


# --- cells ------------------------------------------------------------------------------------------------------------


class Subject:
    """A model of the catalogue with its prepared twin; every operation gets copies."""

    def __init__(self, entry: Entry, *, train: bool = False) -> None:
        self.inputs = entry.example()
        self._make = lambda: entry.make().train(train)
        self._original, self._prepared = self._make(), self._prepare()

    def _prepare(self) -> nn.Module:
        args, kwargs = self.inputs
        return prepare_model(self._make(), example_inputs=args, example_kwargs=kwargs)

    def check(self, name: str) -> Cell:
        chosen = OPERATIONS[name]
        try:
            expected = self._run(chosen, _copied(self._original, self._make))
        except Exception as error:
            return Cell(name, REFUSED, _said(error))
        try:
            got = self._run(chosen, _copied(self._prepared, self._prepare))
            assert_close(got, expected, chosen.tolerance)
        except Exception as error:
            return Cell(name, FAILS, _said(error))
        return Cell(name, HOLDS)

    def graph_breaks(self) -> list[int]:
        """Of torch.compile, in the original and in the prepared model."""
        counts = []
        for model, again in ((self._original, self._make), (self._prepared, self._prepare)):
            torch._dynamo.reset()
            args, kwargs = copy.deepcopy(self.inputs)
            with _quiet(), torch.no_grad():
                counts.append(torch._dynamo.explain(_copied(model, again))(*args, **kwargs).graph_break_count)
        return counts

    def _run(self, chosen: Operation, model: nn.Module) -> Any:
        other = redraw(_copied(self._original, self._make), seed=3, all_parameters=True)
        torch._dynamo.reset()
        torch.manual_seed(0)
        with _quiet():
            return chosen.run(model, other, copy.deepcopy(self.inputs))


def _copied(model: nn.Module, again: Callable[[], nn.Module]) -> nn.Module:
    try:
        return copy.deepcopy(model)
    except RuntimeError:  # the old weight_norm holds a tensor that cannot be copied
        return again()


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:600]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        level = logging.root.manager.disable
        logging.disable(logging.ERROR)
        try:
            yield
        finally:
            logging.disable(level)


def assert_close(got: Any, expected: Any, tolerance: float, where: str = "result") -> None:
    """Bit for bit where the tolerance is 0; else relative to the largest value of a tensor."""
    if tolerance == 0.0:
        assert_same(got, expected, where)
    elif isinstance(expected, torch.Tensor):
        assert got.shape == expected.shape and got.dtype == expected.dtype, f"{where}: {got.shape}, {got.dtype}"
        if not expected.numel():
            return
        parted = (got != expected) & ~(got.isnan() & expected.isnan())  # infinities and nan may be equal
        scale = float(expected.double().abs().nan_to_num(0.0, 0.0).max())
        difference = float((got.double() - expected.double())[parted].abs().max()) if parted.any() else 0.0
        assert difference <= tolerance * max(scale, 1e-3), f"{where}: differs by {difference:.2e} of {scale:.2e}"
    elif isinstance(expected, dict):
        assert list(got) == list(expected), f"{where}: {list(got)[:9]} instead of {list(expected)[:9]}"
        for key in expected:
            assert_close(got[key], expected[key], tolerance, f"{where}[{key!r}]")
    elif isinstance(expected, (tuple, list)):
        assert len(got) == len(expected), f"{where}: {len(got)} items instead of {len(expected)}"
        for index, (one, two) in enumerate(zip(got, expected)):
            assert_close(one, two, tolerance, f"{where}[{index}]")
    else:
        assert got == expected, f"{where}: {got!r} instead of {expected!r}"
