"""Control flow of the original as a module."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from modulize import _core
from modulize._prepared.pickling import picklable
from modulize._prepared.retrace import is_traced, replay_branch


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
            (side.text, picklable(side.objects, base), side.by_attributes) for side in self._modulize_sides
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


def _state_without_sides(branch: Branch) -> dict[str, Any]:
    getattr(branch, "_modulize_sides")  # noqa: B009 - makes them
    return {k: v for k, v in branch.__dict__.items() if k not in ("_modulize_sides", "_run_true", "_run_false")}


def _new_branch() -> Any:
    return object.__new__(Branch)
