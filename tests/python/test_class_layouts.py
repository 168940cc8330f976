"""Classes whose objects cannot change over to any subclass: another first base than nn.Module, slots, metaclasses."""

import copy
import pickle
from abc import ABC, ABCMeta, abstractmethod
from typing import Generic, Protocol, TypeVar, runtime_checkable

import pytest
import torch
from torch import fx, nn

from modulize import UnsupportedError, prepare_model
from modulize.validate import validate_model

T = TypeVar("T")


@runtime_checkable
class Named(Protocol):
    def named(self) -> str: ...


class Abstract(ABC):
    @abstractmethod
    def build(self): ...


class Meta(ABCMeta):
    made = []

    def __new__(mcs, name, bases, members):
        cls = super().__new__(mcs, name, bases, members)
        Meta.made.append(name)
        return cls


class Body:
    __slots__ = ()

    def build(self):
        self.fc, self.act = nn.Linear(3, 3), nn.ReLU()

    def forward(self, x):
        return self.act(self.fc(self.act(x)) + 1) * 2

    def width(self):
        return self.fc.in_features


class Plain(Body, nn.Module):
    def __init__(self):
        super().__init__()
        self.build()


class AbcFirst(Abstract, Body, nn.Module):
    build = Body.build

    def __init__(self):
        super().__init__()
        self.build()


class GenericFirst(Generic[T], Body, nn.Module):
    def __init__(self):
        super().__init__()
        self.build()


class ProtocolFirst(Named, Body, nn.Module):
    def __init__(self):
        nn.Module.__init__(self)  # Protocol's own does not go on
        self.build()


class SlotsFirst(Body, nn.Module):
    __slots__ = ("scale",)

    def __init__(self):
        super().__init__()
        self.build()
        self.scale = 3.0

    def forward(self, x):
        return super().forward(x) * self.scale


class AbcWithSlots(Abstract, Body, nn.Module):
    __slots__ = ("scale",)
    build = Body.build

    def __init__(self):
        super().__init__()
        self.build()
        self.scale = 3.0

    def forward(self, x):
        return super().forward(x) * self.scale


class WithDict(Body, nn.Module):
    __slots__ = ("__dict__",)

    def __init__(self):
        super().__init__()
        self.build()


class OfMeta(Body, nn.Module, metaclass=Meta):
    def __init__(self):
        super().__init__()
        self.build()


class MetaAndAbc(Abstract, Body, nn.Module, metaclass=Meta):
    build = Body.build

    def __init__(self):
        super().__init__()
        self.build()


class Keyed:
    __slots__ = ()

    def __init_subclass__(cls, *, key, **more):
        super().__init_subclass__(**more)
        cls.key = key


class OfKey(Keyed, Body, nn.Module, key=3):
    def __init__(self):
        super().__init__()
        self.build()


# A kind of class whose subclasses cannot be made without more: what is prepared is of none of its classes.
CLASSES = [
    *(Plain, AbcFirst, GenericFirst, ProtocolFirst, SlotsFirst, AbcWithSlots, WithDict, OfMeta, MetaAndAbc),
]


class AbcList(ABC, nn.ModuleList):
    pass


class GenericSequential(Generic[T], nn.Sequential):
    pass


class ProtocolDict(Named, nn.ModuleDict):
    def width(self):
        return 3


class Around(nn.Module):
    """Calls a block twice, so that its second call is a copy, and something that computes beside it."""

    def __init__(self, block):
        super().__init__()
        self.block = block

    def forward(self, x):
        return torch.relu(self.block(self.block(x) - 1))


class KeptAround(nn.Module):
    """Its own code is kept, so that the block is prepared by itself."""

    def __init__(self, block):
        super().__init__()
        self.block = block

    def forward(self, x):
        factor = float(x.detach().numpy().mean() > 0) + 1
        return self.block(x) * factor


class Contained(nn.Module):
    def __init__(self, container, blocks):
        super().__init__()
        self.blocks = container(blocks)

    def forward(self, x):
        for block in self.blocks.values() if isinstance(self.blocks, nn.ModuleDict) else self.blocks:
            x = torch.relu(block(x) + 1)
        return x


class Run(GenericSequential):
    """Its additions stand in the container itself."""

    def forward(self, x):
        for block in self:
            x = torch.relu(block(x) + 1)
        return x


class AbcRun(AbcList):
    def forward(self, x):
        for block in self:
            x = torch.relu(block(x) + 1)
        return x


def example():
    return torch.randn(2, 3, generator=torch.Generator().manual_seed(0))


