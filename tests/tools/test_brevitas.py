"""Brevitas' graph quantization on prepared networks."""

import pytest
import torch
from brevitas.graph.calibrate import calibration_mode
from brevitas.graph.quantize import preprocess_for_quantize, quantize

from modulize import prepare_model
from networks import build


@pytest.mark.parametrize("running", [True, False], ids=["running", "symbolic"])
def test_graph_quantization_takes_a_prepared_network(running):
    model, inputs = build("ResNet-18")
    prepared = prepare_model(model, example_inputs=inputs if running else None, target="brevitas")
    quantized = quantize(preprocess_for_quantize(prepared))
    assert any(type(module).__name__ == "QuantConv2d" for module in quantized.modules())


@pytest.mark.parametrize("name", ["Swin-T", "ViT-B/16", "ConvNeXt-T", "ShuffleNet", "ViT"])
def test_sums_of_sizes_items_and_missing_methods_do_not_stop_it(name):
    model, inputs = build(name)
    prepared = prepare_model(model, example_inputs=inputs, target="brevitas", plain_outputs=True)
    with torch.no_grad():
        expected = prepared(*inputs)
        quantized = quantize(preprocess_for_quantize(prepared))
        with calibration_mode(quantized):
            quantized(*inputs)
        actual = quantized(*inputs)
    assert (actual - expected).pow(2).sum() < 0.1 * expected.pow(2).sum()


class Scaled(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(3)

    def forward(self, x, *, scale):
        return self.norm(x) * scale


def test_looking_at_the_example_leaves_nothing():
    model, x = Scaled(), torch.randn(2, 3)
    state = torch.get_rng_state()
    prepare_model(model, example_inputs=x, example_kwargs={"scale": x}, target="brevitas")
    assert model.norm.num_batches_tracked == 0 and torch.equal(state, torch.get_rng_state())
