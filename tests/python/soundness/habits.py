"""What people write around the layers: heaps, trees and tokens, counters, weights written, draws of training only."""

import collections
import contextlib
import itertools
import random

import numpy
import torch
import torch.nn.functional as F
from torch import nn

from soundness.rule import COLUMNS, Net, model_trap, trap, two


def pairs(g, rows, columns):
    return ((torch.randn(rows, columns, generator=g), torch.randn(rows, columns, generator=g)),)


def as_list(g):
    return ([torch.randn(2, COLUMNS, generator=g), torch.randn(2, COLUMNS, generator=g)],), {}


def as_tensor(g):
    return (torch.randn(2, 2, COLUMNS, generator=g),), {}


@trap(inputs=pairs, extra=[(as_list, contextlib.nullcontext), (as_tensor, contextlib.nullcontext)])
def first_of_a_tuple(self, x):
    if isinstance(x, tuple):
        x = x[0]
    elif isinstance(x, list):
        x = torch.cat(x)
    return self.fc(x)


@trap(
    inputs=lambda g, r, c: ({"x": torch.randn(r, c, generator=g)},),
    extra=[
        (lambda g: ((torch.randn(2, COLUMNS, generator=g),), {}), contextlib.nullcontext),
        (lambda g: ((collections.OrderedDict(x=torch.randn(2, COLUMNS, generator=g)),), {}), contextlib.nullcontext),
    ],
)
def dict_or_tensor(self, x):
    return self.fc(x["x"] if isinstance(x, collections.abc.Mapping) else x)


@trap(extra=[(lambda g: ((torch.randn(COLUMNS, generator=g),), {}), contextlib.nullcontext)])
def unsqueeze_when_single(self, x):
    single = x.ndim == 1
    x = x[None] if single else x
    y = self.fc(x).cumsum(0)
    return y.squeeze(0) if single else y


@trap()
def numeric_gradient(self, x):
    eps = 1e-3
    base = self.fc(x).sum()
    return torch.stack([(self.fc(x + eps * torch.eye(COLUMNS)[i]).sum() - base) / eps for i in range(COLUMNS)])


@trap()
def bucketed_by_numpy_digitize(self, x):
    edges = numpy.linspace(-1, 1, 5)
    ids = numpy.digitize(x.detach().numpy(), edges)
    return self.fc(x) + torch.from_numpy(ids)


@trap()
def numpy_where_mask(self, x):
    m = numpy.where(x.detach().numpy() > 0, 1.0, -1.0).astype("float32")
    return self.fc(x) * torch.tensor(m)


@trap()
def item_in_slice(self, x):
    n = (x > 0).sum(1)
    return torch.stack([F.pad(row[: k.item()], (0, COLUMNS - k.item())) for row, k in zip(self.fc(x), n)])


@trap()
def early_exit_by_confidence(self, x):
    out = []
    for row in x:
        h = row
        for i, layer in enumerate((self.fc, self.fc2)):  # noqa: B007 - read after the loop
            h = layer(h)
            if h.softmax(0).max() > 0.4:
                break
        out.append(h * (i + 1))
    return torch.stack(out)


@trap()
def batch_rows_left(self, x):
    active = torch.arange(x.shape[0])
    out = torch.zeros_like(x)
    for step in range(4):
        h = torch.tanh(self.fc(x[active])) + step
        out[active] = h
        active = active[h.sum(1) > 2]
        if active.numel() == 0:
            break
    return out


@trap()
def recursion_over_a_tree(self, x):
    def build(rows):
        if len(rows) == 1:
            return self.fc(rows[0])
        half = len(rows) // 2
        return torch.tanh(build(rows[:half]) + self.fc2(build(rows[half:])))

    return build(x)


@trap()
def parse_tree_by_shift_reduce(self, x):
    stack = []
    for i, row in enumerate(x):
        stack.append(self.fc(row))
        if len(stack) > 1 and i % 2:
            b, a = stack.pop(), stack.pop()
            stack.append(torch.relu(a - b))
    return torch.stack(stack).sum(0), len(stack)


@trap()
def priority_queue(self, x):
    import heapq

    h = [(float(-r.sum()), i) for i, r in enumerate(x)]
    heapq.heapify(h)
    order = [heapq.heappop(h)[1] for _ in range(len(h))]
    return self.fc(x[order])


@trap()
def union_find(self, x):
    sim = (self.fc(x) @ x.T) > 0
    parent = list(range(x.shape[0]))
    for i in range(x.shape[0]):
        for j in range(i):
            if sim[i, j]:
                parent[i] = parent[j]
    groups = collections.defaultdict(list)
    for i, p in enumerate(parent):
        groups[p].append(x[i])
    return [torch.stack(v).mean(0) for v in groups.values()]


