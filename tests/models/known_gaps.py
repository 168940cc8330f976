"""Models of the catalogue that do not hold everything yet, with the reason, in this one place.

Each is refused at preparation, or raises at the call that breaks an assumption, by a ModulizeError that says where and
what to do; none is silently different. A test asserts that, and that what starts to hold leaves the list.
"""

from __future__ import annotations

import re

from catalogue import Entry, entries
from measure import Row, measure

VALUES = "control flow on a tensor"

# library, name: what the message says.
KNOWN_GAPS: dict[tuple[str, str], str] = {}


def holding(library: str) -> list[str]:
    return [entry.name for entry in entries(library) if (library, entry.name) not in KNOWN_GAPS]


def gaps(library: str) -> list[str]:
    return [name for of, name in KNOWN_GAPS if of == library]


def assert_gap_is_clear(entry: Entry) -> Row:
    row = measure(entry)
    assert not row.holds, f"{entry.name} holds everything now: take it out of KNOWN_GAPS"
    assert not row.silently_wrong, f"{entry.name} is silently different: {row.message}"
    assert row.error in ("CaptureError", "UnsupportedError", "VerificationError", "AssumptionError"), row.error
    assert re.search(KNOWN_GAPS[entry.library, entry.name], row.message), row.message
    return row
