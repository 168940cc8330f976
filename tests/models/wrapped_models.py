"""Models whose functions stand under torch.fx.wrap, in a module of their own: the wrapping counts per module."""

import math
from math import sqrt

import torch
import torch.fx
from torch import nn

torch.fx.wrap("len")
torch.fx.wrap("sqrt")


@torch.fx.wrap
def loop_and_multiply(x, y):
    for _ in range(2):
        x += x
        y += y
    return x * x + y * y


class CallsWrappedFunction(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3)
        self.conv2 = nn.Conv2d(3, 8, 3)

    def forward(self, x, y):
        return loop_and_multiply(self.conv1(x), self.conv2(y))


class DividesByRootOfLength(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 4)

    def forward(self, x):
        return self.fc(x) / sqrt(len(x))


@torch.fx.wrap
def add_positions(x):
    return x + torch.arange(x.shape[0], device=x.device).view(-1, 1)


class WrappedPositions(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 4)

    def forward(self, x):
        return add_positions(self.fc(x))


class RootByModule(nn.Module):
    """torch.fx wraps the functions of ``math`` by itself, whatever way they are reached."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 4)

    def forward(self, x):
        return self.fc(x) * math.sqrt(x.shape[0])
