"""No trap is silently wrong: it is equal, refused at preparation, or raises at the call that breaks an assumption."""

import pytest

from soundness.everything import TRAPS
from soundness.rule import CRASH, SOUND, WRONG, judge

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # what the traps do is not always advisable

# What breaks the rule, by capture: silently different. Exactly these do, so what is mended must leave the list.
WRONG_TODAY: dict[str, list[str]] = {
    "run": [],
    "child": [],
    "symbolic": [],
}

# What ends with an error, but one that is not modulize's and does not say what to do.
UNCLEAR_TODAY: dict[str, list[str]] = {
    "run": [],
    "child": [],
    "symbolic": ["dict_or_tensor", "first_of_a_tuple"],
}


@pytest.mark.parametrize("capture", ["run", "child", "symbolic"])
@pytest.mark.parametrize("name", TRAPS)
def test_never_silently_wrong(name, capture):
    verdict = judge(TRAPS[name], capture)
    said = f"{verdict.kind}: {verdict.text}"
    if name in WRONG_TODAY[capture]:
        assert verdict.kind == WRONG, f"no longer silently wrong ({said}): take it out of WRONG_TODAY"
    elif name in UNCLEAR_TODAY[capture]:
        assert verdict.kind == CRASH, f"no longer unclear ({said}): take it out of UNCLEAR_TODAY"
    else:
        assert verdict.kind in SOUND, said


def test_there_are_many_traps():
    assert len(TRAPS) >= 300
    for lists in (WRONG_TODAY, UNCLEAR_TODAY):
        for names in lists.values():
            assert set(names) <= set(TRAPS)
            assert len(set(names)) == len(names)
