"""What calls outside of the graph write and yield, cell by cell of the table in docs/architecture.md."""

import copy
import math
import random
import re
from pathlib import Path

import pytest
import torch
import torch.fx
import torch.utils.checkpoint
from torch import nn

from modulize import AssumptionError, CaptureError, UnsupportedError, prepare_model, register_operation

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
    saving = re.compile(r"get_rng_state|getstate\b|set_rng_state|setstate\b|fork_rng|SavedState|ModuleAttributes")
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
    names = re.findall(r'\{CallKind::\w+,\s+"([^"]+)"', source)
    assert len(names) > 10
    docs = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert [name for name in names if f"| {name} |" not in docs] == []


# --- cell by cell -----------------------------------------------------------------------------------------------------


def body(x, box):
    """Reads what forward has put into the box, leaves something there, and raises or yields None by the values."""
    positive = x.detach().numpy().sum() > 0
    if box.get("raises"):
        if not positive:
            raise ValueError("less than nothing")
        return x + 1
    if box.get("decides"):
        return None if positive else x * 5
    if box.get("counts"):
        return (x,) if positive else (x, x * 5)
    box["out"] = x * box["k"]
    return x + 1


def excluded(x, box):
    return body(x, box)


def registered(x, box):
    return body(x, box)


class Registered(nn.Module):
    def forward(self, x, box):
        return body(x, box)


register_operation(registered, Registered)


class Module(nn.Module):
    def forward(self, x, box):
        return body(x, box)


class Excluded(Module):
    pass


class AutogradFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, box):
        return body(x, box)


def with_hooks():
    made = Module()
    made.register_forward_hook(lambda module, args, output: output)
    return made


# By the kind: how forward makes the call, with options.
WAYS = {
    "registered_operation": (lambda model, x, box, head: registered(x, box), {}),
    "excluded_function": (lambda model, x, box, head: excluded(x, box), {"functions_to_exclude": [excluded]}),
    "excluded_module": (lambda model, x, box, head: model.excluded(x, box), {"module_classes_to_exclude": [Excluded]}),
    "given_module": (lambda model, x, box, head: head(x, box), {}),
    "kept_function": (lambda model, x, box, head: body(x, box), {}),
    "kept_module": (lambda model, x, box, head: model.hooked(x, box), {}),
    "autograd_function": (lambda model, x, box, head: AutogradFunction.apply(x, box), {}),
}


def around(kind, forward):
    call, options = WAYS[kind]
    model = module(
        lambda self, x, box, head: forward(lambda x, box: call(self, x, box, head), x, box),
        excluded=Excluded(),
        hooked=with_hooks(),
    )
    return model, options


def assert_forward_is_recorded(prepared):
    """What goes wrong in the graph is found, and more is kept: then nothing is shown."""
    assert [one for one in prepared.report.kept if one["what"].rpartition(".")[2] in ("", "forward")] == []


def assert_same_calls(kind, forward, box, *inputs):
    model, options = around(kind, forward)
    prepared = prepare_model(model, example_inputs=(inputs[0], dict(box), Module()), **options)
    assert_forward_is_recorded(prepared)
    for x in inputs:
        boxes = dict(box), dict(box)
        assert torch.equal(prepared(x, boxes[0], Module()), model(x, boxes[1], Module()))
        assert str(boxes[0]) == str(boxes[1])


@pytest.mark.parametrize("kind", WAYS)
def test_what_runs_any_code_finds_and_leaves_everything(kind):
    def forward(call, x, box):
        box["k"] = box["k"] * 2
        y = call(x, box)
        return y * box["out"].relu()

    assert_same_calls(kind, forward, {"k": torch.tensor(3.0)}, X, -X, X * 2)


@pytest.mark.parametrize("kind", WAYS)
def test_what_raises_by_values_may_be_caught(kind):
    def forward(call, x, box):
        try:
            return call(x, box)
        except ValueError:
            return x * 3

    model, options = around(kind, forward)
    box = {"raises": True, "k": torch.tensor(3.0)}
    prepared = prepare_model(model, example_inputs=(X, dict(box), Module()), **options)
    for x in (X, -X):
        assert torch.equal(prepared(x, dict(box), Module()), model(x, dict(box), Module()))


def assert_yields_are_checked(kind, forward, what):
    model, options = around(kind, forward)
    box = {what: True, "k": torch.tensor(3.0)}
    prepared = prepare_model(model, example_inputs=(X, dict(box), Module()), **options)
    for x in (X, -X):
        try:
            actual = prepared(x, dict(box), Module())
        except AssumptionError as error:
            assert "yields" in str(error) and x is not X
            continue
        assert torch.equal(actual, model(x, dict(box), Module()))


YIELDING = [kind for kind in WAYS if kind not in ("registered_operation", "autograd_function")]


