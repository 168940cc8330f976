"""Targets: the classes that stand for operations, and targets of one's own."""

from __future__ import annotations

import copy
import operator

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.ao import quantization as ao

import modulize
from modulize import _core, prepare_model, register_target
from modulize._prepare import targets


class Halved(nn.Module):
    def forward(self, input):
        return torch.relu(input)


class Joined(nn.Module):
    def __init__(self, axis=0):
        super().__init__()
        self.axis = axis

    def forward(self, *tensors):
        return torch.cat(tensors, self.axis)


class Adder(nn.Module):
    def plus(self, input, other):
        return input + other


class Net(nn.Module):
    def forward(self, x):
        y = torch.cat([torch.relu(x), x], 1) + 1
        return y + y


@pytest.fixture
def example():
    return torch.randn(2, 3)


@pytest.fixture(autouse=True)
def _no_target_is_left():
    before = dict(targets._targets)
    yield
    targets._targets.clear()
    targets._targets.update(before)


def test_own_classes_stand_for_operations(example):
    register_target(
        "mine",
        {
            torch.relu: Halved,
            torch.cat: f"{__name__}.Joined[axis=dim](*tensors)",
            operator.add: f"{__name__}.Adder:plus(input: tensor, other: tensor)",
        },
    )
    prepared = prepare_model(Net(), example_inputs=example, target="mine")
    assert type(prepared.module_relu) is Halved
    assert type(prepared.module_cat) is Joined and prepared.module_cat.axis == 1
    assert type(prepared.module_add) is modulize.nn.Add  # of a number
    assert type(prepared.module_add_1) is Adder
    assert [c["path"] for c in prepared.report.fallbacks] == ["module_add"]
    assert torch.equal(prepared(example), Net()(example))
    other = torch.randn(5, 3)
    assert torch.equal(prepared(other), Net()(other))


def test_a_call_that_a_target_leaves_stays(example):
    register_target("sparing", {"torch.relu": "-"})
    prepared = prepare_model(Net(), example_inputs=example, target="sparing")
    assert not hasattr(prepared, "module_relu") and hasattr(prepared, "module_cat")


def test_names_and_presets_belong_to_the_target(example):
    met = []
    register_target(
        "named", {}, names="aimet", shared_parameters="copy", finish=lambda prepared, *example: met.append(example)
    )

    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 3)

        def forward(self, x):
            return (self.fc(self.fc(x)) / 2).sum()

    prepared = prepare_model(Shared(), example_inputs=example, target="named")
    assert prepared.module_fc_1.weight is not prepared.fc.weight
    assert hasattr(prepared, "module_truediv") and hasattr(prepared, "module_sum_1")
    ((args, kwargs),) = met
    assert args[0] is example and kwargs == {}
    tied = prepare_model(Shared(), example_inputs=example, target="named", shared_parameters="tie")
    assert tied.module_fc_1.weight is tied.fc.weight


def test_an_inexact_target_is_compared_to_rounding():
    register_target("soft", {torch.relu: "torch.nn.Softplus(input)"}, exact=False)

    class Relu(nn.Module):
        def forward(self, x):
            return torch.relu(x)

    assert prepare_model(Relu(), example_inputs=torch.full((2,), 11.0), target="soft").report.largest_difference > 0
    with pytest.raises(modulize.VerificationError):
        prepare_model(Relu(), example_inputs=torch.zeros(2), target="soft")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("aimet", {}), "another name"),
        (("", {}), "name must be a text"),
        (("t", {torch.tensor: nn.ReLU}), "no operation of the table is called torch.tensor"),
        (("t", {torch.relu: "torch.nn.ReLU(x)"}), "no parameter 'x'"),
        (("t", {torch.relu: "torch.nn.Nothing(input)"}), "Nothing"),
        (("t", {torch.relu: 3}), "must be a subclass of torch.nn.Module"),
        (("t", {3: nn.ReLU}), "an operation is a function"),
        (("t", [nn.ReLU]), "classes must be a dict"),
    ],
)
def test_what_cannot_be_registered_is_said(arguments, message):
    with pytest.raises(modulize.ModulizeError, match=message):
        register_target(*arguments)


