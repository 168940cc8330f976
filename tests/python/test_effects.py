"""The tables of what calls do, where the core and Python must agree."""

import importlib
import inspect

import pytest
import torch
from torch import fx, nn

from fidelity import assert_same_outputs
from modulize import _core, _runtime, prepare_model

CALLS = dict(_core.runtime_calls())


def test_the_runtime_has_exactly_the_functions_of_the_table():
    own = {
        name
        for name, value in vars(_runtime).items()
        if not name.startswith("_")
        and (inspect.isfunction(value) or inspect.isclass(value))
        and value.__module__ == _runtime.__name__
    }
    table = {name.rpartition(".")[2] for name, exists in CALLS.items() if exists and "._runtime." in name}
    assert own == table


@pytest.mark.parametrize("name", [name for name, exists in CALLS.items() if exists])
def test_what_a_graph_names_can_be_resolved(name):
    module, _, own = name.rpartition(".")
    assert _core.resolve_name(name) is getattr(importlib.import_module(module), own)


@pytest.mark.parametrize("name", [name for name, exists in CALLS.items() if not exists])
def test_what_stands_in_captures_alone_is_no_function(name):
    with pytest.raises(_core.ModulizeError):
        _core.resolve_name(name)


@pytest.mark.parametrize("name", _core.functions_that_act())
def test_torch_fx_keeps_what_acts(name):
    function = _core.resolve_name(name)
    graph = fx.Graph()
    graph.output(graph.placeholder("x"))
    first = next(iter(graph.nodes))
    with graph.inserting_after(first):
        graph.call_function(function, (first,))
    graph.eliminate_dead_code()
    assert [node.op for node in graph.nodes] == ["placeholder", "call_function", "output"]


def test_torch_fx_drops_what_only_yields():
    acting = set(_core.functions_that_act())
    for name in ("truth", "select", "contents", "rebuild", "closure", "plain_sizes"):
        assert f"modulize._runtime.{name}" in CALLS and f"modulize._runtime.{name}" not in acting


def test_a_truth_that_tolist_reads_is_a_decision():
    class Net(nn.Module):
        def forward(self, x):
            return x * 2 if (x.sum() > 0).tolist() else x - 1

    x = torch.ones(2, 3)
    prepared = prepare_model(Net(), example_inputs=x)
    assert len(prepared.report.branches) == 1
    assert_same_outputs(prepared, Net(), (x,))
    assert_same_outputs(prepared, Net(), (-x,))


def test_a_write_at_an_index_that_is_caught_is_kept():
    class Net(nn.Module):
        def forward(self, x, i):
            y = x.clone()
            try:
                y[i] = 0
            except IndexError:
                y = y + 1
            return y

    x = torch.ones(3, 2)
    prepared = prepare_model(Net(), example_inputs=(x, torch.tensor([0])))
    for i in (torch.tensor([2]), torch.tensor([7])):
        assert_same_outputs(prepared, Net(), (x, i))


def test_pieces_of_an_unsafe_split_are_counted():
    class Net(nn.Module):
        def forward(self, x):
            total = x.sum()
            for piece in torch.unsafe_split(x, 1):
                total = total + piece.max()
            return total

    x = torch.arange(6.0).reshape(3, 2)
    prepared = prepare_model(Net(), example_inputs=x)
    assert_same_outputs(prepared, Net(), (x,))
    longer = torch.arange(10.0).reshape(5, 2)
    assert_same_outputs(prepared, Net(), (longer,))
