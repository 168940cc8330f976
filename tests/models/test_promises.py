"""One test a promise: whatever the original can, the prepared model can."""

import copy
import functools

import pytest
import torch

from catalogue import entries, find
from fidelity import assert_same
from modulize import prepare_model
from promise_gaps import GAPS
from promises import FAILS, PLAIN, REFUSED, Subject, converted, output

SMALL = [(library, entry.name) for library in ("reference", "trap") for entry in entries(library)]
QUICK = [
    ("torchvision", "googlenet"),
    ("torchvision", "mobilenet_v3_small"),
    ("torchvision", "swin_t"),
    ("timm", "convnext_atto"),
    ("transformers", "bert"),
    ("transformers", "gpt2"),
    ("transformers", "mixtral"),
    ("transformers", "t5"),
]


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """Sums come out in one order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def entry_of(library, name):
    if library in ("timm", "transformers"):
        pytest.importorskip(library)
    return find(library, name)


@functools.lru_cache(maxsize=2)
def subject(library, name):
    return Subject(entry_of(library, name))


def assert_holds(library, name, operation):
    cell = subject(library, name).check(operation)
    if cell.verdict == REFUSED:
        pytest.skip(f"the original cannot: {cell.message}")
    expected = GAPS.get((library, name, operation))
    if expected is not None:
        assert cell.verdict == FAILS, f"{name} {operation} holds now: take it out of promise_gaps.py"
        assert cell.message.startswith(expected), cell.message
    else:
        assert cell.verdict != FAILS, f"{name} {operation}: {cell.message}"


# The model varies slowest, so that each is prepared once.
@pytest.mark.parametrize("operation", [*PLAIN, "jit_traced", "exported", "compiled_without_a_break"])
@pytest.mark.parametrize(("library", "name"), SMALL)
def test_small_networks(library, name, operation):
    assert_holds(library, name, operation)


@pytest.mark.parametrize("operation", PLAIN)
@pytest.mark.parametrize(("library", "name"), QUICK)
def test_models_of_the_libraries(library, name, operation):
    assert_holds(library, name, operation)


@pytest.mark.parametrize("operation", ["in_train_mode", "two_training_steps"])
def test_a_train_mode_in_which_code_is_kept_whole(operation):
    assert_holds("transformers", "wav2vec2", operation)


@pytest.mark.parametrize("name", ["t5", "detr"])
def test_models_that_decide_by_dtypes_are_prepared_converted(name):
    """The way out of their gaps."""
    entry = entry_of("transformers", name)
    args, kwargs = converted(entry.example(), torch.Tensor.bfloat16)
    model = entry.make().bfloat16()
    prepared = prepare_model(copy.deepcopy(model), example_inputs=args, example_kwargs=kwargs)
    assert_same(output(prepared, (args, kwargs)), output(model, (args, kwargs)))


@pytest.mark.parametrize(("library", "name"), [("reference", "ResNet"), ("transformers", "t5")])
def test_models_that_autocast_changes_are_prepared_under_it(library, name):
    entry = entry_of(library, name)
    args, kwargs = entry.example()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        prepared = prepare_model(entry.make(), example_inputs=args, example_kwargs=kwargs)
        assert_same(output(prepared, (args, kwargs)), output(entry.make(), (args, kwargs)))


@pytest.mark.parametrize("operation", ["gradients", "two_training_steps", "strict_state_both_ways", "pickled"])
@pytest.mark.parametrize("name", ["deeplabv3_mobilenet_v3_large", "ssdlite320_mobilenet_v3_large", "raft_small"])
def test_other_tasks_of_torchvision(name, operation):
    assert_holds("torchvision", name, operation)


@pytest.mark.parametrize("operation", ["jit_traced", "exported", "exported_for_any_batch", "compiled_without_a_break"])
@pytest.mark.parametrize(("library", "name"), [("torchvision", "mobilenet_v3_small"), ("transformers", "distilbert")])
def test_compilers_take_models_of_the_libraries(library, name, operation):
    assert_holds(library, name, operation)


@pytest.mark.parametrize(("library", "name"), [("trap", "KeptLoop"), ("transformers", "segformer")])
def test_no_graph_break_that_the_original_lacks(library, name):
    breaks, of_the_prepared = subject(library, name).graph_breaks()
    assert 0 < breaks >= of_the_prepared
    assert_holds(library, name, "compiled")


@pytest.mark.parametrize("operation", ["compiled_training", "exported_strictly", "compiled_by_inductor"])
@pytest.mark.parametrize("name", ["FunctionalWeights", "ReusedLinear"])
def test_slower_compilers_take_small_networks(name, operation):
    assert_holds("trap", name, operation)


@pytest.mark.parametrize("operation", ["to_onnx", "to_onnx_by_tracing"])
@pytest.mark.parametrize("name", ["FunctionalWeights", "ReusedBatchNorm", "LimitsOfTheDtype"])
def test_onnx_export_of_small_networks(name, operation):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    assert_holds("trap", name, operation)


@pytest.mark.parametrize("operation", ["in_eval_mode", "in_train_mode", "two_training_steps"])
@pytest.mark.parametrize(("library", "name"), SMALL)
def test_prepared_in_train_mode(library, name, operation):
    cell = _in_train_mode(library, name).check(operation)
    assert cell.verdict != FAILS, cell.message


@functools.lru_cache(maxsize=1)
def _in_train_mode(library, name):
    return Subject(find(library, name), train=True)
