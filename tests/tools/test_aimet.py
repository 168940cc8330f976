"""AIMET on prepared networks: simulation, validator, its other algorithms, and the names of its own preparer."""

from __future__ import annotations

import copy
import logging
import os

import aimet_torch.model_preparer
import pytest
import torch
import torch.nn.functional as F
from aimet_torch.adaround.adaround_weight import Adaround, AdaroundParameters
from aimet_torch.batch_norm_fold import fold_all_batch_norms
from aimet_torch.cross_layer_equalization import equalize_model
from aimet_torch.model_validator.model_validator import ModelValidator
from aimet_torch.nn import BaseQuantizationMixin
from aimet_torch.quantsim import QuantizationSimModel
from aimet_torch.seq_mse import apply_seq_mse
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from modulize.aimet import prepare_model
from networks import NETWORKS, build

logging.getLogger("Quant").setLevel(logging.WARNING)

# Operations that AIMET's default configuration gives no output quantizer of their own: the range of their input holds,
# the next operation has it (convolution, batch norm and activation are one), or they look up quantized parameters.
WITHOUT_OWN_QUANTIZER = {
    "QuantizedMaxPool2d",
    "QuantizedDropout",
    "Identity",  # AIMET ignores the class
    "QuantizedEmbedding",
    "QuantizedFlatten",
    "QuantizedInterpolate",
    "QuantizedUpsample",
    "QuantizedPad",
}
FUSED_WITH_NEXT = {"QuantizedConv2d", "QuantizedBatchNorm2d", "QuantizedBatchNorm1d", "QuantizedLinear", "QuantizedAdd"}


def simulate(prepared, inputs):
    sim = QuantizationSimModel(prepared, dummy_input=inputs)
    sim.compute_encodings(lambda model: model(*inputs))
    return sim


def tensors(value):
    if isinstance(value, torch.Tensor):
        return [value]
    items = value.values() if isinstance(value, dict) else value
    return [tensor for item in items for tensor in tensors(item)]


def assert_close(expected, actual):
    for e, a in zip(tensors(expected), tensors(actual), strict=True):
        torch.testing.assert_close(a, e, rtol=1e-3, atol=1e-4 * e.abs().max().item() + 1e-6)


def is_number(value):
    return not isinstance(value, torch.fx.Node) or str(value.target).startswith(("<built-in", "operator", "math"))


def floating_modules(prepared, inputs):
    """The modules whose result is a floating-point tensor."""
    found = set()

    def note(module, _, output):
        if isinstance(output, torch.Tensor) and output.is_floating_point():
            found.add(module)

    hooks = [module.register_forward_hook(note) for module in prepared.modules()]
    prepared(*inputs)
    for hook in hooks:
        hook.remove()
    return found


def modules_without_quantizer(prepared, sim, inputs):
    """Paths of floating-point computations whose result nothing quantizes."""
    modules = dict(sim.model.named_modules())
    floating = floating_modules(prepared, inputs)
    lone = []
    for node in prepared.graph.nodes:
        if node.op != "call_module" or prepared.get_submodule(node.target) not in floating:
            continue
        module = modules[node.target]
        children = [child for child in module.modules() if isinstance(child, BaseQuantizationMixin)]
        kind = type(module).__name__
        if any(q is not None for child in children for q in child.output_quantizers) or kind in WITHOUT_OWN_QUANTIZER:
            continue
        users = [type(modules[u.target]).__name__ for u in node.users if u.op == "call_module"]
        if kind in FUSED_WITH_NEXT and len(users) == 1:
            continue
        # A product or quotient with a constant only rescales: AIMET leaves its range to what follows.
        if kind in ("QuantizedMultiply", "QuantizedDivide") and is_number(node.args[1]):
            continue
        lone.append(f"{node.target}: {kind}")
    return lone


@pytest.mark.parametrize("name", NETWORKS)
def test_the_simulation_builds_calibrates_runs_and_exports(name, tmp_path):
    model, inputs = build(name)
    prepared = prepare_model(model, example_inputs=inputs)
    sim = simulate(prepared, inputs)
    assert all(tensor.isfinite().all() for tensor in tensors(sim.model(*inputs)) if tensor.is_floating_point())
    assert modules_without_quantizer(prepared, sim, inputs) == []
    assert ModelValidator.validate_model(prepared, model_input=inputs)
    sim.onnx.export(inputs, str(tmp_path / "model.onnx"), dynamo=False)
    assert (tmp_path / "model.onnx").exists() and (tmp_path / "model.encodings").exists()


@pytest.mark.parametrize("name", ["ResNet-18", "DistilBERT"])
def test_the_older_way_to_export(name, tmp_path):
    model, inputs = build(name)
    sim = simulate(prepare_model(model, example_inputs=inputs), inputs)
    sim.export(str(tmp_path), "model", dummy_input=inputs)
    assert {"model.onnx", "model.pth"} <= set(os.listdir(tmp_path))


