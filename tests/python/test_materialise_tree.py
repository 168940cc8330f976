"""The cloned module tree: what it shares with the original, what it does not, and containers."""

import copy
import functools
import gc
import pickle
import weakref
from collections import OrderedDict, defaultdict

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from modulize import UnsupportedError, _core

IDENTITY = "graph g { %x = placeholder x\n output %x\n }"


def clone(model, text=IDENTITY):
    return _core.materialise_text(text, model)


class Child(nn.Module):
    def __init__(self, owner):
        super().__init__()
        self.owner_ref = weakref.ref(owner)
        self.owner_method = owner.helper


class Referring(nn.Module):
    """Refers to its own modules in every way that is common."""

    def __init__(self):
        super().__init__()
        self.a = nn.Linear(2, 2)
        self.b = nn.ReLU()
        self.listed = [self.a, self.b]
        self.pair = (self.a, 1)
        self.by_name = {"a": self.a, "others": [self.b]}
        self.fn = self.helper
        self.partial = functools.partial(self.helper, module=self.b)
        self.order = OrderedDict(first=self.a)
        self.history = []
        self.counts = defaultdict(int)
        self.seen = {1, 2}
        self.config = {"depth": 2}
        self.again = self.a
        object.__setattr__(self, "me", self)
        self.child = Child(self)
        self.register_forward_pre_hook(self.note)
        self.a.register_forward_hook(self.after)
        self._register_load_state_dict_pre_hook(self.before_load)

    def helper(self, x, module=None):
        return self, module

    def note(self, module, args):
        self.history.append(module)

    def after(self, module, args, output):
        self.history.append(module)

    def before_load(self, *args):
        self.history.append("load")


def test_attributes_refer_to_the_clones():
    model = Referring()
    prepared = clone(model)
    assert prepared.listed[0] is prepared.a and prepared.listed[1] is prepared.b
    assert prepared.pair[0] is prepared.a and prepared.pair[1] == 1
    assert prepared.by_name["a"] is prepared.a and prepared.by_name["others"][0] is prepared.b
    assert prepared.fn(0)[0] is prepared
    assert prepared.partial(0) == (prepared, prepared.b)
    assert prepared.order["first"] is prepared.a and type(prepared.order) is OrderedDict
    assert prepared.again is prepared.a and prepared.me is prepared
    assert prepared.child.owner_ref() is prepared and prepared.child.owner_method(0)[0] is prepared
    assert model.listed[0] is model.a and model.fn(0)[0] is model and model.child.owner_ref() is model


def test_hooks_run_on_the_clone():
    model = Referring()
    prepared = clone(model)
    prepared(1)
    prepared.a(torch.zeros(2))
    prepared.load_state_dict(model.state_dict())
    assert prepared.history == [prepared, prepared.a, "load"]
    assert model.history == []


def test_plain_containers_are_the_clones_own():
    model = Referring()
    prepared = clone(model)
    prepared.counts["x"] += 1
    prepared.seen.add(3)
    prepared.config["depth"] = 5
    assert not model.counts and model.seen == {1, 2} and model.config == {"depth": 2}
    assert type(prepared.counts) is defaultdict


def test_modules_under_two_paths_stay_one():
    model = nn.Module()
    model.a = nn.Sequential(nn.Linear(2, 2))
    model.b = model.a
    model.c = nn.Sequential(model.a[0])
    prepared = clone(model)
    assert prepared.a is prepared.b and prepared.c[0] is prepared.a[0] is not model.a[0]


class Slotted(nn.Module):
    __slots__ = ("empty", "extra")

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 2)
        object.__setattr__(self, "extra", 7)


class OddNew(nn.Module):
    def __new__(cls, needed):
        return super().__new__(cls)

    def __init__(self, needed):
        super().__init__()
        self.needed = needed


class NeverInitialised(nn.Module):
    def __init__(self):
        pass


@pytest.mark.parametrize("make", [Slotted, lambda: OddNew(3)], ids=["slots", "new"])
def test_odd_classes_are_cloned(make):
    model = nn.Sequential(make())
    prepared = clone(model)
    assert type(prepared[0]) is type(model[0]) and prepared[0] is not model[0]
    assert prepared._modulize["shared"] == {}
    prepared.train(False)
    assert model[0].training
    if isinstance(model[0], Slotted):
        assert prepared[0].extra == 7 and not hasattr(prepared[0], "empty")
        assert prepared[0].linear is not model[0].linear
    else:
        assert prepared[0].needed == 3


def test_a_root_with_slots_is_prepared():
    prepared = clone(Slotted())
    assert prepared(3) == 3 and prepared.linear.weight is not None


