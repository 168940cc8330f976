"""What a preparation costs in forwards of the original, against torch.export.

Processor time of one thread, so that a busy machine does not count; runs at another size count by their size. Of the
calls with kernels, "kernels run" is the share that captures ran: of the others it was known what they yield.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch

from modulize import prepare_model
from networks import network
from timing import milliseconds, table

Case = tuple[torch.nn.Module, tuple[Any, ...], dict[str, Any]]


def picture(name: str, size: int = 224, batch: int = 1) -> Case:
    return network(name), (torch.randn(batch, 3, size, size),), {}


def tokens(length: int = 64, batch: int = 1) -> torch.Tensor:
    return torch.randint(0, 1000, (batch, length))


def llama(width: int, layers: int, length: int = 64, dtype: torch.dtype = torch.float32, inner: int = 0) -> Case:
    import transformers

    config = transformers.LlamaConfig(
        vocab_size=1000,
        hidden_size=width,
        intermediate_size=inner or 3 * width,
        num_hidden_layers=layers,
        num_attention_heads=max(2, width // 64),
        num_key_value_heads=max(2, width // 64),
    )
    model = transformers.LlamaForCausalLM(config).eval().to(dtype)
    return model, (), {"input_ids": tokens(length), "attention_mask": torch.ones(1, length, dtype=torch.long)}


def distilbert() -> Case:
    import transformers

    model = transformers.DistilBertModel(transformers.DistilBertConfig()).eval()
    return model, (), {"input_ids": tokens(), "attention_mask": torch.ones(1, 64, dtype=torch.long)}


def t5() -> Case:
    import transformers

    config = transformers.T5Config(vocab_size=1000, d_model=512, num_layers=6, d_ff=2048, num_heads=8)
    return transformers.T5Model(config).eval(), (), {"input_ids": tokens(), "decoder_input_ids": tokens(16)}


def whisper() -> Case:
    import transformers

    config = transformers.WhisperConfig(
        vocab_size=1000, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1
    )
    model = transformers.WhisperModel(config).eval()
    return model, (), {"input_features": torch.randn(1, 80, 3000), "decoder_input_ids": tokens(16)}


def detr() -> Case:
    import transformers

    config = transformers.DetrConfig(
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone=None,
        backbone_config=transformers.ResNetConfig(out_features=["stage4"]),
    )
    return transformers.DetrModel(config).eval(), (), {"pixel_values": torch.randn(1, 3, 320, 320)}


def yolo_called_before() -> Case:
    from ultralytics import YOLO

    model = YOLO("yolov8s.yaml").model.eval()
    x = torch.randn(1, 3, 320, 320)
    with torch.no_grad():
        model(x)
    return model, (x,), {}


CASES: dict[str, Callable[[], Case]] = {
    "ResNet-50": lambda: picture("resnet50", batch=2),
    "ViT-B/16": lambda: picture("vit_b_16", batch=2),
    "Swin-T": lambda: picture("swin_t"),
    "Inception v3": lambda: picture("inception_v3", 299, batch=2),
    "MobileNetV3-L": lambda: picture("mobilenet_v3_large", batch=8),
    "YOLOv8s, called before": yolo_called_before,
    "DistilBERT-base": distilbert,
    "T5-small": t5,
    "Whisper-base": whisper,
    "Llama 2 x 64": lambda: llama(64, 2, 16),
    "Llama 12 x 1024": lambda: llama(1024, 12),
    "Llama 1.2 billion, bfloat16": lambda: llama(2048, 16, dtype=torch.bfloat16, inner=8192),
    "DETR": detr,
}


def best(function: Callable[[], object], times: int) -> float:
    out = float("inf")
    for _ in range(times):
        before = time.process_time()
        function()
        out = min(out, time.process_time() - before)
    return out


def measure(name: str) -> None:
    """Prints one row, in a process of its own: its peak of memory is what it shows."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, args, kwargs = CASES[name]()

    def eager() -> object:
        with torch.no_grad():
            return model(*args, **kwargs)

    eager()
    forward = best(eager, 3)
    resting = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    reports = []

    def prepare(verify: bool) -> None:
        prepared = prepare_model(model, example_inputs=args, example_kwargs=kwargs or None, verify=verify)
        reports.append(prepared.report)

    once = best(lambda: prepare(False), 2)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    default = best(lambda: prepare(True), 2)
    try:
        exported = f"{best(lambda: torch.export.export(model, args, kwargs), 1) / forward:.1f}"
    except Exception as error:  # the peer refuses this model, which is its figure
        exported = type(error).__name__
    kernels = [report.kernels for report in (reports[0], reports[-1])]
    shares = [k["run"] / max(1, k["run"] + k["left_out"]) for k in kernels]
    kept = "; ".join(sorted({entry["what"] or "forward" for entry in reports[-1].kept}))
    row = [
        name,
        milliseconds(forward),
        f"{once / forward:.1f}",
        f"{default / forward:.1f}",
        exported,
        f"{len(reports[0].captures)} / {len(reports[-1].captures)}",
        f"{shares[0]:.0%} / {shares[1]:.0%}",
        f"{sum(kernels[0]['with_values'].values())} / {sum(kernels[1]['with_values'].values())}",
        f"{(peak - resting) / 1024:.0f} MB",
        kept or "-",
    ]
    print("\t".join(row))


def main() -> None:
    names = sys.argv[1:] or list(CASES)
    rows = []
    for name in names:
        command = [sys.executable, __file__, "--row", name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        line = done.stdout.strip().splitlines()[-1:] or [f"{name}\t{done.stderr.strip().splitlines()[-1]}"]
        row = line[0].split("\t")
        rows.append(row + [""] * (10 - len(row)))
        print(" | ".join(row), file=sys.stderr, flush=True)
    header = ["model", "eager", "verify=False", "default", "torch.export", "captures", "kernels run", "with values"]
    table("Forwards of the original, by processor time", [*header, "memory beyond eager", "kept"], rows)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--row"]:
        measure(sys.argv[2])
    else:
        main()
