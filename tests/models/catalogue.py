"""The networks that the fidelity tests walk, each at the smallest input it accepts."""

from __future__ import annotations

import dataclasses
import functools
import re
import warnings
from typing import Any

import torch
import torchvision
from torch import nn

from fidelity import build


@dataclasses.dataclass(frozen=True)
class Settings:
    size: int = 32
    # A second resolution that the original takes, None where it is built for one (position tables, window grids).
    other_size: int | None = 48
    arguments: tuple[tuple[str, Any], ...] = ()
    # Functions under torch.fx.wrap: one node each without inputs, traced through with them.
    wrapped: tuple[str, ...] = ()


_STOCHASTIC_DEPTH = ("stochastic_depth",)
_SHIFTED_WINDOWS = ("_get_relative_position_bias", "_patch_merging_pad", "shifted_window_attention", "stochastic_depth")

# By the beginning of the name, the first that fits; all others take the defaults.
_SETTINGS = {
    "alexnet": Settings(64, 80),
    "convnext": Settings(wrapped=_STOCHASTIC_DEPTH),
    "efficientnet": Settings(wrapped=_STOCHASTIC_DEPTH),
    "googlenet": Settings(arguments=(("init_weights", False),)),
    "inception_v3": Settings(75, 107, (("init_weights", False),)),
    "maxvit": Settings(224, None, wrapped=_STOCHASTIC_DEPTH),
    "squeezenet": Settings(33, 65),
    "swin": Settings(32, None, wrapped=_SHIFTED_WINDOWS),
    "vit_h_14": Settings(28, None, (("image_size", 28),)),
    "vit": Settings(32, None, (("image_size", 32),)),
}
_FAMILY = re.compile(
    r"alexnet|convnext|densenet|efficientnet_v2|efficientnet|googlenet|inception|maxvit|mnasnet|mobilenet_v2|mobilenet_v3"
    r"|regnet_x|regnet_y|resnet|resnext|wide_resnet|shufflenet|squeezenet|swin_v2|swin|vgg\d+_bn|vgg|vit"
)


def classification_models() -> list[str]:
    return torchvision.models.list_models(module=torchvision.models)


def family(name: str) -> str:
    found = _FAMILY.match(name)
    assert found, f"{name} belongs to no family: extend the catalogue"
    return re.sub(r"\d+_bn", "_bn", found.group())


def settings(name: str) -> Settings:
    return next((entry for prefix, entry in _SETTINGS.items() if name.startswith(prefix)), Settings())


def make(name: str) -> nn.Module:
    builder = functools.partial(torchvision.models.get_model_builder(name), **dict(settings(name).arguments))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about initial weights, which are drawn anew
        return build(builder)


def example(name: str) -> torch.Tensor:
    size = settings(name).size
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
