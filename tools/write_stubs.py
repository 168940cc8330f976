"""Writes python/modulize/_core.pyi, what type checkers know of the extension: ``python tools/write_stubs.py [FILE]``.

By nanobind's stubgen, which leaves out classes that say they live elsewhere: the errors call themselves modulize's.
Formatted by ruff, as the rest of the package.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STUBS = ROOT / "python" / "modulize" / "_core.pyi"


def error_classes() -> str:
    """The errors as a pattern file of stubgen."""
    from modulize import _core

    classes = [c for c in vars(_core).values() if isinstance(c, type) and issubclass(c, Exception)]
    return "".join(
        f'modulize._core.{c.__name__}$:\n    class {c.__name__}({c.__base__.__name__}):\n        """{c.__doc__}"""\n\n'
        for c in classes
    )


def stubs() -> str:
    with tempfile.TemporaryDirectory() as folder:
        patterns, made = Path(folder) / "errors.pattern", Path(folder) / "_core.pyi"
        patterns.write_text(error_classes(), encoding="utf-8")
        stubgen = [sys.executable, "-m", "nanobind.stubgen", "--quiet", "--module", "modulize._core"]
        subprocess.run([*stubgen, "--pattern-file", patterns, "--output-file", made], check=True)
        text = made.read_text(encoding="utf-8")
    ruff = [sys.executable, "-m", "ruff"]
    for command in (["check", "--fix", "--quiet", "--exit-zero"], ["format", "--quiet"]):
        name = ["--stdin-filename", str(STUBS), "-"]
        text = subprocess.run(
            [*ruff, *command, *name], input=text, capture_output=True, text=True, check=True, cwd=ROOT
        ).stdout
    return text


if __name__ == "__main__":
    (Path(sys.argv[1]) if len(sys.argv) > 1 else STUBS).write_text(stubs(), encoding="utf-8")
