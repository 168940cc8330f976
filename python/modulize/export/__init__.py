"""Prepared models as Python packages that a person reads, and that import with torch alone."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from modulize._core import ArgumentError, UnsupportedError
from modulize._extras import need
from modulize._prepared import PreparedModule
from modulize._prepared.ties import is_tied
from modulize.export.model_source import ModelSource, block, join
from modulize.export.runtime_source import operations_source, runtime_source
from modulize.export.values import quoted

__all__ = ["load_source", "save_source"]

_FILES = ("__init__.py", "model.py", "operations.py", "runtime.py", "weights.safetensors")
_LOADING = {"load_tensors", "read_tensors", "set_modes"}


def save_source(prepared: nn.Module, folder: str | Path, *, weights: bool = True, overwrite: bool = False) -> Path:
    """Write a prepared model as a Python package with its weights beside it.

    The package holds ``model.py`` (one class for each different block, with constructor arguments and ``forward``;
    comments show the original's lines), ``operations.py`` and ``runtime.py`` (the small modules that it needs, written
    along) and ``weights.safetensors``. Importing it needs torch, and the packages of modules and functions that were
    kept whole or excluded: these are imported by name. Its ``load()`` gives the model: outputs, ``state_dict`` keys and
    module paths are the prepared model's. The same model gives the same bytes.

    Parameters
    ----------
    prepared : torch.nn.Module
        What :func:`modulize.prepare_model` returned. A graph that was edited since is written as torch.fx prints it.
    folder : str or path
        Where to write; its name is the package's. Made where missing.
    weights : bool
        Write the weights. Without them, ``load()`` leaves the parameters as the constructors draw them.
    overwrite : bool
        Replace a package that was written there before.

    Returns
    -------
    pathlib.Path
        The folder.

    Raises
    ------
    ArgumentError
        ``prepared`` is no prepared model, or the folder holds something else.
    UnsupportedError
        Something in the model cannot be written as source; the message says what. Nothing is left behind then.

    Examples
    --------
    >>> import tempfile, torch
    >>> from modulize import load_source, prepare_model, save_source
    >>> prepared = prepare_model(torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.ReLU()))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     loaded = load_source(save_source(prepared, f"{folder}/net"))
    >>> x = torch.randn(3, 4)
    >>> torch.equal(loaded(x), prepared(x))
    True
    """
    if not isinstance(prepared, PreparedModule):
        raise ArgumentError(f"prepared must be a model that prepare_model returned, not a {type(prepared).__name__}")
    folder = _path(folder)
    _check_folder(folder, overwrite)
    source = ModelSource(prepared)
    text = source.text()
    if source.hidden():
        source = ModelSource(prepared, source.hidden())
        text = source.text()
    files = {"model.py": text}
    if source.operations:
        files["operations.py"] = operations_source(source.operations)
    files["runtime.py"] = runtime_source(source.runtime | _LOADING)
    files["__init__.py"] = _init_source(source, prepared, weights)
    tensors = _tensors(source, prepared) if weights else {}
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".modulize-") as unfinished:
        made = Path(unfinished) / "package"
        made.mkdir()
        for name, text in files.items():
            (made / name).write_text(text, encoding="utf-8", newline="\n")
        if weights:
            need("numpy", "export")  # what safetensors goes through
            need("safetensors.torch", "export").save_file(tensors, str(made / _FILES[-1]), metadata={"format": "pt"})
            (made / _FILES[-1]).chmod((made / "model.py").stat().st_mode)  # it is the writer's alone otherwise
        with contextlib.nullcontext() if weights else torch.device("meta"):
            _check(_load(made), prepared, weights)
        _forget(made)
        shutil.rmtree(made / "__pycache__", ignore_errors=True)
        folder.mkdir(exist_ok=True)
        for name in (*_FILES, "__pycache__"):
            _remove(folder / name)
        for file in made.iterdir():
            file.replace(folder / file.name)
    return folder


def load_source(folder: str | Path) -> nn.Module:
    """The model of a package that :func:`save_source` wrote, with its weights, in the mode it was saved in.

    This runs the package's code, as importing it does: load what you trust.

    Parameters
    ----------
    folder : str or path
        The package's folder. It need not be on ``sys.path``.
    """
    folder = _path(folder).resolve()
    if not (folder / "__init__.py").is_file():
        raise ArgumentError(f"{folder} holds no package: there is no __init__.py in it")
    try:
        return _load(folder)
    except Exception as error:  # whatever its code raises
        raise ArgumentError(f"{folder} cannot be loaded: {type(error).__name__}: {error}") from error


def _load(folder: Path) -> nn.Module:
    name = _module_name(folder)
    _forget(folder)  # the files may have been written anew
    file = folder / "__init__.py"
    spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=[str(folder)])
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    importlib.invalidate_caches()
    written = sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    try:
        spec.loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = written
    model: nn.Module = module.load()
    return model


def _path(folder: Any) -> Path:
    if not isinstance(folder, (str, os.PathLike)) or not os.fspath(folder):
        raise ArgumentError(f"folder must be a path, not {folder!r}")
    return Path(folder)


def _module_name(folder: Path) -> str:
    """Under which a package is imported that need not be on ``sys.path``."""
    return f"_modulize_source_{abs(hash(str(folder.resolve()))):x}"


def _forget(folder: Path) -> None:
    name = _module_name(folder)
    for known in [key for key in sys.modules if key == name or key.startswith(name + ".")]:
        del sys.modules[known]


def _check_folder(folder: Path, overwrite: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise ArgumentError(f"{folder} is a file, not a folder")
    there = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    foreign = [name for name in there if name not in (*_FILES, "__pycache__")]
    if foreign:
        raise ArgumentError(f"{folder} holds {foreign[0]!r}, which save_source did not write: give another folder")
    if there and not overwrite:
        raise ArgumentError(f"{folder} holds a package already: overwrite=True replaces it")


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _init_source(source: ModelSource, prepared: Any, weights: bool) -> str:
    mode = bool(prepared.training)
    others = [path for path, module in prepared.named_modules() if bool(module.training) is not mode]
    modes = block("    runtime.set_modes(", ["model", str(mode), *map(quoted, others)], ")").replace("\n", "\n    ")
    return f'''"""A model written by modulize. ``load()`` gives it with its weights."""

import os

import torch

from . import runtime
from .model import {source.root_class}

__all__ = ["{source.root_class}", "load"]


def load(weights={quoted(_FILES[-1]) if weights else None}):
    """The model, with the weights of a safetensors file beside this one; None leaves them as they are drawn."""
    if weights:
        tensors = runtime.read_tensors(os.path.join(os.path.dirname(os.path.abspath(__file__)), weights))
        with torch.device("meta"):  # no memory and no random numbers for what is replaced at once
            model = {source.root_class}()
        runtime.load_tensors(model, tensors)
    else:
        model = {source.root_class}()
{modes}
    return model
'''


def _tensors(source: ModelSource, prepared: Any) -> dict[str, torch.Tensor]:
    """Every tensor once, under the path where the exported model holds it."""
    found: dict[str, torch.Tensor] = dict(source.extra_tensors)
    for path, module in prepared.named_modules():
        for name, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is not None and not is_tied(module, name):
                found[join(path, name)] = tensor
    if "__metadata__" in found:
        raise UnsupportedError("a tensor of the model is named '__metadata__', which safetensors keeps for itself")
    written: dict[int, str] = {}
    for path, tensor in found.items():
        if tensor.is_meta:
            raise UnsupportedError(f"the tensor {path!r} is on the meta device and has no values: weights=False")
        if tensor.layout is not torch.strided or tensor.is_quantized:
            raise UnsupportedError(f"the tensor {path!r} is {tensor.layout}: safetensors holds dense tensors only")
        data = tensor.detach().cpu().contiguous()
        if data.numel() and written.setdefault(data.untyped_storage().data_ptr(), path) != path:
            data = data.clone()
        found[path] = data if data.untyped_storage().nbytes() == data.nbytes else data.clone()
    return found


def _check(loaded: nn.Module, prepared: Any, weights: bool) -> None:
    """What was written gives the same tree with the same state."""
    ours, theirs = ([path for path, _ in model.named_modules()] for model in (loaded, prepared))
    if ours != theirs:
        odd = sorted(set(ours) ^ set(theirs)) or theirs
        raise UnsupportedError(f"the module {odd[0]!r} would not come back as it is")
    for kind in ("named_parameters", "named_buffers"):
        ours, theirs = ([name for name, _ in getattr(model, kind)()] for model in (loaded, prepared))
        if ours != theirs:
            odd = sorted(set(ours) ^ set(theirs)) or theirs
            raise UnsupportedError(f"{odd[0]!r} of {kind} would not come back as it is")
    state, expected = loaded.state_dict(), prepared.state_dict()
    if list(state) != list(expected):
        odd = sorted(set(state) ^ set(expected)) or list(expected)
        raise UnsupportedError(f"the key {odd[0]!r} of the state_dict would not come back as it is")
    for name, value in expected.items():
        if weights and isinstance(value, torch.Tensor) and not _same_bits(state[name], value):
            raise UnsupportedError(f"the tensor {name!r} would not come back as it is")


def _same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    b = b.detach().cpu()
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return torch.equal(a, b) or bool(((a == b) | ((a != a) & (b != b))).all())
