"""What "equal" means: the checks that every prepared model must pass, in one place.

``check`` runs all of them. They look at the model from outside (torch.fx, torch, the module tree); none of them asks
the engine whether it did well, but for the one about what was kept whole.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
import random
import types
from collections.abc import Callable, Collection, Iterator
from typing import Any

import torch
from torch import nn

from modulize import prepare_model

# Functions and methods that yield no floating-point value that was not in their inputs: views, metadata,
# constructors, copies. What is not here and yields a floating-point tensor counts as computing. Concatenation is
# not here: it is a module in the prepared model, as quantizers need it.
MOVES = frozenset(
    """
    getitem setitem getattr size dim numel stride view view_as reshape reshape_as tile flatten unflatten permute
    transpose t movedim swapaxes squeeze unsqueeze expand expand_as repeat repeat_interleave chunk split unbind
    narrow contiguous to type type_as float half double clone detach roll flip pad copy_ zero_ fill_ zeros ones
    full empty tensor arange linspace zeros_like ones_like full_like empty_like new_zeros new_ones new_full
    new_empty new_tensor masked_fill masked_fill_ where index_select gather meshgrid _set_grad_enabled _assert
    """.split()
)


# --- models whose equality means something ----------------------------------------------------------------------------


def redraw(model: nn.Module, seed: int = 0, *, all_parameters: bool = False) -> nn.Module:
    """Gives every parameter that is constant (zeros, ones, a layer scale) and every batch-norm statistic new values.

    A block whose last scale is zero, or a batch norm with mean 0 and variance 1, would hide a wrong operand.
    With ``all_parameters`` the others are drawn anew as well (for models built without initialisation).
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            for parameter in module.parameters(recurse=False):
                constant = parameter.numel() < 2 or bool((parameter == parameter.flatten()[0]).all())
                if not constant and not all_parameters:
                    continue
                if parameter.dim() >= 2:
                    fan_in = parameter[0].numel()
                    bound = (6.0 / fan_in) ** 0.5 if fan_in else 0.0
                    parameter.uniform_(-bound, bound, generator=generator)
                elif constant and parameter.numel() and float(parameter.flatten()[0]) != 0.0:
                    parameter.uniform_(0.5, 1.5, generator=generator)  # scales: weights of norms, layer scales
                else:
                    parameter.normal_(0.0, 0.1, generator=generator)
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
                module.running_mean.normal_(0.0, 0.1, generator=generator)
                module.running_var.uniform_(0.5, 1.5, generator=generator)
    return model


@contextlib.contextmanager
def without_initialisation() -> Iterator[None]:
    """Within it, ``torch.nn.init`` leaves matrices as they are: most of the time of building a model goes there."""
    names = [
        "kaiming_uniform_",
        "kaiming_normal_",
        "xavier_uniform_",
        "xavier_normal_",
        "trunc_normal_",
        "normal_",
        "uniform_",
    ]
    saved = {name: getattr(nn.init, name) for name in names}
    try:
        for name in names:
            setattr(nn.init, name, lambda tensor, *args, **kwargs: tensor)
        yield
    finally:
        for name, function in saved.items():
            setattr(nn.init, name, function)


def build(builder: Callable[..., nn.Module], seed: int = 0, **kwargs: Any) -> nn.Module:
    """``builder(**kwargs)`` in eval mode, with random values everywhere."""
    with without_initialisation():
        model = builder(**kwargs)
    # Memory that was never written may hold anything.
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() >= 2 or name.endswith("bias"):
                parameter.zero_()
    return redraw(model, seed, all_parameters=True).eval()


# --- values -----------------------------------------------------------------------------------------------------------


def is_holder(value: Any) -> bool:
    """Whether ``value`` is an object of a user's class that may hold tensors: a dataclass, a cache, an output."""
    if isinstance(value, (type, nn.Module, types.ModuleType, torch.dtype, torch.device)) or callable(value):
        return False
    return hasattr(value, "__dict__") and type(value).__module__ != "builtins"


def tensors_in(value: Any, _open: frozenset[int] = frozenset()) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
        return
    if id(value) in _open:
        return
    inside = _open | {id(value)}
    if isinstance(value, dict):
        for item in value.values():
            yield from tensors_in(item, inside)
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from tensors_in(item, inside)
    elif is_holder(value):
        yield from tensors_in(vars(value), inside)


