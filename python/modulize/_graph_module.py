"""The class of prepared models, and how it keeps the original's state: names, order, ties."""

from __future__ import annotations

import collections
import contextlib
import copy
import functools
import importlib
import inspect
import sys
import types
from collections.abc import Iterator
from typing import Any, Callable

import torch
from torch import fx, nn

from modulize import _core
from modulize._statements import statements_of
from modulize._tools.replay import is_traced, replay_branch

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)

# --- containers ------------------------------------------------------------------------------------


class AddedChildrenHidden:
    """Mix-in of containers: length, indices and iteration show the container's own children, not the added ones."""


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


def _view_members(base: type) -> dict[str, Any]:
    return {name: _through_view(name) for name in _VIEWED if hasattr(base, name) and not hasattr(object, name)} | {
        "__dir__": _through_view("__dir__")
    }


def container_class(base: type) -> type:
    """The subclass of the container class `base`, of the same name, that hides added children."""
    known: type
    for known in type.__subclasses__(base):  # weak references: a class of the user's is not kept alive
        if vars(known).get("_modulize_base") is base and not issubclass(known, PreparedModule):
            return known
    members = {"__module__": base.__module__, "__qualname__": base.__qualname__, "_modulize_base": base}
    members["__reduce_ex__"] = _reduce_container
    return type(base)(base.__name__, (AddedChildrenHidden, base), members | _view_members(base))


def _reduce_container(self: nn.Module, protocol: Any) -> tuple[Any, ...]:
    base: Any = vars(type(self))["_modulize_base"]
    return (_new_container, (base,), self.__dict__.copy())


def _new_container(base: type) -> Any:
    return object.__new__(container_class(base))


def hide_additions(container: nn.Module) -> None:
    """Makes a container's clone hide the children that are in its `_modulize_added`."""
    if not isinstance(container, AddedChildrenHidden):
        object.__setattr__(container, "__class__", container_class(type(container)))


# --- tensors under several names -------------------------------------------------------------------


def _tied(module: nn.Module) -> dict[str, tuple[nn.Module, str]]:
    return module.__dict__.get("_modulize_tied") or {}


def _tensor(module: nn.Module, name: str) -> Any:
    for tensors in (module._parameters, module._buffers, module.__dict__):
        if name in tensors:
            return tensors[name]
    return None


def _owner(module: nn.Module, name: str) -> tuple[nn.Module, str]:
    """Where the tensor stands that this name is tied to, the last of the chain; the place itself where it is not."""
    while (entry := _tied(module).get(name)) is not None:
        module, name = entry
    return module, name


def _is_tied(module: nn.Module, name: str) -> bool:
    """Is the name tied, and was it left so?"""
    return name in _tied(module) and _tensor(*_owner(module, name)) is _tensor(module, name)


def _tied_names(root: nn.Module) -> list[tuple[nn.Module, str]]:
    """Every tied name below `root` that still is."""
    return [(module, name) for module in root.modules() for name in _tied(module) if _is_tied(module, name)]


def _retie(names: list[tuple[nn.Module, str]]) -> None:
    """Makes the names hold their owners' tensors again, after something replaced tensors one by one."""
    for module, name in names:
        tensor = _tensor(*_owner(module, name))
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
        if _is_tied(module, name):
            state.pop(prefix + name, None)
    state.pop(prefix + "_extra_state", None)
    getattr(state, "_metadata", {}).pop(prefix[:-1], None)


