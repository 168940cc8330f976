"""A small CNN on scikit-learn's digits: float, int8 after training, int8 after training aware of quantization.

    python examples/quantization/digits.py [TOOL ...]

Everything is prepared by modulize first: the network's relus, its sum and its mean are functions and operators, which
the tools do not see.
"""

from __future__ import annotations

import copy
import importlib.util
import sys
import tempfile
import warnings

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

from modulize import prepare_model

warnings.simplefilter("ignore")


class Digits(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 16, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(16)
        self.conv3 = nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.fc = nn.Linear(32, 10)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(x + self.bn2(self.conv2(x)))
        x = F.relu(self.conv3(x))
        return self.fc(x.mean([2, 3]))


def data():
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 8 - 1
    labels = torch.tensor(digits.target)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    return (images[order[:1300]], labels[order[:1300]]), (images[order[1300:]], labels[order[1300:]])


TRAIN, TEST = data()


def train(model, epochs, rate):
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], rate)
    for epoch in range(epochs):
        order = torch.randperm(len(TRAIN[1]), generator=torch.Generator().manual_seed(epoch))
        for rows in order.split(64):
            loss = F.cross_entropy(model(TRAIN[0][rows]), TRAIN[1][rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model


def accuracy(model):
    with torch.no_grad():
        return 100 * (model(TEST[0]).argmax(1) == TEST[1]).float().mean().item()


def calibrate(model):
    with torch.no_grad():
        model(TRAIN[0][:512])


EXAMPLE = TRAIN[0][:8]


def with_aimet(net):
    from aimet_torch.batch_norm_fold import fold_all_batch_norms
    from aimet_torch.quantsim import QuantizationSimModel

    from modulize.aimet import prepare_model

    prepared = prepare_model(net, example_inputs=EXAMPLE)
    fold_all_batch_norms(prepared, tuple(EXAMPLE.shape), dummy_input=EXAMPLE)
    sim = QuantizationSimModel(prepared, dummy_input=EXAMPLE)
    sim.compute_encodings(calibrate)
    after = accuracy(sim.model)
    train(sim.model.train(), 3, 2e-4)
    return after, accuracy(sim.model.eval())


def with_torch_ao_eager(net):
    from torch.ao import quantization as ao

    from modulize.torch_ao import fusable_modules, prepare_model

    def prepared(net):
        return prepare_model(net, example_inputs=EXAMPLE)

    fused = prepared(copy.deepcopy(net))
    fused = ao.fuse_modules(fused, fusable_modules(fused))
    fused.qconfig = ao.get_default_qconfig("x86")
    observed = ao.prepare(fused)
    calibrate(observed)
    after = accuracy(ao.convert(observed))
    fused = prepared(net.train())
    fused = ao.fuse_modules_qat(fused, fusable_modules(fused))
    fused.qconfig = ao.get_default_qat_qconfig("x86")
    trained = train(ao.prepare_qat(fused), 3, 2e-4)
    return after, accuracy(ao.convert(trained.eval()))


def with_torch_ao_fx(net):
    from torch.ao.quantization import get_default_qat_qconfig_mapping, get_default_qconfig_mapping
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx, prepare_qat_fx

    prepared = prepare_model(copy.deepcopy(net), example_inputs=EXAMPLE)
    observed = prepare_fx(prepared, get_default_qconfig_mapping("x86"), (EXAMPLE,))
    calibrate(observed)
    after = accuracy(convert_fx(observed))
    prepared = prepare_model(net.train(), example_inputs=EXAMPLE)
    trained = train(prepare_qat_fx(prepared, get_default_qat_qconfig_mapping("x86"), (EXAMPLE,)), 3, 2e-4)
    return after, accuracy(convert_fx(trained.eval()))


def with_brevitas(net):
    from brevitas.graph.calibrate import calibration_mode
    from brevitas.graph.quantize import preprocess_for_quantize, quantize

    prepared = prepare_model(net, example_inputs=EXAMPLE, target="brevitas")
    quantized = quantize(preprocess_for_quantize(prepared))
    with calibration_mode(quantized):
        calibrate(quantized)
    after = accuracy(quantized)
    return after, accuracy(train(quantized.train(), 3, 2e-4).eval())


class Around(nn.Module):
    """NNCF takes a torch.fx.GraphModule for one that torch.export made; inside of another module it is a module."""

    def __init__(self, prepared):
        super().__init__()
        self.prepared = prepared

    def forward(self, x):
        return self.prepared(x)


def with_nncf(net):
    import nncf

    quantized = nncf.quantize(
        Around(prepare_model(net, example_inputs=EXAMPLE)), nncf.Dataset(list(TRAIN[0][:512].split(32)))
    )
    after = accuracy(quantized)
    return after, accuracy(train(quantized.train(), 3, 2e-4).eval())


def with_pt2e(net):
    from torchao.quantization.pt2e import move_exported_model_to_eval, move_exported_model_to_train
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e, prepare_qat_pt2e
    from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import (
        X86InductorQuantizer,
        get_default_x86_inductor_quantization_config,
    )

    batch = torch.export.Dim("batch", min=2, max=4096)

    def exported(net):
        prepared = prepare_model(net, example_inputs=EXAMPLE)
        return torch.export.export(prepared, (EXAMPLE,), dynamic_shapes=({0: batch},)).module()

    def quantizer(aware):
        return X86InductorQuantizer().set_global(get_default_x86_inductor_quantization_config(is_qat=aware))

    observed = prepare_pt2e(exported(copy.deepcopy(net)), quantizer(False))
    calibrate(observed)
    after = accuracy(convert_pt2e(observed))
    trained = prepare_qat_pt2e(exported(net.train()), quantizer(True))
    move_exported_model_to_train(trained)
    train(trained, 3, 2e-4)
    move_exported_model_to_eval(trained)
    return after, accuracy(convert_pt2e(trained))


def with_onnxruntime(net):
    import onnxruntime
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.rows = iter([{"x": TRAIN[0][:512].numpy()}])

        def get_next(self):
            return next(self.rows, None)

    prepared = prepare_model(net, example_inputs=EXAMPLE)
    with tempfile.TemporaryDirectory() as folder:
        before, after = f"{folder}/float.onnx", f"{folder}/int8.onnx"
        torch.onnx.export(
            prepared,
            (EXAMPLE,),
            before,
            input_names=["x"],
            output_names=["y"],
            dynamic_axes={"x": {0: "batch"}},
            dynamo=False,
        )
        quantize_static(before, after, Reader())
        session = onnxruntime.InferenceSession(after, providers=["CPUExecutionProvider"])
        return accuracy(lambda x: torch.from_numpy(session.run(None, {"x": x.numpy()})[0])), None


TOOLS = {
    "AIMET": ("aimet_torch", "aimet-torch", with_aimet),
    "torch.ao eager": ("torch", "torch", with_torch_ao_eager),
    "torch.ao FX": ("torch", "torch", with_torch_ao_fx),
    "Brevitas": ("brevitas", "brevitas", with_brevitas),
    "NNCF": ("nncf", "nncf", with_nncf),
    "pt2e": ("torchao", "torchao", with_pt2e),
    "ONNX Runtime": ("onnxruntime", "onnxruntime", with_onnxruntime),
}


def main(names):
    torch.manual_seed(0)
    net = train(Digits(), 12, 3e-3).eval()
    print(f"{'float':16} {accuracy(net):6.2f} %")
    for name in names or TOOLS:
        package, install, run = TOOLS[name]
        if importlib.util.find_spec(package) is None:
            print(f"{name:16} needs {install}, which is not installed: pip install {install}")
            continue
        torch.manual_seed(0)
        after, aware = run(copy.deepcopy(net))
        print(f"{name:16} {after:6.2f} % after training" + ("" if aware is None else f", {aware:6.2f} % trained aware"))


if __name__ == "__main__":
    main(sys.argv[1:])
