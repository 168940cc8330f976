"""Models of the catalogue that do not hold everything yet, with the reason, in this one place.

Each is refused at preparation, or raises at the call that breaks an assumption, by a ModulizeError that says where and
what to do, or has a block that runs as Python code (with modules for what it computes); none is silently different. A
test asserts that, and that what starts to hold leaves the list.
"""

from __future__ import annotations

from catalogue import Entry, entries
from measure import Row, measure


def _table(lines: str) -> dict[tuple[str, str], str]:
    """Library and name, and what is said."""
    found = {}
    for line in lines.strip().splitlines():
        model, _, reason = line.strip().partition(": ")
        library, name = model.split()
        found[library, name] = reason
    return found


KNOWN_GAPS = _table("""
    torchvision keypointrcnn_resnet50_fpn: kept whole: roi_heads.box_roi_pool, roi_heads.keypoint_roi_pool
    torchvision maskrcnn_resnet50_fpn: kept whole: roi_heads.box_roi_pool, roi_heads.mask_roi_pool
    torchvision maskrcnn_resnet50_fpn_v2: kept whole: roi_heads.box_roi_pool, roi_heads.mask_roi_pool
""")

# As above, but what is raised is no ModulizeError that says what to do.
UNCLEAR_GAPS = _table("""
""")

# Silently different at other values. This must become empty.
DIFFERENT_TODAY = _table("""
""")
ALL_GAPS = {**KNOWN_GAPS, **UNCLEAR_GAPS, **DIFFERENT_TODAY}


def holding(library: str) -> list[str]:
    return [entry.name for entry in entries(library) if (library, entry.name) not in ALL_GAPS]


def gaps(library: str) -> list[str]:
    return [name for of, name in ALL_GAPS if of == library]


def assert_gap_is_clear(entry: Entry) -> Row:
    row, key = measure(entry), (entry.library, entry.name)
    assert not row.holds, f"{entry.name} holds everything now: take it out of known_gaps.py"
    assert row.silently_wrong == (key in DIFFERENT_TODAY), row.reason
    clear = row.error in ("", "CaptureError", "UnsupportedError", "VerificationError", "AssumptionError")
    assert clear == (key in KNOWN_GAPS), row.reason
    assert ALL_GAPS[key] in row.reason, row.reason
    return row
