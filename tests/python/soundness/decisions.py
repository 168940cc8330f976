"""Control flow: on values, on sizes, on what a tensor is, by exceptions, by recursion."""

import contextlib

import torch
import torch.nn.functional as F

from soundness.rule import COLUMNS, Net, trap, two


@trap()
def if_on_a_sum(self, x):
    return self.fc(x) if x.sum() > 0 else self.fc2(x)


@trap()
def ternary_in_an_argument(self, x):
    return F.leaky_relu(x, 0.1 if x.mean() > 0 else 0.3)


@trap()
def both_sides_write_a_local(self, x):
    scale = 1.0
    if x[0, 0] > 0:
        x = x * 2
        scale = 3.0
    elif x[0, 1] > 0:
        x = x - 1
    return x * scale


@trap()
def nested_decisions(self, x):
    if x.sum() > 0:
        if x[0].sum() > 0:
            return x * 2
        return x * 3
    return x * 4 if x.max() > 1 else x * 5


@trap()
def and_or_not(self, x):
    if x.sum() > 0 and not (x[:, 0] > 0).all():
        return x + 1
    if x.min() < -2 or (x > 1).any():
        return x + 2
    return x + 3


@trap()
def while_on_a_value(self, x):
    while x.abs().max() > 0.5:
        x = x / 2
    return x


@trap()
def break_on_a_value(self, x):
    for layer in (self.fc, self.fc2, self.fc):
        x = layer(x)
        if x.abs().sum() < 4:
            break
    return x


@trap()
def early_return_of_another_structure(self, x):
    return (x,) if x.sum() > 0 else (x, x * 2)


@trap()
def assertion_on_values(self, x):
    assert (x > -2.2).all(), "values out of range"
    return x * 2


@trap()
def raise_on_a_value(self, x):
    if x.max() > 1.8:
        raise ValueError(f"too large: {x.max():.1f}")
    return self.fc(x)


@trap()
def exception_as_control_flow(self, x):
    def check(t):
        if t.sum() < 0:
            raise LookupError("negative")
        return t * 2

    try:
        return check(x)
    except LookupError:
        return x * 3


@trap()
def exception_by_a_shape(self, x):
    try:
        return x.view(2, -1) * 2
    except RuntimeError:
        return x * 3


@trap()
def exception_by_a_key(self, x):
    known = {2: 2.0}
    try:
        scale = known[x.shape[0]]
    except KeyError:
        scale = 5.0
    return x * scale


@trap()
def suppressed(self, x):
    y = x * 1
    with contextlib.suppress(IndexError):
        y = y + x[2]
    return y


@trap()
def finally_runs(self, x):
    log = []
    try:
        if x.sum() > 0:
            return x * 2
    finally:
        log.append(1)
    return x * len(log) * 3


@trap()
def recursion_on_a_size(self, x):
    def tree_sum(t):
        if t.shape[0] == 1:
            return t[0]
        half = t.shape[0] // 2
        return tree_sum(t[:half]) + tree_sum(t[half:]) * 2

    return tree_sum(x)


@trap()
def recursion_on_a_value(self, x):
    def shrink(t, depth=0):
        return t if depth > 5 or t.abs().max() < 1 else shrink(t / 2, depth + 1)

    return shrink(x)


@trap()
def empty_selection(self, x):
    chosen = x[x[:, 0] > 0]
    if chosen.numel() == 0:
        return x.sum() * 0
    return chosen.mean()


@trap()
def size_decision(self, x):
    return x * 2 if x.shape[0] > 2 else x * 3


@trap(wide=True)
def divisibility(self, x):
    if x.shape[1] % 4 != 0:
        x = F.pad(x, (0, 4 - x.shape[1] % 4))
    return x.view(x.shape[0], 4, -1)


@trap()
def batch_of_one_squeezed(self, x):
    return x.squeeze(0) if len(x) == 1 else x


@trap()
def squeeze_of_everything(self, x):
    y = x.sum(1, keepdim=True).squeeze()
    return y if y.dim() else y * 2


@trap(double=True)
def dtype_decision(self, x):
    return x * 2 if x.dtype == torch.float32 else x * 3


@trap(double=True)
def dtype_in_a_tuple(self, x):
    return x * 2 if x.dtype in (torch.float32, torch.bfloat16) else x * 3


@trap(double=True)
def lowest_of_the_dtype(self, x):
    return x.masked_fill(x < 0, torch.finfo(x.dtype).min).softmax(-1)


@trap(double=True)
def epsilon_of_the_dtype(self, x):
    return x / (x.sum() + torch.finfo(x.dtype).eps)


@trap(double=True)
def dtype_of_the_weights(self, x):
    return self.fc(x.to(self.fc.weight.dtype)).to(x.dtype)


@trap()
def requires_grad_asked(self, x):
    y = self.fc(x)
    return y * 2 if y.requires_grad else y * 3


@trap(extra=[(lambda g: ((torch.randn(2, COLUMNS, generator=g),), {}), torch.enable_grad)])
def gradient_mode_asked(self, x):
    return x * 2 if torch.is_grad_enabled() else x * 3


@trap(train=True)
def mode_asked(self, x):
    return x * 2 if self.training else x + 1


@trap(train=True)
def mode_of_a_child_asked(self, x):
    return self.fc(x) * 2 if self.fc.training else self.fc(x)


@trap(train=True)
def structure_by_the_mode(self, x):
    y = self.fc(x)
    return (y, self.fc2(y)) if self.training else y


@trap()
def device_asked(self, x):
    return x * 2 if x.device.type == "cpu" else x * 3


@trap()
def tracing_asked(self, x):
    if torch.jit.is_tracing() or torch.jit.is_scripting() or torch.compiler.is_compiling():
        return x * 3
    return x * 2


