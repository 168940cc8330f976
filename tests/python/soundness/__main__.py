"""Says what becomes of each trap: python -m soundness [WORD...] [--accept], in tests/python.

Prints all that is not equal; --accept writes the lists of test_soundness.py anew.
"""

from __future__ import annotations

import argparse
import collections
import re
import sys
import textwrap
import warnings
from pathlib import Path

import torch

sys.path.append(str(Path(__file__).resolve().parents[2] / "models"))  # fidelity.py

from soundness.everything import TRAPS
from soundness.rule import CRASH, EQUAL, WRONG, judge

CAPTURES = ("run", "child", "symbolic")
TEST = Path(__file__).resolve().parents[1] / "test_soundness.py"


def lists(verdicts: dict[tuple[str, str], str], kind: str) -> str:
    text = ""
    for capture in CAPTURES:
        names = sorted(name for (of, name), found in verdicts.items() if of == capture and found == kind)
        body = textwrap.fill(" ".join(names), 110, initial_indent=" " * 8, subsequent_indent=" " * 8)
        value = f'"""\n{body}\n    """.split()' if names else "[]"
        text += f'    "{capture}": {value},\n'
    return "{\n" + text + "}"


def accept(verdicts: dict[tuple[str, str], str]) -> None:
    source = TEST.read_text()
    for name, kind in (("WRONG_TODAY", WRONG), ("UNCLEAR_TODAY", CRASH)):
        head = f"{name}: dict[str, list[str]] = "
        source = re.sub(re.escape(head) + r"\{.*?\n\}", lambda _: head + lists(verdicts, kind), source, flags=re.S)
    TEST.write_text(source)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="traps whose names have one of them")
    parser.add_argument("--accept", action="store_true", help="write the lists of test_soundness.py")
    arguments = parser.parse_args()
    if arguments.accept and arguments.words:
        parser.error("--accept goes with all traps")
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    verdicts = {}
    for capture in CAPTURES:
        for name, found in TRAPS.items():
            if arguments.words and not any(word in name for word in arguments.words):
                continue
            verdict = judge(found, capture)
            verdicts[capture, name] = verdict.kind
            if verdict.kind != EQUAL:
                print(f"{capture:8s} {verdict.kind:8s} {name:36s} {' '.join(verdict.text.split())[:160]}", flush=True)
    for capture in CAPTURES:
        print(capture, dict(collections.Counter(kind for (of, _), kind in verdicts.items() if of == capture)))
    if arguments.accept:
        accept(verdicts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
