"""Ten thousand preparations of a small model in one process, by running and without inputs: what grows?

bench_repeat.py [COUNT]
"""

import sys
import time
from pathlib import Path

from timing import table

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests" / "python"))

import preparations
from footprint import growth, hooks_of, measure
from modulize import prepare_model


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    rows, leaks = [], 0
    for name, inputs in (("running", preparations.X), ("without inputs", None)):
        model = preparations.Plain().eval()
        for _ in range(500):
            prepare_model(model, example_inputs=inputs)
        before, started = measure(), time.perf_counter()
        for _ in range(count):
            prepare_model(model, example_inputs=inputs)
        seconds = time.perf_counter() - started
        grown = growth(before, measure())
        resident = grown.pop("resident bytes", 0)
        hooks = hooks_of(model)
        # Fewer than one object in a hundred preparations is the interpreter's own, as are a few blocks in any number.
        leaks += hooks + sum(number > max(200, count // 100) for number in grown.values()) + (resident > 16 << 20)
        others = ", ".join(f"{what} +{number}" for what, number in grown.items()) or "nothing"
        rows.append([name, f"{seconds / count * 1e3:.2f} ms", f"{resident / 2**20:.1f} MiB", str(hooks), others])
    table(f"{count:,} preparations", ["capture", "each", "resident", "hooks", "what else grew"], rows)
    return 1 if leaks else 0


if __name__ == "__main__":
    sys.exit(main())
