"""The reference and limitation cases of the job, by running and without inputs, with the names that they must get."""

import pytest
import torch
from torch import nn

import modulize.nn
import wrapped_models
from fidelity import (
    assert_same,
    assert_same_outputs,
    called_modules,
    check,
    leftovers,
    other_values,
    prepare,
    target_name,
)
from modulize import AssumptionError, prepare_model
from reference_models import (
    ARITHMETIC,
    SPELLINGS,
    AddsInputs,
    AddsToAlias,
    AddsToView,
    ArithmeticOnSizes,
    ChangesInput,
    Custom,
    Defaulted,
    Drops,
    Flagged,
    FunctionalConvolution,
    FunctionalRelus,
    HasCustom,
    OperandOrder,
    Positions,
    Prelu,
    ReluSpellings,
    ReusedLinear,
    ReusedRelu,
    RootOfLength,
    Taken,
)

both_captures = pytest.mark.parametrize("capture", ["run", "symbolic"])


def image(batch=2, channels=3, size=8, seed=0):
    return torch.randn(batch, channels, size, size, generator=torch.Generator().manual_seed(seed))


def called_names(prepared):
    return [target_name(node) for node in prepared.graph.nodes if node.op in ("call_function", "call_method")]


# --- functional to module --------------------------------------------------------------------------------------------


@both_captures
def test_functional_relus_become_three_modules(capture):
    model = FunctionalRelus().eval()
    prepared = check(model, image(), capture)
    assert called_modules(prepared) == ["conv1", "module_relu", "conv2", "module_relu_1", "fc", "module_relu_2"]
    relus = [prepared.module_relu, prepared.module_relu_1, prepared.module_relu_2]
    assert [type(relu) for relu in relus] == [nn.ReLU] * 3
    assert len({id(relu) for relu in relus}) == 3
    assert not any(hasattr(model, name) for name in ("module_relu", "module_relu_1", "module_relu_2"))


@both_captures
def test_every_spelling_of_relu_is_the_same_module(capture):
    prepared = check(ReluSpellings().eval(), torch.randn(2, 4), capture)
    paths = called_modules(prepared)
    assert [path for path in paths if "relu" in path] == ["module_relu", *(f"module_relu_{i}" for i in range(1, 5))]
    assert [path for path in paths if "sub" in path] == ["module_sub", *(f"module_sub_{i}" for i in range(1, 4))]
    assert [path for path in paths if "fc" in path] == ["fc", *(f"module_fc_{i}" for i in range(1, 5))]


