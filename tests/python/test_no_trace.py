"""Capture leaves no trace: on any exception, in other threads, and in values that outlive it."""

import copy
import pickle
import threading

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fidelity import Snapshot, called_modules, prepare
from modulize import CaptureError, prepare_model
from world import World

both_captures = pytest.mark.parametrize("capture", ["run", "symbolic"])


def attempt(model, capture, *example, **options):
    return prepare(model, example or (torch.randn(2, 4),), capture, **options)


class Stop(BaseException):
    """Not an Exception, as KeyboardInterrupt is not."""


ERRORS = [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit, Stop, MemoryError, RecursionError]


def raises_in_root(error):
    class Root(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x):
            F.relu(self.fc(x) + 1)
            raise error("from forward")

    return Root()


def raises_in_child(error):
    return nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Sequential(raises_in_root(error)))


def raises_in_leaf(error):
    class Leaf(nn.Linear):
        def forward(self, x):
            raise error("from a leaf")

    Leaf.__module__ = "torch.nn.modules.linear"  # a leaf to torch.fx as well: its forward is not traced
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1] = Leaf(4, 4)
    return model


def raises_in_contexts(error):
    class Contexts(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x):
            with torch.no_grad(), torch.autocast("cpu", enabled=False):
                self.fc(x)
                raise error("from contexts")

    return Contexts()


def raises_after_writing(error):
    class Writes(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4)
            self.register_buffer("count", torch.zeros(1))
            self.seen = []
            self.cache = {}

        def forward(self, x):
            x = self.fc(x)
            self.count += 1
            self.seen.append(x)
            self.cache["last"] = x
            self.last = x.shape[0]
            raise error("after writing")

    return Writes()


def raises_in_a_hook(error):
    def hook(module, args):
        raise error("from a hook")

    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    model[0].register_forward_pre_hook(hook)
    return model


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
@pytest.mark.parametrize(
    "make",
    [raises_in_root, raises_in_child, raises_in_leaf, raises_after_writing, raises_in_a_hook],
)
def test_an_exception_leaves_nothing_changed_by_running(make, error):
    model = make(error)
    x = torch.randn(2, 4)
    world, snapshot = World(globals()), Snapshot(model, x)
    with pytest.raises(error):
        prepare_model(model, example_inputs=x)
    world.assert_unchanged()
    snapshot.assert_unchanged()


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
@pytest.mark.parametrize("make", [raises_in_root, raises_in_child])
def test_an_exception_leaves_nothing_changed_without_inputs(make, error):
    model = make(error)
    world, snapshot = World(globals()), Snapshot(model)
    with pytest.raises(error):
        prepare_model(model)
    world.assert_unchanged()
    snapshot.assert_unchanged()


@both_captures
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_an_exception_in_context_managers_leaves_nothing_changed(error, capture):
    model, x = raises_in_contexts(error), torch.randn(2, 4)
    world, snapshot = World(globals()), Snapshot(model, x)
    # Where a context manager cannot be captured, its refusal comes before the exception.
    with pytest.raises((error, CaptureError)):
        attempt(model, capture, x)
    world.assert_unchanged()
    snapshot.assert_unchanged()


@both_captures
def test_success_leaves_nothing_changed(capture):
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    x = torch.randn(2, 4)
    world, snapshot = World(globals()), Snapshot(model, x)
    attempt(model, capture, x)
    world.assert_unchanged()
    snapshot.assert_unchanged()


def test_buffers_and_random_state_are_as_before_in_train_mode():
    class Trains(nn.Module):
        def __init__(self):
            super().__init__()
            self.bn = nn.BatchNorm1d(4)
            self.drop = nn.Dropout(0.5)

        def forward(self, x):
            return F.dropout(self.drop(self.bn(x)), 0.3, self.training)

    model = Trains().train()
    x = torch.randn(4, 4)
    snapshot = Snapshot(model, x)
    mean = model.bn.running_mean.clone()
    prepared = prepare_model(model, example_inputs=x)
    snapshot.assert_unchanged()
    assert torch.equal(model.bn.running_mean, mean)
    assert int(model.bn.num_batches_tracked) == int(prepared.bn.num_batches_tracked) == 0


def test_example_inputs_are_never_mutated():
    class Mutates(nn.Module):
        def forward(self, x, y):
            x.add_(1)
            y[0] = 0
            return x + y

    x, y = torch.randn(2, 4), torch.randn(2, 4)
    copies = x.clone(), y.clone()
    prepare_model(Mutates(), example_inputs=(x, y))
    assert torch.equal(x, copies[0])
    assert torch.equal(y, copies[1])
    assert not vars(x)
    assert not vars(y)


@both_captures
def test_many_preparations_leave_no_hooks_or_tags(capture):
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    x = torch.randn(2, 4)
    world, snapshot = World(), Snapshot(model, x)
    for _ in range(50):
        attempt(model, capture, x)
    world.assert_unchanged()
    snapshot.assert_unchanged()


def test_prepared_models_of_one_original_do_not_disturb_each_other():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU()).eval()
    one, other = prepare_model(model), prepare_model(model)
    one.train()
    one[1].extra = "mine"
    assert not model.training
    assert not other.training
    assert not hasattr(other[1], "extra")
    assert not hasattr(model[1], "extra")