def map_tensors(function: Callable[[torch.Tensor], torch.Tensor], value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return function(value)
    if isinstance(value, dict):
        return type(value)({key: map_tensors(function, item) for key, item in value.items()})
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(map_tensors(function, item) for item in value))
    if isinstance(value, (tuple, list)):
        return type(value)(map_tensors(function, item) for item in value)
    if is_holder(value) and any(True for _ in tensors_in(value)):
        copied = copy.copy(value)
        vars(copied).update({key: map_tensors(function, item) for key, item in vars(value).items()})
        return copied
    return value


def other_values(value: Any, seed: int, batch: int | None = None, size: int | None = None) -> Any:
    """The same structure with other values; ``batch`` rows in dim 0, ``size`` pixels in the last two dims."""
    generator = torch.Generator().manual_seed(seed)

    def fresh(tensor: torch.Tensor) -> torch.Tensor:
        shape = list(tensor.shape)
        if batch is not None and shape:
            shape[0] = batch
        if size is not None and len(shape) == 4:
            shape[2] = shape[3] = size
        if tensor.dtype == torch.bool:
            return torch.rand(shape, generator=generator) < 0.5
        if not tensor.is_floating_point():
            low, high = int(tensor.min()), int(tensor.max())
            return torch.randint(low, high + 1, shape, generator=generator, dtype=tensor.dtype)
        return torch.randn(shape, generator=generator, dtype=tensor.dtype)

    return map_tensors(fresh, value)


def assert_same(got: Any, expected: Any, where: str = "output", _open: frozenset[int] = frozenset()) -> None:
    """Same classes, structure and bits, leaf by leaf, inside objects too."""
    if id(expected) in _open:
        return  # it holds itself
    if not isinstance(expected, (str, int, float, torch.Tensor, type(None))):
        _open = _open | {id(expected)}
    assert type(got) is type(expected), f"{where}: {type(got).__name__} instead of {type(expected).__name__}"
    if isinstance(expected, torch.Tensor):
        assert got.dtype == expected.dtype, f"{where}: {got.dtype} instead of {expected.dtype}"
        assert got.shape == expected.shape, f"{where}: {tuple(got.shape)} instead of {tuple(expected.shape)}"
        if not torch.equal(got, expected):
            both_nan = (
                got.isnan() & expected.isnan() if got.is_floating_point() else torch.zeros_like(got, dtype=torch.bool)
            )
            different = (got != expected) & ~both_nan
            if different.any():
                distance = (got.double() - expected.double()).abs()[different].max().item()
                raise AssertionError(
                    f"{where}: {int(different.sum())} of {got.numel()} values differ, at most by {distance}"
                )
    elif isinstance(expected, dict):
        assert list(got) == list(expected), f"{where}: keys {list(got)} instead of {list(expected)}"
        for key in expected:
            assert_same(got[key], expected[key], f"{where}[{key!r}]", _open)
    elif isinstance(expected, (tuple, list)):
        assert len(got) == len(expected), f"{where}: {len(got)} items instead of {len(expected)}"
        for index, (one, other) in enumerate(zip(got, expected)):
            assert_same(one, other, f"{where}[{index}]", _open)
    elif is_holder(expected):
        assert_same(vars(got), vars(expected), where, _open)
    elif expected != expected:
        assert got != got, f"{where}: {got!r} instead of {expected!r}"
    else:
        assert got == expected, f"{where}: {got!r} instead of {expected!r}"


def assert_same_outputs(
    prepared: nn.Module,
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any] | None = None,
    where: str = "output",
) -> None:
    """Both get their own copy of the inputs: in-place effects on them must be the same too."""
    inputs = [map_tensors(torch.clone, args) for _ in range(2)]
    keywords = [map_tensors(torch.clone, kwargs or {}) for _ in range(2)]
    with torch.no_grad():
        expected = model(*inputs[0], **keywords[0])
        got = prepared(*inputs[1], **keywords[1])
    for tensor in tensors_in(expected):
        if tensor.is_floating_point():
            assert torch.isfinite(tensor).all(), (
                f"{where}: the original's values are not finite, equality would mean little"
            )
    assert_same(got, expected, where)
    assert_same(inputs[1], inputs[0], f"{where}: inputs after the call")
    assert_same(keywords[1], keywords[0], f"{where}: keyword inputs after the call")


# --- the graph --------------------------------------------------------------------------------------------------------


def target_name(node: torch.fx.Node) -> str:
    target = node.target
    return target if isinstance(target, str) else getattr(target, "__name__", type(target).__name__)