@both_captures
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_argument_spelling(spelling, capture):
    function, expected = SPELLINGS[spelling]

    class Spelling(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(6, 6)

        def forward(self, x):
            return function(self.fc(x))

    prepared = check(Spelling().eval(), torch.randn(2, 6), capture)
    path = called_modules(prepared)[-1]
    module = prepared.get_submodule(path)
    assert type(module) is type(expected)
    assert repr(module) == repr(expected)
    assert path == "module_" + spelling.split()[0]


@both_captures
def test_prelu_holds_the_models_own_parameter(capture):
    model = Prelu().eval()
    prepared = check(model, image(), capture)
    assert called_modules(prepared) == ["module_prelu"]
    assert type(prepared.module_prelu) is nn.PReLU
    assert prepared.module_prelu.weight is model.slope
    assert list(prepared.state_dict()) == ["slope"]


@both_captures
def test_functional_convolution_holds_the_models_own_parameters(capture):
    model = FunctionalConvolution().eval()
    prepared = check(model, image(), capture)
    assert called_modules(prepared) == ["module_conv2d", "module_mean", "fc"]
    convolution = prepared.module_conv2d
    assert type(convolution) is nn.Conv2d
    assert convolution.weight is model.w
    assert convolution.bias is model.b
    assert (convolution.stride, convolution.padding) == ((2, 2), (1, 1))
    assert [name for name, _ in prepared.named_parameters()] == ["w", "b", "fc.weight", "fc.bias"]


@both_captures
def test_functional_dropout_stays_live(capture):
    model = Drops().eval()
    prepared = check(model, torch.randn(2, 32), capture)
    assert repr(prepared.module_dropout) == repr(nn.Dropout(0.4))
    x = torch.randn(4, 32)
    outputs = []
    for module in (model.train(), prepared.train()):
        torch.manual_seed(5)
        outputs.append(module(x).detach())
    assert_same(outputs[1], outputs[0])
    assert (outputs[0] == 0).any()


# --- reused module to independent modules ----------------------------------------------------------------------------


@both_captures
def test_reused_relu_becomes_three_objects(capture):
    prepared = check(ReusedRelu().eval(), image(), capture)
    assert called_modules(prepared) == ["conv1", "relu", "conv2", "module_relu_1", "fc", "module_relu_2"]
    relus = [prepared.relu, prepared.module_relu_1, prepared.module_relu_2]
    assert [type(relu) for relu in relus] == [nn.ReLU] * 3
    assert len({id(relu) for relu in relus}) == 3


@both_captures
def test_reused_linear_shares_its_parameters(capture):
    model = ReusedLinear().eval()
    prepared = check(model, torch.randn(2, 6), capture)
    assert called_modules(prepared) == ["fc", "module_tanh", "module_fc_1"]
    assert prepared.module_fc_1 is not prepared.fc
    assert prepared.module_fc_1.weight is prepared.fc.weight is model.fc.weight


@both_captures
def test_blocks_of_a_residual_network_get_the_same_names(capture):
    torchvision = pytest.importorskip("torchvision")
    prepared = check(torchvision.models.resnet18().eval(), image(size=32), capture)
    paths = called_modules(prepared)
    for block in ("layer1.0", "layer1.1", "layer4.1"):
        inside = [path.removeprefix(block + ".") for path in paths if path.startswith(block + ".")]
        assert inside == ["conv1", "bn1", "relu", "conv2", "bn2", "module_add", "module_relu_1"]
    assert type(prepared.get_submodule("layer1.0.module_add")) is modulize.nn.Add
    assert paths[-3:] == ["layer4.1.module_relu_1", "avgpool", "fc"]


@both_captures
def test_a_taken_name_counts_up_and_nothing_is_overwritten(capture):
    model = Taken().eval()
    prepared = check(model, torch.randn(2, 4), capture)
    assert type(prepared.module_relu) is nn.Linear
    assert called_modules(prepared) == ["module_relu", "module_relu_1"]
    assert type(prepared.module_relu_1) is nn.ReLU


# --- elementwise operation to module ---------------------------------------------------------------------------------


@both_captures
def test_addition_of_star_inputs(capture):
    model = AddsInputs().eval()
    before = (image(), image(seed=1))
    prepared = prepare(model, before, capture)
    assert sorted(called_modules(prepared)) == ["conv1", "conv2", "module_add"]
    assert type(prepared.module_add) is modulize.nn.Add
    assert not leftovers(prepared, *before)
    assert_same_outputs(prepared, model, before)
    assert_same_outputs(prepared, model, other_values(before, 2, batch=5))


@both_captures
@pytest.mark.parametrize("spelling", ARITHMETIC)
def test_arithmetic_becomes_a_module(spelling, capture):
    function, name = ARITHMETIC[spelling]

    class Arithmetic(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(6, 6)
            self.b = nn.Linear(6, 6)

        def forward(self, x):
            return function(self.a(x), self.b(x))

    prepared = check(Arithmetic().eval(), torch.randn(2, 6), capture)
    assert called_modules(prepared)[-1] == name
    assert [path for path in called_modules(prepared) if path.startswith("module_")] == [name]


@both_captures
def test_operand_order_and_scalars(capture):
    prepared = check(OperandOrder().eval(), (torch.rand(2, 4) + 1, torch.rand(2, 4) + 1), capture)
    paths = called_modules(prepared)
    assert paths == [
        "module_sub",
        "module_sub_1",
        "module_div",
        "module_div_1",
        "module_sub_2",
        "module_mul",
        "module_mul_1",
        "module_pow",
        "module_pow_1",
    ]


@both_captures
def test_in_place_addition_reaches_the_alias(capture):
    prepared = check(AddsToAlias().eval(), torch.randn(2, 4), capture)
    assert [path for path in called_modules(prepared) if path.startswith("module_")] == ["module_add", "module_mul"]


@both_captures
def test_in_place_addition_reaches_a_view(capture):
    check(AddsToView().eval(), torch.randn(2, 4), capture)


@both_captures
def test_in_place_change_of_an_input_reaches_the_caller(capture):
    check(ChangesInput().eval(), torch.randn(2, 4), capture)  # compares the inputs after the call too


@both_captures
def test_arithmetic_on_sizes_stays_a_number(capture):
    prepared = check(ArithmeticOnSizes().eval(), torch.randn(2, 6), capture)
    assert called_modules(prepared) == ["fc", "module_mul"]


# --- the limitations of torch.fx -------------------------------------------------------------------------------------


@pytest.mark.parametrize("flag", [True, False])
@both_captures
def test_limitation_1_control_flow_by_concrete_args(capture, flag):
    model = Flagged().eval()
    prepared = prepare(model, image(), capture, concrete_args={"flag": flag})
    assert called_modules(prepared) == ["conv", "module_relu" if flag else "module_sigmoid"]
    x = image(batch=3, seed=1)
    expected = model(x, flag).detach()
    for got in (prepared(x), prepared(x, flag), prepared(x, flag=flag), prepared(flag=flag, x=x)):
        assert_same(got.detach(), expected)
    with pytest.raises(AssumptionError, match="flag"):
        prepared(x, not flag)
    with pytest.raises(AssumptionError, match="flag"):
        prepared(x, flag=not flag)


def test_limitation_1_a_flag_given_with_the_example_is_specialised():
    model = Flagged().eval()
    prepared = prepare_model(model, example_inputs=image(), example_kwargs={"flag": False})
    x = image(batch=3, seed=1)
    assert called_modules(prepared) == ["conv", "module_sigmoid"]
    assert_same(prepared(x, flag=False).detach(), model(x, False).detach())
    with pytest.raises(AssumptionError, match="flag"):
        prepared(x, flag=True)


def test_limitation_1_a_default_flag_is_fixed_without_inputs():
    model = Defaulted().eval()
    prepared = prepare_model(model)
    assert called_modules(prepared) == ["conv", "module_sigmoid"]
    assert_same(prepared(image()).detach(), model(image()).detach())
    with pytest.raises(AssumptionError, match="flag"):
        prepared(image(), True)


def test_limitation_1_a_wrapped_function_is_one_node_without_inputs():
    model = wrapped_models.CallsWrappedFunction().eval()
    inputs = (image(), image(seed=1))
    prepared = check(model, inputs, "symbolic", allowed=["loop_and_multiply"])
    assert called_names(prepared) == ["loop_and_multiply"]
    assert any("loop_and_multiply" in str(entry) for entry in prepared.report.kept)


def test_limitation_1_a_wrapped_function_is_traced_through_with_inputs():
    prepared = check(wrapped_models.CallsWrappedFunction().eval(), (image(), image(seed=1)))
    assert [path for path in called_modules(prepared) if path.startswith("module_")] == [
        "module_add",
        "module_add_1",
        "module_add_2",
        "module_add_3",
        "module_mul",
        "module_mul_1",
        "module_add_4",
    ]
    assert "loop_and_multiply" not in called_names(prepared)


@both_captures
def test_limitation_1_an_excluded_function_is_one_node(capture):
    prepared = check(
        wrapped_models.CallsWrappedFunction().eval(),
        (image(), image(seed=1)),
        capture,
        functions_to_exclude=[wrapped_models.loop_and_multiply],
        allowed=["loop_and_multiply"],
    )
    assert called_names(prepared) == ["loop_and_multiply"]


@both_captures
def test_limitation_2_wrapped_number_functions(capture):
    model = wrapped_models.DividesByRootOfLength().eval()
    wrapped = ["len", "sqrt"] if capture == "symbolic" else []
    prepared = check(model, torch.randn(4, 8), capture, other_batch=9, allowed=wrapped)
    assert called_modules(prepared) == ["fc", "module_div"]


@both_captures
def test_limitation_2_math_by_attribute(capture):
    check(wrapped_models.RootByModule().eval(), torch.randn(4, 8), capture, other_batch=9)


def test_limitation_2_with_inputs_nothing_needs_wrapping():
    prepared = check(RootOfLength().eval(), torch.randn(4, 8), other_batch=9)
    assert called_modules(prepared) == ["fc", "module_div"]


@both_captures
def test_limitation_3_an_excluded_module_is_left_alone(capture):
    model = HasCustom().eval()
    prepared = prepare(model, image(), capture, modules_to_exclude=[model.custom])
    assert called_modules(prepared) == ["conv", "custom"]
    assert type(prepared.custom) is Custom
    assert_same_outputs(prepared, model, (image(batch=3, seed=1),))


@both_captures
def test_limitation_3_an_excluded_class_is_left_alone(capture):
    model = HasCustom().eval()
    prepared = prepare(model, image(), capture, module_classes_to_exclude=[Custom])
    assert called_modules(prepared) == ["conv", "custom"]
    assert_same_outputs(prepared, model, (image(batch=3, seed=1),))


@both_captures
def test_limitation_3_a_subclass_of_an_excluded_class_is_traced(capture):
    class Subclass(Custom):
        pass

    model = HasCustom().eval()
    model.custom = Subclass().eval()
    prepared = check(model, image(), capture, module_classes_to_exclude=[Custom])
    assert called_modules(prepared) == ["conv", "custom.module_softplus", "custom.module_sigmoid", "custom.module_mul"]


@both_captures
def test_limitation_3_without_exclusion_its_operations_become_modules(capture):
    prepared = check(HasCustom().eval(), image(), capture)
    assert called_modules(prepared) == ["conv", "custom.module_softplus", "custom.module_sigmoid", "custom.module_mul"]
    assert type(prepared.get_submodule("custom.module_softplus")) is nn.Softplus


@both_captures
def test_limitation_4_a_constructor_follows_the_input(capture):
    prepared = check(Positions().eval(), torch.randn(4, 8), capture, other_batch=9)
    assert "arange" in called_names(prepared)
    assert called_modules(prepared) == ["fc", "module_add"]
    moved = prepared.to("meta")(torch.empty(5, 8, device="meta"))
    assert moved.device.type == "meta"
    assert moved.shape == (5, 4)


def test_limitation_4_a_constructor_in_a_wrapped_function():
    model = wrapped_models.WrappedPositions().eval()
    by_running = check(model, torch.randn(4, 8), other_batch=9)
    assert "arange" in called_names(by_running)
    assert called_modules(by_running) == ["fc", "module_add"]
    symbolic = check(model, torch.randn(4, 8), "symbolic", other_batch=9, allowed=["add_positions"])
    assert called_names(symbolic) == ["add_positions"]


# --- both captures agree ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model_class", [FunctionalRelus, ReusedRelu, HasCustom])
def test_names_are_the_same_in_both_captures(model_class):
    model = model_class().eval()
    by_running = prepare(model, image())
    symbolic = prepare(model, image(), "symbolic")
    assert called_modules(by_running) == called_modules(symbolic)
    assert [name for name, _ in by_running.named_modules()] == [name for name, _ in symbolic.named_modules()]


@both_captures
def test_two_preparations_give_the_same_code(capture):
    model = HasCustom().eval()
    assert prepare(model, image(), capture).code == prepare(model, image(), capture).code
