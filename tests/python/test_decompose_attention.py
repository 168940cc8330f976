"""`decompose_attention=True`: attention opened into linear, matmul, scale, mask, softmax and dropout modules."""

import copy
import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import modulize.nn
from modulize import prepare_model

ATTENTION = (nn.MultiheadAttention, modulize.nn.ScaledDotProductAttention, modulize.nn.MultiHeadAttentionForward)


def randn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def kinds(prepared):
    """The classes of the modules that the prepared model runs, by name."""
    return {type(prepared.get_submodule(n.target)).__name__ for n in prepared.graph.nodes if n.op == "call_module"}


def check_opened(prepared):
    """No attention is left, in branches neither."""
    assert not kinds(prepared) & {kind.__name__ for kind in ATTENTION}
    made = {type(module).__name__ for module in prepared.modules()}
    assert {"MatMul", "Softmax"} <= made and "ScaledDotProductAttention" not in made
    assert not [left for left in prepared.report.leftovers if "attention" in left["call"]]


def assert_equal(original, prepared, inputs, kwargs=None, *, train=False):
    """The same outputs and gradients to rounding, under one seed."""
    results = []
    for model in (original, prepared):
        model.zero_grad()
        torch.manual_seed(3)
        output = model(*inputs, **(kwargs or {}))
        tensors = [t for t in (output if isinstance(output, tuple) else (output,)) if t is not None]
        if train:
            sum(t.square().sum() for t in tensors).backward()
        results.append(([t.detach() for t in tensors], {n: p.grad for n, p in model.named_parameters()}))
    (expected, grads), (actual, own_grads) = copy.deepcopy(results[0]), results[1]
    assert len(expected) == len(actual)
    for e, a in zip(expected, actual, strict=True):
        torch.testing.assert_close(a, e, atol=2e-6, rtol=1e-5)
    if train:
        assert grads.keys() == own_grads.keys()
        for name in grads:
            torch.testing.assert_close(own_grads[name], grads[name], atol=2e-5, rtol=1e-4)


# --- the function ----------------------------------------------------------------------------------


class Attend(nn.Module):
    def __init__(self, dropout=0.0, **settings):
        super().__init__()
        self.proj = nn.Linear(8, 8)
        self.dropout, self.settings = dropout, settings

    def forward(self, q, k, v, mask=None):
        p = self.dropout if self.training else 0.0
        return F.scaled_dot_product_attention(self.proj(q), k, v, attn_mask=mask, dropout_p=p, **self.settings)


Q, K, V = randn(2, 4, 5, 8), randn(2, 4, 6, 8), randn(2, 4, 6, 8)
BOOL = torch.rand(5, 6, generator=torch.Generator().manual_seed(1)) > 0.4
PARTLY = BOOL.clone()
PARTLY[2] = False  # a query that may attend to nothing
MASKS = {
    "none": None,
    "bool": BOOL | torch.eye(5, 6, dtype=torch.bool),
    "bool with a masked row": PARTLY,
    "bool a batch": PARTLY.expand(2, 1, 5, 6),
    "float": randn(5, 6),
    "float with infinities": torch.zeros(5, 6).masked_fill(~PARTLY, float("-inf")),
}


@pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("settings", [{}, {"scale": 0.3}], ids=["scale of the size", "scale given"])
def test_function(mask, train, settings):
    model = Attend(0.25, **settings).train(train)
    given = () if MASKS[mask] is None else (MASKS[mask],)
    prepared = prepare_model(model, example_inputs=(Q, K, V, *given), decompose_attention=True)
    check_opened(prepared)
    assert prepared.report.largest_difference < 1e-6
    for training in (train, not train):
        model.train(training), prepared.train(training)
        assert_equal(model, prepared, (Q, K, V, *given), train=True)


@pytest.mark.parametrize("running", [True, False], ids=["running", "symbolic"])
def test_causal(running):
    model = Attend(is_causal=True).eval()
    inputs = {"example_inputs": (Q, K, V)} if running else {}
    prepared = prepare_model(model, **inputs, decompose_attention=True)
    check_opened(prepared)
    assert_equal(model, prepared, (Q, K, V), train=True)
    longer = (randn(3, 4, 9, 8), randn(3, 4, 7, 8), randn(3, 4, 7, 8))
    assert_equal(model, prepared, longer, train=True)


