"""What is written once is true everywhere: the version and the changelog."""

import re
import subprocess
import sys
from pathlib import Path

import modulize

ROOT = Path(__file__).resolve().parents[2]


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
