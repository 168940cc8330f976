"""Models on the meta device: prepared by default, and equal once they have weights."""

import copy

import pytest
import torch
from torch import nn

from modulize import CaptureError, ModulizeError, prepare_model


class Masked(nn.Module):
    """Decides by its mask, as language models do."""

    def __init__(self):
        super().__init__()
        self.fc, self.head = nn.Linear(4, 4), nn.Linear(4, 2)
        self.register_buffer("scale", torch.linspace(1, 2, 4))

    def forward(self, x, mask):
        y = self.fc(x).relu() * self.scale
        if not mask.all():
            y = y.masked_fill(~mask[..., None], 0.0)
        return self.head(y)


class Straight(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        return torch.relu(self.fc(x)) + x


class ReadsANumber(Straight):
    def forward(self, x):
        return self.fc(x) * float(self.fc.weight.max())


class Refuses(Straight):
    def forward(self, x):
        if x.shape[-1] == 4:
            raise ValueError("the model's own")
        return x


def on_meta(cls):
    with torch.device("meta"):
        return cls().eval()


def masked_inputs(device):
    return torch.randn(2, 3, 4, device=device), torch.ones(2, 3, dtype=torch.bool, device=device)


def assert_loads(prepared, model, inputs):
    """With the weights of `model`, loaded in both ways that there are, it computes what that does."""
    state = model.state_dict()
    assigned, filled = copy.deepcopy(prepared), copy.deepcopy(prepared)
    assigned.load_state_dict(state, assign=True)
    filled.to_empty(device="cpu").load_state_dict(state)
    for loaded in (assigned, filled):
        assert not any(t.is_meta for t in (*loaded.parameters(), *loaded.buffers()))
        for args in inputs:
            assert torch.equal(loaded(*args), model(*args))


def test_what_asks_for_no_value_is_compared():
    prepared = prepare_model(on_meta(Straight), example_inputs=torch.randn(2, 4, device="meta"))
    assert prepared.report.not_compared == ""
    assert prepared.report.largest_difference == 0.0
    assert_loads(prepared, Straight().eval(), [(torch.randn(3, 4),), (torch.randn(2, 4),)])


def test_a_decision_on_a_value_is_a_branch_and_verification_says_that_it_did_not_run():
    prepared = prepare_model(on_meta(Masked), example_inputs=masked_inputs("meta"))
    report = prepared.report
    assert report.largest_difference is None
    assert report.not_compared.startswith("on the meta device the original raises ")
    assert report.not_compared in str(report)
    assert report.as_dict()["not_compared"] == report.not_compared
    assert len(report.branches) == 1
    full = torch.ones(2, 3, dtype=torch.bool)
    padded = full.clone()
    padded[0, 2:] = False
    x = torch.randn(2, 3, 4)
    assert_loads(prepared, Masked().eval(), [(x, full), (x, padded), (x[:1], padded[:1])])


def test_the_report_says_so_in_every_form(capsys):
    pytest.importorskip("rich")
    from rich.console import Console

    prepared = prepare_model(on_meta(Masked), example_inputs=masked_inputs("meta"))
    Console(width=300).print(prepared.report)
    assert "not compared: on the meta device" in capsys.readouterr().out
    assert "not compared: on the meta device" in prepared.report._repr_html_()


def test_other_reads_of_values_are_refused_by_name():
    with pytest.raises(CaptureError, match="on the meta device there are no values") as caught:
        prepare_model(on_meta(ReadsANumber), example_inputs=torch.randn(2, 4, device="meta"))
    assert "test_meta_device.py" in str(caught.value)


def test_the_models_own_error_stays_its_own():
    with pytest.raises(ValueError, match="the model's own"):
        prepare_model(on_meta(Refuses), example_inputs=torch.randn(2, 4, device="meta"))


def test_an_original_that_raises_elsewhere_is_no_excuse():
    """Only what has no values may go without a comparison."""

    class Counts(Straight):
        def __init__(self):
            super().__init__()
            self.calls = []

        def forward(self, x):
            self.calls.append(1)
            return self.fc(x)

    model = Counts().eval()
    prepared = prepare_model(model, example_inputs=torch.randn(2, 4))
    assert prepared.report.not_compared == ""
    assert prepared.report.largest_difference == 0.0


def test_language_models_are_prepared_and_loaded():
    transformers = pytest.importorskip("transformers")
    common = {"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    configs = [
        transformers.LlamaConfig(**common, intermediate_size=64, num_key_value_heads=2),
        transformers.Qwen3MoeConfig(
            **common,
            intermediate_size=64,
            num_key_value_heads=2,
            moe_intermediate_size=16,
            num_experts=4,
            num_experts_per_tok=2,
            head_dim=16,
        ),
    ]
    for config in configs:
        cls = getattr(transformers, config.architectures[0] if config.architectures else _causal(config))
        torch.manual_seed(0)
        config._experts_implementation = "batched_mm"  # the one that runs everywhere in single precision
        model = cls(config).eval()
        with torch.device("meta"):
            empty = cls(config).eval()
        ids = torch.randint(5, 99, (2, 6))
        full, padded = torch.ones(2, 6, dtype=torch.long), torch.ones(2, 6, dtype=torch.long)
        padded[1, :3] = 0
        prepared = prepare_model(
            empty, example_kwargs={"input_ids": ids.to("meta"), "attention_mask": full.to("meta"), "use_cache": False}
        )
        assert prepared.report.not_compared
        prepared.load_state_dict(model.state_dict(), assign=True)
        buffers = dict(model.named_buffers())
        for name, buffer in list(prepared.named_buffers()):  # those that no checkpoint holds
            if buffer.is_meta:
                owner, _, attribute = name.rpartition(".")
                prepared.get_submodule(owner).register_buffer(attribute, buffers[name], persistent=False)
        for mask in (full, padded):
            got = prepared(input_ids=ids, attention_mask=mask, use_cache=False)
            expected = model(input_ids=ids, attention_mask=mask, use_cache=False)
            assert torch.equal(got.logits, expected.logits)


def _causal(config):
    return type(config).__name__.removesuffix("Config") + "ForCausalLM"


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_inputs_on_another_device_than_the_model(device):
    try:
        prepared = prepare_model(on_meta(Straight), example_inputs=torch.randn(2, 4, device=device))
    except (ModulizeError, RuntimeError) as error:
        assert device == "cpu"
        assert not isinstance(error, CaptureError) or "meta" in str(error)
        return
    assert_loads(prepared, Straight().eval(), [(torch.randn(3, 4),)])
