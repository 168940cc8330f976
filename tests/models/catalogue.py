"""Every model that the zoo prepares: how it is built and what it is called with. One file a library."""

from __future__ import annotations

import dataclasses
import functools
import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from fidelity import redraw

Inputs = tuple[tuple[Any, ...], dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Entry:
    """A model of a library.

    ``make`` builds it in eval mode, the same every time. ``inputs(seed, rows, larger)`` draws positional and keyword
    inputs: another seed gives other values (among them masks with and without padding), other rows another batch size
    (list inputs get longer), ``larger`` other pixels or a longer sequence.
    """

    library: str
    name: str
    make: Callable[[], nn.Module]
    inputs: Callable[[int, int, bool], Inputs]
    rows: int = 2
    other_rows: int = 3

    def example(self) -> Inputs:
        return self.inputs(0, self.rows, False)

    def other_values(self, seed: int = 1) -> Inputs:
        return self.inputs(seed, self.rows, False)

    def another_batch(self) -> Inputs:
        return self.inputs(2, self.other_rows, False)

    def another_size(self) -> Inputs:
        return self.inputs(3, self.rows, True)


LIBRARIES = ("torchvision", "timm", "transformers", "ultralytics")


def entries(library: str) -> list[Entry]:
    """All models of a library, in a stable order. Imports the library."""
    module = importlib.import_module(f"{library}_models")
    found: list[Entry] = module.entries()
    names = [entry.name for entry in found]
    assert len(set(names)) == len(names), f"{library}: a name stands twice"
    return found


def find(library: str, name: str) -> Entry:
    return next(entry for entry in entries(library) if entry.name == name)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(1000 + seed)


def images(size: int, larger: int | None, channels: int = 3) -> Callable[[int, int, bool], Inputs]:
    """Draws one batch of square images, of ``larger`` pixels a side where other sizes are asked for."""

    def draw(seed: int, rows: int, bigger: bool) -> Inputs:
        side = larger if bigger and larger else size
        return (torch.randn(rows, channels, side, side, generator=generator(seed)),), {}

    return draw


class Networks:
    """Small networks of our own, called with tensors of one shape behind the batch."""

    def __init__(self, library: str) -> None:
        self._library, self._entries = library, list[Entry]()

    def entries(self) -> list[Entry]:
        return self._entries

    def __call__(self, *shape: int, tensors: int = 1) -> Callable[[type[nn.Module]], type[nn.Module]]:
        """Registers a class."""

        def register(cls: type[nn.Module]) -> type[nn.Module]:
            self.add(cls.__name__, cls, shape, tensors)
            return cls

        return register

    def add(self, name: str, make: Callable[[], nn.Module], shape: tuple[int, ...], tensors: int = 1) -> None:
        def draw(seed: int, rows: int, larger: bool) -> Inputs:
            drawn = generator(seed)
            return tuple(torch.randn(rows, *shape, generator=drawn) for _ in range(tensors)), {}

        self._entries.append(Entry(self._library, name, functools.partial(_drawn_anew, make), draw))


def _drawn_anew(make: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return redraw(make().eval())
