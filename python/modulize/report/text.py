"""The report as tables in a terminal, by rich."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from modulize._extras import need

__all__ = ["render"]

_LIMIT = 40  # rows of a table; JSON and the page have them all


def short(where: str) -> str:
    """The last two parts of a place: "resnet/block.py:12"."""
    return "/".join(where.replace("\\", "/").split("/")[-2:])


def visible(text: Any, longest: int = 200) -> str:
    """A text in which control characters show as escapes, and that ends."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))
    return shown if len(shown) <= longest else shown[: longest - 3] + "..."


def render(data: dict[str, Any]) -> Iterator[Any]:
    """Renderables for :meth:`modulize.Report.as_dict`."""
    panel, table, text = need("rich.panel", "report"), need("rich.table", "report"), need("rich.text", "report")

    def rows(title: str, heads: list[str], entries: list[list[Any]]) -> Any:
        made = table.Table(
            title=text.Text(f"{title} ({len(entries)})"), title_justify="left", title_style="bold", expand=True
        )
        for head in heads:
            made.add_column(head, overflow="fold")
        for entry in entries[:_LIMIT]:
            made.add_row(*(text.Text(visible(cell)) for cell in entry))
        if len(entries) > _LIMIT:
            made.add_row(f"... {len(entries) - _LIMIT} more", *[""] * (len(heads) - 1))
        return made

    summary = table.Table.grid(padding=(0, 2))
    for name, value in summary_of(data).items():
        summary.add_row(text.Text(name, style="dim"), text.Text(visible(value)))
    yield panel.Panel(summary, title="modulize report", title_align="left")
    for title, heads, entries in tables_of(data):
        if entries:
            yield rows(title, heads, entries)


def captures_in_words(captures: list[dict[str, Any]]) -> str:
    """ "4 times in 0.021 s: first, decision flipped (2), other size"."""
    counts: dict[str, int] = {}
    for capture in captures:
        counts[capture["reason"]] = counts.get(capture["reason"], 0) + 1
    reasons = ", ".join(f"{reason} ({n})" if n > 1 else reason for reason, n in counts.items())
    times = "once" if len(captures) == 1 else f"{len(captures)} times"
    return f"{times} in {sum(capture['seconds'] for capture in captures):.3f} s: {reasons}"


def summary_of(data: dict[str, Any]) -> dict[str, Any]:
    """The figures that stand on top of every form of the report."""
    found = {
        "captured by": "running the model" if data["capture"] == "running" else "symbols",
        "operations": data["operations"],
        "conversions": len(data["conversions"]),
        "computing calls that are modules": f"{data['share']:.1%} ({data['modules']} of {data['computing_calls']})",
        "kept whole": len(data["kept"]),
        "branches": len(data["branches"]),
        "assumptions": len(data["assumptions"]),
        "tied modules": len(data["ties"]),
        "captured": captures_in_words(data["captures"]) if data["captures"] else "not said",
        "seconds": f"{sum(data['seconds'].values()):.3f}",
    }
    differences = [run["difference"] for run in data["comparisons"] if run["difference"] is not None]
    if data["largest_difference"] is not None:
        differences.append(data["largest_difference"])
    why = f": {data['not_verified']}" if data["not_verified"] else ""
    found["largest difference"] = max(differences) if differences else f"not compared{why}"
    return found


def tables_of(data: dict[str, Any]) -> list[tuple[str, list[str], list[list[Any]]]]:
    """Title, column heads and rows of every part."""
    return [
        (
            "Converted",
            ["module", "was", "is", "line"],
            [[c["path"], c["from"], c["to"], short(c["where"])] for c in data["conversions"]],
        ),
        (
            "Kept whole",
            ["what", "in", "why", "line"],
            [[k["what"], k["scope"], k["reason"], short(k["where"])] for k in data["kept"]],
        ),
        (
            "Branches",
            ["module", "decided by", "line"],
            [[b["path"], b["condition"], short(b["where"])] for b in data["branches"]],
        ),
        (
            "Computing calls that are no module",
            ["call", "in", "line"],
            [[c["call"], c["scope"], short(c["where"])] for c in data["leftovers"] if c["computes"]],
        ),
        ("Assumptions", ["checked whenever the model runs"], [[text] for text in data["assumptions"]]),
        (
            f"No class in target {data['target']}",
            ["module", "is", "line"],
            [[c["path"], c["to"], short(c["where"])] for c in data["fallbacks"]],
        ),
        ("Tied", ["module", "has the parameters of"], data["ties"]),
        ("Copied", ["module", "has copies of the parameters of"], data["copies"]),
        ("Shared with the original", ["module", "why"], [list(item) for item in data["shared"].items()]),
        ("State that forward writes", ["attribute"], [[name] for name in data["written_state"]]),
        (
            "Compared with the original",
            ["mode", "inputs", "result", "largest difference", "reason"],
            [
                [r["mode"], r["inputs"], r["result"], "" if r["difference"] is None else r["difference"], r["reason"]]
                for r in data["comparisons"]
            ],
        ),
    ]
