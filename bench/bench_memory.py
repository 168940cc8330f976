"""Peak memory of a preparation against that of eager forwards, each in a process of its own, forked with torch loaded.

Resident memory is compared with as many eager forwards as the preparation captures: a second forward of Swin-T alone
takes half as much again as the first, as glibc's heap fills with holes.
"""

import multiprocessing
from collections.abc import Callable
from typing import Any

import torch

from bench_capture import number_of_captures
from networks import network
from timing import table

CASES = {
    f"{name}, 8 x 224 px": (f"model, x = network('{name}'), torch.randn(8, 3, 224, 224)", name)
    for name in ("resnet50", "swin_t")
}
WORK = {
    "eager": "with torch.no_grad(): [model(x).shape for _ in range(runs)]",
    "capture": "prepared = prepare_model(model, example_inputs=x, verify=False)",
    "default": "prepared = prepare_model(model, example_inputs=x)",
}
# A model of 1 GB, and a very long one: bytes above the model.
ALONE = {
    "1 GB model (Linear), no inputs": (
        "model = torch.nn.Sequential(*(torch.nn.Linear(4096, 4096) for _ in range(16)))",
        "prepared = prepare_model(model)",
    ),
    "100,000 F.relu, no inputs": ("model = FunctionalChain(100_000)", "prepared = prepare_model(model)"),
    "100,000 F.relu, torch.fx": ("model = FunctionalChain(100_000)", "prepared = torch.fx.symbolic_trace(model)"),
}
PROGRAM = """
import re, torch
from modulize import prepare_model
from networks import FunctionalChain, network

def read(field):
    return int(re.search(field + r":\\s+(\\d+) kB", open("/proc/self/status").read()).group(1))

warm = torch.nn.Conv2d(3, 8, 3).eval()
prepare_model(warm, example_inputs=torch.randn(1, 3, 8, 8))
{setup}
open("/proc/self/clear_refs", "w").write("5")
before = read("VmRSS")
{work}
kilobytes = read("VmHWM") - before
"""


def in_a_process(function: Callable[[str], Any], argument: str) -> Any:
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(function, (argument,))


def run(program: str) -> float:
    """The megabytes that the program finds."""
    space: dict[str, Any] = {}
    exec(program, space)
    return space["kilobytes"] / 1024


def captures_of(name: str) -> int:
    return number_of_captures(network(name), torch.randn(1, 3, 64, 64))


def peak(setup: str, work: str) -> float:
    """Megabytes above what the process held before ``work``."""
    return in_a_process(run, PROGRAM.format(setup=setup, work=work))


TENSORS = """
import json, tempfile
from torch.profiler import profile
model.eval()
with torch.no_grad(): model(x)
with profile(profile_memory=True) as recorded:
    {work}
with tempfile.NamedTemporaryFile("r", suffix=".json") as file:
    recorded.export_chrome_trace(file.name)
    events = [event for event in json.load(open(file.name))["traceEvents"] if event.get("name") == "[memory]"]
events.sort(key=lambda event: event["ts"])
totals = [event["args"]["Total Allocated"] for event in events]
before = totals[0] - events[0]["args"]["Bytes"]
kilobytes = (max(totals) - before) // 1024
"""


def tensor_peak(setup: str, work: str) -> float:
    """Megabytes of tensors alive at once, which no allocator's holes blur."""
    return in_a_process(run, PROGRAM.split("{setup}")[0] + setup + TENSORS.replace("{work}", work))


def row(name: str, peaks: list[float]) -> list[str]:
    eager = peaks[0]
    return [name, f"{eager:.0f} MB", *(f"{peak:.0f} MB ({peak / eager:.2f}x)" for peak in peaks[1:])]


def main() -> None:
    torch.set_num_threads(1)  # a forked process has none of the threads of a pool
    header = ["model", "eager forward", "verify=False", "default"]
    rows = [
        row(name, [tensor_peak("runs = 1; " + setup, WORK[work]) for work in ("eager", "capture")])
        for name, (setup, _) in CASES.items()
    ]
    table("tensors alive at once", header[:3], rows)
    rows = []
    for name, (setup, network_name) in CASES.items():
        runs = in_a_process(captures_of, network_name)
        cells = row(name, [peak(f"runs = {runs}; {setup}", work) for work in WORK.values()])
        rows.append([cells[0], str(runs), *cells[1:]])
    table("resident memory above the model", ["model", "captures", "as many eager forwards", *header[2:]], rows)
    rows = [[name, f"{peak(setup, work):.0f} MB"] for name, (setup, work) in ALONE.items()]
    table("resident memory above the model", ["model", "peak"], rows)


if __name__ == "__main__":
    main()
