"""Bodies that may not be recorded stay one call: custom backwards, compiled functions, transforms of functions."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

from modulize import UnsupportedError, prepare_model
from test_contexts import Net, assert_same_training, both_captures, prepared_of

X, OTHER, MORE = torch.randn(2, 6), torch.randn(2, 6), torch.randn(4, 6)


class Rounded(torch.autograd.Function):
    """A straight-through estimator."""

    @staticmethod
    def forward(ctx, x):
        return x.round()

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class Scaled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, factor):
        ctx.save_for_backward(x, weight)
        ctx.factor = factor
        return x * weight * factor, x.mean()

    @staticmethod
    def backward(ctx, gradient, mean_gradient):
        x, weight = ctx.saved_tensors
        return gradient * weight * ctx.factor * 3, (gradient * x).sum(0) * 5, None


class Separate(torch.autograd.Function):
    """With a setup_context of its own."""

    @staticmethod
    def forward(x, factor):
        return x * factor

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.factor = inputs[1] + (output * 0).sum()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.factor * 7, None


class Reversed(torch.autograd.Function):
    """Gives its input back."""

    @staticmethod
    def forward(ctx, x):
        return x

    @staticmethod
    def backward(ctx, gradient):
        return -gradient


class InPlace(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.mark_dirty(x)
        return x.mul_(2)

    @staticmethod
    def backward(ctx, gradient):
        return gradient * 11


class Inherited(Rounded):
    @staticmethod
    def backward(ctx, gradient):
        return gradient * 13


bound_early = Rounded.apply


@torch.jit.script
def scripted(x, n: int):
    if x.sum() > 0:
        return torch.relu(x) * n
    return x


def plain(x):
    return torch.tanh(x) + x


traced_function = torch.jit.trace(plain, X)


def with_kernel(x, w):
    return (torch.sin(x) * w).sum()


def net(function):
    return type("TestNet", (Net,), {"forward": function})()


def checkpointed(self, x, **options):
    def block(h, scale):
        return self.fc2(F.relu(self.fc(h))) * scale

    return checkpoint(block, x, 2.0, **options)


FUNCTIONS = {
    "straight through": lambda self, x: self.fc2(Rounded.apply(self.fc(x))),
    "bound early": lambda self, x: self.fc2(bound_early(self.fc(x))),
    "several inputs and outputs": lambda self, x: Scaled.apply(self.fc(x), self.fc2.weight[0], 0.5),
    "setup_context": lambda self, x: Separate.apply(self.fc(x), 2.0) + 1,
    "input given back": lambda self, x: self.fc2(Reversed.apply(self.fc(x))) + self.fc(x),
    "in place": lambda self, x: InPlace.apply(self.fc(x)) * 3,
    "inherited forward": lambda self, x: Inherited.apply(self.fc(x)) * Rounded.apply(x),
    "called directly": lambda self, x: Rounded.forward(None, self.fc(x)) + self.fc2(x),
    "in no_grad": lambda self, x: _quietly(Rounded, self.fc(x)) + self.fc2(x),
}


def _quietly(function, x):
    with torch.no_grad():
        return function.apply(x)


CHECKPOINTS = {
    "not reentrant": lambda self, x: checkpointed(self, x, use_reentrant=False),
    "reentrant": lambda self, x: checkpointed(self, x, use_reentrant=True),
    "reentrant, input without gradient": lambda self, x: (
        checkpointed(self, x.detach(), use_reentrant=True) + self.fc(x)
    ),
    "module": lambda self, x: checkpoint(self.fc, x, use_reentrant=False).relu(),
    "sequential": lambda self, x: checkpoint_sequential([self.fc, self.act, self.fc2], 2, x, use_reentrant=False),
}


@both_captures
@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients_of_custom_functions_are_the_originals(name, capture):
    model = net(FUNCTIONS[name])
    prepared = prepared_of(model, capture)
    for x in (X, OTHER, MORE):
        assert_same_training(prepared, model, x)


@both_captures
@pytest.mark.parametrize("name", CHECKPOINTS)
@pytest.mark.parametrize("training", [True, False])
def test_checkpoints_are_recorded_through(name, training, capture):
    model = net(CHECKPOINTS[name]).train(training)
    prepared = prepared_of(model, capture).train(training)
    assert {"fc"} <= {node.target for node in prepared.graph.nodes if node.op == "call_module"}
    assert prepared.report.kept == []
    for x in (X, MORE):
        assert_same_training(prepared, model, x)


@both_captures
def test_a_custom_function_is_one_call_by_its_name_and_reported(capture):
    prepared = prepared_of(net(FUNCTIONS["straight through"]), capture)
    assert "test_opaque_bodies.Rounded.apply(" in prepared.code
    assert [entry["what"] for entry in prepared.report.kept] == ["test_opaque_bodies.Rounded"]
    assert "backward" in prepared.report.kept[0]["reason"]
    for again in (copy.deepcopy(prepared), copy.deepcopy(prepared)):
        again.recompile()
        assert torch.equal(again(OTHER), prepared(OTHER))


def test_a_local_custom_function():
    class Local(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.sign()

        @staticmethod
        def backward(ctx, gradient):
            return gradient * 17

    model = net(lambda self, x: Local.apply(self.fc(x)))
    assert_same_training(prepared_of(model), model)


def test_custom_functions_work_as_before_afterwards():
    model = net(FUNCTIONS["setup_context"])
    codes = [Separate.forward.__code__, Separate.setup_context.__code__, Rounded.forward.__code__]
    prepared_of(model)
    with pytest.raises(ZeroDivisionError):
        prepared_of(net(lambda self, x: Rounded.apply(x) / (1 / 0)))
    assert codes == [Separate.forward.__code__, Separate.setup_context.__code__, Rounded.forward.__code__]
    x = X.clone().requires_grad_()
    Separate.apply(x, 2.0).sum().backward()
    assert torch.equal(x.grad, torch.full_like(X, 14))


# --- compiled ------------------------------------------------------------------------------------------------------


SCRIPTED = {
    "scripted function": lambda self, x: scripted(self.fc(x), 3) + 1,
    "traced function": lambda self, x: traced_function(self.fc(x)) * 2,
}


@both_captures
@pytest.mark.parametrize("name", SCRIPTED)
def test_compiled_functions_are_one_call(name, capture):
    model = net(SCRIPTED[name])
    prepared = prepared_of(model, capture)
    assert "torch.jit" in prepared.report.kept[0]["reason"]
    for x in (X, -X, MORE):
        assert_same_training(prepared, model, x)


def test_a_scripted_function_goes_by_its_name():
    prepared = prepared_of(net(SCRIPTED["scripted function"]))
    assert "test_opaque_bodies.scripted(" in prepared.code


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 6)

    def forward(self, x):
        return torch.relu(self.fc(x))


@both_captures
@pytest.mark.parametrize("make", [torch.jit.script, lambda m: torch.jit.trace(m, X)], ids=["script", "trace"])
def test_compiled_modules_are_one_call(make, capture):
    model = nn.Sequential(nn.Linear(6, 6), make(Block()))
    prepared = prepared_of(model, capture)
    assert [node.target for node in prepared.graph.nodes if node.op == "call_module"] == ["0", "1"]
    assert prepared.report.kept[0]["reason"] == "compiled by torch.jit"
    assert torch.equal(prepared(MORE), model(MORE))


def test_a_compiled_model_is_refused():
    with pytest.raises(UnsupportedError, match="ScriptModule"):
        prepare_model(torch.jit.script(Block()), example_inputs=X)


# --- transforms ------------------------------------------------------------------------------------------------------


def closure_over_a_tensor(self, x):
    scale = self.fc(x)
    return torch.vmap(lambda row: row * scale.sum() + self.fc2.bias)(x)


def closure_over_a_function(self, x):
    scale = self.fc(x).sum()

    def inner(row):
        return row * scale

    return torch.vmap(lambda row: inner(row) + 1)(x)


TRANSFORMS = {
    "vmap": lambda self, x: torch.vmap(torch.sin)(self.fc(x)),
    "vmap of a module": lambda self, x: torch.vmap(self.fc)(x) * 2,
    "vmap with dims": lambda self, x: torch.vmap(torch.dot, in_dims=(1, 0))(x.t(), self.fc(x)),
    "vmap over self": lambda self, x: torch.vmap(lambda row: self.act(self.fc(row)))(x),
    "nested vmap": lambda self, x: torch.vmap(torch.vmap(lambda a: a * 2 + 1))(self.fc(x)),
    "closure over a tensor": closure_over_a_tensor,
    "closure over a function": closure_over_a_function,
    "grad": lambda self, x: torch.func.grad(lambda h: (h**3).sum())(self.fc(x)),
    "grad by name": lambda self, x: torch.func.grad(with_kernel, argnums=1)(x, self.fc.weight[0]) * self.fc(x),
    "vmap of grad": lambda self, x: torch.vmap(torch.func.grad(lambda row: (row**2).sum()))(self.fc(x)),
    "grad_and_value": lambda self, x: torch.func.grad_and_value(lambda h: (h**3).sum())(self.fc(x))[0],
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_are_one_call(name):
    model = net(TRANSFORMS[name])
    prepared = prepared_of(model)
    for x in (OTHER, MORE):
        assert_same_training(prepared, model, x)
    # What a closure holds is the prepared model's, not the example's or the original's.
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.5)
    assert_same_training(prepared, model, OTHER)


def test_a_transform_over_self_uses_the_prepared_models_modules():
    model = net(TRANSFORMS["vmap over self"])
    prepared = prepared_of(model)
    with torch.no_grad():
        prepared.fc = nn.Linear(6, 6)
    assert not torch.equal(prepared(OTHER), model(OTHER))


@pytest.mark.parametrize(
    "function",
    [
        lambda self, x: torch.func.vjp(torch.sin, self.fc(x))[0],
        lambda self, x: torch.func.jvp(torch.sin, (self.fc(x),), (x,))[0],
        lambda self, x: torch.func.jacrev(torch.sin)(self.fc(x)[0]),
    ],
    ids=["vjp", "jvp", "jacrev"],
)
def test_other_transforms_in_the_root_keep_it_whole(function):
    model = net(function)
    prepared = prepared_of(model)
    assert "torch.func" in prepared.report.kept[0]["reason"]
    assert torch.equal(prepared(OTHER), model(OTHER))


# --- custom operators and results by other ways -----------------------------------------------------------------------


@torch.library.custom_op("modulize_test_bodies::twice_plus", mutates_args=())
def twice_plus(x: torch.Tensor, n: int) -> torch.Tensor:
    return x * 2 + n


@twice_plus.register_fake
def _(x, n):
    return torch.empty_like(x)


twice_plus.register_autograd(lambda ctx, gradient: (gradient * 19, None))


@pytest.mark.parametrize(
    "function",
    [
        lambda self, x: twice_plus(self.fc(x), 3),
        lambda self, x: torch.ops.modulize_test_bodies.twice_plus(self.fc(x), x.shape[0]),
    ],
    ids=["decorated", "by name"],
)
def test_custom_operators(function):
    model = net(function)
    prepared = prepared_of(model)
    assert "torch.ops.modulize_test_bodies.twice_plus" in prepared.code
    for x in (OTHER, MORE):
        assert_same_training(prepared, model, x)


def test_a_parameter_of_a_recorded_tensor():
    model = net(lambda self, x: nn.Parameter(self.fc(x)) * self.fc2(x))
    prepared = prepared_of(model)
    for x in (OTHER, MORE):
        assert_same_training(prepared, model, x)


def test_a_prepared_model_with_a_custom_function_pickles():
    block = nn.Sequential(nn.Linear(6, 6), _Rounding())
    again = pickle.loads(pickle.dumps(prepared_of(block)))
    assert torch.equal(again(OTHER), block(OTHER))
    assert_same_training(again, block)


class _Rounding(nn.Module):
    def forward(self, x):
        return Rounded.apply(x)


def seeded(self, x):
    torch.manual_seed(5)
    noise = torch.rand_like(x)
    state = torch.get_rng_state()
    more = torch.rand_like(x)
    torch.set_rng_state(state)
    return self.fc(x) + noise + more * torch.rand_like(x)


def forked(self, x):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        noise = torch.rand_like(x)
    return self.fc(x) * noise + torch.rand_like(x)


@both_captures
@pytest.mark.parametrize("function", [seeded, forked])
def test_random_states_are_set_at_run_time(function, capture):
    model = net(function)
    prepared = prepared_of(model, capture)
    for x in (OTHER, MORE):
        torch.manual_seed(1)
        expected, after = model(x), torch.rand(1)
        torch.manual_seed(1)
        assert torch.equal(prepared(x), expected)
        assert torch.equal(torch.rand(1), after)
