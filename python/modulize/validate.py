"""What a quantization tool would stumble over in a model, before and after preparing."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import torch

from modulize import _core
from modulize._api import capture
from modulize._prepare.arguments import check_concrete_args, check_inputs, check_model
from modulize._prepared import PreparedModule
from modulize.report.text import visible

__all__ = ["Finding", "Validation", "validate_model"]

_LONGEST = 1000  # characters of a line


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that a quantization tool would stumble over.

    Attributes
    ----------
    kind : str
        ``"reused_module"``, ``"functional"``, ``"opaque_module"``, ``"control_flow"``, ``"non_tensor_input"``,
        ``"non_tensor_output"``, ``"unused_module"``, ``"shared_parameter"`` or ``"not_captured"``.
    is_error : bool
        Whether a quantizer cannot be placed right because of it. What is no error needs attention only.
    path : str
        The module, or the module whose ``forward`` makes the call; ``""`` for the model itself.
    where : str
        ``file:line`` in the user's code, or ``""``.
    message : str
        What was found, and what it breaks.
    remedy : str
        What can be done.
    """

    kind: str
    is_error: bool
    path: str
    where: str
    message: str
    remedy: str

    def __str__(self) -> str:
        place = f"  {self.where}" if self.where else ""
        first = f"{'error' if self.is_error else 'note'}: {self.kind}: {self.message}{place}"
        return f"{visible(first, _LONGEST)}\n    {self.remedy}"


class Validation:
    """The answer of :func:`validate_model`: true if no finding is an error; iterable over its findings."""

    def __init__(self, findings: list[Finding]) -> None:
        self.findings = findings

    @property
    def errors(self) -> list[Finding]:
        """The findings that are errors."""
        return [finding for finding in self.findings if finding.is_error]

    def of_kind(self, kind: str) -> list[Finding]:
        """The findings of one kind."""
        return [finding for finding in self.findings if finding.kind == kind]

    def __bool__(self) -> bool:
        return not self.errors

    def __len__(self) -> int:
        return len(self.findings)

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain data: ``ok`` and ``findings``."""
        return {"ok": bool(self), "findings": [dataclasses.asdict(finding) for finding in self.findings]}

    def to_json(self) -> str:
        """:meth:`as_dict` as JSON text."""
        return json.dumps(self.as_dict(), indent=2)

    def __str__(self) -> str:
        if not self.findings:
            return "nothing found: every computation is a module of its own, used once"
        notes = len(self) - len(self.errors)
        return "\n".join([f"{len(self.errors)} errors, {notes} notes", *map(str, self.findings)])

    def __repr__(self) -> str:
        return f"<modulize validation: {len(self.errors)} errors, {len(self)} findings>"


def validate_model(
    model: torch.nn.Module,
    example_inputs: Any = None,
    example_kwargs: dict[str, Any] | None = None,
    *,
    concrete_args: dict[str, Any] | None = None,
) -> Validation:
    """Say what a quantization tool would stumble over in a model.

    Takes a model as it is, to learn what preparing would mend, or a prepared one, to learn what is left. The model is
    captured as by :func:`modulize.prepare_model`, and not changed. A prepared model needs no inputs: what preparing
    made of it is looked at, not what its ``torch.fx`` graph was edited to afterwards.

    Parameters
    ----------
    model : torch.nn.Module
        The model, prepared or not.
    example_inputs, example_kwargs, concrete_args
        As for :func:`modulize.prepare_model`.

    Returns
    -------
    Validation
        True in a condition if every computation is a module of its own, used once; holds a list of :class:`Finding`.
        A model that cannot be captured gives one finding that says why.

    Raises
    ------
    ArgumentError
        An argument of this function is not what it must be.

    Examples
    --------
    >>> import torch
    >>> from modulize import prepare_model, validate_model
    >>> class Net(torch.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.relu = torch.nn.ReLU()
    ...     def forward(self, x):
    ...         return self.relu(self.relu(x) + 1)
    >>> [(finding.kind, finding.path) for finding in validate_model(Net())]
    [('reused_module', 'relu'), ('functional', '')]
    >>> bool(validate_model(prepare_model(Net())))
    True
    """
    check_model(model)
    inputs = check_inputs(example_inputs, example_kwargs)
    check_concrete_args(model, concrete_args)
    if isinstance(model, PreparedModule):
        graph = model.__dict__["_modulize_program"].graph
    else:
        try:
            graph = capture(model, inputs, example_kwargs, concrete_args)
        except (_core.CaptureError, _core.UnsupportedError) as error:
            way_out = "give example_inputs" if inputs is None and example_kwargs is None else "see the message"
            return Validation([Finding("not_captured", True, "", "", str(error), way_out)])
    found = _core.validate(graph, _leaves(model), _shared_tensors(model))
    return Validation([Finding(**entry) for entry in found])


def _leaves(model: torch.nn.Module) -> list[tuple[str, str]]:
    return [
        (path, f"{type(module).__module__}.{type(module).__qualname__}")
        for path, module in model.named_modules()
        if path and next(module.children(), None) is None and type(module).forward is not torch.nn.Module.forward
    ]


def _shared_tensors(model: torch.nn.Module) -> list[list[str]]:
    """The names of each Parameter or buffer that several modules hold; a module with several paths counts once."""
    names: dict[int, list[str]] = {}
    for path, module in model.named_modules():
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                if tensor is not None:
                    names.setdefault(id(tensor), []).append(f"{path}.{name}" if path else name)
    return [found for found in names.values() if len(found) > 1]
