"""Arguments of every kind and in every way; what forward does to objects among them happens to the caller's."""

import collections
import copy
import dataclasses
import enum
import functools
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn

from modulize import ArgumentError, AssumptionError, prepare_model


@dataclasses.dataclass
class Batch:
    image: torch.Tensor
    scale: float = 2.0
    mask: Any = None


class Memory:
    """Like the caches of language models: layers of tensors that forward replaces."""

    def __init__(self, count):
        self.layers = [Layer() for _ in range(count)]

    def update(self, index, key):
        layer = self.layers[index]
        layer.key = key if layer.key is None else torch.cat([layer.key, key], 1)
        layer.calls += 1
        return layer.key


class Layer:
    def __init__(self):
        self.key = None
        self.calls = 0


class Slotted:
    __slots__ = ("x",)

    def __init__(self, x):
        self.x = x


class Pair(NamedTuple):
    first: Any
    second: Any


class Colour(enum.Enum):
    red = 1
    blue = 2


def rows(count):
    generator = torch.Generator().manual_seed(count)
    return torch.randn(count, 3, generator=generator)


class Net(nn.Module):
    """Computes with what `read` finds in the argument."""

    def __init__(self, read):
        super().__init__()
        self.fc = nn.Linear(3, 3)
        self.read = read

    def forward(self, argument):
        return self.fc(self.read(argument)).relu()


ARGUMENTS = {
    "dataclass": (lambda n: Batch(rows(n)), lambda b: b.image * b.scale),
    "nested dataclass": (lambda n: Batch(rows(n), mask=[Batch(rows(n))]), lambda b: b.image + b.mask[0].image),
    "slots": (lambda n: Slotted(rows(n)), lambda s: s.x + 1),
    "object in a dict": (lambda n: {"b": Batch(rows(n))}, lambda d: d["b"].image),
    "UserDict": (lambda n: collections.UserDict(x=rows(n)), lambda d: d["x"]),
    "defaultdict": (lambda n: collections.defaultdict(list, x=[rows(n)]), lambda d: d["x"][0]),
    "OrderedDict": (lambda n: collections.OrderedDict(x=rows(n)), lambda d: d["x"]),
    "deque": (lambda n: collections.deque([rows(n)], maxlen=3), lambda d: d[0]),
    "named tuple": (lambda n: Pair(rows(n), [None, rows(n)]), lambda p: p.first + p.second[1]),
    "enum": (lambda n: Batch(rows(n), mask=Colour.red), lambda b: b.image if b.mask is Colour.red else -b.image),
    "size": (lambda n: (rows(n), torch.Size([3, 1])), lambda p: p[0].view(-1, p[1][0])),
    "shared part": (
        lambda n: (lambda x: Batch(x, mask=[x]))(rows(n)),
        lambda b: b.image + b.mask[0],
    ),
    "packed sequence": (
        lambda n: nn.utils.rnn.pack_sequence([rows(n), rows(n)[:1]]),
        lambda p: p.data,
    ),
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_arguments_of_every_class(name):
    make, read = ARGUMENTS[name]
    model = Net(read).eval()
    prepared = prepare_model(model, example_inputs=(make(4),))
    assert torch.equal(prepared(make(4)), model(make(4)))
    assert "module_relu" in dict(prepared.named_modules())
    if name != "packed sequence":
        assert torch.equal(prepared(make(6)), model(make(6)))
    assert torch.equal(prepared.forward(argument=make(4)), model(make(4)))


def test_preparing_writes_no_object_of_the_caller():
    class Writes(nn.Module):
        def forward(self, batch, names):
            batch.image.mul_(2)
            batch.image = batch.image.relu()
            names["seen"] = batch.image
            return batch.image

    batch, names = Batch(rows(3)), {}
    prepare_model(Writes().eval(), example_inputs=(batch, names))
    assert torch.equal(batch.image, rows(3)) and names == {}
    assert vars(batch.image) == {}, "no tag stays on a tensor of the caller"


def _differs(**changes):
    def change(batch):
        batch.__dict__.update(changes)
        return batch

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_differs(scale=3.0), r"\.scale was 2\.0 .* is 3\.0"),
        (_differs(scale=2), r"\.scale was 2\.0 .* is 2"),
        (_differs(mask=rows(1)), r"\.mask was None .* is a tensor"),
        (_differs(image=None), r"\.image was a tensor .* is None"),
        (_differs(more=1), r"\.more is in its place"),
        (lambda batch: Slotted(batch.image), "was a Batch .* is a Slotted"),
    ],
)
def test_an_object_that_python_code_could_decide_by_otherwise_raises(change, said):
    prepared = prepare_model(Net(lambda b: b.image * b.scale).eval(), example_inputs=(Batch(rows(2)),))
    with pytest.raises(AssumptionError, match=said):
        prepared(change(Batch(rows(2))))


