"""Code that is kept whole: what it calls is prepared, what it computes are modules, and it may be the root."""

import copy
import functools
import io
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import modulize.nn
from modulize import AssumptionError, prepare_model
from modulize._prepared import PreparedModule


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.register_buffer("scale", torch.full((4,), 0.5))

    def forward(self, x, bias=None):
        y = F.relu(self.fc(x)) * self.scale
        return y if bias is None else y + bias


class Loop(nn.Module):
    """Ends by a value: no graph can say how often."""

    def __init__(self):
        super().__init__()
        self.block = Block()

    def forward(self, x):
        while x.abs().max() > 0.2:
            x = self.block(x) * 0.1
        return x


class Returning(Loop):
    """The same, with no statement that could be kept by itself."""

    def forward(self, x):
        while True:
            if x.abs().max() <= 0.2:
                return x
            x = self.block(x) * 0.1


class Outer(nn.Module):
    def __init__(self):
        super().__init__()
        self.loop = Loop()
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return F.relu(self.head(self.loop(x)))


class PerImage(nn.Module):
    """One call of a block for each item of a list."""

    def __init__(self):
        super().__init__()
        self.block = Block()

    def forward(self, images, targets=None):
        return torch.stack([self.block(image).sum(0) for image in images])


def seeded(cls):
    torch.manual_seed(0)
    return cls().eval()


def inputs():
    return [torch.randn(rows, 4, generator=torch.Generator().manual_seed(rows)) * 10 for rows in (1, 2, 7)]


def ran_modules(prepared, *args):
    """Paths of the modules that ran."""
    ran = []
    hooks = [
        module.register_forward_hook(lambda *_, path=path: ran.append(path))
        for path, module in prepared.named_modules()
    ]
    prepared(*args)
    for hook in hooks:
        hook.remove()
    return ran


def test_what_a_kept_module_calls_is_prepared():
    model = seeded(Outer)
    prepared = prepare_model(model, example_inputs=inputs()[1])
    assert [entry["what"] for entry in prepared.report.kept] == ["loop"]
    assert isinstance(prepared.loop.block, PreparedModule)
    assert isinstance(prepared.loop.block, Block)
    assert isinstance(prepared.loop.block.module_relu, nn.ReLU)
    assert isinstance(prepared.loop.block.module_mul, modulize.nn.Multiply)
    for x in inputs():
        assert torch.equal(prepared(x), model(x))


def test_what_kept_code_computes_runs_in_modules():
    prepared = prepare_model(seeded(Outer), example_inputs=inputs()[1])
    paths = {c["path"] for c in prepared.report.conversions}
    assert {"loop.module_abs", "loop.module_max", "loop.module_mul", "loop.block.module_relu", "module_relu"} <= paths
    assert paths <= set(ran_modules(prepared, inputs()[1]))


def test_the_root_is_kept_where_nothing_smaller_can_be():
    model = seeded(Returning)
    prepared = prepare_model(model, example_inputs=inputs()[1])
    assert isinstance(prepared, torch.fx.GraphModule)
    assert [entry["what"] for entry in prepared.report.kept] == [""]
    assert {"module_mul", "block.module_relu"} <= set(ran_modules(prepared, inputs()[1]))
    for x in inputs():
        assert torch.equal(prepared(x), model(x))


