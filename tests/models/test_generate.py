"""``generate`` on a model that is prepared for its calls: the original's tokens."""

import copy
import io
import pickle

import pytest

pytest.importorskip("transformers")

import torch

from catalogue import find
from modulize import ArgumentError, AssumptionError, prepare_for

WAYS = {
    "greedy": {},
    "beams": {"num_beams": 2},
    "sampled": {"do_sample": True},
    "without a cache": {"use_cache": False},
}


def generate(model, ids, tokens, **settings):
    torch.manual_seed(3)
    mask = torch.ones_like(ids)
    return model.generate(ids, attention_mask=mask, max_new_tokens=tokens, pad_token_id=0, **settings)


def prepared_for_generate(name, *ways):
    entry = find("transformers", name)
    model, ids = entry.make(), entry.example()[1]["input_ids"]
    return entry, model, prepare_for(model, lambda m: [generate(m, ids, 3, **WAYS[way]) for way in ways])


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_the_originals_tokens(name):
    entry, model, prepared = prepared_for_generate(name, "greedy", "without a cache")
    assert isinstance(prepared, type(model))
    assert len(prepared.other_ways) == 2  # a prompt, then a token more, and no cache
    for _, kwargs in (entry.example(), entry.another_size(), entry.another_batch()):
        for way, settings in WAYS.items():
            got, expected = (generate(m, kwargs["input_ids"], 12, **settings) for m in (prepared, model))
            assert torch.equal(got, expected), way


def test_all_ways_share_their_tensors_through_moves_and_copies():
    entry, model, prepared = prepared_for_generate("gpt2", "greedy")
    ids = entry.example()[1]["input_ids"]
    expected = generate(model, ids, 8)
    file = io.BytesIO()
    torch.save(prepared, file)
    file.seek(0)
    copies = [copy.deepcopy(prepared), pickle.loads(pickle.dumps(prepared)), torch.load(file, weights_only=False)]
    for copied in copies:
        with torch.no_grad():
            for parameter in prepared.parameters():
                parameter.zero_()
        copied.load_state_dict(copied.state_dict(), assign=True)
        copied.to("meta").to_empty(device="cpu").load_state_dict(entry.make().state_dict())
        own = dict(copied.named_parameters())
        for other in copied.other_ways:
            assert {name: id(p) for name, p in other.named_parameters()} == {name: id(p) for name, p in own.items()}
        assert torch.equal(generate(copied.double().float(), ids, 8), expected)
    copied.train()
    assert all(other.training for other in copied.other_ways)


def test_a_way_that_was_not_shown_is_refused():
    entry, _, prepared = prepared_for_generate("gpt2", "greedy")
    with pytest.raises(AssumptionError, match="past_key_values"):
        generate(prepared, entry.example()[1]["input_ids"], 3, use_cache=False)


def test_the_model_must_be_called():
    with pytest.raises(ArgumentError, match="must call the model"):
        prepare_for(torch.nn.Linear(2, 2), lambda model: None)
