"""Interleaved timing: what is compared runs in turns, so that a slow minute of the machine hits both."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable


def interleaved(functions: dict[str, Callable[[], object]], seconds: float = 4.0, rounds: int = 0) -> dict[str, float]:
    """Median seconds of each, after one unmeasured round. ``rounds`` 0: as many as fit into ``seconds``, 3 to 101."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for function in functions.values():
        function()
    started = time.perf_counter()
    gc.collect()
    collecting = gc.isenabled()
    gc.disable()
    try:
        while True:
            for name, function in functions.items():
                before = time.perf_counter()
                function()
                times[name].append(time.perf_counter() - before)
            gc.collect(0)
            done = len(next(iter(times.values())))
            if done == rounds or (not rounds and done >= 3 and (time.perf_counter() - started > seconds or done > 100)):
                break
    finally:
        if collecting:
            gc.enable()
    return {name: statistics.median(values) for name, values in times.items()}


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms" if seconds < 1 else f"{seconds:.2f} s"


def table(title: str, header: list[str], rows: list[list[str]]) -> None:
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    print(f"\n{title}")
    for row in [header, ["-" * width for width in widths], *rows]:
        print("  " + "  ".join(cell.rjust(w) if i else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths))))
