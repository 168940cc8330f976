"""Ways that few models go."""

import bisect
import collections
import fractions
import functools
import heapq
import itertools
import struct
import threading
import types
import weakref

import numpy as np
import torch

from soundness.rule import COLUMNS, Net, trap

SCALES = [0.5 + 0.25 * i for i in range(64)]


@trap()
def items_up_to_a_size(self, x):
    return x * sum(itertools.islice(itertools.count(1), x.shape[0]))


@trap()
def bisection_of_a_size(self, x):
    return x * bisect.bisect_left([1, 2, 3, 4, 5], x.shape[0])


@trap()
def heap_of_sizes(self, x):
    h = [5, x.shape[0], 3]
    heapq.heapify(h)
    return x * h[0]


@trap(wide=True)
def fraction_of_a_size(self, x):
    return x * float(fractions.Fraction(x.shape[1], 7))


@trap()
def packed_size(self, x):
    return x * struct.unpack("i", struct.pack("i", x.shape[0]))[0]


@trap(wide=True)
def list_up_to_a_size(self, x):
    return x * sum(SCALES[: x.shape[1]])


@trap()
def item_of_a_range(self, x):
    return x * range(10, 20)[x.shape[0]]


@trap()
def deque_as_long_as_the_batch(self, x):
    return x * sum(collections.deque(range(10), maxlen=x.shape[0]))


@trap()
def counted_items(self, x):
    return x * collections.Counter(["a"] * x.shape[0])["a"]


