"""What feeds a condition counts: sizes, rows, counts and draws by which Python decides; decisions together."""

import contextlib
import random

import numpy as np
import pytest
import torch
from torch import nn

from modulize import AssumptionError, prepare_model

torch.manual_seed(0)
X = torch.randn(4, 6)
CALLS = [X, -X.abs(), X.abs(), torch.cat([X, 9 * X.abs()]), X[:2], torch.cat([-9 * X.abs(), X.abs()]), X.abs()[:3]]
TABLE = torch.linspace(-1, 1, 6)


def net(function, **attributes):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.heads = nn.ModuleList(nn.Linear(6, 6) for _ in range(3))
            for name, value in attributes.items():
                setattr(self, name, value)

        forward = function

    torch.manual_seed(1)
    return Net().eval()


def equal(a, b):
    return torch.equal(a.nan_to_num(), b.nan_to_num())


def reasons(prepared):
    return [capture["reason"] for capture in prepared.report.captures]


# --- what only feeds a condition --------------------------------------------------------------------------------------


def index_in_a_threshold(self, x):
    return x * 3 if x.sum() > [0.0, 0.0, 0.1, 0.2, 0.0, -500.0, 500.0, 0.0, -3.0][len(x)] else x * 2


def rows_in_a_sum(self, x):
    total = 0
    for row in x:
        total = total + row.sum()
    return x * 3 if total > 0 else x * 2


def norm_of_rows(self, x):
    norm = 0.0
    for i in range(x.shape[0]):
        norm = norm + x[i].norm()
    return x * 0.5 if norm > 12 else x


def rows_in_an_assertion(self, x):
    for i in range(x.shape[0]):
        assert not x[i].isnan().any(), "no numbers"
    return x * 2


def text_in_a_threshold(self, x):
    return x + 1 if x.mean() > float(f"{x.shape[0]}.5") - 4 else x - 1


def numpy_in_a_threshold(self, x):
    return x + 1 if x.mean() > np.zeros(x.shape[0]).size - 4.5 else x - 1


def rows_of_the_other_side(self, x):
    if x.sum() > 0:
        return x
    smallest = min(row.sum() for row in x.unbind(0))
    return x * 3 if smallest < -20 else x * 2


FOUND = [
    index_in_a_threshold,
    rows_in_a_sum,
    norm_of_rows,
    rows_in_an_assertion,
    text_in_a_threshold,
    numpy_in_a_threshold,
    rows_of_the_other_side,
]


@pytest.mark.parametrize("forward", FOUND, ids=lambda f: f.__name__)
def test_what_feeds_a_condition_is_compared(forward):
    model = net(forward)
    prepared = prepare_model(model, example_inputs=X)
    for x in CALLS:
        try:
            assert equal(prepared(x), model(x))
        except AssumptionError:
            assert not prepared.report.kept  # known, and said


def all_rows(self, x):
    return x * 3 if x.sum() > 0 else x * 2


def size_in_a_threshold(self, x):
    return x * 3 if x.sum() > x.shape[0] - 4.5 else x * 2


def mean_by_hand(self, x):
    return x + 1 if x.sum() / x.numel() > 0.1 else x - 1


def stacked_rows(self, x):
    return x + 1 if torch.stack(x.unbind(0)).amax() > 2 else x - 1


def an_idle_loop(self, x):
    for row in x:
        row.sum()
    return x * 2


def an_idle_decision(self, x):
    total = 0
    for row in x:
        total = total + row.sum()
    if total > 0:
        pass
    return x * 2


def an_assertion(self, x):
    assert not x.isnan().any(), "no numbers"
    return x * 2


LEFT_ALONE = [
    all_rows,
    size_in_a_threshold,
    mean_by_hand,
    stacked_rows,
    an_idle_loop,
    an_idle_decision,
    an_assertion,
]