def test_heads_in_groups():
    model = Attend(enable_gqa=True).eval()
    inputs = (Q, K[:, :2], V[:, :2])
    prepared = prepare_model(model, example_inputs=inputs, decompose_attention=True)
    check_opened(prepared)
    assert_equal(model, prepared, inputs, train=True)


def test_dropout_follows_the_mode():
    prepared = prepare_model(Attend(0.25).eval(), example_inputs=(Q, K, V), decompose_attention=True)
    assert isinstance(prepared.module_dropout, nn.Dropout) and prepared.module_dropout.p == 0.25
    names = {name for name, _ in prepared.named_children()}
    assert names == {"proj", "module_matmul", "module_mul", "module_softmax", "module_dropout", "module_matmul_1"}


def test_dropout_that_is_always_on():
    class Always(nn.Module):
        def forward(self, q):
            return F.scaled_dot_product_attention(q, q, q, dropout_p=0.5)

    prepared = prepare_model(Always().eval(), example_inputs=Q, decompose_attention=True, verify=False)
    assert not torch.equal(prepared(Q), prepared(Q))
    assert_equal(Always().eval(), prepared, (Q,))


def test_half_precision():
    model = Attend().eval().bfloat16()
    inputs = tuple(t.bfloat16() for t in (Q, K, V))
    prepared = prepare_model(model, example_inputs=inputs, decompose_attention=True)
    torch.testing.assert_close(prepared(*inputs), model(*inputs), atol=2e-2, rtol=2e-2)


def test_without_the_option_it_stays_one_module():
    assert "ScaledDotProductAttention" in kinds(prepare_model(Attend().eval(), example_inputs=(Q, K, V)))


def test_a_branch_that_decides_about_the_mask():
    class Decides(nn.Module):
        def forward(self, q, mask):
            return F.scaled_dot_product_attention(q, q, q, attn_mask=None if mask.all() else mask[:, None])

    model = Decides().eval()
    every, some = torch.ones(2, 5, 5, dtype=torch.bool), BOOL[:, :5].expand(2, 5, 5)
    prepared = prepare_model(model, example_inputs=(Q, every), decompose_attention=True)
    assert_equal(model, prepared, (Q, every))
    assert_equal(model, prepared, (Q, some))


def test_jit_trace_and_export():
    prepared = prepare_model(Attend().eval(), example_inputs=(Q, K, V), decompose_attention=True)
    traced = torch.jit.trace(prepared, (Q, K, V))
    assert torch.equal(traced(Q, K, V), prepared(Q, K, V))
    exported = torch.export.export(prepared, (Q, K, V)).module()
    assert torch.equal(exported(Q, K, V), prepared(Q, K, V))


# --- the layer -------------------------------------------------------------------------------------


class Layer(nn.Module):
    def __init__(self, call=None, **settings):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, **settings)
        if self.attention.in_proj_bias is not None:
            nn.init.normal_(self.attention.in_proj_bias)
        self.call = call or {}

    def forward(self, q, k, v, **masks):
        return self.attention(q, k, v, **self.call, **masks)


def layer_inputs(batch_first, kdim=8, vdim=8, shared="none"):
    q, k, v = randn(3, 5, 8), randn(3, 6, kdim), randn(3, 6, vdim)
    if shared == "all":
        k = v = q
    elif shared == "key and value":
        v = k
    if not batch_first:
        made = {id(t): t.transpose(0, 1) for t in (q, k, v)}
        q, k, v = (made[id(t)] for t in (q, k, v))
    return q, k, v


@pytest.mark.parametrize("batch_first", [True, False], ids=["batch first", "batch second"])
@pytest.mark.parametrize("need_weights", [True, False], ids=["weights", "no weights"])
@pytest.mark.parametrize("shared", ["none", "key and value", "all"])
@pytest.mark.parametrize(
    "settings",
    [{}, {"bias": False}, {"kdim": 4, "vdim": 6}, {"add_bias_kv": True}, {"add_zero_attn": True}, {"dropout": 0.3}],
    ids=lambda s: ", ".join(s) or "plain",
)
def test_layer(settings, shared, need_weights, batch_first):
    if "kdim" in settings and shared != "none":
        pytest.skip("keys and values have sizes of their own")
    model = Layer({"need_weights": need_weights}, batch_first=batch_first, **settings).eval()
    inputs = layer_inputs(batch_first, settings.get("kdim", 8), settings.get("vdim", 8), shared)
    prepared = prepare_model(model, example_inputs=inputs, decompose_attention=True)
    check_opened(prepared)
    assert list(prepared.state_dict()) == list(model.state_dict())
    assert [id(p) for p in prepared.parameters()] == [id(p) for p in model.parameters()]
    for training in (False, True):
        model.train(training), prepared.train(training)
        assert_equal(model, prepared, inputs, train=True)