class Detector(nn.Module):
    """A head whose convolution serves two branches with their own batch norms."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.shared = nn.Conv2d(8, 8, 3, padding=1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(8) for _ in range(2))

    def forward(self, x):
        x = F.relu(self.stem(x))
        return tuple(F.relu(norm(self.shared(x))) for norm in self.norms)


def make(name):
    if name != "detector":
        return build(name)
    model = Detector().eval()
    for norm in model.norms:
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    return model, (torch.randn(2, 3, 16, 16),)


ALGORITHMS = ["ResNet-18", "ViT", "detector"]


@pytest.mark.parametrize("algorithm", [fold_all_batch_norms, equalize_model])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_folding_and_equalizing_leave_the_outputs(name, algorithm):
    model, inputs = make(name)
    expected = model(*inputs)
    prepared = prepare_model(copy.deepcopy(model), example_inputs=inputs)
    algorithm(prepared, [tuple(tensor.shape) for tensor in inputs], dummy_input=inputs)
    assert_close(expected, prepared(*inputs))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in prepared.modules())


@pytest.mark.parametrize("name", ALGORITHMS)
def test_adaround_and_sequential_mse_run(name, tmp_path):
    model, inputs = make(name)
    prepared = prepare_model(model, example_inputs=inputs)
    expected = prepared(*inputs)
    data = [inputs]

    def run(model, batch):
        return model(*batch)

    parameters = AdaroundParameters(data, num_batches=1, default_num_iterations=2, forward_fn=run)
    rounded = Adaround.apply_adaround(prepared, inputs, parameters, str(tmp_path), "weights", default_param_bw=8)
    assert all(t.isfinite().all() for t in tensors(rounded(*inputs)) if t.is_floating_point())
    assert_close(expected, prepared(*inputs))

    sim = QuantizationSimModel(prepared, dummy_input=inputs, default_param_bw=4)
    apply_seq_mse(sim, data, num_candidates=3, forward_fn=run)
    assert frozen(sim) == {path for path, module in prepared.named_modules() if type(module) in (nn.Conv2d, nn.Linear)}
    sim.compute_encodings(lambda model: model(*inputs))
    assert all(t.isfinite().all() for t in tensors(sim.model(*inputs)) if t.is_floating_point())
    assert_close(expected, prepared(*inputs))


def frozen(sim):
    """Paths of the modules whose weights have the ranges that sequential MSE found; it has 4 bits at most."""
    return {
        path
        for path, module in sim.model.named_modules()
        if isinstance(module, BaseQuantizationMixin)
        and (quantizer := getattr(module.param_quantizers, "weight", None))
        and not quantizer.is_overwrite_allowed()
    }


class Deciding(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.positive, self.last = (nn.Linear(4, 4) for _ in range(3))

    def forward(self, x):
        x = self.first(x)
        x = F.relu(self.positive(x)) if x.sum() > 0 else F.relu(-x)
        return self.last(x)


def test_sequential_mse_follows_a_branch():
    model, x = Deciding().eval(), torch.randn(3, 4)
    prepared = prepare_model(model, example_inputs=x)
    expected = [prepared(x), prepared(-x)]
    sim = QuantizationSimModel(prepared, dummy_input=x, default_param_bw=4)
    apply_seq_mse(sim, [x, -x], num_candidates=3, forward_fn=lambda model, batch: model(batch))
    assert frozen(sim) == {"first", "positive", "last"}
    assert_close(expected, [prepared(x), prepared(-x)])


class Counting(nn.Module):
    """Code that is kept whole, and takes a keyword input."""

    def __init__(self):
        super().__init__()
        self.fc, self.norm = nn.Linear(4, 4), nn.BatchNorm1d(4)

    def forward(self, x, *, steps):
        x, n = self.norm(self.fc(x)), 0
        while n < int(steps.sum()):
            x, n = F.relu(x), n + 1
        return x + steps


def test_kept_code_with_keyword_inputs():
    model, keywords = Counting(), {"steps": torch.tensor([1, 1])[:, None]}
    prepared = prepare_model(model, example_inputs=torch.randn(2, 4), example_kwargs=keywords, on_dynamic="keep")
    assert "kept" in str(prepared.report) and model.norm.num_batches_tracked == 0


class Normed(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = weight_norm(nn.Conv2d(3, 4, 3))
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x):
        return F.relu(self.norm(self.conv(x)))


def test_layers_with_computed_weights_are_quantized_and_folded():
    model, x = Normed().eval(), torch.randn(2, 3, 8, 8)
    model.norm.running_var.fill_(3)
    expected, keys = model(x), list(model.state_dict())
    prepared = prepare_model(model, example_inputs=x)
    sim = simulate(prepared, (x,))
    assert type(sim.model.conv).__name__ == "QuantizedConv2d" and modules_without_quantizer(prepared, sim, (x,)) == []
    fold_all_batch_norms(prepared, x.shape, dummy_input=x)
    assert_close(expected, prepared(x))
    assert_close(expected, model(x))
    assert list(model.state_dict()) == keys


# --- names and classes -------------------------------------------------------------------------------------------

TRACEABLE = ["ResNet-18", "MobileNetV3", "DenseNet-121", "Inception v3", "GoogLeNet", "ShuffleNet", "U-Net"]


def new_modules(prepared, model, inputs):
    """Class names by path of the modules that preparing added and that are given tensors.

    AIMET's own preparer makes modules of arithmetic on sizes as well.
    """
    known = {path for path, _ in model.named_modules(remove_duplicate=False)}
    given = set()

    def note(module, arguments):
        if any(isinstance(value, torch.Tensor) for value in arguments):
            given.add(module)

    for module in prepared.modules():
        module.register_forward_pre_hook(note)
    prepared(*inputs)
    return {path: type(m).__name__ for path, m in prepared.named_modules() if path not in known and m in given}


@pytest.mark.parametrize("running", [True, False], ids=["running", "symbolic"])
@pytest.mark.parametrize("name", TRACEABLE)
def test_names_and_classes_are_those_of_the_own_preparer(name, running):
    model, inputs = build(name)
    try:
        theirs = new_modules(aimet_torch.model_preparer.prepare_model(copy.deepcopy(model)), model, inputs)
    except Exception as error:  # it is theirs
        pytest.skip(f"AIMET's own preparer fails: {type(error).__name__}")
    ours = new_modules(prepare_model(model, example_inputs=inputs if running else None), model, inputs)
    assert theirs
    assert {path: ours.get(path) for path in theirs} == theirs
