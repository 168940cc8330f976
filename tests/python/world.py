"""A snapshot of what capture may patch for its time: everything must be as before when it is over."""

import builtins
import math
import sys

import torch
import torch.fx._symbolic_trace
import torch.overrides
from torch import nn

# Modules of torch in which capture may bind a function of its own over an attribute.
_PATCHABLE = [
    "torch",
    "torch._tensor",
    "torch.amp.autocast_mode",
    "torch.autograd.grad_mode",
    "torch.compiler",
    "torch.functional",
    "torch.jit",
    "torch.nn.functional",
    "torch.nn.modules.module",
    "torch.overrides",
    "torch.utils.checkpoint",
]
_CLASSES = [
    nn.Module,
    nn.ReLU,
    nn.Linear,
    nn.Conv2d,
    nn.Sequential,
    torch.Tensor,
    torch.fx.Proxy,
    torch.fx.Tracer,
    torch.amp.autocast_mode.autocast,
    torch.autograd.grad_mode.no_grad,
    torch.autograd.grad_mode.inference_mode,
    torch.jit.ScriptFunction,
    torch.Size,
]
# Written by CPython itself at first use.
_FILLED_LATER = {"__doc__", "__annotations__", "__abstractmethods__", "_abc_impl", "__slotnames__"}


class World:
    """Take one before, call ``assert_unchanged`` after. ``namespaces``: globals of the user's code."""

    def __init__(self, *namespaces: dict) -> None:
        self._namespaces = namespaces
        self._before = self._take()

    def _take(self) -> dict[str, object]:
        def identities(mapping) -> dict[str, int]:
            return {key: id(value) for key, value in mapping.items()}

        state: dict[str, object] = {
            "function modes": [id(mode) for mode in torch.overrides._get_current_function_mode_stack()],
            "grad mode": torch.is_grad_enabled(),
            "inference mode": torch.is_inference_mode_enabled(),
            "autocast": torch.is_autocast_enabled("cpu"),
            "default dtype": torch.get_default_dtype(),
            "profile function": sys.getprofile(),
            "trace function": sys.gettrace(),
            "recursion limit": sys.getrecursionlimit(),
            "builtins": identities({k: v for k, v in vars(builtins).items() if k != "_"}),
            "math": identities(vars(math)),
            "wrapped functions": list(torch.fx._symbolic_trace._wrapped_fns_to_patch),
            "Module global hooks": [
                len(getattr(torch.nn.modules.module, name))
                for name in ("_global_forward_hooks", "_global_forward_pre_hooks", "_global_backward_hooks")
            ],
        }
        for name in _PATCHABLE:
            if name in sys.modules:
                # Lazily loaded submodules may appear; functions and classes must stay what they are.
                state[name] = {key: id(value) for key, value in vars(sys.modules[name]).items() if callable(value)}
        for cls in _CLASSES:
            state[f"class {cls.__qualname__}"] = {
                key: id(value) for key, value in vars(cls).items() if key not in _FILLED_LATER
            }
        for index, namespace in enumerate(self._namespaces):
            state[f"namespace {index}"] = identities({k: v for k, v in namespace.items() if not k.startswith("@py")})
        return state

    def assert_unchanged(self) -> None:
        after = self._take()
        for key, before in self._before.items():
            now = after[key]
            if now == before:
                continue
            if isinstance(before, dict) and isinstance(now, dict):
                gone = {name for name in before if name not in now}
                changed = {name for name in before if name in now and now[name] != before[name]}
                added = set() if key in _PATCHABLE else {name for name in now if name not in before}
                assert not (gone or changed or added), f"{key}: changed {changed}, gone {gone}, added {added}"
            else:
                raise AssertionError(f"{key}: {before} became {now}")
