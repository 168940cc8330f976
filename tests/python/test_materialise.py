"""From a graph in text form to a prepared model: the tree, the state, the source, and what users do with it."""

import copy
import inspect
import pickle

import pytest
import torch
from torch import fx, nn

from modulize import VerifierError, _core


def materialise(text, root, objects=(), constants=None):
    return _core.materialise_text(text, root, objects, constants or {})


def names(pairs):
    return [name for name, _ in pairs]


class Net(nn.Module):
    """conv, one relu called twice, a functional convolution over its own weight, a functional linear."""

    num_classes = 4

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.bn = nn.BatchNorm2d(8)
        self.relu = nn.ReLU()
        self.w = nn.Parameter(torch.randn(8, 8, 3, 3) * 0.1)
        self.register_buffer("scale", torch.tensor(2.0))
        self.fc = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor, gain: float = 1.0) -> "torch.Tensor":
        x = self.relu(self.bn(self.conv(x)))
        y = torch.nn.functional.conv2d(x, self.w, None, 1, 1)
        x = self.relu(self.bn(y) + x) * self.scale
        return self.fc(x.mean((2, 3))) * gain

    def classes(self):
        return list(range(self.num_classes))


NET = """graph net {
  module conv = existing torch.nn.Conv2d
  module bn = existing torch.nn.BatchNorm2d
  module relu = existing torch.nn.ReLU
  module fc = existing torch.nn.Linear
  module module_conv2d = torch.nn.Conv2d(8, 8, (3, 3), (1, 1), (1, 1), bias=False) for conv2d adopt weight=w
  module module_bn_1 = copy bn for bn
  module module_add = modulize.nn.Add() for add
  module module_relu_1 = copy relu for relu
  module module_mul = modulize.nn.Multiply() for mul
  module module_mean = modulize.nn.Mean() for mean
  module module_mul_1 = modulize.nn.Multiply() for mul
  parameter w: float32[8, 8, 3, 3]
  buffer scale: float32[]
  %x = placeholder x
  %gain = placeholder gain default 1.0
  %conv: tensor = call_module conv(%x)
  %bn: tensor = call_module bn(%conv)
  %relu: tensor = call_module relu(%bn)
  %y: tensor = call_module module_conv2d(%relu)
  %bn_1: tensor = call_module module_bn_1(%y)
  %add: tensor = call_module module_add(%bn_1, %relu)
  %relu_1: tensor = call_module module_relu_1(%add)
  %scale: tensor = get_attr scale
  %mul: tensor = call_module module_mul(%relu_1, %scale)
  %mean: tensor = call_module module_mean(%mul, (2, 3))
  %fc: tensor = call_module fc(%mean)
  %mul_1: tensor = call_module module_mul_1(%fc, %gain)
  output %mul_1
}
"""


def net(train=False):
    torch.manual_seed(0)
    model = Net().train(train)
    with torch.no_grad():
        model.bn.running_mean.normal_()
        model.bn.running_var.uniform_(0.5, 2)
    return model, materialise(NET, model)


IMAGE = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def same(a, b, *args):
    with torch.no_grad():
        return torch.equal(a(*args), b(*args))


# --- the prepared model ----------------------------------------------------------------------------


def test_computes_what_the_original_computes():
    model, prepared = net()
    assert same(model, prepared, IMAGE)
    assert same(model, prepared, IMAGE, 3.0)


def test_is_a_graph_module_and_of_the_original_class():
    _, prepared = net()
    assert isinstance(prepared, fx.GraphModule) and isinstance(prepared, Net)
    assert type(prepared).__name__ == "Net"
    assert prepared.classes() == [0, 1, 2, 3]


def test_two_prepared_models_of_one_class_have_their_own_forward():
    _, first = net()
    second = materialise("graph g { %x = placeholder x\n output %x\n }", Net())
    assert torch.equal(second(IMAGE), IMAGE)
    assert first(IMAGE).shape == (2, 4)


