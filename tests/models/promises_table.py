"""Every promise on many models, as a table: ./dev promises [LIBRARY] [MODEL...] [--operations plain|compilers|NAME,...]

What the original itself cannot do is left out of the count. Each model runs in a worker process under a time limit.
"""

from __future__ import annotations

import argparse
import collections
import json
import multiprocessing.connection
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from zoo import Worker, serve

if TYPE_CHECKING:
    from catalogue import Entry

LIBRARIES = ("reference", "trap", "torchvision", "timm", "transformers")

# One of each family and task; the rest of torchvision are other sizes of these.
TORCHVISION = """
    alexnet convnext_tiny densenet121 efficientnet_b0 efficientnet_v2_s googlenet inception_v3 maxvit_t mnasnet0_5
    mobilenet_v2 mobilenet_v3_small regnet_x_400mf regnet_y_400mf resnet18 resnext50_32x4d shufflenet_v2_x0_5
    squeezenet1_1 swin_t swin_v2_t vgg11 vgg11_bn vit_b_32 wide_resnet50_2
    deeplabv3_mobilenet_v3_large fcn_resnet50 lraspp_mobilenet_v3_large
    fasterrcnn_mobilenet_v3_large_320_fpn fcos_resnet50_fpn retinanet_resnet50_fpn ssdlite320_mobilenet_v3_large
    keypointrcnn_resnet50_fpn r3d_18 mc3_18 r2plus1d_18 s3d mvit_v2_s swin3d_t raft_small
""".split()


def chosen(library: str, names: list[str]) -> list[str]:
    if library == "torchvision":
        return TORCHVISION
    return names[:60] if library == "timm" else names


def work(connection: multiprocessing.connection.Connection) -> None:
    """Serves a cell as verdict and message, and the message of a model that cannot be prepared."""
    from promises import Subject

    prepared: dict[str, Subject] = {}

    def cell(entry: Entry, operation: str) -> object:
        if entry.name not in prepared:
            prepared.clear()
            try:
                prepared[entry.name] = Subject(entry)
            except Exception as error:
                return f"{NOT_PREPARED}: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
        checked = prepared[entry.name].check(operation)
        return checked.verdict, checked.message

    serve(connection, cell)


NOT_PREPARED = "not prepared"

PAGE = """# What prepared models can do

Written by `./dev promises --write`. Each operation runs on the original and on the prepared model, which must give the
same: outputs bit for bit, gradients and training steps to 1e-5, names, order, ties and keys. Counted are the models
whose original itself can do it. `reference` are the reference and limitation cases and the networks of the rule of
names, `trap` small networks that do what other tools get wrong. The operations stand in tests/models/promises.py, one
function each, and are tests too, on fewer models; what fails is listed below, in [limitations](limitations.md) and in
tests/models/promise_gaps.py.
"""

Cells = dict[str, tuple[str, str]]  # operation -> verdict, message


