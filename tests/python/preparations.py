"""Preparations of small models in every way that leaves something to let go of.

Each function in ``WAYS`` prepares, uses what came out, and returns it; it holds nothing itself. Run alone, with the
name of a way of ending, this file goes through all of them in a process that ends so; test_leaks.py reads what that
prints.
"""

import copy
import ctypes
import io
import pickle
import sys

import torch
import torch.nn.functional as F
from torch import nn

from modulize import CaptureError, _core, prepare_model

X = torch.randn(2, 4)
CONSTANT = torch.ones(4)


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.relu = nn.ReLU()
        self.register_buffer("offset", torch.ones(4))

    def forward(self, x):
        x = self.relu(F.relu(self.relu(self.fc(x))) + self.offset)
        return x.view(x.shape[0], -1)


class Branches(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class Raises(nn.Module):
    def forward(self, x):
        raise LookupError("of the user")


class AddsConstant(nn.Module):
    def forward(self, x):
        return x + CONSTANT


class Chain(nn.Module):
    """Five nodes a step, all of whose arguments are shared objects."""

    def __init__(self, steps: int):
        super().__init__()
        self.steps = steps
        self.weight = nn.Parameter(torch.ones(4))
        self.register_buffer("offset", torch.zeros(4))

    def forward(self, x):
        for _ in range(self.steps):
            x = F.relu(x) * self.weight + self.offset
            x = torch.clamp(x, min=None, max=100).to(torch.float32)
        return x


MODEL = Plain().eval()


def make_local_model() -> nn.Module:
    """A model whose classes nobody else holds."""

    class Inner(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x):
            return F.relu(self.fc(x))

    class Chain(nn.Sequential):
        pass

    class Local(nn.Module):
        def __init__(self):
            super().__init__()
            self.chain = Chain(Inner(), nn.ReLU(), Inner())
            self.list = nn.ModuleList([nn.ReLU()])
            self.weight = nn.Parameter(torch.randn(4, 4))

        def forward(self, x):
            return F.linear(self.list[0](self.list[0](self.chain(x))), self.weight)

    return Local().eval()


def running():
    return prepare_model(MODEL, example_inputs=X)


def symbolic():
    return prepare_model(MODEL)


def local_classes_running():
    prepared = prepare_model(make_local_model(), example_inputs=X)
    prepared(X)
    return prepared


def local_classes_symbolic():
    return prepare_model(make_local_model())


def twice():
    return prepare_model(prepare_model(MODEL, example_inputs=X), example_inputs=X)


def twice_symbolic():
    return prepare_model(prepare_model(MODEL))


def deep_copy():
    copied = copy.deepcopy(running())
    copied(X)
    return copied


def shallow_copy():
    copied = copy.copy(symbolic())
    copied(X)
    return copied


def pickled():
    return pickle.loads(pickle.dumps(running()))


def saved():
    file = io.BytesIO()
    torch.save(symbolic(), file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def read_graph_and_report():
    prepared = running()
    report = prepared.report
    return [prepared, prepared.graph, prepared.code, report, str(report), report.captured, report.shipped]


def trained():
    prepared = running().train()
    prepared(X).sum().backward()
    prepared.zero_grad()
    return prepared


def with_constants():
    return prepare_model(AddsConstant(), example_inputs=X)


def with_excluded_modules():
    return prepare_model(MODEL, modules_to_exclude=[MODEL.relu], example_inputs=X)


def with_excluded_functions():
    return prepare_model(MODEL, functions_to_exclude=[F.relu], example_inputs=X)


def with_excluded_closure():
    def double(x):
        return x * 2

    class CallsClosure(nn.Module):
        def forward(self, x):
            return double(x)

    return prepare_model(CallsClosure(), functions_to_exclude=[double], example_inputs=X)


def refused():
    errors = []
    for inputs in (X, None):
        try:
            prepare_model(Branches(), example_inputs=inputs, on_dynamic="error")
        except CaptureError as error:
            errors.append(error)
    assert len(errors) == 2
    return errors


def failed():
    errors = []
    for inputs in (X, None):
        try:
            prepare_model(Raises(), example_inputs=inputs)
        except LookupError as error:
            errors.append(error)
    assert len(errors) == 2
    return errors


def texts():
    graph = _core.graph_from_text(running().report.captured)
    return [graph, _core.pipeline(graph), copy.deepcopy(graph), pickle.loads(pickle.dumps(graph))]


WAYS = [
    running,
    symbolic,
    local_classes_running,
    local_classes_symbolic,
    twice,
    twice_symbolic,
    deep_copy,
    shallow_copy,
    pickled,
    saved,
    read_graph_and_report,
    trained,
    with_constants,
    with_excluded_modules,
    with_excluded_functions,
    with_excluded_closure,
    refused,
    failed,
    texts,
]

# --- the ends of a process --------------------------------------------------------------------------

kept = []


def dropped():
    for way in WAYS:
        way()


def held_by_a_global():
    kept.extend(way() for way in WAYS)


def held_by_a_cycle():
    """By their own classes and attributes, and by a module of sys.modules."""
    for way in WAYS:
        result = way()
        if isinstance(result, nn.Module):
            type(result).itself = result
            result.__dict__["report_of"] = [result, result.report]
    sys.modules["holder"] = kept
    kept.append(kept)


def held_by_an_exit():
    held = [way() for way in WAYS]
    sys.exit(len(held) - len(WAYS))


def leaked():
    """For the test of the test: a reference that nobody gives back."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(texts()[0]))


def long_chain():
    """Ten thousand nodes: long enough for a missing reference on something shared to bring its count to zero."""
    chain = Chain(2000)
    expected = chain(X)
    for inputs in (X, None):
        prepared = prepare_model(chain, example_inputs=inputs)
        assert torch.equal(prepared(X), expected)
        assert torch.equal(copy.deepcopy(prepared)(X), expected)


ENDS = [dropped, held_by_a_global, held_by_a_cycle, held_by_an_exit]

if __name__ == "__main__":
    globals()[sys.argv[1]]()
