"""Ways of calling: closures, decorators, generators, modules that are not children, functions torch runs itself."""

import concurrent.futures
import functools
import operator
import types

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from soundness.rule import COLUMNS, Net, trap

SHIFT = torch.linspace(0, 1, COLUMNS)
LAYER = nn.Linear(COLUMNS, COLUMNS)


@trap()
class closure_over_a_tensor(Net):
    def __init__(self):
        super().__init__()
        shift = torch.linspace(1, 2, COLUMNS)
        self.add = lambda t: t + shift

    def forward(self, x):
        return self.add(x) * SHIFT


@trap()
class partial_of_a_function(Net):
    def __init__(self):
        super().__init__()
        self.act = functools.partial(F.leaky_relu, negative_slope=0.3)
        self.mix = functools.partial(torch.lerp, weight=0.25)

    def forward(self, x):
        return self.mix(self.act(x), self.fc(x))


def counted(function):
    @functools.wraps(function)
    def wrapper(self, x, *args, **kwargs):
        return function(self, x * 2, *args, **kwargs) + x.shape[0]

    return wrapper


@trap()
class decorated_forward(Net):
    @counted
    def forward(self, x, bias=1.0):
        return self.fc(x) + bias


@trap()
class generator_of_features(Net):
    def features(self, x):
        for layer in (self.fc, self.fc2):
            x = layer(x)
            yield x

    def forward(self, x):
        return torch.cat(list(self.features(x)), 1)


@trap()
def map_and_filter(self, x):
    parts = list(filter(lambda t: t.shape[0] > 0, map(torch.sigmoid, x.chunk(2))))
    return torch.cat(parts)


@trap()
def operator_module(self, x):
    view = operator.methodcaller("view", -1, COLUMNS)
    return operator.add(operator.mul(view(x), 2), operator.attrgetter("fc.bias")(self))


@trap()
class list_of_modules(nn.Module):
    """A Python list: the layers are no children, their parameters are not registered."""

    def __init__(self):
        super().__init__()
        self.layers = [nn.Linear(COLUMNS, COLUMNS) for _ in range(3)]

    def forward(self, x):
        for layer in self.layers:
            x = F.relu(layer(x))
        return x


@trap()
class dict_of_functions(Net):
    def __init__(self):
        super().__init__()
        self.table = {"a": F.relu, "b": torch.tanh, "c": lambda t: t * 2}

    def forward(self, x):
        return sum(self.table[key](x) for key in sorted(self.table))


@trap()
class configured_between_calls(nn.Module):
    """One block, another setting before each call."""

    class Scale(nn.Module):
        factor = 1.0

        def forward(self, x):
            return x * self.factor

    def __init__(self):
        super().__init__()
        self.block = self.Scale()
        self.drop = nn.LeakyReLU(0.1)

    def forward(self, x):
        for i in range(3):
            self.block.factor = float(i + 1)
            self.drop.negative_slope = 0.1 * (i + 1)
            x = self.drop(self.block(x) - 1)
        return x


@trap()
class weights_replaced_in_forward(Net):
    """Weight standardisation by assignment."""

    def forward(self, x):
        weight = self.fc.weight
        return F.linear(x, (weight - weight.mean(1, keepdim=True)) / (weight.std(1, keepdim=True) + 1e-5), self.fc.bias)


@trap()
def module_made_in_forward(self, x):
    return nn.ReLU()(self.fc(x)) + nn.LayerNorm(COLUMNS)(x)


@trap()
def module_with_random_weights_made_in_forward(self, x):
    return nn.Linear(COLUMNS, 2)(x)


@trap()
def module_from_a_global(self, x):
    return LAYER(x) + self.fc(x)


@trap()
def forward_called_directly(self, x):
    return self.fc.forward(x) + nn.Linear.forward(self.fc2, x)


@trap()
class method_replaced_on_the_object(Net):
    def __init__(self):
        super().__init__()
        self.fc.forward = types.MethodType(lambda module, t: F.linear(t, module.weight * 2), self.fc)

    def forward(self, x):
        return self.fc(x)


@trap()
class overridden_call(Net):
    class Twice(nn.Module):
        def __call__(self, x):
            return super().__call__(x) * 2

        def forward(self, x):
            return x + 1

    def __init__(self):
        super().__init__()
        self.twice = self.Twice()

    def forward(self, x):
        return self.twice(self.fc(x))


@trap()
class attributes_by_getattr(Net):
    def __getattr__(self, name):
        if name == "doubled":
            return self.scale * 2
        return super().__getattr__(name)

    def forward(self, x):
        return x * self.doubled


@trap()
class computed_property(Net):
    @property
    def weight(self):
        return self.fc.weight * self.scale

    def forward(self, x):
        return F.linear(x, self.weight) + F.linear(x, self.weight.t())


@trap()
class callable_object(Net):
    class Clip:
        def __init__(self, limit):
            self.limit = limit

        def __call__(self, t):
            return t.clamp(-self.limit, self.limit)

    def __init__(self):
        super().__init__()
        self.clip = self.Clip(0.5)

    def forward(self, x):
        return self.clip(self.fc(x))


