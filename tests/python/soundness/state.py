"""What one call leaves for the next: buffers, attributes, globals, caches, random numbers."""

import collections
import functools
import itertools
import random

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from soundness.rule import COLUMNS, Net, trap

TABLE: dict = {}
COUNT = 0
LAST = 0.0


def _reset():
    global COUNT, LAST
    TABLE.clear()
    COUNT, LAST = 0, 0.0
    cached_positions.cache_clear()
    remember.__defaults__[0].clear()
    class_counter.calls = 0
    TAPS.clear()


TAPS: list = []


@trap(stateful=True, reset=_reset)
def global_counter(self, x):
    global COUNT
    COUNT += 1
    return self.fc(x) * COUNT


@trap(stateful=True, reset=_reset)
def global_value_of_the_last_call(self, x):
    global LAST
    y = x * (1 + LAST)
    LAST = x.mean().item()
    return y


@trap(stateful=True, reset=_reset)
def global_tensor_list(self, x):
    TAPS.append(x.mean())
    return x * torch.stack(TAPS[-3:]).sum()


@trap(stateful=True, reset=_reset)
def global_cache_by_size(self, x):
    if x.shape[0] not in TABLE:
        TABLE[x.shape[0]] = torch.arange(x.shape[0], dtype=x.dtype)[:, None]
    return x + TABLE[x.shape[0]]


@trap(stateful=True, reset=_reset)
def global_cache_by_size_setdefault(self, x):
    key = (x.shape[0], x.dtype)
    return x * TABLE.setdefault(key, torch.linspace(0, 1, x.shape[0])[:, None])


@functools.cache
def cached_positions(rows):
    return torch.linspace(1, 2, rows)[:, None]


@trap(stateful=True, reset=_reset)
def lru_cache_by_size(self, x):
    return x * cached_positions(x.shape[0])


def remember(x, seen={}):  # noqa: B006
    key = tuple(x.shape)
    if key not in seen:
        seen[key] = torch.full(key, float(len(seen) + 1))
    return x * seen[key]


@trap(stateful=True, reset=_reset)
def default_argument_cache(self, x):
    return remember(self.fc(x))


@trap(stateful=True, reset=_reset)
class class_counter(Net):
    calls = 0

    def forward(self, x):
        type(self).calls += 1
        return self.fc(x) * class_counter.calls


@trap(stateful=True, attributes=("steps",))
class attribute_counter(Net):
    def __init__(self):
        super().__init__()
        self.steps = 0

    def forward(self, x):
        self.steps += 1
        return self.fc(x) / self.steps


@trap(stateful=True, attributes=("last",))
class attribute_tensor(Net):
    def __init__(self):
        super().__init__()
        self.last = torch.zeros(COLUMNS)

    def forward(self, x):
        y = self.fc(x) + self.last
        self.last = y.mean(0).detach()
        return y


@trap(stateful=True, attributes=("seen",))
class dict_written(Net):
    def __init__(self):
        super().__init__()
        self.__dict__["seen"] = 1.0

    def forward(self, x):
        y = x * self.__dict__["seen"]
        self.__dict__["seen"] = x.abs().mean().item()
        return y


@trap(stateful=True)
class made_on_the_first_call(Net):
    def forward(self, x):
        if not hasattr(self, "_center"):
            self._center = x.mean(0).detach()
        return self.fc(x - self._center)


@trap(stateful=True)
class cached_by_shape(Net):
    """The anchors of detectors are kept until another size comes."""

    def __init__(self):
        super().__init__()
        self.shape = None
        self.anchors = torch.empty(0)

    def forward(self, x):
        if self.shape != x.shape:
            self.anchors = torch.arange(x.shape[0], dtype=x.dtype)[:, None]
            self.shape = x.shape
        return self.fc(x) + self.anchors


@trap(stateful=True)
class grown_when_needed(Net):
    """Rotary embeddings grow their table."""

    def __init__(self):
        super().__init__()
        self.known = 2
        self.register_buffer("table", torch.linspace(0, 1, 2), persistent=False)

    def forward(self, x):
        if x.shape[0] > self.known:
            self.known = x.shape[0]
            self.table = torch.linspace(0, 1, self.known)
        return x * self.table[: x.shape[0], None]


@trap(stateful=True)
class history_in_a_list(Net):
    def __init__(self):
        super().__init__()
        self.history = []

    def forward(self, x):
        self.history.append(x.mean())
        return self.fc(x) + sum(self.history)


@trap(stateful=True)
class history_in_a_deque(Net):
    def __init__(self):
        super().__init__()
        self.recent = collections.deque(maxlen=2)

    def forward(self, x):
        self.recent.append(float(x.mean()))
        return x - sum(self.recent) / len(self.recent)


@trap(stateful=True)
class buffer_counted(Net):
    def __init__(self):
        super().__init__()
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x):
        self.count += 1
        return self.fc(x) / self.count


@trap(stateful=True)
class buffer_of_averages(Net):
    def forward(self, x):
        self.offset.mul_(0.9).add_(x.detach().mean(0), alpha=0.1)
        return x - self.offset


@trap(stateful=True)
class buffer_assigned(Net):
    def forward(self, x):
        y = x + self.offset
        self.offset = 0.5 * self.offset + x.detach().mean(0)
        return y


