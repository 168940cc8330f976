"""The generated source and what torch's tools make of a prepared model."""

import copy
import gc
import inspect
import io
import pickle
import random
import sys
import traceback
import warnings

import pytest
import torch
from torch import fx, nn

import modulize
from modulize import _core


def materialise(text, root=None, objects=(), constants=None):
    return _core.materialise_text(text, root if root is not None else nn.Module(), objects, constants or {})


def quoted(name):
    return (
        '"'
        + "".join(c if c.isascii() and c.isprintable() and c not in '"\\' else f"\\u{ord(c):04x}" for c in name)
        + '"'
    )


# --- names that are no identifiers -----------------------------------------------------------------

HOSTILE = [
    "weird name",
    "0",
    "for",
    "None",
    "graph",
    "code",
    "forward",
    "_modules",
    "training",
    "a'b",
    'a"b',
    "a\\",
    "x\nimport os",
    "x\r\n    raise SystemExit",
    "#",
    "');raise SystemExit('",
    '"]; raise SystemExit; ["',
    "{raise SystemExit}",
    "\N{LATIN SMALL LIGATURE FI}",
    "größe",
    "\N{LINE SEPARATOR}x",
    "\x00",
    "self",
    "modules",
    "__class__",
    "print",
    "%s",
]


class Odd(nn.Module):
    def __init__(self, name):
        super().__init__()
        inner = nn.Module()
        inner._modules[name] = nn.ReLU()
        inner._parameters[name + "w"] = nn.Parameter(torch.tensor(3.0))
        self._modules[name] = nn.Sequential(inner)
        self._parameters[name + "p"] = nn.Parameter(torch.tensor(2.0))


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names_are_data(name):
    if "." in name:
        pytest.skip("a path")
    n = lambda *parts: quoted(".".join(parts))  # noqa: E731
    text = f"""graph g {{
      module {n(name, "0", name)} = existing torch.nn.ReLU
      module {n(name, "0", "module_relu")} = copy {n(name, "0", name)} for relu
      parameter {n(name, "0", name + "w")}: float32[]
      parameter {n(name + "p")}: float32[]
      %x = placeholder x
      %a: tensor = call_module {n(name, "0", name)}(%x)
      %b: tensor = call_module {n(name, "0", "module_relu")}(%a)
      %w: tensor = get_attr {n(name, "0", name + "w")}
      %p: tensor = get_attr {n(name + "p")}
      %c: tensor = call_function operator.mul(%b, %w)
      %d: tensor = call_function operator.mul(%c, %p)
      output {{{quoted(name)}: %d}}
    }}"""
    prepared = materialise(text, Odd(name))
    for module in (prepared, copy.deepcopy(prepared), pickle.loads(pickle.dumps(prepared))):
        (key, value), *rest = module(torch.tensor([-1.0, 5.0])).items()
        assert key == name and value.tolist() == [0.0, 30.0] and not rest
    space = {"torch": torch, "modulize": modulize}
    exec(prepared.code, space)  # the readable form computes the same
    assert space["forward"](prepared, torch.tensor([5.0]))[name].tolist() == [30.0]


@pytest.mark.parametrize("name", ["graph", "code", "_graph", "_code"])
def test_a_tensor_that_graph_module_hides(name):
    model = nn.Module()
    model._parameters[name] = nn.Parameter(torch.tensor(2.0))
    text = f"""graph g {{
      parameter {name}: float32[]
      %x = placeholder x
      %p: tensor = get_attr {name}
      %y: tensor = call_function operator.mul(%x, %p)
      output %y
    }}"""
    prepared = materialise(text, model)
    assert prepared(3).item() == 6 and "root_attribute" in prepared.code and prepared.graph is not None


def test_keyword_arguments_that_are_no_identifiers():
    text = """graph g {
      %x = placeholder x
      %y = call_function builtins.dict(a=%x, "class"=1, "b c"=2)
      output %y
    }"""
    assert materialise(text)(3) == {"a": 3, "class": 1, "b c": 2}


