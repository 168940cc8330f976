"""torchcrepe in int8: how far the pitch of synthesised tones moves, in cents.

    python examples/quantization/pitch.py [tiny|full ...]

Quantized after training by torch.ao in graph mode: `prepare_fx` cannot trace the network itself.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import torch
from torch.ao.quantization import get_default_qconfig_mapping
from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from modulize import prepare_model
from pitch import frames, load_pitch_network, pitch_of, tone

warnings.simplefilter("ignore")

NOTES = [110.0 * 2 ** (n / 12) for n in range(0, 37, 2)]


def cents(network):
    """The median distance to the true pitch, over the notes."""
    with torch.no_grad():
        heard = torch.stack([pitch_of(network(frames(tone(note, 0.2)))).median() for note in NOTES])
    return (1200 * torch.log2(heard / torch.tensor(NOTES))).abs().median().item()


def quantized(network):
    example = frames(tone(220.0, 0.2))
    observed = prepare_fx(
        prepare_model(network, example_inputs=example), get_default_qconfig_mapping("x86"), (example,)
    )
    with torch.no_grad():
        for note in NOTES[1::2]:
            observed(frames(tone(1.03 * note, 0.2)))
    return convert_fx(observed)


def main(sizes):
    for size in sizes or ("tiny", "full"):
        network = load_pitch_network(size)
        print(f"{size:5} float {cents(network):5.1f} cents, int8 {cents(quantized(network)):5.1f} cents")


if __name__ == "__main__":
    main(sys.argv[1:])