def test_two_arguments_that_are_one_object_must_stay_one():
    class Both(nn.Module):
        def forward(self, first, second):
            first.image = first.image + 1
            return second.image * 2

    model = Both().eval()
    one = Batch(rows(2))
    prepared = prepare_model(model, example_inputs=(one, one))
    again = Batch(rows(2))
    assert torch.equal(prepared(again, again), (rows(2) + 1) * 2)
    with pytest.raises(AssumptionError, match="same"):
        prepared(Batch(rows(2)), Batch(rows(2)))


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, x, memory=None, detach=False):
        if memory is None:
            memory = Memory(2)
        for index in range(2):
            x = memory.update(index, self.fc(x)).relu().mean(1, keepdim=True) + x
        return {"x": x, "memory": memory}


def _keys(memory):
    return [layer.key.tolist() for layer in memory.layers]


def test_a_cache_made_in_forward_is_returned():
    model = Decoder().eval()
    prepared = prepare_model(model, example_inputs=torch.randn(2, 1, 3))
    x = torch.randn(4, 1, 3)
    with torch.no_grad():
        expected, actual = model(x), prepared(x)
    assert type(actual["memory"]) is Memory and _keys(actual["memory"]) == _keys(expected["memory"])


@torch.no_grad()
def test_a_cache_given_is_updated_in_place_and_returned_itself():
    model = Decoder().eval()
    x = torch.randn(2, 1, 3)
    memory = model(x)["memory"]
    for layer in memory.layers:
        layer.calls = 0
    prepared = prepare_model(model, example_inputs=(x, memory))
    assert memory.layers[0].key.shape[1] == 1, "the caller's is not touched"
    ours, theirs = copy.deepcopy(memory), copy.deepcopy(memory)
    for _ in range(3):
        x = torch.randn(2, 1, 3)
        layers = ours.layers
        actual, expected = prepared(x, ours), model(x, theirs)
        assert actual["memory"] is ours and ours.layers is layers
        assert torch.equal(actual["x"], expected["x"]) and _keys(ours) == _keys(theirs)
        assert [layer.calls for layer in ours.layers] == [1, 1]
        for layer in (*ours.layers, *theirs.layers):
            layer.calls = 0


def test_a_cache_in_another_state_raises():
    model = Decoder().eval()
    with torch.no_grad():
        prepared = prepare_model(model, example_inputs=(torch.randn(2, 1, 3), Memory(2)))
        memory = prepared(torch.randn(2, 1, 3), Memory(2))["memory"]
        with pytest.raises(AssumptionError, match=r"layers\[0\]"):
            prepared(torch.randn(2, 1, 3), memory)


@torch.no_grad()
def test_transformers_caches_are_updated_in_place():
    DynamicCache = pytest.importorskip("transformers").DynamicCache

    class Attends(nn.Module):
        def forward(self, x, past):
            keys, values = past.update(x.relu(), x.sigmoid(), 0)
            return keys @ values.transpose(-1, -2), past

    def filled():
        cache = DynamicCache()
        cache.update(torch.ones(1, 2, 3, 4), torch.ones(1, 2, 3, 4), 0)
        return cache

    model = Attends().eval()
    prepared = prepare_model(model, example_inputs=(torch.randn(1, 2, 1, 4), filled()))
    ours, theirs = filled(), filled()
    for _ in range(3):
        x = torch.randn(1, 2, 1, 4)
        actual, expected = prepared(x, ours), model(x, theirs)
        assert actual[1] is ours and torch.equal(actual[0], expected[0])
    assert ours.get_seq_length() == theirs.get_seq_length() == 6