def _keep_tied(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Before load_state_dict: keys of tied tensors are neither missing nor unexpected, and load nothing."""
    if not prefix:
        return
    for name in _tied(module):
        # With assign=True the owner may have a new tensor already; the root ties them again afterwards.
        if _is_tied(module, name) or prefix + name not in state:
            state[prefix + name] = _tensor(module, name)
    if getattr(type(module), "set_extra_state", None) is not getattr(nn.Module, "set_extra_state", None):  # torch 1.10
        state[prefix + "_extra_state"] = module.get_extra_state()


def _after_load(root: nn.Module, incompatible_keys: Any) -> None:
    _retie(root.__dict__.pop("_modulize_loading", []))
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
                if _is_tied(module, name) and id(_owner(module, name)[0]) in inside:
                    continue
                seen.add(tensor)
                yield path + ("." if path else "") + name, tensor

    def _apply(self, fn: Any, *args: Any, **kwargs: Any) -> Any:
        names, constants = _tied_names(self), _constants(self)
        result = super()._apply(fn, *args, **kwargs)
        _retie(names)
        for module, name, tensor in constants:
            _keep_constant(module, name, tensor)
        for other in _others(self):
            other._apply(fn, *args, **kwargs)
        _share_tensors(self)
        return result

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        if _after_load in self.__dict__.get("_load_state_dict_post_hooks", {}).values():
            self.__dict__["_modulize_loading"] = _tied_names(self)
        super()._load_from_state_dict(*args, **kwargs)


# --- the prepared model ----------------------------------------------------------------------------


class PreparedModule(TiedState, fx.GraphModule):
    """A prepared model: a torch.fx.GraphModule that is also an instance of the original's class.

    `forward` runs the source that the engine generated; `graph` is built when it is first read.
    """

    # torch.jit.script must not compile them.
    __jit_unused_properties__ = ["graph", "_graph", "code", "_code", "report", "other_ways", "_boxed_call"]
    _modulize_base: type | None = None

    @property
    def _graph(self) -> fx.Graph:
        state = self.__dict__
        if state.get("_fx_graph") is None:
            graph = state["_modulize_program"].make_fx_graph(self)
            kinds = state["_modulize_program"].parameter_kinds
            if _CodeGen is not object and set(kinds) & {"positional_only", "keyword_only"}:
                graph.set_codegen(SignatureCodeGen(kinds))
            state["_fx_graph"] = graph
            state["_fx_snapshot"] = _snapshot(graph)
        return state["_fx_graph"]

    @_graph.setter
    def _graph(self, graph: fx.Graph) -> None:
        self.__dict__["_fx_graph"] = graph
        self.__dict__.pop("_fx_snapshot", None)

    @property
    def _code(self) -> str:
        state = self.__dict__
        if "_fx_code" not in state:
            state["_fx_code"] = state["_modulize_program"].readable_source(self)
        return state["_fx_code"]

    @_code.setter
    def _code(self, code: str) -> None:
        self.__dict__["_fx_code"] = code

    @property
    def _modulize_module(self) -> Any:
        """The module itself, for a graph that writes its attributes."""
        return self

    @property
    def report(self) -> Any:
        """What the preparation did: a :class:`modulize.Report`."""
        return self.__dict__.get("_modulize")

    @property
    def other_ways(self) -> list[Any]:
        """The prepared models that take the calls which this one refuses, see :func:`modulize.prepare_for`."""
        return list(_others(self))

    @property
    def code(self) -> str:
        """The Python source of forward, as a person reads it."""
        return self._code

    def train(self, mode: bool = True) -> Any:
        for other in _others(self):
            other.train(mode)
        return super().train(mode)

    def recompile(self) -> Any:
        """Makes forward anew from `graph`, as torch.fx does it."""
        graph = self._graph
        self.__dict__.pop("_fx_snapshot", None)  # forward is torch.fx's from now on
        graph.owning_module = self
        return super().recompile()

    # -- copies --

    def __deepcopy__(self, memo: dict[int, Any]) -> PreparedModule:
        new: Any = object.__new__(prepared_class(type(self)))
        memo[id(self)] = new
        new.__dict__.update(copy.deepcopy(_state_without_program(self), memo))
        program = self.__dict__["_modulize_program"]
        _take_program(new, program.with_objects(copy.deepcopy(program.objects, memo)), self)
        for hook in new.__dict__.get("_deepcopy_hooks", ()):
            hook(new)
        return new

    def __copy__(self) -> PreparedModule:
        new: Any = object.__new__(prepared_class(type(self)))
        new.__dict__.update(_state_without_program(self))
        for name in ("_parameters", "_buffers", "_modules"):
            new.__dict__[name] = self.__dict__[name].copy()
        _take_program(new, self.__dict__["_modulize_program"], self)
        if any(isinstance(module, Branch) for module in self.modules()):
            new.__dict__["_forward_pre_hooks"] = self._forward_pre_hooks.copy()
            new.register_forward_pre_hook(_adopt_branches)
        return new

    def __reduce__(self) -> tuple[Any, ...]:
        return self.__reduce_ex__(2)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        program = self.__dict__["_modulize_program"]
        state = _state_without_program(self)
        state["_modulize_program"] = (
            program.text,
            _picklable(program.objects, type(self)._modulize_base),
            program.by_attributes,
        )
        if is_edited(self):
            state["_fx_graph"] = _pack_graph(self._graph)
        return (_new_prepared_of, (type(self)._modulize_base, type(self).__name__), state)

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        text, objects, *access = state.pop("_modulize_program")
        packed = state.pop("_fx_graph", None)
        nn.Module.__setstate__(self, state)
        self.__dict__["_modulize_program"] = _core.Program(text, objects, self, *access)
        if packed is None:
            _use_program(self)
        else:
            self.graph = _unpack_graph(packed, self)


# Functions, not methods: the original's class may have methods of these names.


def install(prepared: Any, program: Any) -> None:
    """Makes `program` what forward runs."""
    state = prepared.__dict__
    for name in _PROGRAM_STATE:
        state.pop(name, None)
    state["_modulize_program"] = program
    _use_program(prepared)
    hooks = state.get("_load_state_dict_post_hooks")  # torch 1.12; before, loading never replaces a tensor
    if hooks is not None and _after_load not in hooks.values():
        nn.Module.register_load_state_dict_post_hook(prepared, _after_load)


def _use_program(prepared: Any) -> None:
    forward = prepared.__dict__["_modulize_program"].make_forward()
    # The source has names, kinds and defaults of the original's signature; annotations may be any objects.
    original = inspect.unwrap(getattr(type(prepared)._modulize_base, "forward", forward))
    code = forward.__code__
    known = {*code.co_varnames[: code.co_argcount + code.co_kwonlyargcount + 2], "return"}
    annotations = getattr(original, "__annotations__", None) or {}
    forward.__annotations__ = {name: value for name, value in annotations.items() if name in known}
    type(prepared).forward = _by_call(forward) if _others(prepared) else forward


def _others(prepared: nn.Module) -> list[Any]:
    """The models that take the calls which this one refuses."""
    return prepared.__dict__.get("_modulize_others", [])


def with_others(prepared: Any, others: list[Any]) -> Any:
    """Makes `prepared` hand the calls that it refuses to `others`, which are prepared of the same model."""
    prepared.__dict__["_modulize_others"] = others
    _use_program(prepared)
    return prepared


def _by_call(own: Any) -> Any:
    @functools.wraps(own)
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        others = _others(self)
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


def _share_tensors(prepared: nn.Module) -> None:
    """Gives the others the tensors that stand in this one, under the names that both have."""
    here = dict(prepared.named_modules(remove_duplicate=False))
    for other in _others(prepared):
        names = _tied_names(other)
        for path, module in other.named_modules(remove_duplicate=False):
            for kind in ("_parameters", "_buffers"):
                known = getattr(here.get(path), kind, {})
                tensors = getattr(module, kind)
                constants = module.__dict__.get("_modulize_constants", ())
                tensors.update({name: known[name] for name in tensors if name in known and name not in constants})
        _retie(names)


def _take_program(prepared: Any, program: Any, source: PreparedModule) -> None:
    prepared.__dict__["_modulize_program"] = program
    if is_edited(source):
        prepared.graph = copy.deepcopy(source._graph)
    else:
        _use_program(prepared)


_PROGRAM_STATE = ("_modulize_program", "_fx_graph", "_fx_snapshot", "_fx_code")


def _state_without_program(prepared: Any) -> dict[str, Any]:
    return {key: value for key, value in prepared.__dict__.items() if key not in _PROGRAM_STATE}


def is_edited(prepared: Any) -> bool:
    """Has somebody changed the torch.fx graph since it was built?"""
    graph = prepared.__dict__.get("_fx_graph")
    return graph is not None and prepared.__dict__.get("_fx_snapshot") != _snapshot(graph)


def prepared_class(base: type, name: str | None = None) -> type:
    """A new class for one prepared model of class `base`, which `base` is a base of where it can be."""
    if issubclass(base, PreparedModule):
        name, base = name or base.__name__, base._modulize_base or nn.Module
    elif issubclass(base, fx.GraphModule):
        name, base = name or base.__name__, nn.Module
    members: dict[str, Any] = {"__module__": base.__module__, "__qualname__": base.__qualname__}
    bases: tuple[type, ...] = (PreparedModule,)
    if base is not nn.Module:
        members["_modulize_base"] = base
        bases = (PreparedModule, base)
        if issubclass(base, _CONTAINERS):
            bases = (PreparedModule, AddedChildrenHidden, base)
            members |= _view_members(base)
    else:
        members |= {"__module__": PreparedModule.__module__, "__qualname__": name or "GraphModule"}
    try:
        return type(base)(name or base.__name__, bases, members)
    except Exception:  # memory layouts that do not go together, or whatever the class's own machinery raises
        return type(name or base.__name__, (PreparedModule,), {"__module__": __name__, "_modulize_base": base})


_GRAPH_MODULE_STATE: dict[str, Callable[[], Any]] = {
    "_tracer_cls": lambda: None,
    "_tracer_extras": dict,
    "meta": dict,
    "_replace_hooks": list,
    "_create_node_hooks": list,
    "_erase_node_hooks": list,
    "_deepcopy_hooks": list,
    "shape_env": lambda: None,
    "_lineno_map": dict,
    "_prologue_start": lambda: 0,
}


def initialise(prepared: Any) -> None:
    """Gives a clone what torch.fx.GraphModule's constructor sets; drops what a traced original kept of its own."""
    state = prepared.__dict__
    for name in ("forward", "_graph", "_code"):
        state.pop(name, None)
    for name, make in _GRAPH_MODULE_STATE.items():
        state.setdefault(name, make())


def new_prepared(name: str) -> Any:
    """An empty prepared module, for a graph that stands for no module of the model."""
    prepared: Any = object.__new__(prepared_class(nn.Module, name))
    nn.Module.__init__(prepared)
    initialise(prepared)
    return prepared


def become_prepared(module: nn.Module) -> None:
    """Turns a module of the cloned tree into a prepared one."""
    object.__setattr__(module, "__class__", prepared_class(type(module)))
    initialise(module)


class Branch(nn.Module):
    """Control flow of the original: runs one of two programs on the values it is given.

    Both are over the tree of the prepared model that the branch is part of, whose modules they call.

    Parameters of ``forward``
    -------------------------
    condition : bool
        Which of the two runs.
    *values : Any
        What either of them needs.

    Returns
    -------
    tuple
        What is read of the branch afterwards.
    """

    _modulize_owner: tuple[Any]
    _modulize_sides: tuple[Any, Any]

    def __call__(self, *args: Any) -> Any:
        if is_traced(*args):
            return replay_branch(self, *args)
        # A trace shows what the side that runs computes, as it does of the original; tools take a module for one unit.
        return self.forward(*args) if torch.jit.is_tracing() else super().__call__(*args)

    def forward(self, condition: Any, *values: Any) -> Any:
        side = self._run_true if condition else self._run_false
        return side(self._modulize_owner[0], *values)

    @property
    def code(self) -> str:
        """The Python source of both sides, as a person reads it."""
        owner = self._modulize_owner[0]
        on_true, on_false = (program.readable_source(owner) for program in self._modulize_sides)
        return on_true.replace("def forward", "def on_true") + "\n" + on_false.replace("def forward", "def on_false")

    def extra_repr(self) -> str:
        return ""

    def __deepcopy__(self, memo: dict[int, Any]) -> Branch:
        new: Any = object.__new__(type(self))
        memo[id(self)] = new
        new.__dict__.update(copy.deepcopy(_state_without_sides(self), memo))
        sides = [side.with_objects(copy.deepcopy(side.objects, memo)) for side in self._modulize_sides]
        install_branch(new, new._modulize_owner[0], *sides)
        return new

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        base = type(self._modulize_owner[0])._modulize_base
        state = _state_without_sides(self)
        state["_modulize_sides"] = [
            (side.text, _picklable(side.objects, base), side.by_attributes) for side in self._modulize_sides
        ]
        return (_new_branch, (), state)

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        texts = state.pop("_modulize_sides")
        nn.Module.__setstate__(self, state)
        # The owner's tree may not be complete yet: the programs are made when they are first needed.
        self.__dict__["_modulize_texts"] = texts

    def __getattr__(self, name: str) -> Any:
        if name in ("_run_true", "_run_false", "_modulize_sides") and "_modulize_texts" in self.__dict__:
            texts = self.__dict__.pop("_modulize_texts")
            owner = self._modulize_owner[0]
            install_branch(
                self, owner, *(_core.Program(text, objects, owner, *access) for text, objects, *access in texts)
            )
            return self.__dict__[name]
        return super().__getattr__(name)


def install_branch(branch: Any, owner: Any, on_true: Any, on_false: Any) -> None:
    """Makes two programs over the tree of `owner` what `branch` runs."""
    state = branch.__dict__
    state["_modulize_owner"] = (owner,)
    state["_modulize_sides"] = (on_true, on_false)
    state["_run_true"], state["_run_false"] = on_true.make_forward(), on_false.make_forward()


def _adopt_branches(copied: Any, *_: Any) -> None:
    """Before a shallow copy runs: branches that somebody copied with it, module by module, run its modules."""
    for module in copied.modules():
        if isinstance(module, Branch) and module._modulize_owner[0] is not copied:
            (owner,) = module._modulize_owner
            if not any(module is kept for kept in owner.modules()):
                install_branch(module, copied, *(side.with_objects(side.objects) for side in module._modulize_sides))


def access_by_attributes(prepared: Any) -> None:
    """Lets the program of `prepared` reach modules by attributes, as tools that wrap containers need it."""
    for module in prepared.modules():
        if isinstance(module, Branch):
            owner = module._modulize_owner[0]
            install_branch(module, owner, *(side.with_attribute_access(owner) for side in module._modulize_sides))
    install(prepared, prepared.__dict__["_modulize_program"].with_attribute_access(prepared))


def _state_without_sides(branch: Branch) -> dict[str, Any]:
    getattr(branch, "_modulize_sides")  # noqa: B009 - makes them
    return {k: v for k, v in branch.__dict__.items() if k not in ("_modulize_sides", "_run_true", "_run_false")}


def _new_branch() -> Any:
    return object.__new__(Branch)


def _new_prepared_of(base: type | None, name: str) -> Any:
    return object.__new__(prepared_class(base or nn.Module, name))


# --- objects of the graph in pickles -----------------------------------------------------------------


class _Held:
    """Stands in a pickle for a function that its name does not give: decorated, a lambda, in a closure."""

    def __init__(self, module: str, path: tuple[str | int, ...]) -> None:
        self.module, self.path = module, path

    def __reduce__(self) -> tuple[Any, ...]:
        return _held, (self.module, self.path)


def _held(module: str, path: tuple[str | int, ...]) -> Any:
    found: Any = importlib.import_module(module)
    for step in path:
        found = dict(_holds(found))[step]
    return found


def _holds(holder: Any) -> Iterator[tuple[str | int, Any]]:
    """What functions may be reached through, by its place."""
    if isinstance(holder, (types.ModuleType, type)):
        yield from tuple(vars(holder).items())
    for name in ("__wrapped__", "__func__", "func", "fget"):
        if name in getattr(holder, "__dict__", ()) or isinstance(holder, _WRAPPERS):
            with contextlib.suppress(AttributeError):
                yield name, getattr(holder, name)
    if isinstance(holder, types.FunctionType):
        for place, cell in enumerate(holder.__closure__ or ()):
            with contextlib.suppress(ValueError):  # empty
                yield place, cell.cell_contents


_WRAPPERS = (staticmethod, classmethod, property, functools.partial, type(functools.lru_cache(id)))


def _path_to(function: Any, module: Any) -> tuple[str | int, ...] | None:
    """The shortest way from a module to a function that it holds; None if there is none."""
    ways: collections.deque[tuple[Any, tuple[str | int, ...]]] = collections.deque([(module, ())])
    seen = {id(module)}
    while ways:
        holder, path = ways.popleft()
        for step, value in _holds(holder):
            if value is function:
                return (*path, step)
            of_module = isinstance(value, type) and value.__module__ == module.__name__
            if (of_module or isinstance(value, (types.FunctionType, *_WRAPPERS))) and id(value) not in seen:
                seen.add(id(value))
                ways.append((value, (*path, step)))
    return None


class _Statements:
    """Stands in a pickle for statements of a function that are a function of their own."""

    def __init__(self, function: Any, lines: Any, base: type | None) -> None:
        self.function, self.lines = _named(function, base), lines

    def __reduce__(self) -> tuple[Any, ...]:
        return statements_of, (self.function, self.lines)


def _picklable(objects: list[Any], base: type | None) -> list[Any]:
    return [_named(item, base) if isinstance(item, types.FunctionType) else item for item in objects]


def _named(function: types.FunctionType, base: type | None) -> Any:
    """`base`: whose module may hold the function, beside the function's own."""
    if hasattr(function, "_modulize_statements"):
        whole, lines = function._modulize_statements
        return _Statements(whole, lines, base)
    found: Any = sys.modules.get(function.__module__)
    for name in function.__qualname__.split("."):
        found = getattr(found, name, None)
    if found is function:
        return function
    for module in {function.__module__: None, getattr(base, "__module__", ""): None}:
        path = _path_to(function, sys.modules[module]) if module in sys.modules else None
        if path:
            return _Held(module, path)
    return function


# --- torch.fx graphs as plain data -----------------------------------------------------------------


def _snapshot(graph: fx.Graph) -> list[tuple[Any, ...]]:
    """Changes when the graph is edited; arguments are compared by identity, as torch.fx replaces them whole."""
    return [(node.name, node.op, node.target, id(node.args), id(node.kwargs)) for node in graph.nodes]


# torch 1.12 and later; before, a recompiled forward takes these parameters by position or keyword.
_CodeGen: Any = getattr(fx.graph, "CodeGen", object)


class SignatureCodeGen(_CodeGen):  # type: ignore[misc]
    """Writes `/` and `*` into the signature, which torch.fx knows nothing of: without them a parameter without default
    may follow one that has it, and the source would not compile."""

    def __init__(self, kinds: list[str]) -> None:
        super().__init__()
        self.kinds = kinds

    def gen_fn_def(self, free_vars: list[str], *args: Any, **kwargs: Any) -> str:
        if len(free_vars) == len(self.kinds):  # nobody added or removed a placeholder
            marked = list(free_vars)
            if "keyword_only" in self.kinds and "var_positional" not in self.kinds:
                marked.insert(self.kinds.index("keyword_only"), "*")
            if "positional_only" in self.kinds:
                marked.insert(self.kinds.count("positional_only"), "/")
            free_vars = marked
        return super().gen_fn_def(free_vars, *args, **kwargs)


class _NodeName(str):
    """Stands for a node in packed arguments."""


def _pack_graph(graph: fx.Graph) -> tuple[Any, list[tuple[Any, ...]]]:
    """The nodes as tuples that pickle: torch.fx itself pickles source only, and traces it again."""

    def pack(value: Any) -> Any:
        return fx.node.map_arg(value, lambda node: _NodeName(node.name))

    return getattr(getattr(graph, "_codegen", None), "kinds", None), [
        (node.op, node.target, pack(node.args), pack(node.kwargs), node.name, node.meta.get("stack_trace"))
        for node in graph.nodes
    ]


def _unpack_graph(packed: tuple[Any, list[tuple[Any, ...]]], owner: Any) -> fx.Graph:
    graph = fx.Graph(owner)
    if packed[0]:
        graph.set_codegen(SignatureCodeGen(packed[0]))
    nodes: dict[str, fx.Node] = {}

    def unpack(value: Any) -> Any:
        return fx.node.map_aggregate(value, lambda item: nodes[item] if isinstance(item, _NodeName) else item)

    for op, target, args, kwargs, name, stack_trace in packed[1]:
        node = graph.create_node(op, target, unpack(args), unpack(kwargs), name)
        if stack_trace is not None:
            node.meta["stack_trace"] = stack_trace
        nodes[name] = node
    return graph