def write_page(found: dict[str, Cells], operations: list[str]) -> None:
    """docs/promises.md: how many of the models that can do an operation still can, by operation and library."""
    from promises import FAILS, REFUSED

    libraries = [library for library in LIBRARIES if any(key.startswith(library + " ") for key in found)]

    def counts(chosen: list[str], library: str) -> str:
        cells = [
            cells[name][0]
            for key, cells in found.items()
            for name in chosen
            if key.startswith(library) and name in cells
        ]
        able = [verdict for verdict in cells if verdict != REFUSED]
        return f"{len(able) - able.count(FAILS)} of {len(able)}" if cells else ""

    lines = [
        PAGE,
        "| operation | " + " | ".join(libraries) + " |",
        "|---|" + "---:|" * len(libraries),
    ]
    for name in operations:
        row = [counts([name], library + " ") for library in libraries]
        if any(row):
            lines.append(f"| {name} | " + " | ".join(row) + " |")
    lines.append("| all | " + " | ".join(counts(operations, library + " ") for library in libraries) + " |")
    able = [verdict for cells in found.values() for verdict, _ in cells.values() if verdict != REFUSED]
    lines += [
        "",
        "Models: "
        + ", ".join(f"{sum(key.startswith(name + ' ') for key in found)} of {name}" for name in libraries)
        + f". Of {len(able)} cells {able.count(FAILS)} do not hold ({able.count(FAILS) / len(able):.1%}).",
    ]
    lines += ["", "## What fails", ""]
    for key, cells in found.items():
        for name, (verdict, message) in cells.items():
            if verdict == FAILS:
                said = re.sub(r"\S*site-packages/", "", message).replace("`", "")[:150]
                lines.append(f"- {key}, {name}: `{said}`")
    shown = [name for name in operations if any(name in cells for cells in found.values())]
    lacking = {key: [name for name in shown if name not in cells] for key, cells in found.items()}
    if any(lacking.values()):
        lines += ["", "## Not run", ""]
        lines += [f"- {key}: {', '.join(names)}" for key, names in lacking.items() if names]
    (Path(__file__).parents[2] / "docs" / "promises.md").write_text("\n".join(lines) + "\n")


def report(model: str, cells: Cells) -> None:
    from promises import FAILS, HOLDS, REFUSED

    counts = collections.Counter(verdict for verdict, _ in cells.values())
    print(f"{model}: {counts[HOLDS]} hold, {counts[REFUSED]} cannot", flush=True)
    for operation, (verdict, message) in cells.items():
        if verdict == FAILS:
            print(f"    {operation}: {message[:250]}", flush=True)


def main() -> int:
    from promises import COMPILERS, FAILS, HOLDS, OPERATIONS, PLAIN, REFUSED

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("library", nargs="?", choices=LIBRARIES)
    parser.add_argument("models", nargs="*")
    parser.add_argument("--operations", default="plain", help="plain, compilers, all, or names")
    parser.add_argument("--limit", type=float, default=300, help="seconds an operation")
    parser.add_argument("--results", type=Path, help="a file of results, where those that it has are kept and counted")
    parser.add_argument("--write", action="store_true", help="write docs/promises.md")
    arguments = parser.parse_intermixed_args()
    sets = {"plain": PLAIN, "compilers": COMPILERS, "all": list(OPERATIONS)}
    operations = sets.get(arguments.operations) or arguments.operations.split(",")
    found: dict[str, Cells] = {}
    if arguments.results and arguments.results.exists():
        found = json.loads(arguments.results.read_text())
    worker, start = Worker(work), time.perf_counter()
    for library in (arguments.library,) if arguments.library else LIBRARIES:
        for name in arguments.models or chosen(library, worker.ask((library, None), 300)):
            cells = found.setdefault(f"{library} {name}", {})
            missing = [operation for operation in operations if operation not in cells]
            for operation in missing:
                answer = worker.ask((library, name, operation), arguments.limit)
                cells[operation] = (FAILS, answer) if isinstance(answer, str) else tuple(answer)
                if arguments.results:
                    arguments.results.write_text(json.dumps(found, indent=1))
                if str(answer).startswith(NOT_PREPARED):
                    break
            if missing:
                report(f"{library} {name}", {key: cells[key] for key in missing if key in cells})
    worker.close()
    counts = collections.Counter(verdict for cells in found.values() for verdict, _ in cells.values())
    total = counts[HOLDS] + counts[FAILS]
    print(
        f"\n{len(found)} models, {total} cells that the original can: {counts[FAILS]} fail "
        f"({counts[FAILS] / max(total, 1):.1%}), {counts[REFUSED]} that it cannot; {time.perf_counter() - start:.0f} s"
    )
    if arguments.write:
        write_page(found, list(OPERATIONS))
    return 1 if counts[FAILS] else 0


if __name__ == "__main__":
    sys.exit(main())
