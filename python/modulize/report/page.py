"""The report as one page that works offline: tree, graph, operations with their lines of source."""

from __future__ import annotations

import json
import linecache
import os
import sys
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from modulize.report.layout import scope_drawings
from modulize.report.text import summary_of, tables_of, visible

__all__ = ["render"]

_AROUND = 3  # lines of an excerpt before and after
_LONGEST = 400  # characters of a text in the page


def render(report: Any, nodes: list[dict[str, Any]], title: str) -> str:
    """The page's HTML. Texts of the model stand in it as JSON, and are shown as text."""
    data = report.as_dict()
    nodes = [{**node, "scope": visible(node["scope"], sys.maxsize)} for node in nodes]
    kept = {entry["what"] for entry in data["kept"]}
    files = sorted({node["file"] for node in nodes if node["file"]})
    number_of_file = {file: i for i, file in enumerate(files)}
    index_of = {node["name"]: i for i, node in enumerate(nodes)}
    page = {
        "title": _shown(title),
        "summary": {name: str(value) for name, value in summary_of(data).items()},
        "tables": [
            [name, heads, [[_shown(str(cell)) for cell in row] for row in rows]]
            for name, heads, rows in tables_of(data)
            if rows
        ],
        "nodes": [
            {
                "n": _shown(node["name"]),
                "o": node["op"],
                "w": _shown(node["what"]),
                "p": visible(node["path"], sys.maxsize),
                "s": node["scope"],
                "f": number_of_file.get(node["file"], -1),
                "l": node["line"],
                "t": _shown(node["text"]),
                "i": [index_of[name] for name in node["inputs"]],
                "k": _kind(node, kept),
            }
            for node in nodes
        ],
        "drawings": {"all": scope_drawings(nodes), "tensors": scope_drawings(nodes, plain=False)},
        "files": [_shown(file) for file in files],
        "links": ["file://" + quote(os.path.abspath(file), errors="replace") for file in files],
        "code": [_excerpts(file, {n["line"] for n in nodes if n["file"] == file}) for file in files],
    }
    folder = Path(__file__).parent
    # In a script element only `<` could end it or begin a comment.
    text = json.dumps(page, ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c")
    parts = {
        "TITLE": escape(_shown(title)),
        "STYLE": (folder / "page.css").read_text(encoding="utf-8"),
        "DATA": text,
        "SCRIPT": (folder / "page.js").read_text(encoding="utf-8"),
    }
    html = (folder / "page.html").read_text(encoding="utf-8")
    # Cut at the marks of the template, so that no text of the model is taken for one.
    out = []
    for piece in html.split("@@"):
        out.append(parts.get(piece, piece))
    return "".join(out)


def _kind(node: dict[str, Any], kept: set[str]) -> str:
    kind: str = node["kind"]
    if kind not in ("input", "output", "branch") and (node["what"] in kept or (node["path"] in kept and node["path"])):
        return "kept"
    if kind == "block":
        return "converted" if node["base"] else "module"
    return kind


def _shown(text: str) -> str:
    """As it is shown: nothing in it hides, or changes the order of what stands around it."""
    return visible(text, _LONGEST)


def _excerpts(file: str, lines: set[int]) -> dict[int, str]:
    """The lines of a file that are named, and those around them."""
    wanted = sorted({n for line in lines for n in range(line - _AROUND, line + _AROUND + 1) if n > 0})
    if not os.path.isfile(file):
        return {}
    found = {number: linecache.getline(file, number) for number in wanted}
    # "" is past the end.
    return {number: _shown(text.rstrip("\r\n").expandtabs()) for number, text in found.items() if text}
