"""Containers of the original with added children, which nobody who counts or iterates shall see."""

from __future__ import annotations

from typing import Any, Callable

from torch import nn

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


class AddedChildrenHidden:
    """Marks containers whose length, indices and iteration show their own children, not the added ones."""


def _through_view(name: str) -> Callable[..., Any]:
    """A method that runs the container's own `name` on a copy without the added children, and keeps what it changed."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        cls = type(self)._modulize_base
        added = {key: self._modules[key] for key in self.__dict__.get("_modulize_added", ()) if key in self._modules}
        view = object.__new__(cls)
        own = {key: child for key, child in self._modules.items() if key not in added}
        view.__dict__ = {**self.__dict__, "_modules": dict(own)}
        result = getattr(cls, name)(view, *args, **kwargs)
        if dict(view._modules) != own:
            self.__dict__["_modules"] = type(self._modules)({**view._modules, **added})
        return self if result is view else result

    method.__name__ = name
    return method


_VIEWED = (
    "__len__ __iter__ __getitem__ __setitem__ __delitem__ __contains__ __add__ __iadd__ __mul__ __imul__ __reversed__ "
    "__dir__ append extend insert pop clear update keys items values"
).split()


def view_members(base: type) -> dict[str, Any]:
    return {name: _through_view(name) for name in _VIEWED if hasattr(base, name) and not hasattr(object, name)} | {
        "__dir__": _through_view("__dir__")
    }


def container_class(base: type) -> type:
    """The subclass of the container class `base`, of the same name, that hides added children.

    `base` comes first: then the two have one layout, whatever the bases of `base` are, and an object may change over.
    """
    known: type
    for known in type.__subclasses__(base):  # weak references: a class of the user's is not kept alive
        if vars(known).get("_modulize_base") is base and known.__bases__ == (base, AddedChildrenHidden):
            return known
    members = {"__module__": base.__module__, "__qualname__": base.__qualname__, "_modulize_base": base}
    members["__reduce_ex__"] = _reduce_container
    return type(base)(base.__name__, (base, AddedChildrenHidden), members | view_members(base))


def _reduce_container(self: nn.Module, protocol: Any) -> tuple[Any, ...]:
    base: Any = vars(type(self))["_modulize_base"]
    return (_new_container, (base,), self.__dict__.copy())


def _new_container(base: type) -> Any:
    return object.__new__(container_class(base))


def hide_additions(container: nn.Module) -> None:
    """Makes a container's clone hide the children that are in its `_modulize_added`."""
    if not isinstance(container, AddedChildrenHidden):
        object.__setattr__(container, "__class__", container_class(type(container)))
