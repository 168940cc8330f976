"""Every promise on many models, as a table: ./dev promises [LIBRARY] [MODEL] [--operations plain|compilers|NAME,...]

What the original itself cannot do is left out of the count. Each model runs in a worker process under a time limit.
"""

from __future__ import annotations

import argparse
import collections
import json
import multiprocessing.connection
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from zoo import Worker, serve

if TYPE_CHECKING:
    from catalogue import Entry

LIBRARIES = ("trap", "torchvision", "timm", "transformers")

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


def work(connection: multiprocessing.connection.Connection, operations: list[str]) -> None:
    """Serves cells as tuples; a text where the model cannot be prepared."""
    from promises import Subject

    def cells(entry: Entry) -> object:
        try:
            subject = Subject(entry)
        except Exception as error:
            return f"not prepared: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
        checked = [subject.check(operation) for operation in operations]
        return [(cell.operation, cell.verdict, cell.message) for cell in checked]

    serve(connection, cells)


def main() -> int:
    from promises import COMPILERS, FAILS, HOLDS, OPERATIONS, PLAIN, REFUSED

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("library", nargs="?", choices=LIBRARIES)
    parser.add_argument("model", nargs="?")
    parser.add_argument("--operations", default="plain", help="plain, compilers, all, or names")
    parser.add_argument("--limit", type=float, default=600, help="seconds a model")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    sets = {"plain": PLAIN, "compilers": COMPILERS, "all": list(OPERATIONS)}
    operations = sets.get(arguments.operations) or arguments.operations.split(",")
    worker, found, start = Worker(work, operations), {}, time.perf_counter()
    for library in (arguments.library,) if arguments.library else LIBRARIES:
        names = worker.ask((library, None), 300)
        for name in [arguments.model] if arguments.model else chosen(library, names):
            answer = worker.ask((library, name), arguments.limit)
            found[f"{library} {name}"] = answer
            if isinstance(answer, str):
                print(f"{library} {name}: {answer}", flush=True)
                continue
            failed = [cell for cell in answer if cell[1] == FAILS]
            refused = sum(cell[1] == REFUSED for cell in answer)
            print(f"{library} {name}: {len(answer) - len(failed) - refused} hold, {refused} cannot", flush=True)
            for operation, _, message in failed:
                print(f"    {operation}: {message[:250]}", flush=True)
    worker.close()
    counts = collections.Counter(cell[1] for answer in found.values() if isinstance(answer, list) for cell in answer)
    none = [name for name, answer in found.items() if isinstance(answer, str)]
    cells = counts[HOLDS] + counts[FAILS]
    print(
        f"\n{len(found)} models, {cells} cells that the original can: {counts[FAILS]} fail "
        f"({counts[FAILS] / max(cells, 1):.1%}), {counts[REFUSED]} that it cannot; no answer: {none}; "
        f"{time.perf_counter() - start:.0f} s"
    )
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1))
    return 1 if counts[FAILS] or none else 0


if __name__ == "__main__":
    sys.exit(main())
