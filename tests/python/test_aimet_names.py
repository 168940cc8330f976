"""Names of new modules with AIMET's rule, as its own preparer gives them, in both captures."""

from __future__ import annotations

import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from catalogue import find
from modulize import _core

CASES = {
    "blocks with a leaf": (
        "Blocks",
        ["layer1.0.module_relu", "layer1.1.module_relu_1", "layer2.0.module_relu_2", "module_relu_3"],
    ),
    "childless activations": ("Childless", ["module_relu", "module_relu_1"]),
    "nothing callable below": ("Nested", ["module_relu", "module_mul"]),
    "functionals before the leaf, a leaf never called": (
        "LateLeaf",
        ["module_relu", "module_relu_1", "late.module_relu_2", "module_relu_3"],
    ),
    "a buffer or a tensor that is read": ("Tensors", ["module_mul", "buf.module_mul_1", "plain.module_mul_2"]),
    "a module at the top counts": (
        "TopRelu",
        ["layer1.0.module_relu_1", "layer1.1.module_relu_2", "module_relu_3"],
    ),
    "a functional between two calls": ("Between", ["module_relu_1", "module_relu_2"]),
    "functionals and calls mixed": (
        "ManyRelus",
        ["module_relu_1", "a.module_relu_2", "module_relu_3", "module_relu_4", "module_relu_5"],
    ),
    "residual blocks": (
        "ResNet",
        ["layer1.0.module_add", "layer1.0.module_relu_1", "layer1.1.module_add_1", "layer1.1.module_relu_1"],
    ),
    "a block called three times": (
        "ThreeCalls",
        [
            "block.module_relu",
            "block.module_conv_1",
            "block.module_relu_1",
            "block.module_conv_2",
            "block.module_relu_2",
        ],
    ),
    "one activation at three places": ("SharedAct", ["features.module_1_3", "features.module_1_5"]),
    "a sequence called twice": (
        "TwiceSequential",
        ["features.module_0_3", "features.module_1_4", "features.module_2_5"],
    ),
    "stages called in turns": (
        "Stages",
        [
            "stages.0.module_mul",
            "stages.0.module_act_1",
            "stages.1.module_mul_1",
            "stages.1.module_act_1",
            "stages.0.module_act_2",
            "stages.0.module_conv_1",
            "stages.0.module_mul_2",
            "stages.0.module_act_3",
        ],
    ),
    "names that end with a number": ("Numbered", ["module_relu_1_2", "module_relu_3"]),
    "one activation under two parents": ("Aliases", ["x.module_act_1"]),
    "one activation in a sequence": ("AliasInSequential", ["module_act_1"]),
    "an entry of a ModuleDict": ("Dict", ["d.module_relu_1"]),
    "relu in three spellings": (
        "relus",
        ["module_add", "module_relu", "module_relu_1", "module_relu_2"],
    ),
    "sums in all spellings": (
        "sums",
        ["module_add", "module_add_1", "module_add_2", "module_add_3", "module_add_4", "module_add_5"],
    ),
    "differences": (
        "differences",
        ["module_add", "module_sub", "module_sub_1", "module_subtract"],
    ),
    "an augmented product": ("augmented_product", ["module_add", "module_sub", "module_mul"]),
    "quotients": (
        "quotients",
        ["module_add", "module_truediv", "module_truediv_1", "module_div"],
    ),
    "other operators": (
        "other_operators",
        ["module_add", "module_floordiv", "module_matmul"],
    ),
    "Python's own names": (
        "names_of_python",
        ["module_pow_1", "module_pow_2", "module_sum_1", "module_sum_2"],
    ),
    "arithmetic on sizes counts": (
        "arithmetic_on_sizes",
        ["module_mul_1"],
    ),
    "pooling": ("pooling", ["module_add", "module_max_pool2d"]),
    "operations of ours": (
        "operations_of_ours",
        ["module_add", "module_neg", "module_abs_1", "module_sqrt"],
    ),
}


def new_names(model: nn.Module, example_inputs) -> list[str]:
    captured = _core.capture(model, example_inputs=example_inputs, target="aimet")
    text = str(_core.pipeline(captured, target="aimet"))
    called = re.findall(r"= call_module (\S+?)\(", text)
    return [path for path in called if path.rpartition(".")[2].startswith("module_")]


@pytest.mark.parametrize("capture", ["running", "symbolic"])
@pytest.mark.parametrize("case", CASES)
def test_names(case, capture):
    name, expected = CASES[case]
    model = find("reference", name).make()
    inputs = (torch.rand(2, 3, 4, 4),) if capture == "running" else None
    assert new_names(model, inputs) == expected


def test_a_taken_name_is_not_overwritten():
    class Taken(nn.Module):
        def __init__(self):
            super().__init__()
            self.module_relu = nn.Sigmoid()

        def forward(self, x):
            return F.relu(self.module_relu(x))

    assert new_names(Taken(), (torch.rand(2),)) == ["module_relu", "module_relu_1"]


def test_a_module_called_like_an_operation_is_no_repeat():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.add = nn.ReLU()

        def forward(self, add):
            return self.add(add) + 1

    assert new_names(Named(), (torch.rand(2),)) == ["module_add_2"]
