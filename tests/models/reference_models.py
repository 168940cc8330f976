"""The reference and limitation cases of the job, and the networks of the rule of names."""

from __future__ import annotations

import functools
from math import sqrt

import torch
import torch.nn.functional as F
from torch import nn

import wrapped_models
from catalogue import Networks

reference = Networks("reference")
entries = reference.entries


# --- functional to module ---------------------------------------------------------------------------------------------


@reference(3, 8, 8)
class FunctionalRelus(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3)
        self.conv2 = nn.Conv2d(8, 8, 3)
        self.fc = nn.Linear(8 * 4 * 4, 10)

    def forward(self, x):
        x = F.relu(self.conv1(x))
        x = F.relu(self.conv2(x))
        x = x.view(x.size(0), -1)
        return self.fc(x).relu()


@reference(4)
class ReluSpellings(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        x = F.relu(self.fc(x)) - 0.5
        x = torch.relu(self.fc(x)) - 0.5
        x = self.fc(x).relu() - 0.5
        x = F.relu(input=self.fc(x)) - 0.5
        return F.relu(self.fc(x), inplace=False)


# One row: what a person writes, the module that must run there.
SPELLINGS = {
    "leaky_relu positional": (lambda x: F.leaky_relu(x, 0.2), nn.LeakyReLU(0.2)),
    "leaky_relu keyword": (lambda x: F.leaky_relu(x, negative_slope=0.2), nn.LeakyReLU(0.2)),
    "leaky_relu default": (lambda x: F.leaky_relu(x), nn.LeakyReLU()),
    "leaky_relu all keyword": (lambda x: F.leaky_relu(input=x, negative_slope=0.3), nn.LeakyReLU(0.3)),
    "softmax positional": (lambda x: F.softmax(x, -1), nn.Softmax(dim=-1)),
    "softmax keyword": (lambda x: F.softmax(x, dim=1), nn.Softmax(dim=1)),
    "softmax method positional": (lambda x: x.softmax(-1), nn.Softmax(dim=-1)),
    "softmax method keyword": (lambda x: x.softmax(dim=-1), nn.Softmax(dim=-1)),
    "softmax torch": (lambda x: torch.softmax(x, dim=-1), nn.Softmax(dim=-1)),
    "log_softmax": (lambda x: F.log_softmax(x, 1), nn.LogSoftmax(dim=1)),
    "hardswish": (lambda x: F.hardswish(x), nn.Hardswish()),
    "hardsigmoid": (lambda x: F.hardsigmoid(x), nn.Hardsigmoid()),
    "softplus positional": (lambda x: F.softplus(x, 2.0), nn.Softplus(beta=2.0)),
    "softplus keyword": (lambda x: F.softplus(x, threshold=5.0), nn.Softplus(threshold=5.0)),
    "softplus default": (lambda x: F.softplus(x), nn.Softplus()),
    "sigmoid method": (lambda x: x.sigmoid(), nn.Sigmoid()),
    "sigmoid torch": (lambda x: torch.sigmoid(x), nn.Sigmoid()),
    "tanh": (lambda x: torch.tanh(x), nn.Tanh()),
    "gelu": (lambda x: F.gelu(x), nn.GELU()),
    "gelu tanh": (lambda x: F.gelu(x, approximate="tanh"), nn.GELU(approximate="tanh")),
    "silu": (lambda x: F.silu(x), nn.SiLU()),
    "elu": (lambda x: F.elu(x, 0.7), nn.ELU(alpha=0.7)),
    "relu6": (lambda x: F.relu6(x), nn.ReLU6()),
    "hardtanh": (lambda x: F.hardtanh(x, -2.0, 2.0), nn.Hardtanh(-2.0, 2.0)),
}


@reference(6)
class EveryArgumentSpelling(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 6)

    def forward(self, x):
        return [function(self.fc(x)) for function, _ in SPELLINGS.values()]


@reference(3, 8, 8)
class Prelu(nn.Module):
    def __init__(self):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor([0.1, 0.2, 0.3]))

    def forward(self, x):
        return F.prelu(x, self.slope)


@reference(3, 8, 8)
class FunctionalConvolution(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.randn(8, 3, 3, 3))
        self.b = nn.Parameter(torch.randn(8))
        self.fc = nn.Linear(8, 2)

    def forward(self, x):
        x = F.conv2d(x, self.w, self.b, stride=2, padding=1)
        return self.fc(x.mean((2, 3)))


