"""The work is done in C++: the captured graph through modulize_opt gives the graph that was shipped."""

import subprocess

import pytest
import torch

from fidelity import build, called_modules, prepare
from modulize import prepare_model

torchvision = pytest.importorskip("torchvision")
models = torchvision.models

NETWORKS = {
    "resnet18": (models.resnet18, 64, "run"),
    "mobilenet_v3_small": (models.mobilenet_v3_small, 64, "run"),
    "swin_t": (models.swin_t, 64, "run"),
    "densenet121": (models.densenet121, 64, "symbolic"),
}


def run_opt(tool, text, tmp_path, *arguments):
    file = tmp_path / "captured.mzir"
    file.write_text(text)
    result = subprocess.run([tool, file, *arguments], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("name", NETWORKS)
def test_modulize_opt_on_the_captured_graph_gives_the_shipped_one(name, modulize_opt, tmp_path):
    builder, size, capture = NETWORKS[name]
    prepared = prepare(build(builder), torch.randn(1, 3, size, size), capture)
    report = prepared.report
    assert str(report.captured) != str(report.shipped)
    assert run_opt(modulize_opt, str(report.captured), tmp_path, "--pipeline").strip() == str(report.shipped).strip()
    # What was shipped is what runs.
    for path in called_modules(prepared):
        assert f"call_module {path}(" in str(report.shipped)


class Halving(torch.nn.Module):
    """Ends by a value: it is kept whole."""

    def forward(self, x):
        while x.abs().max() > 0.2:
            x = torch.relu(x) * 0.5
        return x


def test_what_kept_code_computes_stands_in_the_captured_graph(modulize_opt, tmp_path):
    prepared = prepare_model(Halving(), example_inputs=(torch.ones(2, 4),))
    report = prepared.report
    assert "'relu', 'function', 'torch.relu', 1, ()" in str(report.captured)
    shipped = run_opt(modulize_opt, str(report.captured), tmp_path, "--pipeline")
    assert shipped.strip() == str(report.shipped).strip()
    assert "= torch.nn.ReLU() for relu" in shipped


@pytest.mark.parametrize("name", ["resnet18"])
def test_shipped_graph_is_a_fixed_point(name, modulize_opt, tmp_path):
    builder, size, capture = NETWORKS[name]
    report = prepare(build(builder), torch.randn(1, 3, size, size), capture).report
    assert run_opt(modulize_opt, str(report.shipped), tmp_path, "--pipeline").strip() == str(report.shipped).strip()
    assert run_opt(modulize_opt, str(report.captured), tmp_path).strip() == str(report.captured).strip()


def test_report_lists_every_conversion_with_its_place():
    prepared = prepare(build(models.resnet18), torch.randn(1, 3, 64, 64))
    conversions = prepared.report.conversions
    assert len(conversions) == 16  # eight additions, eight second calls of a relu
    text = "\n".join(str(entry) for entry in conversions)
    assert "layer1.0.module_add" in text
    assert "layer1.0.module_relu_1" in text
    assert "resnet.py:" in text
