"""Reports for people: tables in a terminal, in a notebook, and one page with the graph."""

from modulize.report.compare import compare_models

__all__ = ["compare_models"]
