"""`idioms=True`: compositions written by hand become the one module that tools know."""

import math
import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import modulize._core as core
import modulize.nn
from modulize import prepare_model

X = torch.randn(2, 3, 5, 8, generator=torch.Generator().manual_seed(1))
WEIGHT = torch.rand(8, generator=torch.Generator().manual_seed(2)) + 0.5


# --- the table -------------------------------------------------------------------------------------


def arguments_of(text):
    """A value for every parameter of an idiom's graph, and the graph with the derived ones written out."""
    values = {}
    for variable, _kind, name in re.findall(r"%(\w+)(: \w+)? = placeholder ([\w.]+)\n", text):
        if name == "w.shape":
            text = text.replace(f"  %{variable} = placeholder {name}\n", "").replace(f"%{variable}", "(8,)")
        elif name == "s.reciprocal":
            text = text.replace(f"  %{variable} = placeholder {name}\n", "").replace(f"%{variable}", repr(1 / 0.3))
        elif name in ("w", "v") and "norm" in text:
            values[name] = WEIGHT.double()
        elif name in ("x", "q", "k", "v"):
            values[name] = torch.randn(2, 3, 5, 8, dtype=torch.double) * 2
        elif name == "m":
            values[name] = torch.randn(5, 5, dtype=torch.double)
        else:
            values[name] = {"eps": 1e-3, "dim": -1, "s": 0.3, "dtype": torch.double}[name]
    return text.replace("torch.float32", "torch.float64"), values


@pytest.mark.parametrize(("name", "text"), core.idioms(), ids=lambda value: value.split()[1] if "{" in value else value)
def test_an_idiom_is_what_it_becomes(name, text):
    text, values = arguments_of(text)
    written, meant = core.materialise_text(text, nn.Module())(**values)
    # The forms of GELU and the hard ones come with constants of few digits.
    torch.testing.assert_close(meant, written, rtol=1e-9, atol=1e-9)


# --- models ----------------------------------------------------------------------------------------


class Calls(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function
        self.weight, self.bias = nn.Parameter(WEIGHT.clone()), nn.Parameter(WEIGHT - 1)

    def forward(self, x):
        return self.function(self, x)


def llama_norm(self, x):
    dtype = x.dtype
    h = x.to(torch.float32)
    variance = h.pow(2).mean(-1, keepdim=True)
    h = h * torch.rsqrt(variance + 1e-6)
    return self.weight * h.to(dtype)


def rms_norm(self, x):
    return x * torch.rsqrt(x.pow(2).mean(dim=-1, keepdim=True) + 1e-6) * self.weight


def layer_norm(self, x):
    mean = x.mean(-1, keepdim=True)
    variance = (x - mean).pow(2).mean(-1, keepdim=True)
    return self.weight * ((x - mean) / torch.sqrt(variance + 1e-5)) + self.bias


def softmax(self, x):
    e = torch.exp(x - x.max(dim=-1, keepdim=True)[0])
    return e / e.sum(dim=-1, keepdim=True)


def attention(self, x):
    return torch.softmax(x @ x.transpose(-2, -1) / math.sqrt(8), dim=-1) @ x


def gelu_new(self, x):
    return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * torch.pow(x, 3.0))))


MODELS = {
    "silu": (lambda self, x: x * torch.sigmoid(x), nn.SiLU),
    "silu, by the method": (lambda self, x: x.sigmoid() * x, nn.SiLU),
    "silu, by the function": (lambda self, x: torch.mul(x, F.sigmoid(x)), nn.SiLU),
    "hard swish": (lambda self, x: x * F.relu6(x + 3) / 6, nn.Hardswish),
    "hard swish, of the quotient": (lambda self, x: x * (F.relu6(x + 3) / 6), nn.Hardswish),
    "hard sigmoid": (lambda self, x: F.relu6(x + 3.0) / 6.0, nn.Hardsigmoid),
    "gelu": (lambda self, x: x * 0.5 * (1.0 + torch.erf(x / math.sqrt(2.0))), nn.GELU),
    "gelu, product first": (lambda self, x: 0.5 * x * (1 + torch.erf(x * 0.7071067811865475)), nn.GELU),
    "gelu by tanh": (gelu_new, nn.GELU),
    "gelu by sigmoid": (lambda self, x: x * torch.sigmoid(1.702 * x), modulize.nn.QuickGELU),
    "rms norm": (rms_norm, nn.RMSNorm),
    "rms norm of Llama": (llama_norm, nn.RMSNorm),
    "layer norm": (layer_norm, nn.LayerNorm),
    "softmax": (softmax, nn.Softmax),
    "normalise": (lambda self, x: x / x.norm(dim=-1, keepdim=True), modulize.nn.Normalize),
    "attention": (attention, modulize.nn.ScaledDotProductAttention),
}


