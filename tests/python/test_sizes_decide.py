"""What sizes decide is a branch, and numbers made of sizes follow them."""
# ruff: noqa: RUF046, UP018 (what int() does is what is tested)

import copy
import math
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from modulize import AssumptionError, prepare_model


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.fc = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 4)
        self.shape, self.table = None, None


class KeptForAShape(Net):
    def forward(self, x):
        y = self.conv(x)
        if self.shape != y.shape:
            self.table, self.shape = torch.arange(y.shape[2] * y.shape[3]).view(1, 1, *y.shape[2:]).float(), y.shape
        return y + self.table


class KeptForTwoSizes(Net):
    def forward(self, x):
        y = self.conv(x)
        h, w = y.shape[2:]
        if self.shape is None or self.shape != (h, w):
            self.table, self.shape = torch.arange(h * w).view(1, 1, h, w).float(), (h, w)
        return y * self.table


class GrowsWithTheLength(Net):
    def forward(self, x):
        if self.table is None or self.table.size(1) < x.size(1):
            self.table = torch.arange(x.size(1) * 4).view(1, x.size(1), 4).float()
        return self.fc(x) + self.table[:, : x.size(1)]


class GrowsAsABuffer(Net):
    def __init__(self):
        super().__init__()
        self.known = 0

    def forward(self, x):
        if x.shape[1] > self.known:
            self.known = x.shape[1]
            self.register_buffer("cos", torch.arange(self.known * 4).view(1, self.known, 4).cos(), persistent=False)
        return self.fc(x) * self.cos[:, : x.shape[1]]


PICTURES = [torch.randn(*shape) for shape in ((1, 3, 8, 8), (2, 3, 8, 8), (1, 3, 12, 10), (3, 3, 6, 16))]
WORDS = [torch.randn(*shape) for shape in ((1, 6, 4), (2, 6, 4), (1, 9, 4), (2, 3, 4))]
TABLES = [(KeptForAShape, PICTURES), (KeptForTwoSizes, PICTURES), (GrowsWithTheLength, WORDS), (GrowsAsABuffer, WORDS)]


@pytest.mark.parametrize("is_called_before", [False, True], ids=["fresh", "called before"])
@pytest.mark.parametrize(("cls", "inputs"), TABLES, ids=lambda v: getattr(v, "__name__", ""))
def test_a_table_that_is_kept_for_a_size_follows_the_size(cls, inputs, is_called_before):
    model = cls().eval()
    if is_called_before:
        model(inputs[0])
    prepared = prepare_model(copy.deepcopy(model), example_inputs=inputs[0])
    assert not prepared.report.kept
    for twin in (prepared, copy.deepcopy(prepared), pickle.loads(pickle.dumps(prepared))):
        for x in [*inputs, inputs[0]]:
            assert torch.equal(twin(x), model(x))


# --- both sides, whichever the example takes ---------------------------------------------------------