@reference(32)
class Drops(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(32, 32)

    def forward(self, x):
        return F.dropout(self.fc(x), 0.4, self.training)


# --- reused module to independent modules -----------------------------------------------------------------------------


@reference(3, 8, 8)
class ReusedRelu(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3)
        self.conv2 = nn.Conv2d(8, 8, 3)
        self.fc = nn.Linear(8 * 4 * 4, 10)
        self.relu = nn.ReLU()

    def forward(self, x):
        x = self.relu(self.conv1(x))
        x = self.relu(self.conv2(x))
        return self.relu(self.fc(x.flatten(1)))


@reference(6)
class ReusedLinear(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 6)

    def forward(self, x):
        return self.fc(torch.tanh(self.fc(x)))


@reference(4)
class Taken(nn.Module):
    def __init__(self):
        super().__init__()
        self.module_relu = nn.Linear(4, 4)

    def forward(self, x):
        return F.relu(self.module_relu(x))


# --- elementwise operation to module ----------------------------------------------------------------------------------


@reference(3, 8, 8, tensors=2)
class AddsInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3)
        self.conv2 = nn.Conv2d(3, 8, 3)

    def forward(self, *inputs):
        return self.conv1(inputs[0]) + self.conv2(inputs[1])


# One row: what a person writes of two tensors, and the name of the module that must run there.
ARITHMETIC = {
    "x + y": (lambda x, y: x + y, "module_add"),
    "x + 1": (lambda x, y: x + 1, "module_add"),
    "1 + x": (lambda x, y: 1 + x, "module_add"),
    "torch.add alpha": (lambda x, y: torch.add(x, y, alpha=2), "module_add"),
    "x.add": (lambda x, y: x.add(y), "module_add"),
    "x.add alpha": (lambda x, y: x.add(y, alpha=3), "module_add"),
    "x - y": (lambda x, y: x - y, "module_sub"),
    "y - x": (lambda x, y: y - x, "module_sub"),
    "1 - x": (lambda x, y: 1 - x, "module_sub"),
    "x - 1": (lambda x, y: x - 1, "module_sub"),
    "torch.sub alpha": (lambda x, y: torch.sub(x, y, alpha=2), "module_sub"),
    "x * y": (lambda x, y: x * y, "module_mul"),
    "0.5 * x": (lambda x, y: 0.5 * x, "module_mul"),
    "torch.mul": (lambda x, y: torch.mul(x, y), "module_mul"),
    "x / y": (lambda x, y: x / y, "module_div"),
    "2 / x": (lambda x, y: 2 / x, "module_div"),
    "x / 3": (lambda x, y: x / 3, "module_div"),
    "torch.div rounding": (lambda x, y: torch.div(x, y, rounding_mode="floor"), "module_div"),
    "x @ y.T": (lambda x, y: x @ y.transpose(0, 1), "module_matmul"),
    "torch.matmul": (lambda x, y: torch.matmul(x, y.transpose(0, 1)), "module_matmul"),
    "x ** 2": (lambda x, y: x**2, "module_pow"),
    "2 ** x": (lambda x, y: 2**x, "module_pow"),
    "torch.cat positional": (lambda x, y: torch.cat([x, y], 1), "module_cat"),
    "torch.cat keyword": (lambda x, y: torch.cat(tensors=[x, y], dim=-1), "module_cat"),
    "torch.cat tuple": (lambda x, y: torch.cat((x, y)), "module_cat"),
    "x.mean": (lambda x, y: x.mean(dim=1, keepdim=True), "module_mean"),
    "torch.mean": (lambda x, y: torch.mean(x, 1), "module_mean"),
    "x.sum": (lambda x, y: x.sum(-1), "module_sum"),
}


