"""register_operation: modules for operations that the table does not know."""

import pickle

import pytest
import torch

import modulize


@torch.library.custom_op("modulize_tests::scale", mutates_args=())
def scale(x: torch.Tensor, by: float = 2.0) -> torch.Tensor:
    return x * by


@torch.library.custom_op("modulize_tests::shift", mutates_args=())
def shift(x: torch.Tensor) -> torch.Tensor:
    return x + 1


class Scale(torch.nn.Module):
    def forward(self, x, by=2.0):
        return scale(x, by)


class Other(Scale):
    pass


class NeedsArguments(torch.nn.Module):
    def __init__(self, size):
        super().__init__()


def gate(x, *, keep=True):
    if x.sum() > 0:  # no capture could follow this
        return x * 2, x
    return x, x


class Gate(torch.nn.Module):
    def forward(self, x, **kwargs):
        return gate(x, **kwargs)


class UsesOperator(torch.nn.Module):
    def __init__(self, call):
        super().__init__()
        self.call = call

    def forward(self, x):
        return torch.relu(self.call(x, 3.0)) + self.call(x)


class UsesFunction(torch.nn.Module):
    def forward(self, x):
        a, b = gate(x, keep=False)
        return a + b


def both_captures(model, x):
    return [modulize.prepare_model(model, example_inputs=x), modulize.prepare_model(model)]


def children(prepared):
    return {name: type(module) for name, module in prepared.named_children()}


X = torch.randn(2, 3)


def test_an_unknown_operator_stays_and_is_named():
    class Net(torch.nn.Module):
        def forward(self, x):
            return torch.relu(shift(x))

    model = Net()
    for prepared in both_captures(model, X):
        (leftover,) = prepared.report.leftovers
        assert leftover["call"] == "torch.ops.modulize_tests.shift.default"
        assert not leftover["known"]
        assert torch.equal(prepared(X), model(X))


@pytest.mark.parametrize(
    "call",
    [scale, torch.ops.modulize_tests.scale, torch.ops.modulize_tests.scale.default],
    ids=["custom_op", "packet", "overload"],
)
@pytest.mark.parametrize(
    "registered",
    [scale, torch.ops.modulize_tests.scale, torch.ops.modulize_tests.scale.default],
    ids=["by_custom_op", "by_packet", "by_overload"],
)
def test_an_operator_becomes_the_module(call, registered):
    modulize.register_operation(registered, Scale)
    model = UsesOperator(call)
    for prepared in both_captures(model, X):
        assert children(prepared) == {
            "module_scale": Scale,
            "module_relu": torch.nn.ReLU,
            "module_scale_1": Scale,
            "module_add": modulize.nn.Add,
        }
        assert not prepared.report.leftovers
        assert torch.equal(prepared(X), model(X))


def test_registering_again_replaces():
    model = UsesOperator(scale)
    modulize.register_operation(scale, Other, name="other")
    assert children(modulize.prepare_model(model))["module_other"] is Other
    modulize.register_operation(scale, Scale)
    assert children(modulize.prepare_model(model))["module_scale"] is Scale


def test_a_function_is_not_traced_through():
    modulize.register_operation(gate, Gate)
    model = UsesFunction()
    before = gate.__code__
    for prepared in both_captures(model, X):
        assert children(prepared) == {"module_gate": Gate, "module_add": modulize.nn.Add}
        assert prepared.report.kept == []
        assert prepared.report.leftovers == []
        for x in (X.abs(), -X.abs()):
            assert torch.equal(prepared(x), model(x))
        assert torch.equal(pickle.loads(pickle.dumps(prepared))(X), model(X))
    assert gate.__code__ is before


def test_a_function_without_importable_name():
    def double(x):
        return x * 2

    class Net(torch.nn.Module):
        def forward(self, x):
            return double(x)

    modulize.register_operation(double, Other)
    for prepared in both_captures(Net(), X):
        assert children(prepared) == {"module_double": Other}
        assert torch.equal(prepared(X), X * 2)


@pytest.mark.parametrize("x", [X.abs(), -X.abs()], ids=["two tensors", "one tensor twice"])
def test_excluding_wins_for_one_preparation(x):
    modulize.register_operation(gate, Gate)
    model = UsesFunction()
    prepared = modulize.prepare_model(model, example_inputs=x, functions_to_exclude=[gate])
    assert children(prepared) == {"module_add": modulize.nn.Add}
    for other in (x, -x):
        assert torch.equal(prepared(other), model(other))


class Local:
    def __call__(self, x):
        return x


@pytest.mark.parametrize(
    ("function", "module_class", "options", "text"),
    [
        (scale, object, {}, "module_class must be a subclass of torch.nn.Module"),
        (scale, Scale(), {}, "module_class must be a subclass of torch.nn.Module"),
        (scale, type("Hidden", (torch.nn.Module,), {}), {}, "importable by its qualified name"),
        (scale, NeedsArguments, {}, "constructible without arguments"),
        (scale, Scale, {"name": "no name"}, "name must be an identifier"),
        (torch.nn.functional.relu, Scale, {}, "has a module already"),
        (torch.ops.aten.mul.Tensor, Scale, {}, "has a module already"),
        (Local(), Scale, {}, "calls of it cannot be seen"),
        (3, Scale, {}, "calls of it cannot be seen"),
    ],
)
def test_what_cannot_be_registered_is_refused(function, module_class, options, text):
    with pytest.raises(modulize.ArgumentError, match=text):
        modulize.register_operation(function, module_class, **options)
