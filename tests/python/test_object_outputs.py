"""Outputs come back in the classes of the original, rebuilt at every call; what cannot be rebuilt is refused."""

import collections
import dataclasses
import enum
import functools
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn

from modulize import prepare_model


@dataclasses.dataclass
class Scores:
    logits: torch.Tensor
    rows: int = 0
    hidden: Any = None


@dataclasses.dataclass(frozen=True)
class FrozenScores:
    logits: torch.Tensor
    scale: float = 2.0


@dataclasses.dataclass
class Doubled:
    """Its constructor does not give the fields back."""

    value: torch.Tensor

    def __post_init__(self):
        self.value = self.value * 2


class Slotted:
    __slots__ = ("empty", "left", "right")

    def __init__(self, left, right):
        self.left, self.right = left, right


class Record:
    def __init__(self, **state):
        self.__dict__.update(state)


class Pair(NamedTuple):
    first: Any
    second: Any


class Table(dict):
    def __init__(self, *args):
        super().__init__(*args)
        self.made = True


class Rows(list):
    pass


class Colour(enum.Enum):
    red = 1


def _itself(x):
    record = Record(value=x.relu())
    record.me = record
    record.inside = [record]
    return record


def _default_dict(x):
    groups = collections.defaultdict(list)
    groups["a"].append(x.relu())
    return groups


def _table(x):
    table = Table({"a": x.relu()})
    table.note = "kept"
    return table


def _slotted(x):
    return Slotted(x.relu(), [x, x.sigmoid()])


OUTPUTS = {
    "dataclass": lambda x: Scores(x.relu(), x.shape[0], [x, (x.sigmoid(), None)]),
    "frozen dataclass": lambda x: FrozenScores(x.relu(), 0.5),
    "dataclass that computes in its constructor": lambda x: Doubled(x.relu()),
    "slots": _slotted,
    "object": lambda x: Record(value=x.relu(), colour=Colour.red, inner=Record(x=x)),
    "object that holds itself": _itself,
    "named tuple": lambda x: Pair(x.relu(), Pair(x.shape[1], None)),
    "result of torch": lambda x: x.relu().max(dim=1),
    "defaultdict": _default_dict,
    "OrderedDict": lambda x: collections.OrderedDict(a=x.relu(), b=x),
    "deque": lambda x: collections.deque([x.relu(), x], maxlen=5),
    "dict with attributes": _table,
    "list subclass": lambda x: Rows([x.relu(), x]),
    "UserDict": lambda x: collections.UserDict({"a": x.relu()}),
    "traced numbers": lambda x: {"rows": x.shape[0], "sizes": [x.size(1), x.shape], "y": x.relu()},
}


class Net(nn.Module):
    def __init__(self, make):
        super().__init__()
        self.fc = nn.Linear(3, 3)
        self.make = make

    def forward(self, x):
        return self.make(self.fc(x))


def _flat(value, met=None):
    """The parts of a value as plain data, tensors as lists, repeated objects as their number."""
    met = {} if met is None else met
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, enum.Enum):
        return value
    if id(value) in met and not isinstance(value, (int, str, float, type(None))):
        return met[id(value)]
    met[id(value)] = len(met)
    state = dict(getattr(value, "__dict__", {}))
    state |= {name: getattr(value, name) for name in getattr(type(value), "__slots__", ()) if hasattr(value, name)}
    if isinstance(value, dict):
        items = {key: _flat(item, met) for key, item in value.items()}
    elif isinstance(value, (list, tuple, collections.deque)):
        items = [_flat(item, met) for item in value]
    else:
        items = None if state else value
    kind = int if isinstance(value, int) else type(value)
    return kind, items, {name: _flat(item, met) for name, item in state.items() if name != "__orig_class__"}


