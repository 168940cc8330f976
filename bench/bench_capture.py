"""One capture by running, and the default call with its verification, against one eager forward."""

import torch

from modulize import prepare_model
from networks import network
from timing import interleaved, milliseconds, table


def recorded(report: object) -> int:
    """Statements of the captured graph."""
    return sum(line.lstrip().startswith("%") for line in str(report.captured).splitlines())


def main() -> None:
    rows = []
    for name in ("resnet50", "swin_t", "vit_b_16"):
        model, x = network(name), torch.randn(1, 3, 224, 224)

        def eager(model=model, x=x):
            with torch.no_grad():
                return model(x)

        times = interleaved(
            {
                "eager": eager,
                "once": lambda m=model, x=x: prepare_model(m, example_inputs=x, verify=False),
                "default": lambda m=model, x=x: prepare_model(m, example_inputs=x),
            },
            seconds=12,
        )
        rows.append(
            [
                name,
                milliseconds(times["eager"]),
                f"{milliseconds(times['once'])} ({times['once'] / times['eager']:.2f}x)",
                f"{milliseconds(times['default'])} ({times['default'] / times['eager']:.2f}x)",
            ]
        )
    table("at 224 px, batch 1", ["model", "eager forward", "verify=False", "default"], rows)

    torch.set_num_threads(1)
    rows = []
    for name in ("resnet18", "mobilenet_v3_small", "swin_t"):
        model, x = network(name), torch.randn(1, 3, 32, 32)

        def eager(model=model, x=x):
            with torch.no_grad():
                return model(x)

        operations = recorded(prepare_model(model, example_inputs=x, verify=False).report)
        times = interleaved(
            {"eager": eager, "once": lambda m=model, x=x: prepare_model(m, example_inputs=x, verify=False)}
        )
        above = (times["once"] - times["eager"]) / operations
        rows.append(
            [name, str(operations), milliseconds(times["eager"]), milliseconds(times["once"]), f"{above * 1e6:.1f} us"]
        )
    table(
        "at 32 px, batch 1, one thread: preparation above the eager forward, per recorded operation",
        ["model", "operations", "eager forward", "verify=False", "above, each"],
        rows,
    )


if __name__ == "__main__":
    main()
