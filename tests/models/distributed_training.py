"""Two training steps in each of two processes, the original's beside the prepared model's: torchrun starts this file.

    torchrun --standalone --nproc-per-node 2 tests/models/distributed_training.py WAY MODEL

WAY is ``ddp``, ``fsdp`` (FSDP2 with the whole model as one unit and each leaf as one), ``blocks`` (FSDP2 by block, of
a model prepared with ``hierarchy="keep"``) or ``checkpoint`` (a distributed checkpoint saved from the sharded original,
loaded into the sharded prepared model). Exits with an error where anything differs.
"""

from __future__ import annotations

import copy
import os
import sys
import tempfile
import warnings
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.state_dict import get_model_state_dict, set_model_state_dict
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from catalogue import find
from fidelity import tensors_in
from modulize import prepare_model

MODELS = {"cnn": ("torchvision", "mobilenet_v3_small"), "transformer": ("transformers", "distilbert")}


def sharded(model: nn.Module) -> nn.Module:
    """Every leaf that holds parameters of its own is a unit, and what is left belongs to the root's."""
    owned = set()
    for module in model.modules():
        parameters = list(module.parameters(recurse=False))
        if module is not model and parameters and not any(id(p) in owned for p in parameters):
            owned |= {id(p) for p in parameters}
            fully_shard(module)
    return fully_shard(model)


def sharded_by_block(model: nn.Module) -> nn.Module:
    """The members of the longest container are units: the layers of a transformer, the stages of a CNN."""
    containers = [m for m in model.modules() if isinstance(m, (nn.ModuleList, nn.Sequential))]
    for block in max(containers, key=len):
        if list(block.children()):
            fully_shard(block)
    return fully_shard(model)


def train(model: nn.Module, batches: list[Any]) -> list[torch.Tensor]:
    """The losses of two steps."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2, momentum=0.9)
    losses = []
    for step, (args, kwargs) in enumerate(batches):
        torch.manual_seed(17 * step + dist.get_rank())
        outputs = [tensor for tensor in tensors_in(model(*args, **kwargs)) if tensor.requires_grad]
        loss = torch.stack([tensor.square().mean() for tensor in outputs]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return losses


def whole_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """On every rank, unsharded."""
    model = model.module if isinstance(model, DistributedDataParallel) else model
    return {
        name: (tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor).detach().clone()
        for name, tensor in model.state_dict().items()
    }


def assert_equal(got: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert list(got) == list(expected), sorted(set(got) ^ set(expected))
    for name, tensor in expected.items():
        # Gradients of a parameter that is used twice are summed in another order.
        torch.testing.assert_close(got[name], tensor, rtol=1e-5, atol=1e-6, msg=lambda text: f"{name}: {text}")


def main() -> None:
    way, name = sys.argv[1:]
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    entry = find(*MODELS[name])
    args, kwargs = entry.example()
    original = entry.make()
    hierarchy = "keep" if way == "blocks" else "flat"
    prepared = prepare_model(copy.deepcopy(original), example_inputs=args, example_kwargs=kwargs, hierarchy=hierarchy)
    batches = [entry.inputs(10 + 2 * step + dist.get_rank(), entry.rows, False) for step in range(2)]
    wrap = {"ddp": DistributedDataParallel, "blocks": sharded_by_block}.get(way, sharded)
    original, prepared = wrap(original.train()), wrap(prepared.train())
    if way == "checkpoint":
        train(original, copy.deepcopy(batches))
        for buffer in original.buffers():  # each rank's own; one of them is saved
            dist.broadcast(buffer, 0)
        folder = [tempfile.mkdtemp() if dist.get_rank() == 0 else None]
        dist.broadcast_object_list(folder)
        dcp.save(get_model_state_dict(original), checkpoint_id=folder[0])
        state = get_model_state_dict(prepared)
        dcp.load(state, checkpoint_id=folder[0])
        set_model_state_dict(prepared, state)
    else:
        expected, got = train(original, copy.deepcopy(batches)), train(prepared, copy.deepcopy(batches))
        torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-7)
    assert_equal(whole_state(prepared), whole_state(original))
    dist.barrier()
    dist.destroy_process_group()
    if os.environ["RANK"] == "0":
        print(f"{way} {name}: equal")


if __name__ == "__main__":
    main()
