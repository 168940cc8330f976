"""MiniLM in int8: do sentences keep the order of their similarities?

    python examples/quantization/sentences.py

Quantized after training, in AIMET's simulation (needs aimet-torch). The figure is Spearman's rank correlation of all
pairs with the float network's similarities.
"""

from __future__ import annotations

import importlib.util
import sys
import warnings
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from sentences import load_sentence_encoder, tokens

warnings.simplefilter("ignore")

SUBJECTS = ["A cat", "The kitten", "My neighbour", "The central bank", "An old man", "The football team"]
ENDINGS = [
    "sleeps on the warm window sill.",
    "naps in the sun.",
    "raised interest rates again.",
    "lost the final by a late goal.",
    "reads the newspaper in the park.",
]
SENTENCES = [f"{subject} {ending}" for subject in SUBJECTS for ending in ENDINGS]


class Sentences(nn.Module):
    """One vector a sentence: the mean of the encoder's states over the tokens, without padding."""

    def __init__(self):
        super().__init__()
        self.encoder = load_sentence_encoder()

    def forward(self, input_ids, attention_mask, token_type_ids):
        states = self.encoder(input_ids, attention_mask, token_type_ids).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(states.dtype)
        return (states * mask).sum(1) / mask.sum(1)


def similarities(model, inputs):
    with torch.no_grad():
        vectors = nn.functional.normalize(model(*inputs))
    above = torch.triu_indices(len(vectors), len(vectors), 1)
    return (vectors @ vectors.T)[above[0], above[1]]


def rank_correlation(a, b):
    ranks = torch.stack([values.argsort().argsort().float() for values in (a, b)])
    return torch.corrcoef(ranks)[0, 1].item()


def with_aimet(model, inputs, bits):
    from aimet_torch.quantsim import QuantizationSimModel

    from modulize.aimet import prepare_model

    sim = QuantizationSimModel(prepare_model(model, example_inputs=inputs), dummy_input=inputs, default_output_bw=bits)
    sim.compute_encodings(lambda model: similarities(model, inputs))
    return sim.model


def main():
    if importlib.util.find_spec("aimet_torch") is None:
        sys.exit("this example needs aimet-torch, which is not installed: pip install aimet-torch")
    model = Sentences().eval()
    made = tokens(SENTENCES)
    inputs = tuple(made[name] for name in ("input_ids", "attention_mask", "token_type_ids"))
    expected = similarities(model, inputs)
    for bits in (8, 16):
        actual = similarities(with_aimet(model, inputs, bits), inputs)
        print(f"int8 weights, int{bits} activations: rank correlation {rank_correlation(expected, actual):.4f}")


if __name__ == "__main__":
    main()
