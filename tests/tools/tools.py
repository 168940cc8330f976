"""Every network with every tool, as it is and prepared: does it go through, and how near are the numbers?

    python tests/tools/tools.py [--tool NAME ...] [--network NAME ...] [--results FILE.json] [--write docs/tools.md]

Each cell runs in a process of its own with a limit of processor time. Results are added to the JSON file, of which
--write makes the page; --missing runs only the cells that it lacks.
"""

from __future__ import annotations

import argparse
import copy
import importlib
import json
import logging
import math
import multiprocessing
import os
import re
import resource
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("NNCF_EXTENSION_LOAD_TIMEOUT", "0")  # it compiles an extension the first time

import torch
from torch import nn

from modulize import prepare_model
from modulize._runtime.plain_outputs import traceable
from networks import NETWORKS, build

Inputs = tuple[torch.Tensor, ...]
SECONDS = 120
FORK = multiprocessing.get_context("fork")


class Stubs(nn.Module):
    """The borders that eager quantization wants around a model as it is."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.quant = torch.ao.quantization.QuantStub()
        self.dequant = torch.ao.quantization.DeQuantStub()

    def forward(self, *inputs: torch.Tensor) -> Any:
        outputs = self.model(*(self.quant(x) if x.is_floating_point() else x for x in inputs))
        return [self.dequant(tensor) for tensor in tensors(outputs)]


class Plain(nn.Module):
    """NNCF takes a torch.fx.GraphModule for one that torch.export made; inside of another module it is a module."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.model(*inputs)


class Picture(Plain):
    """Brevitas' graph quantization takes every argument of forward for an activation, those that are None as well."""

    def forward(self, x: torch.Tensor) -> Any:
        return self.model(x)


def tensors(value: Any) -> list[torch.Tensor]:
    """The floating-point tensors of an output."""
    if isinstance(value, torch.Tensor):
        return [value] if value.is_floating_point() or value.is_quantized else []
    if not isinstance(value, (list, tuple)):
        value = traceable(value)
    return [tensor for item in value for tensor in tensors(item)] if isinstance(value, (list, tuple)) else []


def agreement(expected: list[torch.Tensor], actual: list[torch.Tensor]) -> float:
    """The signal in decibels over the difference, of all outputs together."""
    if not all(tensor.isfinite().all() for tensor in actual):
        raise ArithmeticError("the quantized model gives numbers that are not finite")
    if [t.shape for t in expected] != [t.shape for t in actual]:
        raise ArithmeticError("the quantized model gives other outputs")
    signal = sum(e.double().pow(2).sum() for e in expected)
    noise = sum((e.double() - a.double()).pow(2).sum() for e, a in zip(expected, actual))
    return 10 * math.log10(signal / noise) if noise else math.inf


def aimet(model: nn.Module, inputs: Inputs) -> Any:
    from aimet_torch.quantsim import QuantizationSimModel

    sim = QuantizationSimModel(model, dummy_input=inputs)
    sim.compute_encodings(lambda m: m(*inputs))
    return sim.model(*inputs)


def torch_ao_eager(model: nn.Module, inputs: Inputs) -> Any:
    from torch.ao import quantization as ao

    from modulize.torch_ao import fusable_modules

    if isinstance(model, torch.fx.GraphModule):
        chains = fusable_modules(model)
        model = ao.fuse_modules(model, chains) if chains else model
    else:
        model = Stubs(model)
    model.qconfig = ao.get_default_qconfig("x86")
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            module.qconfig = ao.float_qparams_weight_only_qconfig
    observed = ao.prepare(model)
    observed(*inputs)
    return ao.convert(observed)(*inputs)


def torch_ao_fx(model: nn.Module, inputs: Inputs) -> Any:
    from torch.ao.quantization import get_default_qconfig_mapping
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

    from modulize.torch_ao import observe_floats_alone

    mapping = get_default_qconfig_mapping("x86")
    if isinstance(model, torch.fx.GraphModule):
        observe_floats_alone(mapping, model, *inputs)
    observed = prepare_fx(model, mapping, inputs)
    observed(*inputs)
    return convert_fx(observed)(*inputs)


