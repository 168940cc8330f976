"""What the generated source calls: graphs, pickles and torch.fx name it ``modulize._runtime.<name>``."""

import torch.fx

from modulize import _core
from modulize._runtime.checks import (
    check,
    check_made,
    check_structure,
    check_unchanged,
    contents,
    keys,
    length,
    require,
    select,
    truth,
)
from modulize._runtime.contexts import enter, given, leave, reentrant, sdpa_kernel
from modulize._runtime.functions import Apply, Bound, call_spread, closure, gradient, plain_sizes, vmap
from modulize._runtime.objects import (
    delete_attribute,
    extend,
    hand_out,
    rebuild,
    required,
    root_attribute,
    set_attribute,
    set_items,
)
from modulize._runtime.sites import Sites

__all__ = [
    "Apply",
    "Bound",
    "Sites",
    "call_spread",
    "check",
    "check_made",
    "check_structure",
    "check_unchanged",
    "closure",
    "contents",
    "delete_attribute",
    "enter",
    "extend",
    "given",
    "gradient",
    "hand_out",
    "keys",
    "leave",
    "length",
    "plain_sizes",
    "rebuild",
    "reentrant",
    "require",
    "required",
    "root_attribute",
    "sdpa_kernel",
    "select",
    "set_attribute",
    "set_items",
    "truth",
    "vmap",
]

for _name in __all__:
    globals()[_name].__module__ = __name__

# torch.fx must not take them for dead code.
if hasattr(torch.fx.node, "has_side_effect"):
    for _name in _core.functions_that_act():
        _home, _, _own = _name.rpartition(".")
        torch.fx.node.has_side_effect(globals()[_own] if _home == __name__ else _core.resolve_name(_name))
