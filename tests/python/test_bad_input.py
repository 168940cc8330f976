"""Bad input gets one clear error that names what, where and the way out, and leaves nothing changed."""

import inspect
import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fidelity import Snapshot
from modulize import (
    ArgumentError,
    AssumptionError,
    CaptureError,
    ModulizeError,
    UnsupportedError,
    compare_models,
    prepare_for,
    prepare_model,
    validate_model,
)
from world import World

both_captures = pytest.mark.parametrize("capture", ["run", "symbolic"])


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        return self.fc(F.relu(self.conv(x)).mean((2, 3)))


def image(batch=2):
    return torch.randn(batch, 3, 6, 6)


def refused(error_class, *words, model=None, **options):
    """Prepares, expects the error, and checks that it is one readable message and that nothing changed."""
    snapshot = Snapshot(model) if isinstance(model, nn.Module) else None
    world = World()
    with pytest.raises(error_class) as caught:
        prepare_model(model, **options)
    world.assert_unchanged()
    if snapshot:
        snapshot.assert_unchanged()
    message = str(caught.value)
    for word in words:
        assert word in message, f"no {word!r} in: {message}"
    assert message[0] == message[0].lower(), f"an error message is lower-case: {message}"
    assert "Traceback" not in message
    assert isinstance(caught.value, ModulizeError)
    return message


@pytest.mark.parametrize("thing", [None, 3, "resnet18", lambda x: x, nn.Linear, [nn.ReLU()]])
def test_not_a_module(thing):
    message = refused(ArgumentError, "torch.nn.Module", model=thing, example_inputs=torch.randn(2))
    assert type(thing).__name__ in message or repr(thing) in message or f"class {thing.__name__}" in message


@pytest.mark.parametrize("model", [nn.ModuleList([nn.Linear(2, 2)]), nn.ModuleDict(), nn.Module()])
def test_a_module_without_forward(model):
    for function in (prepare_model, validate_model):
        with pytest.raises(ArgumentError, match=f"a {type(model).__name__}, which has no forward"):
            function(model)


@pytest.mark.parametrize("model", [nn.Sequential(), nn.Identity(), nn.Flatten()])
def test_a_model_without_parameters(model):
    for inputs in (None, torch.ones(2, 3)):
        assert torch.equal(prepare_model(model, example_inputs=inputs)(torch.ones(2, 3)), torch.ones(2, 3))


@pytest.mark.parametrize("other", [None, 3, "model", [nn.ReLU()], nn.ReLU])
def test_what_is_compared_and_called_must_be_models(other):
    x = torch.ones(2)
    with pytest.raises(ArgumentError, match=r"^prepared must be a torch\.nn\.Module, not "):
        compare_models(nn.ReLU(), other, x)
    with pytest.raises(ArgumentError, match=r"^model must be a torch\.nn\.Module, not "):
        compare_models(other, prepare_model(nn.ReLU(), example_inputs=x), x)
    with pytest.raises(ArgumentError, match=r"^model must be a torch\.nn\.Module, not "):
        prepare_for(other, lambda model: model(x))
    with pytest.raises(ArgumentError, match="run must be a function"):
        prepare_for(nn.ReLU(), [other])


def test_a_comparison_needs_inputs():
    model = nn.ReLU()
    with pytest.raises(ArgumentError, match="give example_inputs or example_kwargs"):
        compare_models(model, prepare_model(model))


def test_class_given_for_a_module_says_so():
    refused(ArgumentError, "Linear", model=nn.Linear)


def test_dict_as_example_inputs_hints_at_keywords():
    refused(ArgumentError, "example_kwargs", model=Net(), example_inputs={"x": image()})


def test_example_inputs_of_another_type():
    refused(ArgumentError, "example_inputs", "str", model=Net(), example_inputs="image")


def test_example_kwargs_of_another_type():
    refused(ArgumentError, "example_kwargs", "list", model=Net(), example_kwargs=[image()])


