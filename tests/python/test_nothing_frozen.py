"""What the example must not freeze: modes, sizes, pieces, keys, ambient state. Equal, refused, or checked."""

import math
import subprocess
import sys
from importlib.machinery import SourceFileLoader

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from modulize import AssumptionError, CaptureError, prepare_model

X, OTHER, MORE = torch.randn(2, 6), torch.randn(2, 6), torch.randn(4, 6)


def net(function):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(6, 6)
            self.register_buffer("mean", torch.zeros(6))
            self.register_buffer("var", torch.ones(6))

        forward = function

    return Net().eval()


def numpy_array(self, x):
    return x + torch.from_numpy(x.detach().numpy())


def loop_over_a_size(self, x):
    for i in range(x.shape[0]):
        x = x + i
    return x


FROZEN = {
    "range": loop_over_a_size,
    "index": lambda self, x: x * [1, 2, 3, 4, 5][x.shape[0]],
    "legacy tensor": lambda self, x: x * torch.Tensor([float(x.shape[0])]),
    "rows": lambda self, x: torch.stack([row * 2 for row in x]),
    "sum of rows": lambda self, x: sum(x),
    "numpy": numpy_array,
}


@pytest.mark.parametrize("name", FROZEN)
def test_what_would_be_frozen_in_the_root_keeps_it_whole(name):
    model = net(FROZEN[name])
    prepared = prepare_model(model, example_inputs=X)
    assert [kept["what"] for kept in prepared.report.kept] == [""]
    for x in (X, OTHER, MORE):
        assert torch.equal(prepared(x), model(x))


@pytest.mark.parametrize("name", FROZEN)
def test_what_would_be_frozen_in_a_block_is_kept_whole(name):
    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = net(FROZEN[name])
            self.last = nn.Linear(6, 6)

        def forward(self, x):
            return self.last(self.block(x).float())

    model = Outer().eval()
    try:
        prepared = prepare_model(model, example_inputs=X)
    except CaptureError as error:
        assert name == "autocast" and "autocast" in str(error)
        return
    assert [kept["what"] for kept in prepared.report.kept] == ["block"]
    for x in (X, OTHER, MORE):
        assert torch.equal(prepared(x), model(x))


@pytest.mark.parametrize("name", FROZEN)
def test_what_would_be_frozen_in_a_function_is_kept_whole(name):
    class Net(type(net(FROZEN[name]))):
        inner = FROZEN[name]

        def forward(self, x):
            return self.inner(x) + 1

    model = Net().eval()
    try:
        prepared = prepare_model(model, example_inputs=X)
    except CaptureError as error:
        assert name == "autocast" and "autocast" in str(error)
        return
    assert len(prepared.report.kept) == 1
    for x in (X, OTHER, MORE):
        assert torch.equal(prepared(x), model(x))


FREE = {
    "len": lambda self, x: x / len(x),
    "unbind": lambda self, x: torch.stack(x.unbind(0)),
    "split": lambda self, x: torch.cat(x.split(1)),
    "size": lambda self, x: x.reshape(x.shape[1], -1).mean(1),
    "whole size": lambda self, x: torch.ones(x.shape) + x,
    "round": lambda self, x: x * round(x.shape[0] / 3),
}


@pytest.mark.parametrize("name", FREE)
def test_what_follows_the_input_is_equal_at_other_sizes(name):
    model = net(FREE[name])
    prepared = prepare_model(model, example_inputs=X)
    for x in (X, OTHER, MORE):
        assert torch.equal(prepared(x), model(x))


ALWAYS = {
    "dropout": lambda self, x: F.dropout(self.fc(x), 0.5),
    "dropout on": lambda self, x: F.dropout(self.fc(x), 0.5, True),
    "dropout off": lambda self, x: F.dropout(self.fc(x), 0.5, False),
    "frozen statistics": lambda self, x: F.batch_norm(self.fc(x), self.mean, self.var, training=False),
    "dropout by mode": lambda self, x: F.dropout(self.fc(x), 0.5, self.training),
    "statistics by mode": lambda self, x: F.batch_norm(self.fc(x), self.mean, self.var, training=self.training),
}


@pytest.mark.parametrize("capture", ["run", "symbolic"])
@pytest.mark.parametrize("prepared_in", ["train", "eval"])
@pytest.mark.parametrize("name", ALWAYS)
def test_literal_modes_stay_and_read_modes_follow(name, prepared_in, capture):
    model = net(ALWAYS[name]).train(prepared_in == "train")
    prepared = prepare_model(model, **({"example_inputs": X} if capture == "run" else {}))
    for training in (True, False, True):
        model.train(training)
        prepared.train(training)
        with torch.random.fork_rng():
            torch.manual_seed(3)
            expected, means = model(X), model.mean.clone()
            model.mean.zero_(), model.var.fill_(1)
            torch.manual_seed(3)
            got, prepared_means = prepared(X), prepared.mean.clone()
            prepared.mean.zero_(), prepared.var.fill_(1)
        assert torch.equal(got, expected)
        assert torch.equal(prepared_means, means)


@pytest.mark.parametrize("capture", ["run", "symbolic"])
def test_a_decision_by_the_mode_is_kept(capture):
    model = net(lambda self, x: x * 2 if self.training else x + 1)
    prepared = prepare_model(model, **({"example_inputs": X} if capture == "run" else {}))
    for training in (False, True, False):
        assert torch.equal(prepared.train(training)(X), model.train(training)(X))


