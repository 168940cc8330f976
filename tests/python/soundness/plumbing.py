"""The Python between the layers: wrappers, caches, hooks, closures, configurations, records, shared modules."""

import abc
import collections
import contextlib
import copy
import dataclasses
import enum
import functools
import itertools
import operator
import re
import sys
import types
import weakref
from typing import Any, NamedTuple, TypedDict

import numpy
import torch
import torch.nn.functional as F
from torch import nn

from soundness.rule import COLUMNS, Net, model_trap, trap


class Pair(NamedTuple):
    mean: torch.Tensor
    spread: torch.Tensor | None = None


@trap()
def named_tuple_with_a_default(self, x):
    h = self.fc(x)
    return Pair(h.mean(0), h.std(0) if x.shape[0] > 1 else None)


class Fields(TypedDict, total=False):
    last: torch.Tensor
    all: list[torch.Tensor]


@trap()
def typed_dict_returned(self, x):
    out: Fields = {"last": self.fc(x)}
    out["all"] = [*out.get("all", []), x * self.scale]
    return out


class Kind(enum.Enum):
    ADD = "add"
    SCALE = "scale"

    def apply(self, x, y):
        return x + y if self is Kind.ADD else x * y


@trap(extra=[(lambda g: ((torch.randn(2, COLUMNS, generator=g), Kind.SCALE), {}), contextlib.nullcontext)])
def enumeration_as_an_argument(self, x, kind=Kind.ADD):
    return kind.apply(self.fc(x), self.scale)


class Mode(enum.IntFlag):
    A = 1
    B = 2


@trap(extra=[(lambda g: ((torch.randn(2, COLUMNS, generator=g),), {"mode": Mode.A}), contextlib.nullcontext)])
def flags_as_an_argument(self, x, mode=Mode.A | Mode.B):
    if mode & Mode.B:
        x = self.fc2(x)
    return self.fc(x) * int(mode)


@trap(
    extra=[
        (lambda g: ((torch.randn(2, COLUMNS, generator=g),), {"scale": 2.5}), contextlib.nullcontext),
        (lambda g: ((torch.randn(2, COLUMNS, generator=g),), {"scale": 0}), contextlib.nullcontext),
        (lambda g: ((torch.randn(2, COLUMNS, generator=g),), {"scale": torch.tensor(3.0)}), contextlib.nullcontext),
    ]
)
def or_default(self, x, scale=None):
    scale = scale or self.scale
    return self.fc(x) * scale


@trap(
    extra=[
        (lambda g: ((torch.randn(2, COLUMNS, generator=g),), {"keep": 3}), contextlib.nullcontext),
        (lambda g: ((torch.randn(2, COLUMNS, generator=g),), {"keep": [0, 2]}), contextlib.nullcontext),
        (lambda g: ((torch.randn(2, COLUMNS, generator=g),), {"keep": slice(1, 3)}), contextlib.nullcontext),
    ]
)
def index_as_an_argument(self, x, keep=(1, 2)):
    if isinstance(keep, tuple):
        keep = list(keep)
    return self.fc(x)[:, keep]


class Recorder(Net):
    def __init__(self):
        super().__init__()
        self.features = {}
        self.fc.register_forward_hook(self.keep)

    def keep(self, module, args, result):
        self.features["fc"] = result

    def forward(self, x):
        y = self.fc2(self.fc(x).relu())
        return y + self.features.pop("fc") * 0.5


trap()(Recorder)


class hook_that_counts(Net):
    def __init__(self):
        super().__init__()
        self.calls = 0

        def count(module, args, result):
            self.calls += 1
            return result * self.calls

        self.fc.register_forward_hook(count)

    def forward(self, x):
        return self.fc2(self.fc(x)) + self.fc(x)


trap(stateful=True, attributes=("calls",))(hook_that_counts)


class hook_taken_away_in_forward(Net):
    def forward(self, x):
        seen = []
        handle = self.fc.register_forward_hook(lambda m, a, r: seen.append(r))
        try:
            y = self.fc2(torch.relu(self.fc(x)))
        finally:
            handle.remove()
        return y + seen[0]


trap()(hook_taken_away_in_forward)