@both_captures
def test_excluded_module_that_is_not_in_the_model(capture):
    options = {"example_inputs": image()} if capture == "run" else {}
    refused(ArgumentError, "modules_to_exclude", "ReLU", model=Net(), modules_to_exclude=[nn.ReLU()], **options)


def test_excluded_modules_that_are_no_list():
    model = Net()
    refused(ArgumentError, "modules_to_exclude", model=model, modules_to_exclude=model.conv)
    refused(ArgumentError, "modules_to_exclude", "str", model=model, modules_to_exclude=["conv"])


def test_excluded_classes_that_are_no_classes():
    refused(ArgumentError, "module_classes_to_exclude", model=Net(), module_classes_to_exclude=[nn.ReLU()])


def test_excluded_functions_that_are_not_callable():
    refused(ArgumentError, "functions_to_exclude", model=Net(), functions_to_exclude=["relu"])


@both_captures
def test_unknown_concrete_argument(capture):
    options = {"example_inputs": image()} if capture == "run" else {}
    message = refused(ArgumentError, "concrete_args", "flag", model=Net(), concrete_args={"flag": True}, **options)
    assert re.search(r"\bx\b", message), f"the known arguments help: {message}"


@pytest.mark.parametrize(
    ("option", "value"),
    [("on_dynamic", "guess"), ("target", "nonsense"), ("shared_parameters", "maybe"), ("hierarchy", "deep")],
)
def test_option_with_an_unknown_value(option, value):
    refused(ArgumentError, option, value, model=Net(), example_inputs=image(), **{option: value})


def test_unknown_option_is_a_type_error():
    with pytest.raises(TypeError, match="exmaple_inputs"):
        prepare_model(Net(), exmaple_inputs=image())


# --- what the model itself refuses -----------------------------------------------------------------------------------


def test_refused_inputs_raise_the_models_own_error():
    model, x = Net(), torch.randn(2, 5, 6, 6)
    with pytest.raises(RuntimeError) as expected:
        model(x)
    world, snapshot = World(), Snapshot(model)
    with pytest.raises(RuntimeError) as got:
        prepare_model(model, example_inputs=x)
    assert not isinstance(got.value, ModulizeError)
    assert str(got.value) == str(expected.value)
    world.assert_unchanged()
    snapshot.assert_unchanged()


def test_wrong_number_of_inputs_names_the_signature():
    refused(ArgumentError, "example inputs", "forward(x)", model=Net(), example_inputs=(image(), image()))


class OwnError(Exception):
    pass


@both_captures
def test_an_exception_of_forward_passes_through_unchanged(capture):
    error = OwnError("the user's words")

    class Raises(Net):
        def forward(self, x):
            super().forward(x)
            raise error

    with pytest.raises(OwnError) as caught:
        prepare_model(Raises(), **({"example_inputs": image()} if capture == "run" else {}))
    assert caught.value is error
    assert error.args == ("the user's words",)


# --- control flow on a tensor's value --------------------------------------------------------------------------------


class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        x = self.fc(x)
        if x.sum() > 0:
            return x
        return -x


def line_of(function, text):
    lines, first = inspect.getsourcelines(function)
    return first + next(index for index, line in enumerate(lines) if text in line)


@both_captures
def test_control_flow_on_a_value_is_refused_with_its_line(capture):
    options = {"example_inputs": torch.randn(2, 4)} if capture == "run" else {}
    place = f"test_bad_input.py:{line_of(Branches.forward, 'x.sum() > 0')}"
    refused(CaptureError, place, model=Branches(), on_dynamic="error", **options)


class Loops(nn.Module):
    def forward(self, x):
        while x.sum() < 10:
            x = x * 2
        return x


