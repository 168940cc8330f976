"""Peak memory of a preparation against that of an eager forward, each in a process of its own."""

import subprocess
import sys

from timing import table

CASES = {
    "resnet50, 8 x 224 px": "model, x = network('resnet50'), torch.randn(8, 3, 224, 224)",
    "swin_t, 8 x 224 px": "model, x = network('swin_t'), torch.randn(8, 3, 224, 224)",
}
WORK = {
    "eager": "with torch.no_grad(): model(x)",
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
print(read("VmHWM") - before)
"""


def peak(setup: str, work: str) -> float:
    """Megabytes above what the process held before ``work``."""
    program = PROGRAM.format(setup=setup, work=work)
    result = subprocess.run([sys.executable, "-c", program], cwd=sys.path[0], capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(result.stderr)
    return int(result.stdout) / 1024


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
print((max(totals) - before) // 1024)
"""


def tensor_peak(setup: str, work: str) -> float:
    """Megabytes of tensors alive at once, which no allocator's holes blur."""
    program = PROGRAM.split("{setup}")[0] + setup + TENSORS.replace("{work}", work)
    result = subprocess.run([sys.executable, "-c", program], cwd=sys.path[0], capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(result.stderr)
    return int(result.stdout.splitlines()[-1]) / 1024


def main() -> None:
    rows = []
    for name, setup in CASES.items():
        eager, capture, default = (tensor_peak(setup, work) for work in WORK.values())
        rows.append(
            [
                name,
                f"{eager:.0f} MB",
                f"{capture:.0f} MB ({capture / eager:.2f}x)",
                f"{default:.0f} MB ({default / eager:.2f}x)",
            ]
        )
    table("tensors alive at once", ["model", "eager forward", "verify=False", "default"], rows)
    rows = []
    for name, setup in CASES.items():
        eager, capture, default = (peak(setup, work) for work in WORK.values())
        rows.append(
            [
                name,
                f"{eager:.0f} MB",
                f"{capture:.0f} MB ({capture / eager:.2f}x)",
                f"{default:.0f} MB ({default / eager:.2f}x)",
            ]
        )
    table("resident memory above the model", ["model", "eager forward", "verify=False", "default"], rows)
    rows = [[name, f"{peak(setup, work):.0f} MB"] for name, (setup, work) in ALONE.items()]
    table("resident memory above the model", ["model", "peak"], rows)


if __name__ == "__main__":
    main()
