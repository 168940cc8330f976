"""What forward writes on modules, the prepared model writes on its own; what it reads there, it reads at every call."""

import copy

import pytest
import torch
from torch import nn

from modulize import AssumptionError, prepare_model


class Counter(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 3)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return self.fc(x).relu() / self.calls


class Averages(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(3))

    def forward(self, x):
        self.mean = self.mean * 0.9 + x.detach().mean(0) * 0.1
        return (x - self.mean).relu()


class Previous(nn.Module):
    """A plain attribute that is a tensor from the start."""

    def __init__(self):
        super().__init__()
        self.last = torch.zeros(3)

    def forward(self, x):
        y = (x + self.last).relu()
        self.last = y.mean(0).detach()
        return y


class Inner(nn.Module):
    def __init__(self):
        super().__init__()
        self.counter = Counter()
        self.blocks = nn.ModuleList([Averages(), Averages()])

    def forward(self, x):
        x = self.counter(x)
        for block in self.blocks:
            x = block(x)
        return self.counter(x)


class Steps(nn.Module):
    """Python decides by a number that it writes."""

    def __init__(self):
        super().__init__()
        self.step = 0

    def forward(self, x):
        self.step = self.step + 1
        if self.step > 2:
            return x.sigmoid()
        return x.relu()


class Logged(nn.Module):
    def __init__(self):
        super().__init__()
        self.log = {}
        self.features = None
        self.shapes = []

    def forward(self, x):
        self.features = x.relu()
        self.log["mean"] = self.features.mean()
        self.log["rows"] = x.shape[0]
        self.shapes.append(x.shape[0])
        return self.features * 2


STATEFUL = {"counter": Counter, "averages": Averages, "previous": Previous, "inner": Inner, "steps": Steps}


def _state(module):
    out = {name: buffer.tolist() for name, buffer in module.named_buffers()}
    for path, child in module.named_modules():
        for name in ("calls", "step", "last"):
            if name in vars(child):
                value = vars(child)[name]
                out[f"{path}.{name}"] = value.tolist() if isinstance(value, torch.Tensor) else value
    return out


@pytest.mark.parametrize("inputs", [True, False], ids=["run", "symbolic"])
@pytest.mark.parametrize("name", STATEFUL)
def test_state_goes_on_from_call_to_call(name, inputs):
    model = STATEFUL[name]().eval()
    before = copy.deepcopy(_state(model))
    example = {"example_inputs": torch.randn(2, 3)} if inputs else {}
    prepared = prepare_model(model, **example)
    assert _state(model) == before, "preparing leaves no trace"
    assert _state(prepared) == before
    reference = copy.deepcopy(model)
    for rows in (2, 3, 5, 1):
        x = torch.randn(rows, 3)
        expected = reference(x)
        assert torch.equal(prepared(x), expected)
        assert _state(prepared) == _state(reference)
    assert _state(model) == before, "each model has a state of its own"
    assert prepared.report.written_state


@pytest.mark.parametrize("inputs", [True, False], ids=["run", "symbolic"])
def test_what_is_kept_for_others_to_read_is_written(inputs):
    model = Logged().eval()
    prepared = prepare_model(model, **({"example_inputs": torch.randn(2, 3)} if inputs else {}))
    assert model.log == {} and model.features is None and model.shapes == []
    x = torch.randn(4, 3)
    prepared(x)
    assert torch.equal(prepared.features, x.relu())
    assert list(prepared.log) == ["mean", "rows"] and prepared.log["rows"] == 4
    assert model.log == {} and model.shapes == []


def test_a_list_that_only_grows_grows():
    model = Logged().eval()
    prepared = prepare_model(model, example_inputs=torch.randn(2, 3))
    for rows in (4, 2, 7):
        prepared(torch.randn(rows, 3))
    assert prepared.shapes == [4, 2, 7] and model.shapes == []


@pytest.mark.parametrize("name", ["counter", "averages", "inner"])
def test_torch_fx_writes_the_state_too(name):
    model = STATEFUL[name]().eval()
    prepared = prepare_model(model, example_inputs=torch.randn(2, 3))
    prepared.graph.eliminate_dead_code()
    prepared.graph.lint()
    prepared.recompile()
    reference = copy.deepcopy(model)
    for _ in range(3):
        x = torch.randn(4, 3)
        assert torch.equal(prepared(x), reference(x))
    assert _state(prepared) == _state(reference)


def test_a_copy_has_a_state_of_its_own():
    prepared = prepare_model(Counter().eval(), example_inputs=torch.randn(2, 3))
    other = copy.deepcopy(prepared)
    for _ in range(3):
        other(torch.randn(2, 3))
    assert other.calls == 3 and prepared.calls == 0


# --- tables made for a size ---------------------------------------------------------------------------------------


class GrowingTable(nn.Module):
    """Rotary embeddings: the table is made anew when it is too short."""

    def __init__(self):
        super().__init__()
        self.known = 0
        self.register_buffer("table", torch.zeros(0), persistent=False)

    def forward(self, x):
        if x.shape[0] > self.known:
            self.known = x.shape[0]
            self.table = torch.arange(self.known, dtype=x.dtype) * 0.5
        return x * self.table[: x.shape[0], None]


