"""Values and sizes that leave torch and come back as plain Python values."""

# ruff: noqa: RUF034
import collections
import functools
import itertools
import json
import math
import operator
import statistics

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from soundness.rule import Net, trap

SCALES = [0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0]


@trap()
def math_of_an_item(self, x):
    return x / math.sqrt(x.abs().sum().item() + 1)


@trap(wide=True)
def math_of_a_size(self, x):
    return x / math.sqrt(x.shape[-1])


@trap(wide=True)
def math_log_of_a_product_of_sizes(self, x):
    return x * math.log(math.prod(x.shape) + 1)


@trap()
def len_of_the_batch(self, x):
    return self.fc(x) / len(x)


@trap()
def range_over_rows(self, x):
    out = []
    for i in range(x.shape[0]):
        out.append(x[i] * i)
    return torch.stack(out)


@trap()
def numpy_round_trip(self, x):
    return x + torch.from_numpy(np.tanh(x.detach().cpu().numpy()))


@trap()
def numpy_scale(self, x):
    scale = float(np.percentile(x.detach().numpy(), 90))
    return self.fc(x) * scale


@trap()
def numpy_of_sizes(self, x):
    steps = np.linspace(0.0, 1.0, x.shape[0])
    return x * torch.tensor(steps, dtype=x.dtype)[:, None]


@trap()
def numpy_generator_seeded_by_a_size(self, x):
    return x + float(np.random.default_rng(x.shape[0]).random())


@trap()
def tolist_and_sum(self, x):
    return self.fc(x) * sum(x.flatten().tolist())


@trap()
def statistics_of_a_list(self, x):
    return x - statistics.fmean(x[:, 0].tolist())


class Named(Net):
    def __init__(self):
        super().__init__()
        self.scales = {f"rows_{i}": float(i) for i in range(20)}


@trap()
class f_string_of_a_size(Named):
    def forward(self, x):
        return self.fc(x) * self.scales[f"rows_{x.shape[0]}"]


@trap()
class format_of_a_size(Named):
    def forward(self, x):
        return self.fc(x) * self.scales["rows_%d" % x.shape[0]]  # noqa: UP031


@trap()
class text_of_a_value(Net):
    def forward(self, x):
        return x * float(f"{x.mean().item():.3f}")


@trap()
def float_of_a_tensor(self, x):
    return x / (1 + float(x.abs().max()))


@trap()
def int_of_a_tensor(self, x):
    return x * int(x.abs().sum())


@trap()
def int_of_a_size(self, x):
    return x * int(x.shape[0])


@trap()
def complex_of_a_tensor(self, x):
    return x * abs(complex(x.mean()))


@trap()
def key_of_a_dict(self, x):
    return x * {1: 0.5, 2: 2.0, 3: 3.0, 4: 7.0, 5: 9.0}[x.shape[0]]


@trap()
def get_with_default(self, x):
    return x * {2: 2.0}.get(x.shape[0], 0.25)


@trap()
def membership_of_a_size(self, x):
    return x * 2 if x.shape[0] in (2, 4) else x * 3


@trap()
def membership_in_a_set(self, x):
    return x * 2 if x.shape[0] in {2, 4} else x * 3


@trap()
def index_of_a_list(self, x):
    return x * SCALES[x.shape[0]]


@trap()
def index_by_a_value(self, x):
    return x * SCALES[int(x.sum(0).argmax())]


@trap()
def hash_of_a_shape(self, x):
    return x * SCALES[hash(tuple(x.shape)) % 10]


@trap(wide=True)
def shape_as_key(self, x):
    table = collections.defaultdict(lambda: 3.0)
    table[(2, 6)] = 2.0
    return x * table[tuple(x.shape)]


@trap(wide=True)
def shape_compared_with_a_tuple(self, x):
    return x * 2 if x.shape == (2, 6) else x * 3


@trap()
def round_of_a_size(self, x):
    return x * round(x.shape[0] / 2)


@trap(wide=True)
def divmod_of_a_size(self, x):
    whole, rest = divmod(x.shape[1], 4)
    return x * whole + rest


@trap(wide=True)
def largest_of_the_sizes(self, x):
    return x * max(x.shape) - min(x.shape)


@trap(wide=True)
def reduce_over_sizes(self, x):
    return x.reshape(functools.reduce(operator.mul, x.shape))


@trap(wide=True)
def sum_of_sizes(self, x):
    return x * sum(x.shape)


@trap(wide=True)
def sorted_sizes(self, x):
    small, large = sorted(x.shape)
    return x * small / large


@trap()
def enumerate_rows(self, x):
    return sum(row * i for i, row in enumerate(x))


@trap()
def zip_rows(self, x):
    return torch.stack([a + b for a, b in zip(x, self.fc(x))])


@trap()
def half_of_the_rows(self, x):
    n = x.shape[0] // 2
    return torch.cat([x[n:], x[:n]])


@trap()
def type_of_a_size(self, x):
    return x * 2 if type(x.shape[0]) is int else x * 3


