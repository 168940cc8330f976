"""Modules among the arguments of forward: the prepared model calls the module that it is given."""

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from modulize import AssumptionError, prepare_model

X = torch.linspace(-1, 1, 24).reshape(4, 6)


def model(function, **attributes):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            for name, value in attributes.items():
                setattr(self, name, value)

    Net.forward = function
    return Net().eval()


class Scaled(nn.Module):
    """A module of a user's with weights, a child, a number, a text, a list and a count of its calls."""

    def __init__(self, scale=2.0, bias=True):
        super().__init__()
        self.proj = nn.Linear(6, 6, bias=bias)
        self.weight = nn.Parameter(torch.rand(6))
        self.scale = scale
        self.kind = "a"
        self.sizes = [1, 2]
        self.calls = 0
        self.register_buffer("mean", torch.rand(6))

    def forward(self, x, factor=1.0):
        self.calls += 1
        return self.proj(x) * self.weight * self.scale * factor + self.calls


@dataclass
class Heads:
    first: nn.Module
    rest: list[nn.Module] = field(default_factory=list)
    scale: float = 1.0


def same(prepared, reference, *args, **kwargs):
    torch.testing.assert_close(prepared(*args, **kwargs), reference(*args, **kwargs), rtol=0, atol=0)


def two(make):
    """The module for the example, and another one for a call."""
    return make(), make()


LINEAR = lambda: nn.Linear(6, 6)  # noqa: E731


@pytest.mark.parametrize(
    "make",
    [LINEAR, lambda: nn.Sequential(nn.Linear(6, 6), nn.ReLU()), nn.ReLU],
    ids=["layer", "sequence", "no weights"],
)
def test_the_module_that_is_given_is_called(make):
    net = model(lambda self, x, head: head(x).relu())
    example, other = two(make)
    prepared = prepare_model(net, example_inputs=(X, example))
    for head in (example, other, example):
        same(prepared, net, X, head)
        same(prepared, net, torch.randn(2, 6), head)
    assert any(type(m) is nn.ReLU for m in prepared.children())
    assert list(prepared.state_dict()) == []


def test_by_keyword_and_by_default():
    default = nn.Linear(6, 6)

    def forward(self, x, *, head=default):
        return head(x) * 2

    net = model(forward)
    for example in ({}, {"head": nn.Linear(6, 6)}):
        prepared = prepare_model(net, example_inputs=X, example_kwargs=example)
        same(prepared, net, X)
        same(prepared, net, X, head=nn.Linear(6, 6))


def test_none_in_place_of_a_module_is_an_assumption():
    net = model(lambda self, x, head=None: x if head is None else head(x))
    prepared = prepare_model(net, example_inputs=(X, nn.Linear(6, 6)))
    same(prepared, net, X, nn.Linear(6, 6))
    with pytest.raises(AssumptionError, match="argument 'head'"):
        prepared(X)


@pytest.mark.parametrize(
    ("call", "pack"),
    [
        (lambda x, heads: heads[1](heads[0](x)), lambda a, b: [a, b]),
        (lambda x, heads: heads["b"](heads["a"](x)), lambda a, b: {"a": a, "b": b}),
        (lambda x, heads: heads.rest[0](heads.first(x)) * heads.scale, lambda a, b: Heads(a, [b])),
        (lambda x, heads: [h(x) for h in heads["all"]][1], lambda a, b: {"all": (a, b)}),
    ],
    ids=["list", "dict", "dataclass", "nested"],
)
def test_in_containers(call, pack):
    net = model(lambda self, x, heads: call(x, heads).relu())
    prepared = prepare_model(net, example_inputs=(X, pack(nn.Linear(6, 6), nn.Linear(6, 6))))
    same(prepared, net, X, pack(nn.Linear(6, 6), nn.Linear(6, 6)))


def test_in_a_set_they_have_no_place_so_that_all_is_kept():
    net = model(lambda self, x, heads: next(iter(heads))(x))
    prepared = prepare_model(net, example_inputs=(X, {nn.Linear(6, 6)}))
    same(prepared, net, X, {nn.Linear(6, 6)})