@pytest.mark.parametrize("running", [True, False], ids=["running", "symbolic"])
@pytest.mark.parametrize("case", MODELS)
def test_becomes_one_module(case, running):
    function, expected = MODELS[case]
    model = Calls(function).eval()
    prepared = prepare_model(model, **({"example_inputs": X} if running else {}), idioms=True)
    assert [type(module) for module in prepared.children()] == [expected], prepared.code
    torch.testing.assert_close(prepared(X), model(X), rtol=1e-5, atol=1e-6)
    assert list(prepared.state_dict()) == list(model.state_dict())
    plain = prepare_model(model, **({"example_inputs": X} if running else {}))
    assert expected not in {type(module) for module in plain.children()} or len(list(plain.children())) > 1
    assert torch.equal(plain(X), model(X))


@pytest.mark.parametrize("case", ["rms norm of Llama", "layer norm"])
def test_norms_hold_the_models_own_weight(case):
    model = Calls(MODELS[case][0]).eval()
    prepared = prepare_model(model, example_inputs=X, idioms=True)
    (norm,) = prepared.children()
    assert norm.weight is model.weight
    prepared(X).square().sum().backward()
    own, model.weight.grad = model.weight.grad, None
    model(X).square().sum().backward()
    torch.testing.assert_close(own, model.weight.grad, rtol=1e-4, atol=1e-5)


STAYS = {
    "another tensor": lambda self, x: x * torch.sigmoid(x + 1),
    "another number": lambda self, x: x * F.relu6(x + 2.5) / 6,
    "another exponent": lambda self, x: self.weight * (x * torch.rsqrt(x.pow(4).mean(-1, keepdim=True) + 1e-6)),
    "another dimension": lambda self, x: self.weight * (x * torch.rsqrt(x.pow(2).mean(1, keepdim=True) + 1e-6)),
    "a step that is returned": lambda self, x: (x.sigmoid(), x * x.sigmoid().exp()),
    "softmax over two dimensions": lambda self, x: x.exp() / x.exp().sum((-2, -1), keepdim=True),
    "the unbiased variance": lambda self, x: (
        self.weight * ((x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, keepdim=True) + 1e-5)) + self.bias
    ),
}


@pytest.mark.parametrize("case", STAYS)
def test_what_means_something_else_stays(case):
    model = Calls(STAYS[case]).eval()
    prepared = prepare_model(model, example_inputs=X, idioms=True)
    assert not [c for c in prepared.report.conversions if c["pass"] == "recognise_idioms"]
    expected, actual = (m(X) for m in (model, prepared))
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)


def test_the_report_names_what_was_recognised():
    report = prepare_model(Calls(MODELS["silu"][0]).eval(), example_inputs=X, idioms=True).report
    (found,) = [c for c in report.conversions if c["pass"] == "recognise_idioms"]
    assert (found["from"], found["to"]) == ("SiLU", "torch.nn.functional.silu")
    assert __file__ in found["where"] or "test_idioms.py" in found["where"]


def test_with_attention_decomposed():
    prepared = prepare_model(Calls(attention).eval(), example_inputs=X, idioms=True, decompose_attention=True)
    assert {type(m).__name__ for m in prepared.children()} == {"MatMul", "Multiply", "Softmax"}


def test_norms_of_t5():
    norm = pytest.importorskip("transformers.models.t5.modeling_t5").T5LayerNorm(8)
    model = nn.Sequential(norm).eval()
    prepared = prepare_model(model, example_inputs=X, idioms=True)
    assert type(prepared[0].module_rms_norm) is nn.RMSNorm and prepared[0].module_rms_norm.weight is norm.weight
    torch.testing.assert_close(prepared(X), model(X), rtol=1e-5, atol=1e-6)


def test_a_llama():
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    model = transformers.LlamaModel(config).eval()
    ids = torch.arange(8).view(1, 8)
    prepared = prepare_model(model, example_kwargs={"input_ids": ids}, idioms=True)
    norms = [module for module in prepared.modules() if type(module) is nn.RMSNorm]
    assert len(norms) == 5
    expected, actual = (m(input_ids=ids).last_hidden_state for m in (model, prepared))
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-6)
