"""How far a prepared model is from its original: in both modes, on the example and on other inputs."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch

from modulize._core import ArgumentError, AssumptionError, VerificationError
from modulize._prepare.arguments import check_inputs, check_model
from modulize._prepare.verify import run, verify_outputs

__all__ = ["compare_models"]


def compare_models(
    model: torch.nn.Module,
    prepared: Any,
    example_inputs: Any = None,
    example_kwargs: dict[str, Any] | None = None,
    *,
    exact: bool = True,
) -> list[dict[str, Any]]:
    """Run both models in eval and in train mode: on the example, on other values, another batch size, another size.

    Modes, buffers and the random state are put back. The result also becomes ``prepared.report.comparisons``.

    Parameters
    ----------
    model : torch.nn.Module
        The original.
    prepared : torch.fx.GraphModule
        What :func:`modulize.prepare_model` made of it.
    example_inputs, example_kwargs
        As for :func:`modulize.prepare_model`.
    exact : bool
        Compare bit for bit; otherwise up to rounding, for models prepared with ``decompose_attention``.

    Returns
    -------
    list of dict
        One entry a run, with the keys ``mode``, ``inputs``, ``result`` and ``difference``, the largest absolute one,
        which is ``None`` where tensors are on the meta device and have no values.
        ``result`` is ``"equal"``; ``"different"``; ``"refused"`` where the original takes no such input;
        ``"assumed"`` where the prepared model's assumptions refuse it; ``"failed"`` where it raises anything else. The
        reason stands under ``reason``.

    Examples
    --------
    >>> import torch
    >>> from modulize import compare_models, prepare_model
    >>> model, x = torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.ReLU()), torch.randn(3, 4)
    >>> runs = compare_models(model, prepare_model(model, example_inputs=x), x)
    >>> [(run["mode"], run["inputs"], run["result"]) for run in runs][:2]
    [('eval', 'example', 'equal'), ('eval', 'other values', 'equal')]
    """
    check_model(model)
    check_model(prepared, "prepared")
    if example_inputs is None and example_kwargs is None:
        raise ArgumentError("give example_inputs or example_kwargs: both models run on them")
    inputs = check_inputs(example_inputs, example_kwargs) or ()
    found: list[dict[str, Any]] = []
    for mode in ("eval", "train"):
        for what, args, kwargs in _variants(inputs, example_kwargs or {}):
            entry: dict[str, Any] = {"mode": mode, "inputs": what, "result": "equal", "difference": 0.0, "reason": ""}
            with _mode(model, mode), _mode(prepared, mode):
                try:
                    entry["difference"], entry["reason"] = verify_outputs(model, prepared, args, kwargs, exact=exact)
                except VerificationError as error:
                    entry |= {"result": "different", "difference": None, "reason": str(error)}
                except AssumptionError as error:
                    entry |= {"result": "assumed", "difference": None, "reason": str(error)}
                except Exception as error:
                    result = "refused" if _raises(model, args, kwargs) else "failed"
                    reason = f"{type(error).__name__}: {error}"
                    entry |= {"result": result, "difference": None, "reason": " ".join(reason.split())[:300]}
            found.append(entry)
    if getattr(prepared, "report", None) is not None:
        prepared.report.comparisons = found
    return found


def _raises(model: torch.nn.Module, args: Any, kwargs: Any) -> bool:
    try:
        run(model, args, kwargs, False, [])
    except Exception:  # whatever the user's forward raises
        return True
    return False


class _mode:
    """Runs the block with a model in a mode, and puts every module's own back."""

    def __init__(self, model: torch.nn.Module, mode: str) -> None:
        self.model, self.mode = model, mode

    def __enter__(self) -> None:
        self.flags = [(module, module.training) for module in self.model.modules()]
        if self.model.training is not (self.mode == "train"):
            self.model.train(self.mode == "train")

    def __exit__(self, *_: Any) -> None:
        for module, flag in self.flags:
            module.training = flag


# --- other inputs ----------------------------------------------------------------------------------


def _variants(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    generator = torch.Generator().manual_seed(0)
    yield "example", args, kwargs
    yield "other values", *_redrawn((args, kwargs), lambda shape: shape, generator)
    rows = _rows((args, kwargs))
    if rows is not None:
        yield "another batch size", *_redrawn((args, kwargs), lambda s: _batch(s, rows), generator)
    if any(tensor.dim() == 4 for tensor in _tensors((args, kwargs))):
        yield "another image size", *_redrawn((args, kwargs), _larger, generator)


def _batch(shape: tuple[int, ...], rows: int) -> tuple[int, ...]:
    return (rows + 1, *shape[1:]) if shape and shape[0] == rows else shape


def _larger(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape[:2], shape[2] + 32, shape[3] + 32) if len(shape) == 4 else shape


def _tensors(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return [tensor for item in items for tensor in _tensors(item)]


def _rows(value: Any) -> int | None:
    """The batch size: what every tensor has in front."""
    sizes = {tensor.shape[0] for tensor in _tensors(value) if tensor.dim()}
    return sizes.pop() if len(sizes) == 1 else None


def _redrawn(value: Any, shape_of: Any, generator: torch.Generator) -> Any:
    """The same structure with other values and shapes; integers are drawn from those seen."""
    if isinstance(value, torch.Tensor):
        shape = tuple(shape_of(tuple(value.shape)))
        if value.is_floating_point():
            drawn = torch.randn(shape, generator=generator)
            return drawn.to(value.device, value.dtype).requires_grad_(value.requires_grad)
        if not value.numel():
            return value.new_empty(shape)
        picks = torch.randint(value.numel(), shape, generator=generator)
        return value.flatten()[picks.to(value.device)]
    if type(value) is dict:
        return {key: _redrawn(item, shape_of, generator) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_redrawn(item, shape_of, generator) for item in value)
    return copy.deepcopy(value)