class _Leftovers(torch.fx.Interpreter):
    def __init__(self, prepared: torch.fx.GraphModule, allowed: Collection[str]) -> None:
        super().__init__(prepared)
        self.allowed = allowed
        self.found: list[str] = []

    def run_node(self, n: torch.fx.Node) -> Any:
        result = super().run_node(n)
        name = target_name(n)
        if n.op in ("call_function", "call_method") and name not in self.allowed:
            is_ours = (
                getattr(n.target, "__module__", None) == "modulize._runtime"
            )  # select() of two values and the like
            computes = (
                not is_ours and name not in MOVES and any(tensor.is_floating_point() for tensor in tensors_in(result))
            )
            if computes:
                self.found.append(f"{n.op} {name} ({n.name})")
        return result


def leftovers(prepared: torch.fx.GraphModule, *args: Any, allowed: Collection[str] = ()) -> list[str]:
    """The computing functions and methods of the graph that are no modules; the graph itself is run to see."""
    interpreter = _Leftovers(prepared, allowed)
    with torch.no_grad():
        interpreter.run(*map_tensors(torch.clone, args))
    return interpreter.found


def called_modules(prepared: torch.fx.GraphModule) -> list[str]:
    """Paths in order of execution."""
    return [str(node.target) for node in prepared.graph.nodes if node.op == "call_module"]


def assert_called_once(prepared: torch.fx.GraphModule) -> None:
    paths = called_modules(prepared)
    repeated = sorted({path for path in paths if paths.count(path) > 1})
    assert not repeated, f"called more than once: {repeated}"
    objects: dict[int, str] = {}
    for path in paths:
        module = prepared.get_submodule(path)
        assert id(module) not in objects, f"{path} and {objects[id(module)]} are one module, called more than once"
        objects[id(module)] = path


# --- state ------------------------------------------------------------------------------------------------------------


def assert_same_state(prepared: nn.Module, model: nn.Module) -> None:
    def identities(items: Iterator[tuple[str, torch.Tensor]]) -> list[tuple[str, int]]:
        return [(name, id(tensor)) for name, tensor in items]

    assert identities(prepared.named_parameters()) == identities(model.named_parameters()), (
        "parameters: name, order or object"
    )
    # A tied module stands beside the first and shows its parameters too, if duplicates are asked for.
    everywhere = identities(model.named_parameters(remove_duplicate=False))
    names = {name for name, _ in everywhere}
    duplicates = [item for item in identities(prepared.named_parameters(remove_duplicate=False)) if item[0] in names]
    assert duplicates == everywhere, "parameters under all their names"
    assert [name for name, _ in prepared.named_buffers()] == [name for name, _ in model.named_buffers()], "buffers"
    for (name, buffer), (_, expected) in zip(prepared.named_buffers(), model.named_buffers()):
        assert_same(buffer, expected, f"buffer {name}")
    assert list(prepared.state_dict()) == list(model.state_dict()), "keys of state_dict"


def assert_strict_state(prepared: nn.Module, model: nn.Module) -> None:
    """A checkpoint of one loads into the other, both ways."""
    prepared.load_state_dict(model.state_dict(), strict=True)
    model.load_state_dict(prepared.state_dict(), strict=True)


def _shallow(value: Any) -> Any:
    """Identity of a value, and of what a container holds one level down."""
    if isinstance(value, dict):
        return id(value), [(key, id(item)) for key, item in value.items()]
    if isinstance(value, (list, tuple, set)):
        return id(value), [id(item) for item in value]
    return id(value)


