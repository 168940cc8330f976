"""Interleaved timing: what is compared runs in turns, so that a slow minute of the machine hits both."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable


def interleaved(
    functions: dict[str, Callable[[], object]], seconds: float = 4.0, rounds: int = 0, repeat: int = 1
) -> dict[str, float]:
    """Best seconds of each, after one unmeasured round. ``rounds`` 0: as many as fit into ``seconds``, 5 to 200.

    Each runs ``repeat`` times in a row: where two of the functions share objects and a third does not, they would warm
    the processor's caches for each other.

    The best, not the mean: whatever else the machine does can only add. Garbage collection stays on, as users have it.
    """
    best = dict.fromkeys(functions, float("inf"))
    for function in functions.values():
        function()
    gc.collect()
    started = time.perf_counter()
    done = 0
    while not rounds or done < rounds:
        for name, function in functions.items():
            for _ in range(repeat):
                before = time.perf_counter()
                function()
                best[name] = min(best[name], time.perf_counter() - before)
        done += 1
        if not rounds and done >= 5 and (time.perf_counter() - started > seconds or done >= 200):
            break
    return best


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms" if seconds < 1 else f"{seconds:.2f} s"


def table(title: str, header: list[str], rows: list[list[str]]) -> None:
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    print(f"\n{title}")
    for row in [header, ["-" * width for width in widths], *rows]:
        print("  " + "  ".join(cell.rjust(w) if i else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths))))
