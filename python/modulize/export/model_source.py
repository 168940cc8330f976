"""The classes of an exported model: one for each different block, and the forward of those that have a program."""

from __future__ import annotations

import builtins
import enum
import io
import linecache
import os
import re
import sys
import tokenize
import types
from collections.abc import Iterator, Set
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.utils import parametrize

from modulize._core import UnsupportedError
from modulize._prepared import Branch, PreparedModule
from modulize._prepared.program import is_edited
from modulize._prepared.ties import _drop_tied, is_tied, owner_of
from modulize.export.constructors import Constructors, attributes_of, is_operation
from modulize.export.values import Imports, Unspellable, is_name, is_private, quoted, spell

__all__ = ["ModelSource"]

_SPELLINGS = [("modulize._runtime.", "runtime"), ("torch.nn.functional.", "F")]
CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
_WIDTH = 120
# Names that a class or a constant of the module must not have.
_RESERVED = {"torch", "nn", "F", "runtime", "operations", "load", "os", "OrderedDict", "self"}


class PartKind(enum.Enum):
    """What a module's attribute is to nn.Module."""

    VALUE = enum.auto()
    NO_PARAMETER = enum.auto()  # a parameter that is None
    BUFFER = enum.auto()


class Part(NamedTuple):
    """An attribute of a module: its expression; of a buffer, the arguments that register it."""

    text: str
    kind: PartKind = PartKind.VALUE


def join(parent: str, name: str) -> str:
    return f"{parent}.{name}" if parent else name


def is_container(module: nn.Module) -> bool:
    """Sequential, ModuleList and ModuleDict, which are written as such with their children."""
    return isinstance(module, CONTAINERS) and not module._parameters


def is_chain(module: Any) -> bool:
    """Is this a Sequential whose forward is nn.Sequential's own: its children, one after the other?"""
    if class_of(module) is not nn.Sequential or is_edited(module) or module.__dict__.get("_modulize_added"):
        return False
    nodes = module.__dict__["_modulize_program"].graph.nodes()
    first, *calls, last = (node for node in nodes if "/" not in node["name"])  # not those inside of its children
    before = first["name"]
    for call, name in zip(calls, module._modules):
        if (
            call["op"] != "call_module"
            or call["path"] != name
            or not call["takes_one_value"]
            or call["inputs"] != [before]
        ):
            return False
        before = call["name"]
    return len(calls) == len(module._modules) and last["op"] == "output" and last["inputs"] == [before]


def class_of(module: nn.Module) -> Any:
    """The class that the original's module has."""
    return getattr(type(module), "_modulize_base", None) or type(module)


class EditedProgram:
    """A torch.fx graph that was edited after preparing, with the questions that a program of the engine answers."""

    objects: list[Any] = []

    def __init__(self, module: Any) -> None:
        self._graph = module.graph
        self._modules = dict(module.named_modules())

    def targets(self, op: str) -> list[str]:
        found = {str(node.target): None for node in self._graph.nodes if node.op == op}
        if op == "call_module":  # and those of which another method is called, as FloatFunctional's
            owners = {str(node.target): None for node in self._graph.nodes if node.op == "get_attr"}
            found |= {path: None for path in owners if path in self._modules}
        for node in self._graph.nodes:
            if op == "get_attr" and node.op == "call_function" and node.target is getattr and node.args[0].op == op:
                found[join(node.args[0].target, node.args[1])] = None
        return list(found)

    def exported_source(self, root: Any, spellings: Any, shown_file: Any) -> dict[str, Any]:
        code = self._graph.python_code("self")
        text = re.sub(r";\s+[\w, =]+ = None$", "", code.src.strip(), flags=re.MULTILINE)  # drops values early
        text = re.sub(r"^(def forward\([^\n]*?\))\s*->[^\n]*:$", r"\1:", text, count=1, flags=re.MULTILINE)
        used = {name: value for name, value in code.globals.items() if re.search(rf"\b{re.escape(name)}\b", text)}
        given = {name: value for name, value in used.items() if not isinstance(value, types.ModuleType)}
        lines = [(line, "", 0, "") for line in text.split("\n")]
        return {"lines": lines, "objects": [], "aliases": [], "names": [], "globals": given}


def program_of(module: Any) -> Any:
    return EditedProgram(module) if is_edited(module) else module.__dict__["_modulize_program"]


