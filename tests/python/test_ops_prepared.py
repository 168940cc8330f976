"""Every row of the op table through prepare_model: captured both ways, converted, run, differentiated."""

import operator

import pytest
import torch

import modulize
import op_rows

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

ROWS = op_rows.table()["rows"]


class Model(torch.nn.Module):
    """One call of a row's sample; tensors are inputs, all else stands in the source."""

    def __init__(self, row, spelling):
        super().__init__()
        arguments = op_rows.bind_sample(row)
        if row["mode"]:
            arguments[row["mode"]] = False
        tensors = []

        def code(value):
            if isinstance(value, torch.Tensor):
                tensors.append(value)
                return f"inputs[{len(tensors) - 1}]"
            if isinstance(value, (list, tuple)):
                inside = "".join(code(v) + ", " for v in value)
                return f"[{inside}]" if isinstance(value, list) else f"({inside})"
            return repr(value)

        parts = []
        positional = True
        for parameter in spelling["parameters"]:
            name, kind = parameter["of"], parameter["kind"]
            if name not in arguments:
                positional = False
                continue
            if kind == "var_positional":
                parts += [code(v) for v in arguments[name]]
            elif kind == "var_keyword":
                parts += [f"{key}={code(v)}" for key, v in arguments[name].items()]
            elif kind == "normal" and positional:
                parts.append(code(arguments[name]))
            else:
                parts.append(f"{parameter['name']}={code(arguments[name])}")
        call = spelling["call"]
        if call.startswith("torch.Tensor."):
            first, *parts = parts
            call = f"{first}.{call.removeprefix('torch.Tensor.')}"
        source = f"lambda inputs: {call}({', '.join(parts)})".replace("builtins.", "")
        self.source = source
        self.call = eval(source, {"torch": torch, "operator": operator})
        self.example = tuple(tensors)

    def forward(self, *inputs):
        return self.call(inputs)


def model_of(row, spelling):
    torch.manual_seed(0)
    return Model(row, spelling).eval()


def first_spellings(row):
    """The row's own spelling, its method and its operator: what models write."""
    kinds = {}
    for spelling in row["spellings"]:
        if spelling["writes_first"] or (spelling["call"].endswith("__") and "operator" not in spelling["call"]):
            continue
        kinds.setdefault(spelling["call"].rpartition(".")[0], spelling)
    return [kinds[kind] for kind in kinds if kind != "torch.special"]


CASES = [
    pytest.param(row, spelling, id=f"{row['call']}-{spelling['call']}")
    for row in ROWS
    if not row["call"].startswith("modulize.")  # what passes write; in a model's forward they are traced through
    for spelling in first_spellings(row)
]


def run(model, inputs):
    torch.manual_seed(1)
    return model(*inputs)


def check(model, prepared, inputs):
    copies = [[t.clone() for t in inputs] for _ in range(2)]
    assert op_rows.same(run(model, copies[0]), run(prepared, copies[1])), model.source
    assert op_rows.same(*copies), f"inputs differ after {model.source}"


def gradients(model, inputs):
    """The gradient of every input, or what torch says instead of one."""
    inputs = [t.clone().requires_grad_(t.is_floating_point()) for t in inputs]
    try:
        result = run(model, inputs)
        results = result if isinstance(result, (tuple, list)) else [result]
        total = sum(r.abs().sum() for r in results if isinstance(r, torch.Tensor) and r.grad_fn is not None)
        if isinstance(total, torch.Tensor):
            total.backward()
    except RuntimeError as error:
        return str(error)
    return [t.grad if t.grad is not None else 0 for t in inputs]


@pytest.mark.parametrize(("row", "spelling"), CASES)
def test_captured_by_running(row, spelling):
    model = model_of(row, spelling)
    prepared = modulize.prepare_model(model, example_inputs=model.example, verify=False)
    assert len(list(prepared.children())) == 1, prepared.code
    check(model, prepared, model.example)
    if not row["effect"]:
        assert op_rows.same(gradients(model, model.example), gradients(prepared, model.example))


@pytest.mark.parametrize(("row", "spelling"), CASES)
def test_names_are_the_same_captured_symbolically(row, spelling):
    model = model_of(row, spelling)
    names = [
        [name for name, _ in prepared.named_modules()]
        for prepared in (
            modulize.prepare_model(model, example_inputs=model.example, verify=False),
            modulize.prepare_model(model),
        )
    ]
    assert names[0] == names[1]
    check(model, modulize.prepare_model(model), model.example)
