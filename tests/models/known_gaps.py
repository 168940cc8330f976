"""Models of the catalogue that do not hold everything yet, with the reason, in this one place.

Each is refused at preparation, or raises at the call that breaks an assumption, by a ModulizeError that says where and
what to do; none is silently different. A test asserts that, and that what starts to hold leaves the list.
"""

from __future__ import annotations

import re

from catalogue import Entry, entries
from measure import Row, measure

VALUES = "control flow on a tensor"
POOLER = "Tensor.__float__.*poolers.py"
LENGTH = "the length of argument 'images'"

# library, name: what the message says.
KNOWN_GAPS: dict[tuple[str, str], str] = {
    ("timm", "crossvit_tiny_240"): "size: a decision on sizes",
    ("timm", "efficientvit_m0"): "size: a decision on sizes",
    ("timm", "gemma4_vit_167m"): "a gradient mode is set inside forward",
    ("timm", "mobilevit_s"): "size: a decision on sizes",
    ("timm", "qwen3_vit_88m"): "size: a decision on sizes",
    ("timm", "tiny_vit_5m_224"): "size: a decision on sizes",
    ("transformers", "distilbert"): VALUES,
    ("transformers", "gpt2"): VALUES,
    ("transformers", "llama"): VALUES,
    ("transformers", "mixtral"): VALUES,
    ("transformers", "t5"): VALUES,
    ("transformers", "bart"): VALUES,
    ("transformers", "wav2vec2"): VALUES,
    ("transformers", "clip"): VALUES,
    ("transformers", "detr"): VALUES,
    ("transformers", "llama_next_token"): "inputs may be tensors",
    ("transformers", "mamba"): "in a second capture",
    ("transformers", "whisper"): "in a second capture",
    ("torchvision", "fasterrcnn_mobilenet_v3_large_320_fpn"): POOLER,
    ("torchvision", "fasterrcnn_mobilenet_v3_large_fpn"): POOLER,
    ("torchvision", "fasterrcnn_resnet50_fpn"): POOLER,
    ("torchvision", "fasterrcnn_resnet50_fpn_v2"): POOLER,
    ("torchvision", "fcos_resnet50_fpn"): LENGTH,
    ("torchvision", "retinanet_resnet50_fpn"): LENGTH,
    ("torchvision", "retinanet_resnet50_fpn_v2"): LENGTH,
    ("torchvision", "ssd300_vgg16"): LENGTH,
    ("torchvision", "ssdlite320_mobilenet_v3_large"): LENGTH,
    ("torchvision", "keypointrcnn_resnet50_fpn"): POOLER,
    ("torchvision", "maskrcnn_resnet50_fpn"): POOLER,
    ("torchvision", "maskrcnn_resnet50_fpn_v2"): POOLER,
}

# As above, but what is raised is no ModulizeError yet.
UNCLEAR_GAPS: dict[tuple[str, str], str] = {
    ("timm", "samvit_base_patch16_224"): "size: index 7 is out of bounds",
    ("transformers", "bert"): "got multiple values for argument",
    ("transformers", "segformer"): "after preparing, the original raises",
    ("transformers", "minilm"): "got multiple values for argument",
}
# Silently different at other values. This must become empty.
DIFFERENT_TODAY: dict[tuple[str, str], str] = {}
ALL_GAPS = {**KNOWN_GAPS, **UNCLEAR_GAPS, **DIFFERENT_TODAY}


def holding(library: str) -> list[str]:
    return [entry.name for entry in entries(library) if (library, entry.name) not in ALL_GAPS]


def gaps(library: str) -> list[str]:
    return [name for of, name in ALL_GAPS if of == library]


def assert_gap_is_clear(entry: Entry) -> Row:
    row, key = measure(entry), (entry.library, entry.name)
    assert not row.holds, f"{entry.name} holds everything now: take it out of known_gaps.py"
    assert row.silently_wrong == (key in DIFFERENT_TODAY), f"{row.error}: {row.message}"
    clear = row.error in ("CaptureError", "UnsupportedError", "VerificationError", "AssumptionError")
    assert clear == (key in KNOWN_GAPS), f"{row.error}: {row.message}"
    assert re.search(ALL_GAPS[key], row.message), row.message
    return row