@pytest.mark.parametrize("name", OUTPUTS)
def test_the_output_has_the_class_and_the_parts_of_the_originals(name):
    model = Net(OUTPUTS[name]).eval()
    prepared = prepare_model(model, example_inputs=torch.randn(2, 3))
    for rows in (2, 5):
        x = torch.randn(rows, 3)
        assert _flat(prepared(x)) == _flat(model(x))
    assert prepared(x) is not prepared(x), "made anew by every call"
    assert any("relu" in path for path, _ in prepared.named_modules()), "what computes it is prepared"


@pytest.mark.parametrize("name", OUTPUTS)
def test_torch_fx_writes_the_same_output(name):
    model = Net(OUTPUTS[name]).eval()
    prepared = prepare_model(model, example_inputs=torch.randn(2, 3))
    x = torch.randn(4, 3)
    expected = _flat(model(x))
    prepared.graph.eliminate_dead_code()
    prepared.recompile()
    assert _flat(prepared(x)) == expected


def test_a_dataclass_is_made_by_its_constructor_where_that_gives_the_same():
    prepared = prepare_model(Net(OUTPUTS["frozen dataclass"]).eval(), example_inputs=torch.randn(2, 3))
    assert "rebuild" not in prepared.code
    prepared = prepare_model(
        Net(OUTPUTS["dataclass that computes in its constructor"]).eval(), example_inputs=torch.randn(2, 3)
    )
    assert "rebuild" in prepared.code, "the constructor would double it once more"


def test_an_object_that_stands_twice_is_one_object():
    class Twice(nn.Module):
        def forward(self, x):
            record = Record(value=x.relu())
            return [record, {"again": record}]

    first, second = prepare_model(Twice().eval(), example_inputs=torch.randn(2, 3))(torch.randn(2, 3))
    assert second["again"] is first


def test_what_the_model_holds_is_returned_as_it_is():
    class Holder(nn.Module):
        def __init__(self):
            super().__init__()
            self.config = Record(width=3)

        def forward(self, x):
            return x.relu(), self.config

    model = Holder().eval()
    prepared = prepare_model(model, example_inputs=torch.randn(2, 3))
    assert prepared(torch.randn(2, 3))[1] is model.config


def _generator(x):
    return (row for row in [x.relu()])


def _closure(x):
    y = x.relu()
    return lambda: y


def _partial(x):
    return functools.partial(torch.add, x.relu())


@pytest.mark.parametrize("make", [_generator, _closure, _partial, lambda x: [x, iter([x.relu()])]])
def test_an_output_that_hides_tensors_comes_from_the_original_forward(make):
    def opened(output):
        if isinstance(output, list):
            output = output[1]
        if isinstance(output, functools.partial):
            return output(1)
        return output() if callable(output) else next(output)

    model = Net(make).eval()
    prepared = prepare_model(model, example_inputs=torch.randn(2, 3))
    reason = prepared.report.kept[0]["reason"]
    assert "with tensors of this call inside" in reason or "what Python does with the list_iterator" in reason
    x = torch.randn(2, 3)
    assert torch.equal(opened(prepared(x)), opened(model(x)))


def test_transformers_outputs_and_caches_come_back():
    modeling_outputs = pytest.importorskip("transformers.modeling_outputs")
    DynamicCache = pytest.importorskip("transformers").DynamicCache

    class Cached(nn.Module):
        def forward(self, x):
            cache = DynamicCache()
            keys, values = cache.update(x.relu(), x.sigmoid(), 0)
            return modeling_outputs.BaseModelOutputWithPast(last_hidden_state=keys + values, past_key_values=cache)

    model = Cached().eval()
    prepared = prepare_model(model, example_inputs=torch.randn(1, 2, 3, 4))
    x = torch.randn(2, 2, 5, 4)
    expected, actual = model(x), prepared(x)
    assert type(actual) is type(expected) and list(actual) == list(expected)
    assert type(actual.past_key_values) is DynamicCache
    assert torch.equal(actual.past_key_values.layers[0].values, expected.past_key_values.layers[0].values)
    assert torch.equal(actual[0], expected[0])
