"""Names of new modules with AIMET's rule, as its own preparer gives them, in both captures."""

from __future__ import annotations

import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from modulize import _core


class Conv(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)


class ConvRelu(Conv):
    def forward(self, x):
        return F.relu(self.conv(x))


class Relu(nn.Module):
    def forward(self, x):
        return F.relu(x)


class Twice(nn.Module):
    def forward(self, x):
        return x * 2


class Blocks(nn.Module):
    def __init__(self, block=ConvRelu):
        super().__init__()
        self.layer1 = nn.Sequential(block(), block())
        self.layer2 = nn.Sequential(block())

    def forward(self, x):
        return F.relu(self.layer2(self.layer1(x)))


class WithAct(Conv):
    def __init__(self, act=Relu):
        super().__init__()
        self.act = act()

    def forward(self, x):
        return self.act(self.conv(x))


class Childless(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer1 = nn.Sequential(WithAct(), WithAct())

    def forward(self, x):
        return self.layer1(x)


class Nested(nn.Module):
    def __init__(self):
        super().__init__()
        self.has = nn.Module()
        self.has.inner = self.Inner()

    class Inner(nn.Module):
        def __init__(self):
            super().__init__()
            self.act = Relu()

        def forward(self, x):
            return self.act(x) * 2

    def forward(self, x):
        return self.has.inner(x)


class LateLeaf(nn.Module):
    class Late(Conv):
        def forward(self, x):
            return self.conv(F.relu(x))

    class Idle(Conv):
        def forward(self, x):
            return F.relu(x)

    def __init__(self):
        super().__init__()
        self.late = self.Late()
        self.idle = self.Idle()

    def forward(self, x):
        x = F.relu(F.relu(x))
        return self.idle(self.late(x))


class Tensors(nn.Module):
    class Buffer(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("scale", torch.ones(1))

        def forward(self, x):
            return x * self.scale

    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.ones(1)

        def forward(self, x):
            return x * self.scale

    def __init__(self):
        super().__init__()
        self.buf = self.Buffer()
        self.plain = self.Plain()

    def forward(self, x):
        return self.plain(self.buf(x * 3))


class TopRelu(nn.Module):
    def __init__(self):
        super().__init__()
        self.relu = nn.ReLU()
        self.layer1 = nn.Sequential(ConvRelu(), ConvRelu())

    def forward(self, x):
        return F.relu(self.layer1(self.relu(x)))


class Between(nn.Module):
    def __init__(self):
        super().__init__()
        self.relu = nn.ReLU()

    def forward(self, x):
        return self.relu(F.relu(self.relu(x)))


class ManyRelus(Between):
    def __init__(self):
        super().__init__()
        self.a = ConvRelu()

    def forward(self, x):
        x = self.a(F.relu(self.relu(x)))
        return self.relu(self.relu(x).relu())


class Residual(Conv):
    def __init__(self):
        super().__init__()
        self.relu = nn.ReLU()

    def forward(self, x):
        y = self.conv(self.relu(self.conv2(x)) if hasattr(self, "conv2") else self.relu(x))
        y += x
        return self.relu(y)


class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer1 = nn.Sequential(Residual(), Residual())

    def forward(self, x):
        return self.layer1(x)


class ThreeCalls(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = ConvRelu()

    def forward(self, x):
        return self.block(self.block(self.block(x)))


class SharedAct(nn.Module):
    def __init__(self):
        super().__init__()
        act = nn.ReLU()
        self.features = nn.Sequential(nn.Conv2d(3, 3, 1), act, nn.Conv2d(3, 3, 1), act, nn.Conv2d(3, 3, 1), act)

    def forward(self, x):
        return self.features(x)


class TwiceSequential(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.Conv2d(3, 3, 1))

    def forward(self, x):
        return self.features(self.features(x))


class Stages(nn.Module):
    class Stage(Conv):
        def __init__(self):
            super().__init__()
            self.act = nn.ReLU()

        def forward(self, x):
            return self.act(self.conv(self.act(x)) * 2)

    def __init__(self):
        super().__init__()
        self.stages = nn.ModuleList([self.Stage(), self.Stage()])

    def forward(self, x):
        return self.stages[0](self.stages[1](self.stages[0](x)))


class Numbered(nn.Module):
    def __init__(self):
        super().__init__()
        self.relu_1 = nn.ReLU()
        self.relu = nn.ReLU()

    def forward(self, x):
        return self.relu(self.relu(self.relu_1(self.relu_1(x))))


class Aliases(nn.Module):
    def __init__(self):
        super().__init__()
        self.x = nn.Module()
        self.y = nn.Module()
        self.x.act = nn.ReLU()
        self.y.act = self.x.act

    def forward(self, x):
        return self.y.act(self.x.act(x))


class AliasInSequential(nn.Module):
    def __init__(self):
        super().__init__()
        self.act = nn.ReLU()
        self.seq = nn.Sequential(nn.Conv2d(3, 3, 1), self.act)

    def forward(self, x):
        return self.seq(self.act(x))


class Dict(nn.Module):
    def __init__(self):
        super().__init__()
        self.d = nn.ModuleDict({"relu": nn.ReLU()})

    def forward(self, x):
        return self.d["relu"](self.d["relu"](x))


def function(body):
    return type("Function", (nn.Module,), {"forward": lambda self, x: body(x, x + 0)})


def augmented(x, y):
    z = x + y
    z += y
    return z


def augmented_product(x, y):
    z = x - y
    z *= y
    return z


CASES = {
    "blocks with a leaf": (
        Blocks,
        ["layer1.0.module_relu", "layer1.1.module_relu_1", "layer2.0.module_relu_2", "module_relu_3"],
    ),
    "childless activations": (Childless, ["module_relu", "module_relu_1"]),
    "nothing callable below": (Nested, ["module_relu", "module_mul"]),
    "functionals before the leaf, a leaf never called": (
        LateLeaf,
        ["module_relu", "module_relu_1", "late.module_relu_2", "module_relu_3"],
    ),
    "a buffer or a tensor that is read": (Tensors, ["module_mul", "buf.module_mul_1", "plain.module_mul_2"]),
    "a module at the top counts": (
        TopRelu,
        ["layer1.0.module_relu_1", "layer1.1.module_relu_2", "module_relu_3"],
    ),
    "a functional between two calls": (Between, ["module_relu_1", "module_relu_2"]),
    "functionals and calls mixed": (
        ManyRelus,
        ["module_relu_1", "a.module_relu_2", "module_relu_3", "module_relu_4", "module_relu_5"],
    ),
    "residual blocks": (
        ResNet,
        ["layer1.0.module_add", "layer1.0.module_relu_1", "layer1.1.module_add_1", "layer1.1.module_relu_1"],
    ),
    "a block called three times": (
        ThreeCalls,
        [
            "block.module_relu",
            "block.module_conv_1",
            "block.module_relu_1",
            "block.module_conv_2",
            "block.module_relu_2",
        ],
    ),
    "one activation at three places": (SharedAct, ["features.module_1_3", "features.module_1_5"]),
    "a sequence called twice": (
        TwiceSequential,
        ["features.module_0_3", "features.module_1_4", "features.module_2_5"],
    ),
    "stages called in turns": (
        Stages,
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
    "names that end with a number": (Numbered, ["module_relu_1_2", "module_relu_3"]),
    "one activation under two parents": (Aliases, ["x.module_act_1"]),
    "one activation in a sequence": (AliasInSequential, ["module_act_1"]),
    "an entry of a ModuleDict": (Dict, ["d.module_relu_1"]),
    "relu in three spellings": (
        lambda: function(lambda x, y: F.relu(torch.relu(y.relu()))),
        ["module_add", "module_relu", "module_relu_1", "module_relu_2"],
    ),
    "sums in all spellings": (
        lambda: function(lambda x, y: augmented(torch.add(x, 1 + y), y).add(y)),
        ["module_add", "module_add_1", "module_add_2", "module_add_3", "module_add_4", "module_add_5"],
    ),
    "differences": (
        lambda: function(lambda x, y: torch.subtract(1 - (x - y), y)),
        ["module_add", "module_sub", "module_sub_1", "module_subtract"],
    ),
    "an augmented product": (lambda: function(augmented_product), ["module_add", "module_sub", "module_mul"]),
    "quotients": (
        lambda: function(lambda x, y: torch.div(2 / (x / y), y)),
        ["module_add", "module_truediv", "module_truediv_1", "module_div"],
    ),
    "other operators": (
        lambda: function(lambda x, y: (x // y) @ y),
        ["module_add", "module_floordiv", "module_matmul"],
    ),
    "Python's own names": (
        lambda: function(lambda x, y: (x**2).pow(2).sum(0).sum(0)),
        ["module_pow_1", "module_pow_2", "module_sum_1", "module_sum_2"],
    ),
    "arithmetic on sizes counts": (
        lambda: function(lambda x, y: x * (x.size(0) * 2)),
        ["module_mul_1"],
    ),
    "pooling": (lambda: function(lambda x, y: F.max_pool2d(y, 2)), ["module_add", "module_max_pool2d"]),
    "operations of ours": (
        lambda: function(lambda x, y: torch.abs(-y).sqrt()),
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
    make, expected = CASES[case]
    model = make()
    if isinstance(model, type):
        model = model()
    inputs = (torch.rand(2, 3, 4, 4),) if capture == "running" else None
    assert new_names(model.eval(), inputs) == expected


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
