"""What a capture asks of Python itself: what stands in the arguments of a call, and builtins that tell."""

from __future__ import annotations

import dis
from collections.abc import Callable
from functools import cache, lru_cache
from types import CodeType
from typing import Any

import torch

_NO_OPERATIONS = ("PRECALL", "KW_NAMES", "EXTENDED_ARG", "CACHE", "NOP", "RESUME")


class _StandIn(type):
    """A class in whose place another one stands while a capture runs."""

    real: type

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, cls.real)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, cls.real)

    def __getattr__(cls, name: str) -> Any:
        return getattr(cls.real, name)  # `range.__getitem__`


def stand_in(real: type, call: Callable[..., Any]) -> type:
    """A stand-in for the builtin class ``real``, whose instances ``call`` makes."""
    made = {"__new__": staticmethod(lambda cls, *args: call(*args)), "__module__": "builtins", "real": real}
    return _StandIn(real.__name__, (), made)


_TELLING = """__eq__ __ne__ __lt__ __le__ __gt__ __ge__ __hash__ __contains__ __getitem__ __iter__ __len__ startswith
    endswith find rfind index rindex count split rsplit partition rpartition splitlines replace encode translate strip
    lstrip rstrip isdigit isdecimal isnumeric isalnum isalpha isidentifier lower upper casefold"""


def text_class(told: Callable[[], Any]) -> type:
    """Texts that call ``told`` before they say something about themselves: compared, looked up, taken apart."""

    def telling(real: Callable[..., Any]) -> Callable[..., Any]:
        return lambda self, *args: told() or real(self, *args)

    return type("SymbolText", (str,), {name: telling(getattr(str, name)) for name in _TELLING.split()})


@lru_cache(maxsize=1024)
def names_in_operands(code: CodeType, offset: int) -> frozenset[str]:
    """Names that are loaded (as globals or attributes) for the arguments of the call, or the two sides of the
    comparison, at `offset` of `code`."""
    instructions = list(dis.get_instructions(code))
    # While a Python function runs, its caller stands on the cache entries behind the call.
    at = next((i for i in reversed(range(len(instructions))) if instructions[i].offset <= offset), None)
    if at is None or not instructions[at].opname.startswith(("CALL", "COMPARE_OP", "CONTAINS_OP")):
        return frozenset()
    wanted = (instructions[at].arg or 0) if instructions[at].opname.startswith("CALL") else 2
    if instructions[at].opname in ("CALL_FUNCTION_KW", "CALL_FUNCTION_EX", "CALL_KW"):
        wanted += 1  # the tuple of keyword names, or the dict
    names, height = set(), 0
    for ins in reversed(instructions[:at]):
        if height >= wanted:
            break
        if ins.opname in _NO_OPERATIONS:
            continue
        if ins.opname.startswith("LOAD") and isinstance(ins.argval, str):
            names.add(ins.argval)
        height += _effect(ins)
    return frozenset(names)


@lru_cache(maxsize=1024)
def is_stored(code: CodeType, offset: int) -> bool:
    """Does a variable, an attribute or an item get what the instruction at `offset` yields?"""
    above = 0  # how many values lie above it on the stack
    for ins in dis.get_instructions(code):
        name = ins.opname
        if ins.offset <= offset or name in _NO_OPERATIONS:
            continue
        if name == "SWAP" or name.startswith("ROT_") or (name == "BUILD_TUPLE" and (ins.arg or 0) > above):
            return True  # one of several values that several variables get
        if name.startswith("STORE_"):
            taken = {"STORE_ATTR": 1, "STORE_SUBSCR": 2}.get(name, 0)
            if above == taken:
                return True
        effect = _effect(ins)
        is_push = name.startswith(("LOAD_", "PUSH_")) and name not in ("LOAD_ATTR", "LOAD_METHOD")
        yields = 0 if name.startswith("STORE_") else 1
        if "JUMP" in name or (not is_push and yields - effect > above):
            return False
        above += effect
    return False


@lru_cache(maxsize=4096)
def operator_at(code: CodeType, offset: int) -> str:
    """The arithmetic operator that the instruction at `offset` applies: "/" for `x / y` and `x /= y`; or ""."""
    ins = next(ins for ins in reversed(list(dis.get_instructions(code))) if ins.offset <= offset)
    return ins.argrepr.rstrip("=") if ins.opname == "BINARY_OP" else ""


@lru_cache(maxsize=1024)
def is_unpacked(code: CodeType, offset: int, by_the_next: bool) -> bool:
    """Does the instruction at `offset`, or the next, unpack a sequence (`a, b = x`) or take one item (`x[0]`)?"""
    instructions = list(dis.get_instructions(code))
    at = max(i for i, ins in enumerate(instructions) if ins.offset <= offset)
    wanted = ("UNPACK_SEQUENCE", "UNPACK_EX")
    if not by_the_next:
        return instructions[at].opname in wanted
    if instructions[at + 1].opname == "LOAD_CONST":
        return instructions[at + 2].opname == "BINARY_SUBSCR"
    return instructions[at + 1].opname in wanted


def _effect(instruction: dis.Instruction) -> int:
    if instruction.opname == "CALL" and "PRECALL" in dis.opmap:
        return -(instruction.arg or 0) - 1  # together with its PRECALL, which is left out
    arg = instruction.arg if instruction.opcode >= dis.HAVE_ARGUMENT else None
    return dis.stack_effect(instruction.opcode, arg, jump=False)


@cache
def names_of(dtype: torch.dtype) -> frozenset[str]:
    """How people write a dtype: `torch.float32`, `torch.float`."""
    return frozenset(name for name, value in vars(torch).items() if value is dtype)
