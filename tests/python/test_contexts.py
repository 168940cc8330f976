"""Context managers and decorators in forward act in the prepared model; what cannot be replayed is refused."""

import contextlib
import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from modulize import AssumptionError, CaptureError, UnsupportedError, prepare_model

X, OTHER, MORE = torch.randn(2, 6), torch.randn(2, 6), torch.randn(4, 6)
both_captures = pytest.mark.parametrize("capture", ["run", "symbolic"])


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 6)
        self.fc2 = nn.Linear(6, 6)
        self.act = nn.ReLU()
        self.register_buffer("mean", torch.zeros(6))


def net(function):
    return type("TestNet", (Net,), {"forward": function})()


def prepared_of(model, capture="run", **options):
    return prepare_model(model, **({"example_inputs": X} if capture == "run" else {}), **options)


def gradients(model, x):
    """Output, its requires_grad, and the gradients of input and parameters of a training step."""
    model.zero_grad()
    x = x.clone().requires_grad_()
    out = model(x)
    outs = out if isinstance(out, tuple) else (out,)
    total = sum(o.float().square().sum() for o in outs if o.requires_grad)
    if torch.is_tensor(total) and total.requires_grad:
        total.backward()
    return outs, [o.requires_grad for o in outs], [x.grad, *(p.grad for p in model.parameters())]


def assert_same_training(prepared, model, x=OTHER):
    expected, requires, grads = gradients(model, x)
    expected_grads = [None if g is None else g.clone() for g in grads]
    got, got_requires, got_grads = gradients(prepared, x)
    assert got_requires == requires
    for a, b in zip(got, expected):
        assert torch.equal(a, b) and a.dtype == b.dtype
    for a, b in zip(got_grads, expected_grads):
        assert (a is None) == (b is None)
        assert a is None or torch.equal(a, b)


def assert_same(prepared, model):
    for training in (True, False):
        model.train(training)
        prepared.train(training)
        before = torch.is_grad_enabled(), torch.is_autocast_enabled("cpu")
        for x in (X, OTHER, MORE):
            assert_same_training(prepared, model, x)
        with torch.no_grad():
            assert torch.equal(torch.as_tensor(prepared(X)[0]), torch.as_tensor(model(X)[0]))
        assert (torch.is_grad_enabled(), torch.is_autocast_enabled("cpu")) == before


def with_(make):
    def forward(self, x):
        with make(self, x):
            h = self.act(self.fc(x) + 1)
        return self.fc2(h.float()) * x, h

    return forward