PADDED = torch.tensor([[False] * 6, [False] * 4 + [True] * 2, [False] * 5 + [True]])
LAYER_MASKS = {
    "bool": {"attn_mask": ~MASKS["bool"]},
    "float": {"attn_mask": MASKS["float"]},
    "a head": {"attn_mask": (~MASKS["bool"]).expand(6, 5, 6)},
    "padding": {"key_padding_mask": PADDED},
    "padding of floats": {"key_padding_mask": torch.zeros(3, 6).masked_fill(PADDED, float("-inf"))},
    "both": {"attn_mask": randn(5, 6), "key_padding_mask": torch.zeros(3, 6).masked_fill(PADDED, float("-inf"))},
    "both of bool": {"attn_mask": torch.zeros(5, 6).bool(), "key_padding_mask": PADDED},
}


@pytest.mark.parametrize("need_weights", [True, False], ids=["weights", "no weights"])
@pytest.mark.parametrize("masks", LAYER_MASKS)
@pytest.mark.parametrize("settings", [{}, {"add_bias_kv": True, "add_zero_attn": True}], ids=["plain", "more keys"])
def test_layer_with_masks(settings, masks, need_weights):
    model = Layer({"need_weights": need_weights}, batch_first=True, **settings).eval()
    inputs = layer_inputs(True)
    prepared = prepare_model(model, example_inputs=inputs, example_kwargs=LAYER_MASKS[masks], decompose_attention=True)
    check_opened(prepared)
    assert_equal(model, prepared, inputs, LAYER_MASKS[masks], train=True)


def test_layer_with_weights_a_head():
    model = Layer({"average_attn_weights": False}, batch_first=True).eval()
    inputs = layer_inputs(True)
    prepared = prepare_model(model, example_inputs=inputs, decompose_attention=True)
    assert prepared(*inputs)[1].shape == (3, 2, 5, 6)
    assert_equal(model, prepared, inputs)


def test_causal_layer():
    causal = nn.Transformer.generate_square_subsequent_mask(5)
    for need_weights in (True, False):
        model = Layer({"need_weights": need_weights, "is_causal": True}, batch_first=True).eval()
        inputs = layer_inputs(True, shared="all")
        prepared = prepare_model(
            model, example_inputs=inputs, example_kwargs={"attn_mask": causal}, decompose_attention=True
        )
        assert_equal(model, prepared, inputs, {"attn_mask": causal}, train=True)


def test_layer_without_batch():
    model = Layer(batch_first=True).eval()
    inputs = tuple(t[0] for t in layer_inputs(True))
    prepared = prepare_model(model, example_inputs=inputs, decompose_attention=True)
    assert_equal(model, prepared, inputs)


@pytest.mark.parametrize("batch_first", [True, False])
def test_layer_without_inputs(batch_first):
    class Self(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=batch_first)

        def forward(self, x):
            return self.attention(x, x, x)[0]

    model = Self().eval()
    prepared = prepare_model(model, decompose_attention=True)
    check_opened(prepared)
    assert_equal(model, prepared, (randn(3, 5, 8),), train=True)
    assert_equal(model, prepared, (randn(2, 7, 8),), train=True)


def test_other_sizes_and_dtypes():
    model = Layer(batch_first=True).eval()
    prepared = prepare_model(model, example_inputs=layer_inputs(True), decompose_attention=True)
    other = (randn(4, 7, 8), randn(4, 3, 8), randn(4, 3, 8))
    assert_equal(model, prepared, other)
    double, prepared = copy.deepcopy(model).double(), copy.deepcopy(prepared).double()
    assert_equal(double, prepared, tuple(t.double() for t in other))


