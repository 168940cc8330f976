"""What code that is kept whole yields, and what it leaves in the containers that it is handed.

Each model here decides in Python by something that a kept function gives it. Whatever that is in a call, the prepared
model gives what the original gives, or says that it was prepared for something else.
"""

import collections
import dataclasses

import numpy
import pytest
import torch
from torch import nn

from modulize import AssumptionError, prepare_model


def model_of(function):
    class Net(nn.Module):
        def forward(self, x):
            return function(x)

    Net.__qualname__ = Net.__name__ = function.__name__
    return Net().eval()


CASES = []


def case(function):
    CASES.append(function)
    return function


def find(x):
    return x * 2 if x.numpy().sum() > 20 else None


@case
def tensor_or_none(x):
    found = find(x)
    return x.relu() if found is None else found + 1


def find_none(x):
    return None if x.numpy().sum() > 20 else x * 2


@case
def none_or_tensor(x):
    found = find_none(x)
    return x.relu() if found is None else found + 1


def label(x):
    return "bright" if x.numpy().sum() > 20 else "dark"


@case
def a_text(x):
    return x * 2 if label(x) == "bright" else x.relu()


def bright_rows(x):
    return [row for row in x if row.numpy().sum() > 5]


@case
def an_empty_list(x):
    rows = bright_rows(x)
    return torch.stack(rows).sum(0) if rows else x.relu().sum(0)


@case
def a_list_that_is_opened(x):
    rows = bright_rows(x)
    return rows[0] * 2 if len(rows) > 0 else x[0]


@case
def a_list_that_is_looped_over(x):
    result = x.sum(0)
    for row in bright_rows(x):
        result = result + row * 2
    return result


def flags(x):
    return [bool(row.numpy().sum() > 5) for row in x]


@case
def bools_in_a_list(x):
    return sum(row * 2 if flag else row.relu() for row, flag in zip(x, flags(x)))


def entries(x):
    out = {"x": x * 2}
    if x.numpy().sum() > 20:
        out["more"] = x + 1
    return out


@case
def keys_of_a_dict(x):
    out = entries(x)
    return out["x"] + out["more"] if "more" in out else out["x"]


@case
def values_of_a_dict(x):
    return sum(entries(x).values())


def nested(x):
    return {"sizes": [3, 7 if x.numpy().sum() > 20 else 5], "of": ({"n": 2 if x.numpy().sum() > 20 else 1},)}


@case
def numbers_deep_inside(x):
    out = nested(x)
    return x * out["sizes"][1] + out["of"][0]["n"]


def is_bright(x):
    return numpy.asarray(x.detach()).sum() > 20


@case
def a_bool_of_numpy(x):
    return x * 2 if is_bright(x) else x.relu()


def mean(x):
    return numpy.asarray(x.detach()).mean()


@case
def a_float_of_numpy(x):
    return x * 2 if mean(x) > 2 else x.relu()


def as_array(x):
    return x.detach().numpy()


@case
def an_array_that_is_asked(x):
    return x * 2 if as_array(x).sum() > 20 else x.relu()


@dataclasses.dataclass
class Found:
    boxes: torch.Tensor
    label: str
    score: float


def detect(x):
    return Found(x * 2, "cat" if x.numpy().sum() > 20 else "dog", 0.5)


@case
def an_attribute_of_an_object(x):
    found = detect(x)
    return found.boxes + 1 if found.label == "cat" else found.boxes.relu()


Pair = collections.namedtuple("Pair", "first second")


def pair(x):
    return Pair(x * 2, None if x.numpy().sum() > 20 else x + 1)


@case
def none_in_a_named_tuple(x):
    found = pair(x)
    return found.first if found.second is None else found.second.relu()


def rows_to_take(x):
    return slice(0, 1 if x.numpy().sum() > 20 else 2)


@case
def a_slice(x):
    return x[rows_to_take(x)].sum(0)


def positions(x):
    return range(1 if x.numpy().sum() > 20 else 2)


@case
def a_range(x):
    result = x.sum(0)
    for i in positions(x):
        result = result + x[i]
    return result


def chosen(x):
    return torch.relu if x.numpy().sum() > 20 else torch.sigmoid


