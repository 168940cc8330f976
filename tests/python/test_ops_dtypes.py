"""Every row of the op table on every dtype that the function takes: values and gradients, spellings in turn."""

import zlib

import pytest
import torch

import modulize._core as core
import op_rows
from test_ops_rows import call_text

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

ROWS = op_rows.table()["rows"]
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.int32)


def converted(value, dtype):
    if isinstance(value, (list, tuple)):
        return type(value)(converted(v, dtype) for v in value)
    if not isinstance(value, torch.Tensor) or not value.is_floating_point():
        return value
    return value.to(dtype) if dtype.is_floating_point else torch.randint(1, 5, value.shape, dtype=dtype)


def arguments_of(row, spelling, dtype):
    torch.manual_seed(zlib.crc32(f"{row['call']} {dtype}".encode()))
    known = {p["of"] for p in spelling["parameters"]}
    arguments = {n: converted(v, dtype) for n, v in op_rows.bind_sample(row).items() if n in known}
    if "__r" in spelling["call"] and row["call"] != "torch.matmul":
        # Python asks the reflected operator only where the left operand is no tensor.
        arguments["exponent" if row["call"] == "torch.pow" else "other"] = arguments["input"]
        arguments["input"] = 3 if not dtype.is_floating_point else 1.5
    if row["mode"] in known:
        arguments[row["mode"]] = True
    return arguments


def run(source, tensors, differentiate=True):
    """(outputs, inputs afterwards, gradients), or the type of what was raised."""
    torch.manual_seed(1)
    leaves = {name: tensor.detach().clone() for name, tensor in tensors.items()}
    for leaf in leaves.values():
        leaf.requires_grad_(differentiate and (leaf.is_floating_point() or leaf.is_complex()))
    inputs = {name: leaf.clone() for name, leaf in leaves.items()}
    try:
        result, _ = op_rows.interpret(source, inputs, {}, training=True)
    except Exception as error:  # whatever eager raises, the module must raise
        # Some arguments may not require a gradient: targets, running statistics.
        return run(source, tensors, differentiate=False) if differentiate else type(error)
    results = result if isinstance(result, (tuple, list)) else [result]
    total = [r.abs().float().sum() for r in results if isinstance(r, torch.Tensor) and r.grad_fn is not None]
    try:
        if total:
            sum(total).backward()
    except (RuntimeError, NotImplementedError) as error:
        return result, inputs, type(error)
    return result, inputs, [leaf.grad if leaf.grad is not None else 0 for leaf in leaves.values()]


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))
@pytest.mark.parametrize("index", range(len(ROWS)), ids=lambda index: ROWS[index]["call"])
def test_module_takes_the_dtypes_of_the_function(index, dtype):
    row = ROWS[index]
    spellings = row["spellings"]
    spelling = spellings[(index + DTYPES.index(dtype)) % len(spellings)]
    text = op_rows.Text(training=True)
    text.adopted = set()
    before = text.graph(call_text(text, spelling, arguments_of(row, spelling, dtype), "positional"))
    after = str(core.pipeline(core.graph_from_text(before)))
    assert "= call_module" in after, after
    expected, result = run(before, text.inputs), run(after, text.inputs)
    if isinstance(expected, type):
        # In place, an integer cannot hold what the out-of-place module computes: only eager says so.
        assert result is expected or spelling["writes_first"], f"{before}\n{after}"
        pytest.skip(f"{spelling['call']} does not take {dtype}")
    assert not isinstance(result, type), f"{result}\n{before}\n{after}"
    assert op_rows.same(expected[0], result[0]), f"{before}\n{after}"
    assert op_rows.same(list(expected[1].values()), list(result[1].values())), f"inputs differ\n{before}\n{after}"
    if isinstance(expected[2], type):
        return  # eager has no gradient
    if spelling["writes_first"] and result[2] is RuntimeError:
        return  # docs/limitations.md: the value that the gradient needs was written over
    assert not isinstance(result[2], type), f"{result[2]}\n{before}\n{after}"
    assert op_rows.same(expected[2], result[2]), f"gradients differ\n{before}\n{after}"


def test_few_are_skipped_for_floats():
    """Skips are where eager refuses, and for float32 that is nowhere."""
    refused = []
    for index, row in enumerate(ROWS):
        spelling = row["spellings"][index % len(row["spellings"])]
        text = op_rows.Text(training=True)
        text.adopted = set()
        before = text.graph(call_text(text, spelling, arguments_of(row, spelling, torch.float32), "positional"))
        if isinstance(run(before, text.inputs), type):
            refused.append(spelling["call"])
    assert refused == []
