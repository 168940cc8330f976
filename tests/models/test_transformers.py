"""Seventeen architectures of transformers with attention masks and caches, by running: all that must hold."""

import pytest

pytest.importorskip("transformers")

from catalogue import find
from known_gaps import assert_gap_is_clear, gaps, holding
from measure import assert_same_gradients, measure


@pytest.mark.parametrize("name", holding("transformers"))
def test_everything_holds(name):
    measure(find("transformers", name)).assert_holds()


@pytest.mark.parametrize("name", gaps("transformers"))
def test_what_does_not_is_said_clearly(name):
    assert_gap_is_clear(find("transformers", name))


@pytest.mark.parametrize("name", ["clip", "deberta", "detr", "distilbert", "vit"])
def test_gradients_are_the_originals(name):
    assert_same_gradients(find("transformers", name))