@case
def a_function(x):
    return chosen(x)(x)


def number_or_tensor(x):
    return x.sum() * 2 if x.numpy().sum() > 20 else 0


@case
def a_number_or_a_tensor(x):
    penalty = number_or_tensor(x)
    return x + penalty


def dtype_for(x):
    return torch.float64 if x.numpy().sum() > 20 else torch.float32


@case
def a_dtype(x):
    return x.to(dtype_for(x)) * 2


def generated(x):
    for row in x:
        if row.numpy().sum() > 5:
            yield row


@case
def a_generator(x):
    return sum(list(generated(x)), x[0])


def unique_labels(x):
    return {"bright" if row.numpy().sum() > 5 else "dark" for row in x}


@case
def a_set_of_texts(x):
    return x * 2 if "bright" in unique_labels(x) else x.relu()


# --- what is left in containers ------------------------------------------------------------------------------


def note(x, notes):
    if x.numpy().sum() > 20:
        notes["bright"] = x * 3
    return x.relu()


@case
def a_key_that_is_added(x):
    notes = {}
    y = note(x, notes)
    return y + notes["bright"] if "bright" in notes else y


@case
def an_item_that_is_added(x):
    def put(x, rows):
        for row in x:
            if row.numpy().sum() > 5:
                rows.append(row * 2)
        return x.relu()

    rows = [x[0]]
    y = put(x, rows)
    return y.sum(0) + sum(rows)


def put_key(x, notes):
    if x.numpy().sum() > 20:
        del notes["first"]
    return x.relu()


@case
def a_key_that_is_taken_away(x):
    notes = {"first": x * 2, "second": x + 1}
    y = put_key(x, notes)
    return sum(notes.values()) + y


class Notes:
    def __init__(self):
        self.found = None
        self.count = 0


def fill(x, notes):
    if x.numpy().sum() > 20:
        notes.found = x * 2
        notes.count += 1
    return x.relu()


@case
def an_attribute_that_is_set(x):
    notes = Notes()
    y = fill(x, notes)
    return y if notes.found is None else y + notes.found


@case
def a_number_that_is_counted(x):
    notes = Notes()
    y = fill(x, notes)
    return y * (notes.count + 1)


def put_deep(x, notes):
    if x.numpy().sum() > 20:
        notes["inner"]["list"].append(x * 2)
    return x.relu()


@case
def a_list_inside_of_a_dict(x):
    notes = {"inner": {"list": []}}
    y = put_deep(x, notes)
    return y + sum(notes["inner"]["list"]) if notes["inner"]["list"] else y


def swap(x, pair):
    if x.numpy().sum() > 20:
        pair[0], pair[1] = pair[1], pair[0]
    return x.relu()


@case
def items_that_change_places(x):
    both = [x * 2, x + 1]
    y = swap(x, both)
    return y + both[0] * 3 + both[1]


# --- tests ---------------------------------------------------------------------------------------------------

DARK, BRIGHT = torch.linspace(-2, 1, 8).reshape(2, 4), torch.linspace(3, 9, 8).reshape(2, 4)
MIXED = torch.stack([DARK[0], BRIGHT[0]])


def outcome(function, x):
    torch.manual_seed(0)
    return function(x.clone())


@pytest.mark.parametrize("example", ["dark", "bright", "mixed"])
@pytest.mark.parametrize("function", CASES, ids=lambda f: f.__name__)
def test_never_silently_different(function, example):
    inputs = {"dark": DARK, "bright": BRIGHT, "mixed": MIXED, "more rows": torch.cat([DARK, BRIGHT, DARK])}
    model = model_of(function)
    prepared = prepare_model(model, example_inputs=inputs[example])
    assert torch.equal(outcome(prepared, inputs[example]), outcome(model, inputs[example]))
    refused = 0
    for x in inputs.values():
        for scale in (1, 0.5):
            try:
                found = outcome(prepared, x * scale)
            except AssumptionError:
                refused += 1
                continue
            expected = outcome(model, x * scale)
            assert found.dtype == expected.dtype and torch.equal(found, expected)
    assert refused < 2 * len(inputs)
