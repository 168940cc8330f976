"""The prepared model's forward against the original's, with torch.fx as the peer."""

import torch

from modulize import prepare_model
from networks import FunctionalChain, module_chain, network
from timing import interleaved, milliseconds, table


def main() -> None:
    torch.set_num_threads(1)  # what is compared is the work between the kernels
    cases = {
        "1,000 nn.ReLU": (module_chain(1_000), torch.randn(4)),
        "1,000 F.relu": (FunctionalChain(1_000), torch.randn(4)),
        "resnet18 at 32 px": (network("resnet18"), torch.randn(1, 3, 32, 32)),
        "swin_t at 32 px": (network("swin_t"), torch.randn(1, 3, 32, 32)),
    }
    rows = []
    for name, (model, x) in cases.items():
        by_running, symbolic, peer = (
            prepare_model(model, example_inputs=x),
            prepare_model(model),
            torch.fx.symbolic_trace(model),
        )
        with torch.no_grad():
            times = interleaved(
                {
                    "original": lambda m=model, x=x: m(x),
                    "run": lambda m=by_running, x=x: m(x),
                    "symbolic": lambda m=symbolic, x=x: m(x),
                    "torch.fx": lambda m=peer, x=x: m(x),
                },
                repeat=3,  # torch.fx calls the original's own modules
            )
        row = [name, milliseconds(times["original"])]
        rows.append(row + [f"{times[key] / times['original']:.2f}x" for key in ("run", "symbolic", "torch.fx")])
    table(
        "forward, against the original's (torch.fx converts nothing: it calls functions where we call modules)",
        ["model", "original", "prepared (run)", "prepared (no inputs)", "torch.fx"],
        rows,
    )


if __name__ == "__main__":
    main()
