"""Detectors of torchvision on lists of images of different sizes: boxes, masks and keypoints of the original."""

import pytest
import torchvision

from catalogue import find
from known_gaps import assert_gap_is_clear, gaps, holding
from measure import assert_same_gradients, measure

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
