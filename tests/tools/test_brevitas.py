"""Brevitas' graph quantization on prepared networks."""

from brevitas.graph.quantize import preprocess_for_quantize, quantize

from modulize import prepare_model
from networks import build


def test_graph_quantization_takes_a_prepared_network():
    model, inputs = build("ResNet-18")
    quantized = quantize(preprocess_for_quantize(prepare_model(model, target="brevitas")))
    assert any(type(module).__name__ == "QuantConv2d" for module in quantized.modules())
    assert quantized(*inputs).isfinite().all()