def test_script_modules_are_shared_and_reported():
    scripted = torch.jit.script(nn.Linear(2, 2))
    traced = torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2))
    model = nn.ModuleDict({"scripted": scripted, "traced": traced, "plain": nn.Linear(2, 2)})
    prepared = clone(model)
    assert prepared["scripted"] is scripted and prepared["traced"] is traced
    assert set(prepared._modulize["shared"]) == {"scripted", "traced"}


def test_a_script_module_as_the_model_is_refused():
    with pytest.raises(UnsupportedError, match="ScriptModule"):
        clone(torch.jit.script(nn.Linear(2, 2)))


def test_lazy_modules_are_refused_until_they_have_shapes():
    model = nn.Sequential(nn.LazyLinear(2))
    with pytest.raises(UnsupportedError, match=r"'0'.*LazyLinear.*run the model once"):
        clone(model)
    model(torch.zeros(1, 3))
    assert type(clone(model)[0]) is nn.Linear


@pytest.mark.parametrize(
    ("make", "args"),
    [
        (lambda: nn.LSTM(3, 4, num_layers=2), [torch.zeros(2, 1, 3)]),
        (lambda: nn.MultiheadAttention(4, 2), [torch.zeros(2, 1, 4)] * 3),
        (lambda: nn.TransformerEncoderLayer(4, 2, 8), [torch.ones(2, 1, 4)]),
        (lambda: nn.utils.parametrizations.weight_norm(nn.Linear(3, 4)), [torch.ones(1, 3)]),
        (lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(3, 4)), [torch.ones(1, 3)]),
        (lambda: prune.l1_unstructured(nn.Linear(3, 4), "weight", 0.5), [torch.ones(1, 3)]),
        (lambda: nn.BatchNorm2d(3), [torch.rand(2, 3, 2, 2)]),
        (lambda: nn.ParameterList([nn.Parameter(torch.ones(1))]), None),
        (lambda: nn.ParameterDict({"a": nn.Parameter(torch.ones(1))}), None),
    ],
    ids="lstm attention encoder weight_norm spectral_norm pruned batch_norm parameter_list parameter_dict".split(),
)
def test_clones_of_torch_modules_are_equal_and_independent(make, args):
    model = nn.ModuleDict({"m": make()}).eval()
    prepared = clone(model)
    assert prepared["m"] is not model["m"] and repr(prepared["m"]) == repr(model["m"])
    if args is not None:
        expected, got = model["m"](*args), prepared["m"](*args)
        flat = lambda v: [v] if isinstance(v, torch.Tensor) else [t for w in v for t in flat(w)]  # noqa: E731
        assert all(torch.equal(a, b) for a, b in zip(flat(expected), flat(got), strict=True))
    buffers = [b.dtype for b in model.buffers()]
    prepared.train()
    prepared.double()
    assert not model["m"].training and [b.dtype for b in model.buffers()] == buffers


def test_a_module_that_is_no_module_yet():
    model = nn.Module()
    model._modules["odd"] = NeverInitialised()
    prepared = clone(model)
    assert type(prepared._modules["odd"]) is NeverInitialised


def test_deep_nesting_needs_no_stack():
    model = nn.Module()
    inner = model
    for _ in range(20000):
        inner._modules["m"] = inner = nn.Module.__new__(nn.Module)
        inner.__dict__.update(_modules={}, _parameters={}, _buffers={}, training=True)
    prepared = clone(model)
    depth = 0
    while "m" in prepared._modules:
        prepared = prepared._modules["m"]
        depth += 1
    assert depth == 20000
    for tree in (model, prepared):
        while tree is not None:  # take it apart: freeing nested objects does need stack
            tree = tree._modules.pop("m", None)


# --- containers ------------------------------------------------------------------------------------

ADDED = """graph g {{
  module c.{first} = existing torch.nn.ReLU
  module c.module_add = modulize.nn.Add() for add
  module c.module_{first} = copy c.{first} for {first}
  %x = placeholder x
  %a = call_module c.{first}(%x)
  %b = call_module c.module_{first}(%a)
  %c = call_module c.module_add(%b, 1)
  output %c
}}"""


class Stack(nn.Sequential):
    def last(self):
        return self[-1]


def with_added(container, first="0"):
    model = nn.Module()
    model.c = container
    return model, clone(model, ADDED.format(first=first))


