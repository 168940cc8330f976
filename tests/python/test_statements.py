"""Statements that stay as they are amid a forward that is captured."""

import copy
import pickle

import pytest
import torch
from torch import nn

from modulize import AssumptionError, prepare_model
from modulize._engine import catches, enclosing, outlined, statements_of


def first_line(function):
    return function.__code__.co_firstlineno


def lines_of(function, line, **options):
    """As `enclosing` has them, counted from the function's first line."""
    first = first_line(function)
    return [(a - first, b - first) for a, b in enclosing(function, first + line, **options)]


def moved(function, *places):
    first = first_line(function)
    return outlined(function, [(a + first, b + first) for a, b in places])


def total(items, scale=2):
    found = []
    for item in items:
        doubled = item * scale
        if doubled > 4:
            found.append(doubled)
    result = sum(found)
    return result, len(found)


def test_the_innermost_statement_comes_first():
    assert lines_of(total, 5) == [(5, 5), (4, 5), (1, 5)]


def test_a_list_goes_with_the_loop_that_fills_it():
    assert lines_of(total, 2) == [(1, 5)]


def test_with_loops():
    assert lines_of(total, 5, with_loops=True) == [(1, 5)]


@pytest.mark.parametrize("places", [[(7, 7)], [(1, 5)], [(3, 3)], [(6, 6)], [(1, 5), (6, 6)], [(1, 5), (3, 3)]])
def test_the_function_does_what_it_did(places):
    made, pieces = moved(total, *places)
    assert made([1, 2, 3, 4]) == total([1, 2, 3, 4])
    assert made([3], scale=5) == total([3], scale=5)
    assert len(pieces) == len([p for p in places if p != (3, 3) or len(places) == 1])


def test_what_cannot_move():
    def returns(x):
        if x:
            return 1
        return 2

    def leaves_the_loop(x):
        for i in x:
            if i:
                break
        return x

    def may_be_unbound(x):
        if x:
            y = 1
        z = y + 1
        return z

    def held_by_a_function(x):
        y = x + 1
        return (lambda: y)()

    def read_at_once(x):
        y = [i + 1 for i in x]
        return max(y[i] for i in x)

    def writes_a_global(x):
        global pictures
        pictures = x
        return pictures

    def written_by_a_function(x):
        def put(v):
            nonlocal x
            x = v

        put(x + 1)
        return x

    def read_by_name(x):
        y = x + 1  # noqa: F841
        return eval("y") + x

    def caught(x):
        y = 0
        try:
            y = 1 / x
        except ZeroDivisionError:
            y = 5
        return y

    # fmt: off
    def on_one_line(x):
        a = x + 1; b = a * 2  # noqa: E702
        return b
    # fmt: on

    def read_later(x):
        later = iter(i * x for i in range(3))
        x = 2
        return list(later)

    def may_not_get_there(x):
        ok = x > 1 and (n := 2) > 1
        y = n + 1
        return ok, y

    def takes_a_module(x):
        import math

        y = math.floor(x)
        return y

    def private(self):
        self.__x = 1
        return self.__x

    def looks_around(x):
        y = locals()
        return y

    class Derived(nn.Module):
        def forward(self, x):
            y = super().__repr__()
            return y, x

    assert lines_of(returns, 2) == [(2, 2)]
    assert lines_of(returns, 1) == []
    assert lines_of(leaves_the_loop, 3) == [(1, 3)]
    assert lines_of(may_be_unbound, 2) == [(2, 2)]
    assert lines_of(may_be_unbound, 3) == []
    assert lines_of(held_by_a_function, 1) == []
    assert lines_of(read_at_once, 1) == [(1, 1)]
    assert lines_of(writes_a_global, 2) == lines_of(written_by_a_function, 5) == lines_of(read_by_name, 1) == []
    assert lines_of(caught, 3) == [(2, 5)]
    assert lines_of(on_one_line, 1) == []
    assert lines_of(read_later, 2) == []
    assert lines_of(may_not_get_there, 2) == []
    assert lines_of(takes_a_module, 2) == []
    assert lines_of(private, 1) == []
    assert lines_of(looks_around, 1) == []
    assert lines_of(Derived.forward, 1) == []
    assert enclosing(len, 1) == enclosing(eval("lambda x: x"), 1) == []


def test_closures_defaults_and_globals_are_the_functions():
    offset = torch.ones(2)

    def forward(x, *, by=3):
        y = x + offset
        z = torch.relu(y) * by
        return z

    made, pieces = moved(forward, (1, 1), (2, 2))
    x = torch.randn(2)
    assert torch.equal(made(x), forward(x))
    assert torch.equal(made(x, by=7), forward(x, by=7))
    assert made.__globals__ is forward.__globals__
    assert pieces[0].__qualname__.endswith("forward, lines {0} to {0}".format(first_line(forward) + 1))


def test_texts_of_several_lines_and_functions_as_defaults():
    def forward(x, by=lambda v: v * 2, *, also=[i for i in range(3)]):  # noqa: B006
        y = """a
        b"""
        return len(y) + by(x) + len(also)

    made, _ = moved(forward, (1, 2))
    assert made(1) == forward(1)


