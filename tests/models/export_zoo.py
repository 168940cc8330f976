"""Writes models of the zoo as source and loads them back: ./dev export [LIBRARY] [MODEL]

Every classification and segmentation network of torchvision, the transformers and YOLOv8n. Outputs must be bit-equal on
the example and on other values, keys and module paths the same, and two writings the same bytes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch

from catalogue import Entry, entries
from fidelity import assert_same
from measure import _run
from modulize import load_source, prepare_model, save_source

# Detectors and video networks of torchvision are not among them.
DETECTION = ("rcnn", "ssd", "fcos", "retinanet", "keypoint")


def chosen() -> Iterator[Entry]:
    for entry in entries("torchvision"):
        if not any(word in entry.name for word in DETECTION):
            yield entry
    yield from entries("transformers")
    yield from (entry for entry in entries("ultralytics") if entry.name == "yolov8n")


def check(entry: Entry, folder: Path) -> None:
    """Raises where the model does not come back as it is."""
    model = entry.make()
    args, kwargs = entry.example()
    prepared = prepare_model(model, example_inputs=args, example_kwargs=kwargs)
    first, second = (save_source(prepared, folder / name) for name in ("first", "second"))
    loaded = load_source(first)
    for inputs, where in ((entry.example(), "example"), (entry.other_values(), "values")):
        assert_same(_run(loaded, inputs), _run(prepared, inputs), where)
    assert list(loaded.state_dict()) == list(model.state_dict())
    for file in first.iterdir():
        assert file.read_bytes() == (second / file.name).read_bytes(), f"{file.name} differs when it is written again"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library", nargs="?", help="all if not given")
    parser.add_argument("model", nargs="?", default="", help="names that begin so")
    parser.add_argument("--trace", action="store_true", help="show the whole error")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    failed, count, start = [], 0, time.perf_counter()
    for entry in chosen():
        if arguments.library not in (None, entry.library) or not entry.name.startswith(arguments.model):
            continue
        count += 1
        begin = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            try:
                check(entry, Path(folder))
                result = "equal"
            except Exception as error:
                failed.append(entry.name)
                result = f"NO: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
                if arguments.trace:
                    traceback.print_exc()
        print(f"{entry.library:12s} {entry.name:34s} {time.perf_counter() - begin:6.1f} s  {result}", flush=True)
    print(f"{count - len(failed)} of {count} come back bit-equal; {time.perf_counter() - start:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
