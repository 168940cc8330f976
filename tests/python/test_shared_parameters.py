"""`shared_parameters`: the modules made of a reused one share its Parameters, or have copies of their own."""

import copy

import pytest
import torch
from torch import nn

import modulize.aimet
from modulize import prepare_model


class Twice(nn.Module):
    """One convolution with its batch norm, called on two scales."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.bn = nn.BatchNorm2d(3)

    def forward(self, x):
        return self.bn(self.conv(self.bn(self.conv(x))))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(4, 4)

    def forward(self, x):
        return self.lstm(self.lstm(x)[0])[0]


X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture(params=[False, True], ids=["running", "symbolic"])
def prepare(request):
    return lambda model, **options: prepare_model(model, **({} if request.param else {"example_inputs": X}), **options)


def test_copies_are_equal_at_the_start_and_their_own(prepare):
    model = Twice().eval()
    prepared = prepare(model, shared_parameters="copy")
    assert prepared.module_conv_1.weight is not prepared.conv.weight
    assert isinstance(prepared.module_conv_1.weight, nn.Parameter)
    assert torch.equal(prepared.module_conv_1.weight, model.conv.weight)
    assert prepared.conv.weight is model.conv.weight
    assert torch.equal(prepared(X), model(X))
    with torch.no_grad():
        prepared.module_conv_1.weight.add_(1.0)
    assert torch.equal(prepared.conv.weight, model.conv.weight)


def test_copies_are_further_keys(prepare):
    model = Twice().eval()
    prepared = prepare(model, shared_parameters="copy")
    more = {
        *(f"module_conv_1.{name}" for name in model.conv.state_dict()),
        *(f"module_bn_1.{name}" for name in model.bn.state_dict()),
    }
    assert set(prepared.state_dict()) == set(model.state_dict()) | more
    assert len(list(prepared.parameters())) == 2 * len(list(model.parameters()))
    again = prepare(Twice().eval(), shared_parameters="copy")
    again.load_state_dict(prepared.state_dict(), strict=True)
    assert torch.equal(again(X), prepared(X))


def test_gradients_of_copies_add_up_to_the_tied_one():
    model = Twice().eval()
    tied = prepare_model(copy.deepcopy(model), example_inputs=X)
    copied = prepare_model(copy.deepcopy(model), example_inputs=X, shared_parameters="copy")
    tied(X).square().sum().backward()
    copied(X).square().sum().backward()
    first, second = copied.conv.weight.grad, copied.module_conv_1.weight.grad
    assert not torch.allclose(first, second)
    torch.testing.assert_close(first + second, tied.conv.weight.grad)


def test_running_statistics_of_copies_are_their_own():
    model = Twice().train()
    prepared = prepare_model(copy.deepcopy(model), example_inputs=X, shared_parameters="copy")
    prepared(X)
    assert int(prepared.bn.num_batches_tracked) == int(prepared.module_bn_1.num_batches_tracked) == 1
    assert not torch.equal(prepared.bn.running_var, prepared.module_bn_1.running_var)


def test_the_report_names_copies_and_ties():
    copied = prepare_model(Twice().eval(), example_inputs=X, shared_parameters="copy").report
    tied = prepare_model(Twice().eval(), example_inputs=X, shared_parameters="tie").report
    pairs = [("module_conv_1", "conv"), ("module_bn_1", "bn")]
    assert (sorted(copied.copies), copied.ties) == (sorted(pairs), [])
    assert (tied.copies, sorted(tied.ties)) == ([], sorted(pairs))
    assert "copied parameters\n  module_conv_1 from conv" in str(copied)


@pytest.mark.parametrize(
    ("target", "given", "copied"),
    [("torch", None, False), ("aimet", None, True), ("aimet", "tie", False), ("torch", "copy", True)],
)
def test_the_target_decides_where_nothing_is_given(target, given, copied):
    if target == "aimet":
        pytest.importorskip("aimet_torch")
    prepared = prepare_model(Twice().eval(), target=target, shared_parameters=given)
    assert bool(prepared.report.copies) is copied
    assert bool(prepared.report.ties) is not copied


def test_aimets_preparer_copies():
    pytest.importorskip("aimet_torch")
    assert modulize.aimet.prepare_model(Twice().eval()).report.copies


def test_recurrent_layers_have_their_own_weights():
    x = torch.randn(5, 2, 4)
    model = Recurrent().eval()
    prepared = prepare_model(model, example_inputs=x, shared_parameters="copy")
    own = {id(p) for p in prepared.module_lstm_1.parameters()}
    assert own.isdisjoint({id(p) for p in prepared.lstm.parameters()})
    assert {id(p) for p in prepared.module_lstm_1._flat_weights} == own
    assert torch.equal(prepared(x), model(x))


def test_copies_survive_deepcopy_and_dtype(prepare):
    prepared = copy.deepcopy(prepare(Twice().eval(), shared_parameters="copy")).double()
    assert prepared.module_conv_1.weight is not prepared.conv.weight
    assert prepared(X.double()).dtype is torch.float64
