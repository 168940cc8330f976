"""The rule of soundness: equal, refused, or raising at the call that breaks an assumption; never silently wrong.

``judge`` prepares a trap, calls the prepared model and an original built the same way side by side (on the example, on
other values, on other sizes, in other modes), and compares outputs, inputs after the call, buffers, attributes and
gradients after each call.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy
import torch
from torch import nn

from fidelity import assert_same, tensors_in
from modulize import ModulizeError, prepare_model

COLUMNS = 6
# Verdicts. The first three keep the rule.
EQUAL, REFUSED, RAISES, WRONG, CRASH = "equal", "refused", "raises", "WRONG", "CRASH"
SOUND = (EQUAL, REFUSED, RAISES)


def plain(g: torch.Generator, rows: int, columns: int) -> tuple[Any, ...]:
    return (torch.randn(rows, columns, generator=g),)


def two(g: torch.Generator, rows: int, columns: int) -> tuple[Any, ...]:
    return torch.randn(rows, columns, generator=g), torch.randn(rows, columns, generator=g)


@dataclasses.dataclass(frozen=True)
class Trap:
    name: str
    make: Callable[[], nn.Module]
    inputs: Callable[..., tuple[Any, ...]] = plain
    # Another number of columns is tried as well.
    wide: bool = False
    # Rows of the calls after the example.
    rows: Sequence[int] = (2, 2, 2, 2, 3, 1, 5)
    # Further calls: arguments made of a generator, called in the context that stands beside them.
    extra: Sequence[tuple[Callable[[torch.Generator], tuple[tuple[Any, ...], dict[str, Any]]], Callable[[], Any]]] = ()
    # Attributes of the root that must agree after each call.
    attributes: tuple[str, ...] = ()
    # Calls leave something behind that later ones read: after a refused call there is nothing left to compare.
    stateful: bool = False
    # Called before each model's calls: puts globals back.
    reset: Callable[[], None] = lambda: None
    train: bool = False
    double: bool = False
    gradients: bool = True
    options: dict[str, Any] = dataclasses.field(default_factory=dict)


TRAPS: dict[str, Trap] = {}


def trap(**settings: Any) -> Callable[[Any], Any]:
    """Registers a class of modules (built without arguments), or a function that becomes ``forward`` of ``Net``."""

    def register(what: Any) -> Any:
        name = what.__name__
        assert name not in TRAPS, name
        cls = what if isinstance(what, type) else type(name, (Net,), {"forward": what, "__module__": what.__module__})

        def make() -> nn.Module:
            torch.manual_seed(0)
            random.seed(0)
            return cls().eval()

        TRAPS[name] = Trap(name, make, **settings)
        return what

    return register


def model_trap(**settings: Any) -> Callable[[Any], Any]:
    """Registers a function that builds the model."""

    def register(build: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
        assert build.__name__ not in TRAPS, build.__name__

        def make() -> nn.Module:
            torch.manual_seed(0)
            random.seed(0)
            return build().eval()

        TRAPS[build.__name__] = Trap(build.__name__, make, **settings)
        return build

    return register


class Net(nn.Module):
    """What most traps need: two linear layers, a norm, a scale, a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(COLUMNS, COLUMNS)
        self.fc2 = nn.Linear(COLUMNS, COLUMNS)
        self.norm = nn.LayerNorm(COLUMNS)
        self.scale = nn.Parameter(torch.tensor(1.5))
        self.register_buffer("offset", torch.linspace(-1.0, 1.0, COLUMNS))


