"""Shows that a test would miss every cell of the table of calls outside and every region of the checkpoint.

``python tools/mutate_contract.py [--scratch DIR] [WORD]``: copies the tree to a scratch folder and builds the extension
there; then clears one cell of one row in ``bridge/boundary/call_outside.cpp`` (it gets its default), or leaves one
region out of ``Checkpoint::restore``, builds what has changed, and runs the tests of the contract until one fails. One
line of the table each: what was changed and which test saw it, or SURVIVED. WORD selects by name. The exit code is the
number of survivors.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TABLE = Path("bridge/boundary/call_outside.cpp")
CHECKPOINT = Path("bridge/world/checkpoint.cpp")
TESTS = ["tests/python/test_calls_outside.py", "tests/python/test_contract.py"]


@dataclass(frozen=True)
class Mutation:
    name: str
    file: Path
    text: str  # of the file, with the one thing changed


def cells(source: str) -> list[Mutation]:
    """One for every cell that a row of the table sets."""
    begin = source.index("constexpr CallRow kRows[]")
    end = source.index("\n};", begin)
    out = []
    for row in re.finditer(r"\{CallKind::(\w+),.*?\{([^{}]*)\}\}", source[begin:end], re.DOTALL):
        for cell in re.finditer(r"\.(\w+) = [\w:]+(, )?", row.group(2)):
            at = begin + row.start(2) + cell.start()
            text = source[:at] + source[at + len(cell.group()) :]
            out.append(Mutation(f"{row.group(1)}.{cell.group(1)}", TABLE, text.replace(", }}", "}}")))
    return out


def regions(source: str) -> list[Mutation]:
    """One for every line of Checkpoint::restore that puts something back."""
    begin = source.index("Checkpoint::restore() {")
    out = []
    for line in re.finditer(r"^ .*\b(\w+)_(?:(?:->|\.)restore\(.*\)|\)); *.*\n", source[begin:], re.MULTILINE):
        at = begin + line.start()
        out.append(Mutation(f"region {line.group(1)}", CHECKPOINT, source[:at] + source[at + len(line.group()) :]))
    return out


def copy_tree(scratch: Path) -> None:
    """The files that git knows or does not ignore, those that have changed: a build in `scratch` stays incremental."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines():
        source, copy = ROOT / name, scratch / name
        if source.is_file() and not (copy.is_file() and copy.read_bytes() == source.read_bytes()):
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)


def configure(scratch: Path) -> None:
    options = ["-DMODULIZE_DEV=ON", f"-DPython_EXECUTABLE={sys.executable}", "-DCMAKE_BUILD_TYPE=Debug"]
    options += ["-DCMAKE_CXX_FLAGS_DEBUG=-O0"]
    if shutil.which("ccache"):
        options += ["-DCMAKE_CXX_COMPILER_LAUNCHER=ccache"]
    run(["cmake", "-S", ".", "-B", "build/mutate", "-G", "Ninja", *options], scratch, check=True)


def build(scratch: Path, jobs: int) -> bool:
    generated = scratch / "python/modulize/nn/_generated.py"
    done = run(["ninja", "-C", "build/mutate", "-j", str(jobs), "_core", str(generated)], scratch)
    if done.returncode:
        print(done.stdout[-2000:], file=sys.stderr)
    return done.returncode == 0


def first_failure(scratch: Path, word: str = "") -> str:
    """The name of the first test that fails; empty if none does. First those that have the word, which is quick."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider", "--tb=no"]
    done = run([*command, "-k", word, *TESTS], scratch) if word else None
    if done is None or done.returncode in (0, 5):  # 5: no test has the word
        done = run([*command, *TESTS], scratch)
    if done.returncode == 0:
        return ""
    failed = re.search(r"^(?:FAILED|ERROR) \S*?(\w+\.py(?:::\S.*?)?)(?: - .*)?$", done.stdout, re.MULTILINE)
    return failed.group(1) if failed else f"pytest ended with {done.returncode}"


def run(command: list[str], folder: Path, check: bool = False) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": str(folder / "python"),
        "OMP_NUM_THREADS": "1",
        "CCACHE_BASEDIR": str(folder),
        "CCACHE_NOHASHDIR": "1",
    }
    return subprocess.run(
        command, cwd=folder, env=environment, check=check, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("word", nargs="?", default="", help="only mutations whose name has it")
    parser.add_argument("--scratch", type=Path, help="the folder of the copy, kept for the next time")
    parser.add_argument("--jobs", type=int, default=1, help="of the build")
    options = parser.parse_args()
    scratch = (options.scratch or Path(tempfile.mkdtemp(prefix="modulize_mutate_"))).resolve()
    copy_tree(scratch)
    configure(scratch)
    if not build(scratch, options.jobs):
        return 1
    if failure := first_failure(scratch):
        print(f"fails as it is: {failure}", file=sys.stderr)
        return 1
    sources = {file: (scratch / file).read_text(encoding="utf-8") for file in (TABLE, CHECKPOINT)}
    mutations = cells(sources[TABLE]) + regions(sources[CHECKPOINT])
    survivors = 0
    print("| changed | seen by | seconds |\n|---|---|---|", flush=True)
    for mutation in mutations:
        if options.word not in mutation.name:
            continue
        started = time.monotonic()
        (scratch / mutation.file).write_text(mutation.text, encoding="utf-8")
        row = mutation.name.removeprefix("region ").partition(".")[0]
        seen = first_failure(scratch, row) if build(scratch, options.jobs) else "the compiler"
        (scratch / mutation.file).write_text(sources[mutation.file], encoding="utf-8")
        survivors += not seen
        print(f"| {mutation.name} | {seen or 'SURVIVED'} | {time.monotonic() - started:.0f} |", flush=True)
    if not options.scratch:
        shutil.rmtree(scratch)
    return survivors


if __name__ == "__main__":
    sys.exit(main())
