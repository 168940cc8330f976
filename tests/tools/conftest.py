"""Tests with the quantization tools themselves: `./dev test-tools`. What is not installed is named in one line."""

import importlib.util

import pytest
import torch

NEEDS = {
    "test_aimet.py": ("aimet_torch", "aimet-torch"),
    "test_aimet_scripts.py": ("aimet_torch", "aimet-torch"),
    "test_torch_ao.py": ("torchvision", "torchvision"),
    "test_brevitas.py": ("brevitas", "brevitas"),
}
MISSING = {file: package for file, (module, package) in NEEDS.items() if importlib.util.find_spec(module) is None}
collect_ignore = list(MISSING)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for file, package in MISSING.items():
        terminalreporter.write_line(f"left out: tests/tools/{file} needs {package} (./dev test-tools installs it)")


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
