"""Which computing calls of one forward are modules of their own, seen from outside while the prepared model runs.

A call computes if it yields floating-point values that were not in its inputs (the names that do not are ``MOVES`` of
fidelity.py). It counts as a module if it happens inside a leaf module, one module call as one; as a leftover if the
generated forward makes it; as kept if code of the user makes it, in a function or module that was kept whole.
"""

from __future__ import annotations

import collections
import dataclasses
import os
import sys
import threading
from types import FrameType
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as module_hooks
from torch.overrides import TorchFunctionMode

from fidelity import MOVES, tensors_in

# These move or select values as well; a prepared model may have modules for them all the same.
SELECTS = frozenset(
    """
    sort argsort topk unique unique_consecutive masked_select nonzero take take_along_dim scatter scatter_
    index_put index_put_ index_copy index_copy_ tril triu as_tensor scalar_tensor as_strided unfold unsqueeze_
    squeeze_ view_as_real view_as_complex swapdims moveaxis ravel rot90 hstack vstack atleast_1d new_tensor
    broadcast_to broadcast_tensors tensor_split __getitem__ __setitem__ expand_copy resize_ set_ requires_grad_
    detach_ cpu cuda requires_grad item tolist numpy empty_strided rand randn rand_like randn_like bernoulli
    diagonal diag_embed __get__ __set__ stack unbind_copy pin_memory is_floating_point
    """.split()
)
_TORCH = os.path.dirname(torch.__file__) + os.sep
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def is_leaf(module: nn.Module) -> bool:
    """What a quantizer sees as one operation: modules of torch.nn, and modulize's own that have no children."""
    where = type(module).__module__
    if isinstance(module, (torch.fx.GraphModule, *_CONTAINERS)):
        return False
    if where.startswith("torch.nn."):
        return True
    return where.startswith("modulize.") and next(module.children(), None) is None


@dataclasses.dataclass
class Observed:
    modules: int = 0
    leftovers: list[str] = dataclasses.field(default_factory=list)
    kept: list[str] = dataclasses.field(default_factory=list)
    # Leaf modules that ran more than once in the forward.
    repeated: list[str] = dataclasses.field(default_factory=list)

    @property
    def share(self) -> float:
        """Of the computing calls, those that are modules of their own."""
        calls = self.modules + len(self.leftovers) + len(self.kept)
        return self.modules / calls if calls else 1.0


class _Watch(TorchFunctionMode):
    def __init__(self, prepared: nn.Module) -> None:
        super().__init__()
        self.seen = Observed()
        self.thread = threading.get_ident()
        self.inside = 0  # leaf modules that are running
        self.calls: collections.Counter[int] = collections.Counter()
        self.paths = {id(module): path for path, module in prepared.named_modules()}

    def before(self, module: nn.Module, args: Any) -> None:
        if threading.get_ident() != self.thread or not is_leaf(module):
            return
        if not self.inside:
            self.seen.modules += 1
            self.calls[id(module)] += 1
        self.inside += 1

    def after(self, module: nn.Module, args: Any, result: Any) -> None:
        if threading.get_ident() == self.thread and is_leaf(module):
            self.inside -= 1

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", type(func).__name__)
        if not self.inside and name not in MOVES and name not in SELECTS:
            given = {id(tensor) for tensor in tensors_in((args, kwargs))}
            # An in-place operation computes as well, though it returns its input.
            in_place = name.endswith("_") and not name.endswith("__")
            if any(t.is_floating_point() and (in_place or id(t) not in given) for t in tensors_in(result)):
                generated, where = _caller()
                (self.seen.leftovers if generated else self.seen.kept).append(f"{name} {where}")
        return result


def _caller() -> tuple[bool, str]:
    """Whether generated code made the call, and the line."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_code.co_filename.startswith(_TORCH):
        frame = frame.f_back
    assert frame is not None
    file = frame.f_code.co_filename
    return not os.path.exists(file), f"{file}:{frame.f_lineno}"


def observe(prepared: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Observed:
    """Runs the prepared model once and looks."""
    watch = _Watch(prepared)
    hooks = [
        module_hooks.register_module_forward_pre_hook(watch.before),
        module_hooks.register_module_forward_hook(watch.after, always_call=True),
    ]
    try:
        with torch.no_grad(), watch:
            prepared(*args, **kwargs)
    finally:
        for hook in hooks:
            hook.remove()
    watch.seen.repeated = [watch.paths.get(key, "?") for key, count in watch.calls.items() if count > 1]
    return watch.seen
