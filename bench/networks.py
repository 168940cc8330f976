"""What the benchmarks run."""

from __future__ import annotations

import torch
import torch.nn.functional as F
import torchvision
from torch import nn


class FunctionalChain(nn.Module):
    def __init__(self, length: int) -> None:
        super().__init__()
        self.length = length

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(self.length):
            x = F.relu(x)
        return x


def module_chain(length: int) -> nn.Module:
    return nn.Sequential(*(nn.ReLU() for _ in range(length)))


def network(name: str) -> nn.Module:
    arguments = {"init_weights": False} if name in ("inception_v3", "googlenet") else {}
    return torchvision.models.get_model(name, weights=None, **arguments).eval()