@trap(stateful=True)
class queue_in_a_buffer(Net):
    """A memory bank with a pointer, as in contrastive learning."""

    def __init__(self):
        super().__init__()
        self.register_buffer("queue", torch.zeros(8, COLUMNS))
        self.register_buffer("pointer", torch.zeros(1, dtype=torch.long))

    @torch.no_grad()
    def enqueue(self, keys):
        at = int(self.pointer)
        rows = min(keys.shape[0], 8 - at)
        self.queue[at : at + rows] = keys[:rows]
        self.pointer[0] = (at + rows) % 8

    def forward(self, x):
        y = self.fc(x)
        self.enqueue(y)
        return y @ self.queue.clone().t()


@trap(stateful=True, train=True)
class weight_scaled_at_each_call(Net):
    def forward(self, x):
        with torch.no_grad():
            self.fc.weight.mul_(0.9)
        return self.fc(x)


@trap(stateful=True, train=True)
class spectral_iteration(Net):
    def forward(self, x):
        if self.training:
            with torch.no_grad():
                v = F.normalize(self.fc.weight.t() @ self.offset, dim=0)
                self.offset.copy_(F.normalize(self.fc.weight @ v, dim=0))
        return F.linear(x, self.fc.weight / self.offset.norm())


@trap(stateful=True)
class state_in_a_closure(Net):
    def __init__(self):
        super().__init__()
        calls = 0

        def count():
            nonlocal calls
            calls += 1
            return calls

        self.count = count

    def forward(self, x):
        return self.fc(x) * self.count()


@trap(stateful=True)
class state_in_an_iterator(Net):
    def __init__(self):
        super().__init__()
        self.scales = itertools.cycle([1.0, 2.0, 3.0])

    def forward(self, x):
        return self.fc(x) * next(self.scales)


@trap(stateful=True)
class state_in_a_generator_function(Net):
    def __init__(self):
        super().__init__()

        def steps():
            total = 0.0
            while True:
                x = yield total
                total = total + float(x.mean())

        self.running = steps()
        next(self.running)

    def forward(self, x):
        return x * self.running.send(x)


@trap(stateful=True)
class its_own_generator_of_random_numbers(Net):
    def __init__(self):
        super().__init__()
        self.random = torch.Generator().manual_seed(3)

    def forward(self, x):
        return x + torch.rand(x.shape, generator=self.random)


@trap(stateful=True, attributes=("log",))
class values_logged(Net):
    """Metrics that a training loop reads."""

    def __init__(self):
        super().__init__()
        self.log = {}

    def forward(self, x):
        y = self.fc(x)
        self.log["mean"] = y.mean().detach()
        self.log["rows"] = x.shape[0]
        return y


@trap(attributes=("features",), stateful=True)
class features_kept_for_later(Net):
    def __init__(self):
        super().__init__()
        self.features = None

    def forward(self, x):
        self.features = self.fc(x).detach()
        return self.fc2(self.features)


@trap(stateful=True)
class state_of_a_child(nn.Module):
    class Counter(nn.Module):
        def __init__(self):
            super().__init__()
            self.total = 0.0

        def forward(self, x):
            self.total = self.total + x.shape[0]
            return x / self.total

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(COLUMNS, COLUMNS)
        self.counter = self.Counter()

    def forward(self, x):
        return self.counter(self.counter(self.fc(x)))


@trap(inputs=lambda g, rows, columns: ({"x": torch.randn(rows, columns, generator=g)},))
def input_dict_written(self, batch):
    batch["y"] = self.fc(batch["x"])
    batch["x"] = batch["x"] * 2
    return batch["y"]


@trap(inputs=lambda g, rows, columns: (torch.randn(rows, columns, generator=g), []))
def input_list_appended(self, x, taps):
    taps.append(self.fc(x))
    return taps[-1] * 2


class Box:
    def __init__(self, x):
        self.x = x
        self.seen = 0


@trap(inputs=lambda g, rows, columns: (Box(torch.randn(rows, columns, generator=g)),))
def input_object_written(self, box):
    box.x = self.fc(box.x)
    box.seen += 1
    return box.x * 2


# --- random numbers ---------------------------------------------------------------------------------------------------


@trap()
def noise(self, x):
    return x + torch.randn_like(x) * 0.1 + torch.rand(x.shape[0], 1)


@trap(train=True)
def order_of_random_numbers(self, x):
    unused = torch.rand(3)
    y = F.dropout(self.fc(x), 0.5, self.training)
    return y + torch.rand(1) + 0 * unused.sum()


@trap()
def random_numbers_drawn_and_dropped(self, x):
    torch.rand(7)
    return x + torch.rand(x.shape)


@trap()
def python_random(self, x):
    return x * random.random()


@trap()
def python_random_choice(self, x):
    return self.fc(x) if random.choice([True, False]) else self.fc2(x)


@trap()
def numpy_random(self, x):
    return x * float(np.random.rand())


@trap()
def random_permutation(self, x):
    return x[torch.randperm(x.shape[0])] * 2


@trap(train=True)
def stochastic_depth_by_hand(self, x):
    if self.training and torch.rand(1) < 0.5:
        return x
    return x + self.fc(x)


@trap()
def seeded_inside(self, x):
    torch.manual_seed(11)
    return x + torch.rand(x.shape)


@trap()
def fork_of_the_random_state(self, x):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        noise = torch.rand_like(x)
    return x + noise + torch.rand(1)


@trap(train=True)
def dropout_in_forward(self, x):
    return nn.Dropout(0.5)(self.fc(x))


@trap(train=True)
def gumbel(self, x):
    return F.gumbel_softmax(self.fc(x), tau=0.7, hard=True)
