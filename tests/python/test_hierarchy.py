"""`hierarchy="keep"`: every module that is traced through stays callable, as a GraphModule that runs its part."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import fx, nn
from torch.utils.checkpoint import checkpoint

from modulize import AssumptionError, prepare_model

X = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))


class Block(nn.Module):
    limit = 6.0

    def __init__(self, width=4):
        super().__init__()
        self.fc = nn.Linear(width, width)
        self.scale = nn.Parameter(torch.full((width,), 0.5))

    def forward(self, x, residual=True):
        h = F.relu(self.fc(x)) * self.scale
        return x + h if residual else h

    def clipped(self, x):
        return x.clamp(max=self.limit)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = Block()
        self.body = nn.Sequential(Block(), nn.Tanh(), Block())
        self.blocks = nn.ModuleList([Block(), Block()])

    def forward(self, x):
        x = self.body(self.stem(x, residual=False))
        for block in self.blocks:
            x = block(x)
        return x


@pytest.fixture(params=[True, False], ids=["running", "symbolic"])
def keep(request):
    def prepare(model, *inputs, **options):
        given = {"example_inputs": inputs} if request.param else {}
        return prepare_model(model, **given, hierarchy="keep", **options)

    return prepare


def blocks_of(prepared):
    return {path: m for path, m in prepared.named_modules() if isinstance(m, fx.GraphModule)}


def assert_equal(expected, actual):
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)


# --- the tree --------------------------------------------------------------------------------------


def test_every_block_is_a_graph_module(keep):
    prepared = keep(Net().eval(), X)
    assert list(blocks_of(prepared)) == ["", "stem", "body", "body.0", "body.2", "blocks.0", "blocks.1"]
    assert [n.target for n in prepared.graph.nodes if n.op == "call_module"] == ["stem", "body", "blocks.0", "blocks.1"]
    assert isinstance(prepared.body[1], nn.Tanh) and not isinstance(prepared.body[1], fx.GraphModule)


def test_blocks_compute_what_the_originals_compute(keep):
    model = Net().eval()
    prepared = keep(model, X)
    other = torch.randn(5, 4)
    assert_equal(model(other), prepared(other))
    assert_equal(model.body(other), prepared.body(other))
    assert_equal(model.body[2](other), prepared.body[2](other))
    assert_equal(model.stem(other, residual=False), prepared.stem(other, residual=False))


def test_names_and_state_are_those_of_the_flat_tree(keep):
    model = Net().eval()
    prepared, flat = keep(model, X), prepare_model(model, example_inputs=X)
    assert [path for path, _ in prepared.named_modules()] == [path for path, _ in flat.named_modules()]
    assert list(prepared.state_dict()) == list(model.state_dict())
    assert [n for n, _ in prepared.named_parameters()] == [n for n, _ in model.named_parameters()]
    assert all(a is b for a, b in zip(prepared.parameters(), model.parameters(), strict=True))
    prepared.load_state_dict(model.state_dict(), strict=True)
    assert list(prepared.body.state_dict()) == list(model.body.state_dict())


def test_classes_attributes_and_containers_stay(keep):
    prepared = keep(Net().eval(), X)
    assert isinstance(prepared.stem, Block) and isinstance(prepared.body, nn.Sequential)
    assert prepared.stem.limit == 6.0
    assert_equal(prepared.stem.clipped(torch.full((1,), 9.0)), torch.full((1,), 6.0))
    assert len(prepared.body) == 3 and prepared.body[-1] is prepared.body.get_submodule("2")
    assert [type(m).__name__ for m in prepared.body] == ["Block", "Tanh", "Block"]
    assert prepared.blocks[1] is list(prepared.blocks)[1]


def test_blocks_read_alike(keep):
    prepared = keep(Net().eval(), X)
    assert prepared.blocks[0].code.replace("blocks.0", "") == prepared.blocks[1].code.replace("blocks.1", "")
    prepared.blocks[0].graph.lint()
    assert "self.module_relu(" in prepared.blocks[0].code


def test_another_argument_than_captured_raises(keep):
    prepared = keep(Net().eval(), X)
    with pytest.raises(AssumptionError, match=r"argument 'residual' of stem was False .* and is True in this call"):
        prepared.stem(X, residual=True)


def test_signatures_are_the_originals(keep):
    import inspect

    model = Net().eval()
    prepared = keep(model, X)
    for path in ("stem", "body", "blocks.0"):
        original, own = (inspect.signature(m.get_submodule(path).forward) for m in (model, prepared))
        assert [(p.name, p.kind, p.default) for p in own.parameters.values()] == [
            (p.name, p.kind, p.default) for p in original.parameters.values()
        ]


# --- values that cross borders ---------------------------------------------------------------------


class Outer(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        return self.inner(self.fc(x))


class UsesClosure(nn.Module):
    def __init__(self):
        super().__init__()
        self.bias = None

    def forward(self, x):
        return x * 2 + self.bias


class SetsState(nn.Module):
    """Leaves a tensor on itself and another module reads it."""

    def forward(self, x):
        self.kept = x.exp()
        return x.neg()


def test_a_value_from_around_is_a_keyword():
    class Root(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = UsesClosure()

        def forward(self, x, bias):
            self.block.bias = bias.relu()
            return self.block(x)

    model, bias = Root().eval(), torch.randn(4)
    prepared = prepare_model(model, example_inputs=(X, bias), hierarchy="keep")
    assert_equal(model(X, bias), prepared(X, bias))
    extra = [name for name in _keywords(prepared.block) if name != "x"]
    assert len(extra) == 1
    assert_equal(prepared.block(X, **{extra[0]: bias.relu()}), X * 2 + bias.relu())
    with pytest.raises(TypeError, match=f"the block 'block' needs '{extra[0]}' by keyword when it is called by itself"):
        prepared.block(X)


def _keywords(block):
    import inspect

    return list(inspect.signature(block.forward).parameters)


def test_a_value_that_leaves_by_an_attribute():
    class Root(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = SetsState()

        def forward(self, x):
            return self.block(x) + self.block.kept

    model = Root().eval()
    prepared = prepare_model(model, example_inputs=X, hierarchy="keep")
    assert_equal(model(X), prepared(X))
    assert_equal(prepared.block(X), X.neg())


def test_sizes_are_asked_again():
    class Sized(nn.Module):
        def forward(self, x, rows):
            return x.reshape(rows, -1) / x.shape[1]

    class Root(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = Sized()

        def forward(self, x):
            rows = x.shape[0]
            return self.block(x, rows) * rows

    model = Root().eval()
    prepared = prepare_model(model, example_inputs=X, hierarchy="keep")
    assert _keywords(prepared.block) == ["x", "rows"]
    for x in (X, torch.randn(7, 4)):
        assert_equal(model(x), prepared(x))
        assert_equal(model.block(x, 2 * x.shape[0]), prepared.block(x, 2 * x.shape[0]))


def test_containers_and_objects():
    class Inner(nn.Module):
        def forward(self, pair, *rest, options, **more):
            return {"sum": pair[0] + pair[1], "rest": [r * options["by"] for r in rest], "more": more["z"].relu()}

    class Root(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Inner()

        def forward(self, x):
            out = self.inner((x, x * 2), x, x + 1, options={"by": x}, z=x)
            return out["sum"] + out["rest"][1] + out["more"]

    model = Root().eval()
    prepared = prepare_model(model, example_inputs=X, hierarchy="keep")
    assert_equal(model(X), prepared(X))
    given = ((X, X), X), {"options": {"by": X + 1}, "z": -X}
    assert_equal(model.inner(*given[0], **given[1])["sum"], prepared.inner(*given[0], X, **given[1])["sum"])


# --- blocks called several times, branches, regions ------------------------------------------------


def test_further_calls_are_blocks_of_their_own(keep):
    class Root(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = Outer(Block())

        def forward(self, x):
            return self.block(self.block(self.block(x)))

    model = Root().eval()
    prepared = keep(model, X)
    assert_equal(model(X), prepared(X))
    assert set(blocks_of(prepared)) == {"", *(
        path + inner for path in ("block", "module_block_1", "module_block_2") for inner in ("", ".inner")
    )}  # fmt: skip
    assert list(prepared.state_dict()) == list(model.state_dict())
    assert prepared.module_block_1.fc.weight is model.block.fc.weight
    assert prepared.module_block_1.fc is not prepared.block.fc
    assert isinstance(prepared.module_block_1, Outer) and isinstance(prepared.module_block_2.inner, Block)
    assert prepared.module_block_1.inner.scale is model.block.inner.scale
    assert_equal(prepared.module_block_1(X), model.block(X))


def test_further_calls_with_parameters_of_their_own(keep):
    class Root(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = Block()

        def forward(self, x):
            return self.block(self.block(x))

    model = Root().eval()
    prepared = keep(model, X, shared_parameters="copy")
    assert_equal(model(X), prepared(X))
    assert len(list(prepared.parameters())) == 2 * len(list(model.parameters()))
    assert prepared.module_block_1.scale is not prepared.block.scale


def test_train_mode_of_further_calls():
    class Drops(nn.Module):
        def forward(self, x):
            return F.dropout(x, 0.5, self.training)

    class Root(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop = Drops()

        def forward(self, x):
            return self.drop(self.drop(x))

    model = Root().eval()
    prepared = prepare_model(model, example_inputs=X, hierarchy="keep")
    for mode in (True, False):
        model.train(mode), prepared.train(mode)
        torch.manual_seed(1)
        expected = model(X)
        torch.manual_seed(1)
        assert_equal(expected, prepared(X))


def test_branches_and_regions_in_blocks():
    class Decides(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Block()

        def forward(self, x):
            with torch.no_grad():
                total = x.sum()
            if total > 0:
                return self.inner(x)
            return x.sigmoid()

    model = Outer(Decides()).eval()
    prepared = prepare_model(model, example_inputs=X, hierarchy="keep")
    assert set(blocks_of(prepared)) == {"", "inner", "inner.inner"}
    assert "with " in prepared.inner.code and "module_branch" in prepared.inner.code
    for x in (X, X + 3, X - 3):
        assert_equal(model(x), prepared(x))
        assert_equal(model.inner(x), prepared.inner(x))


def test_arguments_that_a_decision_makes():
    class Scaled(nn.Module):
        def forward(self, x, scale, *rest):
            return x * scale + sum(rest)

    class Root(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = Scaled(), Scaled()

        def forward(self, x):
            positive = x.sum() > 0
            x = self.first(x, 2.0 if positive else 3.0)
            return self.second(x, x.relu(), *([x] if positive else [x, x]))

    model = Root().eval()
    prepared = prepare_model(model, example_inputs=X, hierarchy="keep")
    for x in (X + 3, X - 3):
        assert_equal(model(x), prepared(x))
    assert_equal(prepared.first(X, 3.0, truth=False), X * 3.0)
    with pytest.raises(TypeError, match="the block 'first' needs 'truth' by keyword"):
        prepared.first(X, 3.0)


def test_a_module_from_elsewhere_dissolves_the_block():
    class Borrows(nn.Module):
        def __init__(self, module):
            super().__init__()
            self.borrowed = [module]

        def forward(self, x):
            return self.borrowed[0](x).relu()

    class Root(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4)
            self.block = Borrows(self.fc)

        def forward(self, x):
            return self.block(x)

    model = Root().eval()
    prepared = prepare_model(model, example_inputs=X, hierarchy="keep")
    assert list(blocks_of(prepared)) == [""]
    assert_equal(model(X), prepared(X))


# --- what blocks are for ---------------------------------------------------------------------------


def test_hooks_of_blocks(keep):
    prepared = keep(Net().eval(), X)
    seen = []
    for path, block in blocks_of(prepared).items():
        block.register_forward_hook(lambda module, args, output, path=path: seen.append((path, output.shape)))
    prepared(X)
    assert [path for path, _ in seen] == ["stem", "body.0", "body.2", "body", "blocks.0", "blocks.1", ""]
    assert all(shape == X.shape for _, shape in seen)


def test_replacing_a_block(keep):
    prepared = keep(Net().eval(), X)
    prepared.body = nn.Identity()
    expected = prepared.blocks[1](prepared.blocks[0](prepared.stem(X, residual=False)))
    assert_equal(prepared(X), expected)


def test_checkpointing_by_block(keep):
    model = Net().train()
    prepared = keep(copy.deepcopy(model), X)
    calls = []
    prepared.body[0].fc.register_forward_hook(lambda *_: calls.append(1))
    x = X.clone().requires_grad_()
    h = checkpoint(prepared.stem, x, residual=False, use_reentrant=False)
    h = checkpoint(prepared.body, h, use_reentrant=False)
    for block in prepared.blocks:
        h = checkpoint(block, h, use_reentrant=False)
    model(X).square().sum().backward()
    h.square().sum().backward()
    assert len(calls) == 2
    for expected, actual in zip(model.parameters(), prepared.parameters(), strict=True):
        assert_equal(expected.grad, actual.grad)


def test_copies_pickles_and_modes(keep):
    model = Net().eval()
    prepared = keep(model, X)
    for other in (copy.deepcopy(prepared), pickle.loads(pickle.dumps(prepared))):
        assert_equal(model(X), other(X))
        assert_equal(model.body(X), other.body(X))
        assert list(blocks_of(other)) == list(blocks_of(prepared))
        assert other.stem.fc is not prepared.stem.fc
    alone = copy.deepcopy(prepared.body)
    assert_equal(model.body(X), alone(X))
    prepared.train()
    assert all(module.training for module in prepared.modules())
    double = copy.deepcopy(prepared).double()
    assert double.body(X.double()).dtype is torch.float64


def test_editing_a_block(keep):
    prepared = keep(Net().eval(), X)
    block = prepared.blocks[0]
    node = next(n for n in block.graph.nodes if n.target == "module_add")
    node.replace_all_uses_with(node.args[0], delete_user_cb=lambda user: user.op == "output")
    block.graph.eliminate_dead_code()
    block.recompile()
    assert_equal(block(X), X)
    assert_equal(prepared(X), prepared.blocks[1](prepared.body(prepared.stem(X, residual=False))))


def test_trace_and_export(keep):
    model = Net().eval()
    prepared = keep(model, X)
    assert_equal(torch.jit.trace(prepared, X)(X), model(X))
    exported = torch.export.export(prepared, (X,)).module()
    assert_equal(exported(X), model(X))


def test_training_is_the_originals():
    model = Net().train()
    prepared = prepare_model(copy.deepcopy(model), example_inputs=X, hierarchy="keep")
    for net in (model, prepared):
        optimizer = torch.optim.SGD(net.parameters(), 0.1)
        for _ in range(2):
            optimizer.zero_grad()
            net(X).square().mean().backward()
            optimizer.step()
    for expected, actual in zip(model.parameters(), prepared.parameters(), strict=True):
        assert_equal(expected, actual)


def test_with_decomposed_attention_and_idle_layers():
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), 2, enable_nested_tensor=False)
    model = Outer(model).eval()
    x = torch.randn(2, 3, 4)
    prepared = prepare_model(model, example_inputs=x, hierarchy="keep", decompose_attention=True)
    assert {"inner.layers.0", "inner.layers.0.self_attn"} <= set(blocks_of(prepared))
    torch.testing.assert_close(prepared(x), model(x))
    torch.testing.assert_close(prepared.inner.layers[1](x), model.inner.layers[1](x))


# --- networks --------------------------------------------------------------------------------------


def check_network(model, args, kwargs, tensors):
    prepared = prepare_model(model, example_inputs=args, example_kwargs=kwargs, hierarchy="keep")
    flat = prepare_model(model, example_inputs=args, example_kwargs=kwargs)
    for expected, actual, same in zip(*(tensors(m(*args, **kwargs)) for m in (model, prepared, flat)), strict=True):
        assert_equal(expected, actual)
        assert_equal(expected, same)
    assert list(prepared.state_dict()) == list(model.state_dict())
    traced = {
        path
        for path, module in model.named_modules()
        if not type(module).__module__.startswith("torch.nn") or isinstance(module, nn.Sequential)
    }
    assert traced <= set(blocks_of(prepared))
    return prepared, flat


@pytest.mark.parametrize("name", ["resnet18", "swin_t", "vit_b_16"])
@torch.no_grad()
def test_networks_of_torchvision(name):
    models = pytest.importorskip("torchvision").models
    model = getattr(models, name)(weights=None).eval()
    x = torch.randn(1, 3, 224, 224) if name == "vit_b_16" else torch.randn(2, 3, 64, 64)
    prepared, flat = check_network(model, (x,), {}, lambda output: [output])
    names = [{path for path, _ in m.named_modules()} for m in (prepared, flat)]
    if name != "swin_t":  # whose blocks call one stochastic depth twice
        assert names[0] == names[1]
    if name == "resnet18":
        h = torch.randn(2, 64, 8, 8)
        assert_equal(model.layer1[0](h), prepared.layer1[0](h))
        assert_equal(model.layer2(h), prepared.layer2(h))


@pytest.mark.parametrize("name", ["BertModel", "GPT2Model"])
@torch.no_grad()
def test_networks_of_transformers(name):
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = {
        "BertModel": lambda: transformers.BertConfig(vocab_size=40, **sizes),
        "GPT2Model": lambda: transformers.GPT2Config(n_layer=2, n_head=2, n_embd=16, vocab_size=40),
    }[name]()
    model = getattr(transformers, name)(config).eval()
    ids = torch.arange(12).view(2, 6)
    prepared, flat = check_network(model, (), {"input_ids": ids}, lambda output: [output.last_hidden_state])
    assert {path for path, _ in prepared.named_modules()} == {path for path, _ in flat.named_modules()}
    h = torch.randn(2, 6, 16)
    if name == "BertModel":
        assert_equal(model.encoder.layer[0](h), prepared.encoder.layer[0](h))
    else:
        assert_equal(model.h[0].mlp(h), prepared.h[0].mlp(h))
