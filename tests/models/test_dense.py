"""Segmentation, video and optical flow of torchvision: dictionaries of maps, clips, pairs of images."""

import pytest

from catalogue import find
from measure import assert_same_gradients, measure

NAMES = """
    deeplabv3_mobilenet_v3_large fcn_resnet50 lraspp_mobilenet_v3_large mc3_18 r2plus1d_18 swin3d_t raft_small
""".split()


@pytest.mark.parametrize("name", NAMES)
def test_everything_holds(name):
    measure(find("torchvision", name)).assert_holds()


@pytest.mark.parametrize("name", ["raft_small", "lraspp_mobilenet_v3_large"])
def test_gradients_are_the_originals(name):
    assert_same_gradients(find("torchvision", name))