@pytest.mark.parametrize("forward", LEFT_ALONE, ids=lambda f: f.__name__)
def test_what_follows_the_size_or_decides_nothing_is_left_alone(forward):
    model = net(forward)
    prepared = prepare_model(model, example_inputs=X)
    assert prepared.report.kept == []
    for x in CALLS:
        assert equal(prepared(x), model(x))


# --- decisions that are right together --------------------------------------------------------------------------------


def chain(operations):
    def forward(self, x):
        for i, operation in enumerate(operations):
            if x[:, i].sum() > 0:
                x = operation(x)
        return x

    return forward


def count_to(wanted, of, above=False):
    def forward(self, x):
        n = 0
        for i in range(of):
            if x[:, i].sum() > 0:
                n += 1
        return x * 2 if (n >= wanted if above else n == wanted) else x * 3

    return forward


def last_of(of):
    def forward(self, x):
        last = -1
        for i in range(of):
            if x[:, i].sum() > 0:
                last = i
        return x * (last + 2)

    return forward


def raises_together(self, x):
    n = 0
    for i in range(3):
        if x[:, i].sum() > 0:
            n += 1
    if x[:, 3].sum() > 0:
        if n == 2:
            raise ValueError("two of them")
        x = x + 1
    return x


def first_leaves(self, x):
    for i in range(4):
        if x[:, i].sum() > 0:
            return x * (i + 1)
    return -x


TOGETHER = {
    "three of four": count_to(3, 4),
    "two of five": count_to(2, 5),
    "none of four": count_to(0, 4),
    "at least three of five": count_to(3, 5, above=True),
    "three of six": count_to(3, 6),
    "the last of four": last_of(4),
    "raises together": raises_together,
}
ALONE = {
    "a chain of four": chain([lambda x: x + 1, lambda x: x * 2, lambda x: x - 3, lambda x: x / 2]),
    "a chain of five": chain([lambda x: x + 1, lambda x: x * 2, torch.relu, lambda x: x - 3, torch.sigmoid]),
    "the first of four": first_leaves,
}


def signs(of):
    for bits in range(1 << of):
        yield X.abs() * torch.tensor([1.0 if bits >> i & 1 else -1.0 for i in range(6)])


@pytest.mark.parametrize("name", [*TOGETHER, *ALONE])
@pytest.mark.parametrize("example", [X, X.abs(), -X.abs()], ids=["mixed", "all", "none"])
def test_every_combination_is_the_originals(name, example):
    model = net({**TOGETHER, **ALONE}[name])
    prepared = prepare_model(model, example_inputs=example)
    for x in signs(6):
        try:
            expected = model(x)
        except ValueError:
            with pytest.raises(ValueError, match="two of them"):
                prepared(x)
            continue
        assert equal(prepared(x), expected)


@pytest.mark.parametrize("name", ALONE)
def test_decisions_that_do_not_depend_on_one_another_are_branches(name):
    prepared = prepare_model(net(ALONE[name]), example_inputs=X.abs())
    assert prepared.report.kept == []
    assert len(reasons(prepared)) <= 36


def test_a_count_of_many_decisions_is_found():
    def forward(self, x):
        n = 0
        for i in range(6):
            for threshold in (0, 10):
                if x[:, i].sum() > threshold:
                    n += 1
        return x * 2 if n == 9 else x * 3

    model = net(forward)
    prepared = prepare_model(model, example_inputs=X.abs())
    nine = X.abs() * torch.tensor([9.0, 9.0, 9.0, 0.1, 0.1, 0.1])
    for x in (X, -X.abs(), nine):
        assert equal(prepared(x), model(x))


# --- counts and sizes by which Python decides -------------------------------------------------------------------------


def count_of_found(self, x):
    return x * [1.0, 2.0, 3.0, 4.0, 5.0][min((x[:, 0] > 0).nonzero().shape[0], 4)]


def count_of_picked(self, x):
    return x * [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0][len(x[x[:, 0] > 0])]