def test_weights_of_its_own_stay_its_own():
    net = model(lambda self, x, head: head(x).sigmoid())
    example, other = two(Scaled)
    before = {name: t.clone() for name, t in example.state_dict().items()}
    prepared = prepare_model(net, example_inputs=(X, example))
    assert all(torch.equal(before[name], t) for name, t in example.state_dict().items())
    assert example.calls == 0 and not any(hasattr(p, "_modulize") for p in example.parameters())
    prepared(X, other).sum().backward()
    assert other.proj.weight.grad is not None and example.proj.weight.grad is None
    assert list(prepared.parameters()) == []


def test_called_twice():
    net = model(lambda self, x, head: head(head(x).relu(), factor=0.5))
    prepared = prepare_model(net, example_inputs=(X, Scaled()))
    first, second = two(Scaled)
    second.load_state_dict(first.state_dict())
    for _ in range(2):  # it counts its calls
        assert torch.equal(prepared(X, first), net(X, second))
    assert first.calls == second.calls == 4


def test_one_module_given_twice_is_an_assumption():
    net = model(lambda self, x, a, b: a(x) + b(x) * (2 if a is b else 3))
    head = nn.Linear(6, 6)
    prepared = prepare_model(net, example_inputs=(X, head, head))
    other = nn.Linear(6, 6)
    same(prepared, net, X, other, other)
    with pytest.raises(AssumptionError, match="argument 'b' is the module of argument 'a'"):
        prepared(X, head, other)


def test_another_class_is_refused():
    net = model(lambda self, x, head: head(x) * (2 if isinstance(head, nn.Linear) else 3))
    prepared = prepare_model(net, example_inputs=(X, nn.Linear(6, 6)))
    with pytest.raises(AssumptionError, match=r"argument 'head' was a Linear .* and is a Sequential"):
        prepared(X, nn.Sequential(nn.Linear(6, 6)))


# --- what is read from it --------------------------------------------------------------------------------------------

READS = {
    "parameter": lambda x, head: F.linear(x, head.proj.weight) * head.weight,
    "buffer": lambda x, head: x - head.mean,
    "child": lambda x, head: head.proj(x).relu(),
    "forward by name": lambda x, head: head.forward(x),
    "shape": lambda x, head: x * head.weight.shape[0],
    "all parameters": lambda x, head: sum([p.sum() for p in head.parameters()], x),
    "all children": lambda x, head: next(child(x) for child in head.children()),
    "state": lambda x, head: x * head.state_dict()["mean"],
}


@pytest.mark.parametrize("read", READS)
def test_what_is_read_is_that_of_the_module_given(read):
    net = model(lambda self, x, head: READS[read](x, head) + 1)
    example, other = two(Scaled)
    prepared = prepare_model(net, example_inputs=(X, example))
    for head in (other, example):
        head.calls = 0
        actual, head.calls = prepared(X, head), 0
        assert torch.equal(actual, net(X, head))


def changed(name, value):
    head = Scaled()
    setattr(head, name, value)
    return head


DECISIONS = {
    "number": (lambda x, head: x * head.scale, changed("scale", 3.0), "argument 'head'.scale was 2.0"),
    "text": (lambda x, head: x * 2 if head.kind == "a" else x, changed("kind", "b"), "argument 'head'.kind was 'a'"),
    "list": (lambda x, head: x * len(head.sizes), changed("sizes", [1]), r"argument 'head'.sizes\[1\]"),
    "mode": (lambda x, head: x * 2 if head.training else x, Scaled().eval(), "argument 'head'.training was True"),
    "missing": (
        lambda x, head: x * getattr(head, "extra", 1),
        changed("extra", 2),
        "whether argument 'head' has an attribute 'extra'",
    ),
    "names": (lambda x, head: x * len(list(head.children())), changed("more", nn.ReLU()), "the names in argument"),
    "none": (
        lambda x, head: x * 2 if head.proj.bias is None else x,
        Scaled(bias=False),
        "argument 'head'.proj.bias was a tensor .* and is None",
    ),
}


@pytest.mark.parametrize("decision", DECISIONS)
def test_what_python_decides_by_is_an_assumption_that_says_so(decision):
    function, other, message = DECISIONS[decision]
    net = model(lambda self, x, head: function(x, head).relu())
    prepared = prepare_model(net, example_inputs=(X, Scaled()))
    same(prepared, net, X, Scaled())
    with pytest.raises(AssumptionError, match=message):
        prepared(X, other)


def sets_scale(x, head):
    head.scale = head.scale + 1
    return head(x)