@pytest.mark.parametrize("name", ["a b", "1", "x=0", "class", "x):\n  pass\ndef f("])
def test_a_parameter_that_is_no_name_is_refused(name):
    with pytest.raises(modulize.ModulizeError):
        materialise(f"graph g {{ %x = placeholder {quoted(name)}\n output %x\n }}")


def test_a_name_that_cannot_be_imported_is_an_error():
    with pytest.raises(modulize.ModulizeError, match=r"torch\.no_such_function"):
        materialise("graph g { %x = placeholder x\n %y = call_function torch.no_such_function(%x)\n output %y\n }")
    with pytest.raises(modulize.ModulizeError, match="no_such_package_at_all"):
        materialise("graph g { %x = placeholder x\n %y = call_function no_such_package_at_all.f(%x)\n output %y\n }")


def test_submodules_are_imported():
    text = """graph g { %x = placeholder x
      %y = call_function xml.sax.saxutils.escape(%x)
      output %y
    }"""
    sys.modules.pop("xml.sax.saxutils", None)
    assert materialise(text)("<") == "&lt;"


# --- expressions -----------------------------------------------------------------------------------

BINARY = "add sub mul truediv floordiv mod pow lshift rshift and_ xor or_ eq ne lt le gt ge".split()


def test_random_operator_trees_compute_what_the_functions_compute():
    import operator

    random.seed(3)
    for _ in range(300):
        lines, values, kinds = [], [3, -2, 7], ["%x", "%y", "%z"]
        for i in range(12):
            name = random.choice([*BINARY, "neg", "invert", "pos"])
            unary = name in ("neg", "invert", "pos")
            picked = [random.randrange(len(values)) for _ in range(1 if unary else 2)]
            args = [(kinds[p], values[p]) for p in picked]
            if random.random() < 0.4:
                literal = random.choice([-2, 1, 2, -1])
                args[-1] = (str(literal), literal)
            try:
                value = getattr(operator, name)(*(v for _, v in args))
            except (ZeroDivisionError, ValueError, TypeError, OverflowError):
                continue
            if not isinstance(value, int) or abs(value) > 64:
                continue
            lines.append(f"%n{i}: number = call_function operator.{name}({', '.join(t for t, _ in args)})")
            values.append(value)
            kinds.append(f"%n{i}")
        text = "graph g { %x = placeholder x\n %y = placeholder y\n %z = placeholder z\n" + "\n".join(lines)
        text += f"\noutput {kinds[-1]}\n}}"
        prepared = materialise(text)
        assert prepared(3, -2, 7) == values[-1], prepared.code


def test_in_place_operators_change_only_what_they_may():
    text = """graph g { %x = placeholder x
      %y = call_function operator.iadd(%x, 1)
      %z = call_function operator.mul(%x, 10)
      output (%y, %z)
    }"""
    prepared = materialise(text)
    assert prepared(2) == (3, 20)
    x = torch.tensor([2.0])
    assert [t.tolist() for t in prepared(x)] == [[3.0], [30.0]] and x.tolist() == [3.0]


def test_items_are_set_and_deleted():
    text = """graph g { %x = placeholder x
      %a = call_function operator.setitem(%x, (0, slice(None, None, 2)), 5)
      %b = call_function operator.getitem(%x, (slice(None, None, None), 1))
      %c = call_function operator.getitem(%x, ())
      output (%b, %c)
    }"""
    b, c = materialise(text)(torch.zeros(2, 3))
    assert b.tolist() == [0, 0] and c.tolist() == [[5, 0, 5], [0, 0, 0]]
    text = "graph g { %x = placeholder x\n %a = call_function operator.delitem(%x, 0)\n output %x\n }"
    assert materialise(text)([1, 2]) == [2]


