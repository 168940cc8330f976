"""Objects as forward makes and changes them, and values that one part of it hands to another."""

from __future__ import annotations

import collections
from typing import Any


def rebuild(cls: type, items: Any, bound: int | None, /, **attributes: Any) -> Any:
    """An object of class ``cls`` with these items and attributes, made without its constructor.

    ``bound`` is a deque's."""
    if issubclass(cls, tuple):
        made: Any = tuple.__new__(cls, items or ())
    else:
        base: Any = next((c for c in _BASES if issubclass(cls, c)), object)
        made = base.__new__(cls)
        if base is collections.deque:
            collections.deque.__init__(made, items, bound)
        elif base is list:
            list.extend(made, items)
        elif base is not object:
            for key, item in items.items():
                base.__setitem__(made, key, item)
    for name, value in attributes.items():
        object.__setattr__(made, name, value)
    return made


_BASES: tuple[Any, ...] = (collections.OrderedDict, collections.defaultdict, dict, list, collections.deque)


def set_attribute(target: Any, name: str, value: Any) -> None:
    """Set an attribute past the class's own ``__setattr__``."""
    object.__setattr__(target, name, value)


def delete_attribute(target: Any, name: str) -> None:
    """Delete an attribute past the class's own ``__delattr__``."""
    object.__delattr__(target, name)


def required(value: Any, what: str) -> Any:
    """A value that a block takes from around it, by keyword."""
    if value is ...:
        raise TypeError(what)
    return value


def hand_out(taken: Any, name: str, value: Any) -> None:
    """Leave a value of a block to what is around it, if it asks: nothing that the block returns holds it."""
    if taken is not None:
        taken[name] = value


def extend(target: Any, items: Any) -> None:
    """Append to a list or deque what forward has appended to it."""
    (list if isinstance(target, list) else collections.deque).extend(target, items)


def set_items(target: Any, items: Any) -> None:
    """Give a list or deque other items."""
    if isinstance(target, list):
        list.__setitem__(target, slice(None), items)
    else:
        collections.deque.clear(target)
        collections.deque.extend(target, items)


def root_attribute(root: Any, name: str) -> Any:
    """An attribute of the prepared model that torch.fx.GraphModule hides by one of its own, such as `code`."""
    for key in ("_parameters", "_buffers", "_modules"):
        if name in root.__dict__[key]:
            return root.__dict__[key][name]
    return root.__dict__[name]