WRITES = {
    "attribute": sets_scale,
    "mode": lambda x, head: head.eval()(x),
    "dict": lambda x, head: (head.__dict__.update(scale=4.0), head(x))[1],
    "other tensors": lambda x, head: torch.func.functional_call(
        head, {**dict(head.named_parameters()), "weight": x.sum(0)}, (x,)
    ),
}


@pytest.mark.parametrize("write", WRITES)
def test_what_is_written_to_it_is_written_by_the_prepared_model(write):
    net = model(lambda self, x, head: WRITES[write](x, head).relu())
    example = Scaled()
    before = {**example.__dict__, "sizes": list(example.sizes)}
    prepared = prepare_model(net, example_inputs=(X, example))
    assert {**example.__dict__, "sizes": list(example.sizes)} == before
    first, second = two(Scaled)
    second.load_state_dict(first.state_dict())
    for _ in range(2):
        assert torch.equal(prepared(X, first), net(X, second))
    assert (first.scale, first.sizes, first.training) == (second.scale, second.sizes, second.training)


def test_a_list_that_it_holds_is_written_where_it_is_as_before():
    def forward(self, x, head):
        head.sizes.append(3)
        return head(x) * len(head.sizes)

    net = model(forward)
    prepared = prepare_model(net, example_inputs=(X, Scaled()))
    first, second = two(Scaled)
    second.load_state_dict(first.state_dict())
    assert torch.equal(prepared(X, first), net(X, second))
    assert first.sizes == second.sizes == [1, 2, 3]
    with pytest.raises(AssumptionError, match=r"argument 'head'.sizes\[2\] was not there"):
        prepared(X, first)


# --- modes and state -------------------------------------------------------------------------------------------------


def test_a_module_in_training_mode_trains():
    net = model(lambda self, x, head: head(x) * 2)
    make = lambda: nn.Sequential(nn.BatchNorm1d(6), nn.Dropout(0.5))  # noqa: E731
    example = make()
    prepared = prepare_model(net, example_inputs=(X, example))
    assert example[0].num_batches_tracked == 0 and torch.equal(example[0].running_mean, torch.zeros(6))
    first, second = two(make)
    for mode in (True, False):
        results = []
        for one, head in ((prepared, first), (net, second)):
            torch.manual_seed(0)
            results.append(one(X, head.train(mode)))
        assert torch.equal(*results)
    assert torch.equal(first[0].running_mean, second[0].running_mean)


class WritesItself(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.ones(6))
        self.table = nn.Embedding(4, 6, max_norm=0.5)

    def forward(self, x):
        with torch.no_grad():
            self.w.mul_(0.5)
        return x * self.w + self.table(torch.tensor([1]))


def test_what_it_writes_to_its_parameters_is_put_back():
    net = model(lambda self, x, head: head(x) * 2)
    example = WritesItself()
    before = {name: t.clone() for name, t in example.state_dict().items()}
    prepared = prepare_model(net, example_inputs=(X, example))
    assert all(torch.equal(before[name], t) for name, t in example.state_dict().items())
    other = WritesItself()
    other.load_state_dict(before)
    assert torch.equal(prepared(X, example), net(X, other))


def test_it_may_yield_something_else_than_a_tensor():
    class Pair(nn.Module):
        def __init__(self, count):
            super().__init__()
            self.count = [count]

        def forward(self, x):
            return (x, x * 2)[: self.count[0]], bool(x.sum() > 0)

    def forward(self, x, head):
        parts, positive = head(x)
        return sum(parts) if positive else -sum(parts)

    net = model(forward)
    prepared = prepare_model(net, example_inputs=(X + 2, Pair(2)))
    same(prepared, net, X + 2, Pair(2))
    for args in ((X - 2, Pair(2)), (X + 2, Pair(1))):
        try:
            same(prepared, net, *args)
        except AssumptionError as error:
            assert "argument 'head' yields" in str(error)


# --- modules of the model itself -------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_called_too", [False, True])
def test_a_module_of_the_model_itself(is_called_too):
    def forward(self, x, head):
        x = self.fc(x) if is_called_too else x
        return head(x).relu()

    net = model(forward, fc=nn.Linear(6, 6))
    prepared = prepare_model(net, example_inputs=(X, net.fc))
    same(prepared, net, X, nn.Linear(6, 6))
    assert torch.equal(prepared(X, prepared.fc), net(X, net.fc))
    assert list(prepared.state_dict()) == list(net.state_dict())


