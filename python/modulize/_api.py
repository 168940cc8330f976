"""The public function: checks what it is given and hands it to the engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from modulize import _core
from modulize._prepare.attempts import prepare_verified
from modulize._prepare.options import Options


def prepare_model(
    model: torch.nn.Module,
    modules_to_exclude: list[torch.nn.Module] | None = None,
    module_classes_to_exclude: list[type] | None = None,
    concrete_args: dict[str, Any] | None = None,
    *,
    example_inputs: Any = None,
    example_kwargs: dict[str, Any] | None = None,
    functions_to_exclude: list[Callable[..., Any]] | None = None,
    on_dynamic: str = "branch",
    target: str = "torch",
    shared_parameters: str | None = None,
    hierarchy: str = "flat",
    layout_modules: bool = False,
    decompose_attention: bool | None = None,
    plain_outputs: bool | None = None,
    idioms: bool = False,
    verify: bool = True,
) -> torch.fx.GraphModule:
    """Return an equal model in which every computation is a module of its own, used once.

    Functional calls, operators and tensor methods that compute become modules; a module that is called several times
    becomes one module a call, with tied parameters. The given model is not changed; the two share their parameters.

    Parameters
    ----------
    model : torch.nn.Module
        The model, in train or eval mode.
    modules_to_exclude : list of torch.nn.Module, optional
        Modules of ``model`` that are left alone with all their children.
    module_classes_to_exclude : list of type, optional
        The same for all modules of exactly these classes.
    concrete_args : dict of str to Any, optional
        Arguments of ``forward`` that are fixed to a value. They keep their place in the prepared ``forward``; another
        value raises there.
    example_inputs : torch.Tensor or tuple or list, optional
        Positional inputs to run the model with; a single tensor stands for a tuple of one. With example inputs the
        model is captured by running it; without, by passing symbols through it. Never changed. Of a model on the meta
        device they may be anywhere: their shapes count.
    example_kwargs : dict of str to Any, optional
        Keyword inputs to run the model with.
    functions_to_exclude : list of callable, optional
        Calls of these functions stay one node each.
    on_dynamic : {"branch", "keep", "specialize", "error"}
        What becomes of control flow on tensor values. ``"branch"``: both sides are captured and prepared, and the
        prepared model decides as the original does; what cannot be captured so is kept whole at the smallest place.
        ``"keep"``: the function or module that decides is kept whole. ``"specialize"``: the side that the example
        takes is prepared, and another outcome raises. ``"error"``: refused.
    target : {"torch", "aimet", "torch.ao", "brevitas"} or a registered name
        Whose module classes the computations become, see docs/targets.md and :func:`register_target`.
    shared_parameters : {"tie", "copy"}, optional
        Whether the modules made of a reused one share its parameters, or have copies of their own, which are further
        keys of the ``state_dict`` and train apart. The target's choice if not given: ``"copy"`` for ``"aimet"``, else
        ``"tie"``.
    hierarchy : {"flat", "keep"}
        ``"flat"``: one graph of leaf modules. ``"keep"``: every module that is traced through stays callable, as a
        ``GraphModule`` that runs its part; see docs/hierarchy.md.
    layout_modules : bool
        Make modules of view, permute, getitem and the like too.
    decompose_attention : bool
        Open ``scaled_dot_product_attention``, ``nn.MultiheadAttention`` and the transformer layers of ``torch.nn`` into
        linear, matmul, scale, mask, softmax and dropout modules with the original's parameters. Outputs are then equal
        to rounding; see docs/attention.md. The target's choice if not given: True for ``"aimet"``.
    plain_outputs : bool
        Return tensors, tuples, lists and dicts in place of dataclasses, model outputs and caches. The target's choice
        if not given: ``"aimet"`` has tuples of tensors, as ``torch.jit.trace`` takes them.
    idioms : bool
        Make one module of a composition that is written by hand, such as ``x * torch.sigmoid(x)``. Outputs are then
        equal to rounding; see docs/idioms.md.
    verify : bool
        With example inputs: capture a second time with other values and, where the model takes it, another batch size,
        which finds values and sizes that would be frozen; and compare the outputs of both models bit for bit. A model
        on the meta device has no values to compare: ``report.not_verified`` says so.

    Returns
    -------
    torch.fx.GraphModule
        The prepared model, with the original's ``forward`` signature, and a :class:`Report` as ``report``.

    Raises
    ------
    ArgumentError
        An argument of this function is not what it must be.
    CaptureError
        ``forward`` does something that cannot be captured; the message says what, where, and the way out.
    UnsupportedError
        The model is not supported, or needs values on the meta device, where there are none.
    VerificationError
        The outputs of the prepared model differ from the original's.

    Examples
    --------
    >>> import torch
    >>> from modulize import prepare_model
    >>> class Net(torch.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.fc = torch.nn.Linear(4, 2)
    ...     def forward(self, x):
    ...         return torch.nn.functional.relu(self.fc(x))
    >>> prepared = prepare_model(Net().eval(), example_inputs=torch.randn(1, 4))
    >>> prepared.module_relu
    ReLU()
    """
    return prepare_verified(Options.of(**locals()))  # the parameters, and nothing else yet


def capture(model: torch.nn.Module, inputs: Any, kwargs: Any, concrete_args: Any) -> _core.Graph:
    """The captured graph alone."""
    return _core.capture(model, inputs, kwargs, concrete_args or None)
