"""Detectors of torchvision on lists of images of different sizes: boxes, masks and keypoints of the original."""

import copy

import pytest
import torch
import torchvision

from catalogue import find
from known_gaps import assert_gap_is_clear, gaps, holding
from measure import assert_same_gradients, measure
from modulize import prepare_model
from torchvision_models import make_detector, pictures

NAMES = set(torchvision.models.list_models(module=torchvision.models.detection))


@pytest.mark.parametrize("name", [name for name in holding("torchvision") if name in NAMES])
def test_everything_holds(name):
    measure(find("torchvision", name)).assert_holds()


@pytest.mark.parametrize("name", [name for name in gaps("torchvision") if name in NAMES])
def test_what_does_not_is_said_clearly(name):
    assert_gap_is_clear(find("torchvision", name))


@pytest.mark.parametrize("name", ["fcos_resnet50_fpn"])
def test_gradients_are_the_originals(name):
    assert_same_gradients(find("torchvision", name))


def _targets(images, seed):
    drawn = torch.Generator().manual_seed(seed)
    corners = [torch.rand(3, 2, generator=drawn) * 30 for _ in images]
    sizes = [torch.rand(3, 2, generator=drawn) * 25 + 8 for _ in images]
    return [
        {"boxes": torch.cat([xy, xy + wh], 1), "labels": torch.randint(1, 5, (3,), generator=drawn)}
        for xy, wh in zip(corners, sizes)
    ]


@pytest.mark.parametrize("name", ["fasterrcnn_mobilenet_v3_large_320_fpn", "ssdlite320_mobilenet_v3_large"])
def test_training_with_targets(name):
    """Prepared after the first call, which makes what the detector keeps."""
    model = make_detector(name).train()
    (images,), _ = pictures(1, 2, False)
    model(images, _targets(images, 1))
    prepared = prepare_model(copy.deepcopy(model), example_inputs=(images, _targets(images, 1)))
    losses = []
    for detector in (model, prepared):
        optimizer = torch.optim.SGD([p for p in detector.parameters() if p.requires_grad], lr=1e-3)
        for step in range(2):
            torch.manual_seed(step)
            (images,), _ = pictures(5 + step, 2, False)
            loss = torch.stack(list(detector(images, _targets(images, step)).values())).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
    assert losses[:2] == losses[2:]
    state = model.state_dict()
    assert list(state) == list(prepared.state_dict())
    for key, tensor in prepared.state_dict().items():
        torch.testing.assert_close(tensor, state[key], rtol=1e-5, atol=1e-7, msg=key)
