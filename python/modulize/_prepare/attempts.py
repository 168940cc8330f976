"""Preparing and verifying; where the result is another than the original's, once more with more kept whole."""

from __future__ import annotations

from typing import Any

import torch

from modulize import _core
from modulize._prepare.options import Options
from modulize._prepare.verify import verify_outputs
from modulize._report import Report


def prepare_verified(options: Options) -> torch.fx.GraphModule:
    """The prepared model with its report."""
    captures: list[dict[str, Any]] = []  # of all attempts
    try:
        return _attempt(options, captures)
    except _core.VerificationError as error:
        if options.on_dynamic == "error":
            raise
        # Something decides that no capture has seen: the original's code knows what.
        why = f"captured, it gives something else: {error}"
    try:
        return _attempt(options, captures, why)
    except _core.VerificationError:
        return _attempt(options, captures, why, prepare_inner=False)


def _attempt(
    options: Options, captures: list[dict[str, Any]], keep_root: str | None = None, prepare_inner: bool = True
) -> torch.fx.GraphModule:
    prepared, data = _core.prepare(**options.of_engine(), keep_root=keep_root, prepare_inner=prepare_inner)
    captures.extend(data["captures"])
    not_verified = _why_not(options, data["capture"], data.pop("without_values"), data.pop("as_on_cpu"))
    ties = _sharing_tensors(prepared, data["ties"])
    report = Report({**data, **prepared._modulize, "captures": captures, "ties": ties})
    prepared._modulize = report
    inputs = options.example_inputs or ()
    has_run = data["capture"] == "running"
    if options.target.finish:
        options.target.finish(prepared, inputs if has_run else None, options.keywords)
    report.not_verified = not_verified
    if not not_verified:
        report.largest_difference, report.not_verified = verify_outputs(
            options.model, prepared, inputs, options.keywords, plain_outputs=options.outputs, exact=options.is_exact
        )
    return prepared


def _why_not(options: Options, capture: str, without_values: list[str], as_on_cpu: list[str]) -> str:
    """Why the outputs are not compared: nobody asked for it, or the original cannot run there; empty if they are."""
    if not options.verify or capture != "running":
        return "captured without inputs" if options.verify else "verify=False"
    if without_values:
        places = ", ".join(dict.fromkeys(without_values))
        return f"on the meta device, where tensors have no values, the original cannot run: {places} asks for one"
    if as_on_cpu:
        places = ", ".join(dict.fromkeys(as_on_cpu))
        return f"the original does something else on the meta device than anywhere else: {places} asks where it runs"
    return ""


def _sharing_tensors(prepared: Any, copies: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Of the pairs (new module, the module that it is a copy of) those that have tensors to share."""

    def holds_tensors(path: str) -> bool:
        module: Any = prepared
        for name in path.split("."):
            module = module._modules[name]
        return any(m._parameters or m._buffers for m in module.modules())

    return [pair for pair in copies if holds_tensors(pair[0])]
