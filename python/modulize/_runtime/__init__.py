"""What the generated source calls: graphs, pickles and torch.fx name it ``modulize._runtime.<name>``."""

import operator

import torch.fx

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

# Nothing reads their results: torch.fx must not take them for dead code.
if hasattr(torch.fx.node, "has_side_effect"):
    for _function in (
        check,
        check_structure,
        check_made,
        check_unchanged,
        require,
        set_attribute,
        delete_attribute,
        extend,
        set_items,
        required,
        hand_out,
        enter,
        leave,
    ):
        torch.fx.node.has_side_effect(_function)
    for _builtin in (setattr, delattr, operator.setitem, operator.delitem):
        torch.fx.node.has_side_effect(_builtin)
