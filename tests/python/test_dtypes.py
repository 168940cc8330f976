"""Dtypes that forward reads: handed on and asked for their limits they follow the tensor, compared they are checked."""

import pytest
import torch
from torch import nn

from fidelity import assert_same_outputs
from modulize import AssumptionError, CaptureError, prepare_model

X = torch.randn(2, 4, generator=torch.Generator().manual_seed(1))


class Net(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.function = function

    def forward(self, x):
        return self.function(self.fc(x), x)


def prepared_net(function):
    torch.manual_seed(0)
    model = Net(function).eval()
    return model, prepare_model(model, example_inputs=X)


def unused(h, x):
    d, _ = h.dtype, h.device
    return h + 1 if d is not None else h


def handed_on_later(h, x):
    n, d = h.shape[0], h.dtype
    h = h.float().softmax(-1)
    return h.to(d) + n


def pair(h, x):
    return h.to(x.dtype) if h.dtype != x.dtype else h * 2


def among(h, x):
    return h.clamp(-5, 5) if h.dtype in (torch.float16, torch.int8) else h * 2


FOLLOWED = {
    "the smallest number": lambda h, x: h.masked_fill(h > 0, torch.finfo(h.dtype).min),
    "eps": lambda h, x: h / (h.abs().sum() + torch.finfo(x.dtype).eps),
    "unused": unused,
    "handed on later": handed_on_later,
    "a comparison of two": pair,
    "one of several": among,
    "a comparison with what never is": lambda h, x: h.exp() if h.dtype == torch.float16 else h * 2,
    "asked whether it is a floating one": lambda h, x: h * 2 if h.dtype.is_floating_point else h,
}


@pytest.mark.parametrize("name", FOLLOWED)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_dtypes_of_the_whole_model(name, dtype):
    model, prepared = prepared_net(FOLLOWED[name])
    assert_same_outputs(prepared.to(dtype), model.to(dtype), (X.to(dtype),))


CHECKED = {
    "a constant": lambda h, x: h.exp() if h.dtype == torch.float64 else h * 2,
    "the constant that it is": lambda h, x: h * 2 if torch.float32 == h.dtype else h.exp(),
    "not equal": lambda h, x: h * 2 if h.dtype != torch.float64 else h.exp(),
    "among several": lambda h, x: h.exp() if h.dtype in (torch.float16, torch.float64) else h * 2,
    "the same object": lambda h, x: h * 2 if h.dtype is torch.float32 else h.exp(),
    "a key": lambda h, x: h * {torch.float32: 2, torch.float64: 3}[h.dtype],
    "its size": lambda h, x: h * h.dtype.itemsize,
}


@pytest.mark.parametrize("name", CHECKED)
def test_a_decision_on_the_dtype_is_never_silently_kept(name):
    _, prepared = prepared_net(CHECKED[name])
    prepared(X)
    with pytest.raises(AssumptionError, match="dtype"):
        prepared.double()(X.double())


def test_a_comparison_of_two_reads_notices_that_they_part():
    _, prepared = prepared_net(pair)
    with torch.autocast("cpu", dtype=torch.bfloat16), pytest.raises(AssumptionError, match="comparison of dtypes"):
        prepared(X)


def test_an_integer_input_in_place_of_a_floating_one():
    class Pixels(nn.Module):
        def forward(self, x):
            return x * 2 if x.dtype.is_floating_point else x / 255

    prepared = prepare_model(Pixels(), example_inputs=X)
    with pytest.raises(AssumptionError, match="floating"):
        prepared(torch.ones(2, 4, dtype=torch.uint8))


class ChangesModes(nn.Module):
    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        self.drop.eval()
        return self.drop(x) * 2


def test_modes_changed_in_forward_of_a_block_keep_it_whole():
    model = nn.Sequential(nn.Linear(4, 4), ChangesModes()).train()
    prepared = prepare_model(model, example_inputs=X)
    assert [entry["reason"] for entry in prepared.report.kept] == ["train() or eval() in forward"]
    assert_same_outputs(prepared.train(), model.train(), (X,))


def test_modes_changed_in_forward_of_the_model_keep_it_whole():
    model = ChangesModes().train()
    prepared = prepare_model(model, example_inputs=X)
    assert [entry["what"] for entry in prepared.report.kept] == [""]
    assert model.drop.training
    assert_same_outputs(prepared.train(), model.train(), (X,))


def test_modes_changed_in_forward_are_refused_without_inputs():
    with pytest.raises(CaptureError, match="overridden train"):
        prepare_model(ChangesModes())