@pytest.mark.parametrize("cls", [Outer, Loop, Returning])
def test_copies_and_files(cls):
    model = seeded(cls)
    prepared = prepare_model(model, example_inputs=inputs()[1])
    x = inputs()[2]
    expected = model(x)
    path = "loop.module_mul" if cls is Outer else "module_mul"
    file = io.BytesIO()
    torch.save(prepared, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    for again in (copy.deepcopy(prepared), copy.copy(prepared), loaded, pickle.loads(pickle.dumps(prepared))):
        assert torch.equal(again(x), expected)
        assert path in ran_modules(again, x)
    assert list(prepared.state_dict()) == list(model.state_dict())


def test_a_module_in_kept_code_can_be_replaced():
    prepared = prepare_model(seeded(Loop), example_inputs=inputs()[1])

    class Zero(nn.Module):
        def forward(self, *args):
            return torch.zeros_like(args[0])

    prepared.module_mul = Zero()
    assert not prepared(inputs()[1]).any()


def test_gradients_go_through_kept_code():
    model = seeded(Outer)
    prepared = prepare_model(model, example_inputs=inputs()[1])
    gradients = []
    for module in (model, prepared):
        module.zero_grad()
        module(inputs()[2]).sum().backward()
        gradients.append({name: p.grad.clone() for name, p in module.named_parameters()})
    assert gradients[0].keys() == gradients[1].keys()
    assert all(torch.equal(gradients[0][name], gradients[1][name]) for name in gradients[0])


@pytest.mark.parametrize("count", [1, 2, 5])
def test_lists_of_any_length(count):
    model = seeded(PerImage)
    prepared = prepare_model(model, example_inputs=([torch.randn(2, 4), torch.randn(3, 4)],))
    images = [torch.randn(2 + i, 4) for i in range(count)]
    assert torch.equal(prepared(images), model(images))
    assert {"block.module_relu", "module_sum", "module_stack"} <= set(ran_modules(prepared, images))


def test_a_list_that_is_opened_alike_keeps_its_graph():
    class First(nn.Module):
        def forward(self, items):
            return items[0].relu() + 1

    model = First()
    prepared = prepare_model(model, example_inputs=([torch.randn(2, 4), torch.randn(3, 4)],))
    assert not prepared.report.kept
    with pytest.raises(AssumptionError, match="length"):
        prepared([torch.randn(2, 4)] * 3)


def test_a_module_that_is_called_in_several_ways_is_kept_itself():
    class Ways(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = Block()

        def forward(self, x):
            while x.abs().max() > 0.2:
                x = self.block(self.block(x, x)) * 0.1
            return x

    model = seeded(Ways)
    prepared = prepare_model(model, example_inputs=inputs()[1])
    assert "block" in [entry["what"] for entry in prepared.report.kept]
    for x in inputs():
        assert torch.equal(prepared(x), model(x))
    assert {"block.module_relu", "block.module_add"} <= set(ran_modules(prepared, inputs()[1]))


def test_a_module_that_prepared_code_calls_too_stays_as_it_is():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.loop = Loop()

        def forward(self, x):
            return self.loop.block(x) + self.loop(x)

    model = seeded(Twice)
    prepared = prepare_model(model, example_inputs=inputs()[1])
    assert any("by code that is prepared" in entry["reason"] for entry in prepared.report.kept)
    for x in inputs():
        assert torch.equal(prepared(x), model(x))


def test_a_kept_module_that_is_called_twice():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.loop = Loop()

        def forward(self, x):
            return self.loop(x) + self.loop(x * 3)

    model = seeded(Twice)
    prepared = prepare_model(model, example_inputs=inputs()[1])
    for x in inputs():
        assert torch.equal(prepared(x), model(x))


def test_excluded_modules_are_left_alone():
    model = seeded(Outer)
    prepared = prepare_model(model, [model.loop], example_inputs=inputs()[1])
    assert type(prepared.loop.block) is Block
    assert not [c for c in prepared.report.conversions if c["path"].startswith("loop")]


def test_in_place_operations_write_what_they_wrote():
    class Steps(nn.Module):
        def forward(self, x):
            y = x.clone()
            while y.max() > 0.1:
                y[0] += 0.0
                y.mul_(0.5)
                y -= 0.01
            return y

    model = Steps()
    prepared = prepare_model(model, example_inputs=torch.ones(2, 4))
    x = torch.rand(3, 4) * 9
    assert torch.equal(prepared(x), model(x))
    assert "module_mul" in ran_modules(prepared, x)


def test_what_only_the_recording_breaks_is_kept():
    class Picky(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x):
            if type(x.shape[0]) is not int:
                raise TypeError("plain numbers only")
            return self.fc(x).relu()

    model = seeded(Picky)
    prepared = prepare_model(model, example_inputs=torch.ones(2, 4))
    assert "plain numbers only" in prepared.report.kept[0]["reason"]
    assert torch.equal(prepared(torch.ones(5, 4)), model(torch.ones(5, 4)))


def test_what_forward_raises_is_raised():
    class Raises(nn.Module):
        def forward(self, x):
            raise KeyError("the model's own")

    with pytest.raises(KeyError, match="the model's own"):
        prepare_model(Raises(), example_inputs=torch.ones(2, 4))


def test_arguments_of_every_kind_reach_a_kept_root():
    class Kinds(nn.Module):
        def forward(self, a, /, b, c=2.0, *more, d, e=None, **rest):
            while True:
                if a.abs().max() <= 0.1:
                    return a + b * c + d + sum(more) + sum(rest.values()) + (0 if e is None else e)
                a = a * 0.5

    model = Kinds()
    x = torch.ones(2, 4)
    calls = [
        ((x, x), {"d": x}),
        ((x, x, x, x, x), {"d": x, "f": x, "e": x}),
    ]
    for args, kwargs in calls:
        prepared = prepare_model(model, example_inputs=args, example_kwargs=kwargs)
        for args, kwargs in calls:
            assert torch.equal(prepared(*args, **kwargs), model(*args, **kwargs))


def test_a_forward_of_its_own_without_a_signature_of_its_own():
    def forward(self, x):
        return x * 2 if x.numpy().sum() > 3 else self.fc(x).relu()

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4)
            self.forward = functools.partial(forward, self)

    model = Net().eval()
    prepared = prepare_model(model, example_inputs=torch.randn(2, 4))
    assert [kept["reason"] for kept in prepared.report.kept] == ["Tensor.numpy()"]
    for x in (torch.ones(2, 4), -torch.ones(3, 4)):
        assert torch.equal(prepared(x), model(x))


def test_fixed_arguments_of_a_kept_root_are_checked():
    class Fixed(nn.Module):
        def forward(self, x, factor):
            while True:
                if x.abs().max() <= 0.1:
                    return x
                x = x * factor

    prepared = prepare_model(Fixed(), None, None, {"factor": 0.5}, example_inputs=torch.ones(2, 4))
    assert torch.equal(prepared(torch.ones(3, 4)), Fixed()(torch.ones(3, 4), 0.5))
    with pytest.raises(AssumptionError):
        prepared(torch.ones(3, 4), 0.25)


def halves(x):
    """What is yielded has no place in a graph: an array of numpy's, alone and among others."""
    array = x.detach().numpy() * 0.5
    return array


def parts(x):
    return {"mean": x.detach().numpy().mean(0), "rows": [x.shape[0], x * 2]}


class Arrays(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        half = torch.from_numpy(halves(self.fc(x)))
        some = parts(F.relu(half))
        return some["rows"][1] + torch.as_tensor(some["mean"]) + some["rows"][0]


def test_functions_that_yield_arrays_of_numpy():
    model = seeded(Arrays)
    prepared = prepare_model(model, example_inputs=inputs()[0])
    for x in inputs():
        assert torch.equal(prepared(x), model(x))
    assert prepared.report.kept
    assert "fc" in ran_modules(prepared, inputs()[0])


class ArrayOfAModule(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        return F.relu(self.fc(x)).detach().numpy()


def test_a_module_that_yields_an_array_of_numpy():
    class Caller(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = ArrayOfAModule()
            self.head = nn.Linear(4, 2)

        def forward(self, x):
            return F.relu(self.head(torch.from_numpy(self.inner(x))))

    model = seeded(Caller)
    prepared = prepare_model(model, example_inputs=inputs()[0])
    for x in inputs():
        assert torch.equal(prepared(x), model(x))


def larger(a, b):
    return max(a, b)


def both_and_more(a, b):
    return [b, a], {"a": a}, (a, b, None)


def test_numbers_that_a_call_picks_are_its_results():
    class Net(nn.Module):
        def forward(self, x):
            rows, columns = x.shape
            (second, first), named, mixed = both_and_more(rows, columns)
            return x * larger(rows, columns) + first - second * named["a"] + mixed[0]

    model = Net()
    prepared = prepare_model(model, example_inputs=torch.randn(2, 3), functions_to_exclude=[larger, both_and_more])
    for shape in ((2, 3), (7, 3), (3, 7)):
        x = torch.randn(shape)
        assert torch.equal(model(x), prepared(x))


def through(function):
    """A decorator that leaves no trace of what it decorates."""

    def inner(*args):
        return function(*args)

    return inner


def until_small(self, x):
    while True:
        if x.abs().max() <= 0.2:
            return x
        x = self.block(x) * 0.1


@through
def mean_of(x):
    return float(x.detach().numpy().mean())


def said_to_be_of_another_module(function):
    function.__module__ = "copy"
    return function


@through
@said_to_be_of_another_module
def mean_from_elsewhere(x):
    return float(x.detach().numpy().mean())


class Decorated(Loop):
    forward = torch.no_grad()(until_small)


class Wrapped(Loop):
    @through
    def forward(self, x):
        while x.abs().max() > 0.2:
            x = self.block(x) * 0.1
        return x


class OfALambda(Loop):
    forward = lambda self, x: self.block(x) * float(x.detach().numpy().mean())  # noqa: E731


class CallsALambda(Loop):
    mean = staticmethod(lambda x: float(x.detach().numpy().mean()))

    def forward(self, x):
        return self.block(x) * self.mean(x)


class CallsADecorated(Loop):
    def forward(self, x):
        return self.block(x) * mean_of(x)


class CallsOneFromElsewhere(Loop):
    def forward(self, x):
        return self.block(x) * mean_from_elsewhere(x)


class CallsItInABranch(Loop):
    def forward(self, x):
        x = self.block(x)
        return x * mean_from_elsewhere(x) if x.sum() > 0.5 else x.relu()


@pytest.mark.parametrize(
    "cls",
    [Decorated, Wrapped, OfALambda, CallsALambda, CallsADecorated, CallsOneFromElsewhere, CallsItInABranch],
)
@pytest.mark.parametrize("is_child", [False, True])
def test_functions_that_their_names_do_not_give_can_be_pickled(cls, is_child):
    model = seeded(cls)
    if is_child:
        outer = seeded(Outer)
        outer.loop, model = model, outer
    prepared = prepare_model(model, example_inputs=inputs()[1])
    assert prepared.report.kept
    again = pickle.loads(pickle.dumps(prepared))
    for x in inputs():
        assert torch.equal(again(x), model(x))
