"""MTCNN in int8: how far the boxes of faces on a photograph move.

    python examples/quantization/faces.py

Its three networks are quantized after training, by torch.ao in graph mode with int8 kernels and in AIMET's simulation,
calibrated on one photograph and tried on another. The figure is the smallest overlap (intersection over union) of a
face's box with the float detector's.
"""

from __future__ import annotations

import copy
import importlib.util
import sys
import warnings
from pathlib import Path

import torch
import torchvision
from PIL import Image
from torch import nn

from modulize import prepare_model

warnings.simplefilter("ignore")

NETWORKS = {"pnet": (1, 3, 64, 64), "rnet": (2, 3, 24, 24), "onet": (2, 3, 48, 48)}


def photograph(name):
    """One of the pictures that come with ultralytics."""
    spec = importlib.util.find_spec("ultralytics")
    return Image.open(Path(spec.submodule_search_locations[0]) / "assets" / name).convert("RGB")


class PReLUInFloat(nn.PReLU):
    """The int8 kernel of PReLU yields at most 0.61 where 1.90 is right (in RNet), and no face is left."""


def with_torch_ao(network, example, calibrate):
    from torch.ao.quantization import get_default_qconfig_mapping
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

    prepared = prepare_model(network, example_inputs=example)
    for module in prepared.modules():
        if type(module) is nn.PReLU:
            module.__class__ = PReLUInFloat
    observed = prepare_fx(prepared, get_default_qconfig_mapping("x86"), (example,))
    calibrate(observed)
    return convert_fx(observed)


def with_aimet(network, example, calibrate):
    from aimet_torch.quantsim import QuantizationSimModel

    from modulize.aimet import prepare_model

    sim = QuantizationSimModel(prepare_model(network, example_inputs=example), dummy_input=example)
    sim.compute_encodings(calibrate)
    return sim.model


def quantized(detector, quantize, picture):
    """Calibrates each network on what the float detector gives it for a picture."""
    given = {name: [] for name in NETWORKS}
    hooks = [
        getattr(detector, name).register_forward_pre_hook(lambda _, args, name=name: given[name].append(args[0]))
        for name in NETWORKS
    ]
    detector.detect(picture)
    for hook in hooks:
        hook.remove()
    made = copy.deepcopy(detector)
    for name, shape in NETWORKS.items():

        def calibrate(model, batches=given[name]):
            with torch.no_grad():
                for batch in batches:
                    model(batch)

        network = quantize(getattr(detector, name), torch.randn(shape), calibrate)
        # The detector asks the parameters for their dtype; int8 modules have none.
        network.register_parameter("dtype", nn.Parameter(torch.zeros(()), requires_grad=False))
        setattr(made, name, network)
    return made


def faces(detector, picture, sure=0.95):
    boxes, scores = detector.detect(picture)
    return torch.tensor([box for box, score in zip(boxes.tolist(), scores) if score > sure]).view(-1, 4)


def main():
    if importlib.util.find_spec("facenet_pytorch") is None:
        sys.exit("this example needs facenet-pytorch: pip install --no-deps facenet-pytorch")
    from facenet_pytorch import MTCNN

    detector = MTCNN(keep_all=True).eval()
    picture, other = photograph("zidane.jpg"), photograph("bus.jpg")
    boxes = faces(detector, picture)
    print(f"float       {len(boxes)} faces")
    for name, package, quantize in (("torch.ao FX", "torch", with_torch_ao), ("AIMET", "aimet_torch", with_aimet)):
        if importlib.util.find_spec(package) is None:
            print(f"{name:11} is not installed: pip install aimet-torch")
            continue
        found = faces(quantized(detector, quantize, other), picture)
        overlap = torchvision.ops.box_iou(boxes, found).max(1).values.min().item() if len(found) else 0
        print(f"{name:11} {len(found)} faces, smallest overlap {overlap:.3f}")


if __name__ == "__main__":
    main()
