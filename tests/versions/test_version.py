"""What must work with every torch and CPython: symbolic capture from torch 1.9, capture by running from 1.13.

Alone in its folder, without the other tests' helpers: these need a newer torch. ./dev test-versions runs it.
"""

import copy
import io
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from modulize import AssumptionError, UnsupportedError, prepare_model

TORCH = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
CAPTURES = ["symbolic", "run"] if TORCH >= (1, 13) else ["symbolic"]
both_captures = pytest.mark.parametrize("capture", CAPTURES)
running = pytest.mark.skipif(TORCH < (1, 13), reason="capture by running needs torch 1.13")


def prepare(model, x, capture):
    return prepare_model(model, example_inputs=x) if capture == "run" else prepare_model(model)


def image(rows=2, seed=0):
    return torch.randn(rows, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


class Block(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.conv = nn.Conv2d(n, n, 3, padding=1)
        self.bn = nn.BatchNorm2d(n)
        self.relu = nn.ReLU()

    def forward(self, x):
        return self.relu(self.bn(self.conv(x)) + x)


class Net(nn.Module):
    """Functionals, operators, reused modules, a functional that holds a Parameter, sizes, dropout."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.blocks = nn.Sequential(Block(8), Block(8))
        self.kernel = nn.Parameter(torch.randn(8, 8, 3, 3) * 0.1)
        self.fc = nn.Linear(8, 8)
        self.head = nn.Linear(16, 5)
        self.register_buffer("scale", torch.rand(8))

    def forward(self, x):
        x = self.blocks(F.relu(self.stem(x)))
        x = F.conv2d(x, self.kernel, padding=1)
        x = F.adaptive_avg_pool2d(x, 1).view(x.size(0), -1)
        x = self.fc(torch.sigmoid(self.fc(x))) * self.scale - 1
        x = torch.cat([x, x.tanh()], dim=1)
        return F.log_softmax(self.head(F.dropout(x, 0.3, self.training)), dim=-1)


def made():
    torch.manual_seed(0)
    return Net()


@both_captures
def test_equal_at_other_values_and_sizes(capture):
    model = made().eval()
    prepared = prepare(model, image(), capture)
    for x in (image(), image(3, 1)):
        assert torch.equal(prepared(x), model(x))
    assert not [
        n for n in prepared.graph.nodes if n.op == "call_function" and n.target in (F.relu, F.conv2d, torch.cat)
    ]
    paths = [n.target for n in prepared.graph.nodes if n.op == "call_module"]
    assert len(set(paths)) == len(paths) and "module_fc_1" in paths and "blocks.0.module_add" in paths


@both_captures
def test_state_names_and_ties(capture):
    model = made()
    prepared = prepare(model, image(), capture)
    assert [n for n, _ in prepared.named_parameters()] == [n for n, _ in model.named_parameters()]
    assert list(prepared.state_dict()) == list(model.state_dict())
    prepared.load_state_dict({key: value + 1 for key, value in model.state_dict().items()})
    prepared.double()
    assert prepared.module_conv2d.weight is prepared.kernel and prepared.kernel.dtype is torch.float64


@both_captures
def test_two_training_steps(capture):
    results = []
    for wrap in (lambda m: m, lambda m: prepare(m, image(), capture)):
        model = wrap(made().train())
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        torch.manual_seed(1)
        for step in range(2):
            optimizer.zero_grad()
            model(image(seed=step)).square().mean().backward()
            optimizer.step()
        results.append(model.state_dict())
    assert list(results[0]) == list(results[1])
    for key, value in results[0].items():
        assert torch.allclose(value, results[1][key], rtol=1e-5, atol=1e-6), key


@both_captures
def test_copies(capture):
    model = made().eval()
    prepared, file = prepare(model, image(), capture), io.BytesIO()
    torch.save(prepared, file)
    file.seek(0)
    options = {"weights_only": False} if TORCH >= (2, 0) else {}
    for copied in (copy.deepcopy(prepared), pickle.loads(pickle.dumps(prepared)), torch.load(file, **options)):
        assert torch.equal(copied(image()), model(image()))
        assert copied.module_conv2d.weight is copied.kernel


@pytest.mark.filterwarnings("ignore")
@both_captures
def test_jit_trace(capture):
    model = made().eval()
    traced = torch.jit.trace(prepare(model, image(), capture), image())
    assert torch.equal(traced(image(2, 1)), model(image(2, 1)))


@both_captures
def test_editing_and_recompiling(capture):
    model = made().eval()
    prepared = prepare(model, image(), capture)
    prepared.graph.lint()
    prepared.recompile()
    assert torch.equal(prepared(image()), model(image()))
    assert "module_relu" in prepared.code


@pytest.mark.skipif(TORCH >= (1, 13), reason="capture by running works")
def test_running_is_refused():
    with pytest.raises(UnsupportedError, match="without example inputs"):
        prepare_model(made(), example_inputs=image())


class Decides(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        y = self.fc(x)
        if y.sum() > 0:
            y = torch.relu(y) * 2
        return y.view(x.shape[0], -1)


@running
def test_branches():
    torch.manual_seed(0)
    model = Decides().eval()
    prepared = prepare_model(model, example_inputs=torch.randn(2, 4))
    for seed in range(6):
        x = torch.randn(3, 4, generator=torch.Generator().manual_seed(seed))
        assert torch.equal(prepared(x), model(x))


@running
def test_assumptions_are_checked():
    class Sizes(nn.Module):
        def forward(self, x, flag=True):
            return x * 2 if flag and x.shape[1] > 3 else x + 1

    prepared = prepare_model(Sizes(), example_inputs=torch.ones(2, 4))
    for columns in (2, 4):  # what sizes decide is a branch
        assert torch.equal(prepared(torch.ones(2, columns)), Sizes()(torch.ones(2, columns)))
    with pytest.raises(AssumptionError):
        prepared(torch.ones(2, 4), flag=False)


@both_captures
def test_nothing_stays_patched(capture):
    """Interpreters cache what classes have: a cache that outlives the capture would go on recording, or crash."""
    model = made().eval()
    expected = model(image())
    before = nn.Module.__call__, torch.finfo, F.relu
    for _ in range(40):
        prepared = prepare(model, image(), capture)
        assert model.training is False and model.blocks[0].relu.training is False
        for _ in range(20):
            nn.ReLU()(model.fc(torch.ones(1, 8)))
        assert torch.equal(model(image()), expected) and torch.equal(prepared(image()), expected)
    assert before == (nn.Module.__call__, torch.finfo, F.relu)
    model.train()
    assert model.blocks[1].bn.training is True
