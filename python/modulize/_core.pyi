from collections.abc import Mapping, Sequence
from typing import Any

class ModulizeError(RuntimeError):
    """Base class of everything modulize raises on its own account."""

class ArgumentError(ModulizeError):
    """An argument of a public function is not what it must be."""

class CaptureError(ModulizeError):
    """The model could not be captured: forward did something a recording cannot hold."""

class UnsupportedError(ModulizeError):
    """The model uses something modulize refuses to prepare, such as lazy modules."""

class ParseError(ModulizeError):
    """A .mzir text is malformed; the message has line and column."""

class VerifierError(ModulizeError):
    """A graph breaks one of the numbered invariants: a defect in modulize, please report it."""

class VerificationError(ModulizeError):
    """The prepared model's outputs differ from the original's."""

class AssumptionError(ModulizeError):
    """A call of a prepared model breaks an assumption made when it was captured."""

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
        """
        What the nodes of an opcode name, each once; for get_attr with what they lead to.
        """

    def exported_source(self, root: object, spellings: Sequence[tuple[str, str]], shown_file: object) -> dict[str, Any]:
        """
        The source for a file of its own: its lines with their places, and what they need.
        `shown_file(file)`: what a check calls a file.
        """

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

def contents_of(value: object | None) -> tuple[Any, ...]:
    """Everything inside of a value as one flat tuple."""

def same_contents(before: object, now: object) -> bool:
    """
    True if the same objects stand in the same places of what two calls of contents_of gave.
    """

def structure_difference(value: object | None, structure: object, text: str) -> str:
    """Where a value is not what a structure describes, or an empty text."""

def parts_of(value: object | None) -> list[tuple[str, Any]] | None:
    """
    The items and attributes of a value as (text, value), or None if it has none.
    """

def copied(value: object | None, instead: dict[Any, Any] = {}) -> Any:
    """
    A copy of a value, of the containers, objects and tensors in it; `instead`: of modules, by other modules.
    """

def on_meta(value: object | None) -> Any:
    """A copy of a value whose tensors are on the meta device."""

class Graph:
    """A graph of the core; `str()` of it is its .mzir text."""

    def __init__(self, text: str) -> None: ...
    def __str__(self) -> str: ...
    def __repr__(self) -> str: ...
    def __len__(self) -> int: ...
    def nodes(self) -> list[dict[str, Any]]:
        """Every operation, blocks and branches opened, as a list of a dict each."""

    def computing_calls(self) -> tuple[int, int]:
        """
        How many of the computing calls are modules of their own, and how many are not.
        """

    def __reduce_ex__(self, arg: object, /) -> tuple[Any, tuple[str]]: ...
    def __deepcopy__(self, arg: object, /) -> Graph: ...

def graph_from_text(text: str) -> Graph: ...
def validate(
    graph: Graph, leaves: Sequence[tuple[str, str]], shared_tensors: Sequence[Sequence[str]]
) -> list[dict[str, Any]]:
    """The findings about a model's graph, as a list of a dict each."""

def run_passes(text: str, passes: Sequence[str], options: Sequence[str], target: str) -> str:
    """
    A graph in .mzir text after these passes, or after the default pipeline.
    """

def pass_names() -> list[str]:
    """The names of all passes."""

def pipeline(graph: Graph, target: str = "torch", layout_modules: bool = False) -> Graph:
    """The graph after the default passes."""

class Conversions:
    """The conversions of a preparation."""

    def __len__(self) -> int: ...
    def entries(self) -> list[dict[str, str]]:
        """A new list of a dict each."""

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
    plain_outputs: object | None = None,
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

def set_stand_ins(mode: str) -> None:
    """
    For tests: 'on', 'off', 'all' or 'all_invalid', as the environment variable MODULIZE_STAND_INS.
    """

def capture(
    model: object,
    example_inputs: object | None = None,
    example_kwargs: object | None = None,
    concrete_args: object | None = None,
    target: str = "torch",
) -> Graph:
    """The captured graph alone, before any pass."""

class Checkpoint:
    """
    The world of a model as it is: random generators, attributes, classes, hooks and buffers of its modules,
    gradients and flags of its tensors, what its code can name. `written`: tensors whose contents may change.
    `given`: arguments; modules among them are put back too.
    """

    def __init__(
        self, model: object, written: object = (), given: object = (), gradients_off: bool = False
    ) -> None: ...
    def restore(self) -> list[str]:
        """Puts everything back and returns the names of what had changed."""

    def __enter__(self) -> Checkpoint: ...
    def __exit__(self, type: object | None, error: object | None, trace: object | None) -> None: ...

def function_name(callable: object) -> str | None:
    """The name under which calls of a function stand in a graph, or None."""

def resolve_name(name: str) -> Any:
    """The object of a qualified name; imports what it must."""

def is_user_code(code: object) -> bool:
    """
    Whether it is code of neither torch, Python's own import system nor this package.
    """

def passive_operations() -> list[str]:
    """
    The names of operations that compute no floating-point values, without their homes: "view", "arange".
    """

def runtime_calls() -> list[tuple[str, bool]]:
    """
    The functions of modulize that graphs and generated source name, and whether Python has them.
    """

def functions_that_act() -> list[str]:
    """
    The qualified names of functions that are called for what they do: nothing reads what they yield.
    """

def gradient_questions() -> list[str]:
    """
    The questions about the world whose answer is another one where gradients are on.
    """

def is_known_operation(call: str) -> bool:
    """Whether the op table itself maps the call."""

def register_operation(function: object | None, call: str, module: str, base: str) -> None:
    """
    Makes later calls of `function`, recorded as `call`, calls of a new `module()`.
    """

def register_target(name: str, names_as_torch_fx: bool, classes: Sequence[tuple[str, str]]) -> None:
    """
    Adds or replaces a target: pairs of an operation of the table and a class (core/ops/target.h has the form).
    """

def idioms() -> list[tuple[str, str]]:
    """
    The compositions that idioms=True recognises: a list of (name, graph in .mzir text).
    """

def log_categories() -> list[tuple[str, str]]:
    """What MODULIZE_LOG can name: a list of (category, what it tells)."""

def capture_reasons() -> list[tuple[str, str]]:
    """Why preparations capture: a list of (reason, what it means)."""
