"""`plain_outputs=True`: tensors in tuples, lists and dicts, whatever classes forward returns."""

import collections
import dataclasses
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn

from modulize import UnsupportedError, prepare_model

transformers = pytest.importorskip("transformers")


@dataclasses.dataclass
class Scores:
    logits: torch.Tensor
    hidden: Any = None


class Pair(NamedTuple):
    first: Any
    second: Any


class Record:
    def __init__(self, **state):
        self.__dict__.update(state)


class Returns(nn.Module):
    def __init__(self, make):
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.make = make

    def forward(self, x):
        return self.make(self.fc(x))


def _cache(x):
    cache = transformers.DynamicCache()
    for layer in range(2):
        cache.update(x[:, None] + layer, x[:, None] * 2, layer)
    return cache


def _in_a_circle(x):
    record = Record(x=x)
    record.me = record
    return record


X = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(1))
TENSOR = None

CASES = {
    "tensor": (lambda x: x, TENSOR),
    "tuple": (lambda x: (x, x), (TENSOR, TENSOR)),
    "list": (lambda x: [x], [TENSOR]),
    "number": (lambda x: (x, x.shape[0], "text", None), (TENSOR, 2, "text", None)),
    "named tuple": (lambda x: Pair(x, x), (TENSOR, TENSOR)),
    "torch's own": (lambda x: x.max(1), (TENSOR, TENSOR)),
    "deque": (lambda x: collections.deque([x], 3), [TENSOR]),
    "ordered dict": (lambda x: collections.OrderedDict(a=x), {"a": TENSOR}),
    "dataclass": (lambda x: Scores(x), {"logits": TENSOR}),
    "dataclass in full": (lambda x: Scores(x, (x, x)), {"logits": TENSOR, "hidden": (TENSOR, TENSOR)}),
    "nested": (lambda x: [Scores(x, {"a": Pair(x, Scores(x))})],
               [{"logits": TENSOR, "hidden": {"a": (TENSOR, {"logits": TENSOR})}}]),
    "object": (lambda x: Record(value=x, name="a", rows=[x]), {"value": TENSOR, "rows": [TENSOR]}),
    "model output": (
        lambda x: transformers.modeling_outputs.BaseModelOutput(last_hidden_state=x, attentions=(x,)),
        {"last_hidden_state": TENSOR, "attentions": (TENSOR,)},
    ),
    "cache": (_cache, ((TENSOR, TENSOR), (TENSOR, TENSOR))),
    "model output with a cache": (
        lambda x: transformers.modeling_outputs.BaseModelOutputWithPast(last_hidden_state=x, past_key_values=_cache(x)),
        {"last_hidden_state": TENSOR, "past_key_values": ((TENSOR, TENSOR), (TENSOR, TENSOR))},
    ),
    "caches of encoder and decoder": (
        lambda x: transformers.EncoderDecoderCache(_cache(x), _cache(x)),
        {name: ((TENSOR, TENSOR),) * 2 for name in ("self_attention_cache", "cross_attention_cache")},
    ),
}  # fmt: skip


def shape_of(value):
    """The containers alone, their classes compared exactly."""
    if isinstance(value, torch.Tensor):
        return TENSOR
    if type(value) is dict:
        return {key: shape_of(item) for key, item in value.items()}
    if type(value) in (tuple, list):
        return type(value)(shape_of(item) for item in value)
    assert value is None or type(value) in (int, str), f"{type(value)} is not plain"
    return value


def tensors_of(value):
    if isinstance(value, torch.Tensor):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, (tuple, list)) else ()
    return [tensor for item in items for tensor in tensors_of(item)]


@pytest.mark.parametrize("case", CASES)
def test_outputs_are_plain(case):
    make, expected = CASES[case]
    model = Returns(make).eval()
    prepared = prepare_model(model, example_inputs=X, plain_outputs=True)
    for rows in (2, 5):
        x = torch.randn(rows, 3, 4)
        output = prepared(x)
        if case != "number":
            assert shape_of(output) == expected
        h = model.fc(x)
        assert all(tensor.shape[0] == rows for tensor in tensors_of(output))
        assert any(torch.equal(tensor, tensors_of(make(h))[0]) for tensor in tensors_of(output)) if case in (
            "tensor", "tuple", "list", "number", "ordered dict"
        ) else tensors_of(output)  # fmt: skip


@pytest.mark.parametrize("case", ["dataclass", "named tuple", "ordered dict", "nested"])
def test_without_inputs(case):
    make, expected = CASES[case]
    model = Returns(make).eval()
    output = prepare_model(model, plain_outputs=True)(X)
    assert shape_of(output) == expected
    assert all(torch.equal(tensor, model.fc(X)) for tensor in tensors_of(output))


@pytest.mark.parametrize("case", ["dataclass", "model output", "cache"])
def test_traces(case):
    prepared = prepare_model(Returns(CASES[case][0]).eval(), example_inputs=X, plain_outputs=True)
    if case != "cache":
        prepared = nn.Sequential(prepared, First())
    traced = torch.jit.trace(prepared, (X,), check_trace=False)
    for expected, actual in zip(tensors_of(prepared(X)), tensors_of(traced(X)), strict=True):
        assert torch.equal(expected, actual)


class First(nn.Module):
    def forward(self, output):
        return next(iter(output.values()))


def test_what_contains_itself_is_refused():
    with pytest.raises(UnsupportedError, match=r"the output\.me contains itself, and so cannot be plain"):
        prepare_model(Returns(_in_a_circle).eval(), example_inputs=X, plain_outputs=True)


def test_without_the_option_classes_stay():
    assert type(prepare_model(Returns(Scores).eval(), example_inputs=X)(X)) is Scores


def test_a_model_of_transformers():
    config = transformers.GPT2Config(n_layer=2, n_head=2, n_embd=16, vocab_size=40, n_positions=32)
    model = transformers.GPT2LMHeadModel(config).eval()
    ids = torch.arange(8).view(1, 8)
    prepared = prepare_model(model, example_kwargs={"input_ids": ids}, plain_outputs=True)
    output = prepared(input_ids=ids)
    expected = model(input_ids=ids)
    assert type(output) is dict and set(output) == {"logits", "past_key_values"}
    assert torch.equal(output["logits"], expected.logits)
    assert len(output["past_key_values"]) == 2
    for (keys, values), layer in zip(output["past_key_values"], expected.past_key_values.layers, strict=True):
        assert torch.equal(keys, layer.keys) and torch.equal(values, layer.values)
