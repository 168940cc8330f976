"""Control flow on tensor values: both sides are captured and prepared; the model decides as the original does."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from modulize import AssumptionError, CaptureError, prepare_model


def net(forward, *children):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4)
            self.other = nn.Linear(4, 4)
            for i, child in enumerate(children):
                self.add_module(f"child{i}", child)

    Net.forward = forward
    torch.manual_seed(0)
    return Net().eval()


def if_else(self, x):
    y = self.fc(x)
    if y.sum() > 0:  # noqa: SIM108
        y = F.relu(y) * 2
    else:
        y = self.other(y) - 1
    return y + 1


def ternary(self, x):
    return (x.exp() if x.mean() > 0 else x.abs()) + self.fc(x)


def conjunction(self, x):
    if (x.max() > 0 and x.min() < 0) or (x > 3).all():
        x = x * 2
    return self.fc(x)


def early_exit(self, x):
    if x.sum() > 0:
        return self.fc(x)
    x = F.relu(x)
    if x.max() > 1:
        return x
    return self.other(x) * 3


def nested(self, x):
    if x.sum() > 0:
        x = self.fc(x)
        if x.max() > 0.5:
            x = x - x.max()
            if x.mean() > -1:
                x = x.tanh()
    else:
        if x.min() < -1:
            x = x.sigmoid()
    return x + 1


def repeated(self, x):
    for i in range(4):
        if x[0, i] > 0:
            x = x + i
    return self.fc(x)


def none_or_mask(self, x):
    mask = x > 0
    if mask.all():
        mask = None
    y = self.fc(x)
    return y if mask is None else y.masked_fill(~mask, -1.0)


def a_number_that_another_decision_uses(self, x):
    k = 2 if x[0, 0] > 0 else 3
    if x[0, 1] > 0:
        x = x * k
    return x


def item(self, x):
    if x.sum().item() > 1.5:
        return x.exp()
    return x - 1


def of_a_value_in_python(self, x):
    return self.fc(x) * (1 if bool((x > 0).any()) else 5)


def swapped(self, x):
    a, b = self.fc(x), self.other(x)
    if a.sum() > b.sum():
        a, b = b, a
    return a - 2 * b


BRANCHES = [
    if_else,
    ternary,
    conjunction,
    early_exit,
    nested,
    repeated,
    none_or_mask,
    a_number_that_another_decision_uses,
    item,
    of_a_value_in_python,
    swapped,
]


def values():
    generator = torch.Generator().manual_seed(3)
    for scale in (0.1, 1.0, 5.0):
        for shift in (-3.0, -0.5, 0.0, 0.5, 3.0):
            for rows in (1, 2, 5):
                yield torch.randn(rows, 4, generator=generator) * scale + shift


@pytest.mark.parametrize("capture", ["run", "symbolic"])
@pytest.mark.parametrize("forward", BRANCHES, ids=lambda f: f.__name__)
def test_both_sides_are_the_originals(forward, capture):
    model = net(forward)
    for example in (torch.ones(2, 4), -torch.ones(2, 4), torch.randn(3, 4)):
        try:
            prepared = prepare_model(model, **({"example_inputs": example} if capture == "run" else {}))
        except CaptureError:
            assert capture == "symbolic" and forward is item  # the number itself is asked for
            return
        for x in values():
            assert torch.equal(prepared(x), model(x))


@pytest.mark.parametrize("forward", [if_else, nested], ids=lambda f: f.__name__)
def test_operations_of_both_sides_are_modules(forward):
    prepared = prepare_model(net(forward), example_inputs=torch.ones(2, 4))
    assert prepared.report.leftovers == []
    assert [k for k in prepared.report.kept] == []


def test_modules_of_a_branch_stand_in_the_tree():
    prepared = prepare_model(net(if_else), example_inputs=torch.ones(2, 4))
    names = dict(prepared.named_modules())
    assert isinstance(names["module_relu"], nn.ReLU)
    assert {"module_mul", "module_sub", "module_add", "module_branch"} <= set(names)
    prepared.module_relu = nn.Identity()  # what a quantization tool does
    x = torch.ones(2, 4)
    y = prepared.fc(x)
    assert torch.equal(prepared(x), y * 2 + 1 if y.sum() > 0 else prepared.other(y) - 1 + 1)


class Pickled(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)

    forward = nested


def test_state_and_copies():
    model = Pickled().eval()
    prepared = prepare_model(model, example_inputs=torch.ones(2, 4))
    assert list(prepared.state_dict()) == list(model.state_dict())
    assert [n for n, _ in prepared.named_parameters()] == [n for n, _ in model.named_parameters()]
    for copied in (
        copy.deepcopy(prepared),
        pickle.loads(pickle.dumps(prepared)),
        copy.deepcopy(copy.deepcopy(prepared)),
    ):
        for x in values():
            assert torch.equal(copied(x), model(x))
        with torch.no_grad():
            copied.fc.weight.mul_(-1)
        x = torch.ones(2, 4)
        assert not torch.equal(copied(x), prepared(x))


def test_the_torch_fx_graph_computes_the_same():
    model = net(nested)
    prepared = prepare_model(model, example_inputs=torch.ones(2, 4))
    prepared.graph.lint()
    for x in values():
        assert torch.equal(torch.fx.Interpreter(prepared).run(x), model(x))
    prepared.recompile()
    for x in values():
        assert torch.equal(prepared(x), model(x))


def test_gradients_flow_through_the_side_that_runs():
    model = net(if_else)
    prepared = prepare_model(copy.deepcopy(model), example_inputs=torch.ones(2, 4))
    for x in values():
        for m in (model, prepared):
            m.zero_grad()
            m(x).sum().backward()
        for (name, p), (_, q) in zip(model.named_parameters(), prepared.named_parameters()):
            assert (p.grad is None) == (q.grad is None), name
            assert p.grad is None or torch.equal(p.grad, q.grad), name


def test_unpacking_a_tensor_decides_nothing():
    class Unpacks(nn.Module):
        def forward(self, x):
            a, b = x.relu()
            return a + b

    prepared = prepare_model(Unpacks(), example_inputs=torch.randn(2, 3))
    assert prepared.report.assumptions == []
    assert [node.target for node in prepared.graph.nodes if node.op == "call_method"] == ["unbind"]
    with pytest.raises(IndexError, match="no dimensions"):
        prepared(torch.tensor(1.0))


def test_an_assertion_stays_one():
    def forward(self, x):
        assert (x > -10).all(), "too small"
        if x.max() > 10:
            raise ValueError("too large")
        return self.fc(x)

    model = net(forward)
    for capture in ({"example_inputs": torch.ones(2, 4)}, {}):
        prepared = prepare_model(model, **capture)
        assert torch.equal(prepared(torch.zeros(3, 4)), model(torch.zeros(3, 4)))
        with pytest.raises(AssertionError, match="too small"):
            prepared(torch.full((2, 4), -11.0))
        with pytest.raises(ValueError, match="too large"):
            prepared(torch.full((2, 4), 11.0))


def test_a_side_that_cannot_run_on_the_example_is_an_assumption():
    def forward(self, x):
        if x.sum() < 0:
            return x @ torch.ones(7, 7)
        return self.fc(x)

    prepared = prepare_model(net(forward), example_inputs=torch.ones(2, 4))
    with pytest.raises(AssumptionError, match="test_control_flow"):
        prepared(-torch.ones(2, 4))


def until_large(self, x):
    while x.sum() < 10:
        x = x + 1
    return x


def test_a_loop_on_values_is_kept_whole():
    model = net(lambda self, x: self.fc(self.child0(x)), net(until_large))
    prepared = prepare_model(model, example_inputs=torch.ones(2, 4))
    assert [k["what"] for k in prepared.report.kept] == ["child0"]
    for x in values():
        assert torch.equal(prepared(x), model(x))


def test_a_loop_on_values_in_the_root_runs_as_it_is_and_computes_in_modules():
    model = net(until_large)
    prepared = prepare_model(model, example_inputs=torch.ones(2, 4))
    assert [k["what"] for k in prepared.report.kept] == [""]
    assert "a loop" in prepared.report.kept[0]["reason"]
    for x in values():
        assert torch.equal(prepared(x), model(x))
    assert {type(m).__name__ for n, m in prepared.named_children() if n.startswith("module_")} >= {"Add", "Sum"}


def test_on_dynamic():
    model = net(if_else)
    x = torch.ones(2, 4)
    with pytest.raises(CaptureError, match="control flow"):
        prepare_model(model, example_inputs=x, on_dynamic="error")
    special = prepare_model(model, example_inputs=x, on_dynamic="specialize")
    assert torch.equal(special(x), model(x))
    assert any("decision on a value" in text for text in special.report.assumptions)
    outer = net(lambda self, x: self.fc(self.child0(x)), model)
    kept = prepare_model(outer, example_inputs=x, on_dynamic="keep")
    assert [k["what"] for k in kept.report.kept] == ["child0"]
    for x in values():
        assert torch.equal(kept(x), outer(x))


def test_specialised_decisions_beside_those_by_the_mode():
    def forward(self, x):
        if x.sum() > 0:
            x = x * 2
        return F.dropout(self.fc(x), 0.5) if self.training else self.fc(x)

    model = net(forward)
    x = torch.ones(2, 4)
    prepared = prepare_model(model, example_inputs=x, on_dynamic="specialize")
    assert torch.equal(prepared(x), model(x))
    with pytest.raises(AssumptionError, match="decision on a value"):
        prepared(-x)
    prepared.train(), model.train()
    outputs = []
    for module in (model, prepared):
        torch.manual_seed(1)
        outputs.append(module(x))
    assert torch.equal(*outputs)


def by_mode(self, x):
    if self.training:
        x = F.dropout(x, 0.5)
    p = 0.3 if self.training else 0.0
    return F.dropout(self.fc(x), p, self.training)


def auxiliary(self, x):
    y = self.fc(x)
    return (y, self.other(x)) if self.training else y


def by_mode_and_value(self, x):
    if self.training and x.sum() > 0:
        x = x * 2
    if x.max() > 1:
        x = x - (3 if self.training else 4)
    return self.fc(x)


@pytest.mark.parametrize("capture", ["run", "symbolic"])
@pytest.mark.parametrize("prepared_in", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("forward", [by_mode, auxiliary, by_mode_and_value], ids=lambda f: f.__name__)
def test_both_modes_are_captured(forward, prepared_in, capture):
    model = net(forward).train(prepared_in)
    prepared = prepare_model(model, **({"example_inputs": torch.ones(2, 4)} if capture == "run" else {}))
    for training in (True, False, True):
        for x in values():
            torch.manual_seed(5)
            expected = model.train(training)(x)
            torch.manual_seed(5)
            got = prepared.train(training)(x)
            for a, b in zip(
                got if training and forward is auxiliary else (got,),
                expected if training and forward is auxiliary else (expected,),
            ):
                assert torch.equal(a, b)


def test_the_mode_of_the_very_module_decides():
    block = net(lambda self, x: x * 2 if self.training else x + 1)
    model = net(lambda self, x: self.fc(self.child0(x)) * (3 if self.training else 1), block)
    prepared = prepare_model(model, example_inputs=torch.ones(2, 4))
    for root in (True, False):
        for child in (True, False):
            for m in (model, prepared):
                m.train(root)
                m.child0.train(child)
            x = torch.randn(2, 4)
            assert torch.equal(prepared(x), model(x))


def test_a_train_mode_that_cannot_run_on_the_example_raises_when_used():
    class Normalised(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.bn = nn.Linear(4, 4), nn.BatchNorm1d(4)

        def forward(self, x):
            return self.bn(self.fc(x)).relu()

    model, one = Normalised().eval(), torch.ones(1, 4)
    prepared = prepare_model(copy.deepcopy(model), example_inputs=one)
    assert torch.equal(prepared(one), model(one))
    for module in (model, prepared):
        with pytest.raises(ValueError, match="more than 1 value per channel"):
            module.train()(one)
    two = torch.randn(2, 4)
    assert torch.equal(prepared(two), model(two))
    assert torch.equal(prepared.bn.running_mean, model.bn.running_mean)


def test_another_graph_for_a_train_mode_that_cannot_run_on_the_example():
    class Auxiliary(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 5)

        def forward(self, x):
            x = self.conv(x)
            return (x, self.head(x).relu()) if self.training else x.relu()

    model, small = Auxiliary().eval(), torch.ones(1, 1, 3, 3)
    prepared = prepare_model(copy.deepcopy(model), example_inputs=small)
    assert torch.equal(prepared(small), model(small))
    with pytest.raises(RuntimeError, match="Kernel size can't be greater"):
        model.train()(small)
    with pytest.raises(AssumptionError, match=r"the mode \(train or eval\) of the model"):
        prepared.train()(small)
    assert torch.equal(prepared.eval()(small), model.eval()(small))
