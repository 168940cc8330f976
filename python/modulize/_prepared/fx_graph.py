"""torch.fx graphs as plain data, and with the original's signature."""

from __future__ import annotations

from typing import Any

from torch import fx


def snapshot(graph: fx.Graph) -> list[tuple[Any, ...]]:
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


def mark_kinds(graph: fx.Graph, kinds: list[str]) -> None:
    """Makes the graph's source have parameters of these kinds."""
    if _CodeGen is not object and set(kinds) & {"positional_only", "keyword_only"}:
        graph.set_codegen(SignatureCodeGen(kinds))


class _NodeName(str):
    """Stands for a node in packed arguments."""


def pack_graph(graph: fx.Graph) -> tuple[Any, list[tuple[Any, ...]]]:
    """The nodes as tuples that pickle: torch.fx itself pickles source only, and traces it again."""

    def pack(value: Any) -> Any:
        return fx.node.map_arg(value, lambda node: _NodeName(node.name))

    return getattr(getattr(graph, "_codegen", None), "kinds", None), [
        (node.op, node.target, pack(node.args), pack(node.kwargs), node.name, node.meta.get("stack_trace"))
        for node in graph.nodes
    ]


def unpack_graph(packed: tuple[Any, list[tuple[Any, ...]]], owner: Any) -> fx.Graph:
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
