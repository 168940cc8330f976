"""Resemblyzer's speaker encoder in int8: how near its embeddings stay to those of the float network.

    python examples/quantization/speakers.py

An LSTM of three layers. AIMET gives its biases 8 bits and its weights one range, which are to blame; mended, biases are
left alone, each row of weights has a range, and states have 16 bits. The speakers are synthesised: a row of vowels,
each with its own pitch and length of the vocal tract. The figures: the smallest cosine between the embeddings of a
sentence before and after, and how often a speaker's other sentence is the nearest.
"""

from __future__ import annotations

import copy
import functools
import importlib.util
import math
import sys
import types
import warnings

import torch
from torch import nn

from modulize import prepare_model

warnings.simplefilter("ignore")

RATE, HOP, WINDOW, BANDS, FRAMES = 16_000, 160, 400, 40, 160
VOWELS = {
    "a": (730, 1090, 2440),
    "e": (530, 1840, 2480),
    "i": (270, 2290, 3010),
    "o": (570, 840, 2410),
    "u": (300, 870, 2240),
}


def load_speaker_encoder():
    """The network with its trained weights, without the package's reading of audio files, which needs more packages."""
    audio = types.ModuleType("resemblyzer.audio")
    for name in ("preprocess_wav", "wav_to_mel_spectrogram", "trim_long_silences", "normalize_volume"):
        setattr(audio, name, None)
    sys.modules.setdefault("resemblyzer.audio", audio)
    from resemblyzer.voice_encoder import VoiceEncoder

    return VoiceEncoder("cpu", verbose=False).eval()


def mel_filters():
    """Triangles of equal area, equally wide in mel below 1 kHz and logarithmic above (Slaney)."""
    steps = torch.linspace(0, 15 + math.log(8) * 27 / math.log(6.4), BANDS + 2)
    edges = torch.where(steps < 15, steps * 200 / 3, 1000 * torch.exp((steps - 15) * math.log(6.4) / 27))
    bins = torch.linspace(0, RATE / 2, WINDOW // 2 + 1)
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    return torch.minimum(rising, falling).clamp(min=0) * (2 / (edges[2:] - edges[:-2]))[:, None]


def speech(pitch, tract, vowels):
    """Pulses of the voice, coloured by the resonances of each vowel: (frames, bands) as the network expects."""
    samples = torch.arange(RATE * FRAMES // 100) / RATE
    phase = torch.cumsum(pitch * (1 + 0.05 * torch.sin(9 * samples)) / RATE, 0)
    sound = torch.zeros_like(samples)
    which = (samples * 4).long() % len(vowels)
    for harmonic in range(1, int(4000 / pitch)):
        frequency = harmonic * pitch
        gains = [sum(1 / (1 + ((frequency - f / tract) / 90) ** 2) for f in VOWELS[v]) / harmonic**0.5 for v in vowels]
        sound += torch.tensor(gains)[which] * torch.sin(2 * math.pi * harmonic * phase)
    sound *= 0.03 / sound.pow(2).mean().sqrt()  # -30 dB
    spectrum = torch.stft(
        sound, WINDOW, HOP, window=torch.hann_window(WINDOW), pad_mode="constant", return_complex=True
    )
    return (mel_filters() @ spectrum.abs().pow(2)).T[:FRAMES]


SPEAKERS = [(pitch, tract) for pitch in (95, 120, 170, 215) for tract in (0.85, 1.0, 1.15)]


def sentences(order):
    return torch.stack([speech(pitch, tract, order) for pitch, tract in SPEAKERS])


def with_torch_ao(encoder, example, by_row=False):
    """Weights in int8, activations as they come: what torch.ao has for LSTMs."""
    from torch.ao import quantization as ao

    qconfig = ao.per_channel_dynamic_qconfig if by_row else ao.default_dynamic_qconfig
    return ao.quantize_dynamic(prepare_model(encoder, example_inputs=example), {nn.LSTM: qconfig, nn.Linear: qconfig})


def with_aimet(encoder, example, mended=False):
    from aimet_torch.quantization.affine import QuantizeDequantize
    from aimet_torch.quantsim import QuantizationSimModel

    from modulize.aimet import prepare_model

    sim = QuantizationSimModel(prepare_model(encoder, example_inputs=example), dummy_input=example)
    if mended:
        lstm = sim.model.lstm
        for name, quantizer in lstm.param_quantizers.items():
            shape = getattr(lstm, name).shape
            by_row = None if len(shape) == 1 else QuantizeDequantize((shape[0], 1), bitwidth=8, symmetric=True)
            lstm.param_quantizers[name] = quantizer and by_row
        for quantizer in filter(None, (*lstm.input_quantizers, *lstm.output_quantizers)):
            quantizer.bitwidth = 16
    sim.compute_encodings(lambda model: model(example))
    return sim.model


def main():
    if importlib.util.find_spec("resemblyzer") is None:
        sys.exit("this example needs Resemblyzer: pip install --no-deps Resemblyzer")
    encoder = load_speaker_encoder()
    first, second, third = sentences("aeiou"), sentences("uoaie"), sentences("iaoeu")

    def same(embeddings):
        nearest = (embeddings(first) @ embeddings(second).T).argmax(1)
        return (nearest == torch.arange(len(SPEAKERS))).float().mean().item()

    def embeddings(model):
        def run(spoken):
            with torch.no_grad():
                return model(spoken)

        return run

    expected = embeddings(encoder)
    print(f"float            {100 * same(expected):3.0f} % of speakers found")
    for name, package, quantize in (
        ("torch.ao dynamic", "torch", with_torch_ao),
        ("... by rows", "torch", functools.partial(with_torch_ao, by_row=True)),
        ("AIMET", "aimet_torch", with_aimet),
        ("AIMET, mended", "aimet_torch", functools.partial(with_aimet, mended=True)),
    ):
        if importlib.util.find_spec(package) is None:
            print(f"{name:16} is not installed: pip install aimet-torch")
            continue
        actual = embeddings(quantize(copy.deepcopy(encoder), third))
        cosine = nn.functional.cosine_similarity(expected(first), actual(first)).min().item()
        print(f"{name:16} {100 * same(actual):3.0f} % of speakers found, smallest cosine {cosine:.4f}")


if __name__ == "__main__":
    main()