class TablesBySize(nn.Module):
    def __init__(self):
        super().__init__()
        self.tables = {}

    def forward(self, x):
        rows = x.shape[0]
        if rows not in self.tables:
            self.tables[rows] = torch.linspace(0, 1, rows)[:, None]
        return x * self.tables[rows]


class LastShape(nn.Module):
    """Detectors keep their anchors until another size comes."""

    def __init__(self):
        super().__init__()
        self.shape = None
        self.anchors = torch.empty(0)

    def forward(self, x):
        if self.shape != x.shape:
            self.shape = x.shape
            self.anchors = torch.arange(x.shape[0], dtype=x.dtype)[:, None]
        return x + self.anchors


@pytest.mark.parametrize("cls", [GrowingTable, TablesBySize, LastShape])
def test_tables_made_for_a_size_follow_the_size(cls):
    model = cls().eval()
    prepared = prepare_model(model, example_inputs=torch.randn(4, 3))
    for rows in (4, 2, 9, 9, 3, 12):
        x = torch.randn(rows, 3)
        assert torch.equal(prepared(x), model(x))


# --- objects that modules hold ------------------------------------------------------------------------------------


class Memory:
    def __init__(self):
        self.keys = torch.zeros(1, 3)
        self.log = []


class Remembers(nn.Module):
    def __init__(self):
        super().__init__()
        self.memory = Memory()

    def forward(self, x):
        y = x + self.memory.keys.mean(0)
        self.memory.keys = y.detach()[:1]
        return y.relu()


def test_an_object_that_a_module_holds_is_written():
    model = Remembers().eval()
    prepared = prepare_model(model, example_inputs=torch.randn(2, 3))
    assert torch.equal(model.memory.keys, torch.zeros(1, 3)), "put back after the capture"
    reference = copy.deepcopy(model)
    for _ in range(3):
        x = torch.randn(4, 3)
        assert torch.equal(prepared(x), reference(x))
    assert prepared.memory is not model.memory
    assert torch.equal(model.memory.keys, torch.zeros(1, 3))


# --- refused, or raising at the call ------------------------------------------------------------------------------


class FirstCall(nn.Module):
    """The data of the first call decides about all others."""

    def __init__(self):
        super().__init__()
        self.center = None

    def forward(self, x):
        if self.center is None:
            self.center = x.mean(0)
        return x - self.center


class Flag(nn.Module):
    def __init__(self):
        super().__init__()
        self.started = False
        self.scale = torch.ones(3)

    def forward(self, x):
        if not self.started:
            self.scale = x.std(0)
            self.started = True
        return x / self.scale


class History(nn.Module):
    def __init__(self):
        super().__init__()
        self.history = []

    def forward(self, x):
        self.history.append(x.mean())
        return x + sum(self.history)


@pytest.mark.parametrize("inputs", [True, False], ids=["run", "symbolic"])
@pytest.mark.parametrize("cls", [FirstCall, Flag, History])
def test_state_that_python_decides_by_raises_when_it_has_changed(cls, inputs):
    model = cls().eval()
    prepared = prepare_model(model, **({"example_inputs": torch.randn(4, 3)} if inputs else {}))
    x = torch.randn(5, 3)
    assert torch.equal(prepared(x), copy.deepcopy(model)(x))
    with pytest.raises(AssumptionError, match="attribute"):
        prepared(x)


def test_a_model_prepared_after_its_first_call_works():
    model = Flag().eval()
    model(torch.randn(4, 3))
    prepared = prepare_model(model, example_inputs=torch.randn(4, 3))
    for rows in (2, 7):
        x = torch.randn(rows, 3)
        assert torch.equal(prepared(x), model(x))


def test_a_tensor_hidden_in_an_attribute_keeps_the_model_whole():
    class Hides(nn.Module):
        def forward(self, x):
            y = x.relu()
            self.later = lambda: y
            return y

    model = Hides().eval()
    prepared = prepare_model(model, example_inputs=torch.randn(2, 3))
    assert "attribute 'later' a function with tensors" in prepared.report.kept[0]["reason"]
    x = torch.randn(4, 3)
    assert torch.equal(prepared(x), model(x))
    assert torch.equal(prepared.later(), x.relu())


# --- Parameters ---------------------------------------------------------------------------------------------------


class Decays(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, x):
        self.fc.weight.data.mul_(0.9)
        return self.fc(x).relu()


class Clips(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 3) * 3)

    def forward(self, x):
        self.weight.data[:] = self.weight.data.clamp(-1, 1) * 0.5
        return x @ self.weight


@pytest.mark.parametrize("cls", [Decays, Clips])
def test_preparing_leaves_parameters_that_forward_writes(cls):
    model = cls().eval()
    before = copy.deepcopy(model.state_dict())
    prepared = prepare_model(model, example_inputs=torch.randn(2, 3))
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])
    reference = copy.deepcopy(model)
    for _ in range(2):
        x = torch.randn(4, 3)
        assert torch.equal(prepared(x), reference(x))


def test_parameters_are_put_back_where_forward_raises():
    class Raises(Decays):
        def forward(self, x):
            super().forward(x)
            raise KeyError("the model's own")

    model = Raises().eval()
    before = model.fc.weight.detach().clone()
    with pytest.raises(KeyError):
        prepare_model(model, example_inputs=torch.randn(2, 3))
    assert torch.equal(model.fc.weight, before)