@trap()
def kmeans(self, x):
    c = x[:2].clone() if len(x) > 1 else x.repeat(2, 1)
    for _ in range(5):
        a = torch.cdist(x, c).argmin(1)
        new = torch.stack([x[a == k].mean(0) if (a == k).any() else c[k] for k in range(2)])
        if torch.equal(new, c):
            break
        c = new
    return self.fc(c), a


@trap(inputs=lambda g, r, c: (torch.randn(r, c, generator=g), torch.rand(r, c, generator=g) > 0.3))
def last_valid(self, x, mask):
    lengths = mask.long().sum(1)
    idx = (lengths - 1).clamp(min=0)
    if (lengths == 0).any():
        x = x.masked_fill((lengths == 0)[:, None], 0.0)
    return self.fc(x).gather(1, idx[:, None]), mask.all()


@trap(inputs=lambda g, r, c: (torch.randint(0, 6, (r, c), generator=g),))
def tokens_cut_at_the_end(self, ids):
    out = []
    for row in ids:
        end = (row == 5).nonzero()
        out.append(self.fc.weight[row[: end[0, 0]]].sum(0) if len(end) else self.fc.weight[row].sum(0))
    return torch.stack(out)


@trap(inputs=lambda g, r, c: (torch.randint(0, 6, (r, c), generator=g),))
def image_tokens_replaced(self, ids):
    emb = self.fc.weight[ids]
    mask = ids == 3
    n = mask.sum()
    feats = self.fc2(self.offset).expand(int(n), -1)
    if n != feats.shape[0]:
        raise ValueError("mismatch")
    return emb.masked_scatter(mask[..., None].expand_as(emb), feats)


@trap(inputs=lambda g, r, c: (torch.randint(0, 6, (r, c), generator=g),))
def vocabulary_lookup(self, ids):
    words = {0: "a", 1: "bb", 2: "ccc"}
    lengths = torch.tensor([[len(words.get(i, "")) for i in row] for row in ids.tolist()])
    return self.fc(lengths.float())


@trap()
def bits_of_flags(self, x):
    bits = (x > 0).long()
    code = (bits << torch.arange(COLUMNS)).sum(1)
    table = {}
    for i, c in enumerate(code.tolist()):
        table.setdefault(c, i)
    return self.fc(x)[[table[c] for c in code.tolist()]]


class ema_of_loss(Net):
    def __init__(self):
        super().__init__()
        self.average = 0.0

    def forward(self, x):
        h = self.fc(x)
        self.average = 0.9 * self.average + 0.1 * h.detach().mean().item()
        return h / (abs(self.average) + 1)


trap(stateful=True, attributes=("average",))(ema_of_loss)


class warmup(Net):
    def __init__(self):
        super().__init__()
        self.step = 0

    def forward(self, x):
        self.step += 1
        if self.step < 3:
            return self.fc(x)
        return self.fc2(x) * min(1.0, self.step / 10)


trap(stateful=True, attributes=("step",))(warmup)


class buffer_step(Net):
    def __init__(self):
        super().__init__()
        self.register_buffer("step", torch.tensor(0))

    def forward(self, x):
        self.step += 1
        beta = 0.5 ** int(self.step)
        return self.fc(x) * beta if self.step % 2 == 0 else self.fc2(x) * beta


trap(stateful=True)(buffer_step)


class statistics_in_a_dict(Net):
    def __init__(self):
        super().__init__()
        self.stats = {"n": 0, "max": None}

    def forward(self, x):
        h = self.fc(x)
        self.stats["n"] += x.shape[0]
        m = h.max()
        self.stats["max"] = m if self.stats["max"] is None else torch.maximum(m, self.stats["max"])
        return h - self.stats["max"]


trap(stateful=True)(statistics_in_a_dict)


class reset_method(Net):
    def __init__(self):
        super().__init__()
        self.reset()

    def reset(self):
        self.seen = []

    def forward(self, x, first=True):
        if first:
            self.reset()
        self.seen.append(self.fc(x))
        return torch.cat(self.seen).mean(0)


trap(
    stateful=True,
    extra=[(lambda g: ((torch.randn(2, COLUMNS, generator=g),), {"first": False}), contextlib.nullcontext)],
)(reset_method)


class side_loss(Net):
    """Losses gathered on children, read by the root."""

    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(COLUMNS, COLUMNS)
            self.loss = None

        def forward(self, x):
            h = self.fc(x)
            self.loss = h.square().mean()
            return h

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(side_loss.Layer() for _ in range(2))

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x, sum(m.loss for m in self.modules() if isinstance(m, side_loss.Layer))


trap(stateful=True)(side_loss)


