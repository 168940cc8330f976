"""Models that are called in several ways, such as by ``generate``: one prepared model for each way."""

from __future__ import annotations

import functools
from typing import Any, Callable

import torch

from modulize import _core
from modulize._api import prepare_model
from modulize._prepare.arguments import check_model
from modulize._prepared.program import with_others

__all__ = ["prepare_for"]


def prepare_for(model: torch.nn.Module, run: Callable[[torch.nn.Module], Any], **options: Any) -> torch.fx.GraphModule:
    """Prepare a model for all the ways in which ``run`` calls it.

    ``run`` is called with the model, and what it calls the model with are the example inputs: each call that the
    prepared models so far refuse by an :class:`AssumptionError` gets one of its own. The result takes every call to the
    first that does not refuse it. All share their parameters and buffers.

    Parameters
    ----------
    model : torch.nn.Module
        The model, in train or eval mode. Not changed.
    run : callable
        Takes the model and uses it, as with ``model.generate``; short, as every call is run twice.
    **options
        Of :func:`prepare_model`, but for the example inputs.

    Returns
    -------
    torch.fx.GraphModule

    Raises
    ------
    ArgumentError
        ``run`` does not call the model.

    Examples
    --------
    >>> import torch
    >>> from modulize import prepare_for
    >>> class Scale(torch.nn.Module):
    ...     def forward(self, x, twice=False):
    ...         return x * 2 if twice else x + 1
    >>> x = torch.ones(2)
    >>> prepared = prepare_for(Scale(), lambda m: (m(x), m(x, twice=True)))
    >>> prepared(x, twice=True).tolist(), prepared(x).tolist()
    ([2.0, 2.0], [2.0, 2.0])
    """
    check_model(model)
    if not callable(run):
        raise _core.ArgumentError(f"run must be a function that takes the model, not {run!r}")
    prepared: list[Any] = []
    for args, kwargs in _calls(model, run):
        if not any(_takes(one, args, kwargs) for one in prepared):
            prepared.append(prepare_model(model, example_inputs=args, example_kwargs=kwargs, **options))
    if not prepared:
        raise _core.ArgumentError("run must call the model that it is given, and did not")
    return with_others(prepared[0], prepared[1:])


def _calls(model: torch.nn.Module, run: Callable[[torch.nn.Module], Any]) -> list[tuple[Any, Any]]:
    """Copies of what the model is called with, as it is before each call."""
    calls: list[tuple[Any, Any]] = []
    forward = model.forward

    @functools.wraps(forward)
    def noting(*args: Any, **kwargs: Any) -> Any:
        calls.append(_core.copied((args, kwargs)))
        return forward(*args, **kwargs)

    with _core.Checkpoint(model):
        model.__dict__["forward"] = noting
        run(model)
    return calls


def _takes(prepared: Any, args: Any, kwargs: Any) -> bool:
    args, kwargs = _core.copied((args, kwargs))
    try:
        with _core.Checkpoint(prepared, given=(args, kwargs)), torch.no_grad():
            prepared.forward(*args, **kwargs)
    except _core.AssumptionError:
        return False
    return True
