"""Scripts written for AIMET's preparer, run as they are and with the import line changed alone."""

from __future__ import annotations

import logging
import runpy
from pathlib import Path

import pytest
import torch

from test_aimet import assert_close

logging.getLogger("Quant").setLevel(logging.WARNING)

THEIRS = "from aimet_torch.model_preparer import prepare_model\n"
OURS = "from modulize.aimet import prepare_model\n"
SCRIPTS = sorted((Path(__file__).parent / "aimet_scripts").glob("*.py"))

# By script: the modules that are ours alone, of what AIMET leaves as functions and of the opened attention.
ATTENTION = "module_scaled_dot_product_attention"
OURS_ALONE = {
    "left": {
        "module_hardswish": "Hardswish",
        "module_linear": "Linear",
        "module_abs_1": "Abs",
        "module_sqrt": "Sqrt",
        "module_neg": "Neg",
        "module_clamp": "Clamp",
        "module_matmul": "MatMul",
        "module_mul_1": "Multiply",
        "module_softmax": "Softmax",
        ATTENTION: "MatMul",
    }
}
OPENED = {ATTENTION: "ScaledDotProductAttention"}


def run(source, path):
    path.write_text(source)
    torch.manual_seed(0)
    return runpy.run_path(str(path))


def calls(prepared):
    """Class by path of every module that the graph calls, in order."""
    modules = dict(prepared.named_modules())
    return {
        node.target: type(modules[node.target]).__name__ for node in prepared.graph.nodes if node.op == "call_module"
    }


def without(alone, made):
    return [call for call in made.items() if call not in alone.items()]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_runs_with_the_import_line_changed_alone(script, tmp_path):
    source = script.read_text()
    assert source.count(THEIRS) == 1
    assert "modulize" not in source
    theirs = run(source, tmp_path / "theirs.py")
    ours = run(source.replace(THEIRS, OURS), tmp_path / "ours.py")
    alone = OURS_ALONE.get(script.stem, {})
    made = calls(ours["prepared_model"])
    assert without(alone, made) == without(OPENED, calls(theirs["prepared_model"]))
    assert alone.items() <= made.items()
    assert_close(theirs["outputs"], ours["outputs"])


NAMED = [
    "ConcatModel",
    "ConfigurableTupleOutputModel",
    "DictInputModel",
    "Float32AndInt64InputModel",
    "HierarchicalModel",
    "InputOutputDictModel",
    "LSTMModel",
    "LinearAndLSTMModel",
    "ModelWithDropouts",
    "ModelWithDuplicateReLU",
    "ModelWithFunctionalReLU",
    "ModelWithReusedNodes",
    "ModelWithTransposeConv",
    "ModelWithTwoInputs",
    "ModuleListModel",
    "MultiConv2dModel",
    "MultiInput",
    "MultiOutputModel",
    "NestedModel",
    "NestedSequentialModel",
    "PassThroughOpLastLayerModel",
    "QuantSimTinyModel",
    "SequentialModel",
    "SingleResidual",
    "SingleResidualWithAvgPool",
    "SingleResidualWithModuleAdd",
    "TinyModel",
    "TransposedConvModel",
    "TupleOutputModel",
    "TwoLayerBidirectionalLSTMModel",
]


@pytest.mark.parametrize("name", NAMED)
def test_names_and_classes_of_the_models_that_aimet_tests_itself_with(name):
    import aimet_torch.examples.test_models as models
    from aimet_torch import model_preparer

    from modulize.aimet import prepare_model

    model = getattr(models, name)().eval()
    ours = prepare_model(model)
    assert list(calls(ours).items()) == list(calls(model_preparer.prepare_model(model)).items())
