"""Everything that torch computes has its place in the op table: a row, or a reason to stay a call."""

import inspect
import operator
import warnings

import pytest
import torch
import torch.nn.functional
import torch.overrides

import modulize
import modulize._core as core
import op_rows

# Whose names a call goes by, first come first served: as the captures spell it.
NAMESPACES = (
    "torch.Tensor",
    "torch.nn.functional",
    "torch",
    "torch.special",
    "torch.linalg",
    "torch.fft",
    "torch.nn.init",
    "torch.functional",
    "torch.nn.utils.rnn",
)
# Namespaces that must be covered to the last public function.
WHOLE = ("torch.nn.functional", "torch.special", "torch.linalg", "torch.fft", "operator")
# Found in these namespaces, and no operations on tensors.
NOT_OPERATIONS = {
    "torch.autocast",  # a context manager
    "torch.nn.functional.Optional",  # typing
    "torch.nn.functional.assert_int_or_pair",  # checks of arguments, and torch's own dispatching
    "torch.nn.functional.boolean_dispatch",
    "torch.nn.functional.handle_torch_function",
    "torch.nn.functional.has_torch_function",
    "torch.nn.functional.has_torch_function_unary",
    "torch.nn.functional.has_torch_function_variadic",
}
# Attributes are read, written and deleted by these, whatever their names.
ATTRIBUTES = {"__get__": "builtins.getattr", "__set__": "builtins.setattr", "__delete__": "builtins.delattr"}


def space(qualified):
    return {"torch": torch, "operator": operator}.get(qualified) or op_rows.resolve(qualified)


def is_function(value):
    return callable(value) and not isinstance(value, type) and not inspect.ismodule(value)


def spelled_names():
    """id of a callable -> the name of its calls."""
    names = {}
    for qualified in NAMESPACES:
        for name in dir(space(qualified)):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # deprecated names warn when they are read
                value = getattr(space(qualified), name, None)
            if is_function(value):
                names.setdefault(id(value), f"{qualified}.{name}")
    return names


def spelled(function, names):
    if id(function) in names:
        return names[id(function)]
    kind = getattr(function, "__name__", "")
    if kind in ATTRIBUTES and type(function).__name__ == "method-wrapper":
        return ATTRIBUTES[kind]
    return torch.overrides.resolve_name(function) or f"{function.__module__}.{function.__qualname__}"


def all_operations():
    """Names of everything that a call can be recorded of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        functions = [*torch.overrides.get_testing_overrides()]
        for found in torch.overrides.get_overridable_functions().values():
            functions += found
    names = spelled_names()
    operations = {spelled(function, names) for function in functions}
    for qualified in WHOLE:
        for name in dir(space(qualified)):
            value = getattr(space(qualified), name)
            if not name.startswith("_") and is_function(value):
                operations.add(names.get(id(value), f"{qualified}.{name}"))
    return operations - NOT_OPERATIONS


ROWS = op_rows.table()["rows"]
PASSIVE = op_rows.table()["passive"]
MAPPED = {spelling["call"] for row in ROWS for spelling in row["spellings"]}
REASONS = {row["call"]: row["reason"] for row in PASSIVE}


def test_every_operation_is_mapped_or_has_its_reason():
    operations = all_operations()
    assert len(operations) > 1300
    assert sorted(operations - MAPPED - REASONS.keys()) == []


def test_a_row_that_is_missing_is_named():
    """As the test above would, after somebody removed the row."""
    operations, missing = all_operations(), 0
    for row in ROWS:
        spellings = {spelling["call"] for spelling in row["spellings"]}
        others = {spelling["call"] for other in ROWS if other is not row for spelling in other["spellings"]}
        # The spellings of torch.ops have no list of torch's to be looked for in.
        if spellings & operations:
            assert spellings & operations - others - REASONS.keys(), row["call"]
            missing += 1
    assert missing > 300


def test_every_reason_is_a_text():
    assert not [call for call, reason in REASONS.items() if not reason]


# --- operators of torch.ops -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "module"),
    [
        ("torch.ops.aten.sigmoid(%x)", "torch.nn.Sigmoid()"),
        ("torch.ops.aten.sigmoid.default(%x)", "torch.nn.Sigmoid()"),
        ("torch.ops.aten.mul.Tensor(%x, %y)", "modulize.nn.Multiply()"),
        ("torch.ops.aten.add.Tensor(self=%x, other=%y, alpha=2)", "modulize.nn.Add()"),
        ("torch.ops.aten.softmax.int(%x, -1)", "torch.nn.Softmax(dim=-1)"),
        ("torch.ops.aten.gelu.default(%x, approximate='tanh')", "torch.nn.GELU(approximate='tanh')"),
        ("torch.ops.aten.special_erf.default(%x)", "modulize.nn.Erf()"),
        ("torch.ops.aten.linalg_inv.default(%x)", "modulize.nn.Inv()"),
        ("torch.ops.aten.mean.dim(%x, [1], keepdim=True)", "modulize.nn.Mean()"),
    ],
)
def test_operators_of_aten_share_the_rows(call, module):
    text = (
        'graph net {\n  module "" = existing net.Net\n  %x: tensor = placeholder x\n  %y: tensor = placeholder y\n'
        f"  %result = call_function {call}\n  output %result\n}}\n"
    )
    after = str(core.pipeline(core.graph_from_text(text)))
    assert f"= {module} for" in after, after


@pytest.mark.parametrize(
    "call",
    [
        "torch.ops.aten.mse_loss.default(%x, %y, 2)",
        "torch.ops.aten.elu.default(%x, 1.0, 2.0)",
        "torch.ops.aten.stft(%x, 4)",
    ],
)
def test_operators_with_arguments_of_their_own_stay(call):
    text = (
        'graph net {\n  module "" = existing net.Net\n  %x: tensor = placeholder x\n  %y: tensor = placeholder y\n'
        f"  %result = call_function {call}\n  output %result\n}}\n"
    )
    assert "for" not in str(core.pipeline(core.graph_from_text(text)))


class WithOperators(torch.nn.Module):
    def forward(self, x):
        x = torch.ops.aten.mul.Tensor(torch.ops.aten.sigmoid(x), x)
        return torch.ops.aten.add_.Tensor(x, 1)


def test_a_model_written_in_operators_becomes_modules():
    x = torch.randn(2, 3)
    model = WithOperators()
    prepared = modulize.prepare_model(model, example_inputs=x)
    assert [name for name, _ in prepared.named_children()] == ["module_sigmoid", "module_mul", "module_add"]
    assert torch.equal(prepared(x), model(x))
    assert not prepared.report.leftovers


# --- calls that compute and stay --------------------------------------------------------------------------------------


class Recurrent(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = torch.nn.GRUCell(3, 4)

    def forward(self, x, h):
        cell = self.cell
        return torch.gru_cell(x, h, cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh)


def test_a_recurrent_function_stays_and_is_named():
    inputs = torch.randn(2, 3), torch.randn(2, 4)
    model = Recurrent()
    prepared = modulize.prepare_model(model, example_inputs=inputs)
    assert [leftover["call"] for leftover in prepared.report.leftovers] == ["torch.gru_cell"]
    assert torch.equal(prepared(*inputs), model(*inputs))
