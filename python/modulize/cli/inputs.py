"""What the command line names: models by a Python reference, inputs by their shapes, weights by a file."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import re
import sys
import sysconfig
import traceback
from pathlib import Path
from typing import Any

import torch
from torch import nn

import modulize
from modulize._core import ArgumentError
from modulize._extras import need

__all__ = ["UsageError", "find", "load_weights", "make_inputs", "make_model", "place_of"]

_INSTALLED = ("site-packages", "dist-packages")
_SHAPE = re.compile(r"(?:(?P<name>[^=:,]+)=)?(?P<shape>\d+(?:[x,]\d+)*|scalar)(?::(?P<dtype>\w+))?")


class UsageError(ArgumentError):
    """The command was written wrong; nothing has run yet."""


def find(reference: str) -> Any:
    """What ``package.module:name`` or ``folder/file.py:name`` names."""
    place, _, name = reference.rpartition(":")
    if not place or not name:
        raise UsageError(f"{reference!r} is no reference: write package.module:name or file.py:name")
    found: Any = _module(place)
    for part in name.split("."):
        if not hasattr(found, part):
            raise ArgumentError(f"{place} has no {name!r}")
        found = getattr(found, part)
    return found


def _module(place: str) -> Any:
    if place.endswith(".py"):
        file = Path(place).resolve()
        if not file.is_file():
            raise ArgumentError(f"there is no file {place}")
        # By its own name, so that its classes can be imported again; no statement imports one with a dot.
        name = file.stem.replace(".", "-")
        loaded = getattr(sys.modules.get(name), "__file__", None)
        if name in sys.modules and (loaded is None or Path(loaded).resolve() != file):
            raise ArgumentError(f"{place} has the name of the module {name}, which is loaded already: rename the file")
        folder = str(file.parent)
        if folder not in sys.path:
            sys.path.insert(0, folder)
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return module
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name and (place == error.name or place.startswith(error.name + ".")):
            first = place.partition(".")[0]
            why = f": {first} is neither installed nor in this folder" if error.name == first else ""
            raise ArgumentError(f"there is no module {place!r}{why}") from None
        raise


def make_model(reference: str, arguments: list[str], weights: Path | None, training: bool) -> nn.Module:
    """The model of a reference: an object, or what a class or function gives when it is called."""
    found = find(reference)
    if not isinstance(found, nn.Module):
        if not callable(found):
            raise ArgumentError(f"{reference} is a {type(found).__name__}, neither a model nor a callable")
        found = _call(reference, found, **dict(map(_argument, arguments)))
    elif arguments:
        raise ArgumentError(f"{reference} is a model already: --arg has no meaning")
    if not isinstance(found, nn.Module):
        raise ArgumentError(f"{reference} gives a {type(found).__name__}, not a torch.nn.Module")
    if weights is not None:
        load_weights(found, weights)
    return found.train(training)


def _call(reference: str, function: Any, **arguments: Any) -> Any:
    """What the user's function gives. What it raises names it, and the line where it did."""
    try:
        return function(**arguments)
    except Exception as error:
        given = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
        raise ArgumentError(f"{reference}({given}) raises {type(error).__name__}{place_of(error)}: {error}") from error


def place_of(error: BaseException) -> str:
    """ " at file:line", the innermost outside of torch, this package and Python's library; else an empty text."""
    ours = [str(Path(str(package.__file__)).parent) + os.sep for package in (torch, modulize)]
    library = sysconfig.get_path("stdlib") + os.sep
    trace = [entry for entry in traceback.extract_tb(error.__traceback__) if os.path.isfile(entry.filename)]
    outside = [
        entry
        for entry in trace
        if not entry.filename.startswith(tuple(ours))
        and (not entry.filename.startswith(library) or entry.filename[len(library) :].startswith(_INSTALLED))
    ]
    return f" at {outside[-1].filename}:{outside[-1].lineno}" if outside else ""


def _argument(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"--arg {text!r}: write name=value, the value as JSON")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def load_weights(model: nn.Module, file: Path) -> None:
    """Reads a checkpoint: safetensors, or what torch.save wrote, of which nothing is executed."""
    if not file.is_file():
        raise ArgumentError(f"there is no file {file}")
    if file.suffix == ".safetensors":
        state = need("safetensors.torch", "export").load_file(str(file))
    else:
        try:
            state = torch.load(str(file), map_location="cpu", weights_only=True)
        except Exception as error:
            found = re.search(r"(?i)unsupported global:?(?: GLOBAL)? ([\w.]+)", str(error))
            lines = [line for line in re.sub(r"\x1b\[\d*m", "", str(error)).split("\n") if line]
            reason = f"it holds {found[1]}" if found else lines[0].partition(". ")[0]
            advice = "write it anew by torch.save(model.state_dict(), ...)"
            raise ArgumentError(f"{file} cannot be read as weights alone: {reason}; {advice}") from None
    if isinstance(state, dict):
        state = next((state[key] for key in ("state_dict", "model") if isinstance(state.get(key), dict)), state)
    if not isinstance(state, dict):
        raise ArgumentError(f"{file} holds a {type(state).__name__}, not a state_dict")
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise ArgumentError(f"{file} does not fit the model: {' '.join(str(error).split())[:300]}") from None


def make_inputs(shapes: list[str], function: str | None) -> tuple[tuple[Any, ...] | None, dict[str, Any] | None]:
    """Positional and keyword inputs: of shapes such as ``1x3x224x224`` and ``mask=1x16:int64``, or of a function."""
    if function:
        if shapes:
            raise UsageError("give --input or --inputs, not both")
        return _of_function(function)
    if not shapes:
        return None, None
    generator = torch.Generator().manual_seed(0)
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for text in shapes:
        match = _SHAPE.fullmatch(text)
        if not match:
            raise UsageError(f"--input {text!r}: write 1x3x224x224, 1x16:int64 or name=1x16:int64")
        sizes = [] if match["shape"] == "scalar" else [int(size) for size in re.split("[x,]", match["shape"])]
        dtype = getattr(torch, match["dtype"] or "float32", None)
        if not isinstance(dtype, torch.dtype):
            raise UsageError(f"--input {text!r}: torch has no dtype {match['dtype']!r}")
        if dtype.is_floating_point or dtype.is_complex:
            tensor = torch.randn(sizes, generator=generator).to(dtype)
        else:
            tensor = torch.randint(0, 2, sizes, generator=generator).to(dtype)
        if match["name"]:
            kwargs[match["name"]] = tensor
        else:
            args.append(tensor)
    return tuple(args), kwargs or None


def _of_function(reference: str) -> tuple[tuple[Any, ...], dict[str, Any] | None]:
    made = _call(reference, find(reference))
    if isinstance(made, dict):
        return (), made
    if isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], tuple) and isinstance(made[1], dict):
        return made[0], made[1] or None
    return (tuple(made) if isinstance(made, (list, tuple)) else (made,)), None
