"""Every Python block of README.md and docs/ runs. The blocks of one file share a namespace, from top to bottom."""

import re
import sys
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page):
    text = page.read_text()
    return [(text.count("\n", 0, match.start(1)), match.group(1)) for match in BLOCK.finditer(text)]


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: str(page.relative_to(ROOT)))
def test_python_blocks_run(page, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    # A module that can be imported, as a script is: classes are found by their qualified names.
    module = types.ModuleType("readme")
    monkeypatch.setitem(sys.modules, "readme", module)
    namespace = module.__dict__
    for line, source in blocks(page):
        exec(compile("\n" * line + source, str(page), "exec"), namespace)
    namespace.clear()  # torch keeps the functions of custom operators for good, and they their globals


def test_readme_has_an_example():
    assert blocks(ROOT / "README.md")


def test_links_between_pages_lead_somewhere():
    broken = []
    for page in PAGES:
        text = re.sub(r"^```.*?^```$|`[^`\n]*`", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
        for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
            if "://" not in link and not (page.parent / link).exists():
                broken.append(f"{page.relative_to(ROOT)}: {link}")
    assert not broken


def test_commands_of_the_readme_exist():
    usage = (ROOT / "dev").read_text()
    commands = set(re.findall(r"\./dev ([a-z]+)", (ROOT / "README.md").read_text()))
    assert {"demo", "test"} <= commands
    assert not [
        command for command in commands if not re.search(rf"^  ([a-z |]*\| )?{command}[ |)]", usage, re.MULTILINE)
    ]