def test_signature_is_the_originals():
    model, prepared = net()
    assert inspect.signature(prepared.forward) == inspect.signature(model.forward)
    assert inspect.signature(copy.deepcopy(prepared).forward) == inspect.signature(model.forward)


def test_every_kind_of_parameter_keeps_its_name_kind_and_default():
    text = """graph g {
      %a = placeholder a positional_only
      %b = placeholder b default -1 positional_only
      %c = placeholder c default 'x"y\\n'
      %rest = placeholder *rest
      %k = placeholder k keyword_only
      %l = placeholder l default float("inf") keyword_only
      %more = placeholder **more
      output (%a, %b, %c, %rest, %k, %l, %more)
    }"""
    prepared = materialise(text, nn.Module())

    def forward(a, b=-1, /, c='x"y\n', *rest, k, l=float("inf"), **more): ...  # noqa: E741

    assert str(inspect.signature(prepared.forward)) == str(inspect.signature(forward))
    assert prepared(1, k=2) == (1, -1, 'x"y\n', (), 2, float("inf"), {})
    assert prepared(1, 2, 3, 4, k=5, l=6, m=7) == (1, 2, 3, (4,), 5, 6, {"m": 7})


def test_keyword_only_after_positional_only():
    text = "graph g { %a = placeholder a positional_only\n %k = placeholder k keyword_only\n output (%a, %k)\n }"
    prepared = materialise(text, nn.Module())
    assert str(inspect.signature(prepared.forward)) == "(a, /, *, k)"
    assert prepared(1, k=2) == (1, 2)


def test_parameters_that_hide_what_the_source_needs():
    text = """graph g {
      %torch = placeholder torch
      %len = placeholder len
      %getattr = placeholder getattr
      %slice = placeholder slice
      %modules = placeholder modules
      %relu: tensor = call_function torch.relu(%torch)
      %n: number = call_function builtins.len(%relu)
      %m: number = call_function operator.add(%n, %len)
      output (%relu, %m, %getattr, (slice(None, 1, None), %slice), %modules)
    }"""
    prepared = materialise(text, nn.Module())
    value, count, *rest = prepared(torch.tensor([-1.0, 2.0]), 5, 1, 2, 3)
    assert value.tolist() == [0.0, 2.0] and count == 7 and rest == [1, (slice(None, 1), 2), 3]


def test_the_original_is_untouched():
    model = Net().eval()
    tree, state = names(model.named_modules()), {k: v.clone() for k, v in model.state_dict().items()}
    inside = {name: {k: id(v) for k, v in module.__dict__.items()} for name, module in model.named_modules()}
    random_state = torch.get_rng_state()
    prepared = materialise(NET, model)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert inside == {name: {k: id(v) for k, v in m.__dict__.items()} for name, m in model.named_modules()}
    prepared.train()
    prepared(IMAGE)
    prepared.register_buffer("more", torch.zeros(1))
    prepared.conv.register_forward_hook(lambda *_: None)
    prepared.conv.extra = 1
    assert not any(m.training for m in model.modules())
    assert names(model.named_modules()) == tree and list(model.state_dict()) == list(state)
    assert not model.conv._forward_hooks and not hasattr(model.conv, "extra")


def test_parameters_are_the_originals_objects():
    model, prepared = net()
    assert names(prepared.named_parameters()) == names(model.named_parameters())
    assert all(a is b for a, b in zip(prepared.parameters(), model.parameters(), strict=True))


def test_new_modules_take_the_mode_of_their_scope():
    model = nn.Module()
    model.frozen = nn.Module().eval()
    text = """graph g {
      module frozen.module_relu = torch.nn.ReLU() for relu
      module module_relu = torch.nn.ReLU() for relu
      %x = placeholder x
      %a = call_module frozen.module_relu(%x)
      %b = call_module module_relu(%a)
      output %b
    }"""
    prepared = materialise(text, model)
    assert prepared.module_relu.training and not prepared.frozen.module_relu.training
    prepared.eval()
    assert not prepared.module_relu.training


