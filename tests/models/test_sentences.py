"""MiniLM with its trained weights: sentence similarities of the prepared model are the original's."""

import sys
from pathlib import Path

import torch

from modulize import prepare_model

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples"))
from sentences import SENTENCES, load_sentence_encoder, similarities, tokens


def test_similarities_are_identical():
    encoder = load_sentence_encoder()
    prepared = prepare_model(encoder, example_kwargs=tokens(SENTENCES[:2]))
    assert not [call for call in prepared.report.leftovers if call["known"]]
    for sentences in (SENTENCES, SENTENCES[::-1], SENTENCES[:1] * 3, SENTENCES[2:3]):
        expected = similarities(encoder, sentences)
        assert torch.equal(similarities(prepared, sentences), expected)
    found = similarities(prepared, SENTENCES)
    assert found[0, 1] > found[0, 2] and found[2, 3] > found[1, 3]