class Holder(nn.Module):
    """A model with the trap as its child: what cannot be captured is kept whole there, not refused with the root."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.inner(*args, **kwargs)


@dataclasses.dataclass
class Call:
    where: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    context: Callable[[], Any] = contextlib.nullcontext
    train: bool = False
    gradients: bool = False
    double: bool = False


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def calls_of(found: Trap) -> list[Call]:
    calls = [Call("on the example", found.inputs(generator(0), 2, COLUMNS), {})]
    for seed, rows in enumerate(found.rows, 1):
        calls.append(Call(f"with {rows} rows, values {seed}", found.inputs(generator(seed), rows, COLUMNS), {}))
    if found.wide:
        for columns in (8, 3):
            calls.append(Call(f"with {columns} columns", found.inputs(generator(20), 2, columns), {}))
    for index, (draw, context) in enumerate(found.extra):
        args, kwargs = draw(generator(30 + index))
        calls.append(Call(f"extra call {index}", args, kwargs, context))
    if found.gradients:
        for seed in (40, 41):
            calls.append(Call(f"gradients {seed}", found.inputs(generator(seed), 2, COLUMNS), {}, gradients=True))
    if found.train:
        calls.append(Call("in train mode", found.inputs(generator(50), 4, COLUMNS), {}, train=True))
        calls.append(Call("in eval mode again", found.inputs(generator(51), 4, COLUMNS), {}))
    if found.double:
        args = found.inputs(generator(60), 2, COLUMNS)
        calls.append(Call("in float64", args, {}, double=True))
    return calls


def outcome(model: nn.Module, call: Call, seed: int, attributes: tuple[str, ...]) -> Any:
    """All that a call leaves behind."""
    args, kwargs = copy.deepcopy((call.args, call.kwargs))
    if call.double:
        model.double()
        args = tuple(a.double() if isinstance(a, torch.Tensor) and a.is_floating_point() else a for a in args)
    model.train(call.train)
    torch.manual_seed(seed)
    random.seed(seed)
    numpy.random.seed(seed)
    left: dict[str, Any] = {}
    if call.gradients:
        model.zero_grad()
        leaves = [t.requires_grad_() for t in tensors_in((args, kwargs)) if t.is_floating_point()]
        # Plain functions of the inputs, so that forward may write into them.
        given = [t * 1.0 if isinstance(t, torch.Tensor) and t.is_floating_point() else t for t in args]
        output = model(*given, **kwargs)
        floats = [t for t in tensors_in(output) if t.is_floating_point() and t.requires_grad]
        if floats:
            sum(t.square().sum() for t in floats).backward()
        # Clones: Module.double() turns the gradients that are there as well.
        left["gradients"] = {name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()}
        left["input gradients"] = [t.grad for t in leaves]
    else:
        with call.context(), torch.no_grad() if call.context is contextlib.nullcontext else contextlib.nullcontext():
            output = model(*args, **kwargs)
        left["output"] = copy.deepcopy(detached(output))
        left["inputs"] = copy.deepcopy(detached((args, kwargs)))
    left["buffers"] = {
        name.removeprefix("_orig_mod."): buffer.detach().clone()  # of a compiled model the original is prepared
        for name, buffer in model.named_buffers()
    }
    left["attributes"] = {
        name: copy.deepcopy(detached(getattr(model.inner if hasattr(model, "inner") else model, name)))
        for name in attributes
    }
    left["random"] = (torch.rand(()), random.random(), float(numpy.random.rand()))
    return left


def detached(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach()
    if isinstance(value, dict):
        return {key: detached(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)) and not hasattr(value, "_fields") and type(value) in (tuple, list):
        return type(value)(detached(item) for item in value)
    return value


def close(got: Any, expected: Any, where: str) -> None:
    """Gradients are sums whose order is torch's."""
    if isinstance(expected, torch.Tensor) and isinstance(got, torch.Tensor):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6, equal_nan=True)
    elif isinstance(expected, dict):
        assert list(got) == list(expected), where
        for key in expected:
            close(got[key], expected[key], f"{where} of {key}")
    elif isinstance(expected, list):
        for one, other in zip(got, expected, strict=True):
            close(one, other, where)
    else:
        assert got is expected, f"{where}: {got} instead of {expected}"


@dataclasses.dataclass(frozen=True)
class Verdict:
    kind: str
    text: str = ""


def judge(found: Trap, capture: str) -> Verdict:
    """``capture`` is "run", "child" (by running, the trap being a child of the model) or "symbolic"."""
    if capture == "child":
        root = found.make
        found = dataclasses.replace(found, make=lambda: Holder(root()).eval())
    calls = calls_of(found)
    found.reset()
    reference = found.make()
    expected: list[Any] = []
    for seed, call in enumerate(calls):
        try:
            expected.append(outcome(reference, call, seed, found.attributes))
        except Exception as error:
            assert seed > 0, "the trap itself fails on its example"
            expected.append(error)
    found.reset()
    model = found.make()
    options = dict(found.options)
    if capture != "symbolic":
        options["example_inputs"] = copy.deepcopy(calls[0].args)
    try:
        prepared = prepare_model(model, **options)
    except ModulizeError as error:
        return Verdict(REFUSED, f"{type(error).__name__}: {error}")
    except Exception as error:
        return Verdict(CRASH, f"preparing: {type(error).__name__}: {error}")
    found.reset()
    raised = ""
    for seed, (call, known) in enumerate(zip(calls, expected, strict=True)):
        try:
            got = outcome(prepared, call, seed, found.attributes)
        except ModulizeError as error:
            raised = raised or f"{call.where}: {type(error).__name__}: {error}"
            if found.stateful:
                break
            continue
        except Exception as error:
            if isinstance(known, Exception) and type(known) is type(error):
                continue
            return Verdict(CRASH, f"{call.where}: {type(error).__name__}: {error}")
        if isinstance(known, Exception):
            return Verdict(WRONG, f"{call.where}: no {type(known).__name__} ({known})")
        try:
            for key in known:
                if "gradients" in key:
                    close(got[key], known[key], f"{call.where}: {key}")
                else:
                    assert_same(got[key], known[key], f"{call.where}: {key}")
        except AssertionError as error:
            return Verdict(WRONG, " ".join(str(error).split()))
    return Verdict(RAISES, raised) if raised else Verdict(EQUAL)