class ModelSource:
    """The source of one prepared model's ``model.py``, and what must be written beside it."""

    def __init__(self, prepared: Any, reserved: Set[str] = frozenset()) -> None:
        self.prepared = prepared
        self.imports = Imports()
        self.runtime: set[str] = set()  # what runtime.py must define
        self.operations: set[str] = set()  # what operations.py must define
        self.constants: dict[str, str] = {}  # name -> expression
        self.extra_tensors: dict[str, torch.Tensor] = {}  # plain attributes, by path
        self._constructors = Constructors()
        self._modules: dict[str, nn.Module] = dict(prepared.named_modules())
        self._path_of = {id(module): path for path, module in self._modules.items()}
        self._written: set[int] = set()
        self._aliases: list[tuple[str, str]] = []  # a further path of a module, its first one
        self._classes: dict[str, str] = {}  # class body -> name
        self._paths: dict[str, list[str]] = {}  # class name -> paths of its instances
        packages = {class_of(module).__module__.partition(".")[0] for module in self._modules.values()}
        self._names = _RESERVED | reserved | packages | set(dir(builtins))
        self._called: set[str] = set()
        self._read: dict[str, set[str]] = {}  # path of a module -> attributes that programs read
        for prefix, program in self._programs():
            self._called |= {join(prefix, path) for path in program.targets("call_module")}
            for path in program.targets("get_attr"):
                self._note_attribute(prefix, path)

    # -- what the programs use --

    def _programs(self) -> Iterator[tuple[str, Any]]:
        for path, module in self._modules.items():
            if isinstance(module, PreparedModule):
                yield path, program_of(module)
            elif isinstance(module, Branch):
                owner = self._path_of[id(module._modulize_owner[0])]
                yield from ((owner, side) for side in module._modulize_sides)

    def _note_attribute(self, prefix: str, path: str) -> None:
        path = path.removeprefix("_modulize_module.")
        if path == "_modulize_module":
            return
        module: Any = self._modules[prefix]
        parts = path.split(".")
        for depth, part in enumerate(parts):
            if part in module._modules:
                module = module._modules[part]
                continue
            known = {*module._parameters, *module._buffers, "training"}
            if part not in known:
                self._read.setdefault(join(prefix, ".".join(parts[:depth])), set()).add(".".join(parts[depth:]))
            return

    # -- the text --

    def text(self) -> str:
        root = type(self.prepared).__name__
        root_class = self._class_of("", self.prepared, root)
        classes = "".join(f"\n\n{self._render(body, name)}" for body, name in self._classes.items())
        constants = "".join(f"{name} = {text}\n" for name, text in self.constants.items())
        self.runtime |= self.imports.written
        local = sorted(name for name, used in (("operations", self.operations), ("runtime", self.runtime)) if used)
        code = constants + re.sub(r"^ *#.*$", "", classes, flags=re.MULTILINE)
        self.imports.modules |= {name for name in ("functools", "torch") if re.search(rf"\b{name}\.", code)}
        head = [
            f'"""{self._summary()}"""',
            "",
            "from collections import OrderedDict" if "OrderedDict(" in code else None,
            "",
            *self.imports.statements(),
            "import torch.nn.functional as F" if re.search(r"\bF\.", code) else None,
            "from torch import nn",
            "",
            f"from . import {', '.join(local)}" if local else None,
        ]
        text = "\n".join(line for line in head if line is not None)
        text = re.sub(r"\n{3,}", "\n\n", text).rstrip() + "\n"
        self.root_class = root_class
        return text + ("\n" + constants if constants else "") + classes

    def hidden(self) -> set[str]:
        """Imported packages whose names :meth:`text` has given to classes."""
        return {module.partition(".")[0] for module in self.imports.modules} & set(self._classes.values())

    def _summary(self) -> str:
        cls = class_of(self.prepared)
        name = plain(f"{cls.__module__}.{cls.__qualname__}")
        return f"The prepared model of {name}: every computation is a module of its own, used once."

    # -- classes --

    def _new_name(self, wish: str) -> str:
        base = re.sub(r"[^A-Za-z0-9_]", "_", wish)[:60]
        if not base[:1].isalpha() or not is_name(base):
            base = f"Block{base}".rstrip("_") if not base[:1].isalpha() else f"{base}_"
        name, number = base, 1
        while name in self._names:
            number += 1
            name = f"{base}{number}"
        self._names.add(name)
        return name

    def _class_of(self, path: str, module: Any, wish: str) -> str:
        """The name of the class for a block; blocks that are made alike share one."""
        body = self._body(path, module)
        if body not in self._classes:
            self._classes[body] = self._new_name(wish)
        name = self._classes[body]
        self._paths.setdefault(name, []).append(path)
        return name

    def _render(self, body: str, name: str) -> str:
        base, _, rest = body.partition("\n")
        paths = [repr(path) if not path.isprintable() else path for path in self._paths[name]]
        shown = ", ".join(plain(path) for path in paths[:3] if path)
        shown += f" and {len(paths) - 3} more" if len(paths) > 3 else ""
        doc = f'    """{shown or "The model"}."""\n'
        functions, _, rest = rest.rpartition("\0")
        functions = functions.replace("\1", f"_{name}")
        return (functions and functions + "\n\n") + f"class {name}({base}):\n{doc}\n" + rest.replace("\1", f"_{name}")

    def _body(self, path: str, module: Any) -> str:
        """The base class, a line break, the class body without its head; functions in front of it, then a NUL."""
        lines = ["    def __init__(self):", "        super().__init__()"]
        base = next((f"nn.{cls.__name__}" for cls in CONTAINERS if isinstance(module, cls)), "nn.Module")
        for name, part in self._parts(path, module):
            lines.append(f"        {self._assignment(name, part)}")
        after, is_tied = self._ties() if path == "" else ([], False)
        if is_tied:
            base = self._runtime_name("TiedState") + (f", {base}" if base != "nn.Module" else "")
        functions: list[str] = []
        methods: list[str] = []
        if isinstance(module, PreparedModule):
            branches = [
                self._path_of[id(branch)]
                for branch in self._modules.values()
                if isinstance(branch, Branch) and branch._modulize_owner[0] is module
            ]
            if branches:
                inside = [quoted(branch[len(path) + 1 if path else 0 :]) for branch in branches]
                after.append(f"{self._runtime_name('own_branches')}(self, {', '.join(inside)})")
            program = program_of(module)
            self._forward(program, module, "forward", functions, methods)
            if "_modulize_module" in program.targets("get_attr"):
                methods.insert(0, "    @property\n    def _modulize_module(self):\n        return self")
        if isinstance(module, Branch):
            base = self._runtime_name("Branch")
            owner = module._modulize_owner[0]
            for side, name in zip(module._modulize_sides, ("on_true", "on_false")):
                self._forward(side, owner, name, functions, methods, static=True)
        lines += [f"        {line}" for line in after]
        parts = ["\n".join(lines), *methods]
        if lines[2:] == [] and methods:
            parts = methods
        text = "\n\n".join(parts) + "\n"
        return f"{base}\n" + ("\n\n".join(functions) + "\0" if functions else "") + text

    # -- what a block is made of --

    def _parts(self, path: str, module: nn.Module) -> Iterator[tuple[str, Part]]:
        yield from self._tensors(module)
        yield from self._attributes(path, module)
        for name, child in module._modules.items():
            yield name, Part(self._module(join(path, name), child))

    def _tensors(self, module: nn.Module) -> Iterator[tuple[str, Part]]:
        constants = module.__dict__.get("_modulize_constants", ())
        tensor: Any
        for name, tensor in module._parameters.items():
            made = Part("None", PartKind.NO_PARAMETER) if tensor is None else Part(f"nn.Parameter({empty(tensor)})")
            yield name, made
        for name, tensor in module._buffers.items():
            if name not in constants:
                persistent = name not in module._non_persistent_buffers_set
                text = "None" if tensor is None else empty(tensor)
                yield name, Part(text + ("" if persistent else ", persistent=False"), PartKind.BUFFER)

    def _attributes(self, path: str, module: nn.Module) -> Iterator[tuple[str, Part]]:
        """Plain attributes that the programs read."""
        nested: dict[str, set[str]] = {}
        for name in sorted(self._read.get(path, ())):
            first, _, rest = name.partition(".")
            nested.setdefault(first, set()).update([rest] if rest else [])
        for name, inside in nested.items():
            if not hasattr(module, name):
                continue  # forward sets it first
            yield name, Part(self._attribute(join(path, name), getattr(module, name), inside))

    def _attribute(self, path: str, value: Any, inside: set[str]) -> str:
        if isinstance(value, torch.Tensor):
            self.extra_tensors[path] = value
            return empty(value)
        if not inside:
            return self._spelled(value, f"the attribute {path!r}")
        holder = {name: self._attribute(join(path, name), getattr(value, name), set()) for name in sorted(inside)}
        parts = ", ".join(f"{name}={text}" for name, text in holder.items())
        return f"{self._runtime_name('types')}.SimpleNamespace({parts})"

    def _spelled(self, value: Any, what: str) -> str:
        try:
            return spell(value, self.imports)
        except Unspellable as error:
            raise UnsupportedError(f"{what} cannot be written as source: {error}") from None

    def _module(self, path: str, module: nn.Module | None) -> str:
        """The expression that makes a child."""
        if module is None:
            return "None"
        if id(module) in self._written:
            self._aliases.append((path, self._path_of[id(module)]))
            return f"{self._runtime_name('Shared')}()"
        self._written.add(id(module))
        if isinstance(module, PreparedModule) and is_chain(module):
            return self._container(path, module)
        if isinstance(module, (PreparedModule, Branch)):
            wish = type(module).__name__ if isinstance(module, PreparedModule) else camel(path)
            return f"{self._class_of(path, module, wish)}()"
        if is_operation(module) and not module._modules:
            self.operations.add(type(module).__name__)
            return f"operations.{type(module).__name__}()"
        cls = class_of(module)
        runs = self._runs_whole(path)
        if is_container(module) and (cls in CONTAINERS or not runs):
            return self._container(path, module)
        is_torch = cls.__module__.startswith("torch.nn.") and not parametrize.is_parametrized(module)
        if runs or (is_torch and cls is type(module) and self._constructors.find(module, self.imports)):
            return self._leaf(path, module)
        return f"{self._class_of(path, module, type(module).__name__)}()"

    def _runs_whole(self, path: str) -> bool:
        """Is the module called as one, itself or what it is inside of?"""
        while path and not isinstance(self._modules.get(path), PreparedModule):
            if path in self._called:
                return True
            path = path.rpartition(".")[0]
        return False

    def _container(self, path: str, module: nn.Module) -> str:
        children = {name: self._module(join(path, name), child) for name, child in module._modules.items()}
        added = module.__dict__.get("_modulize_added", ())
        own = {name: text for name, text in children.items() if name not in added}
        kind = next(cls for cls in CONTAINERS if isinstance(module, cls)).__name__
        counted = list(own) == [str(i) for i in range(len(own))] and "None" not in own.values()
        if kind != "ModuleDict" and counted:
            listed = block(
                f"nn.{kind}(" + "[" * (kind == "ModuleList"), own.values(), "]" * (kind == "ModuleList") + ")"
            )
        elif kind == "ModuleDict":
            listed = block("nn.ModuleDict({", [f"{quoted(name)}: {text}" for name, text in own.items()], "})")
        elif kind == "Sequential":
            listed = block("nn.Sequential(OrderedDict([", [f"({quoted(n)}, {t})" for n, t in own.items()], "]))")
        else:
            listed = self._call("with_parts", ["nn.ModuleList()"], {name: Part(text) for name, text in own.items()})
        extra = {name: Part(text) for name, text in children.items() if name in added}
        extra |= dict(self._tensors(module))
        extra |= dict(self._attributes(path, module))
        return self._call("with_parts", [listed], extra) if extra else listed

    def _call(self, function: str, first: list[str], parts: dict[str, Part]) -> str:
        texts = {name: self._value(part) for name, part in parts.items()}
        named = [f"{name}={text}" for name, text in texts.items() if is_name(name) and not is_private(name)]
        others = [f"{quoted(n)}: {t}" for n, t in texts.items() if not is_name(n) or is_private(n)]
        return block(
            f"{self._runtime_name(function)}(", [*first, *named, *([block("**{", others, "}")] if others else [])], ")"
        )

    def _leaf(self, path: str, module: nn.Module) -> str:
        """A module whose own forward runs: its class, imported, by its constructor where that can be told."""
        self._refuse_hooks(path, module)
        parametrized = parametrize.is_parametrized(module)
        cls = type(module).__bases__[0] if parametrized else class_of(module)
        try:
            name = self.imports.name(cls)
        except Unspellable as error:
            raise UnsupportedError(f"the module {path!r} runs whole, and {error}") from None
        name = re.sub(r"^torch\.nn\.(?=\w+$)", "nn.", name)
        found = self._constructors.find(module, self.imports) if cls is type(module) else None
        try:
            differing = {n: Part(spell(v, self.imports)) for n, v in found[1].items()} if found else {}
        except Unspellable:
            found = None
        if found:
            for child in module.modules():
                self._written.add(id(child))
            differing |= dict(self._attributes(path, module)) if self._needs_attributes(path, module) else {}
            made = f"{name}({found[0]})"
            return self._call("with_parts", [made], differing) if differing else made
        parts = dict(self._tensors(module))
        for attribute, value in attributes_of(module).items():
            if isinstance(value, torch.Tensor):
                self.extra_tensors[join(path, attribute)] = value
                parts[attribute] = Part(empty(value))
            else:
                what = f"the attribute {attribute!r} of the module {path!r}, a {name},"
                parts[attribute] = Part(self._spelled(value, what))
        for child_name, inner in module._modules.items():
            parts[child_name] = Part(self._module(join(path, child_name), inner))
        made = self._call("assemble", [name], parts)
        return self._call("parametrized", [made], {}) if parametrized else made

    def _needs_attributes(self, path: str, module: nn.Module) -> bool:
        return any(name.partition(".")[0] not in module.__dict__ for name in self._read.get(path, ()))

    def _refuse_hooks(self, path: str, module: nn.Module) -> None:
        for kind in ("_forward_hooks", "_forward_pre_hooks"):
            if module.__dict__.get(kind):
                hook = next(iter(module.__dict__[kind].values()))
                raise UnsupportedError(
                    f"the module {path!r} has a forward hook, {getattr(hook, '__qualname__', hook)!s:.100}, which "
                    "cannot be written as source: remove it first"
                )

    def _assignment(self, name: str, part: Part) -> str:
        text = part.text.replace("\n", "\n        ")
        if part.kind is PartKind.NO_PARAMETER:
            return f"self._parameters[{quoted(name)}] = None"
        if part.kind is PartKind.BUFFER:
            if is_name(name) and not hasattr(nn.Module, name):
                return f"self.register_buffer({quoted(name)}, {text})"
            return f"{self._runtime_name('add')}(self, {quoted(name)}, {self._value(part)})"
        if text == "None":
            return f"self._modules[{quoted(name)}] = None"
        if is_name(name) and not is_private(name):
            return f"self.{name} = {text}"
        return f"setattr(self, {quoted(name)}, {text})"

    def _value(self, part: Part) -> str:
        """The expression for a part that is given by its name, buffers among them."""
        return f"{self._runtime_name('Buffer')}({part.text})" if part.kind is PartKind.BUFFER else part.text

    def _runtime_name(self, name: str) -> str:
        self.runtime.add(name)
        return f"runtime.{name}"

    # -- what stands under several names --

    def _ties(self) -> tuple[list[str], bool]:
        """The statements of the root's constructor, and whether a tensor stands under several names or in no module."""
        lines: list[str] = []
        for alias, first in self._aliases:
            lines.append(f"{self._runtime_name('alias')}(self, {quoted(alias)}, {quoted(first)})")
        frozen, constants, ties = [], [], []
        for module_path, module in self._modules.items():
            hidden = _drop_tied in module._state_dict_hooks.values()
            for name, tensor in (*module._parameters.items(), *module._buffers.items()):
                full = join(module_path, name)
                if tensor is None:
                    continue
                if name in module.__dict__.get("_modulize_constants", ()):
                    constants.append(
                        f"{self._runtime_name('constant')}(self, {quoted(full)}, {tuple(tensor.shape)}, {tensor.dtype})"
                    )
                elif is_tied(module, name):
                    owner, owner_name = owner_of(module, name)
                    target = join(self._path_of[id(owner)], owner_name)
                    text = f"{self._runtime_name('tie')}(self, {quoted(full)}, {quoted(target)}"
                    ties.append(text + (", hidden=True)" if hidden else ")"))
                elif isinstance(tensor, nn.Parameter) and not tensor.requires_grad:
                    frozen.append(quoted(full))
        lines += ties
        if frozen:
            lines.append(block(f"{self._runtime_name('freeze')}(", ["self", *frozen], ")"))
        return [line for text in [*constants, *lines] for line in text.split("\n")], bool(constants or ties)

    # -- forward --

    def _forward(
        self,
        program: Any,
        root: Any,
        name: str,
        functions: list[str],
        methods: list[str],
        static: bool = False,
    ) -> None:
        """Adds a method; or, where a class body would change a name in it, a function and its assignment."""
        source = program.exported_source(root, _SPELLINGS, short_file)
        hidden = {module for name in source["names"] if (module := self.imports.hidden_module(name))}
        if hidden:
            spellings = [(module + ".", self._hidden_module(module)) for module in sorted(hidden)]
            source = program.exported_source(root, _SPELLINGS + spellings, short_file)
        objects = program.objects
        for object_name, number in source["objects"]:
            if object_name not in self.constants:
                self.constants[object_name] = self._spelled(objects[number], "a value that forward uses")
        for qualified in source["names"]:
            self._name_used(qualified)
        for global_name, value in source.get("globals", {}).items():
            self.constants[global_name] = self._spelled_global(value)
        for alias, meaning in source["aliases"]:
            self.constants[alias] = meaning.removeprefix("builtins.")
        lines = with_places(source["lines"])
        text = "\n".join(lines)
        if is_mangled(text):
            functions.append(text.replace("def forward(", f"def \1_{name}(", 1))
            methods.append(f"    {name} = staticmethod(\1_{name})" if static else f"    {name} = \1_{name}")
            return
        text = text.replace("def forward(", f"def {name}(", 1)
        indented = "\n".join(f"    {line}" if line else "" for line in text.split("\n"))
        methods.append("    @staticmethod\n" + indented if static else indented)

    def _spelled_global(self, value: Any) -> str:
        if getattr(value, "__module__", None) == "modulize._runtime" and hasattr(value, "__name__"):
            return self._runtime_name(value.__name__)
        return self._spelled(value, "a value that the edited graph uses")

    def _hidden_module(self, module: str) -> str:
        self.imports.modules.add("importlib")
        name = f"_module_{re.sub(r'[^A-Za-z0-9_]', '_', module)}"
        self.constants[name] = f"importlib.import_module({quoted(module)})"
        return name

    def _name_used(self, qualified: str) -> None:
        if qualified.startswith("modulize._runtime."):
            self.runtime.add(qualified.rpartition(".")[2])
        elif self.imports.reach(qualified) is None and not qualified.startswith(("torch.", "builtins.")):
            raise UnsupportedError(
                f"forward uses {plain(qualified)}, which cannot be imported: define it at the top level of a module"
            )


