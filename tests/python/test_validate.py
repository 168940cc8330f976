"""What the validator finds, before and after preparing."""

import json

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from modulize import ArgumentError, prepare_model, validate_model


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.conv2 = nn.Conv2d(4, 4, 3)
        self.conv2.weight = nn.Parameter(torch.randn(4, 4, 3, 3))
        self.relu = nn.ReLU()
        self.spare = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return F.softmax(self.relu(self.conv2(self.relu(self.conv1(x)))) + 1, dim=1)


IMAGE = torch.randn(2, 3, 9, 9)


def kinds(validation):
    return [(finding.kind, finding.path) for finding in validation]


@pytest.mark.parametrize("inputs", [None, IMAGE], ids=["symbolic", "running"])
def test_before_preparing_each_place_has_a_finding(inputs):
    found = validate_model(Net().eval(), inputs)
    assert kinds(found) == [
        ("reused_module", "relu"),
        ("functional", ""),
        ("functional", ""),
        ("unused_module", "spare"),
    ]
    assert not found
    line = Net.forward.__code__.co_firstlineno + 1
    assert all(f.where == f"{__file__}:{line}" for f in found if f.kind != "unused_module")
    assert all(f.message and f.remedy for f in found)


@pytest.mark.parametrize("inputs", [None, IMAGE], ids=["symbolic", "running"])
def test_after_preparing_only_notes_are_left(inputs):
    found = validate_model(prepare_model(Net().eval(), example_inputs=inputs))
    assert kinds(found) == [("unused_module", "spare")]
    assert found
    assert not found.errors


def test_a_clean_model_has_no_finding():
    found = validate_model(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()))
    assert found
    assert len(found) == 0
    assert "nothing found" in str(found)


def test_tied_modules_are_named_with_what_breaks():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x):
            return self.conv(self.conv(x))

    assert kinds(validate_model(Twice())) == [("reused_module", "conv")]
    found = validate_model(prepare_model(Twice()))
    assert found
    assert kinds(found) == [("shared_parameter", "conv"), ("shared_parameter", "conv")]
    assert "'conv.weight', 'module_conv_1.weight'" in found.findings[0].message
    assert "batch norm" in found.findings[0].message


def test_a_weight_that_was_adopted_is_not_shared():
    class Adopts(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x):
            return F.linear(x, self.fc.weight, self.fc.bias)

    prepared = prepare_model(Adopts(), example_inputs=torch.randn(1, 4))
    assert prepared.module_linear.weight is prepared.fc.weight
    assert validate_model(prepared).of_kind("shared_parameter") == []


def test_blocks_that_stay_callable_are_looked_into():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x, scale=2):
            return self.fc(x).relu() * scale

    model = nn.Sequential(Block(), Block())
    prepared = prepare_model(model, example_inputs=torch.randn(1, 4), hierarchy="keep")
    assert len(validate_model(prepared)) == 0


def test_the_models_own_ties_are_found():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(9, 4)
            self.head = nn.Linear(4, 9, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, x):
            return self.head(self.embed(x))

    (found,) = validate_model(Tied(), torch.tensor([1]))
    assert (found.kind, found.path, found.is_error) == ("shared_parameter", "embed", False)


def test_a_decision_on_values_is_found_before_and_after():
    class Decides(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x):
            if x.sum() > 0:
                return self.fc(x)
            return x

    x = torch.randn(2, 4)
    assert kinds(validate_model(Decides(), x)) == [("functional", ""), ("control_flow", "")]
    for model in (Decides(), prepare_model(Decides(), example_inputs=x)):
        (found,) = validate_model(model, x).of_kind("control_flow")
        assert found.where == f"{__file__}:{Decides.forward.__code__.co_firstlineno + 1}"


def test_numbers_given_to_and_tuples_given_by_a_module_are_noted():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.gru = nn.GRU(4, 4)
            self.bag = nn.Identity(3)

        def forward(self, x):
            return self.gru(x)[0] + self.bag(x.shape[0])

    found = validate_model(Recurrent(), torch.randn(3, 2, 4))
    assert ("non_tensor_output", "gru") in kinds(found)
    assert ("non_tensor_input", "bag") in kinds(found)


def test_an_excluded_module_is_opaque():
    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = Net()

        def forward(self, x):
            return self.net(x)

    model = Outer().eval()
    found = validate_model(prepare_model(model, [model.net], example_inputs=IMAGE))
    assert not found
    assert kinds(found) == [("opaque_module", "net")]


def test_modules_inside_of_one_that_runs_whole_are_not_unused():
    model = nn.Sequential(nn.MultiheadAttention(4, 2), nn.Identity())
    prepared_kinds = kinds(validate_model(nn.TransformerEncoderLayer(4, 2, 8).eval(), torch.randn(3, 1, 4)))
    assert ("unused_module", "self_attn.out_proj") not in prepared_kinds
    assert model is not None


def test_a_model_that_cannot_be_captured_gives_one_finding():
    class Loops(nn.Module):
        def forward(self, x):
            for row in x:
                x = x + row
            return x

    (found,) = validate_model(Loops())
    assert found.kind == "not_captured"
    assert found.is_error
    assert "example_inputs" in found.remedy


def test_the_model_is_not_changed():
    model = Net().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    validate_model(model, IMAGE)
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_json_holds_everything():
    data = json.loads(validate_model(Net().eval(), IMAGE).to_json())
    assert data["ok"] is False
    assert set(data["findings"][0]) == {"kind", "is_error", "path", "where", "message", "remedy"}


def test_what_is_no_model_is_refused():
    with pytest.raises(ArgumentError, match=r"must be a torch\.nn\.Module, not the class Net"):
        validate_model(Net)


def test_a_hostile_module_name_stays_text():
    model = nn.Module()
    name = "a\n\x1b[31m'\"; import os"
    model.add_module(name, nn.Linear(2, 2))

    class Holder(nn.Module):
        def __init__(self):
            super().__init__()
            self.add_module(name, nn.Linear(2, 2))

        def forward(self, x):
            return x

    (found,) = validate_model(Holder())
    assert found.path == name
    assert "\x1b" not in found.message
    assert "\n" not in found.message
