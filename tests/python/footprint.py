"""What a process holds: memory, objects, classes, hooks and the caches of others. Nothing of it may grow with the
number of models that were prepared and dropped."""

import atexit
import copyreg
import gc
import linecache
import os
import resource
import sys

import torch
from torch import nn
from torch.nn.modules import module as torch_module

_PAGE = resource.getpagesize()


def resident_bytes() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * _PAGE


def count_subclasses(cls: type) -> int:
    """Living classes below ``cls``, at any depth."""
    seen: set[type] = set()
    pending = [cls]
    while pending:
        for sub in pending.pop().__subclasses__():
            if sub not in seen:
                seen.add(sub)
                pending.append(sub)
    return len(seen)


def count_hooks() -> int:
    """Hooks registered for all modules, and functions that run at exit."""
    registries = [getattr(torch_module, name) for name in dir(torch_module) if name.startswith("_global_")]
    return sum(len(registry) for registry in registries if hasattr(registry, "__len__")) + atexit._ncallbacks()


def hooks_of(model: nn.Module) -> int:
    """Hooks on a model's modules and tensors."""
    found = 0
    for module in model.modules():
        found += sum(len(value) for name, value in vars(module).items() if name.endswith("_hooks") and value)
    for tensor in [*model.parameters(), *model.buffers()]:
        found += len(tensor._backward_hooks or ()) + len(getattr(tensor, "_post_accumulate_grad_hooks", None) or ())
    return found


def measure() -> dict[str, int]:
    """Every figure, after a garbage collection."""
    for _ in range(3):
        gc.collect()
    objects = gc.get_objects()
    return {
        "resident bytes": resident_bytes(),
        "allocated blocks": sys.getallocatedblocks(),
        "objects": len(objects),
        "classes": sum(1 for item in objects if issubclass(type(item), type)),
        "classes of modules": count_subclasses(nn.Module),
        "classes of tensors": count_subclasses(torch.Tensor),
        "hooks": count_hooks(),
        "lines of source files": len(linecache.cache),
        "loaded modules": len(sys.modules),
        "pickle functions": len(copyreg.dispatch_table),
        "open files": len(os.listdir("/proc/self/fd")),
        "names in torch.fx": sum(
            len(value) for value in vars(torch.fx._symbolic_trace).values() if type(value) is dict
        ),
    }


def growth(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """What grew, and by how much."""
    return {name: after[name] - before[name] for name in before if after[name] > before[name]}
