"""Small networks that do what other tools get wrong, and what a model may do with its state and its modes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations
from torchvision.ops import stochastic_depth

from catalogue import Networks

trap = Networks("trap")
entries = trap.entries


# --- arguments by keyword ---------------------------------------------------------------------------------------------


@trap(6, 8)
class AttentionMaskByKeyword(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(8, 24)
        self.register_buffer("mask", torch.ones(6, 6).triu(1) * -1e4)

    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, -1)
        p = 0.2 if self.training else 0.0
        return F.scaled_dot_product_attention(query=q, key=k, value=v, attn_mask=self.mask, dropout_p=p)


@trap(6)
class DivisionAndConcatenationByKeyword(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 6)

    def forward(self, x):
        y = torch.div(self.fc(x) * 7, 2.0, rounding_mode="floor")
        return torch.cat(tensors=[y, x], dim=1)


# --- modes ------------------------------------------------------------------------------------------------------------


@trap(4, 5, 5)
class FunctionalBatchNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.rand(4)), nn.Parameter(torch.rand(4))
        self.register_buffer("mean", torch.rand(4))
        self.register_buffer("var", torch.rand(4) + 0.5)

    def forward(self, x):
        return F.batch_norm(x, self.mean, self.var, self.weight, self.bias, self.training, 0.3, 1e-4)


@trap(4, 4)
class StochasticDepth(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        return x + stochastic_depth(self.fc(x), p=0.5, mode="row", training=self.training)


@trap(6)
class FunctionalDropout(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 6)

    def forward(self, x):
        x = F.dropout(self.fc(x), 0.5, self.training)
        return F.alpha_dropout(F.relu(x), p=0.3, training=self.training)


@trap(6)
class AuxiliaryHead(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head, self.auxiliary = nn.Linear(6, 6), nn.Linear(6, 3), nn.Linear(6, 2)

    def forward(self, x):
        x = F.relu(self.body(x))
        if self.training:
            return self.head(x), self.auxiliary(x)
        return self.head(x)


@trap(4, 5, 5)
class FrozenStatistics(nn.Module):
    """Its batch norm stays in eval mode whatever is said."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)

    def train(self, mode=True):
        super().train(mode)
        self.bn.eval()
        return self

    def forward(self, x):
        return F.dropout(self.bn(self.conv(x)), 0.2, self.training)


@trap(6)
class MixedModes(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.5))
        self.second = nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.5))

    def train(self, mode=True):
        super().train(mode)
        self.second.train()
        self.first.eval()
        return self

    def forward(self, x):
        return F.dropout(self.second(self.first(x)), 0.1, self.first.training)


# --- weights in functionals -------------------------------------------------------------------------------------------


@trap(3, 6, 6)
class FunctionalWeights(nn.Module):
    def __init__(self):
        super().__init__()
        self.kernel = nn.Parameter(torch.rand(4, 3, 3, 3) - 0.5)
        self.unused = nn.Linear(2, 2)
        self.bias = nn.Parameter(torch.rand(4))
        self.slope = nn.Parameter(torch.rand(1))
        self.matrix = nn.Parameter(torch.rand(5, 4) - 0.5)
        self.register_buffer("fixed", torch.rand(5, 5) - 0.5)

    def forward(self, x):
        x = F.prelu(F.conv2d(x, self.kernel, self.bias, padding=1), self.slope)
        x = F.linear(x.mean((2, 3)), self.matrix)
        return F.linear(F.layer_norm(x, (5,)), self.fixed)


@trap(4, 6, 6)
class DynamicConvolution(nn.Module):
    def __init__(self):
        super().__init__()
        self.kernels = nn.Parameter(torch.rand(3, 4, 4, 3, 3) - 0.5)
        self.router = nn.Linear(4, 3)

    def forward(self, x):
        mix = self.router(x.mean((0, 2, 3))).softmax(0)
        return F.conv2d(x, (mix[:, None, None, None, None] * self.kernels).sum(0), padding=1)


@trap(6)
class HyperNetwork(nn.Module):
    def __init__(self):
        super().__init__()
        self.make = nn.Linear(6, 30)

    def forward(self, x):
        return F.linear(x, self.make(x.mean(0)).view(5, 6))


@trap(6)
class WeightNorms(nn.Module):
    def __init__(self):
        super().__init__()
        self.new = parametrizations.weight_norm(nn.Linear(6, 6))
        self.old = torch.nn.utils.weight_norm(nn.Linear(6, 6))
        self.orthogonal = parametrizations.orthogonal(nn.Linear(6, 6))

    def forward(self, x):
        return self.orthogonal(F.relu(self.old(self.new(x)))) + F.linear(x, self.new.weight)


