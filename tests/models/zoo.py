"""Prepares every model of a library and prints a table: ./dev zoo [torchvision] [MODEL]"""

from __future__ import annotations

import argparse
import sys
import time

import torch

from catalogue import classification_models, example, make, settings
from fidelity import check, prepare


def seconds_of_forward(model: torch.nn.Module, x: torch.Tensor) -> float:
    with torch.no_grad():
        model(x)
        start = time.perf_counter()
        model(x)
        return time.perf_counter() - start


def row(name: str, capture: str) -> tuple[bool, str]:
    """Whether all holds, and the line of the table."""
    model, x = make(name), example(name)
    once = seconds_of_forward(model, x)
    try:
        start = time.perf_counter()
        prepare(model, x, capture)
        took = time.perf_counter() - start
        allowed = settings(name).wrapped if capture == "symbolic" else ()
        check(model, x, capture, other_size=settings(name).other_size, allowed=allowed)
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return False, f"{name:24s} {capture:9s} NO   {reason[:160]}"
    return True, f"{name:24s} {capture:9s} yes  {took * 1e3:8.0f} ms  {took / once:6.1f} forwards"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("library", nargs="?", default="torchvision", choices=["torchvision"])
    parser.add_argument("model", nargs="?", help="names that begin so")
    arguments = parser.parse_args()
    names = [name for name in classification_models() if name.startswith(arguments.model or "")]
    if not names:
        parser.error(f"no model of {arguments.library} begins with {arguments.model!r}")
    prepare(torch.nn.Linear(2, 2), torch.randn(1, 2))  # the first call of a process imports
    results = []
    for name in names:
        for capture in ("run", "symbolic"):
            good, line = row(name, capture)
            results.append(good)
            print(line, flush=True)
    print(f"{sum(results)} of {len(results)} preparations hold everything that is checked")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