WRITES = {
    "attribute": lambda b: setattr(b, "image", b.image + 1),
    "new attribute": lambda b: setattr(b, "result", b.image.relu()),
    "deleted attribute": lambda b: delattr(b, "scale"),
    "list appended": lambda b: b.mask.append(b.image.relu()),
    "list inserted": lambda b: b.mask.insert(0, b.image.relu()),
    "list emptied": lambda b: b.mask.clear(),
    "list item": lambda b: b.mask.__setitem__(0, b.image.shape[0]),
    "object put in": lambda b: b.mask.append(Batch(b.image.relu())),
    "tensor in place": lambda b: b.image.mul_(2),
    "itself put in": lambda b: b.mask.append(b),
}


def _state(batch, met=()):
    if isinstance(batch, torch.Tensor):
        return batch.tolist()
    if isinstance(batch, list):
        return [_state(item, met) for item in batch]
    if isinstance(batch, Batch):
        return "itself" if batch in met else {k: _state(v, (*met, batch)) for k, v in vars(batch).items()}
    return batch


Batch.__eq__ = object.__eq__
Batch.__hash__ = object.__hash__


@pytest.mark.parametrize("name", WRITES)
def test_what_forward_writes_on_an_object_is_written(name):
    class Writes(nn.Module):
        def forward(self, batch):
            WRITES[name](batch)
            return batch.image.sum()

    model = Writes().eval()
    prepared = prepare_model(model, example_inputs=(Batch(rows(2), mask=[1, 2]),))
    for count in (2, 5):
        ours, theirs = Batch(rows(count), mask=[1, 2]), Batch(rows(count), mask=[1, 2])
        mask = ours.mask
        assert torch.equal(prepared(ours), model(theirs))
        assert _state(ours) == _state(theirs) and ours.mask is mask


# --- signatures -------------------------------------------------------------------------------------------------------


def decorated(function):
    @functools.wraps(function)
    def wrapper(self, *args, **kwargs):
        return_dict = kwargs.pop("return_dict", True)
        result = function(self, *args, **kwargs)
        return {"y": result} if return_dict else (result,)

    return wrapper


class KeywordOnly(nn.Module):
    def forward(self, x, *, scale, shift=None):
        return (x * scale).relu() if shift is None else (x * scale + shift).relu()


class PositionalOnly(nn.Module):
    def forward(self, x, y=None, /, z=None):
        return x.relu() if y is None else (x + y).relu()


class Variadic(nn.Module):
    def forward(self, *xs, **named):
        return torch.stack([*xs, *named.values()]).sum(0).relu()


class Decorated(nn.Module):
    @decorated
    def forward(self, x, mask=None):
        return x.relu() if mask is None else (x * mask).relu()


class Flags(nn.Module):
    def forward(self, x, flag: bool = True, mode: str = "a", count: int = 2, extra=None):
        y = x.relu() if flag else x.sigmoid()
        for _ in range(count):
            y = y + 1
        return y if mode == "a" else -y


def test_keyword_only():
    model = KeywordOnly().eval()
    prepared = prepare_model(model, example_inputs=rows(2), example_kwargs={"scale": rows(2)})
    assert torch.equal(prepared(rows(4), scale=rows(4)), model(rows(4), scale=rows(4)))
    with pytest.raises(TypeError):
        prepared(rows(4))
    with pytest.raises(AssumptionError, match="argument 'shift'"):
        prepared(rows(4), scale=rows(4), shift=rows(4))


def test_positional_only():
    model = PositionalOnly().eval()
    prepared = prepare_model(model, example_inputs=(rows(2), rows(2)))
    assert torch.equal(prepared(rows(3), rows(3)), model(rows(3), rows(3)))
    with pytest.raises(TypeError):
        prepared(x=rows(3), y=rows(3))


def test_variadic():
    model = Variadic().eval()
    prepared = prepare_model(model, example_inputs=(rows(2), rows(2)), example_kwargs={"k": rows(2)})
    assert torch.equal(prepared(rows(3), rows(3), k=rows(3)), model(rows(3), rows(3), k=rows(3)))
    with pytest.raises(AssumptionError, match="length of argument 'xs'"):
        prepared(rows(3), k=rows(3))
    with pytest.raises(AssumptionError, match="keys of argument 'named'"):
        prepared(rows(3), rows(3), other=rows(3))