def check(model, prepared):
    """Equal, also as a copy and from a pickle; every module has its class; the original has none but its own."""
    x = example()
    expected = model(x)
    for one in (prepared, copy.deepcopy(prepared), pickle.loads(pickle.dumps(prepared)), copy.copy(prepared)):
        assert torch.equal(one(x), expected)
        assert torch.equal(one.train()(x), model.train()(x))
        model.eval(), one.eval()
        for path, module in model.named_modules():
            assert isinstance(one.get_submodule(path), type(module)), path
        assert list(one.state_dict()) == list(model.state_dict())
    for module in model.modules():
        assert not isinstance(module, fx.GraphModule)
    assert not [finding for finding in validate_model(prepared, x).findings if finding.is_error]


@pytest.mark.parametrize("hierarchy", ["flat", "keep"])
@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_a_root(cls, hierarchy):
    model = cls().eval()
    prepared = prepare_model(model, example_inputs=example(), hierarchy=hierarchy)
    check(model, prepared)
    assert type(prepared).__name__ == cls.__name__
    assert prepared.width() == 3


@pytest.mark.parametrize("hierarchy", ["flat", "keep"])
@pytest.mark.parametrize("around", [Around, KeptAround])
@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_a_block(cls, around, hierarchy):
    model = around(cls()).eval()
    prepared = prepare_model(model, example_inputs=example(), hierarchy=hierarchy)
    check(model, prepared)
    assert prepared.block.width() == 3
    is_graph = hierarchy == "keep" or around is KeptAround
    assert isinstance(prepared.block, fx.GraphModule) is is_graph
    if is_graph:
        assert isinstance(prepared.block.module_add, nn.Module)
    if around is Around and hierarchy == "keep":  # its second call
        blocks = [module for module in prepared.modules() if isinstance(module, cls)]
        assert len(blocks) == 2
        assert type(blocks[0]) is not type(blocks[1])
    if hasattr(model.block, "scale"):
        assert prepared.block.scale == 3.0


@pytest.mark.parametrize("hierarchy", ["flat", "keep"])
@pytest.mark.parametrize("container", [AbcList, GenericSequential, ProtocolDict, nn.ModuleList])
@pytest.mark.parametrize("cls", [Plain, AbcFirst, GenericFirst])
def test_blocks_in_containers(cls, container, hierarchy):
    blocks = [cls(), cls()]
    given = {"a": blocks[0], "b": blocks[1]} if container is ProtocolDict else blocks
    model = Contained((lambda b: container(*b)) if container is GenericSequential else container, given).eval()
    prepared = prepare_model(model, example_inputs=example(), hierarchy=hierarchy)
    check(model, prepared)
    assert len(prepared.blocks) == 2


@pytest.mark.parametrize("hierarchy", ["flat", "keep"])
@pytest.mark.parametrize("within", [False, True], ids=["root", "inside"])
@pytest.mark.parametrize("make", [lambda: Run(Plain(), AbcFirst()), lambda: AbcRun([Plain(), AbcFirst()])])
def test_containers_that_get_children(make, within, hierarchy):
    model = (Around(make()) if within else make()).eval()
    prepared = prepare_model(model, example_inputs=example(), hierarchy=hierarchy)
    check(model, prepared)
    container = prepared.block if within else prepared
    assert len(container) == len(list(container)) == 2
    assert len(list(container.children())) > 2
    assert len(copy.deepcopy(container)) == len(pickle.loads(pickle.dumps(prepared)).block if within else prepared) == 2
    for index in range(2):
        assert container[index] is list(container)[index]


@pytest.mark.parametrize("around", [None, Around, KeptAround])
@pytest.mark.parametrize("hierarchy", ["flat", "keep"])
def test_a_class_whose_subclasses_need_more_is_prepared_without_being_one(around, hierarchy):
    model = (around(OfKey()) if around else OfKey()).eval()
    prepared = prepare_model(model, example_inputs=example(), hierarchy=hierarchy)
    for one in (prepared, copy.deepcopy(prepared), pickle.loads(pickle.dumps(prepared))):
        assert torch.equal(one(example()), model(example()))
    assert type(model if around is None else model.block) is OfKey


class OfDict(Body, nn.Module, dict):
    __hash__ = nn.Module.__hash__

    def __init__(self):
        super().__init__()
        self.build()


def test_a_block_that_cannot_be_made_is_refused_and_left_alone():
    model = Around(OfDict()).eval()
    with pytest.raises(UnsupportedError, match="cannot prepare a module of class"):
        prepare_model(model, example_inputs=example(), hierarchy="keep")
    assert type(model.block) is OfDict
    prepared = prepare_model(model, example_inputs=example())
    assert torch.equal(prepared(example()), model(example()))


def test_a_prepared_block_leaves_the_prepared_model_that_it_comes_from():
    inner = prepare_model(AbcFirst().eval(), example_inputs=example())
    before = inner.forward.__func__
    outer = prepare_model(Around(inner).eval(), example_inputs=example(), hierarchy="keep")
    assert inner.forward.__func__ is before
    assert torch.equal(outer(example()), Around(inner)(example()))