def test_a_missing_package_is_one_line(example, monkeypatch):
    monkeypatch.setattr(targets.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(modulize.UnsupportedError, match=r"needs aimet_torch, which is not installed: pip install") as e:
        prepare_model(Net(), example_inputs=example, target="aimet")
    assert "\n" not in str(e.value)


def test_an_unknown_target_is_refused(example):
    with pytest.raises(modulize.ArgumentError, match=r"target must be one of torch, aimet, torch.ao, brevitas"):
        prepare_model(Net(), example_inputs=example, target="nothing")


def called(model, example, target):
    captured = _core.capture(model, example_inputs=(example,))
    return str(_core.pipeline(captured, target=target))


def test_torch_ao_calls_methods_of_float_functionals(example):
    text = called(Net(), example, "torch.ao")
    assert text.count("torch.ao.nn.quantized.FloatFunctional()") == 3
    assert "call_method add_scalar(" in text and "call_method cat(" in text


def test_plain_outputs_that_can_be_traced(example):
    class Mixed(nn.Module):
        def forward(self, x):
            y = F.relu(x)
            return y, {"boxes": y, "features": [y, x], "count": 3, "none": None}

    from modulize._runtime.plain_outputs import traceable

    first, (boxes, features) = traceable(Mixed()(example))
    assert boxes is first and len(features) == 2
    torch.jit.trace(lambda x: traceable(Mixed()(x)), example)


def test_a_trace_of_a_prepared_model_keeps_its_checks(example):
    class Optional(nn.Module):
        def forward(self, x, scale=None):
            return torch.relu(x) if scale is None else x * scale

    traced = torch.fx.symbolic_trace(prepare_model(Optional(), example_inputs=example))
    assert torch.equal(traced(example), torch.relu(example))
    with pytest.raises(modulize.AssumptionError, match="scale"):
        traced(example, 2)


class Asking(nn.Module):
    """What the stand-ins of torch.fx cannot answer: its own trace stops at each of these."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x, **kwargs):
        x = F.relu(self.fc(x))
        mask = torch.zeros(x.shape, device=x.device)
        mask[1:, : x.shape[1] // 2] = 1
        first, second = x.chunk(2, 1)
        y = torch.cat([second, first], 1) * mask
        return y + 1 if y.sum() > 0 else y - 1


@pytest.mark.parametrize("copied", [False, True])
def test_torch_fx_traces_what_it_cannot_trace_itself(copied):
    model, x = Asking().eval(), torch.randn(3, 4)
    prepared = prepare_model(model, example_inputs=x)
    with pytest.raises(Exception, match="item assignment"):
        torch.fx.symbolic_trace(model)
    traced = torch.fx.symbolic_trace(copy.deepcopy(prepared) if copied else prepared)
    for value in (x, -x, torch.zeros(3, 4)):
        assert torch.equal(traced(value), model(value))
    assert {"fc", "module_relu"} <= {node.target for node in traced.graph.nodes if node.op == "call_module"}

    class Around(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = prepared

        def forward(self, x):
            return self.inner(x * 2)

    assert torch.equal(torch.fx.symbolic_trace(Around())(x), model(x * 2))


class Moody(nn.Module):
    def forward(self, x):
        if not self.training:
            return torch.relu(x)
        return torch.tanh(x)


def test_a_trace_follows_the_mode_of_a_model_in_training():
    x = torch.randn(2, 3)
    prepared = prepare_model(Moody().eval(), example_inputs=x)
    assert "module_relu" in str(torch.fx.symbolic_trace(prepared).graph)
    traced = torch.fx.symbolic_trace(prepared.train())
    assert torch.equal(traced(x), torch.tanh(x))
    assert torch.equal(traced.eval()(x), torch.relu(x))


class Keywords(nn.Module):
    """Borders of every kind: keyword inputs, integers, outputs in containers."""

    def __init__(self):
        super().__init__()
        self.table, self.norm = nn.Embedding(5, 3), nn.BatchNorm1d(3)

    def forward(self, x, *, tokens, scale):
        y = self.norm(x * scale) + self.table(tokens)
        return {"y": y, "best": y.argmax(1), "all": [x, (y * 2,)]}


def test_torch_ao_has_stubs_at_the_floating_borders_alone(example):
    keywords = {"tokens": torch.tensor([1, 4]), "scale": torch.randn(2, 3)}
    prepared = prepare_model(Keywords(), example_inputs=example, example_kwargs=keywords, target="torch.ao")
    given = {node.args[0].name for node in prepared.graph.nodes if str(node.target).startswith("quant")}
    assert given == {"x", "scale"}
    assert prepared.norm.num_batches_tracked == 0  # nothing is left of the runs
    prepared.eval().qconfig = ao.get_default_qconfig("x86")
    prepared.table.qconfig = None
    prepared.norm.qconfig = None
    observed = ao.prepare(prepared)
    observed(example, **keywords)
    stubs = [type(module) for path, module in ao.convert(observed).named_modules() if path.startswith("dequant")]
    assert stubs == [torch.ao.nn.quantized.DeQuantize] * 3
    assert prepared(example, **keywords)["best"].dtype == torch.int64
