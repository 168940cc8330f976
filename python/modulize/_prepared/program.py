"""The program that a prepared model runs, and the models that take the calls it refuses."""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
from typing import Any

from torch import nn

from modulize import _core
from modulize._prepared.branch import Branch, install_branch
from modulize._prepared.fx_graph import snapshot
from modulize._prepared.ties import _after_load, others_of


def install(prepared: Any, program: Any) -> None:
    """Makes `program` what forward runs."""
    state = prepared.__dict__
    for name in _PROGRAM_STATE:
        state.pop(name, None)
    state["_modulize_program"] = program
    use_program(prepared)
    hooks = state.get("_load_state_dict_post_hooks")  # torch 1.12; before, loading never replaces a tensor
    if hooks is not None and _after_load not in hooks.values():
        nn.Module.register_load_state_dict_post_hook(prepared, _after_load)


def use_program(prepared: Any) -> None:
    forward = prepared.__dict__["_modulize_program"].make_forward()
    # The source has names, kinds and defaults of the original's signature; annotations may be any objects.
    original = inspect.unwrap(getattr(type(prepared)._modulize_base, "forward", forward))
    code = forward.__code__
    known = {*code.co_varnames[: code.co_argcount + code.co_kwonlyargcount + 2], "return"}
    annotations = getattr(original, "__annotations__", None) or {}
    forward.__annotations__ = {name: value for name, value in annotations.items() if name in known}
    type(prepared).forward = _by_call(forward) if others_of(prepared) else forward


def with_others(prepared: Any, others: list[Any]) -> Any:
    """Makes `prepared` hand the calls that it refuses to `others`, which are prepared of the same model."""
    prepared.__dict__["_modulize_others"] = others
    use_program(prepared)
    return prepared


def _by_call(own: Any) -> Any:
    @functools.wraps(own)
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        others = others_of(self)
        try:
            return own(self, *args, **kwargs)
        except _core.AssumptionError:
            if not others:
                raise
        for other in others[:-1]:
            with contextlib.suppress(_core.AssumptionError):
                return other(*args, **kwargs)
        return others[-1](*args, **kwargs)

    return forward


def take_program(prepared: Any, program: Any, source: Any) -> None:
    prepared.__dict__["_modulize_program"] = program
    if is_edited(source):
        prepared.graph = copy.deepcopy(source._graph)
    else:
        use_program(prepared)


_PROGRAM_STATE = ("_modulize_program", "_fx_graph", "_fx_snapshot", "_fx_code")


def state_without_program(prepared: Any) -> dict[str, Any]:
    return {key: value for key, value in prepared.__dict__.items() if key not in _PROGRAM_STATE}


def is_edited(prepared: Any) -> bool:
    """Has somebody changed the torch.fx graph since it was built?"""
    graph = prepared.__dict__.get("_fx_graph")
    return graph is not None and prepared.__dict__.get("_fx_snapshot") != snapshot(graph)


def access_by_attributes(prepared: Any) -> None:
    """Lets the program of `prepared` reach modules by attributes, as tools that wrap containers need it."""
    for module in prepared.modules():
        if isinstance(module, Branch):
            owner = module._modulize_owner[0]
            install_branch(module, owner, *(side.with_attribute_access(owner) for side in module._modulize_sides))
    install(prepared, prepared.__dict__["_modulize_program"].with_attribute_access(prepared))