def test_equal_constructions_are_separate_objects():
    _, prepared = net()
    assert prepared.module_mul is not prepared.module_mul_1
    assert prepared.module_mul._forward_hooks is not prepared.module_mul_1._forward_hooks
    prepared.module_mul.train()
    assert not prepared.module_mul_1.training


def test_constructed_modules_with_parameters_do_not_share_them():
    text = """graph g {
      module a = torch.nn.PReLU()
      module b = torch.nn.PReLU()
      %x = placeholder x
      %a = call_module a(%x)
      %b = call_module b(%a)
      output %b
    }"""
    prepared = materialise(text, nn.Module())
    assert prepared.a.weight is not prepared.b.weight


def test_constructing_draws_no_random_numbers():
    text = """graph g {
      module a = torch.nn.Linear(3, 3)
      %x = placeholder x
      %a = call_module a(%x)
      output %a
    }"""
    before = torch.get_rng_state()
    materialise(text, nn.Module())
    assert torch.equal(torch.get_rng_state(), before)


def test_no_place_for_a_new_module_is_an_error():
    text = "graph g { module a.b = torch.nn.ReLU()\n %x = placeholder x\n %y = call_module a.b(%x)\n output %y\n }"
    with pytest.raises(VerifierError, match=r"'a\.b'"):
        materialise(text, nn.Module())


# --- tensors under several names -------------------------------------------------------------------


def assert_ties(prepared):
    assert prepared.module_conv2d.weight is prepared.w and prepared.module_conv2d.bias is None
    assert prepared.module_bn_1 is not prepared.bn
    for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
        assert getattr(prepared.module_bn_1, name) is getattr(prepared.bn, name), name


def test_adopted_and_copied_tensors_are_the_models_own():
    model, prepared = net()
    assert type(prepared.module_conv2d) is nn.Conv2d and type(prepared.module_bn_1) is nn.BatchNorm2d
    assert prepared.module_conv2d.weight is model.w
    assert_ties(prepared)


def test_state_dict_has_the_originals_keys_and_loads_both_ways():
    model, prepared = net()
    assert list(prepared.state_dict()) == list(model.state_dict())
    assert list(prepared.state_dict()._metadata) == [k for k in prepared.state_dict()._metadata if "module_bn" not in k]
    other, _ = net()
    with torch.no_grad():
        for tensor in other.state_dict().values():
            tensor.add_(1)
    prepared.load_state_dict(other.state_dict(), strict=True)
    assert same(prepared, other, IMAGE)
    Net().load_state_dict(prepared.state_dict(), strict=True)
    with pytest.raises(RuntimeError, match="Missing"):
        prepared.load_state_dict({k: v for k, v in other.state_dict().items() if k != "w"})
    with pytest.raises(RuntimeError, match="Unexpected"):
        prepared.load_state_dict({**other.state_dict(), "odd": torch.zeros(1)})


def test_state_dict_under_a_wrapper():
    model, prepared = net()
    wrapped, plain = nn.Sequential(prepared), nn.Sequential(model)
    assert list(wrapped.state_dict()) == list(plain.state_dict())
    wrapped.load_state_dict({k: v + 1 for k, v in plain.state_dict().items()}, strict=True)
    assert_ties(prepared)
    wrapped.load_state_dict({k: v + 1 for k, v in plain.state_dict().items()}, strict=True, assign=True)
    assert_ties(prepared)


def test_extra_keys_for_tied_modules_are_accepted_and_load_nothing():
    model, prepared = net()
    state = dict(model.state_dict())
    state["module_bn_1.weight"] = torch.full_like(model.bn.weight, 9.0)
    prepared.load_state_dict(state, strict=True)
    assert not torch.equal(prepared.bn.weight, state["module_bn_1.weight"])


def test_a_tied_module_asked_alone_has_its_state():
    _, prepared = net()
    assert list(prepared.module_bn_1.state_dict()) == list(nn.BatchNorm2d(8).state_dict())
    nn.BatchNorm2d(8).load_state_dict(prepared.module_bn_1.state_dict(), strict=True)
    prepared.module_bn_1.load_state_dict(nn.BatchNorm2d(8).state_dict(), strict=True)
    assert_ties(prepared)