def test_forward_behind_a_decorator():
    model = Decorated().eval()
    prepared = prepare_model(model, example_inputs=rows(2))
    assert torch.equal(prepared(rows(3))["y"], model(rows(3))["y"])


@pytest.mark.parametrize("kwargs", [{"x": rows(2)}, {"x": rows(2), "mask": rows(2)}])
def test_inputs_by_keyword_alone(kwargs):
    model = Decorated().eval()
    prepared = prepare_model(model, example_kwargs=kwargs)
    assert torch.equal(prepared(**kwargs)["y"], model(**kwargs)["y"])


@pytest.mark.parametrize(
    "given",
    [{"flag": False}, {"mode": "b"}, {"count": 3}, {"count": 2.0}, {"flag": 1}, {"extra": rows(2)}],
)
def test_plain_arguments_are_specialised_and_checked(given):
    model = Flags().eval()
    if given not in ({"count": 2.0}, {"flag": 1}):
        prepared = prepare_model(model, example_inputs=rows(2), example_kwargs=given)
        assert torch.equal(prepared(rows(3), **given), model(rows(3), **given))
    prepared = prepare_model(model, example_inputs=rows(2))
    assert torch.equal(prepared(rows(3)), model(rows(3)))
    with pytest.raises(AssumptionError, match=f"argument '{next(iter(given))}'"):
        prepared(rows(3), **given)


def test_an_argument_of_the_example_that_is_left_out_raises():
    prepared = prepare_model(Flags().eval(), example_inputs=rows(2), example_kwargs={"count": 3})
    with pytest.raises(AssumptionError, match="argument 'count' was 3"):
        prepared(rows(2))
    prepared = prepare_model(Decorated().eval(), example_inputs=(rows(2), rows(2)))
    with pytest.raises((AssumptionError, TypeError, AttributeError)):
        prepared(rows(2))


def circle():
    made = [rows(2)]
    made.append(made)
    return made


@pytest.mark.parametrize(
    "argument",
    [
        pytest.param(lambda: {rows(2)}, id="set of tensors"),
        pytest.param(lambda: Batch(rows(2), mask={rows(2)}), id="set of tensors in an object"),
        pytest.param(circle, id="list that holds itself"),
    ],
)
def test_arguments_without_an_order_go_to_a_forward_that_runs_as_it_is(argument):
    def read(value):
        return value.image if isinstance(value, Batch) else next(iter(value))

    model = Net(read).eval()
    prepared = prepare_model(model, example_inputs=(argument(),))
    given = argument()
    assert torch.equal(prepared(given), model(given))
    assert [kept["what"] for kept in prepared.report.kept] == [""]
    assert isinstance(prepared.module_relu, nn.ReLU)


def test_iterators_are_refused():
    with pytest.raises(ArgumentError, match="can be read once"):
        prepare_model(Net(lambda value: next(value)).eval(), example_inputs=(iter([rows(2)]),))


class Options(nn.Module):
    def forward(self, x, y=None, *, z=None):
        x = x * 2 if y is None else x + sum(y if isinstance(y, (list, tuple)) else y.values())
        return x if z is None else x - z


@pytest.mark.parametrize("y", [[torch.ones(3)], (torch.ones(3), torch.ones(3)), {"a": torch.ones(3)}, None])
def test_what_was_given_and_is_left_out_is_refused(y):
    x, z = torch.randn(2, 3), torch.randn(3)
    model = Options()
    prepared = prepare_model(model, example_inputs=(x, y), example_kwargs={"z": z})
    assert torch.equal(prepared(x, y, z=z), model(x, y, z=z))
    with pytest.raises(AssumptionError, match="whether argument 'z' is None"):
        prepared(x, y)
    if y is not None:
        with pytest.raises(AssumptionError, match="whether argument 'y' is None"):
            prepared(x, z=z)


def test_what_must_be_given_has_no_check():
    class Two(nn.Module):
        def forward(self, x, y, z=None):
            return x + y

    x = torch.randn(2, 3)
    assert prepare_model(Two(), example_inputs=(x, x)).report.assumptions == ["argument 'z'"]
