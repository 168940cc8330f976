"""What is written once is true everywhere: the stubs of the extension, the version, the changelog, the dev command."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import modulize

ROOT = Path(__file__).resolve().parents[2]


def made_stubs(tmp_path):
    made = tmp_path / "_core.pyi"
    subprocess.run([sys.executable, "tools/write_stubs.py", made], cwd=ROOT, check=True, timeout=300)
    return made.read_text()


def test_the_stubs_are_what_stubgen_gives_today(tmp_path):
    assert (ROOT / "python/modulize/_core.pyi").read_text() == made_stubs(tmp_path), "run ./dev stubs"


def test_the_stubs_name_all_that_the_extension_has():
    tree = ast.parse((ROOT / "python/modulize/_core.pyi").read_text())
    named = {node.name for node in tree.body if isinstance(node, (ast.ClassDef, ast.FunctionDef))}
    assert named == {name for name in vars(modulize._core) if not name.startswith("_")}


def test_one_file_says_the_version():
    assert re.fullmatch(r"\d+\.\d+\.\d+", modulize.__version__)
    spelled = re.compile(rf"""version[^\n]*["'=]{re.escape(modulize.__version__)}\b""")
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    says = [
        name
        for name in files.split("\0")
        if name.endswith((".py", ".toml", ".txt", ".cpp", ".h", ".def", ".yml")) and not name.startswith("tests/golden")
        if spelled.search((ROOT / name).read_text(encoding="utf-8"))
    ]
    assert says == ["python/modulize/__init__.py"]


def test_the_package_takes_its_version_from_there(tmp_path):
    hook = "import sys, scikit_build_core.build as b; print(b.prepare_metadata_for_build_wheel(sys.argv[1]))"
    made = subprocess.run(
        [sys.executable, "-c", hook, tmp_path], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    folder = f"modulize-{modulize.__version__}.dist-info"
    assert made.stdout.splitlines()[-1] == folder
    assert f"\nVersion: {modulize.__version__}\n" in (tmp_path / folder / "METADATA").read_text()


def test_the_changelog_knows_the_version():
    text = (ROOT / "CHANGELOG.md").read_text()
    released = re.findall(r"^## \[(\d+\.\d+\.\d+)\]", text, re.MULTILINE)
    assert released[0] == modulize.__version__
    assert len(set(released)) == len(released)
    assert text.index("## [Unreleased]") < text.index(f"## [{released[0]}]")
    kinds = set(re.findall(r"^### (\w+)", text, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def dev(*words):
    return subprocess.run([ROOT / "dev", *words], capture_output=True, text=True, timeout=60)


def test_every_command_of_dev_is_in_its_usage_and_the_other_way_round():
    usage = dev("help").stdout
    told = {
        w for line in usage.splitlines() for w in re.match(r"\./dev ([a-z-]+(?: \| [a-z-]+)*)", line)[1].split(" | ")
    }
    cases = (ROOT / "dev").read_text().rpartition('case "$command" in')[2]
    there = set(re.findall(r"^  ([a-z-]+)\)", cases, re.MULTILINE))
    assert told == there
    assert {"stubs", "ci", "tidy", "docs", "fuzz", "asan"} <= there


def test_ci_is_what_its_usage_says():
    text = (ROOT / "dev").read_text()
    body = re.search(r"^ci\(\) \{\n(.*?)^\}", text, re.MULTILINE | re.DOTALL)[1]
    steps = re.findall(r"\b(lint|tidy|docs|fuzz 10|test_all|asan)\b(?=$|;)", body, re.MULTILINE)
    assert steps == ["lint", "tidy", "docs", "fuzz 10", "test_all", "asan"]


def test_unknown_commands_are_refused():
    result = dev("nothing")
    assert result.returncode == 1
    assert "unknown command 'nothing'" in result.stderr