@trap()
class hooks_on_children(Net):
    def __init__(self):
        super().__init__()
        self.fc.register_forward_hook(lambda module, args, result: result * 2)
        self.fc2.register_forward_pre_hook(lambda module, args: (args[0] + 1,))

    def forward(self, x):
        return self.fc2(self.fc(x))


@trap(stateful=True)
class hook_that_taps(Net):
    def __init__(self):
        super().__init__()
        self.taps = {}
        self.fc.register_forward_hook(self.tap)

    def tap(self, module, args, result):
        self.taps["fc"] = result

    def forward(self, x):
        self.fc(x)
        return self.taps["fc"] * 2


@trap()
def vmap_over_rows(self, x):
    return torch.vmap(lambda row: row * row.sum())(x)


@trap(gradients=False)
def gradient_inside_forward(self, x):
    with torch.enable_grad():
        y = x.detach().requires_grad_()
        (g,) = torch.autograd.grad((y**3).sum(), y)
    return x - 0.1 * g


@trap()
def functional_gradient(self, x):
    return torch.func.grad(lambda t: (t**3).sum())(x)


@trap()
def functional_call_with_other_weights(self, x):
    weights = {name: p * 2 for name, p in self.fc.named_parameters()}
    return torch.func.functional_call(self.fc, weights, (x,))


@trap(train=True)
def checkpointed(self, x):
    return checkpoint(lambda t: F.relu(self.fc(t)) * t.mean(), x, use_reentrant=False)


class RoundSte(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.round()

    @staticmethod
    def backward(ctx, grad):
        return grad


class ScaledGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, factor):
        ctx.save_for_backward(x)
        ctx.factor = factor
        return x.clamp(-1, 1)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * ctx.factor * (x.abs() < 2), None


@trap()
def straight_through_function(self, x):
    return RoundSte.apply(self.fc(x)) * self.scale


@trap()
def straight_through_detach(self, x):
    y = self.fc(x)
    return y + (y.round() - y).detach()


@trap()
def custom_backward_with_saved_tensors(self, x):
    return ScaledGradient.apply(self.fc(x), 0.5)


@trap()
def custom_backward_with_a_size(self, x):
    return ScaledGradient.apply(self.fc(x), 1.0 / x.shape[0])


@trap()
def gradient_reversal_by_hook(self, x):
    y = self.fc(x)
    if y.requires_grad:
        y.register_hook(lambda grad: -grad)
    return y * 2


@torch.jit.script
def scripted_gate(x: torch.Tensor, limit: float) -> torch.Tensor:
    if bool(x.sum() > 0):
        return x * limit
    return x.relu()


@trap()
def scripted_function(self, x):
    return scripted_gate(self.fc(x), 0.5)


@trap()
class scripted_module(Net):
    class Inner(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for _ in range(x.size(0)):
                x = x * 0.9
            return x

    def __init__(self):
        super().__init__()
        self.inner = torch.jit.script(self.Inner())

    def forward(self, x):
        return self.inner(self.fc(x))


@trap()
def threads_in_forward(self, x):
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return sum(pool.map(lambda layer: layer(x), (self.fc, self.fc2)))


@trap()
def coroutine(self, x):
    async def compute(t):
        return self.fc(t)

    task = compute(x)
    try:
        task.send(None)
    except StopIteration as done:
        return done.value * 2


@trap()
class parametrised_weight(Net):
    class Symmetric(nn.Module):
        def forward(self, w):
            return w.triu() + w.triu(1).t()

    def __init__(self):
        super().__init__()
        nn.utils.parametrize.register_parametrization(self.fc, "weight", self.Symmetric())

    def forward(self, x):
        return self.fc(x)


@trap()
class tied_weights(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(COLUMNS, COLUMNS, bias=False)
        self.head = nn.Linear(COLUMNS, COLUMNS, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, x):
        return self.head(F.gelu(self.embed(x)))


@trap()
class weights_in_a_parameter_list(nn.Module):
    def __init__(self):
        super().__init__()
        self.weights = nn.ParameterList([torch.randn(COLUMNS, COLUMNS) for _ in range(3)])
        self.gates = nn.ParameterDict({"a": torch.ones(COLUMNS), "b": torch.zeros(COLUMNS)})

    def forward(self, x):
        for weight in self.weights:
            x = x @ weight
        return x * self.gates["a"] + sum(self.gates.values())


@trap()
class attribute_that_shadows(nn.Module):
    """Children whose names are those of a graph module's own attributes."""

    def __init__(self):
        super().__init__()
        self.graph = nn.Linear(COLUMNS, COLUMNS)
        self.code = nn.ReLU()
        self.report = nn.Linear(COLUMNS, COLUMNS)

    def forward(self, x):
        return self.report(self.code(self.graph(x)))


@trap()
def activation_made_in_forward(self, x):
    return nn.ReLU()(self.fc(x)) + nn.Softmax(dim=-1)(x)