def brevitas_graph(model: nn.Module, inputs: Inputs) -> Any:
    from brevitas.graph.calibrate import calibration_mode
    from brevitas.graph.quantize import preprocess_for_quantize, quantize

    quantized = quantize(preprocess_for_quantize(Picture(model).eval() if len(inputs) == 1 else model))
    with calibration_mode(quantized):
        quantized(*inputs)
    return quantized(*inputs)


def brevitas_layers(model: nn.Module, inputs: Inputs) -> Any:
    from brevitas.graph.calibrate import calibration_mode
    from brevitas.graph.quantize import layerwise_quantize

    quantized = layerwise_quantize(model)
    with calibration_mode(quantized):
        quantized(*inputs)
    return quantized(*inputs)


def nncf(model: nn.Module, inputs: Inputs) -> Any:
    import nncf

    if isinstance(model, torch.fx.GraphModule):
        model = Plain(model)
    data = nncf.Dataset([inputs], lambda item: item if len(item) > 1 else item[0])
    return nncf.quantize(model, data, subset_size=1)(*inputs)


def pt2e(model: nn.Module, inputs: Inputs) -> Any:
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import (
        X86InductorQuantizer,
        get_default_x86_inductor_quantization_config,
    )

    quantizer = X86InductorQuantizer().set_global(get_default_x86_inductor_quantization_config())
    observed = prepare_pt2e(torch.export.export(model, inputs).module(), quantizer)
    observed(*inputs)
    return convert_pt2e(observed)(*inputs)


def onnx(model: nn.Module, inputs: Inputs) -> Any:
    import onnxruntime
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self, names: list[str]) -> None:
            self.rows = iter([dict(zip(names, (tensor.numpy() for tensor in inputs)))])

        def get_next(self) -> Any:
            return next(self.rows, None)

    with tempfile.TemporaryDirectory() as folder:
        names = [f"input_{i}" for i in range(len(inputs))]
        before, after = f"{folder}/float.onnx", f"{folder}/int8.onnx"
        torch.onnx.export(model, inputs, before, input_names=names, dynamo=False, opset_version=17)
        quantize_static(before, after, Reader(names))
        session = onnxruntime.InferenceSession(after, providers=["CPUExecutionProvider"])
        kept = {entry.name for entry in session.get_inputs()}
        feed = {name: tensor.numpy() for name, tensor in zip(names, inputs) if name in kept}
        return [torch.from_numpy(value) for value in session.run(None, feed)]


class Tool(NamedTuple):
    run: Callable[[nn.Module, Inputs], Any]
    packages: tuple[str, ...]
    """Imported once, before the cells."""
    options: dict[str, Any]
    """Of prepare_model."""


PLAIN = {"plain_outputs": True}
TOOLS = {
    "AIMET": Tool(aimet, ("aimet_torch.quantsim",), {"target": "aimet"}),
    "torch.ao eager": Tool(torch_ao_eager, ("torch.ao.quantization",), {"target": "torch.ao", **PLAIN}),
    "torch.ao FX": Tool(torch_ao_fx, ("torch.ao.quantization.quantize_fx",), PLAIN),
    "Brevitas graph": Tool(brevitas_graph, ("brevitas.graph.quantize",), {"target": "brevitas", **PLAIN}),
    "Brevitas layers": Tool(brevitas_layers, ("brevitas.graph.quantize",), {"target": "brevitas", **PLAIN}),
    "NNCF": Tool(nncf, ("nncf", "nncf.torch"), PLAIN),
    "pt2e": Tool(pt2e, ("torchao.quantization.pt2e.quantizer.x86_inductor_quantizer",), PLAIN),
    "ONNX Runtime": Tool(onnx, ("onnx", "onnxruntime.quantization"), {"decompose_attention": True, **PLAIN}),
}


def attempt(tool: Tool, name: str, prepared: bool) -> str:
    """The agreement in decibels if the network goes through the tool, or why not."""
    try:
        model, inputs = build(name)
        with torch.no_grad():
            expected = tensors(model(*inputs))
            if prepared:
                model = prepare_model(copy.deepcopy(model), example_inputs=inputs, **tool.options)
            return f"{agreement(expected, tensors(tool.run(model, inputs))):.0f} dB"
    except Exception as error:  # the reason in the table
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
        return re.sub(r"/\S*/site-packages/", "", f"{type(error).__name__}: {lines[0]}")[:200]


