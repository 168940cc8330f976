"""Numbers that Python reads in ways nothing sees, and exceptions of code that is kept whole."""

import contextlib

import numpy as np
import torch
from torch import nn

from soundness.rule import Net, trap

SCALES = [0.5 + 0.25 * i for i in range(64)]


def sides(g, rows, columns):
    return (torch.randn(rows + 1, columns - 2, generator=g),)  # (3, 4): turned around, as many elements


# --- sizes -------------------------------------------------------------------------------------------


@trap(inputs=sides, wide=True)
def index_by_the_number_of_elements(self, x):
    return x * SCALES[x.numel()]


@trap(inputs=sides, wide=True)
def index_by_the_larger_size(self, x):
    return x * SCALES[max(x.shape)]


@trap(inputs=sides, wide=True)
def index_by_the_sum_of_sizes(self, x):
    return x * SCALES[x.shape[0] + x.shape[1]]


@trap(inputs=sides, wide=True)
def list_as_long_as_all_elements(self, x):
    return x * sum([0.5] * x.numel())


@trap(inputs=lambda g, rows, columns: (torch.randn(2 * rows, columns, generator=g),))
def even_numbers_of_rows_only(self, x):
    pairs = x.view(2, x.shape[0] // 2, -1) if x.shape[0] % 2 == 0 else x.view(7, 7, 7)
    return pairs * SCALES[x.shape[0]]


@trap(inputs=lambda g, rows, columns: (torch.randn(rows, 8 if columns == 6 else 16, 3, generator=g),), wide=True)
def windows_of_four_only(self, x):
    windows = x.reshape(x.shape[0], -1, 4, 3)
    return windows * SCALES[x.shape[1]]


@trap(inputs=lambda g, rows, columns: (torch.randn(1, 8 if columns == 6 else 12, 3, generator=g),), wide=True)
def one_row_only(self, x):
    return x.reshape(3, -1) * SCALES[x.shape[1]] + x.squeeze(0).unsqueeze(2).view(-1, 3).sum()


@trap(
    inputs=lambda g, rows, columns: (torch.randn(rows, 3, generator=g), torch.randn(rows + 3, 3, generator=g)),
)
def rows_of_their_own(self, x, table):
    return (x @ table.t()) * SCALES[table.shape[0]]


# --- values ------------------------------------------------------------------------------------------


def highest(x):
    return int(x.detach().abs().max().numpy() * 4)


def total(x):
    return float(x.detach().numpy().sum())


def positive(x):
    return int((x.detach().numpy() > 0).sum())


def smallest(x):
    return x.detach().numpy().min()


def spread(x):
    rows = sorted(x.flatten().tolist())
    return int(4 * (rows[-1] - rows[0]))


def brightest(x):
    return int(x.detach().flatten().numpy().argmax())


@trap()
def index_by_the_largest_value(self, x):
    return self.fc(x) * SCALES[highest(x)]


@trap()
def arithmetic_of_numpy_on_the_smallest_value(self, x):
    return self.fc(x) * (smallest(x) * 2 + 1)


@trap()
def numpy_scalar_of_a_sum(self, x):
    return self.fc(x) * float(np.tanh(total(x)))


@trap()
def index_by_a_count(self, x):
    return self.fc(x) * SCALES[positive(x)]


@trap()
def index_by_a_spread(self, x):
    return self.fc(x) * SCALES[spread(x)]


@trap()
def index_by_the_place_of_the_largest(self, x):
    return self.fc(x) * SCALES[brightest(x)]


@trap(inputs=lambda g, rows, columns: (torch.ones(rows, columns) * (1 + torch.rand((), generator=g).round()),))
def all_values_are_one(self, x):
    return self.fc(x) * SCALES[highest(x)]


@trap(inputs=lambda g, rows, columns: (torch.randn(rows, 5, generator=g), torch.randint(1, 6, (rows,), generator=g)))
def longest_of_lengths(self, x, lengths):
    return x * SCALES[int(lengths.numpy().max())] if len(lengths) else x


def longest(lengths):
    return int(lengths.numpy().max())


@trap(inputs=lambda g, rows, columns: (torch.randn(rows, 5, generator=g), torch.randint(1, 6, (rows,), generator=g)))
def longest_of_lengths_by_a_function(self, x, lengths):
    return x * SCALES[longest(lengths)]


def with_mask(g, rows, columns):
    return torch.randn(rows, columns, generator=g), (torch.rand(rows, columns, generator=g) > 0.4).float()


def kept_places(mask):
    assert set(mask.unique().tolist()) <= {0.0, 1.0}, "a mask"
    return int(mask.numpy().sum())


@trap(inputs=with_mask)
def mask_stays_a_mask(self, x, mask):
    return self.fc(x) * mask * SCALES[kept_places(mask)]


def probable(p):
    if not bool(((p >= 0) & (p <= 1)).all()):
        raise ValueError("no probabilities")
    return int(p.numpy().max() * 40)


@trap(inputs=lambda g, rows, columns: (torch.rand(rows, columns, generator=g),))
def probabilities_stay_in_range(self, p):
    return self.fc(p) * SCALES[probable(p)]


# --- exceptions --------------------------------------------------------------------------------------


def reciprocal(x):
    return 1 / int(x.detach().numpy()[0, 0] > 0)


def looked_up(x):
    return {True: 2.0}[bool(x.detach().numpy()[0, 0] > 0)]


@trap()
def exception_of_a_kept_function(self, x):
    try:
        scale = reciprocal(x)
    except ZeroDivisionError:
        scale = 5.0
    return self.fc(x) * scale


@trap()
def suppressed_exception_of_a_kept_function(self, x):
    scale = 5.0
    with contextlib.suppress(ZeroDivisionError):
        scale = reciprocal(x)
    return self.fc(x) * scale


@trap()
def exception_of_a_kept_function_two_frames_up(self, x):
    def scale():
        return looked_up(x) * 2

    try:
        return self.fc(x) * scale()
    except LookupError:
        return self.fc2(x)


class Picky(nn.Module):
    def forward(self, x):
        return x * reciprocal(x)


@trap()
class exception_of_a_kept_module(Net):
    def __init__(self):
        super().__init__()
        self.picky = Picky()

    def forward(self, x):
        try:
            return self.picky(x)
        except ArithmeticError:
            return self.fc(x)


@trap()
def exception_of_a_kept_function_in_a_finally(self, x):
    log = [1.0]
    try:
        y = x * looked_up(x.abs() + 1)
    finally:
        log.append(2.0)
    return y * sum(log)


@trap()
def exception_of_a_factorisation(self, x):
    square = x[:2, :2] @ x[:2, :2].t() if x.shape[0] > 1 else x[:1, :1]
    try:
        return torch.linalg.cholesky(square - 0.5 * torch.eye(square.shape[0]))
    except RuntimeError:
        return square * 3


@trap(inputs=lambda g, rows, columns: (torch.randn(rows, 3, generator=g), torch.randint(0, 5, (rows,), generator=g)))
def exception_of_an_index(self, x, index):
    try:
        return x[:, index]
    except IndexError:
        return x * 2


@trap()
def exception_of_a_kept_function_that_always_comes(self, x):
    try:
        scale = reciprocal(x * 0)
    except ZeroDivisionError:
        scale = 5.0
    return self.fc(x) * scale


@contextlib.contextmanager
def quietly():
    with contextlib.suppress(ZeroDivisionError):
        yield


@trap()
def exception_that_a_context_of_its_own_swallows(self, x):
    scale = 5.0
    with quietly():
        scale = reciprocal(x)
    return self.fc(x) * scale


# Here both captures go the same way.


def rare(x):
    return 1 / int(x.detach().numpy().max() < 1.6)


@trap()
def rare_exception_of_a_kept_function(self, x):
    try:
        scale = rare(x / x.abs().max() * 1.5) * rare(x)
    except ZeroDivisionError:
        scale = 5.0
    return self.fc(x) * scale


@trap()
def rare_exception_that_is_suppressed(self, x):
    scale = 5.0
    with contextlib.suppress(ArithmeticError):
        scale = rare(x)
    return self.fc(x) * scale


@trap()
def rare_exception_of_a_number(self, x):
    try:
        scale = 1 / (x.max() > 1.6).long().neg().add(1).item()
    except ZeroDivisionError:
        scale = 5.0
    return self.fc(x) * scale


@trap()
def rare_exception_of_a_root(self, x):
    import math

    try:
        scale = math.sqrt(1.6 - x.max().item())
    except ValueError:
        scale = 5.0
    return self.fc(x) * scale


@trap()
def rare_exception_told_otherwise(self, x):
    try:
        scale = rare(x * 0)
    except ZeroDivisionError as error:
        raise RuntimeError("no scale") from error
    return self.fc(x) * scale


@trap()
class rare_exception_of_a_kept_module(Net):
    class Inner(nn.Module):
        def forward(self, x):
            return x * rare(x)

    def __init__(self):
        super().__init__()
        self.inner = self.Inner()

    def forward(self, x):
        y = self.fc2(x)
        try:
            y = self.inner(x)
        except ArithmeticError:
            y = y * 2
        return self.fc(y)


@trap()
def rare_exception_caught_in_a_helper(self, x):
    def scale():
        try:
            return rare(x)
        except ZeroDivisionError:
            return 5.0

    return self.fc(x) * scale()


@trap(inputs=lambda g, rows, columns: (torch.randn(rows + 1, columns, generator=g),))
def exception_with_fewer_rows(self, x):
    try:
        return self.fc(x) * x[2]
    except IndexError:
        return self.fc(x) * x[0]


@trap(inputs=lambda g, rows, columns: (torch.randn(rows, columns, generator=g),))
def exception_of_a_module_that_always_comes(self, x):
    try:
        return self.fc(x[:, :5])
    except RuntimeError:
        return self.fc2(x)