@pytest.mark.parametrize("make", [nn.Sequential, Stack, lambda *m: nn.ModuleList(m)], ids=["seq", "sub", "list"])
@pytest.mark.parametrize("through", [lambda m: m, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_containers_show_only_their_own_children(make, through):
    model, prepared = with_added(make(nn.ReLU(), nn.Linear(2, 2), nn.Tanh()))
    prepared = through(prepared)
    own = prepared.c
    assert isinstance(own, type(model.c)) and type(own).__name__ == type(model.c).__name__
    assert len(own) == 3 and [type(m) for m in own] == [nn.ReLU, nn.Linear, nn.Tanh]
    assert isinstance(own[-1], nn.Tanh) and isinstance(own[0], nn.ReLU) and own[1:][0] is own[1]
    assert type(own[1:]) is type(model.c)
    assert len(own[:2]) == 2
    with pytest.raises(IndexError):
        own[3]
    assert [n for n, _ in own.named_children()] == ["0", "1", "2", "module_add", "module_0"]
    assert prepared(torch.tensor([-1.0])).tolist() == [1.0]
    if isinstance(own, Stack):
        assert own.last() is own[2]
    if isinstance(own, nn.Sequential):
        x = torch.randn(1, 2)
        assert torch.equal(own(x), model.c(x))


@pytest.mark.parametrize("make", [nn.Sequential, lambda *m: nn.ModuleList(m)], ids=["sequential", "list"])
def test_containers_can_still_be_changed(make):
    _, prepared = with_added(make(nn.ReLU(), nn.Linear(2, 2)))
    own = prepared.c
    own.append(nn.Sigmoid())
    assert len(own) == 3 and isinstance(own[2], nn.Sigmoid) and isinstance(own[-1], nn.Sigmoid)
    own[1] = nn.Tanh()
    own.insert(1, nn.ELU())
    assert [type(m) for m in own] == [nn.ReLU, nn.ELU, nn.Tanh, nn.Sigmoid]
    del own[1]
    own.pop(-1)
    assert [type(m) for m in own] == [nn.ReLU, nn.Tanh]
    assert own.extend([nn.ELU()]) is own and len(own) == 3
    assert prepared(torch.tensor([-1.0])).tolist() == [1.0]
    assert isinstance(own.module_add, nn.Module)


def test_module_dicts_show_only_their_own_children():
    _, prepared = with_added(nn.ModuleDict({"act": nn.ReLU(), "fc": nn.Linear(2, 2)}), "act")
    own = prepared.c
    assert isinstance(own, nn.ModuleDict)
    assert list(own) == list(own.keys()) == ["act", "fc"] and len(own) == 2 and "module_add" not in own
    assert [type(m) for m in own.values()] == [nn.ReLU, nn.Linear] and [k for k, _ in own.items()] == ["act", "fc"]
    own["more"] = nn.Tanh()
    own.update({"most": nn.ELU()})
    assert list(own) == ["act", "fc", "more", "most"]
    assert own.pop("more") is not None and list(own) == ["act", "fc", "most"]
    assert prepared(torch.tensor([-1.0])).tolist() == [1.0]


def test_a_container_as_the_model():
    model = nn.Sequential(nn.ReLU(), nn.Linear(2, 2))
    text = """graph g {
      module module_add = modulize.nn.Add() for add
      %x = placeholder x
      %a = call_module 0(%x)
      %b = call_module module_add(%a, 1)
      %c = call_module 1(%b)
      output %c
    }"""
    prepared = clone(model, text)
    assert isinstance(prepared, nn.Sequential) and len(prepared) == 2 and prepared[1].weight is model[1].weight
    assert [type(m) for m in prepared[:1]] == [nn.ReLU] and type(prepared[:1]) is nn.Sequential
    x = torch.ones(1, 2)
    assert torch.equal(prepared(x), model[1](model[0](x) + 1))
    copied = pickle.loads(pickle.dumps(copy.deepcopy(prepared)))
    assert len(copied) == 2 and torch.equal(copied(x), prepared(x))


def test_containers_without_additions_keep_their_class():
    model = nn.Module()
    model.c = nn.Sequential(nn.ReLU())
    assert type(clone(model).c) is nn.Sequential


@pytest.mark.parametrize("enabled", [True, False])
def test_the_garbage_collector_is_left_as_it_was(enabled):
    assert gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        clone(nn.ReLU())
        with pytest.raises(UnsupportedError):
            clone(nn.LazyLinear(2))
        assert gc.isenabled() == enabled
    finally:
        gc.enable()


# --- life ------------------------------------------------------------------------------------------


def test_prepared_models_are_freed():
    gc.collect()
    model = Referring()
    prepared = clone(model)
    alive = [weakref.ref(prepared), weakref.ref(type(prepared)), weakref.ref(prepared.a)]
    assert prepared.graph is not None and prepared.code
    del prepared
    gc.collect()
    assert [ref() for ref in alive] == [None, None, None]


def test_objects_of_the_graph_are_freed():
    class Thing:
        pass

    thing = Thing()
    text = 'graph g { %x = placeholder x\n %y = call_function @0:"<thing>"(%x, @1:"<thing>")\n output %y\n }'
    prepared = _core.materialise_text(text, nn.Module(), [max, 3])
    assert prepared(2) == 3
    prepared = _core.materialise_text(text, nn.Module(), [lambda a, b: b, thing])
    thing.prepared = prepared  # a cycle through the program
    ref = weakref.ref(thing)
    assert prepared(2) is thing
    del thing, prepared
    gc.collect()
    assert ref() is None
