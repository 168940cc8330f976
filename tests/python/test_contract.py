"""Preparing leaves the world of a model as it was: every region that forward may change, in every kind of call, however
the preparation ends."""

import copy
import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from modulize import ModulizeError, prepare_model, register_operation

GLOBAL = {"calls": 0}
GENERATOR = random.Random(5)


class Other(nn.Module):
    def forward(self, x, then):
        return x


class Config:
    def __init__(self):
        self.size = 1


class Net(nn.Module):
    """Calls ``write(model, x)`` in the way of its subclass, then goes on as ``then`` says."""

    total = 0

    def __init__(self, write):
        super().__init__()
        self.write = [write]  # in a list: a function that is no method, and nothing that is traced by name
        self.fc = nn.Linear(4, 4)
        self.table = nn.Embedding(5, 4, max_norm=0.5)
        self.w = nn.Parameter(torch.ones(4))
        self.plain = torch.ones(4)
        self.count = 0
        self.gone = 3
        self.seen, self.cache, self.names = [1], {"a": 1}, {"a"}
        self.generator = torch.Generator().manual_seed(3)
        self.own_random = random.Random(3)
        self.norm = nn.BatchNorm1d(4)
        self.nested, self.config = [[1]], Config()
        self.register_buffer("stats", torch.zeros(4))

    def example(self, x, then):
        return x, then

    def forward(self, x, then):
        x = self.touch(x)
        return self.go_on(x, then)

    def go_on(self, x, then):
        if then == "value":
            x = x * 2 if x.sum() > 0 else x * 3
        if then == "error":
            raise ValueError("the model's own")
        if then == "interrupt":
            raise KeyboardInterrupt
        return self.fc(x)


def write_it(model, x):
    model.write[0](model, x)
    return x * 1


class Recorded(Net):
    def touch(self, x):
        self.write[0](self, x)
        return x


class InFunction(Net):
    def touch(self, x):
        return write_it(self, x)


def registered(model, x):
    model.write[0](model, x)
    return x * 1


class Registered(nn.Module):
    def forward(self, model, x):
        return registered(model, x)


register_operation(registered, Registered)


class InRegistered(Net):
    def touch(self, x):
        return registered(self, x)


class Inner(nn.Module):
    def __init__(self, holder):
        super().__init__()
        self.holder = [holder]

    def forward(self, x):
        return write_it(self.holder[0], x)


class InGivenModule(Net):
    def example(self, x, then):
        return x, then, Inner(self)

    def forward(self, x, then, inner):
        return self.go_on(inner(x), then)


class InModule(Net):
    def __init__(self, write):
        super().__init__(write)
        self.inner = Inner(self)

    def touch(self, x):
        return self.inner(x)


class InModuleWithHooks(InModule):
    def __init__(self, write):
        super().__init__(write)
        self.inner.register_forward_hook(lambda module, args, output: output * 2)


def on_values(model, x):
    model.write[0](model, x)
    return x * float(x.detach().numpy().mean())


class InKeptFunction(Net):
    def touch(self, x):
        return on_values(self, x)


class InKeptRoot(Net):
    def touch(self, x):
        self.write[0](self, x)
        return x * float(x.detach().numpy().mean())


class Writes(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, model):
        model.write[0](model, x)
        return x * 2

    @staticmethod
    def backward(ctx, gradient):
        return gradient * 2, None


class InAutogradFunction(Net):
    def touch(self, x):
        return Writes.apply(x, self)


class InHook(Net):
    def __init__(self, write):
        super().__init__(write)
        self.fc.register_forward_pre_hook(self.hook)

    def hook(self, _, args):
        self.write[0](self, args[0])

    def touch(self, x):
        return x


WAYS = {
    "recorded": (Recorded, {}),
    "function": (InFunction, {}),
    "excluded function": (InFunction, {"functions_to_exclude": [write_it]}),
    "module": (InModule, {}),
    "excluded module": (InModule, {"module_classes_to_exclude": [Inner]}),
    "kept module": (InModuleWithHooks, {}),
    "given module": (InGivenModule, {}),
    "registered operation": (InRegistered, {}),
    "kept function": (InKeptFunction, {}),
    "kept root": (InKeptRoot, {}),
    "autograd function": (InAutogradFunction, {}),
    "hook": (InHook, {}),
}


def numpy_writes(model, x):
    memory = model.w.detach().numpy()
    memory *= 0.5


def adds_gradients(model, x):
    with torch.enable_grad():
        (model.fc(x) * model.w).sum().backward()


def assign(name, value):
    return lambda model, x: setattr(model, name, value)


def new_memory(model, x):
    model.w.data = model.w.data * 2


def in_class(model, x):
    type(model).total += 1