class hook_on_a_tensor_that_scales(Net):
    def forward(self, x):
        h = self.fc(x)
        n = x.shape[0]
        if h.requires_grad:
            h.register_hook(lambda grad: grad / n)
        return self.fc2(h).relu()


trap()(hook_on_a_tensor_that_scales)


class Proxy(nn.Module):
    """Gives what it does not have from the module inside."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("inner"), name)

    def forward(self, *args, **kwargs):
        return self.inner(*args, **kwargs) * self.scale


class Plain(Net):
    def forward(self, x, twice=False):
        y = self.fc(x)
        return self.fc2(y) if twice else y


@model_trap(extra=[(lambda g: ((torch.randn(2, COLUMNS, generator=g),), {"twice": True}), contextlib.nullcontext)])
def wrapper_that_forwards_attributes():
    return Proxy(Plain())


@model_trap()
def wrapper_of_a_wrapper():
    return Proxy(Proxy(Plain()))


class lazy_property(Net):
    @property
    def norms(self):
        if not hasattr(self, "_norms"):
            self._norms = self.fc.weight.norm(dim=1)
        return self._norms

    def forward(self, x):
        return self.fc(x) / self.norms


# What is cached of the weights is computed at every call, with gradients: docs/limitations.md.
trap(stateful=True, gradients=False)(lazy_property)


class cached_property_of_weights(Net):
    @functools.cached_property
    def table(self):
        return torch.outer(self.offset, self.offset)

    def forward(self, x):
        return self.fc(x) @ self.table


trap()(cached_property_of_weights)


class cached_method(Net):
    @functools.lru_cache  # noqa: B019
    def mask(self, n, kind):
        m = torch.ones(n, n).tril()
        return m if kind == "causal" else m.T

    def forward(self, x):
        n = x.shape[0]
        return self.mask(n, "causal") @ self.fc(x) + self.mask(n, "other") @ x


trap()(cached_method)


@functools.cache
def frequencies(n, base=100.0):
    return base ** (-torch.arange(n) / n)


@trap(wide=False, reset=frequencies.cache_clear)
def cached_frequencies(self, x):
    return self.fc(x) * frequencies(x.shape[-1]) + frequencies(x.shape[0], base=3.0)[:, None]


class cache_in_a_weak_dictionary(Net):
    def __init__(self):
        super().__init__()
        self.known = weakref.WeakKeyDictionary()

    def forward(self, x):
        if self.fc not in self.known:
            self.known[self.fc] = torch.arange(COLUMNS) * 0.1
        return self.fc(x) + self.known[self.fc]


trap(stateful=True)(cache_in_a_weak_dictionary)


class parent_by_weak_reference(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = Plain()
        self.child = Child(self)

    def forward(self, x):
        return self.child(x) + self.net(x)


class Child(nn.Module):
    def __init__(self, parent):
        super().__init__()
        self.parent = weakref.ref(parent)

    def forward(self, x):
        return self.parent().net.fc2(x) * 2


trap()(parent_by_weak_reference)


class caches_by_layer(Net):
    """Keys and values, one pair a layer, in a dict that the caller owns."""

    def forward(self, x, cache):
        for number, layer in enumerate((self.fc, self.fc2)):
            k = layer(x)
            if number in cache:
                k = torch.cat([cache[number], k])
            cache[number] = k
            x = x + torch.softmax(x @ k.T, -1) @ k
        return x


def with_a_cache(g, rows, columns):
    return torch.randn(rows, columns, generator=g), {}


def with_a_filled_cache(g):
    past = {0: torch.randn(3, COLUMNS, generator=g), 1: torch.randn(3, COLUMNS, generator=g)}
    return (torch.randn(1, COLUMNS, generator=g), past), {}


trap(inputs=with_a_cache, extra=[(with_a_filled_cache, contextlib.nullcontext)])(caches_by_layer)


def filled(g, rows, columns):
    past = [(torch.randn(rows, columns, generator=g), torch.randn(rows, columns, generator=g)) for _ in range(2)]
    return torch.randn(rows, columns, generator=g), past


def shorter(g):
    x, past = filled(g, 2, COLUMNS)
    return (x, past[:1]), {}


def empty_past(g):
    return (torch.randn(2, COLUMNS, generator=g), None), {}


@trap(inputs=filled, extra=[(shorter, contextlib.nullcontext), (empty_past, contextlib.nullcontext)])
def past_of_any_depth(self, x, past=None):
    present = []
    for layer, entry in itertools.zip_longest((self.fc, self.fc2), past or []):
        k = v = layer(x)
        if entry is not None:
            k, v = torch.cat([entry[0], k]), torch.cat([entry[1], v])
        present.append((k, v))
        x = torch.softmax(x @ k.T, -1) @ v
    return x, present


class fixed_cache_with_a_position(Net):
    def __init__(self):
        super().__init__()
        self.register_buffer("keys", torch.zeros(32, COLUMNS))
        self.position = 0

    def forward(self, x):
        n = x.shape[0]
        self.keys[self.position : self.position + n] = self.fc(x)
        self.position += n
        k = self.keys[: self.position]
        return torch.softmax(x @ k.T, -1) @ k


trap(stateful=True, attributes=("position",))(fixed_cache_with_a_position)


class sliding_cache(Net):
    def __init__(self):
        super().__init__()
        self.window = collections.deque(maxlen=3)

    def forward(self, x):
        self.window.append(self.fc(x).mean(0))
        return self.fc2(x) + torch.stack(tuple(self.window)).mean(0)


trap(stateful=True)(sliding_cache)


class state_carried_over(Net):
    """As a stateful LSTM: detached state of the last call, dropped when the batch changes."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(COLUMNS, COLUMNS)
        self.hidden = None

    def forward(self, x):
        if self.hidden is None or self.hidden.shape[0] != x.shape[0]:
            self.hidden = x.new_zeros(x.shape[0], COLUMNS)
        self.hidden = self.cell(x, self.hidden.detach())
        return self.fc(self.hidden)


