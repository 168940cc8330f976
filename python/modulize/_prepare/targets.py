"""Targets: whose module classes stand for operations, and what a tool needs beside them."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from modulize import _core
from modulize._prepare.operations import class_name
from modulize._runtime.plain_outputs import plain, traceable

__all__ = ["Target", "find_target", "register_target"]


Finish = Callable[[torch.fx.GraphModule, "tuple[Any, ...] | None", dict[str, Any]], object]


@dataclass(frozen=True)
class Target:
    """What a target presets beside its classes, which the core keeps (core/ops/target.h)."""

    name: str
    package: str = ""
    """Must be importable; `install` says how to get it."""
    install: str = ""
    shared_parameters: str = "tie"
    decompose_attention: bool = False
    plain_outputs: bool = False
    outputs: Callable[[Any], Any] = plain
    """Makes outputs plain."""
    plain_sizes: bool = False
    """Sizes are plain numbers in a torch.jit.trace, too."""
    exact: bool = True
    """The outputs are the original's in every bit."""
    finish: Finish | None = None
    """Called with the prepared model and the example, None without, and keyword inputs; changes the model in place."""

    def require_package(self) -> None:
        """Raise one clear line where the package of the target is missing."""
        if self.package and importlib.util.find_spec(self.package) is None:
            raise _core.UnsupportedError(
                f"target={self.name!r} needs {self.package}, which is not installed: {self.install}"
            )


def _finish_by(tool: str) -> Finish:
    return lambda *given: importlib.import_module(f"modulize._tools.{tool}").finish(*given)  # needs the tool


_targets: dict[str, Target] = {
    target.name: target
    for target in (
        Target("torch"),
        Target(
            "aimet",
            package="aimet_torch",
            install="pip install aimet-torch",
            shared_parameters="copy",
            decompose_attention=True,
            plain_outputs=True,
            outputs=traceable,
            plain_sizes=True,
            exact=False,
            finish=_finish_by("aimet"),
        ),
        Target("torch.ao", exact=False, finish=_finish_by("torch_ao")),  # SiLU in two operations
        Target("brevitas", package="brevitas", install="pip install brevitas", finish=_finish_by("brevitas")),
    )
}


def find_target(name: Any) -> Target:
    """The target of a name, or one clear error."""
    if not isinstance(name, str) or name not in _targets:
        raise _core.ArgumentError(f"target must be one of {', '.join(_targets)}, not {name!r}")
    return _targets[name]


def register_target(
    name: str,
    classes: Mapping[Callable[..., Any] | str, type | str],
    *,
    names: str = "torch",
    shared_parameters: str = "tie",
    decompose_attention: bool = False,
    plain_outputs: bool = False,
    exact: bool = True,
    finish: Finish | None = None,
) -> None:
    """Make ``target=name`` available: module classes of one's own for operations, and what goes with them.

    Registering a name again replaces the target; the targets that come with modulize cannot be replaced.

    Parameters
    ----------
    name : str
        What ``prepare_model(target=...)`` is given.
    classes : dict
        Operation to class. The operation is a function (``torch.add``, ``torch.nn.functional.relu``,
        ``operator.matmul``) or its qualified name, in any spelling that docs/ops.md lists. The class takes what the
        function takes, a tensor first, and is made without arguments; or it is a text with a form of its own:
        ``"mylib.Add(input, other)"`` is called with these arguments alone, ``"mylib.Concat[axis=dim](*tensors)"`` is
        made with ``axis`` and called with the tensors one by one, ``"mylib.Float:add(input, other)"`` is a module
        whose method is called, and ``"-"`` leaves the call as it is. Where a call does not fit the form, and for
        operations that are not named, the modules of ``target="torch"`` stand.
    names : {"torch", "aimet"}
        The rule by which new modules are named (docs/names.md).
    shared_parameters : {"tie", "copy"}
        What ``shared_parameters=None`` means with this target.
    decompose_attention, plain_outputs : bool
        Whether preparing for this target turns the option on.
    exact : bool
        False if a class computes otherwise than the operation: outputs are compared to a tolerance then.
    finish : callable, optional
        Called with the prepared model, the example (a tuple or None) and its keyword inputs; may change the model.

    Raises
    ------
    ArgumentError
        An operation is not in the table, a class cannot be imported by its name, or a text has no such form.

    Examples
    --------
    >>> import torch
    >>> from modulize import prepare_model, register_target
    >>> register_target("softer", {torch.relu: "torch.nn.Softplus(input)"}, exact=False)
    >>> class Net(torch.nn.Module):
    ...     def forward(self, x):
    ...         return torch.relu(x)
    >>> prepare_model(Net(), target="softer").module_relu
    Softplus(beta=1.0, threshold=20.0)
    """
    if not isinstance(name, str) or not name:
        raise _core.ArgumentError(f"name must be a text, not {name!r}")
    if names not in ("torch", "aimet"):
        raise _core.ArgumentError(f"names must be 'torch' or 'aimet', not {names!r}")
    if shared_parameters not in ("tie", "copy"):
        raise _core.ArgumentError(f"shared_parameters must be 'tie' or 'copy', not {shared_parameters!r}")
    if not isinstance(classes, Mapping):
        raise _core.ArgumentError(f"classes must be a dict of operation to class, not {classes!r}")
    pairs = [(_call_of(operation), _text_of(cls)) for operation, cls in classes.items()]
    _core.register_target(name, names == "aimet", pairs)
    _targets[name] = Target(
        name,
        shared_parameters=shared_parameters,
        decompose_attention=decompose_attention,
        plain_outputs=plain_outputs,
        exact=exact,
        finish=finish,
    )


def _call_of(operation: Any) -> str:
    if isinstance(operation, str):
        return operation
    name = _core.function_name(operation) if callable(operation) else None
    if name is None:
        raise _core.ArgumentError(f"an operation is a function of torch or its name, not {operation!r}")
    return name


def _text_of(cls: Any) -> str:
    if not isinstance(cls, str):
        return class_name(cls)
    qualified = cls[: min((cls.find(c) for c in ":[(" if c in cls), default=len(cls))]
    if qualified != "-" and not isinstance(_core.resolve_name(qualified), type):
        raise _core.ArgumentError(f"{qualified} is not a class")
    return cls