@trap()
def groups_by_a_size(self, x):
    return x * len(list(itertools.groupby(range(6), key=lambda i: i // x.shape[0])))


@trap()
def layer_by_a_size(self, x):
    return getattr(self, {1: "fc", 2: "fc2"}.get(x.shape[0], "norm"))(x)


@trap()
def rows_sorted_by_value(self, x):
    return torch.stack(sorted(x.unbind(0), key=lambda r: float(r[0])))


@trap()
def first_above_zero(self, x):
    i = next((i for i, v in enumerate(x[0]) if v > 0), 5)
    return x * SCALES[i]


@trap()
def counted_values(self, x):
    d = {}
    for v in x[0].long().tolist():
        d[v] = d.get(v, 0) + 1
    return x * max(d.values())


@trap()
def as_many_as_are_positive(self, x):
    return x.flatten().topk(int((x > 0).sum()) + 1).values


@trap()
def halved_until_small(self, x):
    for _ in range(10):
        if x.norm() < 1:
            break
        x = x * 0.7
    return x


@trap()
def class_of_a_value(self, x):
    return x * (isinstance(x.sum().item(), float) + 1)


@trap()
def comparison_with_two_sides(self, x):
    return x * (2 if -1 < x.mean() < 0.1 else 3)


class Counting(Net):
    def __init__(self):
        super().__init__()
        self.register_buffer("n", torch.zeros((), dtype=torch.long))
        self.k = 0


@trap(stateful=True)
class ring_of_means(Counting):
    def __init__(self):
        super().__init__()
        self.register_buffer("ring", torch.zeros(3, COLUMNS))
        self.at = 0

    def forward(self, x):
        self.ring[self.at] = x.detach().mean(0)
        self.at = (self.at + 1) % 3
        return x - self.ring.sum(0)


@trap(stateful=True)
class weak_reference(Counting):
    def forward(self, x):
        r = weakref.ref(x)
        return r() * 2


@trap(stateful=True)
class cycle_of_scales(Net):
    def __init__(self):
        super().__init__()
        self.cy = itertools.cycle([1.0, 2.0, 3.0])

    def forward(self, x):
        return x * next(self.cy)


local = threading.local()


def forget():
    local.__dict__.clear()


@trap(stateful=True, reset=forget)
def thread_local_counter(self, x):
    local.n = getattr(local, "n", 0) + 1
    return x * local.n


@trap(stateful=True)
class attribute_of_every_other_call(Net):
    def forward(self, x):
        if hasattr(self, "once"):
            del self.once
            return x * 2
        self.once = 1
        return x * 3


@trap()
def view_written_first(self, x):
    y = self.fc(x)
    v = y.view(-1)
    v[0] = 7.0
    y += 1
    return y * v[0]


@trap()
def chunks_written(self, x):
    y = self.fc(x)
    a, b = y.chunk(2, -1)
    a.add_(b)
    b.zero_()
    return y


@trap()
def out_of_operations(self, x):
    o = torch.empty_like(x)
    torch.add(x, 1, out=o)
    r = o.relu()
    torch.mul(o, 2, out=o)
    return r + o


@trap()
def two_names_of_a_list(self, x):
    a = [x, x * 2]
    b = a
    b[0] = self.fc(x)
    b.reverse()
    return a[0] - a[1]


@trap()
def sent_into_a_generator(self, x):
    def g():
        y = yield
        while True:
            y = yield y * 2

    i = g()
    next(i)
    return i.send(x) + i.send(x + 1)


@trap()
def dispatched_by_class(self, x):
    @functools.singledispatch
    def f(v):
        return v * 2

    @f.register(torch.Tensor)
    def _(v):
        return v * 3

    return f(x)


class Clip(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, k):
        ctx.k = k
        return x.clamp(-k, k)

    @staticmethod
    def backward(ctx, g):
        return g * ctx.k, None


@trap()
def function_with_a_value(self, x):
    return Clip.apply(self.fc(x), x.abs().mean().item())


@trap()
def autocast_by_a_size(self, x):
    with torch.autocast("cpu", enabled=x.shape[0] > 2, dtype=torch.bfloat16):
        y = self.fc(x)
    return y.float()


@trap()
def end_of_an_iterator(self, x):
    it = iter(x)
    out = []
    try:
        while True:
            out.append(next(it) * 2)
    except StopIteration:
        return torch.stack(out)


@trap()
def value_of_an_exception(self, x):
    try:
        if x.mean() > 0:
            raise ValueError(2.0)
        s = 1.0
    except ValueError as err:
        s = err.args[0]
    return x * s


@trap()
def caught_assertion(self, x):
    try:
        assert x.mean() > 0
    except AssertionError:
        return x * 3
    return x * 2


def kept_pair(x):
    m = x.detach().numpy()
    return (m.max() > 1.6, float(m.min()))


@trap()
def pair_of_a_flag_and_a_number(self, x):
    big, lo = kept_pair(x)
    return x * 2 if big else x * lo


def kept_none(x):
    return None if x.detach().numpy().max() > 1.6 else x * 2


@trap()
def none_for_some_values(self, x):
    y = kept_none(x)
    return x * 5 if y is None else y


def kept_list(x):
    return [r for r in x.detach().numpy().tolist() if r[0] > 0]


@trap()
def length_of_a_kept_list(self, x):
    return x * len(kept_list(x))


def kept_text(x):
    return "big" if x.detach().numpy().max() > 1.6 else "small"


@trap()
def text_for_some_values(self, x):
    return x * (2 if kept_text(x) == "big" else 3)


@trap()
def text_as_a_key(self, x):
    return x * {"big": 2.0, "small": 3.0}[kept_text(x)]


def kept_dict(x):
    return {("a" if v > 0 else "b"): v for v in x[0].tolist()}


@trap()
def default_of_a_kept_dict(self, x):
    return x * kept_dict(x).get("b", 7.0)


def kept_obj(x):
    return types.SimpleNamespace(n=int((x.detach().numpy() > 0).sum()), t=x * 2)


@trap()
def number_in_an_object(self, x):
    o = kept_obj(x)
    return o.t * SCALES[o.n]


def kept_npint(x):
    return np.int64((x.detach().numpy() > 0).sum())


@trap()
def integer_of_numpy(self, x):
    return x * SCALES[kept_npint(x)]


def kept_slice(x):
    return slice(0, int((x.detach().numpy()[0] > 0).sum()))


@trap()
def slice_of_kept_code(self, x):
    return x[:, kept_slice(x)]


def kept_func(x):
    s = float(x.detach().numpy().sum())
    return lambda y: y * s


@trap()
def function_of_kept_code(self, x):
    return kept_func(x)(x)


def kept_dtype(x):
    return torch.float64 if x.detach().numpy().max() > 1.6 else torch.float32


@trap()
def dtype_of_kept_code(self, x):
    return x.to(kept_dtype(x))
