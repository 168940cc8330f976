"""Prepares every model of a library and prints a table: ./dev zoo [LIBRARY] [MODEL] [--json FILE] [--write]

Each model runs in a worker process under a time limit: a crash or a hang of one costs that one alone.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import multiprocessing
import multiprocessing.connection
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from catalogue import Entry

LIBRARIES = ("torchvision", "timm", "transformers", "ultralytics")
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "zoo.md"


# --- the worker -------------------------------------------------------------------------------------------------------


def serve(connection: multiprocessing.connection.Connection, answer: Callable[..., object]) -> None:
    """Answers (library, name, ...) with ``answer(entry, ...)``, (library, None) with the names of the library."""
    import torch

    from catalogue import entries, find

    warnings.simplefilter("ignore")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    torch.set_num_threads(1)  # sums come out in one order
    while True:
        try:
            library, name, *rest = connection.recv()
        except EOFError:
            return
        if name is None:
            connection.send([entry.name for entry in entries(library)])
        else:
            connection.send(answer(find(library, name), *rest))


def work(connection: multiprocessing.connection.Connection, warm: bool) -> None:
    """Serves rows as dicts."""
    from measure import Row, measure

    def row(entry: Entry) -> dict[str, object]:
        try:
            return measure(entry, warm=warm).as_dict()
        except BaseException as error:
            message = " ".join(str(error).split())[:400]
            return Row(entry.library, entry.name, error=f"entry: {type(error).__name__}", message=message).as_dict()

    serve(connection, row)


class Worker:
    """A process that runs ``work(connection, *settings)`` and answers one question after the other."""

    def __init__(self, work: Callable[..., None], *settings: object) -> None:
        self._work, self._settings = work, settings
        self._context = multiprocessing.get_context("spawn")
        self._process: multiprocessing.process.BaseProcess | None = None

    def ask(self, question: tuple[str | None, ...], limit: float) -> object:
        """The answer; a text that says why there is none. A fresh process takes the next question then."""
        if self._process is None:
            self._here, there = self._context.Pipe()
            self._process = self._context.Process(target=self._work, args=(there, *self._settings), daemon=True)
            self._process.start()
            there.close()
        self._here.send(question)
        try:
            if self._here.poll(limit):
                return self._here.recv()
            why = f"no answer within {limit:.0f} s"
        except EOFError:
            self._process.join()
            why = f"the process ended with {self._process.exitcode}"
        self.close()
        return why

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._here.close()
            self._process = None


# --- the table --------------------------------------------------------------------------------------------------------

HEAD = (
    f"{'model':40s} {'prep':4s} {'exam':7s} {'values':7s} {'batch':7s} {'size':7s} {'state':5s} "
    f"{'left':>4s} {'share':>7s} {'time':>8s} {'forwards':>8s}"
)


def line_of(row: dict) -> str:
    if not row["prepared"]:
        return f"{row['name']:40s} NO   {row['error']}: {row['message'][:150]}"
    times = row["seconds"] / max(row["forward_seconds"], 1e-9)
    text = (
        f"{row['name']:40s} yes  {row['example']:7s} {row['values']:7s} {row['batch']:7s} {row['size']:7s} "
        f"{row['state']:5s} {len(row['leftovers']):4d} {row['share']:7.2%} {row['seconds'] * 1e3:5.0f} ms {times:8.1f}"
    )
    if row["error"]:
        text += f"\n    {row['error']}: {row['message'][:150]}"
    for kept in row["kept"]:
        text += f"\n    kept {kept[:150]}"
    return text


def summary(library: str, rows: list[dict]) -> str:
    def count(key: str) -> int:
        return sum(row[key] == "yes" for row in rows)

    wrong = [row["name"] for row in rows if row["silently_wrong"]]
    return (
        f"{library}: {sum(row['prepared'] for row in rows)} of {len(rows)} prepared, equal on the example "
        f"{count('example')}, other values {count('values')}, another batch {count('batch')}, another size "
        f"{count('size')}; all holds {sum(row['holds'] for row in rows)}; different {len(wrong)}"
        + (f" ({', '.join(wrong)})" if wrong else "")
    )


def versions() -> str:
    names = ("torch", *LIBRARIES)
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)


def document(rows: list[dict]) -> str:
    lines = [
        "# The zoo",
        "",
        "Written by `./dev zoo --write`: every model of four libraries, prepared by running, as built, and compared",
        "with the original, bit for bit, on the example, on other values, on another batch size and on another size",
        "of image or sequence (`-`: the original takes no other; `assumes`: the prepared model refuses it with an",
        "AssumptionError). Leftovers are computing calls that are no module; the share is that of computing calls",
        "that are modules of their own; kept is the number of functions and modules kept whole; time is that of",
        "preparing, with its further captures and comparison, in forwards of the original. Models and inputs stand",
        "in tests/models/*_models.py.",
        "",
        f"With {versions()}.",
        "",
    ]
    for library in LIBRARIES:
        mine = [row for row in rows if row["library"] == library]
        if not mine:
            continue
        lines += [f"## {library}", "", f"{summary(library, mine).split(': ', 1)[1]}.", ""]
        lines += ["| model | example | values | batch | size | modules | leftovers | share | kept | ms | forwards |"]
        lines += ["|---|---|---|---|---|---:|---:|---:|---:|---:|---:|"]
        for row in mine:
            if not row["prepared"]:
                lines.append(f"| {row['name']} | {row['error']} | | | | | | | | | |")
                continue
            times = row["seconds"] / max(row["forward_seconds"], 1e-9)
            lines.append(
                f"| {row['name']} | {row['example']} | {row['values']} | {row['batch']} | {row['size']} "
                f"| {row['modules']} | {len(row['leftovers'])} | {row['share']:.2%} | {len(row['kept'])} "
                f"| {row['seconds'] * 1e3:.0f} | {times:.1f} |"
            )
        failed = [row for row in mine if not row["holds"]]
        if failed:
            lines += ["", "What does not hold:", ""]
            lines += [f"- {row['name']}: {row['reason'][:300]}" for row in failed]
        lines.append("")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library", nargs="?", choices=LIBRARIES, help="all if not given")
    parser.add_argument("model", nargs="?", help="names that begin so")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    parser.add_argument("--write", action="store_true", help="write docs/zoo.md (all libraries)")
    parser.add_argument("--warm", action="store_true", help="run each model once before it is prepared")
    parser.add_argument("--limit", type=float, default=240.0, help="seconds a model may take")
    arguments = parser.parse_args()
    if arguments.write and (arguments.library or arguments.model or arguments.warm):
        parser.error("--write goes with all libraries, and with fresh models")
    worker, rows, summaries = Worker(work, arguments.warm), [], []
    start = time.perf_counter()
    for library in [arguments.library] if arguments.library else LIBRARIES:
        names = worker.ask((library, None), 120.0)
        if not isinstance(names, list):
            raise SystemExit(f"{library}: {names}")
        names = [name for name in names if name.startswith(arguments.model or "")]
        if not names:
            parser.error(f"no model of {library} begins with {arguments.model!r}")
        print(f"\n{library}\n{HEAD}", flush=True)
        mine = []
        for name in names:
            row = worker.ask((library, name), arguments.limit)
            if not isinstance(row, dict):
                from measure import Row

                lost = Row(library, name, error="lost", message=str(row))
                row = lost.as_dict()
            mine.append(row)
            print(line_of(row), flush=True)
            if arguments.json:
                arguments.json.write_text(json.dumps([*rows, *mine], indent=1))
        rows += mine
        summaries.append(summary(library, mine))
        print(summaries[-1], flush=True)
    worker.close()
    print(f"\n{versions()}; {time.perf_counter() - start:.0f} s", *summaries, sep="\n")
    if arguments.write:
        DOCUMENT.write_text(document(rows))
    return 0 if all(row["holds"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