class weights_clipped(Net):
    def forward(self, x):
        with torch.no_grad():
            self.fc.weight.clamp_(-0.2, 0.2)
            self.fc.weight.div_(self.fc.weight.norm(dim=1, keepdim=True))
        return self.fc(x)


trap(stateful=True)(weights_clipped)


class weights_clipped_through_data(Net):
    def forward(self, x):
        w = self.fc.weight.data
        w[w.abs() < 0.1] = 0
        for p in self.fc2.parameters():
            p.data.clamp_(-0.3, 0.3)
        return self.fc2(self.fc(x))


trap(stateful=True)(weights_clipped_through_data)


class Kept(Net):
    """Writes its weights in code that no graph holds."""

    def forward(self, x):
        k = int(x.abs().sum()) % 3
        for p in self.fc.parameters():
            p.data.mul_(1 - 0.1 * k)
        return self.fc(x)


class weights_written_by_a_kept_child(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = Kept()
        self.b = nn.Linear(COLUMNS, COLUMNS)

    def forward(self, x):
        return self.b(self.a(x))


trap(stateful=True)(weights_written_by_a_kept_child)


class weights_written_by_a_child_in_a_loop(weights_written_by_a_kept_child):
    def forward(self, x):
        while x.abs().max() > 0.3:
            x = torch.tanh(self.a(x)) * 0.5
        return self.b(x)


trap(stateful=True)(weights_written_by_a_child_in_a_loop)


class train_only_numpy(Net):
    def forward(self, x):
        if self.training:
            n = numpy.random.randint(1, 4)
            for _ in range(n):
                x = self.fc(x)
            return x
        return self.fc2(x)


trap(train=True)(train_only_numpy)


class train_only_python_random(Net):
    def forward(self, x):
        if self.training and random.random() < 0.5:
            x = x * random.uniform(0.5, 1.5)
        return self.fc(x)


trap(train=True)(train_only_python_random)


class train_only_list_of_rows(Net):
    def forward(self, x):
        if self.training:
            w = [0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0][x.shape[0]]
            return self.fc(x) * w
        return self.fc(x)


trap(train=True)(train_only_list_of_rows)


class train_only_item(Net):
    def forward(self, x):
        h = self.fc(x)
        if self.training:
            h = h * float(h.mean())
        return h


trap(train=True)(train_only_item)


class crop_in_training(Net):
    def forward(self, x):
        if self.training:
            i = torch.randint(0, x.shape[1] - 2, ()).item()
            x = F.pad(x[:, i : i + 3], (0, 3))
        return self.fc(x)


trap(train=True)(crop_in_training)


class layer_drop(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(COLUMNS, COLUMNS) for _ in range(3))

    def forward(self, x):
        for layer in self.layers:
            if self.training and torch.rand([]) < 0.5:
                continue
            x = layer(x)
        return x


trap(train=True)(layer_drop)


class layer_drop_by_numpy(layer_drop):
    def forward(self, x):
        for layer in self.layers:
            if not self.training or numpy.random.uniform() > 0.5:
                x = layer(x)
        return x


trap(train=True)(layer_drop_by_numpy)


class child_in_other_mode(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(COLUMNS, COLUMNS), nn.BatchNorm1d(COLUMNS))
        self.head = nn.Sequential(nn.Dropout(0.5), nn.Linear(COLUMNS, COLUMNS))

    def forward(self, x):
        with torch.set_grad_enabled(self.backbone.training):
            f = self.backbone(x)
        if self.head.training != self.backbone.training:
            f = f * 2
        return self.head(f)


@model_trap(train=True)
def modes_that_differ():
    m = child_in_other_mode()
    m.head.train()
    return m


@trap(inputs=two)
def swapped_arguments_by_norm(self, x, y):
    a, b = (x, y) if x.norm() > y.norm() else (y, x)
    return self.fc(a) - self.fc2(b)


@trap(inputs=two)
def same_object_given(self, x, y):
    if x is y:
        return self.fc(x) * 2
    return self.fc(x) + self.fc(y)


def once_twice(g):
    x = torch.randn(2, COLUMNS, generator=g)
    return (x, x), {}


trap(inputs=two, extra=[(once_twice, contextlib.nullcontext)])(
    type(
        "same_object_given_later",
        (Net,),
        {"forward": lambda self, x, y: self.fc(x) * 2 if x is y else self.fc(x) + self.fc(y), "__module__": __name__},
    )
)


@trap(inputs=two, extra=[(once_twice, contextlib.nullcontext)])
def written_alias(self, x, y):
    x.add_(1)
    return self.fc(y)


@trap(inputs=two)
def written_overlap(self, x, y):
    x.mul_(2)
    y.add_(x)
    return self.fc(y) + x


@trap(
    extra=[
        (lambda g: ((torch.randn(COLUMNS, 4, generator=g).t(),), {}), contextlib.nullcontext),
        (lambda g: ((torch.randn(1, COLUMNS, generator=g).expand(3, -1),), {}), contextlib.nullcontext),
    ]
)
def strides_that_matter(self, x):
    flat = x.as_strided((x.shape[0],), (x.stride(0),))
    return self.fc(x) + flat[:, None]


@trap(extra=[(lambda g: ((torch.empty(0, COLUMNS),), {}), contextlib.nullcontext)])
def mean_of_maybe_nothing(self, x):
    h = self.fc(x)
    return h.mean(0) if len(h) else torch.zeros(COLUMNS)


@trap(
    extra=[
        (lambda g: ((torch.full((2, COLUMNS), torch.nan),), {}), contextlib.nullcontext),
        (lambda g: ((torch.full((2, COLUMNS), torch.inf),), {}), contextlib.nullcontext),
    ]
)
def not_finite(self, x):
    h = self.fc(x)
    if not torch.isfinite(h).all():
        h = torch.nan_to_num(h, nan=0.0, posinf=1.0, neginf=-1.0)
    m = h.max()
    if m != m:
        return h * 0
    return h


@trap(
    extra=[
        (lambda g: ((torch.randn(2, COLUMNS, generator=g).to(torch.bfloat16),), {}), contextlib.nullcontext),
        (lambda g: ((torch.randint(0, 3, (2, COLUMNS), generator=g),), {}), contextlib.nullcontext),
    ]
)
def upcast_inside(self, x):
    kind = x.dtype
    h = self.fc(x.float())
    return h.to(kind) if kind.is_floating_point else h.round().to(kind)


@trap(extra=[(lambda g: ((torch.randn(2, COLUMNS, generator=g).requires_grad_(),), {}), contextlib.nullcontext)])
def leaf_asked(self, x):
    if x.is_leaf and not x.requires_grad:
        return self.fc(x)
    return self.fc(x) * 2


@trap()
def sparse_product(self, x):
    adj = (x @ x.T > 0).float().to_sparse()
    return torch.sparse.mm(adj, self.fc(x)), adj.coalesce().values().numel()


@trap()
def nested_tensor_rows(self, x):
    parts = [self.fc(r)[: 1 + i % 3] for i, r in enumerate(x)]
    return nn.utils.rnn.pad_sequence(parts, batch_first=True, padding_value=-1)


@trap()
def complex_phase(self, x):
    s = torch.fft.rfft(self.fc(x))
    s = s * torch.exp(1j * s.angle())
    return torch.fft.irfft(s, n=x.shape[-1])


@trap()
def scan_by_accumulate(self, x):
    return torch.stack(list(itertools.accumulate(self.fc(x), lambda a, b: a * 0.5 + b)))


@trap()
def pairwise_by_itertools(self, x):
    return torch.stack([self.fc(a) @ b for a, b in itertools.combinations_with_replacement(x, 2)])


@trap()
def sorted_by_length_and_back(self, x):
    n = (x > 0).sum(1)
    order = sorted(range(len(x)), key=n.tolist().__getitem__, reverse=True)
    y = self.fc(x[order])
    inverse = [order.index(i) for i in range(len(order))]
    return y[inverse], n[order]


@trap()
def string_keys_of_rows(self, x):
    parts = {f"row{i}": self.fc(r) for i, r in enumerate(x)}
    return {k: v for k, v in parts.items() if not k.endswith("3")}


@trap()
def bool_of_an_empty(self, x):
    sel = x[x[:, 0] > 10]
    if sel.numel():
        return self.fc(sel)
    return self.fc2(x)


@trap()
def max_with_a_default(self, x):
    vals = [v.item() for v in x[:, 0] if v > 0]
    return self.fc(x) * max(vals, default=1.0)


@trap()
def clamp_by_python_min(self, x):
    s = x.sum().item()
    return self.fc(x) * min(max(s, -1.0), 1.0) + (round(s, 2) if abs(s) > 1 else 0)


@trap()
def try_cholesky(self, x):
    m = x.T @ x + torch.eye(COLUMNS) * x.mean()
    c, info = torch.linalg.cholesky_ex(m)
    if info > 0:
        c, _ = torch.linalg.cholesky_ex(m + 10 * torch.eye(COLUMNS))
    return self.fc(x) @ c


@trap()
def solver_with_line_search(self, x):
    z = torch.zeros_like(x)

    def f(v):
        return (self.fc(v) - x).square().sum()

    step, value = 1.0, f(z)
    for _ in range(4):
        g = (self.fc(z) - x) @ self.fc.weight
        while f(z - step * g) > value and step > 1e-3:
            step *= 0.5
        z = z - step * g
        value = f(z)
    return z, step