@pytest.mark.parametrize(
    "read",
    [
        lambda self, x, head: F.linear(x, head.weight),
        lambda self, x, head: head(x) * (2 if head is self.fc else 3),
        lambda self, x, head: F.linear(self.fc(x), head.weight) * head.in_features,
    ],
    ids=["parameter", "identity", "both"],
)
def test_what_is_read_from_a_module_of_the_model_itself(read):
    net = model(read, fc=nn.Linear(6, 6))
    prepared = prepare_model(net, example_inputs=(X, net.fc))
    assert torch.equal(prepared(X, prepared.fc), net(X, net.fc))
    same(prepared, net, X, nn.Linear(6, 6))


def test_a_module_that_holds_one_of_the_models():
    net = model(lambda self, x, head: head(x) + self.fc(x), fc=nn.Linear(6, 6))
    prepared = prepare_model(net, example_inputs=(X, nn.Sequential(net.fc, nn.ReLU())))
    same(prepared, net, X, nn.Sequential(nn.Linear(6, 6), nn.ReLU()))


# --- code that is not looked into ------------------------------------------------------------------------------------


def by_values(x, head):
    return head(x) * 2 if float(x.detach().numpy().sum()) > 0 else head(x) * 3


class Applies(nn.Module):
    def forward(self, x, head):
        return head(x) * 2


@pytest.mark.parametrize("kept", ["function", "excluded function", "excluded module", "kept root"])
def test_code_that_is_kept_whole_is_given_the_module(kept):
    options: dict[str, Any] = {}
    function = lambda self, x, head: by_values(x, head)  # noqa: E731
    if kept == "excluded function":
        options["functions_to_exclude"] = [by_values]
    if kept == "excluded module":
        function = lambda self, x, head: self.inner(x, head)  # noqa: E731
        options["module_classes_to_exclude"] = [Applies]
    if kept == "kept root":
        function = lambda self, x, head: head(x) * float(x.detach().numpy().sum())  # noqa: E731
    net = model(function, inner=Applies())
    prepared = prepare_model(net, example_inputs=(X, Scaled()), **options)
    for x in (X + 1, X - 1):
        first, second = two(Scaled)
        second.load_state_dict(first.state_dict())
        assert torch.equal(prepared(x, first), net(x, second))


def test_checkpointed_and_wrapped_calls():
    from torch.utils.checkpoint import checkpoint

    net = model(lambda self, x, head: nn.Sequential(head, nn.ReLU())(checkpoint(head, x, use_reentrant=False)))
    prepared = prepare_model(net, example_inputs=(X, nn.Linear(6, 6)))
    same(prepared, net, X, nn.Linear(6, 6))


def test_it_may_be_returned():
    net = model(lambda self, x, head: (head(x), head))
    prepared = prepare_model(net, example_inputs=(X, nn.Linear(6, 6)))
    other = nn.Linear(6, 6)
    assert prepared(X, other)[1] is other


# --- fixed, and without inputs ---------------------------------------------------------------------------------------


def test_fixed_by_concrete_args_it_must_be_that_one():
    net, head = model(lambda self, x, head: head(x).relu()), nn.Linear(6, 6)
    for inputs in (X, None):
        prepared = prepare_model(net, example_inputs=inputs, concrete_args={"head": head})
        same(prepared, net, X, head)
        with pytest.raises(AssumptionError, match="looks the same"):
            prepared(X, nn.Linear(6, 6))


def test_without_inputs_it_is_a_symbol():
    net = model(lambda self, x, head: head(x).relu() * head.weight.sum())
    prepared = prepare_model(net)
    same(prepared, net, X, nn.Linear(6, 6))
    assert any(type(m) is nn.ReLU for m in prepared.children())


def test_nothing_of_it_stays_behind():
    before = {name: vars(nn.Module).get(name) for name in ("__getattribute__", "__setattr__", "__delattr__")}
    net = model(lambda self, x, head: head(x))
    prepare_model(net, example_inputs=(X, Scaled()))
    assert {name: vars(nn.Module).get(name) for name in before} == before
    with pytest.raises(ValueError, match="no"):
        prepare_model(model(lambda self, x, head: head.missing_or(x)), example_inputs=(X, Raises()))
    assert {name: vars(nn.Module).get(name) for name in before} == before


class Raises(nn.Module):
    def missing_or(self, x):
        raise ValueError("no")
