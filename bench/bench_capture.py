"""One capture by running, and the default call with its verification, against one eager forward."""

import torch

from modulize import prepare_model
from networks import network
from timing import interleaved, milliseconds, table


def recorded(report: object) -> int:
    """Statements of the captured graph."""
    return sum(line.lstrip().startswith("%") for line in str(report.captured).splitlines())


def number_of_captures(model: torch.nn.Module, x: torch.Tensor) -> int:
    """How often a preparation with verify=False runs forward."""
    runs = []
    forward = type(model).forward

    def counted(self, *args, **kwargs):
        runs.append(1)
        return forward(self, *args, **kwargs)

    type(model).forward = counted
    try:
        prepare_model(model, example_inputs=x, verify=False)
    finally:
        type(model).forward = forward
    return len(runs)


def main() -> None:
    rows = []
    for name in ("resnet50", "swin_t", "vit_b_16"):
        model, x = network(name), torch.randn(1, 3, 224, 224)
        captures = number_of_captures(model, x)

        def eager(model=model, x=x):
            with torch.no_grad():
                return model(x)

        times = interleaved(
            {
                "eager": eager,
                "once": lambda m=model, x=x: prepare_model(m, example_inputs=x, verify=False),
                "default": lambda m=model, x=x: prepare_model(m, example_inputs=x),
            },
            rounds=3,
        )
        rows.append(
            [
                name,
                milliseconds(times["eager"]),
                f"{milliseconds(times['once'])} ({times['once'] / times['eager']:.2f}x)",
                str(captures),
                f"{times['once'] / times['eager'] / captures:.2f}x",
                f"{milliseconds(times['default'])} ({times['default'] / times['eager']:.2f}x)",
            ]
        )
    # forward runs once more for every decision that it makes by values or by the mode.
    table("at 224 px, batch 1", ["model", "eager forward", "verify=False", "captures", "each capture", "default"], rows)

    torch.set_num_threads(1)
    rows = []
    for name in ("resnet18", "resnet50", "mobilenet_v3_small", "swin_t"):
        model, x = network(name), torch.randn(1, 3, 32, 32)

        def eager(model=model, x=x):
            with torch.no_grad():
                return model(x)

        operations = recorded(prepare_model(model, example_inputs=x, verify=False).report)
        captures = number_of_captures(model, x)
        steps: list[dict[str, float]] = []

        def once(model=model, x=x, steps=steps):
            steps.append(prepare_model(model, example_inputs=x, verify=False).report.seconds)

        times = interleaved({"eager": eager, "once": once}, repeat=3)
        capture = min(step["capture"] for step in steps) / captures
        rows.append(
            [
                name,
                str(operations),
                milliseconds(times["eager"]),
                str(captures),
                milliseconds(capture),
                f"{(capture - times['eager']) / operations * 1e6:.1f} us",
                milliseconds(times["once"]),
                f"{(times['once'] - captures * times['eager']) / operations * 1e6:.1f} us",
            ]
        )
    table(
        "at 32 px, batch 1, one thread: above the eager forward, per recorded operation",
        [
            "model",
            "operations",
            "eager",
            "captures",
            "one capture",
            "above, each",
            "whole, verify=False",
            "above, each",
        ],
        rows,
    )


if __name__ == "__main__":
    main()
