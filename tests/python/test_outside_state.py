"""Without inputs: what forward reads outside of the model is never frozen, and is left as it was."""

import itertools
import random
import time

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from modulize import AssumptionError, CaptureError, prepare_model

COUNT = 0
SEEN: list = []
SETTINGS = {"scale": 2.0}
CACHE: dict = {}
LOG: list = []


class Keeper:
    def __init__(self):
        self.calls = 0

    def __call__(self, x):
        self.calls += 1
        return x * self.calls


KEEPER = Keeper()


def scaled(x):
    return x * SETTINGS["scale"]


def counted(x):
    global COUNT
    COUNT += 1
    return x + COUNT


def remembered(x, known=[]):  # noqa: B006 - the mutable default is the point
    known.append(1)
    return x * len(known)


def model(function, **attributes):
    class Net(nn.Module):
        calls = 0

        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4)
            for name, value in attributes.items():
                setattr(self, name, value)

        def forward(self, x):
            return function(self, self.fc(x))

    return Net().eval()


def count_in_the_class(self, x):
    type(self).calls += 1
    return x * self.calls


def keep_the_last(self, x):
    y = x + SEEN[-1] if SEEN else x
    SEEN.append(y)
    return y


@pytest.mark.parametrize(
    ("function", "attributes", "said"),
    [
        (lambda self, x: counted(x), {}, "'COUNT', a global of module"),
        (lambda self, x: remembered(x), {}, "function 'remembered'"),
        (lambda self, x: KEEPER(x), {}, "global 'KEEPER'"),
        (keep_the_last, {}, "global 'SEEN'"),
        (count_in_the_class, {}, "'calls', an attribute of class"),
        (lambda self, x: x * random.random(), {}, "random numbers"),
        (lambda self, x: x * self.own.random(), {"own": random.Random(1)}, "random numbers"),
        (lambda self, x: x * time.time(), {}, "the time"),
        (lambda self, x: x * next(self.steps), {"steps": itertools.count(1)}, r"an iterator \(attribute 'steps'\)"),
        (lambda self, x: x * next(self.steps), {"steps": (float(i) for i in range(9))}, "an iterator"),
    ],
)
def test_what_the_next_call_finds_otherwise_is_refused(function, attributes, said):
    before = COUNT, list(SEEN), KEEPER.calls, list(remembered.__defaults__[0]), random.getstate()
    net = model(function, **attributes)
    with pytest.raises(CaptureError, match=f"depends on what is not of the model.*{said}.*give example_inputs"):
        prepare_model(net)
    assert (COUNT, SEEN, KEEPER.calls, remembered.__defaults__[0], random.getstate()) == before
    assert type(net).calls == 0


def cached(self, x):
    if "table" not in CACHE:
        CACHE["table"] = 3.0
    return x * CACHE["table"]


def logged(self, x):
    LOG.append(time.perf_counter())
    return F.relu(scaled(x))


@pytest.mark.parametrize("function", [cached, logged])
def test_what_changes_nothing_is_no_reason(function):
    net, x = model(function), torch.randn(2, 4)
    prepared = prepare_model(net)
    assert (CACHE, LOG) == ({}, [])
    assert torch.equal(prepared(x), net(x))
    CACHE.clear()
    LOG.clear()


@pytest.mark.parametrize(("function", "captures"), [(lambda self, x: scaled(x), 1), (cached, 2)])
def test_only_what_is_written_takes_another_capture(function, captures, capsys):
    def told(self, x):
        print("forward")
        return function(self, x)

    prepare_model(model(told))
    assert capsys.readouterr().out.split() == ["forward"] * captures


def test_an_error_of_the_models_own_is_unchanged_and_one_of_symbols_says_so():
    def refuse(self, x):
        raise KeyError("the model's own")

    with pytest.raises(KeyError, match="the model's own"):
        prepare_model(model(refuse))
    with pytest.raises(NameError, match="undefined_name"):
        prepare_model(model(lambda self, x: undefined_name(x)))  # noqa: F821
    with pytest.raises(CaptureError, match=r"symbols.*KeyError at .*state\.py:\d+: .rows .*example_inputs"):
        prepare_model(model(lambda self, x: {}[f"rows {x.shape[0]}"]))
    with pytest.raises(CaptureError, match=r"TypeError at .*test_outside_state\.py:\d+"):
        prepare_model(model(lambda self, x: x + torch.rand(x.shape[0], 1)))


@pytest.mark.parametrize(
    "ask",
    [
        lambda x: str(x.shape[0]) == "2",
        lambda x: f"{x.dtype}" in ("torch.float32", "torch.float64"),
        lambda x: {"2": 1}.get(str(x.shape[0])),
        lambda x: str(x.dtype).endswith("32"),
        lambda x: "16" in str(x.dtype),
    ],
)
def test_decisions_by_the_text_of_a_symbol_are_refused(ask):
    with pytest.raises(CaptureError, match=r"a text made of a symbolic value.*test_outside_state\.py:\d+"):
        prepare_model(model(lambda self, x: x * 2 if ask(x) else x))


def test_texts_of_symbols_in_messages_are_fine():
    def told(self, x):
        torch._assert(x.shape[1] == 4, f"{x.shape[1]}")
        message = str(x.shape) + " and " + f"{x.dtype} of {x.shape[0]}"
        if x.shape[1] != 4:
            raise ValueError(message)
        return F.relu(x)

    net, x = model(told), torch.randn(2, 4)
    assert torch.equal(prepare_model(net)(x), net(x))


def test_the_type_of_a_symbol_is_a_tensor_s_and_checked():
    def kind(self, x):
        size = x.shape[0]
        if isinstance(type(self), type) and type(x) is tuple:
            x = x[0]
        return x * 2 if type(size) is int else x

    net = model(lambda self, x: F.relu(x) if type(x) is not list else x)
    x = torch.randn(2, 4)
    assert torch.equal(prepare_model(net)(x), net(x))
    with pytest.raises(AssumptionError, match=r"type\(\) is asked at .*test_outside_state\.py"):
        prepare_model(model(kind))(x)
    assert type(x) is torch.Tensor
    assert "type" not in globals()
