"""A network with trained weights on real input."""

import pytest
import torch

from fidelity import assert_same_outputs, called_modules, check, prepare
from pitch import frames, load_pitch_network, pitch_of, tone


@pytest.mark.parametrize("capture", ["run", "symbolic"])
def test_pitch_network_hears_the_same_tone(capture):
    model = load_pitch_network("tiny")
    sound = frames(tone(440.0))
    prepared = check(model, sound[:4], capture, other_batch=9)
    assert_same_outputs(prepared, model, (sound,))
    with torch.no_grad():
        heard, expected = pitch_of(prepared(sound)), pitch_of(model(sound))
    assert torch.equal(heard, expected)
    assert abs(heard.median().item() - 440.0) < 5.0
    paths = called_modules(prepared)
    assert [path for path in paths if "relu" in path] == ["module_relu", *(f"module_relu_{i}" for i in range(1, 6))]
    assert paths[-1] == "module_sigmoid"


def test_pitch_network_with_embedding_asked_for():
    model = load_pitch_network("tiny")
    sound = frames(tone(440.0))[:4]
    prepared = prepare(model, sound, concrete_args={"embed": True})
    with torch.no_grad():
        assert torch.equal(prepared(sound, embed=True), model(sound, embed=True))
