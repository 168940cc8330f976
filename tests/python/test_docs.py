"""The documentation as a site: it builds without a warning, and every page has its place."""

import os
import subprocess
import sys
from pathlib import Path

import yaml

import modulize

ROOT = Path(__file__).resolve().parents[2]


class Loader(yaml.SafeLoader):
    """Reads mkdocs.yml, which may name Python objects."""


Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: suffix)


def pages(entries):
    for entry in entries:
        for value in entry.values():
            yield from [value] if isinstance(value, str) else pages(value)


def test_every_page_is_in_the_navigation():
    listed = list(pages(yaml.load((ROOT / "mkdocs.yml").read_text(), Loader)["nav"]))
    there = sorted(str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md"))
    assert sorted(listed) == there


def test_the_site_builds_without_a_warning(tmp_path):
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-3000:]
    reference = (tmp_path / "site" / "reference.html").read_text()
    names = [name for name in modulize.__all__ if not name.endswith("Error")]
    assert "prepare_for" in names
    for name in names:
        assert f'id="modulize.{name}"' in reference
    assert "https://fonts." not in (tmp_path / "site" / "index.html").read_text()