class Frozen(nn.Module):
    """A block whose forward is decorated."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 6)

    @torch.no_grad()
    def forward(self, x):
        return self.fc(x).relu()


@torch.no_grad
def bare_decorator(self, x):
    return self.fc(x)


@torch.autocast("cpu", dtype=torch.bfloat16)
def in_bfloat16(self, x):
    return self.fc(x).relu()


@torch.inference_mode()
def inferred(self, x):
    return self.fc(x).mean()


@torch.set_grad_enabled(False)
def without_gradients(self, x):
    return self.fc(x)


def nested(self, x):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        a = self.fc(x)
        with torch.autocast("cpu", enabled=False):
            b = self.fc2(x)
            with torch.no_grad():
                c = self.fc(b)
                with torch.enable_grad():
                    d = self.fc2(c)
        e = self.fc2(a)
    return a * b, c + d, e


def write_without_gradients(self, x):
    y = self.fc(x)
    with torch.no_grad():
        y.add_(1)
        y *= 2
    return self.fc2(y), y * 3


def write_after(self, x):
    with torch.no_grad():
        y = self.fc(x)
    y.mul_(self.fc2(x))
    return y


def statistics(self, x):
    with torch.no_grad():
        self.mean.mul_(0.9).add_(x.mean(0), alpha=0.1)
    return self.fc(x) - self.mean


def function_form(self, x):
    torch.set_grad_enabled(False)
    a = self.fc(x)
    torch.set_grad_enabled(True)
    return a * self.fc2(x)


def body_raises(self, x):
    try:
        with torch.no_grad():
            a = self.fc(x)
            raise ValueError("as planned")
    except ValueError:
        pass
    return self.fc2(x) + a


def generator(self, x):
    @torch.no_grad()
    def pieces():
        yield self.fc(x)
        yield self.fc2(x)

    return sum(piece * self.fc(x) for piece in pieces())


def own_manager(self, x):
    @contextlib.contextmanager
    def quiet():
        with torch.no_grad():
            yield

    with quiet():
        a = self.fc(x)
    return a * self.fc2(x)


def exit_stack(self, x):
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.autocast("cpu", dtype=torch.bfloat16))
        a = self.fc(x)
    return a * self.fc2(x)


def attention(self, x):
    q = self.fc(x)[None, None]
    with sdpa_kernel([SDPBackend.MATH]):
        q = torch.nn.functional.scaled_dot_product_attention(q, q, q)
    with sdpa_kernel(SDPBackend.MATH):
        return torch.nn.functional.scaled_dot_product_attention(q, q, q)


def gradient_of_input(self, x):
    with torch.enable_grad():
        y = (self.fc(x.detach().requires_grad_()) ** 2).sum()
    return self.fc2(x) + y


CONTEXTS = {
    "no_grad": with_(lambda self, x: torch.no_grad()),
    "enable_grad": with_(lambda self, x: torch.enable_grad()),
    "set_grad_enabled off": with_(lambda self, x: torch.set_grad_enabled(False)),
    "set_grad_enabled keyword": with_(lambda self, x: torch.set_grad_enabled(mode=False)),
    "set_grad_enabled by mode": with_(lambda self, x: torch.set_grad_enabled(self.training)),
    "inference_mode off": with_(lambda self, x: torch.inference_mode(False)),
    "autocast": with_(lambda self, x: torch.autocast("cpu", dtype=torch.bfloat16)),
    "autocast default dtype": with_(lambda self, x: torch.autocast("cpu")),
    "autocast off": with_(lambda self, x: torch.autocast("cpu", enabled=False)),
    "autocast uncached": with_(lambda self, x: torch.autocast("cpu", cache_enabled=False)),
    "torch.amp.autocast": with_(lambda self, x: torch.amp.autocast(device_type="cpu", dtype=torch.bfloat16)),
    "autocast of the input's device": with_(lambda self, x: torch.autocast(x.device.type, dtype=torch.bfloat16)),
    "autocast of the parameter's device": with_(lambda self, x: torch.autocast(self.fc.weight.device.type)),
    "record_function": with_(lambda self, x: torch.autograd.profiler.record_function("block")),
    "decorator": lambda self, x: (in_bfloat16(self, x), self.fc2(x)),
    "decorator without parentheses": lambda self, x: bare_decorator(self, x) * self.fc2(x),
    "decorator by argument": lambda self, x: without_gradients(self, x) * self.fc2(x),
    "nested": nested,
    "write without gradients": write_without_gradients,
    "write after": write_after,
    "statistics": statistics,
    "function form": function_form,
    "body raises": body_raises,
    "generator": generator,
    "own manager": own_manager,
    "exit stack": exit_stack,
    "gradients on in no_grad": gradient_of_input,
}
RUNNING_ONLY = {"statistics", "gradients on in no_grad", "write after"}
CASES = [
    (name, capture)
    for name in CONTEXTS
    for capture in ("run", "symbolic")
    if capture == "run" or name not in RUNNING_ONLY
]


@pytest.mark.parametrize(("name", "capture"), CASES)
def test_regions_act_in_the_prepared_model(name, capture):
    model = net(CONTEXTS[name])
    prepared = prepared_of(model, capture)
    if name == "statistics":
        model, prepared = copy.deepcopy(model), copy.deepcopy(prepared)
    assert_same(prepared, model)
    assert prepared.report.leftovers == []


def test_modules_inside_of_regions_are_converted():
    prepared = prepared_of(net(CONTEXTS["nested"]))
    called = [node.target for node in prepared.graph.nodes if node.op == "call_module"]
    assert called == ["fc", "fc2", "module_fc_1", "module_fc2_1", "module_fc2_2", "module_mul", "module_add"]
    assert prepared.code.count("with torch.autocast('cpu'") == 2
    assert "with torch.enable_grad():" in prepared.code


def test_inference_mode_gives_inference_tensors():
    model = net(lambda self, x: (inferred(self, x), self.fc2(x)))
    prepared = prepared_of(model)
    for got, expected in zip(prepared(OTHER), model(OTHER)):
        assert torch.equal(got, expected)
        assert got.is_inference() == expected.is_inference()
    assert prepared(OTHER)[0].is_inference()


def test_decorated_forward_of_a_block():
    model = nn.Sequential(Frozen(), nn.Linear(6, 6))
    prepared = prepared_of(model)
    assert_same(prepared, model)
    assert prepared.code.count("with torch.no_grad():") == 1


def test_autocast_follows_the_device_of_the_input():
    model = net(CONTEXTS["autocast of the input's device"])
    for capture in ("run", "symbolic"):
        assert "torch.autocast(x.device.type" in prepared_of(model, capture).code


def test_autocast_of_the_caller_meets_autocast_off():
    model = net(CONTEXTS["autocast off"])
    prepared = prepared_of(model)
    assert prepared.report.assumptions == []
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got, expected = prepared(OTHER), model(OTHER)
    for a, b in zip(got, expected):
        assert a.dtype == b.dtype and torch.equal(a, b)
    assert expected[1].dtype == torch.float32


def test_autocast_takes_the_callers_dtype_where_it_names_none():
    model = net(CONTEXTS["autocast default dtype"])
    prepared = prepared_of(model)
    with torch.autocast("cpu", dtype=torch.float16):
        assert prepared(OTHER)[1].dtype == model(OTHER)[1].dtype == torch.float16


def test_sdpa_kernel():
    model = net(attention)
    prepared = prepared_of(model)
    seen = []
    original = torch.nn.functional.scaled_dot_product_attention
    for run in (model, prepared):
        seen.clear()

        def spy(*args, **kwargs):
            seen.append(torch.backends.cuda.flash_sdp_enabled())
            return original(*args, **kwargs)

        torch.nn.functional.scaled_dot_product_attention = spy
        try:
            run(MORE)
        finally:
            torch.nn.functional.scaled_dot_product_attention = original
        assert seen == [False, False]
    assert torch.backends.cuda.flash_sdp_enabled()
    assert torch.equal(prepared(MORE), model(MORE))


def test_backend_flags():
    def forward(self, x):
        with torch.backends.mkldnn.flags(enabled=False):
            return self.fc(x)

    model = net(forward)
    prepared = prepared_of(model)
    assert "with torch.backends.mkldnn.flags(enabled=False):" in prepared.code
    assert torch.equal(prepared(MORE), model(MORE))


def test_a_manager_that_the_model_holds():
    model = net(with_(lambda self, x: self.held))
    model.held = torch.autocast("cpu", dtype=torch.bfloat16)
    assert_same(prepared_of(model), model)


def test_the_state_is_restored_when_the_body_raises():
    class Picky(nn.Module):
        def forward(self, x):
            if x.isnan().any():
                raise ValueError("no number")
            return x

    model = net(lambda self, x: None)
    model.picky = Picky()

    def forward(self, x):
        with torch.no_grad(), torch.autocast("cpu"):
            return self.picky(self.fc(x))

    type(model).forward = forward
    prepared = prepared_of(model, modules_to_exclude=[model.picky])
    with pytest.raises(ValueError, match="no number"):
        prepared(X * float("nan"))
    assert torch.is_grad_enabled() and not torch.is_autocast_enabled("cpu")


def test_a_prepared_model_with_regions_is_copied_pickled_and_edited():
    model = net(lambda self, x: nested(self, x)[0])
    prepared = prepared_of(model)
    assert torch.equal(copy.deepcopy(prepared)(OTHER), model(OTHER))
    prepared.graph.lint()
    edited = copy.deepcopy(prepared)
    edited.graph.eliminate_dead_code()
    edited.recompile()
    assert torch.equal(edited(OTHER), model(OTHER))
    assert torch.equal(torch.fx.Interpreter(prepared).run(OTHER), model(OTHER))
    block = nn.Sequential(Frozen(), nn.Linear(6, 6))
    assert torch.equal(pickle.loads(pickle.dumps(prepared_of(block)))(OTHER), block(OTHER))


@pytest.mark.parametrize("name", ["no_grad", "autocast", "set_grad_enabled by mode", "autocast of the input's device"])
def test_a_prepared_model_with_regions_is_compiled_traced_and_exported(name):
    model = net(CONTEXTS[name]).eval()
    prepared = prepared_of(model)
    expected = model(OTHER)[0]
    compiled = torch.compile(prepared, backend="eager", fullgraph=True)
    assert torch.equal(compiled(OTHER)[0], expected)
    exported = torch.export.export(prepared, (X,)).module()
    assert torch.equal(exported(OTHER)[0], expected)
    traced = torch.jit.trace(prepared, X, check_trace=False)
    assert torch.allclose(traced(OTHER)[0], expected)


# --- refused -------------------------------------------------------------------------------------------------------


def not_nested(self, x):
    a, b = torch.no_grad(), torch.autocast("cpu")
    a.__enter__()
    b.__enter__()
    a.__exit__(None, None, None)
    y = self.fc(x)
    b.__exit__(None, None, None)
    return y


def never_left(self, x):
    self.__dict__["open"] = torch.autocast("cpu")
    self.open.__enter__()
    try:
        return self.fc(x)
    finally:
        torch.set_autocast_enabled("cpu", False)


def entered_late(self, x):
    context = torch.set_grad_enabled(False)
    y = self.fc(x)
    with context:
        return self.fc2(x) + y


@both_captures
@pytest.mark.parametrize(
    ("function", "words"),
    [(not_nested, "before torch.autocast"), (entered_late, "entered only later")],
)
def test_what_cannot_be_a_block_keeps_the_model_whole(function, words, capture):
    model = net(function)
    if capture != "run":
        with pytest.raises(CaptureError, match=words) as caught:
            prepared_of(model, capture)
        assert "test_contexts.py" in str(caught.value)
    else:
        prepared = prepared_of(model, capture)
        assert words in prepared.report.kept[0]["reason"]
        assert "test_contexts.py" in prepared.report.kept[0]["reason"]
        x = torch.randn(5, 6)
        assert torch.equal(prepared(x), model(x))
    assert torch.is_grad_enabled()


@both_captures
def test_a_context_that_is_never_left_is_refused(capture):
    try:
        with pytest.raises(UnsupportedError, match="without leaving it") as caught:
            prepared_of(net(never_left), capture)
        assert "test_contexts.py" in str(caught.value)
        assert torch.is_grad_enabled()
    finally:
        torch.set_autocast_enabled("cpu", False)
        torch.clear_autocast_cache()


def test_entered_in_one_module_and_left_in_another_keeps_the_model_whole():
    held = []

    class Enter(nn.Module):
        def forward(self, x):
            held.append(torch.no_grad())
            held[-1].__enter__()
            return x

    class Leave(nn.Module):
        def forward(self, x):
            held[-1].__exit__(None, None, None)
            return x * 2

    model = nn.Sequential(Enter(), Leave())
    prepared = prepared_of(model)
    assert "left in another module call" in prepared.report.kept[0]["reason"]
    assert torch.equal(prepared(torch.ones(2, 6)), torch.full((2, 6), 2.0))
    assert torch.is_grad_enabled()


# --- questions -------------------------------------------------------------------------------------------------------


QUESTIONS = {
    "is_tracing": torch.jit.is_tracing,
    "is_compiling": torch.compiler.is_compiling,
    "is_exporting": torch.compiler.is_exporting,
    "is_in_onnx_export": lambda: torch.onnx.is_in_onnx_export(),
    "is_grad_enabled": lambda: torch.is_grad_enabled(),
    "is_autocast_enabled": lambda: torch.is_autocast_enabled("cpu"),
}


@both_captures
@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_that_changes_nothing_is_no_assumption(name, capture):
    ask = QUESTIONS[name]

    def forward(self, x):
        if ask():
            x = x + 0 if False else x
        return self.fc(x)

    prepared = prepared_of(net(forward), capture)
    assert prepared.report.assumptions == []
    assert [node.op for node in prepared.graph.nodes] == ["placeholder", "call_module", "output"]


def in_its_world(name, model, x):
    """What the model gives where the question is answered otherwise than in a plain call."""
    if name == "is_grad_enabled":
        with torch.no_grad():
            return model(x)
    if name == "is_autocast_enabled":
        with torch.autocast("cpu"):
            return model(x)
    if name == "is_tracing":
        return torch.jit.trace(model, x)(x)
    if name == "is_compiling":
        return torch.compile(model, backend="eager", fullgraph=True)(x)
    if name == "is_exporting":
        return torch.export.export(model, (x,)).module()(x)
    return model(x)


@both_captures
@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_that_decides_gets_its_answer_at_run_time(name, capture):
    ask = QUESTIONS[name]
    model = net(lambda self, x: self.fc(x) * 2 if ask() else self.fc2(x) + 1)
    prepared = prepared_of(model, capture)
    assert prepared.report.assumptions == []
    assert torch.equal(prepared(OTHER), model(OTHER))
    assert torch.equal(in_its_world(name, prepared, OTHER), in_its_world(name, model, OTHER))
    assert torch.equal(prepared(OTHER), model(OTHER))


def test_on_request_a_question_that_decides_is_an_assumption():
    model = net(lambda self, x: self.fc(x) * 2 if torch.jit.is_tracing() else self.fc(x) + 1)
    prepared = prepared_of(model, on_dynamic="specialize")
    assert len(prepared.report.assumptions) == 1
    with pytest.raises(AssumptionError, match="is_tracing"):
        torch.jit.trace(prepared, X)


def test_two_questions_together_decide():
    def forward(self, x):
        if torch.compiler.is_compiling() and not torch.compiler.is_exporting():
            return self.fc(x) * 2
        return self.fc(x) + 1

    model = net(forward)
    prepared = prepared_of(model)
    for name in ("is_compiling", "is_exporting"):
        assert torch.equal(in_its_world(name, prepared, OTHER), in_its_world(name, model, OTHER))


def test_questions_inside_of_regions_are_answered_by_the_region():
    def forward(self, x):
        with torch.no_grad():
            a = self.fc(x) * (2 if torch.is_grad_enabled() else 3)
        with torch.enable_grad():
            return self.fc2(x) * (2 if torch.is_grad_enabled() else 3) + a

    model = net(forward)
    prepared = prepared_of(model)
    assert prepared.report.assumptions == []
    assert_same_training(prepared, model)
