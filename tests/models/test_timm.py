"""One small network of each model file of timm, by running: all that must hold."""

import pkgutil

import pytest
import timm
import torch

from catalogue import find
from fidelity import check
from known_gaps import assert_gap_is_clear, gaps, holding
from measure import measure
from timm_models import AS_THEY_ARE, SHRUNK, file_of, make


@pytest.mark.parametrize("name", AS_THEY_ARE)
def test_by_running(name):
    model = make(name)
    check(model, torch.randn(1, *model.default_cfg["input_size"]), "run", other_batch=2)


@pytest.mark.parametrize("name", [name for name in holding("timm") if name in SHRUNK])
def test_everything_holds(name):
    measure(find("timm", name)).assert_holds()


@pytest.mark.parametrize("name", gaps("timm"))
def test_what_does_not_is_said_clearly(name):
    assert_gap_is_clear(find("timm", name))


def test_every_model_file_is_there():
    with_models = {file_of(name) for name in timm.list_models()}
    assert with_models <= {module.name for module in pkgutil.iter_modules(timm.models.__path__)}
    files = [file_of(name) for name in [*AS_THEY_ARE, *SHRUNK]]
    assert sorted(files) == sorted(with_models)
