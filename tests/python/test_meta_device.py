"""Models that exist on the meta device alone: prepared by default, loaded afterwards, equal in every bit."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import transformers
from torch import nn

from modulize import UnsupportedError, _core, compare_models, prepare_model

Forward = Callable[..., Any]


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)


def made(forward: Forward) -> nn.Module:
    return type("Net", (Two,), {"forward": forward})()


def on_meta(forward: Forward) -> nn.Module:
    with torch.device("meta"):
        return made(forward)


def prepared_on_meta(forward: Forward, device: str = "meta", **options: Any) -> Any:
    return prepare_model(on_meta(forward), example_inputs=torch.randn(3, 4, device=device), **options)


def outcome(model: nn.Module, x: torch.Tensor) -> Any:
    try:
        return model(x)
    except ValueError as error:
        return str(error)


def require_equal_once_loaded(forward: Forward, prepared: Any) -> None:
    torch.manual_seed(0)
    original = made(forward)
    prepared.load_state_dict(original.state_dict(), assign=True)
    outcomes = set()
    for scale in (-3.0, -1.0, 0.0, 0.1, 1.0, 3.0, float("nan")):
        x = torch.ones(3, 4) * scale
        expected, actual = outcome(original, x), outcome(prepared, x)
        if isinstance(expected, torch.Tensor):
            assert expected.equal(actual) or (expected.isnan().all() and actual.isnan().all())
        else:
            assert expected == actual
        outcomes.add(str(expected))
    assert len(outcomes) > 1


# --- decisions: both sides ---------------------------------------------------------------------------------------


def by_truth(self: Any, x: torch.Tensor) -> torch.Tensor:
    return self.a(x).relu() if (x > 0).all() else self.b(x)


def by_item(self: Any, x: torch.Tensor) -> torch.Tensor:
    return self.a(x) if 2 * x.sum().item() - 1 > 0 else self.b(x)


def by_whole_number(self: Any, x: torch.Tensor) -> torch.Tensor:
    return self.a(x) if (x > 0).sum().item() else self.b(x)


def by_equal(self: Any, x: torch.Tensor) -> torch.Tensor:
    return self.a(x) if torch.equal(x, torch.zeros_like(x)) else self.b(x)


def by_allclose(self: Any, x: torch.Tensor) -> torch.Tensor:
    return self.a(x) if torch.allclose(x, torch.ones_like(x)) else self.b(x)


def by_assertion(self: Any, x: torch.Tensor) -> torch.Tensor:
    y = self.a(x)
    if y.isnan().any():
        raise ValueError("not a number")
    return self.b(y)


def by_two(self: Any, x: torch.Tensor) -> torch.Tensor:
    if (x < 0).any():
        x = x * 2
    return self.a(x) if x.abs().max() > 2 else self.b(x)


DECISIONS = [by_truth, by_item, by_whole_number, by_equal, by_allclose, by_assertion, by_two]


@pytest.mark.parametrize("device", ["meta", "cpu"])
@pytest.mark.parametrize("forward", DECISIONS)
def test_a_decision_has_both_sides(forward: Forward, device: str) -> None:
    prepared = prepared_on_meta(forward, device)
    assert prepared.report.kept == []
    assert prepared.report.largest_difference is None
    place = f"{__file__}:{forward.__code__.co_firstlineno}"[:-1]
    assert "the original cannot run" in prepared.report.not_verified
    assert place in prepared.report.not_verified
    require_equal_once_loaded(forward, prepared)


def test_a_number_that_is_returned_needs_no_value() -> None:
    def forward(self: Any, x: torch.Tensor) -> Any:
        y = self.a(x)
        return y, y.sum().item()

    prepared, original = prepared_on_meta(forward), made(forward)
    prepared.load_state_dict(original.state_dict(), assign=True)
    x = torch.randn(3, 4)
    assert prepared(x)[1] == original(x)[1]


def test_a_side_that_reads_values_is_an_assumption() -> None:
    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        return self.a(x) * float(x.sum()) if (x > 0).any() else self.b(x)

    prepared, original = prepared_on_meta(forward), made(forward)
    prepared.load_state_dict(original.state_dict(), assign=True)
    below, above = -torch.ones(3, 4), torch.ones(3, 4)
    assert prepared(below).equal(original(below))
    with pytest.raises(_core.AssumptionError, match=r"that side could not be captured.*meta device"):
        prepared(above)
    reasons = [capture["reason"] for capture in prepared.report.captures]
    assert "other side of a decision" in reasons


# --- everything else is refused ----------------------------------------------------------------------------------


def reads_float(self: Any, x: torch.Tensor) -> torch.Tensor:
    return self.a(x) * float(x.sum())


def reads_range(self: Any, x: torch.Tensor) -> torch.Tensor:
    for _ in range((x > 0).sum().item()):
        x = self.a(x)
    return x


def reads_factor(self: Any, x: torch.Tensor) -> torch.Tensor:
    return self.a(x) * x.sum().item()


def reads_index(self: Any, x: torch.Tensor) -> torch.Tensor:
    return [self.a, self.b][x.argmax() % 2](x)


def reads_list(self: Any, x: torch.Tensor) -> torch.Tensor:
    return self.a(x) + x.tolist()[0][0]


def reads_array(self: Any, x: torch.Tensor) -> torch.Tensor:
    return self.a(x) + torch.from_numpy(x.detach().numpy())


def finds_rows(self: Any, x: torch.Tensor) -> torch.Tensor:
    return self.a(x)[x[:, 0].nonzero()[:, 0]]


def picks_by_mask(self: Any, x: torch.Tensor) -> torch.Tensor:
    return self.a(x)[x > 0]


def counts_classes(self: Any, x: torch.Tensor) -> torch.Tensor:
    return self.a(F.one_hot(x.argmax(-1)).float())


def finds_unique(self: Any, x: torch.Tensor) -> torch.Tensor:
    return self.a(x).sum() + torch.unique(x).sum()


def goes_elsewhere(self: Any, x: torch.Tensor) -> torch.Tensor:
    return self.a(x).cpu()


def loops_by_values(self: Any, x: torch.Tensor) -> torch.Tensor:
    while (x > 1).any():
        x = self.a(x)
    return x


def catches(self: Any, x: torch.Tensor) -> torch.Tensor:
    try:
        factor = float(x.sum())
    except RuntimeError:
        factor = 1.0
    return self.a(x) * factor


REFUSED = {
    reads_float: r"Tensor\.__float__\(\)",
    reads_range: r"a bound of range\(\)",
    reads_factor: r"a number read from a tensor and given to \w+\(\)",
    reads_index: r"Tensor\.__index__\(\)",
    reads_list: r"Tensor\.tolist\(\)",
    reads_array: r"Tensor\.numpy\(\)",
    finds_rows: r"Tensor\.nonzero\(\)",
    picks_by_mask: r"operator\.getitem\(\)",
    counts_classes: r"torch\.nn\.functional\.one_hot\(\)",
    finds_unique: r"torch\.unique\(\)",
    goes_elsewhere: r"Tensor\.cpu\(\)",
    loops_by_values: r"Tensor\.__bool__\(\)",
    catches: r"Tensor\.__float__\(\)",
}


@pytest.mark.parametrize("device", ["meta", "cpu"])
@pytest.mark.parametrize("forward", REFUSED)
def test_what_needs_a_value_is_refused_with_its_place(forward: Forward, device: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        prepared_on_meta(forward, device)
    text = str(caught.value)
    assert re.search(REFUSED[forward], text), text
    first, last = forward.__code__.co_firstlineno, max(line for *_, line in forward.__code__.co_lines() if line)
    assert any(f"{__file__}:{line} " in text for line in range(first, last + 1)), text
    assert "meta device, where tensors have no values" in text
    assert "prepare the model with its weights" in text


def test_excluded_code_is_refused_too() -> None:
    class Inner(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * float(x.sum())

    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.inner = nn.Linear(4, 4), Inner()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(self.a(x))

    with torch.device("meta"):
        model, x = Outer(), torch.randn(3, 4)
    with pytest.raises(UnsupportedError, match=r"Tensor\.__float__\(\).*cannot run on the meta device"):
        prepare_model(model, example_inputs=x, modules_to_exclude=[model.inner])


def test_code_that_is_kept_whole_says_why_it_is() -> None:
    with pytest.raises(UnsupportedError, match=r"__bool__\(\) at .*, in code that is kept whole \(.*loop that ends by"):
        prepared_on_meta(loops_by_values)


@pytest.mark.parametrize("on_dynamic", ["keep", "specialize"])
def test_without_values_there_is_no_side_to_take(on_dynamic: str) -> None:
    with pytest.raises(UnsupportedError, match=f'on_dynamic="{on_dynamic}", for a decision.*on_dynamic="branch"'):
        prepared_on_meta(by_truth, on_dynamic=on_dynamic)


def test_an_error_of_shapes_is_the_users() -> None:
    with pytest.raises(RuntimeError, match="dim") as caught:
        prepared_on_meta(lambda self, x: self.a(x.repeat(1, 2)))
    assert not isinstance(caught.value, _core.ModulizeError)


def test_an_error_that_forward_raises_is_the_users() -> None:
    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        raise ValueError("mine")

    with pytest.raises(ValueError, match=r"^mine$"):
        prepared_on_meta(forward)


# --- what the report says ----------------------------------------------------------------------------------------


def test_where_the_original_runs_shapes_are_compared() -> None:
    report = prepared_on_meta(lambda self, x: self.b(self.a(x).relu())).report
    assert report.largest_difference is None
    assert report.not_verified == "on the meta device tensors have no values: shapes and dtypes alone were compared"
    assert json.loads(report.to_json())["not_verified"] == report.not_verified
    assert f"not compared with the original: {report.not_verified}" in str(report)
    assert report.not_verified in report._repr_html_()


def test_where_there_are_values_the_report_has_no_excuse() -> None:
    model, x = made(by_truth), torch.randn(3, 4)
    report = prepare_model(model, example_inputs=x).report
    assert (report.largest_difference, report.not_verified) == (0.0, "")
    assert "not compared" not in str(report)
    assert prepare_model(model, example_inputs=x, verify=False).report.not_verified == "verify=False"
    assert prepare_model(model).report.not_verified == "captured without inputs"


def test_compare_models_does_not_call_shapes_equal_values() -> None:
    model = on_meta(lambda self, x: self.b(self.a(x).relu()))
    x = torch.randn(3, 4, device="meta")
    runs = compare_models(model, prepare_model(model, example_inputs=x), x)
    assert {run["difference"] for run in runs} == {None}
    assert all("shapes and dtypes alone" in run["reason"] for run in runs)


def test_the_second_capture_finds_what_is_frozen() -> None:
    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        return self.a(x) * len([row for row in x])

    prepared, original = prepared_on_meta(forward), made(forward)
    assert "other size" in [capture["reason"] for capture in prepared.report.captures]
    prepared.load_state_dict(original.state_dict(), assign=True)
    try:
        assert prepared(torch.ones(5, 4)).equal(original(torch.ones(5, 4)))
    except _core.AssumptionError as error:
        assert "number of pieces" in str(error)


# --- where the model runs ----------------------------------------------------------------------------------------


def test_the_inputs_are_left_where_they_are() -> None:
    x = torch.randn(3, 4, requires_grad=True)
    before = x.detach().clone()
    prepared = prepare_model(on_meta(by_truth), example_inputs=(x,), example_kwargs={})
    assert x.device.type == "cpu" and x.requires_grad and x.detach().equal(before)
    assert prepared.report.capture == "running"


def test_a_model_of_which_a_part_has_values_keeps_its_inputs() -> None:
    model = made(lambda self, x: self.a(x).relu())
    model.b.to("meta")
    prepared = prepare_model(model, example_inputs=torch.randn(3, 4))
    assert prepared.report.largest_difference == 0.0


def test_the_type_of_the_device_is_the_cpus_and_checked() -> None:
    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        if x.device.type == "meta":
            return self.b(x)
        return self.a(x) * 2 if x.device.type in ("cpu", "mps") else self.a(x)

    prepared, original = prepared_on_meta(forward), made(forward)
    assert "asks where it runs" in prepared.report.not_verified
    prepared.load_state_dict(original.state_dict(), assign=True)
    x = torch.randn(3, 4)
    assert prepared(x).equal(original(x))
    with pytest.raises(_core.AssumptionError, match="a decision on the device"):
        prepared.to("meta")(x.to("meta"))


def test_the_type_of_the_device_is_handed_on() -> None:
    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast(x.device.type, torch.bfloat16):
            return self.a(x)

    prepared, original = prepared_on_meta(forward), made(forward)
    prepared.load_state_dict(original.state_dict(), assign=True)
    x = torch.randn(3, 4)
    assert prepared(x).dtype == torch.bfloat16
    assert prepared(x).equal(original(x))


def test_whether_a_tensor_is_on_meta_is_a_decision() -> None:
    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        return self.a(x) if x.is_meta else self.b(x)

    prepared, original = prepared_on_meta(forward), made(forward)
    prepared.load_state_dict(original.state_dict(), assign=True)
    x = torch.randn(3, 4)
    assert prepared(x).equal(original(x))


def test_state_is_followed_as_nobody_knows_that_it_changes_nothing() -> None:
    class Averages(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(4, 4)
            self.before = torch.zeros(3, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.before = self.before * 0.5 + x
            return self.a(self.before)

    with torch.device("meta"):
        model = Averages()
    prepared = prepare_model(model, example_inputs=torch.randn(3, 4, device="meta"))
    original = Averages()
    prepared.load_state_dict(original.state_dict(), assign=True)
    prepared.before = torch.zeros(3, 4)
    for _ in range(3):
        x = torch.randn(3, 4)
        assert prepared(x).equal(original(x))


# --- kernels -----------------------------------------------------------------------------------------------------


def stack() -> nn.Module:
    layers = [layer for _ in range(4) for layer in (nn.Linear(512, 512), nn.BatchNorm1d(512), nn.GELU())]
    return nn.Sequential(*layers, nn.Linear(512, 512))


def test_layers_that_are_alike_are_computed_once() -> None:
    texts = {}
    for mode in ("off", "on", "all_invalid"):
        _core.set_stand_ins(mode)
        try:
            with torch.device("meta"):
                model, x = stack(), torch.randn(8, 512)
            report = prepare_model(model, example_inputs=x).report
        finally:
            _core.set_stand_ins("on")
        texts[mode] = (report.shipped, report.assumptions, len(report.captures))
        assert (report.kernels["left_out"] > report.kernels["run"]) is (mode != "off")
        assert report.kernels["with_values"] == {}
    assert texts["off"] == texts["on"] == texts["all_invalid"]


# --- language models ---------------------------------------------------------------------------------------------

SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 50,
}


def llama() -> Any:
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**SMALL)).eval()


def qwen3_moe() -> Any:
    config = transformers.Qwen3MoeConfig(
        **SMALL, head_dim=8, moe_intermediate_size=16, num_experts=4, num_experts_per_tok=2
    )
    return transformers.Qwen3MoeForCausalLM(config).to(torch.bfloat16).eval()  # torch's grouped_mm on meta: no float32


def mixtral_of_small_experts() -> Any:
    config = transformers.MixtralConfig(**SMALL, num_local_experts=4)
    return transformers.MixtralForCausalLM._from_config(config, experts_implementation="batched_mm").eval()


@pytest.mark.parametrize("device", ["meta", "cpu"])
@pytest.mark.parametrize("make", [llama, qwen3_moe, mixtral_of_small_experts])
def test_a_language_model_is_equal_once_loaded(make: Callable[[], Any], device: str) -> None:
    with torch.device("meta"):
        huge = make()
    ids = torch.zeros(2, 8, dtype=torch.long, device=device)
    call = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "use_cache": False}
    prepared = prepare_model(huge, example_kwargs=call)
    assert prepared.report.kept == []
    assert "masking_utils.py" in prepared.report.not_verified

    torch.manual_seed(0)
    original = make()
    prepared.load_state_dict(original.state_dict(), assign=True)
    prepared.model.rotary_emb.inv_freq = original.model.rotary_emb.inv_freq  # in no checkpoint
    for rows, length in ((2, 8), (1, 8), (3, 11)):
        for hidden in (slice(0), slice(0, 3), slice(6, None), slice(None)):
            ids, mask = torch.randint(50, (rows, length)), torch.ones(rows, length, dtype=torch.long)
            mask[0, hidden] = 0
            with torch.no_grad():
                expected = original(input_ids=ids, attention_mask=mask, use_cache=False).logits
                actual = prepared(input_ids=ids, attention_mask=mask, use_cache=False).logits
            assert torch.equal(expected, actual), (rows, length, hidden)


def test_experts_that_are_looped_over_are_refused() -> None:
    config = transformers.MixtralConfig(**SMALL, num_local_experts=4)
    with torch.device("meta"):
        model = transformers.MixtralForCausalLM._from_config(config, experts_implementation="eager").eval()
    ids = torch.zeros(2, 8, dtype=torch.long)
    with pytest.raises(UnsupportedError, match=r"nonzero\(\) at .*modeling_mixtral.py.*model\.layers\.0\.mlp"):
        prepare_model(model, example_kwargs={"input_ids": ids, "use_cache": False})
