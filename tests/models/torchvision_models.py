"""All of torchvision: classification, segmentation, detection, video, optical flow; each at a small input."""

from __future__ import annotations

import dataclasses
import functools
import re
import warnings
from typing import Any

import torch
import torchvision
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from catalogue import Entry, Inputs, generator, images
from fidelity import build, redraw


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


def make(name: str, **arguments: Any) -> nn.Module:
    builder = functools.partial(torchvision.models.get_model_builder(name), **dict(settings(name).arguments))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about initial weights, which are drawn anew
        return build(builder, **arguments)


def example(name: str) -> torch.Tensor:
    size = settings(name).size
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))


# --- detection: a list of images of different sizes, few enough proposals to be quick ---------------------------------

_FEW_PROPOSALS = {
    "min_size": 64,
    "max_size": 96,
    "rpn_pre_nms_top_n_test": 40,
    "rpn_post_nms_top_n_test": 20,
    "box_score_thresh": 0.0,
    "box_detections_per_img": 10,
}
_SINGLE_SHOT = {"score_thresh": 0.0, "detections_per_img": 10, "topk_candidates": 40}
_DETECTION = {
    "fasterrcnn": _FEW_PROPOSALS,
    "fcos": {"min_size": 64, "max_size": 96, **_SINGLE_SHOT},
    "keypointrcnn": {**_FEW_PROPOSALS, "box_nms_thresh": 0.95},
    "maskrcnn": _FEW_PROPOSALS,
    "retinanet": {"min_size": 64, "max_size": 96, **_SINGLE_SHOT},
    "ssd": _SINGLE_SHOT,
}


def make_detector(name: str) -> nn.Module:
    arguments = next(found for prefix, found in _DETECTION.items() if name.startswith(prefix))
    torch.manual_seed(0)
    # Weights as they are initialised: with wilder ones every box is background, and there is nothing to compare.
    model = redraw(torchvision.models.get_model(name, weights=None, weights_backbone=None, **arguments).eval())
    drawn = generator(0)
    for module in model.modules():
        if isinstance(module, FrozenBatchNorm2d):
            module.weight.uniform_(0.2, 0.6, generator=drawn)
            module.bias.normal_(0.0, 0.1, generator=drawn)
            module.running_mean.normal_(0.0, 0.1, generator=drawn)
            module.running_var.uniform_(0.5, 1.5, generator=drawn)
    return model


def pictures(seed: int, rows: int, larger: bool) -> Inputs:
    """A list of images, no two of one size."""
    drawn, step = generator(seed), 24 if larger else 0
    sizes = [(64 + step + 8 * (i % 3), 80 + step - 8 * (i % 2)) for i in range(rows)]
    return ([torch.rand(3, *size, generator=drawn) for size in sizes],), {}


# --- video and optical flow -------------------------------------------------------------------------------------------


def clips(name: str) -> Any:
    frames, side, larger = 8, 32, 48
    if name.startswith("mvit") or name == "s3d":
        frames, side, larger = 16, 224, 0

    def draw(seed: int, rows: int, bigger: bool) -> Inputs:
        pixels = larger if bigger and larger else side
        return (torch.randn(rows, 3, frames, pixels, pixels, generator=generator(seed)),), {}

    return draw


def image_pairs(seed: int, rows: int, larger: bool) -> Inputs:
    drawn, width = generator(seed), 152 if larger else 128
    first, second = (torch.rand(rows, 3, 128, width, generator=drawn) * 2 - 1 for _ in range(2))
    return (first, second), {"num_flow_updates": 3}


def entries() -> list[Entry]:
    def of(module: Any) -> list[str]:
        return torchvision.models.list_models(module=module)

    found = []
    for name in classification_models():
        chosen = settings(name)
        found.append(Entry("torchvision", name, functools.partial(make, name), images(chosen.size, chosen.other_size)))
    for name in of(torchvision.models.segmentation):
        built = functools.partial(make, name, weights=None, weights_backbone=None)
        found.append(Entry("torchvision", name, built, images(64, 96)))
    for name in of(torchvision.models.detection):
        rows = (1, 2) if name == "ssd300_vgg16" else (2, 3)
        found.append(Entry("torchvision", name, functools.partial(make_detector, name), pictures, *rows))
    for name in of(torchvision.models.video):
        found.append(Entry("torchvision", name, functools.partial(make, name), clips(name), 1, 2))
    for name in of(torchvision.models.optical_flow):
        found.append(Entry("torchvision", name, functools.partial(make, name), image_pairs))
    return found
