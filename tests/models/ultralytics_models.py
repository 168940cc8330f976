"""YOLO networks of ultralytics from the yaml files of the package, without weights."""

from __future__ import annotations

import functools
import os
import tempfile

# Both are read when the library is imported: it asks no network and writes its settings beside other temporary files.
os.environ.setdefault("YOLO_OFFLINE", "1")
os.environ.setdefault("YOLO_AUTOINSTALL", "0")
os.environ.setdefault("YOLO_VERBOSE", "0")
os.environ.setdefault("YOLO_CONFIG_DIR", os.path.join(tempfile.gettempdir(), "modulize-ultralytics"))
os.makedirs(os.environ["YOLO_CONFIG_DIR"], exist_ok=True)

import torch  # noqa: E402
from torch import nn  # noqa: E402
from ultralytics.nn.tasks import DetectionModel, SegmentationModel  # noqa: E402

from catalogue import Entry, images  # noqa: E402
from fidelity import redraw  # noqa: E402

_MODELS = {
    "yolov8n": DetectionModel,
    "yolo11n": DetectionModel,
    "yolov8n-seg": SegmentationModel,
    "yolo11n-seg": SegmentationModel,
}


def make(name: str) -> nn.Module:
    torch.manual_seed(0)
    return redraw(_MODELS[name](f"{name}.yaml", verbose=False).eval())


def entries() -> list[Entry]:
    return [Entry("ultralytics", name, functools.partial(make, name), images(64, 96)) for name in _MODELS]
