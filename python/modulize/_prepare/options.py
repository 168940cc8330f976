"""The options of prepare_model: checked here, handed on as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from modulize import _core
from modulize._prepare.arguments import (
    before_compiling,
    check_concrete_args,
    check_excluded_modules,
    check_inputs,
    check_list,
    check_model,
    is_on_meta,
)
from modulize._prepare.targets import Target, find_target

_CHOICES = {
    "on_dynamic": ("branch", "keep", "specialize", "error"),
    "shared_parameters": ("tie", "copy"),
    "hierarchy": ("flat", "keep"),
    "layout_modules": (False, True),
    "decompose_attention": (False, True),
    "plain_outputs": (False, True),
    "idioms": (False, True),
}


@dataclass(frozen=True)
class Options:
    """What :func:`modulize.prepare_model` is told, with the target's choices where it is told nothing."""

    model: torch.nn.Module
    modules_to_exclude: Sequence[torch.nn.Module] | None
    module_classes_to_exclude: Sequence[type] | None
    concrete_args: dict[str, Any] | None
    example_inputs: tuple[Any, ...] | None
    example_kwargs: dict[str, Any] | None
    functions_to_exclude: Sequence[Callable[..., Any]] | None
    on_dynamic: str
    target: Target
    shared_parameters: str
    hierarchy: str
    layout_modules: bool
    decompose_attention: bool
    plain_outputs: bool
    idioms: bool
    verify: bool

    @classmethod
    def of(cls, *, model: Any, target: Any, example_inputs: Any, **given: Any) -> Options:
        """The options from the arguments of :func:`modulize.prepare_model`.

        Raises
        ------
        ArgumentError
            One of them is not what it must be.
        UnsupportedError
            The package of the target is missing.
        """
        check_model(model)
        model = before_compiling(model)
        preset = find_target(target)
        preset.require_package()
        for name in ("shared_parameters", "decompose_attention", "plain_outputs"):
            given[name] = getattr(preset, name) if given[name] is None else given[name]
        for name, allowed in _CHOICES.items():
            if given[name] not in allowed:
                raise _core.ArgumentError(f"{name} must be one of {allowed}, not {given[name]!r}")
        inputs = check_inputs(example_inputs, given["example_kwargs"])
        check_excluded_modules(model, given["modules_to_exclude"])
        check_list("module_classes_to_exclude", given["module_classes_to_exclude"], _is_class, "classes")
        check_list("functions_to_exclude", given["functions_to_exclude"], callable, "callables")
        check_concrete_args(model, given["concrete_args"])
        if is_on_meta(model):
            inputs, given["example_kwargs"] = _core.on_meta((inputs, given["example_kwargs"]))
        return cls(model=model, target=preset, example_inputs=inputs, **given)

    @property
    def outputs(self) -> Callable[[Any], Any] | None:
        """What makes outputs plain."""
        return self.target.outputs if self.plain_outputs else None

    @property
    def keywords(self) -> dict[str, Any]:
        """What forward is called with by keyword."""
        return {**(self.example_kwargs or {}), **(self.concrete_args or {})}

    @property
    def is_exact(self) -> bool:
        """Whether the outputs must be the original's in every bit."""
        return self.target.exact and not self.decompose_attention and not self.idioms

    def of_engine(self) -> dict[str, Any]:
        """As `_core.prepare` takes them."""
        return {
            "model": self.model,
            "example_inputs": self.example_inputs,
            "example_kwargs": self.example_kwargs,
            "concrete_args": self.concrete_args or None,
            "modules_to_exclude": self.modules_to_exclude,
            "module_classes_to_exclude": self.module_classes_to_exclude,
            "functions_to_exclude": self.functions_to_exclude,
            "on_dynamic": self.on_dynamic,
            "target": self.target.name,
            "layout_modules": self.layout_modules,
            "tie_parameters": self.shared_parameters == "tie",
            "decompose_attention": self.decompose_attention,
            "idioms": self.idioms,
            "plain_outputs": self.outputs,
            "plain_sizes": self.target.plain_sizes,
            "keep_blocks": self.hierarchy == "keep",
            "verify": self.verify,
        }


def _is_class(value: Any) -> bool:
    return isinstance(value, type)