def test_untied_tensors_show_up_again():
    _, prepared = net()
    prepared.module_conv2d.weight = nn.Parameter(torch.zeros(8, 8, 3, 3))
    assert "module_conv2d.weight" in prepared.state_dict()
    assert "module_conv2d.weight" in names(prepared.named_parameters())
    prepared.half()
    prepared.load_state_dict({k: v + 1 for k, v in prepared.state_dict().items()}, assign=True)
    assert prepared.module_conv2d.weight is not prepared.w
    assert prepared.module_conv2d.weight.sum() == 8 * 8 * 9


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.half(),
        lambda m: m.double(),
        lambda m: m.to("meta"),
        lambda m: m.to("meta").to_empty(device="cpu"),
        lambda m: m.to(torch.bfloat16),
        lambda m: m.load_state_dict({k: v + 1 for k, v in m.state_dict().items()}, assign=True),
        lambda m: nn.Sequential(m).double(),
        lambda m: m.requires_grad_(False),
        lambda m: m.share_memory(),
    ],
    ids=["half", "double", "meta", "to_empty", "bfloat16", "assign", "wrapped", "requires_grad", "share_memory"],
)
def test_ties_survive(change):
    _, prepared = net()
    change(prepared)
    assert_ties(prepared)
    assert list(prepared.state_dict()) == list(Net().state_dict())
    assert names(prepared.named_parameters()) == names(Net().named_parameters())
    assert names(prepared.named_buffers()) == names(Net().named_buffers())


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["deepcopy", "pickle"])
def test_ties_survive_copies(copied):
    model, prepared = net()
    other = copied(prepared)
    assert_ties(other)
    assert other.w is not prepared.w
    other.to("meta")
    assert_ties(other)
    assert list(other.state_dict()) == list(model.state_dict())
    assert names(other.named_buffers()) == names(model.named_buffers())


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.double(),
        lambda m: m.to("meta").to_empty(device="cpu"),
        lambda m: m.load_state_dict({k: v + 1 for k, v in m.state_dict().items()}, assign=True),
        copy.deepcopy,
    ],
    ids=["double", "to_empty", "assign", "deepcopy"],
)
def test_ties_of_recurrent_layers_survive(change):
    model = nn.Module()
    model.rnn = nn.LSTM(2, 2)
    text = """graph g {
      module module_rnn_1 = copy rnn for rnn
      %x = placeholder x
      %a = call_module module_rnn_1(%x)
      output %a
    }"""
    prepared = materialise(text, model.eval())
    changed = change(prepared)
    prepared = changed if isinstance(changed, nn.Module) else prepared
    x = torch.ones(3, 1, 2, dtype=prepared.rnn.weight_ih_l0.dtype)
    with torch.no_grad():
        for parameter in prepared.rnn.parameters():
            parameter.fill_(0.3)
    assert torch.equal(prepared(x)[0], prepared.rnn(x)[0])
    assert all(a is b for a, b in zip(prepared.module_rnn_1._flat_weights, prepared.rnn._flat_weights, strict=True))


def test_running_statistics_see_every_call():
    model, prepared = net(train=True)
    copied = copy.deepcopy(model)
    prepared(IMAGE)
    buffers = dict(prepared.named_buffers())
    with torch.no_grad():
        model.bn.running_mean.copy_(copied.bn.running_mean)
        model.bn.running_var.copy_(copied.bn.running_var)
        model.bn.num_batches_tracked.copy_(copied.bn.num_batches_tracked)
    copied(IMAGE)
    for name, _ in copied.named_buffers():
        assert torch.equal(buffers[name], dict(model.named_buffers())[name]), name
    assert copied.bn.num_batches_tracked == 2


