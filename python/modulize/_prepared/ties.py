"""Tensors under several names: a prepared model keeps the original's names, order and ties."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Iterator
from typing import Any

from torch import nn


def _tied(module: nn.Module) -> dict[str, tuple[nn.Module, str]]:
    return module.__dict__.get("_modulize_tied") or {}


def _tensor(module: nn.Module, name: str) -> Any:
    for tensors in (module._parameters, module._buffers, module.__dict__):
        if name in tensors:
            return tensors[name]
    return None


def owner_of(module: nn.Module, name: str) -> tuple[nn.Module, str]:
    """Where the tensor stands that this name is tied to, the last of the chain; the place itself where it is not."""
    while (entry := _tied(module).get(name)) is not None:
        module, name = entry
    return module, name


def is_tied(module: nn.Module, name: str) -> bool:
    """Is the name tied, and was it left so?"""
    return name in _tied(module) and _tensor(*owner_of(module, name)) is _tensor(module, name)


def tied_names(root: nn.Module) -> list[tuple[nn.Module, str]]:
    """Every tied name below `root` that still is."""
    return [(module, name) for module in root.modules() for name in _tied(module) if is_tied(module, name)]


def retie(names: list[tuple[nn.Module, str]]) -> None:
    """Makes the names hold their owners' tensors again, after something replaced tensors one by one."""
    for module, name in names:
        tensor = _tensor(*owner_of(module, name))
        for tensors in (module._parameters, module._buffers):
            if name in tensors:
                tensors[name] = tensor
    for module in {id(module): module for module, _ in names}.values():
        _list_weights(module)


def _list_weights(module: nn.Module) -> None:
    if isinstance(module, nn.RNNBase):  # keeps a list of its weights beside
        module._flat_weights = [getattr(module, weight, None) for weight in module._flat_weights_names]


def own_tensors(root: nn.Module) -> None:
    """Gives the modules of a shallow clone copies of the Parameters and buffers they share with the original."""
    memo: dict[int, Any] = {}  # what was one tensor stays one
    for module in root.modules():
        held: list[dict[str, Any]] = [module._parameters, module._buffers]
        for tensors in held:
            for name, tensor in tensors.items():
                tensors[name] = copy.deepcopy(tensor, memo)
        module.__dict__.pop("_modulize_tied", None)
        _list_weights(module)


def _constants(root: nn.Module) -> list[tuple[nn.Module, str, Any]]:
    """The tensors that belong to no module of the original, such as those in plain lists; no checkpoint has them."""
    return [
        (module, name, module._buffers[name])
        for module in root.modules()
        for name in module.__dict__.get("_modulize_constants", ())
        if name in module._buffers
    ]


def _keep_constant(module: nn.Module, name: str, before: Any) -> None:
    """After a move: the values of a constant survive the way over the meta device, as they do in the original."""
    now: Any = module._buffers[name]
    kept = module.__dict__.setdefault("_modulize_constant_values", {})
    if now.is_meta and not before.is_meta:
        kept[name] = before
    elif before.is_meta and not now.is_meta and name in kept:
        module._buffers[name] = kept.pop(name).to(now.device, now.dtype)


def _drop_tied(module: nn.Module, state: dict[str, Any], prefix: str, metadata: Any) -> None:
    """After state_dict: tied tensors are their owner's. A module asked alone has its own."""
    if not prefix:
        return
    for name in _tied(module):
        if is_tied(module, name):
            state.pop(prefix + name, None)
    state.pop(prefix + "_extra_state", None)
    getattr(state, "_metadata", {}).pop(prefix[:-1], None)


def _keep_tied(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Before load_state_dict: keys of tied tensors are neither missing nor unexpected, and load nothing."""
    if not prefix:
        return
    for name in _tied(module):
        # With assign=True the owner may have a new tensor already; the root ties them again afterwards.
        if is_tied(module, name) or prefix + name not in state:
            state[prefix + name] = _tensor(module, name)
    if getattr(type(module), "set_extra_state", None) is not getattr(nn.Module, "set_extra_state", None):  # torch 1.10
        state[prefix + "_extra_state"] = module.get_extra_state()


def _after_load(root: nn.Module, incompatible_keys: Any) -> None:
    retie(root.__dict__.pop("_modulize_loading", []))
    _share_tensors(root)


# Of torch 1.11 and later.
_HOOKS_TAKE_MODULES = "with_module" in inspect.signature(nn.Module._register_load_state_dict_pre_hook).parameters


def hide_tied(module: nn.Module) -> None:
    """Leaves a module's tied tensors out of the state_dict of the models it is part of."""
    if _drop_tied not in module._state_dict_hooks.values():
        module._register_state_dict_hook(_drop_tied)
        if _HOOKS_TAKE_MODULES:
            module._register_load_state_dict_pre_hook(_keep_tied, with_module=True)
        else:
            module._register_load_state_dict_pre_hook(functools.partial(_keep_tied, module))


class TiedState(nn.Module):
    """Base of models in which a tensor may stand under several names: keeps names, order and ties."""

    def _named_members(
        self, get_members_fn: Any, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Any]]:
        if not remove_duplicate:  # torch.func and torch.export must learn every name
            yield from super()._named_members(get_members_fn, prefix, recurse, remove_duplicate)
            return
        modules = dict(self.named_modules(prefix=prefix)) if recurse else {prefix: self}
        inside = {id(module) for module in modules.values()}
        seen = set()
        for path, module in modules.items():
            constants = module.__dict__.get("_modulize_constants", ())
            for name, tensor in get_members_fn(module):
                if tensor is None or tensor in seen or name in constants:
                    continue
                # Listed where it stands in the original, unless somebody took that module away.
                if is_tied(module, name) and id(owner_of(module, name)[0]) in inside:
                    continue
                seen.add(tensor)
                yield path + ("." if path else "") + name, tensor

    def _apply(self, fn: Any, *args: Any, **kwargs: Any) -> Any:
        names, constants = tied_names(self), _constants(self)
        result = super()._apply(fn, *args, **kwargs)
        retie(names)
        for module, name, tensor in constants:
            _keep_constant(module, name, tensor)
        for other in others_of(self):
            other._apply(fn, *args, **kwargs)
        _share_tensors(self)
        return result

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        if _after_load in self.__dict__.get("_load_state_dict_post_hooks", {}).values():
            self.__dict__["_modulize_loading"] = tied_names(self)
        super()._load_from_state_dict(*args, **kwargs)


def others_of(prepared: nn.Module) -> list[Any]:
    """The models that take the calls which this one refuses."""
    return prepared.__dict__.get("_modulize_others", [])


def _share_tensors(prepared: nn.Module) -> None:
    """Gives the others the tensors that stand in this one, under the names that both have."""
    here = dict(prepared.named_modules(remove_duplicate=False))
    for other in others_of(prepared):
        names = tied_names(other)
        for path, module in other.named_modules(remove_duplicate=False):
            for kind in ("_parameters", "_buffers"):
                known = getattr(here.get(path), kind, {})
                tensors = getattr(module, kind)
                constants = module.__dict__.get("_modulize_constants", ())
                tensors.update({name: known[name] for name in tensors if name in known and name not in constants})
        retie(names)