def count_by_a_product(self, x):
    return x * {0: 1.0, 1: 2.0, 2: 3.0}[(x[:, 0] > 0).nonzero().numel() % 3]


def number_of_the_greatest(self, x):
    return x * [1.0, 2.0, 3.0, 4.0, 5.0, 6.0][x.sum(0).argmax().item()]


@pytest.mark.parametrize(
    "forward", [count_of_found, count_of_picked, count_by_a_product, number_of_the_greatest], ids=lambda f: f.__name__
)
@pytest.mark.parametrize("seed", range(6))
def test_counts_of_values_are_not_frozen(forward, seed):
    model = net(forward)
    torch.manual_seed(seed)
    prepared = prepare_model(model, example_inputs=torch.randn(4, 6))
    for n in range(5):
        x = torch.ones(4, 6)
        x[n:] = -1
        x[:, n] += 0.5
        with contextlib.suppress(AssumptionError):
            assert equal(prepared(x), model(x))


def module_by_a_size(self, x):
    return self.heads[len(x) % 3](x)


def item_by_a_size(self, x):
    return x * [1.0, 2.0, 3.0][x.shape[0] % 3]


def item_by_a_clamped_size(self, x):
    return x * [1.0, 2.0, 3.0, 4.0, 5.0][min(x.shape[0], 4)]


@pytest.mark.parametrize("rows", [2, 3, 4, 5])
@pytest.mark.parametrize(
    "forward", [module_by_a_size, item_by_a_size, item_by_a_clamped_size], ids=lambda f: f.__name__
)
def test_remainders_of_sizes_are_not_frozen(forward, rows):
    model = net(forward)
    prepared = prepare_model(model, example_inputs=torch.randn(rows, 6))
    for n in range(1, 8):
        x = torch.randn(n, 6)
        try:
            assert equal(prepared(x), model(x))
        except AssumptionError:
            assert n != rows


def padded(self, x):
    return nn.functional.pad(x, (0, 0, 0, -x.shape[0] % 2))


def count_handed_on(self, x):
    return x[: max((x[:, 0] > 0).nonzero().shape[0], 1)]


def count_in_a_product(self, x):
    return x * (x[:, 0] > 0).nonzero().shape[0]


def sizes_unread(self, x):
    n, c = x.shape
    half = n // 2  # noqa: F841
    return x + c


@pytest.mark.parametrize(
    "forward", [padded, count_handed_on, count_in_a_product, sizes_unread], ids=lambda f: f.__name__
)
def test_numbers_that_are_handed_on_are_left_alone(forward):
    model = net(forward)
    prepared = prepare_model(model, example_inputs=X)
    assert prepared.report.kept == []
    for x in CALLS:
        assert equal(prepared(x), model(x))


# --- draws by which Python decides ------------------------------------------------------------------------------------


def dropped(draw):
    def forward(self, x):
        for head in self.heads:
            if self.training and draw() < 0.2:
                continue
            x = head(x)
        return x

    return forward


def shuffled(self, x):
    order = [0, 1, 2]
    if self.training:
        random.shuffle(order)
    for i in order:
        x = self.heads[i](x)
    return x


def permuted(self, x):
    for i in np.random.permutation(3) if self.training else range(3):
        x = self.heads[int(i)](x)
    return x


def masked(self, x):
    drops = np.random.rand(3) < (0.1 if self.training else 0)
    for head, drop in zip(self.heads, drops, strict=True):
        x = x if drop else head(x)
    return x