@trap()
def equality_of_tensors(self, x):
    return x * 2 if torch.equal(x, x.abs()) else x * 3


@trap()
def closeness_of_tensors(self, x):
    return x * 2 if torch.allclose(x.sum(), x.abs().sum(), atol=5.0) else x * 3


@trap()
def builtin_any_of_rows(self, x):
    return x * 2 if any(row.sum() > 1 for row in x) else x * 3


@trap()
def builtin_all_of_rows(self, x):
    return x * 2 if all(row[0] < 1 for row in x) else x * 3


@trap()
def builtin_max_of_tensors(self, x):
    return max(x[0, 0], x[0, 1], x[0, 2]) * x


@trap()
def sorted_rows(self, x):
    return torch.stack(sorted(x, key=lambda row: row.sum().item()))


@trap()
def tensor_in_a_list(self, x):
    return x * 2 if x[0, 0].sign() in [torch.tensor(1.0)] else x * 3


@trap()
def chained_comparison(self, x):
    return x * 2 if -0.2 < x.mean() < 0.2 else x * 3


@trap()
def item_compared(self, x):
    return x * 2 if x.sum().item() > 0 else x * 3


@trap()
def item_truth(self, x):
    count = (x > 1).sum().item()
    return x / count if count else x


@trap()
def dispatch_by_a_value(self, x):
    table = {True: self.fc, False: self.fc2}
    return table[bool(x.sum() > 0)](x)


@trap()
def list_indexed_by_a_bool(self, x):
    return (x * 2, x * 3)[x.sum() > 0]


@trap()
def next_that_fits(self, x):
    row = next((r for r in x if r.sum() > 0), x[0] * 0)
    return x + row


@trap()
def filtered_rows(self, x):
    rows = [row for row in x if row.sum() > 0]
    return torch.stack(rows).sum(0) if rows else torch.zeros(COLUMNS)


@trap()
def loop_count_from_a_value(self, x):
    for _ in range(int(x.abs().max().item())):
        x = x * 0.9
    return x


@trap(inputs=two)
def newton_until_close(self, x, y):
    guess = y.abs() + 1
    for _ in range(20):
        better = (guess + x.abs() / guess) / 2
        if (better - guess).abs().max() < 1e-3:
            return better
        guess = better
    return guess


@trap(
    inputs=lambda g, rows, columns: (torch.randn(rows, columns, generator=g), None),
    extra=[
        (lambda g: ((torch.randn(2, COLUMNS, generator=g), torch.randn(2, COLUMNS, generator=g)), {}), torch.no_grad)
    ],
)
def optional_argument(self, x, mask=None):
    if mask is not None:
        x = x * mask
    return x + 1


@trap(
    inputs=lambda g, rows, columns: (torch.randn(rows, columns, generator=g), True, "mean"),
    extra=[
        (lambda g: ((torch.randn(2, COLUMNS, generator=g), False, "mean"), {}), torch.no_grad),
        (lambda g: ((torch.randn(2, COLUMNS, generator=g), True, "sum"), {}), torch.no_grad),
        (lambda g: ((torch.randn(2, COLUMNS, generator=g), True), {"reduction": "sum"}), torch.no_grad),
        (lambda g: ((torch.randn(2, COLUMNS, generator=g),), {"reduction": "mean", "flag": False}), torch.no_grad),
    ],
)
def flags_and_words(self, x, flag=True, reduction="mean"):
    x = x * 2 if flag else x * 3
    return x.mean() if reduction == "mean" else x.sum()


@trap(
    inputs=lambda g, rows, columns: (torch.randn(rows, columns, generator=g), 2),
    extra=[(lambda g: ((torch.randn(2, COLUMNS, generator=g), 3), {}), torch.no_grad)],
)
def number_of_iterations(self, x, steps):
    for _ in range(steps):
        x = self.fc(x)
    return x


@trap(
    inputs=lambda g, rows, columns: ([torch.randn(columns, generator=g) for _ in range(rows)],),
)
def list_of_inputs(self, xs):
    total = xs[0] * 0
    for i, x in enumerate(xs):
        total = total + self.fc(x) * (i + 1)
    return total


@trap(
    inputs=lambda g, rows, columns: ({"x": torch.randn(rows, columns, generator=g)},),
    extra=[
        (
            lambda g: (({"x": torch.randn(2, COLUMNS, generator=g), "mask": torch.zeros(2, COLUMNS)},), {}),
            torch.no_grad,
        ),
    ],
)
def keys_of_an_input(self, batch):
    x = batch["x"]
    if "mask" in batch:
        x = x * batch["mask"]
    return self.fc(x)


@trap(
    inputs=lambda g, rows, columns: tuple(torch.randn(rows, columns, generator=g) for _ in range(2)),
    extra=[(lambda g: (tuple(torch.randn(2, COLUMNS, generator=g) for _ in range(3)), {}), torch.no_grad)],
)
def any_number_of_inputs(self, *xs):
    return sum(self.fc(x) for x in xs) / len(xs)


@trap(
    inputs=lambda g, rows, columns: (torch.randn(rows, columns, generator=g),),
    extra=[
        (lambda g: ((torch.randn(2, COLUMNS, 4, generator=g).transpose(1, 2),), {}), torch.no_grad),
        (lambda g: ((torch.randn(COLUMNS, generator=g),), {}), torch.no_grad),
    ],
)
def number_of_dimensions(self, x):
    if x.dim() == 3:
        return self.fc(x).mean(1)
    return self.fc(x)


@trap()
class early_exit(Net):
    def forward(self, x):
        y = self.norm(self.fc(x))
        if y.softmax(-1).max(-1).values.min() > 0.3:
            return y
        return self.fc2(y)
