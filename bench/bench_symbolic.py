"""Preparation without inputs against torch.fx.symbolic_trace, which only traces: it converts nothing."""

import torch

from modulize import prepare_model
from networks import FunctionalChain, network
from timing import interleaved, milliseconds, table


def main() -> None:
    models = {name: network(name) for name in ("resnet50", "mobilenet_v3_large", "densenet121", "inception_v3")}
    models["10,000 F.relu"] = FunctionalChain(10_000)
    rows = []
    for name, model in models.items():
        times = interleaved(
            {"modulize": lambda m=model: prepare_model(m), "torch.fx": lambda m=model: torch.fx.symbolic_trace(m)},
            repeat=3,  # the first after the other one finds its garbage and cold caches
        )
        ours, peer = times["modulize"], times["torch.fx"]
        rows.append([name, milliseconds(ours), milliseconds(peer), f"{ours / peer:.2f}x"])
    table(
        "prepare_model(model) against torch.fx.symbolic_trace(model)",
        ["model", "prepare_model", "symbolic_trace", "ratio"],
        rows,
    )

    rows = []
    for length in (1_000, 10_000, 100_000):
        chain = FunctionalChain(length)
        seconds = interleaved({"ours": lambda c=chain: prepare_model(c)}, rounds=3)["ours"]
        rows.append([f"{length:,}", milliseconds(seconds), f"{seconds / length * 1e6:.1f} us"])
    table("chain of F.relu: time per operation stays the same", ["operations", "prepare_model", "per operation"], rows)


if __name__ == "__main__":
    main()
