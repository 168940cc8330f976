"""The options of prepare_model: one object, checked where it is made."""

import dataclasses
import inspect

import pytest
import torch
from torch import nn

from modulize import ArgumentError, prepare_model
from modulize._prepare.options import Options
from modulize._prepare.targets import find_target


def arguments(**given):
    defaults = {name: p.default for name, p in inspect.signature(prepare_model).parameters.items()}
    return {**defaults, "model": nn.ReLU(), **given}


def test_every_parameter_is_an_option():
    parameters = list(inspect.signature(prepare_model).parameters)
    assert sorted(parameters) == sorted(field.name for field in dataclasses.fields(Options))


def test_options_do_not_change():
    options = Options.of(**arguments())
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.idioms = True


def test_what_is_not_given_is_the_targets_choice():
    options = Options.of(**arguments(decompose_attention=True))
    assert options.target is find_target("torch")
    assert (options.shared_parameters, options.decompose_attention, options.plain_outputs) == ("tie", True, False)
    assert not options.is_exact
    assert options.outputs is None
    assert Options.of(**arguments(shared_parameters="copy")).of_engine()["tie_parameters"] is False


def test_a_single_tensor_is_a_tuple_of_one():
    x = torch.ones(2)
    options = Options.of(**arguments(example_inputs=x, example_kwargs={"a": 1}, concrete_args=None))
    assert options.example_inputs == (x,)
    assert options.keywords == {"a": 1}


@pytest.mark.parametrize(
    ("name", "value"), [("hierarchy", "deep"), ("idioms", "yes"), ("on_dynamic", None), ("model", nn.ReLU)]
)
def test_wrong_options_are_refused(name, value):
    with pytest.raises(ArgumentError, match=name):
        Options.of(**arguments(**{name: value}))
