"""Every classification network of torchvision, by running and without inputs: all that must hold."""

import pytest
import torch

from catalogue import classification_models, example, family, make, settings
from fidelity import called_modules, check, prepare

MODELS = classification_models()


@pytest.mark.parametrize("name", MODELS)
def test_by_running(name):
    check(make(name), example(name), "run", other_size=settings(name).other_size)


@pytest.mark.parametrize("name", MODELS)
def test_without_inputs(name):
    # torch.fx.symbolic_trace traces every one of them: so must we.
    check(make(name), example(name), "symbolic", other_size=settings(name).other_size, allowed=settings(name).wrapped)


# Swin's attention stands under torch.fx.wrap: without inputs it is one node, so there are fewer modules.
@pytest.mark.parametrize("name", [name for name in MODELS if "shifted_window_attention" not in settings(name).wrapped])
def test_names_are_the_same_in_both_captures(name):
    model = make(name)
    by_running, symbolic = prepare(model, example(name)), prepare(model, example(name), "symbolic")
    assert called_modules(by_running) == called_modules(symbolic)
    assert [path for path, _ in by_running.named_modules()] == [path for path, _ in symbolic.named_modules()]


def test_every_family_is_there():
    families = {family(name) for name in MODELS}
    assert len(families) >= 20
    assert len(MODELS) >= 80


@pytest.mark.parametrize("name", ["densenet121", "mobilenet_v3_small", "resnet18", "swin_t", "vit_b_32"])
def test_gradients_are_the_originals(name):
    model = make(name)
    prepared = prepare(model, example(name))
    x = example(name)

    def gradients(module):
        module.zero_grad()
        module(x).square().mean().backward()
        return {
            key: parameter.grad.clone() for key, parameter in module.named_parameters() if parameter.grad is not None
        }

    expected, got = gradients(model), gradients(prepared)
    assert list(got) == list(expected)
    assert len(got) == len(list(model.parameters()))
    for key, gradient in expected.items():
        assert torch.equal(got[key], gradient), key
