from collections.abc import Callable, Mapping
from types import CodeType
from typing import Any

import torch

class ModulizeError(RuntimeError): ...
class ArgumentError(ModulizeError): ...
class CaptureError(ModulizeError): ...
class UnsupportedError(ModulizeError): ...
class ParseError(ModulizeError): ...
class VerifierError(ModulizeError): ...
class VerificationError(ModulizeError): ...
class AssumptionError(ModulizeError): ...

class Program:
    """
    The program of a prepared model: graph, generated source, opaque objects.
    """

    def __init__(self, text: str, objects: object, root: object, by_attributes: bool = False) -> None: ...
    def with_attribute_access(self, root: object) -> Program:
        """The same program, whose source reaches modules by attributes."""

    @property
    def by_attributes(self) -> bool:
        """Whether the source reaches modules by attributes."""

    def with_objects(self, objects: object) -> Program:
        """The same program over other objects."""

    @property
    def text(self) -> str:
        """The graph as .mzir text."""

    @property
    def graph(self) -> Graph:
        """A copy of the graph."""

    @property
    def objects(self) -> list[Any]: ...
    @property
    def parameter_kinds(self) -> list[str]: ...
    @property
    def source(self) -> str:
        """The source that runs."""

    def readable_source(self, root: object) -> str:
        """The source as a person reads it."""

    def targets(self, op: str) -> list[str]:
        """What the nodes of an opcode name, each once."""

    def exported_source(self, root: object, spellings: list[tuple[str, str]]) -> dict[str, Any]:
        """The source for a file of its own: its lines with their places, and what they need."""

    def make_forward(self) -> Any:
        """A new forward function in a namespace of its own."""

    def make_fx_graph(self, owner: object) -> Any:
        """A new torch.fx.Graph of the program."""

def materialise_text(text: str, root: object, objects: object = (), constants: Mapping[str, object] = {}) -> Any:
    """The prepared model of a graph in .mzir text over the tree of `root`."""

def generate_text(text: str, access: str = "lookup", chunk_lines: int = 2000) -> str:
    """
    The generated source of a graph in .mzir text; `access` is 'lookup' or 'attribute'.
    """

class Conversions:
    """The conversions of a preparation."""

    def __len__(self) -> int: ...
    def entries(self) -> list[dict[str, str]]:
        """A new list of a dict each."""

class Checkpoint:
    """The world of a model as it is, to put back what forward changes."""

    def __init__(self, model: torch.nn.Module, written: Any = (), gradients_off: bool = False) -> None: ...
    def restore(self) -> list[str]: ...
    def __enter__(self) -> Checkpoint: ...
    def __exit__(self, *args: object) -> None: ...

def contents_of(value: Any) -> tuple[Any, ...]: ...
def same_contents(before: tuple[Any, ...], now: tuple[Any, ...]) -> bool: ...
def structure_difference(value: Any, structure: tuple[Any, ...], text: str) -> str:
    """Where a value is not what a structure describes, or an empty text."""

def parts_of(value: Any) -> list[tuple[str, Any]] | None:
    """The items and attributes of a value as (text, value), or None if it has none."""

def copied(value: Any) -> Any:
    """A copy of a value, of the containers, objects and tensors in it."""

class Graph:
    """A graph of the core; `str()` of it is its .mzir text."""

    def __init__(self, text: str) -> None: ...
    def __str__(self) -> str: ...
    def __repr__(self) -> str: ...
    def __len__(self) -> int: ...
    def __deepcopy__(self, arg: object, /) -> Graph: ...
    def nodes(self) -> list[dict[str, Any]]:
        """Every operation, blocks and branches opened, as a list of a dict each."""

    def computing_calls(self) -> tuple[int, int]:
        """How many of the computing calls are modules of their own, and how many are not."""

def graph_from_text(text: str) -> Graph: ...
def function_name(callable: object) -> str | None:
    """The name under which calls of a function stand in a graph, or None."""

def resolve_name(name: str) -> Any: ...
def is_user_code(code: CodeType) -> bool:
    """Whether it is code of neither torch, Python's own import system nor this package."""

def register_target(name: str, names_as_torch_fx: bool, classes: list[tuple[str, str]]) -> None:
    """Adds a target of the passes: pairs of an operation and the class that it becomes."""

def run_passes(text: str, passes: list[str], options: list[str], target: str) -> str:
    """A graph in .mzir text after these passes, or after the default pipeline."""

def pass_names() -> list[str]:
    """The names of all passes."""

def validate(graph: Graph, leaves: list[tuple[str, str]], shared_tensors: list[list[str]]) -> list[dict[str, Any]]:
    """The findings about a model's graph, as a list of a dict each."""

def passive_operations() -> list[str]:
    """The names of operations that compute no floating-point values, without their homes: "view", "arange"."""

def runtime_calls() -> list[tuple[str, bool]]:
    """The functions of modulize that graphs and generated source name, and whether Python has them."""

def functions_that_act() -> list[str]:
    """The qualified names of functions that are called for what they do: nothing reads what they yield."""

def is_known_operation(call: str) -> bool:
    """Whether the op table itself maps the call."""

def register_operation(function: object | None, call: str, module: str, base: str) -> None:
    """Makes later calls of `function`, recorded as `call`, calls of a new `module()`."""

def prepare(
    model: object,
    *,
    example_inputs: object | None,
    example_kwargs: object | None,
    concrete_args: object | None,
    modules_to_exclude: object | None,
    module_classes_to_exclude: object | None,
    functions_to_exclude: object | None,
    on_dynamic: str = "branch",
    target: str,
    layout_modules: bool,
    tie_parameters: bool,
    decompose_attention: bool = False,
    idioms: bool = False,
    plain_outputs: Callable[[Any], Any] | None = None,
    plain_sizes: bool = False,
    keep_blocks: bool = False,
    keep_root: str | None = None,
    prepare_inner: bool = True,
    verify: bool,
    verify_each: bool = False,
) -> tuple[Any, dict[str, Any]]:
    """
    Captures, rewrites and materialises; returns (prepared model, report data).
    """

def idioms() -> list[tuple[str, str]]:
    """The compositions that idioms=True recognises: a list of (name, graph in .mzir text)."""

def capture(
    model: object,
    example_inputs: object | None = None,
    example_kwargs: object | None = None,
    concrete_args: object | None = None,
) -> Graph:
    """The captured graph alone, before any pass."""

def pipeline(graph: Graph, target: str = "torch", layout_modules: bool = False) -> Graph:
    """The graph after the default passes."""