def test_function_with_all_weights():
    class Pool(nn.Module):
        """Attention by the function, as CLIP pools."""

        def __init__(self):
            super().__init__()
            self.q, self.k, self.v, self.out = (nn.Linear(8, 8) for _ in range(4))

        def forward(self, x):
            return F.multi_head_attention_forward(
                x[:1], x, x, 8, 2, None, torch.cat([self.q.bias, self.k.bias, self.v.bias]), None, None, False, 0.0,
                self.out.weight, self.out.bias, training=self.training, use_separate_proj_weight=True,
                q_proj_weight=self.q.weight, k_proj_weight=self.k.weight, v_proj_weight=self.v.weight,
            )[0]  # fmt: skip

    model = Pool().eval()
    prepared = prepare_model(model, example_inputs=randn(5, 3, 8), decompose_attention=True)
    check_opened(prepared)
    assert_equal(model, prepared, (randn(5, 3, 8),), train=True)


# --- transformer layers ----------------------------------------------------------------------------


@pytest.mark.parametrize("norm_first", [True, False], ids=["norm first", "norm last"])
@pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("masks", ["none", "padding", "causal"])
def test_encoder(masks, train, norm_first):
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.2, batch_first=True, norm_first=norm_first)
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).train(train)
    x = randn(3, 6, 8)
    kwargs = {
        "none": {},
        "padding": {"src_key_padding_mask": PADDED},
        "causal": {"mask": nn.Transformer.generate_square_subsequent_mask(6)},
    }[masks]
    prepared = prepare_model(model, example_inputs=x, example_kwargs=kwargs, decompose_attention=True)
    check_opened(prepared)
    assert "TransformerEncoderLayer" not in kinds(prepared)
    for training in (train, not train):
        model.train(training), prepared.train(training)
        assert_equal(model, prepared, (x,), kwargs, train=True)


def test_decoder():
    layer = nn.TransformerDecoderLayer(8, 2, 16, batch_first=True, activation="gelu")
    model = nn.TransformerDecoder(layer, 2).eval()
    inputs = (randn(3, 5, 8), randn(3, 6, 8))
    kwargs = {"tgt_mask": nn.Transformer.generate_square_subsequent_mask(5), "memory_key_padding_mask": PADDED}
    prepared = prepare_model(model, example_inputs=inputs, example_kwargs=kwargs, decompose_attention=True)
    check_opened(prepared)
    assert_equal(model, prepared, inputs, kwargs, train=True)


def test_whole_transformer():
    model = nn.Transformer(8, 2, 1, 1, 16, batch_first=True).eval()
    inputs = (randn(3, 6, 8), randn(3, 5, 8))
    prepared = prepare_model(model, example_inputs=inputs, decompose_attention=True)
    check_opened(prepared)
    assert_equal(model, prepared, inputs, train=True)


def test_nothing_of_torch_stays_changed():
    forward, fast = nn.MultiheadAttention.forward, torch.backends.mha.get_fastpath_enabled()
    prepare_model(Layer(batch_first=True).eval(), example_inputs=layer_inputs(True), decompose_attention=True)
    assert nn.MultiheadAttention.forward is forward
    assert torch.backends.mha.get_fastpath_enabled() is fast


def test_an_excluded_layer_stays():
    model = Layer(batch_first=True).eval()
    prepared = prepare_model(
        model,
        modules_to_exclude=[model.attention],
        example_inputs=layer_inputs(True),
        decompose_attention=True,
    )
    assert kinds(prepared) == {"MultiheadAttention"}


@pytest.mark.parametrize("name", ["BertModel", "GPT2Model", "LlamaModel"])
def test_models_of_transformers(name):
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = {
        "BertModel": lambda: transformers.BertConfig(vocab_size=40, **sizes),
        "GPT2Model": lambda: transformers.GPT2Config(n_layer=2, n_head=2, n_embd=16, vocab_size=40),
        "LlamaModel": lambda: transformers.LlamaConfig(vocab_size=40, num_key_value_heads=1, **sizes),
    }[name]()
    model = getattr(transformers, name)(config).eval()
    ids = torch.arange(12).view(2, 6)
    padded = torch.tensor([[1] * 6, [0] * 2 + [1] * 4])
    for mask, again in itertools.permutations([torch.ones_like(padded), padded]):
        prepared = prepare_model(
            model,
            example_kwargs={"input_ids": ids, "attention_mask": mask},
            decompose_attention=True,
            plain_outputs=True,
        )
        check_opened(prepared)
        for given in (mask, again):
            expected = model(input_ids=ids, attention_mask=given).last_hidden_state
            actual = prepared(input_ids=ids, attention_mask=given)["last_hidden_state"]
            torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-4)