def test_what_is_caught_is_known_whatever_texts_stand_beside_it():
    def forward(x):
        y = """
at the edge"""
        try:
            return len(y) / x
        except ZeroDivisionError:
            return y

    start = first_line(forward)
    assert [catches(forward.__code__, start + i, True) for i in range(7)] == [i == 4 for i in range(7)]


def test_errors_point_at_the_source():
    def forward(x):
        y = x.nothing
        return y

    made, _ = moved(forward, (1, 1))
    with pytest.raises(AttributeError) as caught:
        made(1)
    trace = caught.value.__traceback__
    while trace.tb_next:
        trace = trace.tb_next
    assert trace.tb_frame.f_code.co_filename == __file__
    assert trace.tb_lineno == first_line(forward) + 1


def test_statements_of_gives_one_again():
    _, (piece,) = moved(total, (1, 5))
    again = statements_of(*piece._modulize_statements)
    assert again.__code__.co_code == piece.__code__.co_code


# --- in models -----------------------------------------------------------------------------------------------


class Pictures(nn.Module):
    """As the detectors of torchvision do it: sizes of a list of pictures, one batch, results for each picture."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2))

    def forward(self, pictures):
        sizes = []
        for picture in pictures:
            sizes.append(tuple(picture.shape[-2:]))
        height = max(s[0] for s in sizes)
        width = max(s[1] for s in sizes)
        batch = pictures[0].new_zeros(len(pictures), 3, height, width)
        for i in range(len(pictures)):
            batch[i, :, : sizes[i][0], : sizes[i][1]].copy_(pictures[i])
        features = torch.relu(self.net(batch) * 2)
        results = []
        for i, size in enumerate(sizes):
            results.append({"score": features[i].mean() * size[0], "size": size})
        return results


def pictures(count, height=12):
    return [torch.randn(3, height + i, 10 + 2 * i) for i in range(count)]


def assert_same(model, prepared, inputs):
    expected, found = model(copy.deepcopy(inputs)), prepared(copy.deepcopy(inputs))
    assert len(expected) == len(found)
    for a, b in zip(expected, found):
        assert a.keys() == b.keys() and a["size"] == b["size"]
        assert torch.equal(a["score"], b["score"])


def test_loops_over_lists_are_kept_and_nothing_else():
    model = Pictures().eval()
    prepared = prepare_model(model, example_inputs=(pictures(2),))
    kept = [kept["what"] for kept in prepared.report.kept]
    assert kept and all("Pictures.forward, lines" in what for what in kept)
    assert isinstance(prepared.net[1], nn.ReLU)
    assert {"module_relu", "module_mul"} <= {name.rpartition(".")[2] for name, _ in prepared.named_modules()}
    for count in (1, 2, 5):
        assert_same(model, prepared, pictures(count, 9 + count))


def test_copies_and_pickles():
    model = Pictures().eval()
    prepared = prepare_model(model, example_inputs=(pictures(2),))
    for other in (copy.deepcopy(prepared), pickle.loads(pickle.dumps(prepared))):
        assert_same(model, other, pictures(3))


def test_statements_that_need_values_keep_the_root():
    """What they yield decides what Python does with it."""

    class Net(nn.Module):
        def forward(self, x):
            found = None
            if float(x.numpy().sum()) > 20:
                found = x * 2
            return x.relu() if found is None else found

    model = Net()
    prepared = prepare_model(model, example_inputs=torch.randn(2, 4))
    assert [kept["what"] for kept in prepared.report.kept] == [""]
    for offset in (0, 60):
        x = torch.randn(3, 4) + offset
        assert torch.equal(model(x), prepared(x))


class FirstBright(nn.Module):
    """Loops over pictures and yields what is no tensor."""

    def forward(self, pictures):
        best = None
        kept = []
        for picture in pictures:
            if float(picture.numpy().sum()) > 20:
                best = picture * 2
                kept.append(picture)
        if best is None:
            best = pictures[0].relu()
        return best + len(kept)


def test_what_else_a_statement_yields_is_not_frozen_silently():
    model = FirstBright()
    prepared = prepare_model(model, example_inputs=([torch.zeros(3, 4), torch.zeros(3, 4)],))
    for pictures in ([torch.ones(3, 4) * 60] * 2, [torch.zeros(3, 4), torch.ones(3, 4) * 60, torch.ones(3, 4) * 9]):
        try:
            found = prepared(pictures)
        except AssumptionError:
            continue
        assert torch.equal(found, model(pictures))


def test_a_return_in_a_loop_keeps_the_root():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Linear(4, 4)

        def forward(self, x):
            x = self.net(x)
            for row in x.tolist():
                if row[0] > 100:
                    return x
            return torch.relu(x)

    model = Net()
    prepared = prepare_model(model, example_inputs=torch.randn(2, 4))
    assert [kept["what"] for kept in prepared.report.kept] == [""]
    for scale in (1, 1000):
        x = torch.randn(3, 4) * scale
        assert torch.equal(model(x), prepared(x))