@trap(6)
class WeightNormOfTheRoot(nn.Module):
    """A hook of the model itself makes the weight, before forward."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 6))
        self.bias = nn.Parameter(torch.randn(6))
        torch.nn.utils.weight_norm(self)

    def forward(self, x):
        return F.relu(F.linear(x, self.weight, self.bias)) * self.weight.mean()


@trap(6)
class WeightNormOfABlock(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = WeightNormOfTheRoot()

    def forward(self, x):
        return self.block(x + 1)


@trap(6)
class SpectralNorms(nn.Module):
    def __init__(self):
        super().__init__()
        self.new = parametrizations.spectral_norm(nn.Linear(6, 6))
        self.old = torch.nn.utils.spectral_norm(nn.Linear(6, 6))

    def forward(self, x):
        return self.old(F.relu(self.new(x)))


# --- modules used several times ---------------------------------------------------------------------------------------


@trap(6)
class ReusedLinear(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 6)

    def forward(self, x):
        return self.fc(F.relu(self.fc(x))) + F.linear(x, self.fc.weight)


@trap(4, 5, 5)
class ReusedBatchNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.bn, self.drop = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Dropout(0.3)

    def forward(self, x):
        return self.drop(self.bn(self.conv(self.drop(self.bn(x)))))


class _Block(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.fc, self.norm = nn.Linear(n, n), nn.BatchNorm1d(n)

    def forward(self, x):
        return x + F.gelu(self.norm(self.fc(x)))


@trap(6)
class ReusedBlocks(nn.Module):
    """Containers and user classes called several times; one object under two paths; recurrent use in a loop."""

    def __init__(self):
        super().__init__()
        self.block = _Block(6)
        self.again = self.block
        self.stack = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Dropout(0.2))
        self.cell = nn.GRUCell(6, 6)

    def forward(self, x):
        x = self.stack(self.again(self.stack(self.block(x))))
        h = torch.zeros_like(x)
        for _ in range(3):
            h = self.cell(x, h)
        return h


# --- state ------------------------------------------------------------------------------------------------------------


@trap(6)
class ListsOfParameters(nn.Module):
    def __init__(self):
        super().__init__()
        self.rows = nn.ParameterList([nn.Parameter(torch.rand(6)) for _ in range(3)])
        self.named = nn.ParameterDict({"scale": nn.Parameter(torch.rand(6)), "shift": nn.Parameter(torch.rand(6))})

    def forward(self, x):
        for row in self.rows:
            x = x * row
        return x * self.named["scale"] + self.named["shift"]


@trap(6)
class Buffers(nn.Module):
    """Persistent or not, shared by two modules, an integer one that counts, a plain tensor attribute."""

    def __init__(self):
        super().__init__()
        shared = torch.rand(6)
        self.left, self.right = nn.Module(), nn.Module()
        self.left.register_buffer("table", shared)
        self.right.register_buffer("table", shared)
        self.register_buffer("scale", torch.rand(6), persistent=False)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.register_buffer("nothing", None)
        self.fc = nn.Linear(6, 6)

    def forward(self, x):
        self.calls.add_(1)
        return self.fc(x * self.left.table) * self.scale + self.right.table


@trap(6)
class PlainTensors(nn.Module):
    def __init__(self):
        super().__init__()
        self.offset = torch.rand(6)
        self.many = [torch.rand(6), torch.rand(6)]
        self.fc = nn.Linear(6, 6)

    def forward(self, x):
        return self.fc(x + self.offset) * self.many[1] + self.many[0]


@trap(6)
class NeverCalled(nn.Module):
    """Modules that forward does not use, before and between those that it does, one with running statistics."""

    def __init__(self):
        super().__init__()
        self.idle = nn.Linear(3, 2)
        self.fc = nn.Linear(6, 6)
        self.unused = nn.Sequential(nn.BatchNorm1d(4), nn.ReLU())
        self.relu = nn.ReLU()

    def forward(self, x):
        return self.relu(self.fc(self.relu(x)))


@trap(5)
class TiedEmbedding(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.fc = nn.Embedding(11, 6), nn.Linear(6, 6)
        self.head = nn.Linear(6, 11, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, x):
        tokens = (x * 5).long().clamp(0, 10)
        return self.head(F.relu(self.fc(self.embed(tokens))))


# --- gradients --------------------------------------------------------------------------------------------------------


class RoundThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.round()

    @staticmethod
    def backward(ctx, gradient):
        return gradient


@trap(6)
class StraightThrough(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, x):
        x = RoundThrough.apply(self.first(x) * 4) / 4
        y = self.second(x)
        return y + ((y * 8).round() / 8 - y).detach()


@trap(6)
class InPlaceOnViews(nn.Module):
    """Arithmetic in place, of which the backward needs what was there before."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 6)

    def forward(self, x):
        y = self.fc(x).abs() + 1
        y[:, :2].log_()
        y[:, 2:] *= x[:, 2:]
        return y


# --- code that is kept whole ------------------------------------------------------------------------------------------


class _Halves(nn.Module):
    def forward(self, x):
        while x.abs().sum().item() > 2:
            x = torch.sub(x, x / 2)
        return x.clamp(-1, 1) * 3


@trap(6)
class KeptLoop(nn.Module):
    """A loop that ends by a value, at which torch.compile breaks its graph."""

    def __init__(self):
        super().__init__()
        self.fc, self.halves = nn.Linear(6, 6), _Halves()

    def forward(self, x):
        return self.halves(self.fc(x)).relu()


# --- dtypes -----------------------------------------------------------------------------------------------------------


@trap(6, 8)
class LimitsOfTheDtype(nn.Module):
    """What every transformer does with dtypes: limits of them, comparisons, and none at all."""

    def __init__(self):
        super().__init__()
        self.qk, self.v = nn.Linear(8, 16), nn.Linear(8, 8)

    def forward(self, x):
        (q, k), dtype, device = self.qk(x).chunk(2, -1), x.dtype, x.device
        mask = torch.full((x.shape[1], x.shape[1]), torch.finfo(dtype).min, dtype=dtype, device=device).triu(1)
        scores = (q @ k.transpose(1, 2)).float().to(dtype) + mask
        if scores.dtype == torch.float16:
            scores = scores.clamp(-1000, 1000)
        if scores.dtype != self.v.weight.dtype:
            scores = scores.to(self.v.weight.dtype)
        return self._attend(scores, self.v(x), scores.dtype)

    def _attend(self, scores, v, dtype):
        return scores.softmax(-1) @ v
