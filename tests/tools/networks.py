"""The networks that every tool is tried on: real architectures, the transformers in small configurations."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when transformers is imported

import torch
from torch import nn

Inputs = tuple[torch.Tensor, ...]


class Network(NamedTuple):
    make: Callable[[], nn.Module]
    inputs: Callable[[], Inputs]


def pictures(side: int = 64, rows: int = 2) -> Callable[[], Inputs]:
    return lambda: (torch.randn(rows, 3, side, side),)


def sentences(rows: int = 2, length: int = 12) -> Inputs:
    mask = torch.ones(rows, length, dtype=torch.int64)
    mask[0, length - 3 :] = 0
    return torch.randint(3, 90, (rows, length)), mask


def torchvision(name: str, **arguments: Any) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        import torchvision.models

        return getattr(torchvision.models, name)(weights=None, **arguments)

    return make


def transformers(model: str, config: str, **arguments: Any) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        import transformers

        return getattr(transformers, model)(getattr(transformers, config)(**arguments))

    return make


_ENCODER = {
    "vocab_size": 99,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
}
_CLIP = {
    "text_config": {**_ENCODER, "projection_dim": 16, "bos_token_id": 1, "eos_token_id": 2},
    "vision_config": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 48,
        "image_size": 32,
        "patch_size": 8,
    },
    "projection_dim": 16,
}


def vit_pytorch() -> nn.Module:
    from vit_pytorch import ViT

    return ViT(image_size=32, patch_size=8, num_classes=10, dim=32, depth=2, heads=2, mlp_dim=48)


def unet() -> nn.Module:
    import segmentation_models_pytorch

    return segmentation_models_pytorch.Unet("resnet18", encoder_weights=None, classes=3)


def yolo() -> nn.Module:
    from ultralytics import YOLO

    return YOLO("yolov8n.yaml", verbose=False).model


def clip_inputs() -> Inputs:
    tokens, mask = sentences()
    return tokens, torch.randn(2, 3, 32, 32), mask


def translation() -> Inputs:
    tokens, mask = sentences()
    return tokens, mask, torch.randint(3, 90, (2, 6))


NETWORKS: dict[str, Network] = {
    "ResNet-18": Network(torchvision("resnet18"), pictures()),
    "MobileNetV3": Network(torchvision("mobilenet_v3_small"), pictures()),
    "Swin-T": Network(torchvision("swin_t"), pictures(64)),
    "ViT-B/16": Network(torchvision("vit_b_16", image_size=64), pictures(64, 1)),
    "ConvNeXt-T": Network(torchvision("convnext_tiny"), pictures(64, 1)),
    "DenseNet-121": Network(torchvision("densenet121"), pictures(64)),
    "Inception v3": Network(torchvision("inception_v3", init_weights=False), pictures(96)),
    "GoogLeNet": Network(torchvision("googlenet", init_weights=False), pictures(64)),
    "ShuffleNet": Network(torchvision("shufflenet_v2_x0_5"), pictures()),
    "DistilBERT": Network(
        transformers(
            "DistilBertModel",
            "DistilBertConfig",
            vocab_size=99,
            dim=32,
            n_layers=2,
            n_heads=2,
            hidden_dim=48,
            max_position_embeddings=40,
        ),
        sentences,
    ),
    "Llama": Network(
        transformers("LlamaModel", "LlamaConfig", **_ENCODER, num_key_value_heads=2, use_cache=False), sentences
    ),
    "T5": Network(
        transformers(
            "T5Model",
            "T5Config",
            vocab_size=99,
            d_model=32,
            d_kv=8,
            d_ff=48,
            num_layers=2,
            num_heads=2,
            use_cache=False,
        ),
        translation,
    ),
    "ViT": Network(vit_pytorch, pictures(32)),
    "CLIP": Network(transformers("CLIPModel", "CLIPConfig", **_CLIP), clip_inputs),
    "SegFormer": Network(
        transformers(
            "SegformerForSemanticSegmentation",
            "SegformerConfig",
            hidden_sizes=[8, 16, 24, 32],
            num_attention_heads=[1, 2, 2, 2],
            depths=[1, 1, 1, 1],
            decoder_hidden_size=16,
            num_labels=3,
        ),
        pictures(64),
    ),
    "U-Net": Network(unet, pictures(64)),
    "YOLOv8n": Network(yolo, pictures(64, 1)),
}


def build(name: str) -> tuple[nn.Module, Inputs]:
    """The network in eval mode and an example, the same every time."""
    torch.manual_seed(0)
    network = NETWORKS[name]
    model = network.make().eval()
    with torch.no_grad():  # wide enough that every value reaches the output
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
            elif isinstance(module, nn.Linear) and not module.weight.any():  # the head of torchvision's ViT
                module.weight.normal_(0, 0.1)
    return model, network.inputs()