def test_literals_are_exact():
    literals = """(inf0, 1e+100, 0.1, -0.0, 5e-324, -9223372036854775808, True, None, ..., 'q"\\'\\n', [], {}, (), (1,),
      {1: [2], 'a': (3,)}, slice(1, None, -1), torch.float32)""".replace("inf0", 'float("-inf")')
    (got,) = (materialise(f"graph g {{ %x = placeholder x\n output {literals}\n }}")(0),)
    expected = eval(literals, {"torch": torch})
    assert repr(got) == repr(expected)


def test_reflected_methods_are_operators():
    text = """graph g { %x = placeholder x
      %a: tensor = call_method __rsub__(%x, 1)
      %b: tensor = call_method __rpow__(%a, 2.0)
      %c: tensor = call_method __rdiv__(%b, -3)
      output %c
    }"""
    prepared = materialise(text)
    x = torch.tensor([2.0, 0.5])
    assert torch.equal(prepared(x), -3 / 2.0 ** (1 - x))
    assert "1 - x" in prepared.code


def test_opaque_objects_are_called():
    calls = []
    text = 'graph g { %x = placeholder x default @1:"<y>"\n %y = call_function @0:"<f>"(%x, k=@1:"<y>")\n output %y\n }'
    marker = object()
    prepared = materialise(text, objects=[lambda x, k: calls.append((x, k)) or 5, marker])
    assert prepared(1) == 5 and prepared() == 5 and calls == [(1, marker), (marker, marker)]
    with pytest.raises(modulize.ModulizeError, match="@1"):
        materialise(text, objects=[print])


# --- long programs ---------------------------------------------------------------------------------


def chain(length, every=0):
    lines = ["graph g { %x = placeholder x", "%n0: tensor = call_function operator.add(%x, 0)"]
    last = "n0"
    for i in range(1, length):
        lines.append(f"%n{i}: tensor = call_method add(%{last}, 1)")
        if every and i % every == 0:
            lines.append(f"%s{i}: number = call_method size(%n{i}, 0)")
            lines.append(f"%m{i}: tensor = call_method add(%n{i}, %s{i})")
            last = f"m{i}"
        else:
            last = f"n{i}"
    keep = ", ".join(f"%n{i}" for i in range(0, length, 1000))
    return "\n".join(lines) + f"\noutput (%{last}, {keep}, %x)\n}}"


def test_ten_thousand_nodes_run_many_times_without_losing_references():
    prepared = materialise(chain(10_000))
    x = torch.zeros(1)
    gc.collect()  # what other tests left would be counted
    gc.disable()
    before = [sys.getrefcount(v) for v in (None, True, 1, 0, (), "")]
    for _ in range(5):
        last, *kept, first = prepared(x)
        assert last.item() == 9_999 and first is x
        assert [k.item() for k in kept] == [float(i) for i in range(0, 10_000, 1000)]
    assert len(prepared.graph.nodes) == 10_002
    after = [sys.getrefcount(v) for v in (None, True, 1, 0, (), "")]
    gc.enable()
    assert all(b >= a - 50 for a, b in zip(before, after, strict=True))


def test_thousands_of_module_calls():
    n = 10_000
    lines = ["graph g {"]
    lines += [f"module module_relu_{i} = torch.nn.ReLU() for relu" for i in range(n)]
    lines.append("%x = placeholder x")
    lines += [f"%r{i}: tensor = call_module module_relu_{i}(%{f'r{i - 1}' if i else 'x'})" for i in range(n)]
    prepared = materialise("\n".join(lines) + f"\noutput %r{n - 1}\n}}")
    assert prepared(torch.tensor([-1.0, 2.0])).tolist() == [0.0, 2.0]
    assert sum(1 for _ in prepared.modules()) == n + 1
    assert len(set(map(id, prepared.children()))) == n


