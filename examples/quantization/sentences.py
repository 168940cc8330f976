"""MiniLM in int8: do sentences keep the order of their similarities?

    python examples/quantization/sentences.py

Quantized after training, in AIMET's simulation and by onnxruntime, whose int8 kernels run. The figure is Spearman's
rank correlation of all pairs with the float network's similarities.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
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


def on_residual_path(path, module):
    """Sums, and what the feed-forward layers give to them."""
    return type(module).__name__ == "QuantizedAdd" or (path.endswith("output.dense") and "attention" not in path)


def with_aimet(prepared, inputs, bits, residual_bits):
    from aimet_torch.quantsim import QuantizationSimModel

    sim = QuantizationSimModel(prepared, dummy_input=inputs, default_output_bw=bits)
    for path, module in sim.model.named_modules():
        if on_residual_path(path, module):
            for quantizer in filter(None, module.output_quantizers):
                quantizer.bitwidth = residual_bits
    sim.compute_encodings(lambda model: similarities(model, inputs))
    return sim.model


def coarsest(model, inputs, count=4):
    """The outputs whose 8-bit grid is coarsest: a step of the grid over the median of the values' sizes."""
    found = []

    def note(path):
        def hook(module, _, output):
            low, high, middle = output.min().item(), output.max().item(), output.abs().median().item()
            if middle and output.dim() > 2:  # of states: not of what stands at 0 for the most part
                found.append(((high - low) / 255 / middle, path, low, high))

        return hook

    hooks = [
        module.register_forward_hook(note(path))
        for path, module in model.named_modules()
        if any(module.output_quantizers if hasattr(module, "output_quantizers") else ())
    ]
    similarities(model, inputs)
    for hook in hooks:
        hook.remove()
    return sorted(found, reverse=True)[:count]


def report_aimet(model, inputs, expected):
    from modulize.aimet import prepare_model

    prepared = prepare_model(model, example_inputs=inputs)
    for what, bits, residual in (("8-bit", 8, 8), ("16-bit", 16, 16), ("8-bit, residual path 16-bit,", 8, 16)):
        quantized = with_aimet(prepared, inputs, bits, residual)
        figure = rank_correlation(expected, similarities(quantized, inputs))
        print(f"AIMET, int8 weights, {what} activations: rank correlation {figure:.4f}")
        if residual == 8:
            for step, path, low, high in coarsest(quantized, inputs):
                print(f"    to blame: {path}, values from {low:.0f} to {high:.0f}, a step is {step:.1f} medians")


def report_onnxruntime(model, inputs, expected):
    import onnxruntime
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    from modulize import prepare_model

    names = ["input_ids", "attention_mask", "token_type_ids"]
    feed = {name: tensor.numpy() for name, tensor in zip(names, inputs)}

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.rows = iter([feed])

        def get_next(self):
            return next(self.rows, None)

    prepared = prepare_model(model, example_inputs=inputs, decompose_attention=True)
    with tempfile.TemporaryDirectory() as folder:
        before, after = f"{folder}/float.onnx", f"{folder}/int8.onnx"
        torch.onnx.export(prepared, inputs, before, input_names=names, dynamo=False)
        quantize_static(before, after, Reader(), op_types_to_quantize=["MatMul", "Gemm"], per_channel=True)
        session = onnxruntime.InferenceSession(after, providers=["CPUExecutionProvider"])
        actual = similarities(lambda *_: torch.from_numpy(session.run(None, feed)[0]), inputs)
    print(f"onnxruntime, int8 matrix products: rank correlation {rank_correlation(expected, actual):.4f}")


TOOLS = {"aimet_torch": ("aimet-torch", report_aimet), "onnxruntime": ("onnxruntime", report_onnxruntime)}


def main():
    model = Sentences().eval()
    made = tokens(SENTENCES)
    inputs = tuple(made[name] for name in ("input_ids", "attention_mask", "token_type_ids"))
    expected = similarities(model, inputs)
    for package, (install, report) in TOOLS.items():
        if importlib.util.find_spec(package) is None:
            print(f"{package} is not installed: pip install {install}")
        else:
            report(model, inputs, expected)


if __name__ == "__main__":
    main()