@both_captures
def test_a_loop_on_a_value_is_refused_with_its_line(capture):
    options = {"example_inputs": torch.ones(2, 4)} if capture == "run" else {}
    place = f"test_bad_input.py:{line_of(Loops.forward, 'x.sum() < 10')}"
    refused(CaptureError, place, model=Loops(), on_dynamic="error", **options)


class ReadsItem(nn.Module):
    def forward(self, x):
        return x * int(x.sum().item())


def test_a_proxy_that_needs_a_value_names_example_inputs_as_the_way_out():
    message = refused(CaptureError, "example_inputs", model=ReadsItem())
    assert f"test_bad_input.py:{line_of(ReadsItem.forward, 'item()')}" in message


class Iterates(nn.Module):
    def forward(self, x):
        return sum(row for row in x)


def test_iteration_over_a_proxy_names_example_inputs_as_the_way_out():
    refused(CaptureError, "example_inputs", "test_bad_input.py:", model=Iterates())


# --- calls of the prepared model -------------------------------------------------------------------------------------


class Modes(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x, mode="relu", scale=None):
        x = self.fc(x)
        if mode == "relu":
            x = F.relu(x)
        if scale is not None:
            x = x * scale
        return x


def test_other_python_arguments_raise_and_name_the_argument():
    prepared = prepare_model(Modes().eval(), example_inputs=torch.randn(2, 4), example_kwargs={"mode": "relu"})
    x = torch.randn(3, 4)
    prepared(x)
    prepared(x, "relu", None)
    prepared(x, mode="relu", scale=None)
    with pytest.raises(AssumptionError, match=r"mode.*'relu'.*'none'"):
        prepared(x, mode="none")
    with pytest.raises(AssumptionError, match="scale"):
        prepared(x, scale=2.0)


@pytest.mark.parametrize("scale", [2.0, 3])
def test_number_argument_is_specialised_or_followed_never_wrong(scale):
    model = Modes().eval()
    prepared = prepare_model(model, example_inputs=torch.randn(2, 4), example_kwargs={"scale": scale})
    x = torch.randn(3, 4)
    assert torch.equal(prepared(x, scale=scale), model(x, scale=scale))
    try:
        got = prepared(x, scale=scale + 4)
    except AssumptionError as error:
        assert "scale" in str(error)
    else:
        assert torch.equal(got, model(x, scale=scale + 4))


def test_wrong_call_raises_type_error_as_the_original_does():
    prepared = prepare_model(Net().eval(), example_inputs=image())
    with pytest.raises(TypeError):
        prepared()
    with pytest.raises(TypeError):
        prepared(image(), wrong=1)


@pytest.mark.parametrize("kind", ["_parameters", "_buffers", "_modules"])
@pytest.mark.parametrize("name", ["", "a.b", "\udc80", 3, "training", "_forward_hooks"], ids=ascii)
def test_names_that_no_path_can_hold_are_refused(kind, name):
    inner = nn.ReLU()
    getattr(inner, kind)[name] = nn.ReLU() if kind == "_modules" else nn.Parameter(torch.ones(2))
    model = nn.Sequential(inner)
    if kind == "_modules" or name not in ("training", "_forward_hooks"):
        with pytest.raises(UnsupportedError, match="rename it"):
            prepare_model(model, example_inputs=torch.ones(2))
    else:
        assert torch.equal(prepare_model(model, example_inputs=torch.ones(2))(torch.ones(2)), torch.ones(2))


def test_lazy_modules_are_refused():
    refused(ModulizeError, "lazy", model=nn.Sequential(nn.LazyLinear(3)), example_inputs=torch.randn(2, 4))


@pytest.mark.parametrize(
    "name", ["ArgumentError", "CaptureError", "UnsupportedError", "VerificationError", "AssumptionError"]
)
def test_errors_have_one_base_class(name):
    import modulize

    error = getattr(modulize, name)
    assert issubclass(error, modulize.ModulizeError)
    assert issubclass(modulize.ModulizeError, RuntimeError)