@reference(6)
class EveryArithmetic(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(6, 6)
        self.b = nn.Linear(6, 6)

    def forward(self, x):
        return [function(self.a(x), self.b(x)) for function, _ in ARITHMETIC.values()]


@reference(4, tensors=2)
class OperandOrder(nn.Module):
    def forward(self, x, y):
        return 1 - x, x - 1, 2 / x, x / 2, y - x, 3 * x, x * y, 2**x, x**2


@reference(4)
class AddsToAlias(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        y = self.fc(x)
        z = y
        z += 1
        return y * 10


@reference(4)
class AddsToView(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        y = self.fc(x)
        half = y[:, :2]
        half += 1
        half *= 3
        return y, half


@reference(4)
class ChangesInput(nn.Module):
    def forward(self, x):
        x += 1
        return x * 2


@reference(6)
class ArithmeticOnSizes(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 6)

    def forward(self, x):
        n = x.shape[0] * 2
        return self.fc(x).view(n, x.size(1) // 2) * n


# --- the limitations of torch.fx --------------------------------------------------------------------------------------


class Flagged(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)

    def forward(self, x, flag):
        x = self.conv(x)
        if flag:
            return F.relu(x)
        return torch.sigmoid(x)


@reference(3, 8, 8)
class Defaulted(Flagged):
    def forward(self, x, flag=False):
        return super().forward(x, flag)


@reference(8)
class RootOfLength(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 4)

    def forward(self, x):
        return self.fc(x) / sqrt(len(x))


class Custom(nn.Module):
    @staticmethod
    def forward(x):
        return x * F.softplus(x).sigmoid()


@reference(3, 8, 8)
class HasCustom(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.custom = Custom()

    def forward(self, x):
        return self.custom(self.conv(x))


@reference(8)
class Positions(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 4)

    def forward(self, x):
        return self.fc(x) + torch.arange(x.shape[0], device=x.device).view(-1, 1)


reference(3, 8, 8, tensors=2)(wrapped_models.CallsWrappedFunction)
for _model in (wrapped_models.DividesByRootOfLength, wrapped_models.RootByModule, wrapped_models.WrappedPositions):
    reference(8)(_model)


# --- names (target="aimet" has them from the tool) --------------------------------------------------------------------


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


@reference(3, 4, 4)
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


@reference(3, 4, 4)
class Childless(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer1 = nn.Sequential(WithAct(), WithAct())

    def forward(self, x):
        return self.layer1(x)


@reference(3, 4, 4)
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


@reference(3, 4, 4)
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


@reference(3, 4, 4)
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


@reference(3, 4, 4)
class TopRelu(nn.Module):
    def __init__(self):
        super().__init__()
        self.relu = nn.ReLU()
        self.layer1 = nn.Sequential(ConvRelu(), ConvRelu())

    def forward(self, x):
        return F.relu(self.layer1(self.relu(x)))


@reference(3, 4, 4)
class Between(nn.Module):
    def __init__(self):
        super().__init__()
        self.relu = nn.ReLU()

    def forward(self, x):
        return self.relu(F.relu(self.relu(x)))


@reference(3, 4, 4)
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
        y = self.conv(self.relu(x))
        y += x
        return self.relu(y)


@reference(3, 4, 4)
class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer1 = nn.Sequential(Residual(), Residual())

    def forward(self, x):
        return self.layer1(x)


@reference(3, 4, 4)
class ThreeCalls(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = ConvRelu()

    def forward(self, x):
        return self.block(self.block(self.block(x)))


@reference(3, 4, 4)
class SharedAct(nn.Module):
    def __init__(self):
        super().__init__()
        act = nn.ReLU()
        self.features = nn.Sequential(nn.Conv2d(3, 3, 1), act, nn.Conv2d(3, 3, 1), act, nn.Conv2d(3, 3, 1), act)

    def forward(self, x):
        return self.features(x)


@reference(3, 4, 4)
class TwiceSequential(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.Conv2d(3, 3, 1))

    def forward(self, x):
        return self.features(self.features(x))


@reference(3, 4, 4)
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


@reference(3, 4, 4)
class Numbered(nn.Module):
    def __init__(self):
        super().__init__()
        self.relu_1 = nn.ReLU()
        self.relu = nn.ReLU()

    def forward(self, x):
        return self.relu(self.relu(self.relu_1(self.relu_1(x))))


@reference(3, 4, 4)
class Aliases(nn.Module):
    def __init__(self):
        super().__init__()
        self.x = nn.Module()
        self.y = nn.Module()
        self.x.act = nn.ReLU()
        self.y.act = self.x.act

    def forward(self, x):
        return self.y.act(self.x.act(x))


@reference(3, 4, 4)
class AliasInSequential(nn.Module):
    def __init__(self):
        super().__init__()
        self.act = nn.ReLU()
        self.seq = nn.Sequential(nn.Conv2d(3, 3, 1), self.act)

    def forward(self, x):
        return self.seq(self.act(x))


@reference(3, 4, 4)
class Dict(nn.Module):
    def __init__(self):
        super().__init__()
        self.d = nn.ModuleDict({"relu": nn.ReLU()})

    def forward(self, x):
        return self.d["relu"](self.d["relu"](x))


class Function(nn.Module):
    def __init__(self, body):
        super().__init__()
        self.body = body

    def forward(self, x):
        return self.body(x, x + 0)


def body(function):
    """Registers a network that is a function of its input and a copy of that."""
    reference.add(function.__name__, functools.partial(Function, function), (3, 4, 4))
    return function


@body
def relus(x, y):
    return F.relu(torch.relu(y.relu()))


@body
def sums(x, y):
    z = torch.add(x, 1 + y) + y
    z += y
    return z.add(y)


@body
def differences(x, y):
    return torch.subtract(1 - (x - y), y)


@body
def augmented_product(x, y):
    z = x - y
    z *= y
    return z


@body
def quotients(x, y):
    return torch.div(2 / (x / y), y)


@body
def other_operators(x, y):
    return (x // y) @ y


@body
def names_of_python(x, y):
    return (x**2).pow(2).sum(0).sum(0)


@body
def arithmetic_on_sizes(x, y):
    return x * (x.size(0) * 2)


@body
def pooling(x, y):
    return F.max_pool2d(y, 2)


@body
def operations_of_ours(x, y):
    return torch.abs(-y).sqrt()