# --- pieces of text --------------------------------------------------------------------------------


def empty(tensor: torch.Tensor) -> str:
    dtype = "" if tensor.dtype is torch.float32 else f", dtype={tensor.dtype}"
    return f"torch.empty({', '.join(map(str, tensor.shape)) or '()'}{dtype})"


def block(first: str, items: Any, last: str) -> str:
    """A call on one line where that is short, else with one argument a line."""
    items = list(items)
    line = first + ", ".join(items) + last
    if len(line) <= _WIDTH - 40 and "\n" not in line:
        return line
    inside = "".join("    " + item.replace("\n", "\n    ") + ",\n" for item in items)
    return f"{first}\n{inside}{last}"


def camel(path: str) -> str:
    return (
        "".join(word.capitalize() for word in re.split(r"[^A-Za-z0-9]+", path.rpartition(".")[2]) if word) or "Branch"
    )


def plain(text: str) -> str:
    """A text for docstrings and comments: printable ASCII without quotes and backslashes, and not endless."""
    shown = "".join(c if " " <= c <= "~" and c not in "\"\\'" else "?" for c in text)
    return shown if len(shown) <= 200 else shown[:197] + "..."


def short_file(file: str) -> str:
    """The file as Python knows it, whatever folder it is installed in."""
    path = os.path.abspath(file)
    folders = [os.path.abspath(folder) for folder in sys.path if folder]
    inside = [folder for folder in folders if path.startswith(folder + os.sep)]
    if inside:
        return os.path.relpath(path, max(inside, key=len)).replace(os.sep, "/")
    return os.path.basename(path)


def with_places(lines: list[tuple[str, str, int, str]]) -> list[str]:
    """Above each run of statements that one line of the user's code makes, that line."""
    out, last = [], ("", 0)
    for text, file, number, scope in lines:
        if file and not file.startswith("<") and (file, number) != last:
            last = (file, number)
            code = linecache.getline(file, number).strip()
            indent = text[: len(text) - len(text.lstrip())]
            place = f"{short_file(file)}:{number}" + (f" in {scope}" if scope else "")
            out.append(indent + "# " + clipped(plain_comment(f"{place}: {code}" if code else place)))
        out.append(text)
    return out


def plain_comment(text: str) -> str:
    return "".join(c if " " <= c <= "~" else "?" for c in text)


def clipped(text: str) -> str:
    return text if len(text) <= _WIDTH else text[: _WIDTH - 3] + "..."


def is_mangled(text: str) -> bool:
    """Whether a class body would change one of the names in the text."""
    if "__" not in text:
        return False
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return any(token.type == tokenize.NAME and is_private(token.string) for token in tokens)
