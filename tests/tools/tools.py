"""What "runs" means with each tool: the model goes through the tool, and what comes out computes finite numbers.

    python tests/tools/tools.py [--tool NAME ...] [--write docs/tools.md]

prints the table model x tool x (raw, prepared), with a reason for every empty cell.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from modulize import prepare_model
from networks import NETWORKS, build

Inputs = tuple[torch.Tensor, ...]
SECONDS = 150


def finite(value: Any) -> bool:
    if isinstance(value, torch.Tensor):
        return bool(value.isfinite().all()) if value.is_floating_point() else True
    if isinstance(value, dict):
        return all(finite(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return all(finite(item) for item in value)
    return True


def check(value: Any) -> None:
    if not finite(value):
        raise ArithmeticError("the quantized model gives numbers that are not finite")


def aimet(model: nn.Module, inputs: Inputs) -> None:
    from aimet_torch.quantsim import QuantizationSimModel

    sim = QuantizationSimModel(model, dummy_input=inputs)
    sim.compute_encodings(lambda m: m(*inputs))
    check(sim.model(*inputs))


def torch_ao(model: nn.Module, inputs: Inputs) -> None:
    from torch.ao.quantization import get_default_qconfig_mapping
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

    observed = prepare_fx(model, get_default_qconfig_mapping("x86"), inputs)
    observed(*inputs)
    check(convert_fx(observed)(*inputs))


def brevitas(model: nn.Module, inputs: Inputs) -> None:
    from brevitas.graph.quantize import preprocess_for_quantize, quantize

    check(quantize(preprocess_for_quantize(model))(*inputs))


def nncf(model: nn.Module, inputs: Inputs) -> None:
    import nncf

    data = nncf.Dataset([inputs], lambda item: item if len(item) > 1 else item[0])
    check(nncf.quantize(model, data, subset_size=1)(*inputs))


def pt2e(model: nn.Module, inputs: Inputs) -> None:
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import (
        X86InductorQuantizer,
        get_default_x86_inductor_quantization_config,
    )

    quantizer = X86InductorQuantizer().set_global(get_default_x86_inductor_quantization_config())
    observed = prepare_pt2e(torch.export.export(model, inputs).module(), quantizer)
    observed(*inputs)
    check(convert_pt2e(observed)(*inputs))


def onnx(model: nn.Module, inputs: Inputs) -> None:
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
        check([torch.from_numpy(value) for value in session.run(None, feed)])


class Tool:
    def __init__(self, run: Callable[[nn.Module, Inputs], None], **options: Any) -> None:
        self.run = run
        self.options = options  # of prepare_model


TOOLS = {
    "AIMET": Tool(aimet, target="aimet"),
    "torch.ao FX": Tool(torch_ao, plain_outputs=True),
    "Brevitas": Tool(brevitas, target="brevitas", plain_outputs=True),
    "NNCF": Tool(nncf, plain_outputs=True),
    "pt2e": Tool(pt2e, plain_outputs=True),
    "ONNX Runtime": Tool(onnx, plain_outputs=True),
}


class OutOfTime(Exception):
    pass


def attempt(tool: Tool, name: str, prepared: bool) -> str:
    """An empty text if the network runs with the tool, or why not."""

    def stop(*_: Any) -> None:
        raise OutOfTime(f"not done after {SECONDS} seconds")

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        model, inputs = build(name)
        with torch.no_grad():
            if prepared:
                model = prepare_model(copy.deepcopy(model), example_inputs=inputs, **tool.options)
            tool.run(model, inputs)
    except Exception as error:  # the reason in the table
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
        return f"{type(error).__name__}: {lines[0]}"[:160]
    finally:
        signal.alarm(0)
    return ""


def cells(tools: list[str], networks: list[str]) -> Iterator[tuple[str, str, bool, str]]:
    for tool in tools:
        for name in networks:
            for prepared in (False, True):
                yield tool, name, prepared, attempt(TOOLS[tool], name, prepared)


def table(results: dict[str, str]) -> str:
    """Markdown of results by "tool|network|raw or prepared"."""
    tools = [tool for tool in TOOLS if any(key.startswith(f"{tool}|") for key in results)]
    head = "| network | " + " | ".join(f"{tool} raw | {tool} prepared" for tool in tools) + " |"
    rows, reasons = [head, "|---" * (1 + 2 * len(tools)) + "|"], []
    numbers: dict[str, int] = {}
    for name in NETWORKS:
        row = [name]
        for tool in tools:
            for how in ("raw", "prepared"):
                reason = results.get(f"{tool}|{name}|{how}")
                if reason is None:
                    row.append("")
                elif not reason:
                    row.append("yes")
                else:
                    if reason not in numbers:
                        numbers[reason] = len(numbers) + 1
                        reasons.append(f"{numbers[reason]}. `{reason.replace('`', chr(39))}`")
                    row.append(f"({numbers[reason]})")
        rows.append("| " + " | ".join(row) + " |")
    return "\n".join(rows) + "\n\n" + "\n".join(reasons) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tool", action="append", choices=TOOLS)
    parser.add_argument("--network", action="append", choices=NETWORKS)
    parser.add_argument("--results", type=Path, help="JSON to read, add to and write")
    parser.add_argument("--write", type=Path, help="Markdown to write")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    results: dict[str, str] = {}
    if arguments.results and arguments.results.exists():
        results = json.loads(arguments.results.read_text())
    if not arguments.write or arguments.tool:
        for tool, name, prepared, reason in cells(arguments.tool or list(TOOLS), arguments.network or list(NETWORKS)):
            how = "prepared" if prepared else "raw"
            results[f"{tool}|{name}|{how}"] = reason
            print(f"{tool:14} {name:14} {how:9} {reason or 'yes'}", file=sys.stderr, flush=True)
            if arguments.results:
                arguments.results.write_text(json.dumps(results, indent=1))
    if arguments.write:
        arguments.write.write_text(table(results))
    else:
        print(table(results))


if __name__ == "__main__":
    main()
