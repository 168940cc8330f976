"""Quantization of torch itself: eager mode really converted to int8, and graph mode, on torchvision's networks."""

from __future__ import annotations

import copy
import sys
import warnings

import pytest
import torch
import torchvision.models
from torch import nn
from torch.ao import quantization as ao
from torch.ao.quantization import quantize_fx

from modulize import prepare_model
from modulize.torch_ao import fusable_modules, observe_floats_alone
from modulize.torch_ao import prepare_model as prepare_for_ao

pytestmark = pytest.mark.filterwarnings("ignore")
warnings.simplefilter("ignore")

# Every family of torchvision's CNNs but ConvNeXt, whose products with a parameter have no int8 kernel; all of them:
# `python tests/tools/test_torch_ao.py`.
NETWORKS = {
    "alexnet": 96,
    "vgg11_bn": 64,
    "resnet18": 64,
    "resnext50_32x4d": 64,
    "densenet121": 64,
    "googlenet": 64,
    "inception_v3": 96,
    "mnasnet0_5": 64,
    "mobilenet_v2": 64,
    "mobilenet_v3_small": 64,
    "regnet_y_400mf": 64,
    "shufflenet_v2_x0_5": 64,
    "squeezenet1_1": 64,
    "efficientnet_b0": 64,
}


def network(name):
    torch.manual_seed(0)
    arguments = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    model = getattr(torchvision.models, name)(weights=None, **arguments).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    side = NETWORKS.get(name, 96 if name.startswith("alexnet") else 64)
    return model, torch.randn(2, 3, side, side)


def agreement(expected, actual):
    """The signal in decibels over the difference."""
    return (10 * torch.log10(expected.pow(2).sum() / (expected - actual).pow(2).sum())).item()


def eager_int8(model, x):
    """The agreement of the int8 model with the float one, every step on the way asserted."""
    expected = model(x)
    prepared = prepare_for_ao(model, example_inputs=x)
    torch.testing.assert_close(prepared(x), expected)
    chains = fusable_modules(prepared)
    fused = ao.fuse_modules(prepared, chains) if chains else prepared
    torch.testing.assert_close(fused(x), expected, rtol=1e-3, atol=1e-3 * expected.abs().max().item())
    fused.qconfig = ao.get_default_qconfig("x86")
    observed = ao.prepare(fused)
    observed(x)
    converted = ao.convert(observed)
    actual = converted(x)
    assert actual.dtype == torch.float32 and actual.shape == expected.shape
    assert any(type(m).__module__.startswith("torch.ao.nn") for m in converted.modules())
    assert not any(type(m) is nn.Conv2d for m in converted.modules())
    return agreement(expected, actual)


@pytest.mark.parametrize("name", NETWORKS)
def test_eager_mode_converts_to_int8_and_runs(name):
    assert eager_int8(*network(name)) > 5


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "shufflenet_v2_x0_5", "googlenet", "swin_t"])
def test_graph_mode_takes_prepared_networks(name):
    model, x = network(name)
    expected = model(x)
    prepared = prepare_model(copy.deepcopy(model), example_inputs=x)
    mapping = ao.get_default_qconfig_mapping("x86")
    observed = quantize_fx.prepare_fx(prepared, observe_floats_alone(mapping, prepared, x), (x,))
    observed(x)
    actual = quantize_fx.convert_fx(observed)(x)
    assert agreement(expected, actual) > 5


class Lookup(nn.Module):
    """Integers that pass methods on their way to a table, and a layer whose weight is asked for its dtype."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(10, 4)
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        y = self.table(x.view(-1, x.size(-1)) + 1)
        return self.fc(y.to(self.fc.weight.dtype) if y.dtype != self.fc.weight.dtype else y)


def test_graph_mode_observes_no_integers():
    model, x = Lookup().eval(), torch.randint(0, 9, (2, 3))
    prepared = prepare_model(model, example_inputs=x)
    mapping = observe_floats_alone(ao.get_default_qconfig_mapping("x86"), prepared, x)
    observed = quantize_fx.prepare_fx(prepared, mapping, (x,))
    observed(x)
    assert agreement(model(x), quantize_fx.convert_fx(observed)(x)) > 20


class Gated(nn.Module):
    """In-place SiLU behind a layer, and on what is read again."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.fresh, self.seen, self.plain = nn.SiLU(inplace=True), nn.SiLU(inplace=True), nn.SiLU()

    def forward(self, x):
        x = self.fresh(self.conv(x))
        y = x * 2
        return self.seen(y) + y + self.plain(x)


def test_a_silu_that_writes_into_what_is_read_again_stays():
    model, x = Gated().eval(), torch.randn(2, 3, 4, 4)
    prepared = prepare_for_ao(model, example_inputs=x)
    torch.testing.assert_close(prepared(x), model(x))
    kinds = {name: type(getattr(prepared, name)) for name in ("fresh", "seen", "plain")}
    assert kinds["seen"] is nn.SiLU and kinds["fresh"] is kinds["plain"] is not nn.SiLU


def test_training_aware_of_quantization():
    model, x = network("resnet18")
    prepared = prepare_for_ao(model.train(), example_inputs=x)
    fused = ao.fuse_modules_qat(prepared, fusable_modules(prepared))
    fused.qconfig = ao.get_default_qat_qconfig("x86")
    trained = ao.prepare_qat(fused)
    loss = trained(x).pow(2).sum()
    loss.backward()
    assert all(p.grad is not None for p in trained.parameters())
    assert ao.convert(trained.eval())(x).isfinite().all()


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(4, 8)
        self.attention = nn.MultiheadAttention(8, 2)

    def forward(self, x):
        y, _ = self.lstm(x)
        return self.attention(y, y, y)[0] + y


def test_attention_and_lstm_become_quantizable():
    model, x = Recurrent().eval(), torch.randn(5, 2, 4)
    prepared = prepare_for_ao(model, example_inputs=x)
    prepared.qconfig = ao.get_default_qconfig("x86")
    observed = ao.prepare(prepared)
    observed(x)
    converted = ao.convert(observed)
    assert type(converted.lstm) is torch.ao.nn.quantized.LSTM
    assert type(converted.attention) is torch.ao.nn.quantized.MultiheadAttention
    assert agreement(model(x), converted(x)) > 5


def main():
    """Every CNN of torchvision's classification networks through eager mode, one line each."""
    names = [
        name
        for name in torchvision.models.list_models(module=torchvision.models)
        if not name.startswith(("convnext", "vit", "swin", "maxvit"))  # operations without an int8 kernel
    ]
    for name in sys.argv[1:] or names:
        try:
            print(f"{name:22} {eager_int8(*network(name)):.0f} dB", flush=True)
        except Exception as error:
            print(f"{name:22} {type(error).__name__}: {error}", flush=True)


if __name__ == "__main__":
    main()
