"""Models that are themselves wrapped, rewritten, reparametrised or prepared already."""

import copy

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, prune

from modulize import prepare_model
from soundness.rule import COLUMNS, Net, model_trap, trap


class Block(Net):
    def forward(self, x):
        return self.norm(F.gelu(self.fc(x))) + self.fc2(x) * self.scale


@model_trap(train=True)
def already_a_graph_module():
    return torch.fx.symbolic_trace(Block())


@model_trap(train=True)
def prepared_already_by_running():
    return prepare_model(Block(), example_inputs=torch.randn(2, COLUMNS))


@model_trap(train=True)
def prepared_already_without_inputs():
    return prepare_model(Block())


@model_trap(gradients=False)
def compiled():
    return torch.compile(Block(), backend="eager")


@model_trap()
def scripted_root():
    class Small(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(COLUMNS, COLUMNS)

        def forward(self, x):
            return torch.relu(self.fc(x))

    return torch.jit.trace(Small(), torch.randn(2, COLUMNS))


@model_trap()
def data_parallel():
    return nn.DataParallel(Block())


@model_trap(train=True)
def averaged():
    return torch.optim.swa_utils.AveragedModel(Block())


@model_trap(train=True)
def root_with_a_hook():
    model = Block()
    model.register_forward_hook(lambda module, args, result: result * 2)
    model.register_forward_pre_hook(lambda module, args: (args[0] + 1,))
    return model


@model_trap()
def root_with_a_keyword_hook():
    model = Block()
    model.register_forward_pre_hook(lambda module, args, kwargs: ((args[0] * 2,), kwargs), with_kwargs=True)
    return model


@model_trap()
def hook_that_shortens_the_gradient():
    model = Block()
    model.fc.register_full_backward_hook(lambda module, grad_in, grad_out: (grad_in[0] * 0.5,))
    return model


@model_trap(train=True)
def weight_norm_by_hooks():
    model = Block()
    nn.utils.weight_norm(model.fc)
    return model


@model_trap(train=True)
def weight_norm_by_parametrization():
    model = Block()
    parametrizations.weight_norm(model.fc)
    return model


@model_trap(train=True, stateful=True)
def spectral_norm_by_hooks():
    model = Block()
    nn.utils.spectral_norm(model.fc)
    return model


@model_trap(train=True, stateful=True)
def spectral_norm_by_parametrization():
    model = Block()
    parametrizations.spectral_norm(model.fc)
    return model


@model_trap()
def orthogonal():
    model = Block()
    parametrizations.orthogonal(model.fc)
    return model


@model_trap()
def pruned():
    model = Block()
    prune.random_unstructured(model.fc, "weight", amount=0.5)
    return model


class Lora(nn.Module):
    """A frozen layer with a trained low-rank addition that can be merged."""

    def __init__(self, base, rank=2):
        super().__init__()
        self.base = base
        self.down = nn.Linear(base.in_features, rank, bias=False)
        self.up = nn.Linear(rank, base.out_features, bias=False)
        self.merged = False
        self.scaling = 0.5
        base.weight.requires_grad_(False)

    @property
    def weight(self):
        return self.base.weight

    def forward(self, x):
        if self.merged:
            return self.base(x)
        return self.base(x) + self.up(self.down(x)) * self.scaling


@model_trap(train=True)
def low_rank_adapters():
    model = Block()
    model.fc = Lora(model.fc)
    model.fc2 = Lora(model.fc2)
    return model


@model_trap(train=True)
def copied_deeply():
    return copy.deepcopy(Block())


@model_trap()
def one_child_under_two_names():
    model = nn.Sequential(nn.Linear(COLUMNS, COLUMNS), nn.ReLU(), nn.Linear(COLUMNS, COLUMNS))
    model.append(model[1])
    model.append(model[0])
    return model


@model_trap()
def a_model_inside_itself():
    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = prepare_model(Block(), example_inputs=torch.randn(2, COLUMNS))
            self.other = torch.fx.symbolic_trace(Block())

        def forward(self, x):
            return self.inner(x) + self.inner(x * 2) + self.other(x)

    return Outer()


@trap(train=True)
class children_replaced_while_running(Net):
    """Lazy set-up on the first call."""

    def __init__(self):
        super().__init__()
        self.head = None

    def forward(self, x):
        if self.head is None:
            torch.manual_seed(7)
            self.head = nn.Linear(x.shape[1], 3)
        return self.head(self.fc(x))


@trap()
class frozen_submodule(Net):
    def __init__(self):
        super().__init__()
        for parameter in self.fc.parameters():
            parameter.requires_grad_(False)

    def forward(self, x):
        return self.fc2(self.fc(x))


@trap()
class recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(COLUMNS, COLUMNS)
        self.lstm = nn.LSTM(COLUMNS, COLUMNS, batch_first=True)

    def forward(self, x):
        state = torch.zeros_like(x)
        for step in x.unbind(0):
            state = self.cell(step.expand_as(x), state)
        return self.lstm(state[None])[0]


@trap(train=True)
class shared_between_branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Linear(COLUMNS, COLUMNS), nn.BatchNorm1d(COLUMNS), nn.ReLU())

    def forward(self, x):
        return self.stem(x) + self.stem(-x) + self.stem[0](x)