class Snapshot:
    """All that preparing must leave as it is: the tree, mode flags, attributes, tensors, hooks, random states."""

    def __init__(self, model: nn.Module, *values: Any) -> None:
        self._model = model
        self._values = values
        self._before = self._take()

    def _take(self) -> dict[str, Any]:
        state: dict[str, Any] = {
            "torch random state": torch.random.get_rng_state().tolist(),
            "random state": random.getstate(),
            "grad mode": torch.is_grad_enabled(),
        }
        for path, module in self._model.named_modules(remove_duplicate=False):
            name = path or "root"
            state[f"{name}: object and class"] = (id(module), type(module))
            state[f"{name}: attributes"] = {key: _shallow(value) for key, value in vars(module).items()}
            state[f"{name}: mode"] = module.training
            for key, tensor in [*module._parameters.items(), *module._buffers.items()]:
                if tensor is not None:
                    state[f"{name}.{key}"] = self._tensor(tensor, values=key in module._buffers)
        for index, tensor in enumerate(tensors_in(self._values)):
            state[f"input {index}"] = self._tensor(tensor, values=True)
        return state

    @staticmethod
    def _tensor(tensor: torch.Tensor, values: bool) -> tuple[Any, ...]:
        if isinstance(tensor, nn.parameter.UninitializedTensorMixin):
            return (id(tensor),)
        # A buffer may be written while the model runs, if its values are put back.
        content = tensor.detach().flatten().tolist() if values and tensor.numel() < 100_000 else None
        version = None if values else tensor._version
        return id(tensor), tensor.data_ptr(), version, tensor.requires_grad, content, dict(vars(tensor))

    def assert_unchanged(self) -> None:
        after = self._take()
        assert list(after) == list(self._before), f"modules or tensors: {set(after) ^ set(self._before)}"
        for key, before in self._before.items():
            now = after[key]
            if isinstance(before, dict):
                different = {name for name in before.keys() | now.keys() if before.get(name) != now.get(name)}
                assert not different, f"changed: {key}: {sorted(different)}"
            assert now == before, f"changed: {key}: {str(before)[:300]} became {str(now)[:300]}"


# --- all of it --------------------------------------------------------------------------------------------------------


def prepare(model: nn.Module, example: Any, capture: str = "run", **options: Any) -> torch.fx.GraphModule:
    if capture == "symbolic":
        return prepare_model(model, **options)
    assert capture == "run", capture
    return prepare_model(model, example_inputs=example, **options)


def check(
    model: nn.Module,
    example: torch.Tensor | tuple[Any, ...],
    capture: str = "run",
    *,
    kwargs: dict[str, Any] | None = None,
    other_batch: int | None = 3,
    other_size: int | None = None,
    allowed: Collection[str] = (),
    **options: Any,
) -> torch.fx.GraphModule:
    """Prepares ``model`` and asserts everything that must hold of the result.

    Parameters
    ----------
    example : tensor or tuple
        Positional inputs. Symbolic capture uses them only to compare outputs.
    other_batch, other_size : int, optional
        Rows and pixels of two more comparisons; None where the original takes only the example's.
    allowed : names
        Functions that may stay: those under ``torch.fx.wrap`` without inputs, or excluded ones. Each must be reported.

    Returns
    -------
    torch.fx.GraphModule
        The prepared model, for further questions.
    """
    args = example if isinstance(example, tuple) else (example,)
    kwargs = kwargs or {}
    if kwargs and capture == "run":
        options["example_kwargs"] = kwargs
    before = Snapshot(model, args, kwargs)
    prepared = prepare(model, example, capture, **options)
    before.assert_unchanged()

    assert isinstance(prepared, torch.fx.GraphModule)
    assert inspect.signature(prepared.forward) == inspect.signature(model.forward)
    assert_same_state(prepared, model)
    modes = {path: module.training for path, module in model.named_modules()}
    assert {path: prepared.get_submodule(path).training for path in modes} == modes, "mode flags"

    assert_same_outputs(prepared, model, args, kwargs, "on the example")
    assert_same_outputs(prepared, model, other_values(args, 1), kwargs, "on other values")
    if other_batch is not None:
        fresh = other_values(args, 2, batch=other_batch)
        assert_same_outputs(prepared, model, fresh, other_values(kwargs, 2, batch=other_batch), "at another batch size")
    if other_size is not None:
        assert_same_outputs(prepared, model, other_values(args, 3, size=other_size), kwargs, "at another resolution")

    assert_called_once(prepared)
    placeholders = [node for node in prepared.graph.nodes if node.op == "placeholder"]
    if not kwargs and len(placeholders) >= len(args):
        found = leftovers(prepared, *args, allowed=allowed)
        assert not found, f"computing calls that are no modules: {found}"
    kept = [entry for entry in prepared.report.kept if not any(name in str(entry) for name in allowed)]
    assert not kept, f"kept whole: {kept}"
    for name in allowed:
        if any(target_name(node) == name for node in prepared.graph.nodes):
            assert any(name in str(entry) for entry in prepared.report.kept), f"{name} stayed and is not reported"

    prepared.train(not model.training)
    assert all(module.training == modes[path] for path, module in model.named_modules()), "train() reached the original"
    prepared.train(model.training)
    assert_strict_state(prepared, model)
    return prepared
