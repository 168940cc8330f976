"""The public function: checks what it is given and hands it to the engine."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch

from modulize import _core
from modulize._report import Report
from modulize._targets import find_target
from modulize._verify import verify_outputs


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
        model is captured by running it; without, by passing symbols through it. Never changed.
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
        which finds values and sizes that would be frozen; and compare the outputs of both models bit for bit.

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
        The model is not supported.
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
    check_model(model)
    model = _before_compiling(model)
    preset = find_target(target)
    preset.require_package()
    shared_parameters = preset.shared_parameters if shared_parameters is None else shared_parameters
    decompose_attention = preset.decompose_attention if decompose_attention is None else decompose_attention
    plain_outputs = preset.plain_outputs if plain_outputs is None else plain_outputs
    _check_options(
        on_dynamic=on_dynamic,
        shared_parameters=shared_parameters,
        hierarchy=hierarchy,
        layout_modules=layout_modules,
        decompose_attention=decompose_attention,
        idioms=idioms,
        plain_outputs=plain_outputs,
    )
    inputs = check_inputs(example_inputs, example_kwargs)
    _check_excluded_modules(model, modules_to_exclude)
    _check_list("module_classes_to_exclude", module_classes_to_exclude, lambda c: isinstance(c, type), "classes")
    _check_list("functions_to_exclude", functions_to_exclude, callable, "callables")
    check_concrete_args(model, concrete_args)

    outputs = preset.outputs if plain_outputs else None
    captures: list[dict[str, Any]] = []  # of all attempts

    def attempt(keep_root: str | None = None, prepare_inner: bool = True) -> torch.fx.GraphModule:
        prepared, data = _core.prepare(
            model,
            example_inputs=inputs,
            example_kwargs=example_kwargs,
            concrete_args=concrete_args or None,
            modules_to_exclude=modules_to_exclude,
            module_classes_to_exclude=module_classes_to_exclude,
            functions_to_exclude=functions_to_exclude,
            on_dynamic=on_dynamic,
            target=target,
            layout_modules=layout_modules,
            tie_parameters=shared_parameters == "tie",
            decompose_attention=decompose_attention,
            idioms=idioms,
            plain_outputs=outputs,
            plain_sizes=preset.plain_sizes,
            keep_blocks=hierarchy == "keep",
            keep_root=keep_root,
            prepare_inner=prepare_inner,
            verify=verify,
        )
        captures.extend(data["captures"])
        ties = _sharing_tensors(prepared, data["ties"])
        report = Report({**data, **prepared._modulize, "captures": captures, "ties": ties})
        prepared._modulize = report
        kwargs = {**(example_kwargs or {}), **(concrete_args or {})}
        if preset.finish:
            preset.finish(prepared, (inputs or ()) if data["capture"] == "running" else None, kwargs)
        if verify and data["capture"] == "running":
            report.largest_difference = verify_outputs(
                model,
                prepared,
                inputs or (),
                kwargs,
                plain_outputs=outputs,
                exact=preset.exact and not decompose_attention and not idioms,
            )
        return prepared

    try:
        return attempt()
    except _core.VerificationError as error:
        if on_dynamic == "error":
            raise
        # Something decides that no capture has seen: the original's code knows what.
        why = f"captured, it gives something else: {error}"
    try:
        return attempt(why)
    except _core.VerificationError:
        return attempt(why, prepare_inner=False)


def _sharing_tensors(prepared: Any, copies: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Of the pairs (new module, the module that it is a copy of) those that have tensors to share."""

    def holds_tensors(path: str) -> bool:
        module: Any = prepared
        for name in path.split("."):
            module = module._modules[name]
        return any(m._parameters or m._buffers for m in module.modules())

    return [pair for pair in copies if holds_tensors(pair[0])]


def capture(model: torch.nn.Module, inputs: Any, kwargs: Any, concrete_args: Any) -> _core.Graph:
    """The captured graph alone. Recorded places end at this file: see Recorder::is_entry."""
    return _core.capture(model, inputs, kwargs, concrete_args or None)


