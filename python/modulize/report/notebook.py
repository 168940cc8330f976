"""The report in a notebook: tables in HTML, without scripts."""

from __future__ import annotations

from html import escape
from typing import Any

from modulize.report.text import summary_of, tables_of, visible

__all__ = ["render"]

_LIMIT = 200


def render(data: dict[str, Any]) -> str:
    """HTML of :meth:`modulize.Report.as_dict`. Every text of the model is escaped."""
    parts = ["<div><b>modulize report</b><table>"]
    parts += [f"<tr><td>{_cell(name)}</td><td>{_cell(value)}</td></tr>" for name, value in summary_of(data).items()]
    parts.append("</table>")
    for title, heads, rows in tables_of(data):
        if not rows:
            continue
        parts.append(f"<details><summary>{_cell(title)} ({len(rows)})</summary><table><tr>")
        parts += [f"<th>{_cell(head)}</th>" for head in heads]
        parts.append("</tr>")
        parts += ["<tr>" + "".join(f"<td>{_cell(cell)}</td>" for cell in row) + "</tr>" for row in rows[:_LIMIT]]
        if len(rows) > _LIMIT:
            parts.append(f"<tr><td>{len(rows) - _LIMIT} more: report.save_html(file) has them all</td></tr>")
        parts.append("</table></details>")
    return "".join([*parts, "</div>"])


def _cell(value: Any) -> str:
    return escape(visible(value))
