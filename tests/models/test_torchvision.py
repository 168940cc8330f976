"""Every classification network of torchvision, by running and without inputs: all that must hold."""

import pytest
import torch

from fidelity import called_modules, check, prepare
from torchvision_models import classification_models, example, family, make, settings

MODELS = classification_models()


@pytest.mark.parametrize("name", MODELS)
def test_by_running(name):
    check(make(name), example(name), "run", other_size=settings(name).other_size)


@pytest.mark.parametrize("name", MODELS)
def test_without_inputs(name):
    # torch.fx.symbolic_trace traces every one of them: so must we.
    model, wrapped = make(name), settings(name).wrapped
    symbolic = check(model, example(name), "symbolic", other_size=settings(name).other_size, allowed=wrapped)
    # What stands under torch.fx.wrap is one node without inputs (Swin's attention, stochastic depth): by running there
    # are modules in its place.
    if not wrapped:
        by_running = prepare(model, example(name))
        tree, other_tree = ([path for path, _ in p.named_modules()] for p in (by_running, symbolic))
        if not any("module_branch" in path for path in tree + other_tree):
            assert called_modules(by_running) == called_modules(symbolic)
        # Auxiliary heads: how much stands in a branch depends on what is known of types; Inception's cannot run on the
        # example, so that by running its training mode is not captured.
        assert {p for p in tree if "module_branch" not in p} <= {p for p in other_tree if "module_branch" not in p}


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