DRAWS = {
    "random.random": dropped(lambda: random.random()),
    "random.uniform": dropped(lambda: random.uniform(0, 1)),
    "random.choice": dropped(lambda: random.choice([0.1, 0.3, 0.5, 0.7, 0.9])),
    "random.shuffle": shuffled,
    "numpy.random.rand": dropped(lambda: np.random.rand()),
    "numpy.random.uniform": dropped(lambda: np.random.uniform(0, 1)),
    "numpy.random.randint": dropped(lambda: np.random.randint(0, 10) / 10),
    "numpy.random.choice": dropped(lambda: np.random.choice([0.1, 0.3, 0.5, 0.7, 0.9])),
    "numpy.random.permutation": permuted,
    "numpy.random.rand(n)": masked,
}


# No graph has what they draw, and of one mode alone not all of forward can be kept.
REFUSED = {"random.choice", "random.shuffle", "numpy.random.choice", "numpy.random.permutation", "numpy.random.rand(n)"}


@pytest.mark.parametrize("name", DRAWS)
def test_draws_by_which_python_decides_are_drawn(name):
    for seed in range(3):
        model = net(DRAWS[name])
        random.seed(seed)
        np.random.seed(seed)
        prepared = prepare_model(model, example_inputs=X)
        for k in range(12):
            answers = []
            for each in (model, prepared):
                random.seed(k)
                np.random.seed(k)
                try:
                    answers.append([each.train()(X), each.eval()(X)])
                except AssumptionError:
                    assert name in REFUSED
                    return
                answers[-1].append(torch.tensor([random.random(), np.random.rand()]))
            assert all(map(equal, *answers))


def test_draws_that_decide_nothing_are_calls():
    def forward(self, x):
        return x * np.random.rand() + np.random.uniform(2, 3)

    model = net(forward)
    prepared = prepare_model(model, example_inputs=X)
    assert prepared.report.kept == []
    for k in range(4):
        np.random.seed(k)
        expected = model(X)
        np.random.seed(k)
        assert equal(prepared(X), expected)


# --- tensors as defaults ----------------------------------------------------------------------------------------------


def scaled(self, x, scale=TABLE):
    return x * scale


def scaled_by_name(self, x, *, scale=TABLE):
    return x * scale


def decided_by_default(self, x, scale=TABLE):
    return x * scale if scale.sum() > 0 else x - scale


def frozen_default(self, x, scale=TABLE):
    return x * float(scale.max())


@pytest.mark.parametrize(
    "forward", [scaled, scaled_by_name, decided_by_default, frozen_default], ids=lambda f: f.__name__
)
def test_a_tensor_that_is_a_default_is_an_argument(forward):
    model = net(forward)
    prepared = prepare_model(model, example_inputs=X)
    for scale in (TABLE, torch.full((6,), 5.0), -TABLE.abs()):
        assert equal(prepared(X, scale=scale), model(X, scale=scale))
    assert equal(prepared(X), model(X))


def test_tensors_in_a_default_are_arguments():
    def forward(self, x, scales=(TABLE, -TABLE)):
        return x * scales[0] + scales[1]

    model = net(forward)
    prepared = prepare_model(model, example_inputs=X)
    assert equal(prepared(X), model(X))
    other = (TABLE + 1, TABLE * 2)
    assert equal(prepared(X, scales=other), model(X, scales=other))


def test_a_default_without_tensors_stays_an_assumption():
    def forward(self, x, factor=2):
        return x * factor

    prepared = prepare_model(net(forward), example_inputs=X)
    assert equal(prepared(X), X * 2)
    with pytest.raises(AssumptionError):
        prepared(X, 3)


# --- inputs of further captures ---------------------------------------------------------------------------------------


def test_indices_stay_within_the_sizes():
    beyond = []

    class Check(nn.Module):
        def forward(self, x, place):
            if int(place.max()) >= x.shape[1]:
                beyond.append(x.shape)
            return x.gather(1, place.clamp(max=x.shape[1] - 1).unsqueeze(-1).expand(-1, -1, x.shape[2]))

    place = torch.arange(9).repeat(2, 1).flip(1)
    prepare_model(Check().eval(), example_inputs=(torch.randn(2, 9, 3), place))
    assert beyond == []
