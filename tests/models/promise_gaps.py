"""Promises that do not hold yet, with what the user sees, in this one place; docs/limitations.md has them too.

A test asserts that each still fails, and as said.
"""

# (library, model, operation): the beginning of what is raised.
GAPS: dict[tuple[str, str, str], str] = {
    # Its layers ask whether a dtype is one of two: prepare the model that has been converted already.
    ("transformers", "t5", "in_bfloat16"): "AssumptionError: a comparison of dtypes",
    ("transformers", "t5", "under_autocast"): "AssumptionError: a comparison of dtypes",
}
