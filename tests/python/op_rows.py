"""The op table as the tests see it: its rows, sample arguments, and an interpreter of .mzir text under real torch."""

import functools
import importlib
import inspect
import json
import os
import pathlib
import re
import subprocess
import tempfile

import torch

ROOT = pathlib.Path(__file__).resolve().parents[2]


def find_tool(name):
    """A tool of the build in MODULIZE_BUILD, or build/."""
    tool = pathlib.Path(os.environ.get("MODULIZE_BUILD", ROOT / "build")) / name
    assert tool.is_file(), f"no {tool}: run ./dev build"
    return tool


@functools.cache
def table():
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "ops.json"
        subprocess.run([str(find_tool("modulize_gen_nn")), "--json", str(out)], check=True)
        return json.loads(out.read_text())


def resolve(call):
    """The object of a qualified name."""
    parts = call.split(".")
    for split in range(len(parts) - 1, 0, -1):
        try:
            value = importlib.import_module(".".join(parts[:split]))
        except ModuleNotFoundError:
            continue
        for part in parts[split:]:
            value = getattr(value, part)
        return value
    raise AttributeError(call)


# --- samples ---------------------------------------------------------------------------------------------------------

_TENSOR = re.compile(r"(f32|f64|c64|i64|bool|pos|prob|spd|sign|pivots)\[([\d,]*)\](?:<(\d+))?")


def make_tensor(kind, shape, limit=None):
    if kind == "i64":
        return torch.randint(0, int(limit), shape)
    if kind == "bool":
        return torch.rand(shape) < 0.5
    if kind == "pos":
        return torch.rand(shape) + 0.1
    if kind == "c64":
        return torch.randn(shape, dtype=torch.complex64)
    if kind == "spd":  # symmetric, positive definite
        half = torch.randn(shape)
        return half @ half.mT + torch.eye(shape[-1])
    if kind == "sign":
        return torch.where(torch.rand(shape) < 0.5, -1.0, 1.0)
    if kind == "pivots":
        return torch.arange(1, shape[-1] + 1, dtype=torch.int32)
    if kind == "prob":
        return torch.rand(shape) * 0.98 + 0.01
    return torch.randn(shape, dtype=torch.float64 if kind == "f64" else torch.float32)


def sample_arguments(text):
    """(args, kwargs) of a row's sample, with tensors made new."""

    def tensor(match):
        kind, shape, limit = match.groups()
        dims = tuple(int(n) for n in shape.split(",") if n)
        return f"make_tensor({kind!r}, {dims!r}, {limit!r})"

    code = _TENSOR.sub(tensor, text)
    return eval(f"(lambda *args, **kwargs: (args, kwargs))({code})", {"make_tensor": make_tensor})


def parameters_of(signature):
    """inspect.Parameter by name of a row's signature."""
    namespace = {"torch": torch}
    exec(f"def f({signature}): pass", namespace)
    return inspect.signature(namespace["f"]).parameters


def bind_sample(row):
    """Argument by parameter name; `*args` and `**kwargs` under their names."""
    namespace = {"torch": torch}
    exec(f"def f({row['signature']}): pass", namespace)
    args, kwargs = sample_arguments(row["sample"])
    bound = inspect.signature(namespace["f"]).bind(*args, **kwargs)
    return bound.arguments


# --- .mzir under torch -----------------------------------------------------------------------------------------------


class Text:
    """Builds the .mzir text of one call and keeps the tensors it is given."""

    def __init__(self, training=False):
        self.training = training
        self.inputs = {}
        self.parameters = {}

    def value(self, value, as_parameter=False):
        if isinstance(value, torch.Tensor):
            store = self.parameters if as_parameter else self.inputs
            name = f"w{len(store)}" if as_parameter else f"t{len(store)}"
            store[name] = value
            return "%" + name
        if isinstance(value, list):
            return "[" + ", ".join(self.value(v) for v in value) + "]"
        if isinstance(value, tuple):
            return "(" + "".join(self.value(v) + ", " for v in value) + ")"
        return repr(value)

    def graph(self, call):
        lines = ["graph net {", '  module "" = existing net.Net' + (" training" if self.training else "")]
        for name, tensor in self.parameters.items():
            dtype = str(tensor.dtype).removeprefix("torch.")
            lines.append(f"  parameter {name}: {dtype}[{', '.join(map(str, tensor.shape))}]")
        lines += [f"  %{name}: tensor = placeholder {name}" for name in self.inputs]
        lines += [f"  %{name}: tensor = get_attr {name}" for name in self.parameters]
        lines += [f"  %result = {call}", "  output %result", "}"]
        return "\n".join(lines) + "\n"


_MODULE = re.compile(r"  module (\S+) = (.*?)\((.*)\) for (\w+)(?: adopt (.*))?$")
_NODE = re.compile(r"  %(\w+)(?:: \w+)? = (\w+) ([\w.]+)(?:\((.*)\))?(?: at .*)?$")


def interpret(text, inputs, parameters, training=False):
    """Runs a one-scope .mzir text. Returns (output, {path: module})."""
    namespace = {"torch": torch, "inf": float("inf"), "nan": float("nan")}
    values, modules = {}, {}

    def evaluate(code):
        code = re.sub(r"%(\w+)", r"_values['\1']", code)
        return eval(code, {**namespace, "_values": values})

    def call(function, arguments):
        code = re.sub(r"%(\w+)", r"_values['\1']", arguments or "")
        return eval(f"_function({code})", {**namespace, "_values": values, "_function": function})

    for line in text.splitlines():
        if match := _MODULE.match(line):
            path, cls, arguments, _, adopts = match.groups()
            modules[path] = call(resolve(cls), arguments).train(training)
            for adopt in filter(None, (adopts or "").split(", ")):
                name, source = adopt.split("=")
                setattr(modules[path], name, torch.nn.Parameter(parameters[source]))
        elif match := _NODE.match(line):
            name, op, target, arguments = match.groups()
            if op == "placeholder":
                values[name] = inputs[target]
            elif op == "get_attr":
                values[name] = training if target == "training" else parameters[target]
            elif op == "call_function":
                values[name] = call(resolve(target), arguments)
            elif op == "call_method":
                values[name] = call(lambda self, *a, _m=target, **k: getattr(self, _m)(*a, **k), arguments)
            elif op == "call_module":
                values[name] = call(modules[target], arguments)
        elif line.startswith("  output "):
            return evaluate(line.removeprefix("  output ")), modules
    raise AssertionError(f"no output in:\n{text}")


def same(a, b):
    """Bit for bit."""
    if isinstance(a, torch.Tensor):
        if not isinstance(b, torch.Tensor) or a.dtype != b.dtype or a.shape != b.shape:
            return False
        return torch.equal(a, b) or torch.allclose(a, b, rtol=0, atol=0, equal_nan=True)
    if isinstance(a, (tuple, list)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b))
    return a == b