def in_global(model, x):
    GLOBAL["calls"] += 1


WRITES = {
    "parameter in place": lambda model, x: model.w.data.mul_(0.5),
    "parameter by no_grad": lambda model, x: torch.no_grad()(model.w.add_)(1),
    "parameter by numpy": numpy_writes,
    "parameter gets other memory": new_memory,
    "max_norm of a layer": lambda model, x: model.table(torch.tensor([0, 1])),
    "max_norm of a function": lambda model, x: F.embedding(torch.tensor([2]), model.table.weight, max_norm=0.1),
    "plain tensor": lambda model, x: model.plain.add_(1),
    "requires_grad": lambda model, x: model.fc.requires_grad_(False),
    "gradients": adds_gradients,
    "class of the model": assign("__class__", Other),
    "number": lambda model, x: setattr(model, "count", model.count + 1),
    "new attribute": assign("made", 4),
    "deleted attribute": lambda model, x: delattr(model, "gone"),
    "list": lambda model, x: model.seen.append(2),
    "dict": lambda model, x: model.cache.update(b=2),
    "list in a list": lambda model, x: model.nested[0].append(2),
    "object": lambda model, x: setattr(model.config, "size", 2),
    "set": lambda model, x: model.names.add("b"),
    "buffer": lambda model, x: model.stats.add_(1),
    "statistics of a layer": lambda model, x: model.norm(x),
    "new buffer": lambda model, x: model.register_buffer("more", torch.zeros(2), persistent=False),
    "hooks": lambda model, x: model.fc.register_forward_hook(lambda *_: None),
    "torch's generator": lambda model, x: torch.rand(2),
    "Python's generator": lambda model, x: random.random(),
    "numpy's generator": lambda model, x: np.random.rand(2),
    "generator of the model": lambda model, x: torch.rand(2, generator=model.generator),
    "Python's generator of the model": lambda model, x: model.own_random.random(),
    "Python's generator of the module": lambda model, x: GENERATOR.random(),
    "class attribute": in_class,
    "global": in_global,
}


def world_of(model) -> dict:
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers()), "plain": model.plain}
    return {
        "contents": {name: tensor.detach().clone().tolist() for name, tensor in tensors.items()},
        "tensors": {name: (id(tensor), tensor.requires_grad) for name, tensor in tensors.items()},
        "gradients": {name: None if p.grad is None else p.grad.tolist() for name, p in model.named_parameters()},
        "classes": [type(m) for m in model.modules()],
        "attributes": {
            name: copy.deepcopy(value)
            for name, value in model.__dict__.items()
            if isinstance(value, (int, list, dict, set)) and name != "write" and not name.startswith("_")
        },
        "config": dict(vars(model.config)),
        "names": [sorted(m.__dict__) for m in model.modules()],
        "buffers": [(list(m._buffers), set(m._non_persistent_buffers_set)) for m in model.modules()],
        "hooks": [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()],
        "torch": torch.get_rng_state().tolist(),
        "random": random.getstate(),
        "numpy": np.random.get_state()[1].tolist(),
        "held": (model.generator.get_state().tolist(), model.own_random.getstate(), GENERATOR.getstate()),
        "globals": (dict(GLOBAL), type(model).total),
        "modes": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
    }


ENDS = {
    "success": ("", {}, ()),
    "refusal": ("value", {"on_dynamic": "error"}, ModulizeError),
    "exception": ("error", {}, ValueError),
    "interrupt": ("interrupt", {}, KeyboardInterrupt),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("write", WRITES)
def test_the_world_is_as_before(write, way):
    cls, options = WAYS[way]
    for end, (then, more, expected) in ENDS.items():
        torch.manual_seed(0)
        model = cls(WRITES[write]).eval()
        model.norm.train()
        model.fc.weight.grad = torch.ones(4, 4)
        x = torch.rand(2, 4) + 1
        before = world_of(model)
        raised = None
        try:
            prepare_model(model, example_inputs=model.example(x, then), **options, **more)
        except (ModulizeError, ValueError, KeyboardInterrupt, RuntimeError, AttributeError) as error:
            raised = error
        after = world_of(model)
        different = {key: (before[key], after[key]) for key in before if before[key] != after[key]}
        assert not different, (end, raised, different)
        if end in ("exception", "interrupt"):  # unless the write itself is refused or raises first
            assert isinstance(raised, (expected, ModulizeError, RuntimeError, AttributeError)), (end, raised)


def test_a_write_that_nobody_puts_back_would_be_seen():
    model = Recorded(WRITES["parameter in place"]).eval()
    before = world_of(model)
    model(torch.rand(2, 4), "")
    assert world_of(model)["contents"] != before["contents"]