def _before_compiling(model: torch.nn.Module) -> torch.nn.Module:
    """The model that ``torch.compile`` was given, of one that it has made; any other itself."""
    dynamo = sys.modules.get("torch._dynamo.eval_frame")
    while dynamo and isinstance(model, dynamo.OptimizedModule):
        model = model._orig_mod
    return model


def check_model(model: Any, name: str = "model") -> None:
    if not isinstance(model, torch.nn.Module):
        hint = ": call it first, prepare_model takes the object" if isinstance(model, type) else ""
        raise _core.ArgumentError(f"{name} must be a torch.nn.Module, not {_describe(model)}{hint}")
    if getattr(model.forward, "__func__", None) is torch.nn.Module.forward:
        raise _core.ArgumentError(f"{name} is {_describe(model)}, which has no forward")


def _check_options(**options: Any) -> None:
    choices = {
        "on_dynamic": ("branch", "keep", "specialize", "error"),
        "shared_parameters": ("tie", "copy"),
        "hierarchy": ("flat", "keep"),
        "layout_modules": (False, True),
        "decompose_attention": (False, True),
        "plain_outputs": (False, True),
        "idioms": (False, True),
    }
    for name, allowed in choices.items():
        if options[name] not in allowed:
            raise _core.ArgumentError(f"{name} must be one of {allowed}, not {options[name]!r}")


def check_inputs(example_inputs: Any, example_kwargs: Any) -> tuple[Any, ...] | None:
    if example_kwargs is not None and not (
        isinstance(example_kwargs, dict) and all(isinstance(k, str) for k in example_kwargs)
    ):
        raise _core.ArgumentError(f"example_kwargs must be a dict of keyword inputs, not {_describe(example_kwargs)}")
    if example_inputs is None:
        return None
    if isinstance(example_inputs, torch.Tensor):
        return (example_inputs,)
    if isinstance(example_inputs, (tuple, list)):
        return tuple(example_inputs)
    hint = ""
    if isinstance(example_inputs, dict):
        hint = ": keyword inputs go to example_kwargs; a dict that is itself the only input goes into a tuple"
    raise _core.ArgumentError(
        f"example_inputs must be a tensor, a tuple or a list, not {_describe(example_inputs)}{hint}"
    )


def _check_excluded_modules(model: torch.nn.Module, excluded: Sequence[Any] | None) -> None:
    _check_list("modules_to_exclude", excluded, lambda m: isinstance(m, torch.nn.Module), "modules of the model")
    if not excluded:
        return
    inside = {id(m) for m in model.modules()}
    for position, module in enumerate(excluded):
        if id(module) not in inside:
            raise _core.ArgumentError(
                f"modules_to_exclude[{position}], a {type(module).__name__}, is not in the model: "
                "give the object itself, such as model.layer1"
            )
        if module is model:
            raise _core.ArgumentError(
                f"modules_to_exclude[{position}] is the model itself: nothing would be left to prepare"
            )


def _check_list(name: str, value: Any, accepts: Callable[[Any], bool], what: str) -> None:
    if value is None:
        return
    if not isinstance(value, (list, tuple, set, frozenset)):
        raise _core.ArgumentError(f"{name} must be a list of {what}, not {_mistaken(value)}")
    for position, item in enumerate(value):
        if not accepts(item):
            raise _core.ArgumentError(f"{name} must hold {what}, but entry {position} is {_mistaken(item)}")


def _mistaken(value: Any) -> str:
    hint = ": inputs are given as example_inputs=..." if isinstance(value, torch.Tensor) else ""
    return _describe(value) + hint


def check_concrete_args(model: torch.nn.Module, concrete_args: Any) -> None:
    if concrete_args is None:
        return
    if not isinstance(concrete_args, dict):
        raise _core.ArgumentError(f"concrete_args must be a dict of argument names, not {_describe(concrete_args)}")
    names = list(inspect.signature(model.forward).parameters)
    for name in concrete_args:
        if name not in names:
            raise _core.ArgumentError(
                f"concrete_args names '{name}', but forward of {type(model).__name__} has the arguments "
                f"{', '.join(names) or '(none)'}"
            )


def _describe(value: Any) -> str:
    if isinstance(value, type):
        return f"the class {value.__name__}"
    article = "an" if type(value).__name__[:1].lower() in "aeiou" else "a"
    return f"{article} {type(value).__name__}"