trap(stateful=True)(state_carried_over)


class Registry:
    known: dict[str, Any] = {}

    @classmethod
    def add(cls, name):
        def put(f):
            cls.known[name] = f
            return f

        return put


@Registry.add("swish")
def swish(x):
    return x * torch.sigmoid(x)


@Registry.add("squared")
def squared(x, power=2):
    return F.relu(x) ** power


class functions_by_name(Net):
    def __init__(self):
        super().__init__()
        self.names = "swish|squared:3|torch.tanh"

    def forward(self, x):
        for name in self.names.split("|"):
            name, _, argument = name.partition(":")
            f = Registry.known.get(name) or operator.attrgetter(name.removeprefix("torch."))(torch)
            x = f(x, *([int(argument)] if argument else []))
            x = self.fc(x)
        return x


trap()(functions_by_name)


class layers_by_a_text(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleDict({f"{k}_{i}": nn.Linear(COLUMNS, COLUMNS) for i in range(2) for k in ("up", "down")})

    def forward(self, x, pattern=r"up_\d"):
        skips = []
        for name, block in self.blocks.items():
            if re.fullmatch(pattern, name):
                skips.append(x)
                x = block(x).relu()
            else:
                x = block(x) + skips.pop()
        return x


trap(extra=[(lambda g: ((torch.randn(2, COLUMNS, generator=g), r".*_0"), {}), contextlib.nullcontext)])(
    layers_by_a_text
)


@dataclasses.dataclass(frozen=True)
class Config:
    depth: int = 2
    act: str = "gelu"
    scale: float = 0.5


class configured(Net):
    def __init__(self):
        super().__init__()
        self.config = Config()

    def forward(self, x, **overrides):
        config = dataclasses.replace(self.config, **overrides)
        for _ in range(config.depth):
            x = getattr(F, config.act)(self.fc(x)) * config.scale
        return x


trap(
    extra=[
        (lambda g: ((torch.randn(2, COLUMNS, generator=g),), {"scale": 0.25}), contextlib.nullcontext),
        (lambda g: ((torch.randn(2, COLUMNS, generator=g),), {"act": "relu", "depth": 1}), contextlib.nullcontext),
    ]
)(configured)


class Step(abc.ABC):
    @abc.abstractmethod
    def __call__(self, x): ...


class Scaled(Step):
    """No module, and holds tensors."""

    def __init__(self, columns):
        self.by = torch.arange(columns) * 0.5

    def __call__(self, x):
        return x * self.by


class steps_that_are_no_modules(Net):
    def __init__(self):
        super().__init__()
        self.steps = [Scaled(COLUMNS), self.fc, lambda v: v + self.offset, functools.partial(torch.clamp, min=-1.0)]

    def forward(self, x):
        return functools.reduce(lambda v, step: step(v), self.steps, x)


trap()(steps_that_are_no_modules)


class modules_in_a_plain_dict(nn.Module):
    def __init__(self):
        super().__init__()
        self.heads = {"a": nn.Linear(COLUMNS, 2), "b": nn.Linear(COLUMNS, 3)}
        self.trunk = nn.Linear(COLUMNS, COLUMNS)

    def forward(self, x, task="a"):
        return self.heads[task](self.trunk(x))


trap(extra=[(lambda g: ((torch.randn(2, COLUMNS, generator=g),), {"task": "b"}), contextlib.nullcontext)])(
    modules_in_a_plain_dict
)


class closures_made_in_forward(Net):
    def forward(self, x):
        n = x.shape[0]
        fs = [lambda v, i=i: v * (i + 1) / n for i in range(3)]
        gs = [lambda v: v + i for i in range(2)]
        for f in fs + gs:
            x = f(self.fc(x))
        return x


trap()(closures_made_in_forward)


class nonlocal_counter(Net):
    def forward(self, x):
        used = 0

        def once(v):
            nonlocal used
            used += 1
            return self.fc(v) if v.mean() > 0 else self.fc2(v)

        while used < 3:
            x = once(x)
        return x, used


trap()(nonlocal_counter)


class exit_stack_in_forward(Net):
    def forward(self, x):
        log = []
        with contextlib.ExitStack() as stack:
            stack.callback(lambda: log.append(x.shape[0]))
            if not self.training:
                stack.enter_context(torch.no_grad())
            h = self.fc(x)
        return h * log[0]


trap(train=True)(exit_stack_in_forward)


@contextlib.contextmanager
def swapped(module, weight):
    old = module.weight
    del module.weight
    module.weight = weight
    try:
        yield
    finally:
        del module.weight
        module.weight = nn.Parameter(old) if not isinstance(old, nn.Parameter) else old


class weights_swapped_for_a_call(Net):
    def forward(self, x):
        y = self.fc(x)
        with swapped(self.fc, self.fc2.weight):
            return y + self.fc(x)


trap()(weights_swapped_for_a_call)


class weight_given_by_a_network(Net):
    """A hyper network: the weight of a linear layer is a result."""

    def forward(self, x):
        w = self.fc2(self.offset.expand(COLUMNS, -1)) * self.scale
        self.norm.bias.data.copy_(w[0])
        return F.linear(self.norm(x), w, self.fc.bias)


trap(stateful=True)(weight_given_by_a_network)


@trap()
def derivative_of_a_row(self, x):
    def energy(row):
        return torch.tanh(self.fc(row)).sum()

    return torch.func.vmap(torch.func.grad(energy))(x)


@trap()
def jacobian_of_the_layers(self, x):
    return torch.func.jacrev(lambda v: self.fc2(torch.tanh(self.fc(v))))(x[0])


@trap()
def force_by_autograd(self, x):
    with torch.enable_grad():
        p = x.detach().requires_grad_()
        e = self.fc2(torch.tanh(self.fc(p))).sum()
        (force,) = torch.autograd.grad(e, p)
    return -force


@trap()
def inner_steps_of_learning(self, x):
    fast = {name: p for name, p in self.fc.named_parameters()}
    with torch.enable_grad():
        for _ in range(2):
            loss = torch.func.functional_call(self.fc, fast, (x,)).square().mean()
            grads = torch.autograd.grad(loss, list(fast.values()), create_graph=True)
            fast = {name: p - 0.1 * g for (name, p), g in zip(fast.items(), grads, strict=True)}
    return torch.func.functional_call(self.fc, fast, (x,))


class ensemble_by_stacking(nn.Module):
    def __init__(self):
        super().__init__()
        self.members = nn.ModuleList(nn.Linear(COLUMNS, 2) for _ in range(3))

    def forward(self, x):
        weights = torch.stack([m.weight for m in self.members])
        biases = torch.stack([m.bias for m in self.members])
        return torch.vmap(F.linear, in_dims=(None, 0, 0))(x, weights, biases).mean(0)


trap()(ensemble_by_stacking)


@trap()
def strided_windows(self, x):
    flat = self.fc(x).flatten()
    n = flat.numel() - 2
    return torch.as_strided(flat, (n, 3), (1, 1)).sum(1) * self.scale


@trap()
def strided_written(self, x):
    y = self.fc(x).clone()
    torch.as_strided(y, (min(y.shape),), (y.shape[1] + 1,)).fill_(0.0)
    return y, torch.diagonal(y)


@trap()
def output_into_a_slice(self, x):
    out = torch.empty(2 * x.shape[0], COLUMNS)
    torch.mul(x, self.scale, out=out[: x.shape[0]])
    torch.add(x, self.offset, out=out[x.shape[0] :])
    return self.fc(out)


@trap()
def output_grown(self, x):
    out = torch.empty(0)
    torch.cat([x, self.fc(x)], 1, out=out)
    values, index = torch.empty(0), torch.empty(0, dtype=torch.long)
    torch.topk(out, 2, out=(values, index))
    return values, index


@trap()
def storage_shared_by_set(self, x):
    y = torch.empty(0)
    y.set_(x.storage(), 0, (x.shape[0],), (x.shape[1],)) if hasattr(x, "storage") else None
    h = self.fc(x)
    y.mul_(2)
    return h + x


@trap()
def in_place_on_a_view_of_a_view(self, x):
    y = self.fc(x)
    z = y.t()[1:].unflatten(0, (-1, 1)).squeeze(1)
    z += 1
    z[0].neg_()
    y.view(-1)[::2].mul_(3)
    return y


@trap()
def real_view_of_a_complex(self, x):
    c = torch.view_as_complex(self.fc(x).view(x.shape[0], -1, 2).contiguous())
    turned = torch.polar(torch.ones(3), torch.arange(3.0)) * c
    torch.view_as_real(turned)[..., 1].mul_(2)
    return turned.real, torch.view_as_real(turned).flatten(1)


@trap()
def masked_scatter_in_place(self, x):
    y = self.fc(x)
    mask = x > 0
    y.masked_scatter_(mask, self.fc2(x)[mask])
    y.index_fill_(1, torch.tensor([0]), 5.0)
    y.put_(torch.tensor([-1]), torch.tensor([9.0]))
    return y


@trap()
def swap_by_tuple_assignment(self, x):
    y = self.fc(x).clone()
    y[0], y[-1] = y[-1], y[0]  # views: the second reads what the first wrote
    y[:, [0, 1]] = y[:, [1, 0]]
    return y


@trap()
def where_with_a_fallback(self, x):
    h = self.fc(x)
    best = h.max() if h.max() > 0 else None
    return torch.where(h > 0, h, best if best is not None else 0.0)


@trap()
def list_comprehension_over_values(self, x):
    return torch.stack([self.fc(r) if (v := r.sum()) > 0 else r * v for r in x])


@trap()
def walrus_and_else_of_a_loop(self, x):
    for row in x:
        if (m := row.max()) > 1.5:
            found = row * m
            break
    else:
        found = x.mean(0)
    return self.fc(found)


def nested(g, rows, columns):
    return ({"image": torch.randn(rows, columns, generator=g), "meta": {"n": rows, "tags": ["a", "b"]}},)


def other_tags(g):
    (batch,) = nested(g, 2, COLUMNS)
    batch["meta"]["tags"] = ["a"]
    return (batch,), {}


# Python 3.9 cannot read `match`.
MATCHING = """
@trap()
def matched_by_structure(self, x):
    match x.shape:
        case (1, n):
            return self.fc(x).squeeze(0) * n
        case (b, _) if b > 4:
            return self.fc2(x)
        case torch.Size():
            return self.fc(x)


@trap(inputs=nested, extra=[(other_tags, contextlib.nullcontext)])
def nested_batch(self, batch):
    match batch:
        case {"image": image, "meta": {"n": n, "tags": [first, *rest]}}:
            return self.fc(image) / n, len(rest), first
    return None
"""
if sys.version_info >= (3, 10):
    exec(compile(MATCHING, __file__, "exec"))


class optional_module(Net):
    def __init__(self):
        super().__init__()
        self.drop = None
        self.extra: nn.Module | None = nn.Identity()

    def forward(self, x):
        if self.drop is not None:
            x = self.drop(x)
        x = (self.extra or self.fc2)(self.fc(x))
        return x if not isinstance(self.extra, nn.Identity) else x * 2


trap()(optional_module)


class one_norm_frozen_by_hand(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.BatchNorm1d(COLUMNS)
        self.b = nn.BatchNorm1d(COLUMNS)
        self.drop = nn.Dropout(0.5)

    def train(self, mode=True):
        super().train(mode)
        self.a.eval()
        self.drop.train()  # Monte-Carlo dropout, always on
        return self

    def forward(self, x):
        return self.drop(self.b(self.a(x)))


trap(train=True, stateful=True)(one_norm_frozen_by_hand)


class called_with_keywords(Net):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(COLUMNS, 2, batch_first=True)

    def forward(self, x):
        q = x[None]
        y, w = self.attention(key=q, value=q, query=self.fc(input=q), need_weights=True, average_attn_weights=False)
        return self.norm(input=y), w


trap(train=True)(called_with_keywords)


class shared_in_two_containers(nn.Module):
    def __init__(self):
        super().__init__()
        one = nn.Linear(COLUMNS, COLUMNS)
        self.chain = nn.Sequential(one, nn.ReLU(), one)
        self.table = nn.ModuleDict({"x": one, "y": self.chain})
        self.alias = [self.chain[1]]

    def forward(self, x):
        return self.table["y"](x) + self.alias[0](self.table["x"](x)) + self.chain[0](x)


trap(train=True)(shared_in_two_containers)


class layers_by_slice(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(*(nn.Linear(COLUMNS, COLUMNS) for _ in range(4)))

    def forward(self, x, upto=None):
        taps = []
        for i, layer in enumerate(self.layers[:upto]):
            x = layer(x)
            if i % 2:
                taps.append(x)
        return self.layers[-1:](x), taps


trap(extra=[(lambda g: ((torch.randn(2, COLUMNS, generator=g), 2), {}), contextlib.nullcontext)])(layers_by_slice)


class copied_in_forward(Net):
    def forward(self, x):
        teacher = copy.deepcopy(self.fc).eval()
        teacher.weight.data.mul_(0.5)
        return self.fc(x) - teacher(x)


trap(gradients=False)(copied_in_forward)


class made_in_forward(Net):
    def forward(self, x):
        norm = nn.LayerNorm(x.shape[-1], elementwise_affine=False)
        pool = nn.AdaptiveAvgPool1d(x.shape[0])
        return pool(norm(self.fc(x))[None])


trap(wide=False)(made_in_forward)


@trap()
def namespace_and_counter(self, x):
    state = types.SimpleNamespace(total=0.0, parts=[])
    for row in self.fc(x).split(2):
        state.total = state.total + row.sum()
        state.parts.append(len(row))
    return state.total, collections.Counter(state.parts)


@trap()
def default_dict_of_tensors(self, x):
    table = collections.defaultdict(lambda: torch.zeros(COLUMNS))
    for i, row in enumerate(self.fc(x)):
        table[i % 2] = table[i % 2] + row
    return [table[k] for k in sorted(table)]


@trap()
def index_in_a_list_by_identity(self, x):
    parts = list(self.fc(x).chunk(3, -1))
    middle = parts[1]
    place = next(i for i, p in enumerate(parts) if p is middle)
    parts.insert(place, parts.pop())
    return torch.cat(parts, -1)


@trap()
def ellipsis_and_none_built(self, x):
    index: list[Any] = [slice(None)] * x.dim()
    index[-1] = slice(None, None, 2)
    index.insert(0, None)
    return self.fc(x)[tuple(index)], x[(..., [0, -1])]


@trap()
def flipped_by_numpy_step(self, x):
    order = numpy.arange(x.shape[0])[::-1].copy()
    return self.fc(x)[torch.from_numpy(order)]


@trap()
def logged_for_debugging(self, x):
    h = self.fc(x)
    text = f"{h.mean():.3f} {tuple(h.shape)} {h.dtype}"
    if torch.isnan(h).any():
        raise FloatingPointError(text)
    assert h.shape == x.shape, text
    return h
