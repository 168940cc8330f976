"""Operators of torchvision become modules."""

import pytest
import torch
from torch import nn

import modulize.nn
from modulize import load_source, prepare_model, save_source

ops = pytest.importorskip("torchvision.ops")
BOXES = torch.tensor([[0.0, 1.0, 1.0, 9.0, 9.0], [0.0, 2.0, 3.0, 12.0, 8.0]])

LAYERS = {
    "roi_align": (lambda: ops.RoIAlign(4, 1.0, 2), modulize.nn.RoIAlign),
    "roi_pool": (lambda: ops.RoIPool(4, 1.0), modulize.nn.RoIPool),
    "ps_roi_align": (lambda: ops.PSRoIAlign(2, 1.0, 2), modulize.nn.PSRoIAlign),
    "ps_roi_pool": (lambda: ops.PSRoIPool(2, 1.0), modulize.nn.PSRoIPool),
}


class Pooled(nn.Module):
    def __init__(self, make):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.pool = make()

    def forward(self, x, boxes):
        return self.pool(self.conv(x), boxes).relu()


@pytest.mark.parametrize("name", LAYERS)
def test_operators_of_regions(name, tmp_path):
    make, expected = LAYERS[name]
    model = Pooled(make).eval()
    prepared = prepare_model(model, example_inputs=(torch.randn(1, 3, 16, 16), BOXES))
    assert type(getattr(prepared.pool, f"module_{name}")) is expected
    assert not prepared.report.leftovers
    x = torch.randn(1, 3, 20, 24)
    assert torch.equal(prepared(x, BOXES), model(x, BOXES))
    save_source(prepared, tmp_path / "source")
    assert torch.equal(load_source(tmp_path / "source")(x, BOXES), model(x, BOXES))


def test_deformable_convolutions():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.offset = nn.Conv2d(3, 18, 3, padding=1)
            self.conv = ops.DeformConv2d(3, 4, 3, padding=1)

        def forward(self, x):
            return self.conv(x, self.offset(x))

    model = Net().eval()
    prepared = prepare_model(model, example_inputs=torch.randn(1, 3, 8, 8))
    assert isinstance(prepared.conv.module_deform_conv2d, modulize.nn.DeformConv2d)
    x = torch.randn(2, 3, 9, 10)
    assert torch.equal(prepared(x), model(x))
    assert list(prepared.state_dict()) == list(model.state_dict())
