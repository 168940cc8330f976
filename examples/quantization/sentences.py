"""MiniLM in int8: do sentences keep the order of their similarities?

    python examples/quantization/sentences.py

Quantized after training: by NNCF, by torchao's pt2e path, by onnxruntime, whose int8 kernels run, and in AIMET's
simulation. The ranges are measured on other sentences than those that are compared. The figure is Spearman's rank
correlation of all pairs with the float network's similarities.
"""

from __future__ import annotations

import copy
import functools
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
OTHERS = [
    f"{subject} {ending}"
    for subject in ["My dog", "The government", "Her teacher", "A young doctor", "The orchestra", "Our train"]
    for ending in [
        "runs across the wet field.",
        "was late this morning.",
        "cut taxes for small firms.",
        "plays a slow song by heart.",
        "waits at the old station.",
    ]
]


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


def with_aimet(prepared, inputs, others, bits, residual_bits):
    from aimet_torch.quantsim import QuantizationSimModel

    sim = QuantizationSimModel(prepared, dummy_input=inputs, default_output_bw=bits)
    for path, module in sim.model.named_modules():
        if on_residual_path(path, module):
            for quantizer in filter(None, module.output_quantizers):
                quantizer.bitwidth = residual_bits
    sim.compute_encodings(lambda model: similarities(model, others))
    return sim.model


def coarsest(prepared, quantized, inputs, count=4):
    """The outputs whose 8-bit grid is coarsest: a step of the grid over the median of the float values' sizes."""
    found = []

    def note(path):
        def hook(module, _, output):
            values = output[output.isfinite()]  # a mask leaves others
            low, high, middle = values.min().item(), values.max().item(), values.abs().median().item()
            if middle and output.dim() > 2:  # of states: not of what stands at 0 for the most part
                found.append(((high - low) / 255 / middle, path, low, high))

        return hook

    hooks = [
        prepared.get_submodule(path).register_forward_hook(note(path))
        for path, module in quantized.named_modules()
        if any(getattr(module, "output_quantizers", ()))
    ]
    similarities(prepared, inputs)
    for hook in hooks:
        hook.remove()
    return sorted(found, reverse=True)[:count]


def report_aimet(model, inputs, others, expected):
    from modulize.aimet import prepare_model

    prepared = prepare_model(model, example_inputs=inputs)
    for what, bits, residual in (("8-bit", 8, 8), ("16-bit", 16, 16), ("8-bit, residual path 16-bit,", 8, 16)):
        quantized = with_aimet(prepared, inputs, others, bits, residual)
        figure = rank_correlation(expected, similarities(quantized, inputs))
        print(f"AIMET, int8 weights, {what} activations: rank correlation {figure:.4f}")
        if residual == 8:
            for step, path, low, high in coarsest(prepared, quantized, inputs):
                print(f"    to blame: {path}, values from {low:.0f} to {high:.0f}, a step is {step:.1f} medians")


class Around(nn.Module):
    """NNCF takes a torch.fx.GraphModule for one that torch.export made; inside of another module it is a module."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, *inputs):
        return self.model(*inputs)


def report_nncf(model, inputs, others, expected):
    import nncf

    from modulize import prepare_model

    around = Around(prepare_model(model, example_inputs=inputs))
    data = nncf.Dataset([others], lambda item: item)
    quantized = nncf.quantize(around, data, subset_size=1, model_type=nncf.ModelType.TRANSFORMER)
    figure = rank_correlation(expected, similarities(quantized, inputs))
    print(f"NNCF, int8 as for transformers: rank correlation {figure:.4f}")


def report_pt2e(model, inputs, others, expected):
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import (
        X86InductorQuantizer,
        get_default_x86_inductor_quantization_config,
    )

    from modulize import prepare_model

    exported = torch.export.export(prepare_model(model, example_inputs=inputs), inputs).module()
    exported.graph.eliminate_dead_code()  # the pooler, whose result nobody takes, stops the quantizer
    quantizer = X86InductorQuantizer().set_global(get_default_x86_inductor_quantization_config())
    observed = prepare_pt2e(exported, quantizer)
    observed(*others)
    figure = rank_correlation(expected, similarities(convert_pt2e(observed), inputs))
    print(f"pt2e, int8 linear layers: rank correlation {figure:.4f}")


def report_onnxruntime(model, inputs, others, expected):
    import onnxruntime
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_dynamic, quantize_static

    from modulize import prepare_model

    names = ["input_ids", "attention_mask", "token_type_ids"]
    feed, other_feed = ({n: t.numpy() for n, t in zip(names, given)} for given in (inputs, others))

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.rows = iter([other_feed])

        def get_next(self):
            return next(self.rows, None)

    prepared = prepare_model(model, example_inputs=inputs, decompose_attention=True)
    products = {"op_types_to_quantize": ["MatMul", "Gemm"], "per_channel": True}
    with tempfile.TemporaryDirectory() as folder:
        before, after = f"{folder}/float.onnx", f"{folder}/int8.onnx"
        torch.onnx.export(prepared, inputs, before, input_names=names, dynamo=False)
        for how, quantize in (
            ("measured", lambda: quantize_static(before, after, Reader(), **products)),
            ("as they come", lambda: quantize_dynamic(before, after, weight_type=QuantType.QInt8, **products)),
        ):
            quantize()
            session = onnxruntime.InferenceSession(after, providers=["CPUExecutionProvider"])
            run = functools.partial(session.run, None, feed)
            actual = similarities(lambda *_, run=run: torch.from_numpy(run()[0]), inputs)
            figure = rank_correlation(expected, actual)
            print(f"onnxruntime, int8 matrix products, ranges {how}: rank correlation {figure:.4f}")


TOOLS = {
    "nncf": ("nncf", report_nncf),
    "torchao": ("torchao", report_pt2e),
    "onnxruntime": ("onnxruntime", report_onnxruntime),
    "aimet_torch": ("aimet-torch", report_aimet),
}


def main():
    model = Sentences().eval()
    made = tokens(SENTENCES + OTHERS)  # of one length
    both = [made[name] for name in ("input_ids", "attention_mask", "token_type_ids")]
    inputs = tuple(tensor[: len(SENTENCES)] for tensor in both)
    others = tuple(tensor[len(SENTENCES) :] for tensor in both)
    expected = similarities(model, inputs)
    for package, (install, report) in TOOLS.items():
        if importlib.util.find_spec(package) is None:
            print(f"{package} is not installed: pip install {install}")
        else:
            report(copy.deepcopy(model), inputs, others, expected)


if __name__ == "__main__":
    main()
