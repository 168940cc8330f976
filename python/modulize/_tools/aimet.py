"""Quantized definitions for AIMET of the modules that it does not know.

Imported when a model is prepared with ``target="aimet"``: needs aimet-torch.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import zip_longest
from typing import Any

import torch
from aimet_torch.meta.connectedgraph import ConnectedGraph
from aimet_torch.nn import QuantizationMixin
from aimet_torch.nn.modules.custom import CustomSiLU
from aimet_torch.utils import modules_to_treat_as_leaf
from torch import nn
from torch.nn.utils import parametrize

import modulize.nn
from modulize import _core
from modulize._prepared import Branch
from modulize._prepared.program import access_by_attributes
from modulize._tools.example import run_for_hooks
from modulize._tools.silu import replace_silu

__all__ = ["finish"]


def _over_tensors(value: Any, fn: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """`value` with `fn` applied to the floating-point tensors in it."""
    if isinstance(value, torch.Tensor):
        return fn(value) if value.is_floating_point() else value
    if isinstance(value, (list, tuple)):
        items = [_over_tensors(item, fn) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if isinstance(value, dict):
        return {key: _over_tensors(item, fn) for key, item in value.items()}
    return value


class _Definition(QuantizationMixin):
    """Quantizes the floating-point tensors of every positional argument, the parameters, and what comes out."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        args = tuple(
            arg if quantizer is None else _over_tensors(arg, quantizer)
            for arg, quantizer in zip_longest(args, list(self.input_quantizers)[: len(args)])
        )
        with self._patch_quantized_parameters():
            output = super().forward(*args, **kwargs)
        quantizer = self.output_quantizers[0]
        return output if quantizer is None else _over_tensors(output, quantizer)

    @classmethod
    def _supports_dynamic_input_count(cls) -> bool:
        return True


class _MaskDefinition(_Definition):
    """Quantizes the scores, not what masking makes of them: minus infinity would take the whole range."""

    def forward(self, scores: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        quantizer = self.output_quantizers[0]
        scores = scores if quantizer is None else quantizer(scores)
        return super(_Definition, self).forward(scores, *args, **kwargs)


_MASKS = {modulize.nn.AttentionMask}


def _define(cls: type[nn.Module]) -> None:
    name = f"Quantized{cls.__name__}"
    defined = type(name, (_MaskDefinition if cls in _MASKS else _Definition, cls), {"__module__": __name__})
    # Under its name, so that a pickled model finds it.
    globals()[name] = QuantizationMixin.implements(cls)(defined)


for _name in modulize.nn.__all__:
    _class = getattr(modulize.nn, _name)
    if _class not in QuantizationMixin.cls_to_qcls:
        _define(_class)


# One operation each, whatever a trace sees in them.
modules_to_treat_as_leaf.extend(getattr(modulize.nn, name) for name in modulize.nn.__all__)

# Calls that stay calls, since they compute nothing: AIMET knows some of them itself.
ConnectedGraph.math_invariant_types.update(_core.passive_operations())

# A branch computes nothing: the modules of its sides do.
QuantizationMixin.ignore(Branch)
# By AIMET itself: what computes nothing.
_ALWAYS_IGNORED = frozenset(QuantizationMixin._ignored_module_types)


def finish(prepared: torch.fx.GraphModule, example: tuple[Any, ...] | None, kwargs: dict[str, Any]) -> None:
    """Give AIMET a definition of every class that `prepared` calls, and let it pass by those that it does not.

    Modules that were traced through hold nothing any more that computes: their class is ignored.
    """
    _plain_weights(prepared)
    replace_silu(prepared, CustomSiLU)
    if example is not None:
        _drop_integer_sites(prepared, example, kwargs)
    access_by_attributes(prepared)  # AIMET's export puts markers around containers
    called = {node.target for node in prepared.graph.nodes if node.op == "call_module"}
    for path, module in prepared.named_modules():
        cls = type(module)
        if cls in QuantizationMixin.cls_to_qcls or cls in _ALWAYS_IGNORED or any(True for _ in module.children()):
            continue
        if path in called:
            _define(cls)
            QuantizationMixin._ignored_module_types.discard(cls)  # traced through in a model before
        elif cls.forward is not nn.Module.forward:
            QuantizationMixin.ignore(cls)
    config: Any = getattr(prepared, "config", None)
    if getattr(config, "return_dict", False):
        # AIMET refuses a transformers model that would return an object; this one returns a plain dict.
        config = copy.deepcopy(config)
        config.return_dict = False
        prepared.config = config


def _plain_weights(prepared: torch.fx.GraphModule) -> None:
    """Give layers in eval mode whose weights are computed (``parametrizations.weight_norm``) the weights themselves.

    AIMET would pass such a layer by, and write what it folds into a weight that is computed anew.
    """
    targets = {str(node.target) for node in prepared.graph.nodes if node.op in ("call_module", "get_attr")}
    plain: dict[nn.Module, nn.Module] = {}
    for path, module in list(prepared.named_modules(remove_duplicate=False)):
        if path not in targets or module.training or not parametrize.is_parametrized(module):
            continue
        if any(target.startswith(f"{path}.") for target in targets):
            continue  # the graph reads parts of it
        if module not in plain:
            plain[module] = _plain_weight(module)
        parent, _, name = path.rpartition(".")
        setattr(prepared.get_submodule(parent), name, plain[module])


def _plain_weight(module: Any) -> nn.Module:
    """A copy: `remove_parametrizations` changes the class, which the original shares."""
    weights = {name: getattr(module, name).detach().clone() for name in module.parametrizations}
    copied: nn.Module = copy.deepcopy(module)
    del copied.parametrizations
    copied.__class__ = parametrize.type_before_parametrizations(module)
    for name, weight in weights.items():
        copied.register_parameter(name, nn.Parameter(weight))
    return copied


def _drop_integer_sites(prepared: torch.fx.GraphModule, example: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Leave to the code that is kept whole what it computes on integers and flags.

    There is nothing to quantize, and AIMET wants each module to run once, while code may pass a place several times.
    """
    paths = {
        entry[7]
        for node in prepared.graph.nodes
        if node.op == "call_function" and node.args[:1] == ("modulize._runtime.Sites",)
        for entry in node.args[2]
    }
    floating: set[str] = set()

    def note(path: str) -> Callable[..., None]:
        def hook(module: nn.Module, given: Any, output: Any) -> None:
            if isinstance(output, torch.Tensor) and output.is_floating_point():
                floating.add(path)

        return hook

    hooks = [prepared.get_submodule(path).register_forward_hook(note(path)) for path in paths]
    if hooks:
        run_for_hooks(prepared, example, kwargs)
    for hook in hooks:
        hook.remove()
    for path in paths - floating:
        parent, _, name = path.rpartition(".")
        delattr(prepared.get_submodule(parent), name)