@trap()
def exact_types_of_values(self, x):
    value = x.sum().item()
    return x * (2 if type(value) is float else 3)


@trap()
def json_of_a_size(self, x):
    return x * json.loads(json.dumps({"rows": x.shape[0]}))["rows"]


@trap()
def repeated_text(self, x):
    return x * len("a" * x.shape[0])


@trap()
def repeated_list(self, x):
    return x * torch.tensor([0.5] * x.shape[0])[:, None]


@trap()
def tensor_of_sizes(self, x):
    return x * torch.tensor([x.shape[0], x.shape[1]]).sum()


@trap()
def legacy_tensor_of_sizes(self, x):
    return x * torch.Tensor([x.shape[0], 1.0]).sum()


@trap()
def parity_of_a_size(self, x):
    return x * (1 + (x.shape[0] & 1)) + x.shape[0].bit_length()


@trap()
def accumulate_over_rows(self, x):
    return torch.stack(list(itertools.accumulate(x, operator.add)))


@trap()
def arange_of_a_size(self, x):
    return x + torch.arange(x.size(0), dtype=x.dtype).unsqueeze(1)


@trap()
def largest_value_as_a_size(self, x):
    n = int(x.abs().max().item() * 3) + 1
    return F.pad(x, (0, n))


@trap()
def truth_of_a_size(self, x):
    rows = x.shape[0] - 2
    return x * 2 if rows else x * 3


@trap()
def identity_of_a_size(self, x):
    return x * 2 if x.shape[0] is x.size(0) else x * 2


@trap()
def while_on_a_size(self, x):
    n = x.shape[0]
    while n > 1:
        x, n = x * 2, n // 2
    return x


@trap()
def filled_with_a_value(self, x):
    return torch.full_like(x, x.mean().item()) + torch.full((2,), x.max().item()).sum()


@trap()
def ids_as_keys_within_a_call(self, x):
    seen = {}
    for i in range(3):
        y = x + i
        seen[id(y)] = i + 1
        x = y * seen[id(y)]
        del y
    return x


@trap()
def addresses_reused(self, x):
    total = torch.zeros_like(x)
    for i in range(6):
        temporary = x * (i + 1)
        total = total + temporary
        del temporary
        other = self.fc(total)
        total = total - other
        del other
    return total


@trap()
def data_pointers_compared(self, x):
    y = x.reshape(-1)
    return y * 2 if y.data_ptr() == x.data_ptr() else y * 3


@trap()
def strides_read(self, x):
    return x * x.stride(0) + x.t().stride(0)


@trap(double=True)
def text_of_a_dtype(self, x):
    return x * 2 if str(x.dtype) == "torch.float32" else x * 3


@trap()
class version_counter(nn.Module):
    def forward(self, x):
        y = x * 1
        y += 1
        return y * y._version


@trap(wide=True)
def range_over_columns(self, x):
    return sum(x[:, i] * (i + 1) for i in range(x.shape[1]))


@trap(wide=True)
def int_of_the_columns(self, x):
    return F.pad(x, (0, int(2 * max(x.shape[1], 4) - 1)))


@trap(wide=True)
def numpy_of_the_columns(self, x):
    return x * torch.from_numpy(np.hanning(x.shape[1])).float()


@trap(wide=True)
def text_of_the_columns(self, x):
    return x * {"6": 2.0}.get(str(x.shape[1]), 0.5)


@trap()
class grid_of_pixels(nn.Module):
    """Relative positions of a window, from the resolution."""

    def forward(self, x):
        image = x[:, None, :4].expand(-1, 4, -1)
        h, w = int(image.shape[-2]), int(image.shape[-1])
        grid = torch.stack(torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")).flatten(1)
        return image.flatten(1) @ (grid[0] - grid[1]).float()


@trap(
    inputs=lambda g, rows, columns: (torch.randn(rows, 1, 2 * columns, 4 + rows, generator=g),),
    wide=True,
    gradients=False,
)
def windows_of_an_image(self, x):
    h, w = x.shape[-2:]
    pad_h, pad_w = (4 - h % 4) % 4, (4 - w % 4) % 4
    x = F.pad(x, (0, pad_w, 0, pad_h))
    out = x.new_zeros(x.shape)
    for top in range(0, h + pad_h, 4):
        for left in range(0, w + pad_w, 4):
            out[..., top : top + 4, left : left + 4] = x[..., top : top + 4, left : left + 4].softmax(-1)
    return out[..., :h, :w]


@trap(
    inputs=lambda g, rows, columns: (torch.randn(rows, 3, 4 + rows, columns + 2, generator=g),),
    wide=True,
    gradients=False,
)
def positions_resized_to_an_image(self, x):
    table = torch.linspace(0, 1, 36).view(1, 1, 6, 6)
    if x.shape[-2:] != (6, 6):
        table = F.interpolate(table, size=x.shape[-2:], mode="bilinear")
    return x + table