@pytest.mark.parametrize("length", [1990, 2000, 2001, 5000, 12_000])
def test_long_programs_are_cut_into_functions(length):
    prepared = materialise(chain(length, every=7))
    source = prepared._modulize_program.source
    assert source.count("def ") == (1 if length + length // 7 <= 2000 else source.count("def _forward_") + 1)
    assert max(len(piece.splitlines()) for piece in source.split("\ndef ")) <= 2010
    last, *_ = prepared(torch.zeros(2))
    expected = length - 1 + 2 * ((length - 1) // 7)
    assert last.tolist() == [expected] * 2
    for module in (copy.deepcopy(prepared), pickle.loads(pickle.dumps(prepared))):
        assert module(torch.zeros(2))[0].tolist() == [expected] * 2
    space = {}
    exec(prepared.code, space)
    assert space["forward"](prepared, torch.zeros(2))[0].tolist() == [expected] * 2


def test_pieces_keep_the_signature():
    lines = ["graph g { %x = placeholder x", "%k = placeholder k default 2 keyword_only", "%more = placeholder **more"]
    lines += [f"%n{i} = call_function operator.add(%{f'n{i - 1}' if i else 'x'}, 1)" for i in range(5000)]
    prepared = materialise(
        "\n".join(lines) + "\n%last = call_function operator.mul(%n4999, %k)\noutput (%last, %more)\n}"
    )
    assert str(inspect.signature(prepared.forward)) == "(x, *, k=2, **more)"
    assert prepared(0) == (10_000, {}) and prepared(0, k=3, z=1) == (15_000, {"z": 1})


def test_dead_tensors_are_not_held():
    text = """graph g { %x = placeholder x
      %a: tensor = call_function operator.add(%x, 1)
      %b: tensor = call_function operator.add(%x, 2)
      %c: tensor = call_function operator.add(%a, %b)
      %d0: tensor = call_function operator.mul(%c, 1)
      %d1: tensor = call_function operator.mul(%d0, 1)
      %d2: tensor = call_function operator.mul(%d1, 1)
      %d3: tensor = call_function operator.mul(%d2, 1)
      %e: tensor = call_function @0:"<probe>"(%d3)
      output %e
    }"""
    held = []

    def probe(x):
        frame = sys._getframe(1)
        held.extend(name for name, value in frame.f_locals.items() if isinstance(value, torch.Tensor))
        return x

    prepared = materialise(text, objects=[probe])
    prepared(torch.ones(3))
    assert held == ["x"], prepared.code


# --- reading and editing ---------------------------------------------------------------------------


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer1 = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        return self.fc(torch.relu(self.layer1(x)).mean((2, 3)))


TEXT = """graph net {
  module layer1.0 = existing torch.nn.Conv2d
  module layer1.1 = existing torch.nn.ReLU
  module fc = existing torch.nn.Linear
  module module_relu = torch.nn.ReLU() for relu
  %x = placeholder x
  %a: tensor = call_module layer1.0(%x) at "net.py":3
  %b: tensor = call_module layer1.1(%a)
  %c: tensor = call_module module_relu(%b)
  %d: tensor = call_method mean(%c, (2, 3))
  %e: tensor = call_module fc(%d)
  output %e
}"""
IMAGE = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(1))


def prepared_net():
    model = Net()
    return model, materialise(TEXT, model)


def test_code_reads_as_written_by_hand():
    _, prepared = prepared_net()
    assert prepared.code == (
        "def forward(self, x):\n"
        "    x = self.layer1[0](x)\n"
        "    x = self.layer1[1](x)\n"
        "    x = self.module_relu(x)\n"
        "    x = x.mean((2, 3))\n"
        "    x = self.fc(x)\n"
        "    return x\n"
    )
    assert str(prepared).count("self.layer1[0](x)") == 1


def test_code_is_true_where_names_are_hidden():
    model = Net()
    model._modules["train"] = nn.ReLU()  # a method has that name
    model.layer1 = nn.Sequential()
    model.layer1.add_module("1", nn.ReLU())  # the first, under the name "1"
    text = """graph g { module train = existing torch.nn.ReLU
      module layer1.1 = existing torch.nn.ReLU
      %x = placeholder x
      %a: tensor = call_module train(%x)
      %b: tensor = call_module layer1.1(%a)
      output %b
    }"""
    prepared = materialise(text, model)
    space = {}
    exec(prepared.code, space)
    assert 'self._modules["train"](x)' in prepared.code and "getattr(self.layer1, '1')(x)" in prepared.code
    assert space["forward"](prepared, torch.tensor(-1.0)) == prepared(torch.tensor(-1.0)) == 0


def test_generation_is_deterministic():
    assert len({_core.generate_text(TEXT, access) for access in ["lookup"] * 5}) == 1
    assert _core.generate_text(TEXT, "attribute") == _core.generate_text(TEXT, "attribute")


def test_replaced_modules_and_hooks_act():
    _, prepared = prepared_net()
    seen = []
    prepared.fc.register_forward_hook(lambda *_: seen.append("fc"))
    prepared.layer1[1] = nn.Identity()
    prepared.module_relu = nn.Sigmoid()
    expected = prepared.fc(torch.sigmoid(prepared.layer1[0](IMAGE)).mean((2, 3)))
    assert torch.equal(prepared(IMAGE), expected) and seen == ["fc", "fc"]


def test_tracebacks_show_the_source():
    _, prepared = prepared_net()
    with pytest.raises(RuntimeError) as caught:
        prepared(torch.zeros(1, 5, 6, 6))
    lines = "".join(traceback.format_exception(caught.value))
    assert 'layer1["0"](x)' in lines
    assert inspect.getsource(prepared.forward).startswith("def forward(self, x):")


def test_graph_is_built_node_by_node_on_first_read():
    model, prepared = prepared_net()
    assert "_fx_graph" not in prepared.__dict__
    graph = prepared.graph
    assert graph is prepared.graph and graph.owning_module is prepared
    graph.lint()
    assert [(n.op, n.target) for n in graph.nodes][:2] == [("placeholder", "x"), ("call_module", "layer1.0")]
    assert 'File "net.py", line 3' in list(graph.nodes)[1].meta["stack_trace"]
    assert torch.equal(fx.Interpreter(prepared).run(IMAGE), model(IMAGE))
    assert torch.equal(fx.Transformer(prepared).transform()(IMAGE), model(IMAGE))


def test_print_readable_shows_modules_and_lines():
    _, prepared = prepared_net()
    text = prepared.print_readable(print_output=False)
    assert "class Net" in text and "self.module_relu(" in text and "net.py:3" in text


def test_editing_and_recompiling_behaves_as_torch_fx():
    model, prepared = prepared_net()
    other = materialise(TEXT, model)
    node = next(n for n in prepared.graph.nodes if n.target == "module_relu")
    with prepared.graph.inserting_after(node):
        added = prepared.graph.call_function(torch.neg, (node,))
    node.replace_all_uses_with(added, delete_user_cb=lambda user: user is not added)
    assert torch.equal(prepared(IMAGE), model(IMAGE))  # not compiled yet
    prepared.recompile()
    expected = model.fc((-torch.relu(model.layer1(IMAGE))).mean((2, 3)))
    assert torch.equal(prepared(IMAGE), expected) and "torch.neg" in prepared.code
    for copied in (copy.deepcopy(prepared), copy.copy(prepared), pickle.loads(pickle.dumps(prepared))):
        assert torch.equal(copied(IMAGE), expected) and "torch.neg" in copied.code
        assert any(n.target is torch.neg for n in copied.graph.nodes)
    assert torch.equal(other(IMAGE), model(IMAGE))


def test_edits_without_recompile_are_not_lost_in_copies():
    model, prepared = prepared_net()
    for node in prepared.graph.nodes:
        if node.op == "call_method":
            node.target = "sum"
    expected = model.fc(torch.relu(model.layer1(IMAGE)).sum((2, 3)))
    assert torch.equal(copy.deepcopy(prepared)(IMAGE), expected)
    assert torch.equal(pickle.loads(pickle.dumps(prepared))(IMAGE), expected)


def test_a_read_graph_leaves_the_source_alone():
    _, prepared = prepared_net()
    assert len(prepared.graph.nodes) == 7
    assert "self.layer1[0](x)" in copy.deepcopy(prepared).code


SIGNATURE = """graph g {
  %a = placeholder a positional_only
  %b = placeholder b default 1 positional_only
  %c = placeholder c default 2
  %k = placeholder k keyword_only
  %l = placeholder l default 3 keyword_only
  %more = placeholder **more
  output (%a, %b, %c, %k, %l, %more)
}"""


@pytest.mark.parametrize("through", [lambda m: m, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_recompiling_keeps_the_signature(through):
    prepared = materialise(SIGNATURE)
    before = inspect.signature(prepared.forward)
    prepared.recompile()
    prepared = through(prepared)
    assert inspect.signature(prepared.forward) == before
    assert prepared(0, k=9, z=8) == (0, 1, 2, 9, 3, {"z": 8})
    with prepared.graph.inserting_before():
        prepared.graph.placeholder("first")
    prepared.graph.erase_node(next(n for n in prepared.graph.nodes if n.target == "first"))
    prepared.recompile()
    assert prepared(0, k=9) == (0, 1, 2, 9, 3, {})


def test_graphs_as_modules():
    model = Net()
    text = """graph net {
      module layer1 = graph block {
        module 0 = existing torch.nn.Conv2d
        module module_sigmoid = torch.nn.Sigmoid() for sigmoid
        %x = placeholder x
        %k = placeholder k default 2
        %a: tensor = call_module 0(%x)
        %b: tensor = call_module module_sigmoid(%a)
        %c: tensor = call_function operator.mul(%b, %k)
        output %c
      }
      module side = graph tail {
        module fc2 = torch.nn.ReLU() for relu
        %x = placeholder x
        %y: tensor = call_module fc2(%x)
        output %y
      }
      %x = placeholder x
      %a: tensor = call_module layer1(%x, k=3)
      %b: tensor = call_module side(%a)
      output %b
    }"""
    prepared = materialise(text, model.eval())
    expected = torch.relu(torch.sigmoid(model.layer1[0](IMAGE)) * 3)
    for module in (prepared, copy.deepcopy(prepared), pickle.loads(pickle.dumps(prepared))):
        assert torch.equal(module(IMAGE), expected)
        assert isinstance(module.layer1, fx.GraphModule) and isinstance(module.layer1, nn.Sequential)
        assert len(module.layer1) == 2 and isinstance(module.layer1[1], nn.ReLU)
        assert "self[0](x)" in module.layer1.code and "self.side(x)" in module.code
        assert list(module.state_dict()) == list(model.state_dict())
        assert not module.side.training and not module.side.fc2.training
    assert not isinstance(model.layer1, fx.GraphModule)


def test_parametrized_tensors_are_followed():
    text = """graph g { parameter fc.weight: float32[2, 4]
      %x = placeholder x
      %w: tensor = get_attr fc.weight
      %y: tensor = call_function torch.nn.functional.linear(%x, %w)
      output %y
    }"""
    prepared = materialise(text, Net())

    class Double(nn.Module):
        def forward(self, w):
            return w * 2

    x = torch.ones(1, 4)
    before = prepared(x)
    nn.utils.parametrize.register_parametrization(prepared.fc, "weight", Double())
    assert torch.equal(prepared(x), before * 2)


def test_assigning_a_graph():
    model, prepared = prepared_net()
    graph = fx.Graph()
    graph.output(graph.call_module("fc", (graph.placeholder("y"),)))
    prepared.graph = graph
    assert torch.equal(prepared(y=torch.ones(1, 4)), model.fc(torch.ones(1, 4)))


def test_graph_module_of_a_prepared_model():
    model, prepared = prepared_net()
    plain = fx.GraphModule(prepared, copy.deepcopy(prepared.graph))
    assert torch.equal(plain(IMAGE), model(IMAGE))


def test_submodule_editing_as_in_torch_fx():
    model, prepared = prepared_net()
    prepared.add_submodule("extra.deep", nn.ReLU())
    assert isinstance(prepared.extra.deep, nn.ReLU)
    prepared.delete_all_unused_submodules()
    assert not hasattr(prepared, "extra") and torch.equal(prepared(IMAGE), model(IMAGE))


def test_a_model_with_children_named_graph_and_code():
    model = nn.Module()
    model._modules["graph"], model._modules["code"] = nn.ReLU(), nn.Sequential(nn.ReLU())
    text = """graph g { module graph = existing torch.nn.ReLU
      module code.0 = existing torch.nn.ReLU
      %x = placeholder x
      %a: tensor = call_module graph(%x)
      %b: tensor = call_module code.0(%a)
      output %b
    }"""
    prepared = materialise(text, model)
    assert prepared(torch.tensor(-1.0)) == 0
    assert isinstance(prepared.graph, fx.Graph) and isinstance(prepared.code, str)
    assert pickle.loads(pickle.dumps(copy.deepcopy(prepared)))(torch.tensor(-1.0)) == 0


# --- torch's tools ---------------------------------------------------------------------------------


def test_torch_save_and_load():
    model, prepared = prepared_net()
    file = io.BytesIO()
    torch.save(prepared, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    assert torch.equal(loaded(IMAGE), model(IMAGE)) and isinstance(loaded, Net) and loaded.code == prepared.code


@pytest.mark.filterwarnings("ignore")
def test_jit_trace():
    model, prepared = prepared_net()
    traced = torch.jit.trace(prepared, IMAGE)
    assert torch.equal(traced(IMAGE[:1]), model(IMAGE[:1]))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("strict", [True, False])
def test_export(strict):
    model, prepared = prepared_net()
    program = torch.export.export(prepared.eval(), (IMAGE,), strict=strict)
    assert torch.equal(program.module()(IMAGE), model(IMAGE))
    assert set(program.state_dict) == set(model.state_dict())


def test_compile_without_graph_breaks():
    model, prepared = prepared_net()
    torch._dynamo.reset()
    compiled = torch.compile(prepared, fullgraph=True, backend="eager")
    assert torch.equal(compiled(IMAGE), model(IMAGE)) and torch.equal(compiled(IMAGE[:1]), model(IMAGE[:1]))


@pytest.mark.filterwarnings("ignore")
def test_jit_script_after_recompile():
    model, prepared = prepared_net()
    prepared.recompile()
    assert torch.equal(torch.jit.script(prepared)(IMAGE), model(IMAGE))


def test_quantization_prepares_it():
    model, prepared = prepared_net()
    from torch.ao.quantization import get_default_qconfig_mapping
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        observed = prepare_fx(prepared.eval(), get_default_qconfig_mapping(), (IMAGE,))
        observed(IMAGE)
        quantized = convert_fx(observed)
    assert torch.allclose(quantized(IMAGE), model(IMAGE), atol=0.2)


def test_the_report_slot_is_plain_data():
    _, prepared = prepared_net()
    prepared._modulize["note"] = "text"
    assert pickle.loads(pickle.dumps(prepared))._modulize == {"shared": {}, "note": "text"}


def test_data_parallel_replicas_do_not_touch_the_original():
    _, prepared = prepared_net()
    replica = prepared._replicate_for_data_parallel()
    replica._parameters["p"] = None
    replica._modules.pop("fc")
    assert "p" not in prepared._parameters and "fc" in prepared._modules
