"""layout_modules=True: operations that only move values become modules as well."""

import re

import pytest
import torch
import torchvision

import modulize
import modulize._core as core
import op_rows
from test_ops_rows import call_text

ROWS = op_rows.table()["layout"]
PASSIVE = {row["call"] for row in op_rows.table()["passive"]}
CASES = [
    pytest.param(row, spelling, style, id=f"{spelling['call']}-{style}")
    for row in ROWS
    for spelling in row["spellings"]
    for style in ("positional", "keyword")
]


@pytest.mark.parametrize(("row", "spelling", "style"), CASES)
def test_module_does_what_the_call_does(row, spelling, style):
    torch.manual_seed(0)
    text = op_rows.Text()
    text.adopted = set()
    before = text.graph(call_text(text, spelling, dict(op_rows.bind_sample(row)), style))
    after = str(core.pipeline(core.graph_from_text(before), layout_modules=True))
    expected, _ = op_rows.interpret(before, text.inputs, {})
    result, modules = op_rows.interpret(after, text.inputs, {})
    assert [type(module) for module in modules.values()] == [op_rows.resolve(row["module"])], after
    assert op_rows.same(expected, result), f"{before}\n{after}"


def test_every_call_is_one_that_stays_otherwise():
    assert {s["call"] for row in ROWS for s in row["spellings"]} <= PASSIVE


def both_captures(model, inputs, **options):
    return [
        modulize.prepare_model(model, example_inputs=inputs, **options),
        modulize.prepare_model(model, **options),
    ]


def module_names(prepared):
    return [name for name, _ in prepared.named_modules()]


LAYOUT = {spelling["call"].removeprefix("torch.Tensor.") for row in ROWS for spelling in row["spellings"]}


def calls_left(prepared):
    """Layout operations among the graph's calls; items are of tuples and sizes."""
    return [
        call
        for call in re.findall(r"call_(?:method|function) ([\w.]+)", prepared.report.shipped)
        if call in LAYOUT and call != "operator.getitem"
    ]


class Blocks(torch.nn.Module):
    def forward(self, x):
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous()
        x = torch.flatten(x, 1, 2)
        a, b = x.chunk(2, dim=1)
        return torch.cat([b, a[:, :, 1:].permute(0, 1, 3, 2).reshape(n, -1, h - 1, w)], 2)[0]


def test_names_are_the_fields():
    x = torch.randn(2, 4, 3, 3)
    model = Blocks()
    for prepared in both_captures(model, x, layout_modules=True):
        types = {name: type(module).__name__ for name, module in prepared.named_children()}
        assert types == {
            "module_view": "View",
            "module_transpose": "Transpose",
            "module_flatten": "Flatten",
            "module_chunk": "Chunk",
            "module_getitem": "GetItem",
            "module_permute": "Permute",
            "module_reshape": "Reshape",
            "module_cat": "Concat",
            "module_getitem_1": "GetItem",
        }
        assert torch.equal(prepared(x), model(x))
        assert calls_left(prepared) == []


def test_without_the_option_they_stay():
    prepared = modulize.prepare_model(Blocks(), example_inputs=torch.randn(2, 4, 3, 3))
    assert [name for name, _ in prepared.named_children()] == ["module_cat"]


@pytest.mark.parametrize(
    "build", [torchvision.models.shufflenet_v2_x0_5, torchvision.models.swin_t], ids=lambda b: b.__name__
)
def test_networks_stay_equal(build):
    torch.manual_seed(0)
    model = build().eval()
    x = torch.randn(1, 3, 64, 64)
    running = modulize.prepare_model(model, example_inputs=x, layout_modules=True)
    assert torch.equal(running(x), model(x))
    assert calls_left(running) == []
    symbolic = modulize.prepare_model(model, layout_modules=True)
    assert torch.equal(symbolic(x), model(x))
    assert calls_left(symbolic) == []
    if build is not torchvision.models.swin_t:  # its attention is under torch.fx.wrap: one node without inputs
        assert module_names(symbolic) == module_names(running)
