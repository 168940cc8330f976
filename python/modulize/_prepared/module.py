"""The class of prepared models."""

from __future__ import annotations

import copy
from typing import Any, Callable

from torch import fx, nn

from modulize import _core
from modulize._prepared.branch import Branch, _adopt_branches
from modulize._prepared.containers import CONTAINERS, AddedChildrenHidden, view_members
from modulize._prepared.fx_graph import mark_kinds, pack_graph, snapshot, unpack_graph
from modulize._prepared.pickling import picklable
from modulize._prepared.program import is_edited, state_without_program, take_program, use_program
from modulize._prepared.ties import TiedState, others_of


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
            mark_kinds(graph, state["_modulize_program"].parameter_kinds)
            state["_fx_graph"] = graph
            state["_fx_snapshot"] = snapshot(graph)
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
        return list(others_of(self))

    @property
    def code(self) -> str:
        """The Python source of forward, as a person reads it."""
        return self._code

    def train(self, mode: bool = True) -> Any:
        for other in others_of(self):
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
        new.__dict__.update(copy.deepcopy(state_without_program(self), memo))
        program = self.__dict__["_modulize_program"]
        take_program(new, program.with_objects(copy.deepcopy(program.objects, memo)), self)
        for hook in new.__dict__.get("_deepcopy_hooks", ()):
            hook(new)
        return new

    def __copy__(self) -> PreparedModule:
        new: Any = object.__new__(prepared_class(type(self)))
        new.__dict__.update(state_without_program(self))
        for name in ("_parameters", "_buffers", "_modules"):
            new.__dict__[name] = self.__dict__[name].copy()
        take_program(new, self.__dict__["_modulize_program"], self)
        if any(isinstance(module, Branch) for module in self.modules()):
            new.__dict__["_forward_pre_hooks"] = self._forward_pre_hooks.copy()
            new.register_forward_pre_hook(_adopt_branches)
        return new

    def __reduce__(self) -> tuple[Any, ...]:
        return self.__reduce_ex__(2)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        program = self.__dict__["_modulize_program"]
        state = state_without_program(self)
        state["_modulize_program"] = (
            program.text,
            picklable(program.objects, type(self)._modulize_base),
            program.by_attributes,
        )
        if is_edited(self):
            state["_fx_graph"] = pack_graph(self._graph)
        return (_new_prepared_of, (type(self)._modulize_base, type(self).__name__), state)

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        text, objects, *access = state.pop("_modulize_program")
        packed = state.pop("_fx_graph", None)
        nn.Module.__setstate__(self, state)
        self.__dict__["_modulize_program"] = _core.Program(text, objects, self, *access)
        if packed is None:
            use_program(self)
        else:
            self.graph = unpack_graph(packed, self)


def prepared_class(base: type, name: str | None = None) -> type:
    """A new class for one prepared model of class `base`, which `base` is a base of where it can be."""
    if issubclass(base, PreparedModule):
        name, base = name or base.__name__, base._modulize_base or nn.Module
    elif issubclass(base, fx.GraphModule):
        name, base = name or base.__name__, nn.Module
    elif issubclass(base, AddedChildrenHidden):
        base = vars(base)["_modulize_base"]
    members: dict[str, Any] = {"__module__": base.__module__, "__qualname__": base.__qualname__}
    bases: tuple[type, ...] = (PreparedModule,)
    if base is not nn.Module:
        members["_modulize_base"] = base
        bases = (PreparedModule, base)
        if issubclass(base, CONTAINERS):
            bases = (PreparedModule, AddedChildrenHidden, base)
            members |= view_members(base)
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


def _new_prepared_of(base: type | None, name: str) -> Any:
    return object.__new__(prepared_class(base or nn.Module, name))
