"""YOLO networks, fresh and after they have run: they keep their anchors by shape."""

import pytest

pytest.importorskip("ultralytics")

from catalogue import find
from known_gaps import assert_gap_is_clear, gaps, holding
from measure import assert_same_gradients, measure


@pytest.mark.parametrize("name", holding("ultralytics"))
def test_everything_holds(name):
    measure(find("ultralytics", name)).assert_holds()


@pytest.mark.parametrize("name", gaps("ultralytics"))
def test_what_does_not_is_said_clearly(name):
    assert_gap_is_clear(find("ultralytics", name))


@pytest.mark.parametrize("name", ["yolo11n", "yolov8n-seg"])
def test_gradients_are_the_originals(name):
    assert_same_gradients(find("ultralytics", name))