def test_a_mode_that_cannot_be_captured_is_checked():
    def forward(self, x):
        if self.training:
            raise ValueError("not in training")
        return x + 1

    model = net(forward)
    prepared = prepare_model(model, example_inputs=X)
    assert torch.equal(prepared(X), model(X))
    with pytest.raises(AssumptionError, match=r"mode .* of the model"):
        prepared.train()(X)


@pytest.mark.parametrize("capture", ["run", "symbolic"])
def test_a_decision_that_is_the_same_in_both_modes_needs_no_check(capture):
    model = net(lambda self, x: x * (2 if self.training else 2) + 1)  # noqa: RUF034
    prepared = prepare_model(model, **({"example_inputs": X} if capture == "run" else {}))
    assert prepared.report.assumptions == []
    assert torch.equal(prepared.train()(X), model.train()(X))


def test_gradient_mode_is_asked_where_the_model_runs():
    model = net(lambda self, x: x * 2 if torch.is_grad_enabled() else x * 3)
    prepared = prepare_model(model, example_inputs=X)
    assert torch.equal(prepared(X), model(X))
    with torch.no_grad():
        assert torch.equal(prepared(X), X * 3)


def test_keys_of_a_dict_input_are_checked_in_order():
    model = net(lambda self, d: torch.cat(list(d.values())))
    prepared = prepare_model(model, example_inputs=({"a": X, "b": OTHER},))
    assert torch.equal(prepared({"a": X, "b": OTHER}), model({"a": X, "b": OTHER}))
    with pytest.raises(AssumptionError, match="keys of argument 'd'"):
        prepared({"b": X, "a": OTHER})


def test_a_fixed_argument_with_a_default_may_be_left_out():
    class Net(nn.Module):
        def forward(self, x, flag=False):
            return x.relu() if flag else x

    for options in ({}, {"example_inputs": X}):
        prepared = prepare_model(Net(), concrete_args={"flag": True}, **options)
        assert torch.equal(prepared(X), X.relu())
        with pytest.raises(AssumptionError, match="argument 'flag'"):
            prepared(X, flag=False)


@pytest.mark.parametrize("function", [lambda self, x: x.shape, lambda self, x: x.max(dim=1)])
def test_outputs_of_torchs_own_classes(function):
    model = net(function)
    prepared = prepare_model(model, example_inputs=X)
    assert type(prepared(MORE)) is type(model(MORE))
    for got, expected in zip(prepared(MORE), model(MORE)):
        assert torch.equal(torch.as_tensor(got), torch.as_tensor(expected))


def test_subtraction_with_a_factor():
    for function in (lambda self, x: x.sub(1, alpha=2), lambda self, x: torch.sub(x, x + 1, alpha=3)):
        model = net(function)
        for options in ({}, {"example_inputs": X}):
            assert torch.equal(prepare_model(model, **options)(OTHER), model(OTHER))


def test_range_stays_a_class_while_a_model_is_captured():
    def forward(self, x):
        assert isinstance(range(3), range) and not isinstance(3, range)
        assert range.__getitem__(range(3), 1) == 1 and not hasattr(range, "nothing")
        assert (int | range) and list(range(1, 7, 2)) == [1, 3, 5]
        return self.fc(x)

    model = net(forward)
    assert torch.equal(prepare_model(model, example_inputs=X)(MORE), model(MORE))


def test_modules_imported_during_a_capture_keep_pythons_own_builtins(tmp_path, monkeypatch):
    (tmp_path / "imported_late.py").write_text(
        "import math\nfrom math import sqrt\nTABLE = [range, len, max, min, sqrt, math.floor]\n"
        "import torch\nCALL = torch.nn.Module.__call__\nONES = torch.ones(3)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))

    class Net(nn.Module):
        def forward(self, x):
            import imported_late

            return torch.relu(x) * imported_late.TABLE[1]([1, 2]) * imported_late.ONES

    before = SourceFileLoader.exec_module.__code__
    prepared = prepare_model(Net(), example_inputs=torch.ones(2, 3))
    late = sys.modules.pop("imported_late")
    assert all(a is b for a, b in zip(late.TABLE, (range, len, max, min, math.sqrt, math.floor)))
    assert late.CALL is nn.Module.__call__
    assert SourceFileLoader.exec_module.__code__ is before
    assert torch.equal(prepared(torch.ones(2, 3)), torch.full((2, 3), 2.0))


def test_a_capture_on_the_meta_device_leaves_the_compiler_as_it_is():
    # In a process of its own: the capture is what imports the compiler.
    program = """
import torch, modulize
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        for _ in range(len(x.shape)):
            x = self.fc(x)
        return x.sort().values

with torch.device("meta"):
    model = Net()
prepared = modulize.prepare_model(model, example_inputs=torch.ones(2, 4, device="meta"))
prepared.to_empty(device="cpu").load_state_dict(Net().state_dict())
x = torch.randn(3, 4)
compiled = torch.compile(prepared, backend="eager", fullgraph=True)
assert torch.equal(compiled(x), prepared(x))
"""
    subprocess.run([sys.executable, "-c", program], check=True)