@pytest.mark.parametrize("kind", YIELDING)
def test_what_a_call_yields_is_checked(kind):
    def forward(call, x, box):
        y = call(x, box)
        return x.relu() if y is None else y

    assert_yields_are_checked(kind, forward, "decides")


@pytest.mark.parametrize("kind", YIELDING)
def test_how_many_things_a_call_yields_is_checked(kind):
    assert_yields_are_checked(kind, lambda call, x, box: x * len(call(x, box)), "counts")


def test_what_a_module_kept_by_a_request_yields_is_checked():
    class Reads(nn.Module):
        def forward(self, x):
            first = float(x.detach().numpy().flat[0])
            return (x * first,) if first < 1e6 else (x, x)

    model = module(lambda self, x: x * len(self.reads(x)) + self.reads(x)[0], reads=Reads())
    prepared = prepare_model(model, example_inputs=X)
    assert {one["what"] for one in prepared.report.kept} == {"reads"}
    assert torch.equal(prepared(X), model(X))
    with pytest.raises(AssumptionError, match="yields"):
        prepared(X + 1e7)


def test_functions_of_numbers_that_raise_may_be_caught():
    def forward(self, x):
        try:
            return x * math.sqrt(x.sum().item())
        except ValueError:
            return x * 3

    assert_equal_calls(forward, (X,), (-X,))


def test_a_hook_of_a_layer_finds_and_leaves_everything():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.k, self.out = torch.tensor(1.0), torch.tensor(1.0)
            self.fc = nn.Linear(6, 6)
            self.fc.register_forward_hook(self.hook)

        def hook(self, layer, args, output):
            self.out = output * self.k
            return output + 1

        def forward(self, x):
            self.k = x.sum()
            y = self.fc(x)
            return y * self.out.relu()

    model = Net().eval()
    reference = copy.deepcopy(model)
    prepared = prepare_model(model, example_inputs=X)
    assert_forward_is_recorded(prepared)
    for x in (X, -X, X):
        assert torch.equal(prepared(x), reference(x))


@torch.jit.script
def halves_or_raises(x: torch.Tensor) -> torch.Tensor:
    if bool(x.sum() < 0):
        raise ValueError("less than nothing")
    return x * 0.5


@torch.jit.script
def writes_what_it_is_given(w: torch.Tensor) -> torch.Tensor:
    return w.mul_(0.5)


def test_what_a_scripted_function_raises_may_be_caught():
    def forward(self, x):
        try:
            return halves_or_raises(x)
        except torch.jit.Error:
            return x * 3

    assert_equal_calls(forward, (X,), (-X,))


def test_what_a_scripted_function_writes_is_put_back():
    model = module(lambda self, x: x * writes_what_it_is_given(self.w.data), w=nn.Parameter(torch.ones(6)))
    prepare_model(model, example_inputs=X)
    assert torch.equal(model.w, torch.ones(6))


def few_columns(row):
    if row.shape[0] > 40:
        raise ValueError("too many")
    return row * 2


def test_what_a_transform_raises_may_be_caught():
    def forward(self, x):
        try:
            return torch.vmap(few_columns)(x)
        except ValueError:
            return x * 3

    assert_equal_calls(forward, (X,), (torch.rand(2, 50),))


def test_a_transform_finds_what_forward_has_changed():
    def forward(self, x, box):
        box["k"] = x.sum()

        def scaled(row):
            return row * box["k"]

        return torch.vmap(scaled)(x)

    model = module(forward)
    prepared = prepare_model(model, example_inputs=(X, {"k": torch.tensor(1.0)}))
    assert_forward_is_recorded(prepared)
    for x in (X, -X):
        box = {"k": torch.tensor(1.0)}
        assert torch.equal(prepared(x, box), model(x, {"k": torch.tensor(1.0)}))
        assert torch.equal(box["k"], x.sum())


def reads_state(model, x):
    return x * model.n


torch.fx.wrap("reads_state")


def test_a_wrapped_function_finds_the_state_of_the_model():
    def forward(self, x):
        self.n = self.n + 1
        y = reads_state(self, x)
        self.n = self.n + 1
        return y.relu()

    reference, prepared = module(forward, n=1), prepare_model(module(forward, n=1))
    for _ in range(3):
        assert torch.equal(prepared(X), reference(X))


def raises_below_zero(x):
    if x.sum() < 0:
        raise ValueError("less than nothing")
    return x * 2


torch.fx.wrap("raises_below_zero")


def test_without_inputs_what_a_wrapped_function_raises_may_not_be_caught():
    def forward(self, x):
        try:
            return raises_below_zero(x)
        except ValueError:
            return x * 3

    with pytest.raises(CaptureError, match="forward catches what"):
        prepare_model(module(forward))


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
    model = module(lambda self, x, head: head(x))
    prepared = prepare_model(model, example_inputs=X, concrete_args={"head": nn.Linear(6, 6)})
    with pytest.raises(AssumptionError, match="looks the same"):
        prepared(X, nn.Linear(6, 6))
