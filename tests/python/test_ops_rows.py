"""Every row of the op table against the installed torch, in every spelling."""

import inspect
import itertools
import subprocess

import pytest
import torch

import modulize._core as core
import modulize.nn
import op_rows

# Deprecated spellings are computed all the same.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

ROWS = op_rows.table()["rows"]
PASSIVE = op_rows.table()["passive"]
SPELLINGS = [(row, spelling) for row in ROWS for spelling in row["spellings"]]


# --- names and signatures --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", [s["call"] for _, s in SPELLINGS] + [p["call"] for p in PASSIVE])
def test_call_exists(call):
    assert callable(op_rows.resolve(call))


def test_every_row_has_a_sample():
    assert [row["call"] for row in ROWS if not row["sample"]] == []


def test_docs_are_made_from_the_table(tmp_path):
    made = tmp_path / "ops.md"
    subprocess.run([op_rows.find_tool("modulize_gen_nn"), "--docs", made], check=True)
    assert (op_rows.ROOT / "docs" / "ops.md").read_text() == made.read_text(), "run modulize_gen_nn --docs docs/ops.md"


def test_no_call_has_two_owners():
    names = [s["call"] for _, s in SPELLINGS] + [p["call"] for p in PASSIVE]
    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["call"])
def test_module_class_exists(row):
    assert issubclass(op_rows.resolve(row["module"]), torch.nn.Module)