def in_process(seconds: float | None, function: Callable[..., Any], *args: Any) -> Any:
    """What the function returns in a process of its own, or a text that says how that ended."""
    receiver, sender = FORK.Pipe(duplex=False)

    def run() -> None:
        if seconds is not None:
            silent = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silent, 1)
            os.dup2(silent, 2)
            resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), int(seconds) + 5))
        sender.send(function(*args))

    process = FORK.Process(target=run)
    process.start()
    sender.close()
    try:
        answer = receiver.recv()
    except EOFError:
        process.join()
        ended = process.exitcode == -signal.SIGXCPU
        answer = f"not done after {seconds} seconds" if ended else f"the process ends with status {process.exitcode}"
    process.join()
    return answer


def run_tool(
    name: str, networks: list[str], results: dict[str, str], file: Path | None, missing: bool
) -> dict[str, str]:
    tool = TOOLS[name]
    for package in tool.packages:
        importlib.import_module(package)
    for network in networks:
        for how in ("raw", "prepared"):
            if missing and f"{name}|{network}|{how}" in results:
                continue
            answer = in_process(SECONDS, attempt, tool, network, how == "prepared")
            results[f"{name}|{network}|{how}"] = answer
            print(f"{name:14} {network:14} {how:9} {answer}", file=sys.stderr, flush=True)
            if file:
                file.write_text(json.dumps(results, indent=1))
    return results


def ran(answer: str) -> bool:
    return answer.endswith(" dB")


def page(results: dict[str, str]) -> str:
    """Markdown of results by "tool|network|raw or prepared"."""
    tools = [tool for tool in TOOLS if any(key.startswith(f"{tool}|") for key in results)]
    rows = ["| network | " + " | ".join(tools) + " |", "|---" * (1 + len(tools)) + "|"]
    numbers: dict[str, int] = {}

    def cell(key: str) -> str:
        answer = results.get(key, "")
        if not answer or ran(answer):
            return answer.removesuffix(" dB")
        return f"[{numbers.setdefault(answer, len(numbers) + 1)}]"

    for network in NETWORKS:
        cells = [" / ".join(cell(f"{tool}|{network}|{how}") for how in ("raw", "prepared")) for tool in tools]
        rows.append("| " + " | ".join([network, *cells]) + " |")
    totals = []
    for tool in tools:
        counts = [
            sum(ran(results.get(f"{tool}|{network}|{how}", "")) for network in NETWORKS) for how in ("raw", "prepared")
        ]
        totals.append(" / ".join(map(str, counts)))
    rows.append("| " + " | ".join([f"go through, of {len(NETWORKS)}", *totals]) + " |")
    reasons = [f"{number}. `{reason.replace('`', chr(39))}`" for reason, number in numbers.items()]
    return PAGE.format(table="\n".join(rows), reasons="\n".join(reasons))


PAGE = """# Networks and tools

Written by `python tests/tools/tools.py --write docs/tools.md` in the environment of `./dev test-tools`. Each cell is
the network as it is / prepared: the agreement of int8 with float in decibels (random weights, one batch for calibration
and comparison, the tool's default settings), or the number of the reason below. An agreement says that the network went
through the tool and ran; that of a network as it is may be high because the tool quantized little of it.

{table}

{reasons}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tool", action="append", choices=TOOLS)
    parser.add_argument("--network", action="append", choices=NETWORKS)
    parser.add_argument("--results", type=Path, help="JSON to read, add to and write")
    parser.add_argument("--missing", action="store_true", help="run only the cells that the JSON lacks")
    parser.add_argument("--write", type=Path, help="Markdown to write")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    results: dict[str, str] = {}
    if arguments.results and arguments.results.exists():
        results = json.loads(arguments.results.read_text())
    if not arguments.write or arguments.tool:
        for tool in arguments.tool or TOOLS:
            networks = arguments.network or list(NETWORKS)
            answer = in_process(None, run_tool, tool, networks, results, arguments.results, arguments.missing)
            if isinstance(answer, str):
                sys.exit(f"{tool}: {answer}")
            results = answer
    if arguments.write:
        arguments.write.write_text(page(results))
    else:
        print(page(results))


if __name__ == "__main__":
    main()