def test_gradients_are_equal():
    model, prepared = net(train=True)
    reference = copy.deepcopy(model)
    reference(IMAGE).sum().backward()
    prepared(IMAGE).sum().backward()
    for (name, a), (_, b) in zip(prepared.named_parameters(), reference.named_parameters(), strict=True):
        assert torch.equal(a.grad, b.grad), name


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Module()
        self.first.act = nn.ReLU()
        self.embed = nn.Embedding(5, 4)
        self.head = nn.Linear(4, 5, bias=False)
        self.head.weight = self.embed.weight
        self.register_buffer("table", torch.arange(3.0))
        self.head.register_buffer("table", self.table)


TIED = """graph net {
  module first.module_linear = torch.nn.Linear(4, 5) for linear adopt weight=head.weight
  module head = existing torch.nn.Linear
  parameter head.weight: float32[5, 4]
  %x = placeholder x
  %a: tensor = call_module first.module_linear(%x)
  %b: tensor = call_module head(%x)
  %add: tensor = call_function operator.add(%a, %b)
  output %add
}"""


def test_adopting_before_the_owner_keeps_names_and_order():
    model = Tied()
    prepared = materialise(TIED, model)
    assert names(prepared.named_parameters()) == names(model.named_parameters()) == ["embed.weight"]
    assert names(prepared.named_buffers()) == names(model.named_buffers())
    assert list(prepared.state_dict()) == list(model.state_dict())
    everything = names(prepared.named_parameters(remove_duplicate=False))
    assert "first.module_linear.weight" in everything and "head.weight" in everything


def test_the_originals_own_ties_survive():
    prepared = materialise(TIED, Tied())
    for change in (lambda m: m.to("meta"), lambda m: m.to_empty(device="cpu"), lambda m: m.half(), copy.deepcopy):
        changed = change(prepared)
        prepared = changed if isinstance(changed, nn.Module) else prepared
        assert prepared.head.weight is prepared.embed.weight is prepared.first.module_linear.weight
        assert prepared.head.table is prepared.table
    prepared.load_state_dict({k: v.clone() for k, v in prepared.state_dict().items()}, assign=True)
    assert prepared.head.weight is prepared.embed.weight is prepared.first.module_linear.weight


def test_functional_call_reaches_tied_names():
    model, prepared = net()
    new = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    assert torch.equal(torch.func.functional_call(prepared, new, (IMAGE,)), torch.zeros(2, 4))


def test_constants_are_buffers_that_no_state_dict_holds():
    text = """graph g {
      constant _tensor_constant0: float32[2]
      constant inner.c: float32[1]
      %x = placeholder x
      %c: tensor = get_attr _tensor_constant0
      %d: tensor = get_attr inner.c
      %y = call_function operator.mul(%x, %c)
      %z = call_function operator.mul(%y, %d)
      output %z
    }"""
    model = nn.Module()
    model.inner = nn.Module()
    model.register_buffer("own", torch.zeros(1))
    constants = {"_tensor_constant0": torch.tensor([1.0, 2.0]), "inner.c": torch.tensor([3.0])}
    prepared = materialise(text, model, constants=constants)
    assert prepared(torch.ones(2)).tolist() == [3.0, 6.0]
    assert list(prepared.state_dict()) == ["own"] and names(prepared.named_buffers()) == ["own"]
    assert prepared.double()._tensor_constant0.dtype == torch.float64
    assert copy.deepcopy(prepared)(torch.ones(2)).tolist() == [3.0, 6.0]
    assert pickle.loads(pickle.dumps(prepared))(torch.ones(2)).tolist() == [3.0, 6.0]


def test_adopting_a_plain_tensor():
    model = nn.Module()
    model.kernel = torch.ones(1, 1, 1, 1) * 3
    text = """graph g {
      module conv = torch.nn.Conv2d(1, 1, (1, 1)) for conv2d adopt weight=kernel
      constant kernel: float32[1, 1, 1, 1]
      %x = placeholder x
      %y = call_module conv(%x)
      output %y
    }"""
    prepared = materialise(text, model)
    assert prepared(torch.ones(1, 1, 2, 2)).sum() == 12
    assert prepared.conv.weight is model.kernel and list(prepared.parameters()) == []
    assert list(prepared.state_dict()) == []