def python_signature(call):
    """torch's own parameters, where Python can tell them."""
    home, _, name = call.rpartition(".")
    for spelling in (call, f"{home}._{name}"):
        # F.max_pool2d is a dispatcher of (*args, **kwargs); its plain variant F._max_pool2d has the names.
        try:
            parameters = inspect.signature(op_rows.resolve(spelling)).parameters
        except (TypeError, ValueError, AttributeError):
            continue
        if inspect.Parameter.VAR_POSITIONAL not in {p.kind for p in parameters.values()}:
            return parameters
    return None


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["call"])
def test_signature_is_torch_own(row):
    ours = op_rows.parameters_of(row["signature"])
    kinds = {p.kind for p in ours.values()}
    theirs = python_signature(row["call"])
    if theirs:
        fixed = {n: p for n, p in ours.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
        assert list(fixed) == list(theirs)[: len(fixed)]
        for name, parameter in fixed.items():
            assert repr(parameter.default) == repr(theirs[name].default), name
        if inspect.Parameter.VAR_KEYWORD not in kinds:
            assert len(fixed) == len(theirs)
        return
    schemas = native_schemas(row["call"])
    if not schemas or kinds & {inspect.Parameter.VAR_POSITIONAL}:
        return
    assert any(fits_schema(ours, schema) for schema in schemas), [str(s) for s in schemas]


def native_schemas(call):
    """The schemas of the operator behind a builtin of torch."""
    for prefix, operator in (
        ("torch.nn.functional.", ""),
        ("torch.linalg.", "linalg_"),
        ("torch.special.", "special_"),
        ("torch.fft.", "fft_"),
        ("torch.", ""),
    ):
        if call.startswith(prefix):
            return torch._C._jit_get_schemas_for_operator("aten::" + operator + call[len(prefix) :])
    return []


def fits_schema(ours, schema):
    theirs = {("input" if a.name == "self" else a.name): a for a in schema.arguments}
    for name, parameter in ours.items():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            continue
        if name not in theirs:
            return False
        has_default = parameter.default is not inspect.Parameter.empty
        if has_default and theirs[name].has_default_value():
            default = theirs[name].default_value
            if isinstance(default, list):  # sizes: [] is none given, [1, 1] is 1
                default = default[0] if default and len(set(default)) == 1 else default if default else None
            if isinstance(default, list):
                default = tuple(default)
            if parameter.default != default and not (parameter.default == () and default is None):
                return False
    return True


# --- values ----------------------------------------------------------------------------------------------------------


def call_text(text, spelling, arguments, style):
    """The call, with its arguments in one style; `arguments` by the row's parameter names."""
    parts = []
    call = spelling["call"]
    is_method = call.startswith("torch.Tensor.")
    # Operators have no keywords, and those of dunder methods are nobody's promise.
    positional_only = call.startswith(("operator.", "builtins.")) or call.endswith("__")
    spreads = any(p["kind"] == "var_positional" for p in spelling["parameters"])
    positional = True
    for index, parameter in enumerate(spelling["parameters"]):
        name, kind = parameter["of"], parameter["kind"]
        if name not in arguments:
            positional = False
            continue
        value = arguments[name]
        as_position = positional_only or spreads or (style == "positional" and positional) or (is_method and index == 0)
        if kind == "var_positional":
            parts += [text.value(v) for v in value]
        elif kind == "var_keyword":
            parts += [f"{key}={text.value(v)}" for key, v in value.items()]
        elif kind == "normal" and as_position:
            parts.append(text.value(value, name in text.adopted))
        else:
            parts.append(f"{parameter['name']}={text.value(value, name in text.adopted)}")
    if is_method:
        return f"call_method {call.removeprefix('torch.Tensor.')}({', '.join(parts)})"
    return f"call_function {call}({', '.join(parts)})"


# What a call cannot do without, beside the parameters that have no default.
REQUIRED = {
    "torch.stft": {"return_complex"},
    **{f"torch.nn.functional.fractional_max_pool{d}d": {"output_size"} for d in (2, 3)},
    **{f"torch.nn.functional.fractional_max_pool{d}d_with_indices": {"output_size"} for d in (2, 3)},
    "torch.clamp": {"min"},
    "torch.nn.functional.interpolate": {"scale_factor"},
    "torch.nn.functional.upsample_nearest": {"scale_factor"},
    "torch.nn.functional.upsample_bilinear": {"scale_factor"},
    **{f"torch.nn.functional.conv{d}d": {"groups"} for d in (1, 2, 3)},
}


def run_both(row, spelling, style, training, adopt):
    torch.manual_seed(0)
    arguments = dict(op_rows.bind_sample(row))
    known = {p["of"] for p in spelling["parameters"]}
    arguments = {name: value for name, value in arguments.items() if name in known}
    if style == "defaults":
        parameters = op_rows.parameters_of(row["signature"]).values()
        required = {p.name for p in parameters if p.default is p.empty and p.kind is not p.VAR_KEYWORD}
        required |= REQUIRED.get(row["call"], set())
        # A spelling may require what the row has a default for (torch.softmax needs its dim).
        if row["call"] != spelling["call"]:
            required |= known
        arguments = {name: value for name, value in arguments.items() if name in required}
    if "__r" in spelling["call"]:
        # Python asks the reflected operator only where the left operand is no tensor.
        if row["call"] == "torch.pow":
            arguments["exponent"] = torch.randn(2, 3)
        if row["call"] != "torch.matmul":
            arguments["input"] = 3.0
    if row["mode"] and row["mode"] in known:
        arguments[row["mode"]] = training
    text = op_rows.Text(training)
    text.adopted = {a.split("?")[0] for a in row["adopt"].split(", ")} if adopt else set()
    before = text.graph(call_text(text, spelling, arguments, style))
    after = str(core.pipeline(core.graph_from_text(before)))
    results = []
    for source in (before, after):
        inputs = {name: tensor.clone() for name, tensor in text.inputs.items()}
        torch.manual_seed(1)
        with torch.no_grad():
            result, modules = op_rows.interpret(source, inputs, text.parameters, training)
        results.append((result, inputs, modules, source))
    return results


STYLES = ("positional", "keyword", "defaults")
CASES = [
    pytest.param(row, spelling, style, training, id=f"{row['call']}-{spelling['call']}-{style}-{training}")
    for row, spelling in SPELLINGS
    for style in STYLES
    for training in ((False, True) if row["mode"] or row["random"] else (False,))
]


@pytest.mark.parametrize(("row", "spelling", "style", "training"), CASES)
def test_module_computes_what_the_call_computes(row, spelling, style, training):
    for adopt in (False, True) if row["adopt"] else (False,):
        (expected, inputs, _, before), (result, seen, modules, after) = run_both(row, spelling, style, training, adopt)
        assert len(modules) == 1, f"{before}\n{after}"
        assert op_rows.same(expected, result), f"{before}\n{after}"
        assert op_rows.same(list(inputs.values()), list(seen.values())), f"inputs differ\n{before}\n{after}"
        (module,) = modules.values()
        if (not row["adopt"] and not row["only"]) or "adopt" in after:
            # A mode given as a literal is the user's setting: no module follows its own mode flag then.
            assert type(module) is op_rows.resolve(row["run_time_class" if row["mode"] else "module"])


# --- the generated classes -------------------------------------------------------------------------------------------

CLASSES = [getattr(modulize.nn, name) for name in modulize.nn.__all__]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_class_is_a_plain_module(cls):
    import copy
    import pickle

    module = cls()
    assert cls.__doc__.strip()
    assert "self" in inspect.signature(cls.forward).parameters
    assert not module.state_dict() and not list(module.children())
    assert type(pickle.loads(pickle.dumps(module))) is cls
    assert type(copy.deepcopy(module)) is cls
    assert repr(module) == f"{cls.__name__}()"


def test_subtract_takes_a_number_first():
    x = torch.tensor([0.5, 2.0])
    assert op_rows.same(modulize.nn.Subtract()(1, x), 1 - x)
    assert op_rows.same(modulize.nn.Subtract()(1, x, alpha=3), torch.rsub(x, 1, alpha=3))
    assert op_rows.same(modulize.nn.Divide()(2, x), 2 / x)
    assert op_rows.same(modulize.nn.Pow()(2, x), 2**x)


def test_tables_share_no_call():
    computing = set(itertools.chain.from_iterable([s["call"] for s in r["spellings"]] for r in ROWS))
    assert not computing & {p["call"] for p in PASSIVE}