# --- threads ---------------------------------------------------------------------------------------------------------


class Other(nn.Module):
    """What runs in the other thread: module calls, functionals, numbers, patched names."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.relu = nn.ReLU()

    def forward(self, x):
        x = self.relu(F.relu(self.fc(x)) + 1)
        x = x.view(x.shape[0], -1) / len(x)
        with torch.autocast("cpu", enabled=False):
            return x * float(x.sum() > 0) + x.item() if x.numel() == 1 else x.sigmoid()


@both_captures
def test_another_thread_is_not_disturbed(capture):
    entered, finished = threading.Event(), threading.Event()
    failures, results = [], []

    class Waits(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x):
            x = self.fc(x)
            entered.set()
            assert finished.wait(30)
            return F.relu(x)

    other, y = Other().eval(), torch.randn(3, 4)
    with torch.no_grad():
        expected = other(y)

    def run():
        try:
            assert entered.wait(30)
            with torch.no_grad():
                for _ in range(20):
                    result = other(y)
                    assert type(result) is torch.Tensor
                    assert type(result.shape) is torch.Size
                    assert type(result.shape[0]) is int
                    assert not vars(result)
                    results.append(result)
            assert torch.is_grad_enabled()
        except BaseException as error:
            failures.append(error)
        finally:
            finished.set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        prepared = attempt(Waits(), capture)
    finally:
        entered.set()
        thread.join(30)
    assert not failures, failures
    assert all(torch.equal(result, expected) for result in results)
    assert called_modules(prepared) == ["fc", "module_relu"]


def test_two_threads_may_prepare_at_once():
    errors, paths = [], []

    def prepare_some():
        try:
            for _ in range(10):
                model = nn.Sequential(nn.Linear(4, 4), Other()).eval()
                paths.append(called_modules(prepare_model(model, example_inputs=torch.randn(3, 4))))
        except BaseException as error:
            errors.append(error)

    world = World()
    threads = [threading.Thread(target=prepare_some) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors, errors
    assert len(paths) == 20
    assert all(path == paths[0] for path in paths)
    world.assert_unchanged()


# --- values that outlive the capture ---------------------------------------------------------------------------------

CACHE: dict = {}


class Remembers(nn.Module):
    """Fills a global cache, as rotary embeddings and anchor generators do."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        tensor, half = self.fc(x), x.size(1) / 2
        # Not by its name: what the code names is put back.
        globals()["CACHE"].update(
            rows=x.shape[0], shape=x.shape, double=x.shape[0] * 2, half=half, tensor=tensor, module=self.fc
        )
        return tensor * half


@pytest.fixture
def cache():
    CACHE.clear()
    model = Remembers().eval()
    prepare_model(model, example_inputs=torch.randn(2, 4), verify=False)
    yield dict(CACHE)
    CACHE.clear()


def test_outlived_numbers_are_plain_numbers(cache):
    rows, half = cache["rows"], cache["half"]
    assert rows == 2
    assert cache["double"] == 4
    assert half == 2.0
    assert list(range(rows)) == [0, 1]
    assert [5, 6, 7][rows] == 7
    assert {2: "two"}[rows] == "two"
    assert hash(rows) == hash(2)
    assert rows + 1 == 3
    assert type(rows + 1) is int
    assert type(half * 2) is float
    assert str(rows) == repr(rows) == f"{rows}" == "2"
    assert (rows > 1) is True
    assert torch.zeros(rows, rows).shape == (2, 2)
    assert tuple(cache["shape"]) == (2, 4)
    assert isinstance(cache["shape"], torch.Size)


def test_outlived_numbers_can_be_copied_and_pickled(cache):
    for key, plain in (("rows", 2), ("double", 4), ("half", 2.0)):
        for copied in (pickle.loads(pickle.dumps(cache[key])), copy.deepcopy(cache[key]), copy.copy(cache[key])):
            assert copied == plain
        assert type(pickle.loads(pickle.dumps(cache[key]))) is type(plain)


def test_outlived_tensor_is_a_plain_tensor(cache):
    tensor = cache["tensor"]
    assert type(tensor) is torch.Tensor
    assert (tensor + 1).shape == (2, 4)
    assert type((tensor + 1).shape[0]) is int
    assert pickle.loads(pickle.dumps(tensor.detach())).shape == (2, 4)


def test_outlived_values_do_not_leak_into_another_capture(cache):
    class UsesCache(nn.Module):
        def forward(self, x):
            return x.view(cache["rows"], -1) * cache["half"] + cache["double"]

    prepared = prepare_model(UsesCache(), example_inputs=torch.randn(2, 4))
    x = torch.randn(2, 6)
    assert torch.equal(prepared(x), x * 2.0 + 4)


def test_outlived_proxies_raise_instead_of_recording():
    kept = []

    class Keeps(nn.Module):
        def forward(self, x):
            kept.append(x)
            return x * 2

    prepared = prepare_model(Keeps())
    nodes = len(list(prepared.graph.nodes))
    with pytest.raises(Exception):  # noqa: B017 - any clear error will do, silence will not
        bool(kept[0] + 1)
    assert len(list(prepared.graph.nodes)) == nodes