def pads_to_windows(self, x):
    h, w = x.shape[2:]
    x = self.conv(x)
    if h % 4 or w % 4:
        x = F.pad(x, (0, -w % 4, 0, -h % 4))
    b, c, hp, wp = x.shape
    x = x.view(b, c, hp // 4, 4, wp // 4, 4).mean((3, 5))
    return x


def in_parts_where_long(self, x):
    if x.shape[1] > 6:
        return torch.cat([self.fc(x[:, :6]), self.fc(x[:, 6:]) * 2], 1)
    return self.fc(x)


def one_row_alone(self, x):
    y = self.fc(x)
    return y[0].softmax(-1)[None] if len(x) == 1 else y.relu()


def decides_twice(self, x):
    y = self.fc(x)
    if x.shape[1] % 2:
        y = y * 3
    if x.shape[0] > 1:
        y = y - y.mean(0, keepdim=True)
    return y


def decides_on_a_side(self, x):
    if x.shape[1] > 6:
        y = self.fc(x) * 2
        return y[:, ::2] if x.shape[1] % 2 else y
    return self.fc(x)


def by_size_and_value(self, x):
    y = self.fc(x)
    if x.shape[1] > 6:
        y = y * 2 if x.sum() > 0 else y * 3
    return y + 1


def by_size_and_mode(self, x):
    y = self.fc(x)
    if x.shape[1] > 6:
        y = y * 2 if self.training else y * 3
    return y


DECIDES = [
    (pads_to_windows, [torch.randn(2, 3, *size) for size in ((8, 8), (12, 8), (7, 9), (10, 12))]),
    *[
        (forward, [torch.randn(*shape) for shape in ((2, 6, 4), (2, 7, 4), (1, 7, 4), (1, 5, 4), (3, 8, 4))])
        for forward in (in_parts_where_long, one_row_alone, decides_twice, decides_on_a_side, by_size_and_value)
    ],
]


def made(forward):
    return type(forward.__name__, (Net,), {"forward": forward})().eval()


@pytest.mark.parametrize("which", range(5))
@pytest.mark.parametrize(("forward", "inputs"), DECIDES, ids=lambda v: getattr(v, "__name__", ""))
def test_sizes_are_equal_or_refused_and_the_other_side_works(forward, inputs, which):
    if which >= len(inputs):
        pytest.skip("as many examples as there are sizes")
    model = made(forward)
    prepared = prepare_model(copy.deepcopy(model), example_inputs=inputs[which])
    worked = 0
    for x in inputs:
        for value in (x, -x):
            try:
                got = prepared(value)
            except AssumptionError:
                continue
            assert torch.equal(got, model(value))
            worked += 1
    assert worked >= len(inputs)
    assert not prepared.report.kept
    assert torch.equal(prepared(inputs[which]), model(inputs[which]))


def test_a_side_that_sizes_decide_has_both_modes():
    model = made(by_size_and_mode)
    prepared = prepare_model(copy.deepcopy(model), example_inputs=torch.randn(2, 6, 4))
    for training in (True, False):
        for rows in (5, 6, 7, 9):
            x = torch.randn(2, rows, 4)
            assert torch.equal(prepared.train(training)(x), model.train(training)(x))


def refuses_short(self, x):
    if x.shape[1] < 2:
        raise ValueError("too short")
    return self.fc(x)


def test_a_side_that_raises_stays_a_check():
    model = made(refuses_short)
    prepared = prepare_model(model, example_inputs=torch.randn(2, 6, 4))
    assert torch.equal(prepared(x := torch.randn(3, 2, 4)), model(x))
    with pytest.raises((AssumptionError, ValueError)):
        prepared(torch.randn(2, 1, 4))


# --- numbers made of sizes ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "number",
    [
        lambda n: int(n),
        lambda n: int(n / 2),
        lambda n: int(n * 0.5),
        lambda n: int(math.ceil(n / 4)),
        lambda n: int(math.sqrt(n)),
        lambda n: int(float(n) / 3) + 1,
        lambda n: int(2 * max(n, 3) - 1) // 2,
        lambda n: int(round(n * 0.7)),
        lambda n: int(int(n) + int(n / 3)),
        lambda n: int(True) + int("2") + int(2.7) + int(n) - int(0b11) - int("f", 16) + int("11", base=2),
    ],
)
@pytest.mark.parametrize("verify", [True, False])
def test_whole_numbers_made_of_a_size_follow_it(number, verify):
    class Pads(Net):
        def forward(self, x):
            return F.pad(self.fc(x), (0, number(x.shape[1])))

    model = Pads().eval()
    prepared = prepare_model(model, example_inputs=torch.randn(2, 6, 4), verify=verify)
    assert not prepared.report.kept
    for length in (6, 7, 11, 20):
        x = torch.randn(3, length, 4)
        assert torch.equal(prepared(x), model(x))


def test_a_number_read_from_a_value_follows_int_and_float():
    class Scales(Net):
        def forward(self, x):
            count = int(x.abs().max().item())
            return F.pad(self.fc(x), (0, count)) * float(x.abs().max().item())

    model = Scales().eval()
    prepared = prepare_model(model, example_inputs=torch.full((2, 6, 4), 2.5))
    for value in (2.5, 3.5, 0.5):
        x = torch.full((2, 6, 4), value)
        assert torch.equal(prepared(x), model(x))


def test_int_and_float_are_pythons_own_again():
    before = int.__call__, float.__call__
    prepare_model(made(refuses_short), example_inputs=torch.randn(2, 6, 4))
    assert (int.__call__, float.__call__) == before
    assert int("12") == 12
    assert int("0x1f", 16) == 31
    assert type(int(3.7)) is int
    assert type(float(3)) is float
    with pytest.raises(ValueError, match="invalid literal"):
        int("twelve")


def test_an_index_into_a_list_by_such_a_number_is_never_silent():
    class Looks(Net):
        def forward(self, x):
            return self.fc(x) * [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0][int(x.shape[1] / 2)]

    model = Looks().eval()
    prepared = prepare_model(model, example_inputs=torch.randn(2, 6, 4))
    for length in (6, 7, 9, 12):
        x = torch.randn(2, length, 4)
        try:
            got = prepared(x)
        except AssumptionError:
            continue
        assert torch.equal(got, model(x))
