"""What calls outside of the graph write and yield, cell by cell of the table in docs/architecture.md."""

import math
import random
import re
from pathlib import Path

import pytest
import torch
import torch.utils.checkpoint
from torch import nn

from modulize import AssumptionError, CaptureError, UnsupportedError, prepare_model

ROOT = Path(__file__).resolve().parents[2]


def module(function, **attributes):
    """A model with these attributes and this forward."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            for name, value in attributes.items():
                setattr(self, name, value)

    Net.forward = function

    return Net().eval()


def assert_equal_calls(function, example, *calls, gradients=False, **attributes):
    """Both models give the same for the example and the calls, one after the other."""
    reference, model = module(function, **attributes), module(function, **attributes)
    reference.load_state_dict(model.state_dict())
    prepared = prepare_model(model, example_inputs=example)
    with torch.set_grad_enabled(gradients):
        for args in (example, *calls):
            torch.testing.assert_close(prepared(*args), reference(*args), rtol=0, atol=0, equal_nan=True)
    return prepared


X = torch.linspace(0.5, 2, 24).reshape(4, 6)

# --- one caller -------------------------------------------------------------------------------------------------------


def test_one_function_runs_what_is_not_recorded():
    users = [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / "bridge").rglob("*.cpp"))
        if re.search(r"\bObserve \w+\(", path.read_text(encoding="utf-8"))
    ]
    assert users == ["bridge/boundary/call_outside.cpp", "bridge/boundary/module_call.cpp"]


def test_nothing_but_the_world_saves_and_restores():
    saving = re.compile(r"get_rng_state|getstate\b|set_rng_state|setstate\b|fork_rng|SavedState|StateSnapshot")
    outside = [
        str(path.relative_to(ROOT))
        for folder in ("bridge", "python")
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in (".cpp", ".h", ".py")
        and "world" not in path.parts
        and saving.search(path.read_text(encoding="utf-8"))
    ]
    assert outside == [
        "bridge/intercept/contexts.cpp",  # fork_rng as forward enters it
        "bridge/intercept/numbers.cpp",  # the functions of Python's random by name
        "bridge/intercept/transforms.cpp",  # the functions of torch by name
        "bridge/materialise/new_modules.cpp",  # new modules draw their first weights
        "bridge/values/generators.cpp",  # what the state of a generator is
        "python/modulize/_engine/statements.py",  # fork_rng as a statement
        "python/modulize/export/constructors.py",  # constructors that are tried out
    ]


def test_the_table_in_the_docs_has_every_kind():
    source = (ROOT / "bridge" / "boundary" / "call_outside.cpp").read_text(encoding="utf-8")
    names = re.findall(r'\{CallKind::\w+, "([^"]+)"', source)
    assert len(names) > 10
    docs = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert [name for name in names if f"| {name} |" not in docs] == []


# --- what is yielded --------------------------------------------------------------------------------------------------


def remembers(x, box):
    box["k"] = box["k"] + 1 if x.numpy().sum() > 0 else box["k"] * 5
    return bool(x.numpy().mean() > 1)


def test_a_kept_function_that_yields_a_bool_may_have_written():
    def forward(self, x):
        box = {"k": torch.ones(())}
        return x * box["k"] if remembers(x, box) else x - box["k"]

    assert_equal_calls(forward, (X,), (X * 3,), (-X,))


class Decides(nn.Module):
    def forward(self, x):
        return bool(x.sum() > 0)


@pytest.mark.parametrize("options", [{}, {"module_classes_to_exclude": [Decides]}], ids=["traced", "excluded"])
def test_a_bool_of_a_module_is_a_decision(options):
    model = module(lambda self, x: x * 2 if self.decides(x) else x * 3, decides=Decides())
    prepared = prepare_model(model, example_inputs=X, **options)
    for x in (X, -X):
        assert torch.equal(prepared(x), model(x))


@pytest.mark.parametrize("function", [math.isnan, math.isinf, math.isfinite])
def test_functions_of_numbers_that_answer_decide(function):
    def forward(self, x):
        return x * 2 if function(x.max().item()) else x * 3

    assert_equal_calls(forward, (X,), (X / 0.0,), (X * float("nan"),))


def test_numbers_made_of_values_stay_numbers_of_values():
    def forward(self, x):
        return x * 2 if math.floor(x.sum().item()) > 10 else x * 3

    assert_equal_calls(forward, (X,), (X * 0.01,), (-X,))


def gives_back(tensors, others):
    out = {}
    for key, tensor in tensors.items():
        out[key] = tensor
        if not tensor.requires_grad:
            out[key] += others[key]
        else:
            out[key] = out[key] + others[key]
    return out


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("options", [{}, {"functions_to_exclude": [gives_back]}], ids=["traced", "excluded"])
def test_a_call_that_gives_its_argument_back_is_a_value_of_its_own(options, gradients):
    model = module(
        lambda self, x: gives_back({0: self.a(x)}, {0: self.b(x)})[0] * 2, a=nn.Linear(6, 6), b=nn.Linear(6, 6)
    )
    prepared = prepare_model(model, example_inputs=X, **options)
    with torch.set_grad_enabled(gradients):
        assert torch.equal(prepared(X), model(X))


class Tries(nn.Module):
    def forward(self, x):
        try:
            return x.view(-1, 4)
        except RuntimeError:
            return x * 2


def test_what_strides_refuse_may_be_caught():
    model = module(lambda self, x: self.tries(x.unfold(-1, 2, 1)) * float(x.mean()), tries=Tries())
    prepared = prepare_model(model, example_inputs=X)
    assert torch.equal(prepared(X), model(X))


@pytest.mark.parametrize("seed", range(4))
def test_layers_in_kept_code_keep_their_kernels(seed):
    torch.manual_seed(seed)
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    model = module(lambda self, x: self.layer(x) * (1 + math.floor(float(x.mean()))), layer=layer)
    prepared = prepare_model(model, example_inputs=torch.randn(2, 5, 16))
    with torch.no_grad():
        for _ in range(5):
            x = torch.randn(3, 4, 16) - 3
            assert torch.equal(prepared(x), model(x))


def test_memory_that_runs_out_is_no_reason_to_keep_anything():
    calls = []

    def forward(self, x):
        calls.append(1)
        if len(calls) == 1:
            raise MemoryError("out of memory")
        return x.relu()

    with pytest.raises(MemoryError, match="out of memory"):
        prepare_model(module(forward), example_inputs=X)


# --- what is written --------------------------------------------------------------------------------------------------


def test_set_makes_an_alias():
    def forward(self, x):
        y = x.abs()
        y.set_(x)
        return y.mean()

    assert_equal_calls(forward, (X,), (-X,))


def test_a_write_through_data_is_seen_by_the_backward_pass():
    def forward(self, x):
        y = x * 1
        z = self.a(y)
        y.data.add_(1)
        return z

    model = module(forward, a=nn.Linear(6, 6))
    prepared = prepare_model(model, example_inputs=X)
    model(X).sum().backward()
    expected, model.a.weight.grad = model.a.weight.grad, None
    prepared(X).sum().backward()
    assert torch.equal(prepared.a.weight.grad, expected)


def test_what_a_checkpoint_yields_may_be_written():
    def forward(self, x):
        y = torch.utils.checkpoint.checkpoint(torch.sigmoid, x, use_reentrant=False)
        y[0] = 0
        return y

    model = module(forward)
    prepared = prepare_model(model, example_inputs=X)
    gradients = []
    for one in (model, prepared):
        x = X.clone().requires_grad_()
        one(x * 1).sum().backward()
        gradients.append(x.grad)
    assert torch.equal(*gradients)


def test_buffers_that_forward_registers_are_buffers():
    def forward(self, x):
        if not hasattr(self, "mean"):
            self.register_buffer("mean", torch.zeros(6))
            self.register_buffer("other", torch.ones(6), persistent=False)
        return x - self.mean + self.other

    model = module(forward)
    prepared = prepare_model(model, example_inputs=X)
    assert "mean" not in model.state_dict()
    assert torch.equal(prepared(X), model(X))
    assert list(prepared.state_dict()) == list(model.state_dict()) == ["mean"]


def test_an_attribute_that_forward_deletes_is_missed_by_name():
    def forward(self, x):
        if hasattr(self, "once"):
            k = self.once
            del self.once
        else:
            k = 1.0
        return x * k

    model = module(forward, once=5.0)
    prepared = prepare_model(model, example_inputs=X)
    assert torch.equal(prepared(X), X * 5)
    with pytest.raises(AssumptionError, match="whether there is an attribute 'once'"):
        prepared(X)


def test_another_class_is_refused():
    def forward(self, x):
        self.__class__ = nn.Identity
        return x * 2

    with pytest.raises(UnsupportedError, match="changes the class of the model"):
        prepare_model(module(forward), example_inputs=X)


def test_draws_of_python_are_drawn():
    def forward(self, x):
        if random.random() < 0.3:
            x = x * 2
        return x * random.uniform(1, 2)

    model = module(forward)
    prepared = prepare_model(model, example_inputs=X)
    for seed in range(12):
        states = []
        for one in (model, prepared):
            random.seed(seed)
            states.append((one(X), random.getstate()))
        assert torch.equal(states[0][0], states[1][0])
        assert states[0][1] == states[1][1]


def test_a_generator_given_is_the_callers():
    def forward(self, x, generator=None):
        return x + torch.rand(x.shape, generator=generator)

    generator = torch.Generator().manual_seed(7)
    before = generator.get_state()
    prepared = prepare_model(module(forward), example_inputs=(X, generator))
    assert torch.equal(before, generator.get_state())
    other = torch.Generator().manual_seed(8)
    expected = module(forward)(X, torch.Generator().manual_seed(8))
    assert torch.equal(prepared(X, other), expected)
    assert not torch.equal(other.get_state(), torch.Generator().manual_seed(8).get_state())


COUNT = {"n": 1}


def test_a_global_that_is_read_again_is_kept():
    def forward(self, x):
        COUNT["n"] += 1
        return x * COUNT["n"]

    model = module(forward)
    prepared = prepare_model(model, example_inputs=X)
    assert COUNT["n"] == 1
    first = prepared(X)
    assert torch.equal(first, X * 2)
    assert torch.equal(prepared(X), X * 3)
    COUNT["n"] = 1


# --- state on every side ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("symbolic", [False, True])
def test_state_of_the_side_that_the_first_capture_does_not_take(symbolic):
    def forward(self, x):
        if x.sum() < 0:
            return x
        self.n += 1
        return x * self.n

    reference, model = module(forward, n=0), module(forward, n=0)
    prepared = prepare_model(model) if symbolic else prepare_model(model, example_inputs=-X)
    for x in (X, X, -X, X):
        assert torch.equal(prepared(x), reference(x))


def test_state_of_the_mode_that_the_first_capture_does_not_have():
    def forward(self, x):
        if self.training:
            self.steps += 1
        return x * min(1.0, self.steps / 10)

    reference, prepared = module(forward, steps=0), prepare_model(module(forward, steps=0), example_inputs=X)
    for mode in (True, True, False, True):
        assert torch.equal(prepared.train(mode)(X), reference.train(mode)(X))


# --- questions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "question",
    [
        lambda x: x.is_floating_point(),
        lambda x: torch.is_floating_point(x),
        lambda x: x.is_complex(),
        lambda x: x.is_signed(),
        lambda x: x.dtype.is_floating_point,
    ],
)
def test_what_kind_of_tensor_it_is_may_not_change_unnoticed(question):
    model = module(lambda self, x: x * 2 if question(x) else x * 3)
    prepared = prepare_model(model, example_inputs=X)
    assert torch.equal(prepared(X), model(X))
    for other in (torch.arange(24).reshape(4, 6), torch.arange(24, dtype=torch.uint8).reshape(4, 6), X + 1j):
        try:
            assert torch.equal(prepared(other), model(other))
        except AssumptionError:
            assert question(other) != question(X)


@pytest.mark.parametrize("question", [lambda y: y.grad_fn is None, lambda y: y.requires_grad, lambda y: y.is_leaf])
def test_whether_there_is_a_history_is_asked_at_run_time(question):
    model = module(lambda self, x: self.a(x) * (2 if question(self.a(x)) else 3), a=nn.Linear(6, 6))
    prepared = prepare_model(model, example_inputs=X)
    for gradients in (False, True):
        with torch.set_grad_enabled(gradients):
            assert torch.equal(prepared(X), model(X))


def test_the_size_of_the_storage_decides():
    model = module(lambda self, x: x + 1 if x.untyped_storage().nbytes() > 150 else x - 1)
    prepared = prepare_model(model, example_inputs=X)
    for x in (X, torch.randn(7, 6), torch.randn(10, 6)):
        assert torch.equal(prepared(x), model(x))


def test_settings_of_torch_that_forward_asks_for_are_assumptions():
    model = module(lambda self, x: x * (2 if torch.get_float32_matmul_precision() == "highest" else 3))
    prepared = prepare_model(model, example_inputs=X)
    assert torch.equal(prepared(X), model(X))
    torch.set_float32_matmul_precision("high")
    try:
        with pytest.raises(AssumptionError, match="get_float32_matmul_precision"):
            prepared(X)
    finally:
        torch.set_float32_matmul_precision("highest")


def test_a_tensor_is_no_number():
    model = module(lambda self, x, k: (x * k).sum() + k)
    prepared = prepare_model(model, example_inputs=(X, 3))
    assert torch.equal(prepared(X, 3), model(X, 3))
    with pytest.raises(AssumptionError, match="argument 'k'"):
        prepared(X, torch.tensor(3))


def test_values_that_look_alike_are_told_apart_in_the_message():
    class Net(nn.Module):
        def forward(self, x, head):
            return head(x)

    prepared = prepare_model(Net(), example_inputs=(X, nn.Linear(6, 6)))
    with pytest.raises((AssumptionError, CaptureError), match="looks the same"):
        prepared(X, nn.Linear(6, 6))
