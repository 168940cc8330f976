"""Seventeen architectures of transformers with attention masks and caches, by running: all that must hold."""

import pytest
import torch

pytest.importorskip("transformers")

from catalogue import find  # noqa: E402
from fidelity import assert_same  # noqa: E402
from known_gaps import assert_gap_is_clear, gaps, holding  # noqa: E402
from measure import measure  # noqa: E402
from modulize import prepare_model  # noqa: E402
from transformers_models import make_minilm, minilm_inputs  # noqa: E402


@pytest.mark.parametrize("name", holding("transformers"))
def test_everything_holds(name):
    measure(find("transformers", name)).assert_holds()


@pytest.mark.parametrize("name", gaps("transformers"))
def test_what_does_not_is_said_clearly(name):
    assert_gap_is_clear(find("transformers", name))
