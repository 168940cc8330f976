"""Prepared models written as source: they come back as they are, they read well, and no name becomes code."""

import ast
import copy
import functools
import linecache
import math
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from fidelity import assert_same
from modulize import ArgumentError, AssumptionError, UnsupportedError, load_source, prepare_model, save_source


def round_trip(prepared, tmp_path, name="net"):
    return load_source(save_source(prepared, tmp_path / name))


def source(tmp_path, name="net"):
    return (tmp_path / name / "model.py").read_text()


def assert_equal_models(loaded, prepared, *inputs):
    assert [path for path, _ in loaded.named_modules()] == [path for path, _ in prepared.named_modules()]
    assert [name for name, _ in loaded.named_parameters()] == [name for name, _ in prepared.named_parameters()]
    assert list(loaded.state_dict()) == list(prepared.state_dict())
    assert [m.training for m in loaded.modules()] == [m.training for m in prepared.modules()]
    torch.manual_seed(1)
    expected = prepared(*copy.deepcopy(inputs))
    torch.manual_seed(1)
    assert_same(loaded(*copy.deepcopy(inputs)), expected)


class Block(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        self.scale = nn.Parameter(torch.rand(channels, 1, 1))
        self.register_buffer("shift", torch.rand(1), persistent=False)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)) * self.scale + self.shift) + x


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.blocks = nn.Sequential(Block(4), Block(4))
        self.drop = nn.Dropout(0.25)
        self.head = nn.Linear(4, 2)
        self.head.bias.requires_grad_(False)

    def forward(self, x):
        x = self.blocks(self.stem(x))
        return torch.softmax(self.head(self.drop(x.mean((2, 3)))), dim=-1)


IMAGE = torch.randn(2, 3, 9, 9)


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("inputs", [None, IMAGE], ids=["symbolic", "running"])
def test_a_network_comes_back_bit_equal(tmp_path, inputs, training):
    prepared = prepare_model(Net().train(training), example_inputs=inputs)
    loaded = round_trip(prepared, tmp_path)
    assert_equal_models(loaded, prepared, torch.randn(3, 3, 12, 12))
    assert not loaded.head.bias.requires_grad
    assert loaded.head.weight.requires_grad


def test_the_source_reads_as_a_person_would_write_it(tmp_path):
    save_source(prepare_model(Net().eval(), example_inputs=IMAGE), tmp_path / "net")
    text = source(tmp_path)
    assert "self.stem = nn.Conv2d(3, 4, 3)" in text
    assert "self.blocks = nn.Sequential(Block(), Block())" in text
    assert text.count("class ") == 2  # the two blocks are made alike
    assert "self.drop = nn.Dropout(p=0.25)" in text
    assert "self.blocks[0].conv(x)" in text
    assert "# test_export.py:" in text.replace("tests/python/", "")
    assert "in blocks.0: return F.relu(self.bn(self.conv(x)) * self.scale + self.shift) + x" in text
    assert str(Path.home()) not in text and str(Path(__file__).parent) not in text


def test_importing_needs_torch_alone(tmp_path):
    prepared = prepare_model(Net().eval(), example_inputs=IMAGE)
    save_source(prepared, tmp_path / "net")
    torch.save((IMAGE, prepared(IMAGE)), tmp_path / "expected.pt")
    code = (
        "import sys, torch\n"
        "for name in ('modulize', 'safetensors', 'numpy.random.mtrand'): sys.modules[name] = None\n"
        "import net\n"
        "image, expected = torch.load('expected.pt')\n"
        "assert torch.equal(net.load()(image), expected)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=120)


def test_writing_leaves_no_module_behind(tmp_path):
    before = set(sys.modules)
    save_source(prepare_model(nn.Sequential(nn.ReLU())), tmp_path / "net")
    assert not [name for name in set(sys.modules) - before if "_modulize_source" in name]


def test_what_the_model_can_the_loaded_one_can(tmp_path):
    model = Net().eval()
    loaded = round_trip(prepare_model(model, example_inputs=IMAGE), tmp_path)
    expected = model(IMAGE)
    assert torch.equal(copy.deepcopy(loaded)(IMAGE), expected)
    assert torch.equal(torch.export.export(loaded, (IMAGE,)).module()(IMAGE), expected)
    assert torch.equal(prepare_model(loaded, example_inputs=IMAGE)(IMAGE), expected)
    loaded.load_state_dict(model.state_dict(), strict=True)
    model.load_state_dict(loaded.state_dict(), strict=True)
    loaded.train()(IMAGE).sum().backward()
    model.train()(IMAGE).sum().backward()
    theirs = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert {name for name, p in loaded.named_parameters() if p.grad is not None} == set(theirs)


def test_the_same_model_gives_the_same_bytes(tmp_path):
    torch.manual_seed(3)
    first = save_source(prepare_model(Net().eval(), example_inputs=IMAGE), tmp_path / "a")
    torch.manual_seed(3)
    second = save_source(prepare_model(Net().eval(), example_inputs=IMAGE), tmp_path / "b")
    names = sorted(file.name for file in first.iterdir())
    assert len({file.stat().st_mode for file in first.iterdir()}) == 1
    assert names == ["__init__.py", "model.py", "operations.py", "runtime.py", "weights.safetensors"]
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_tied_modules_stay_tied_and_their_keys_hidden(tmp_path):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)
            self.bn = nn.BatchNorm2d(3)

        def forward(self, x):
            return self.bn(self.conv(self.bn(self.conv(x))))

    prepared = prepare_model(Twice(), example_inputs=IMAGE)
    loaded = round_trip(prepared, tmp_path)
    assert_equal_models(loaded, prepared, IMAGE)
    assert loaded.module_conv_1.weight is loaded.conv.weight
    half = copy.deepcopy(loaded).half()
    assert half.module_bn_1.running_mean is half.bn.running_mean
    loaded.load_state_dict({k: v.clone() for k, v in loaded.state_dict().items()}, strict=True, assign=True)
    assert loaded.module_bn_1.running_mean is loaded.bn.running_mean
    again = pickle.loads(pickle.dumps(loaded.state_dict()))
    assert list(again) == list(prepared.state_dict())


def test_the_models_own_ties_and_shared_modules_come_back(tmp_path):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(9, 4)
            self.act = nn.GELU()
            self.block = nn.Sequential(nn.Linear(4, 4), self.act)
            self.other = self.block
            self.head = nn.Linear(4, 9, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, x):
            return self.head(self.act(self.block(self.embed(x))))

    prepared = prepare_model(Tied().eval(), example_inputs=torch.tensor([[1, 2]]))
    loaded = round_trip(prepared, tmp_path)
    assert_equal_models(loaded, prepared, torch.tensor([[3, 4, 5]]))
    assert loaded.head.weight is loaded.embed.weight
    assert loaded.other is loaded.block


def test_branches_decide_as_before(tmp_path):
    class Decides(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            x = self.a(x) if x.sum() > 0 else self.b(x).relu()
            if self.training:
                x = x * 2
            return x

    prepared = prepare_model(Decides().eval(), example_inputs=torch.ones(2, 4))
    loaded = round_trip(prepared, tmp_path)
    for x in (torch.ones(2, 4), -torch.ones(3, 4)):
        assert_equal_models(loaded, prepared, x)
        assert_equal_models(copy.deepcopy(loaded).train(), copy.deepcopy(prepared).train(), x)


def test_context_managers_are_with_blocks(tmp_path):
    class Context(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x):
            with torch.no_grad():
                y = self.fc(x)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                z = self.fc(x)
            return y, z

    prepared = prepare_model(Context(), example_inputs=torch.randn(2, 4))
    loaded = round_trip(prepared, tmp_path)
    assert_equal_models(loaded, prepared, torch.randn(3, 4))
    assert "with torch.no_grad():" in source(tmp_path)
    y, z = loaded(torch.randn(2, 4))
    assert not y.requires_grad
    assert z.requires_grad


def test_assumptions_are_checked(tmp_path):
    class Flagged(nn.Module):
        def forward(self, x, flag=True, *, state=None):
            return x.relu() if flag and len(state["items"]) else x

    prepared = prepare_model(
        Flagged(), example_inputs=torch.randn(2), example_kwargs={"state": {"items": [torch.ones(1), 2]}}
    )
    loaded = round_trip(prepared, tmp_path)
    assert_same(loaded(-torch.ones(2), state={"items": [torch.ones(1), 2]}), torch.zeros(2))
    with pytest.raises(RuntimeError, match="argument 'flag' was True") as caught:
        loaded(torch.ones(2), flag=False, state={"items": [torch.ones(1), 2]})
    assert type(caught.value).__name__ == AssumptionError.__name__
    with pytest.raises(RuntimeError, match="length"):
        loaded(torch.ones(2), state={"items": [torch.ones(1)]})


class Cache:
    def __init__(self):
        self.layers = [torch.zeros(2)]
        self.count = 3


class TakesObject(nn.Module):
    def forward(self, x, cache):
        return x + cache.layers[0] * cache.count


def test_objects_among_the_arguments_are_checked(tmp_path):
    prepared = prepare_model(TakesObject(), example_inputs=(torch.ones(2), Cache()))
    loaded = round_trip(prepared, tmp_path)
    assert_same(loaded(torch.ones(2), Cache()), prepared(torch.ones(2), Cache()))
    other = Cache()
    other.count = 4
    with pytest.raises(RuntimeError, match=r"'cache'.*count was 3"):
        loaded(torch.ones(2), other)


class Opaque(nn.Module):
    def __init__(self, width, scale=2.0):
        super().__init__()
        self.width, self.scale = width, scale
        self.fc = nn.Linear(width, width)

    def forward(self, x):
        return self.fc(x) * self.scale


class Odd(nn.Module):
    """Its constructor cannot be told from its attributes."""

    def __init__(self, config):
        super().__init__()
        self.depth = config["depth"]
        self.weight = nn.Parameter(torch.rand(config["depth"]))
        self.table = torch.rand(config["depth"])

    def forward(self, x):
        return x * self.weight + self.table * self.depth


@pytest.mark.parametrize("make", [lambda: Opaque(4, 3.0), lambda: Odd({"depth": 4})], ids=["constructor", "assembled"])
def test_excluded_modules_are_imported_by_name(tmp_path, make):
    class Holder(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = make()

        def forward(self, x):
            return self.inner(x).relu()

    model = Holder()
    prepared = prepare_model(model, [model.inner], example_inputs=torch.randn(2, 4))
    loaded = round_trip(prepared, tmp_path)
    assert type(loaded.inner) is type(model.inner)
    assert_equal_models(loaded, prepared, torch.randn(3, 4))


class Looping(nn.Module):
    def forward(self, x):
        rows = []
        for row in x:
            while row.abs().sum() > 1.0:
                row = row / 2
            rows.append(row)
        return torch.stack(rows).relu()


def test_kept_code_still_hands_its_calls_to_modules(tmp_path):
    x = torch.randn(2, 3)
    prepared = prepare_model(Looping().eval(), example_inputs=x)
    assert prepared.report.kept
    loaded = round_trip(prepared, tmp_path)
    assert_equal_models(loaded, prepared, 3 * x)
    called = []
    for name in ("module_abs", "module_relu"):
        getattr(loaded, name).register_forward_hook(lambda module, *_: called.append(type(module).__name__))
    loaded(x)
    assert called[0] == "Abs"
    assert called[-1] == "ReLU"
    assert "import modulize" not in source(tmp_path)


def decorator(function):
    @functools.wraps(function)
    def wrapped(*args):
        return function(*args) + 1

    return wrapped


@decorator
@decorator
def decorated(x):
    return x * len(x.tolist())


def test_what_decorators_hide_is_imported_through_them(tmp_path):
    class Net(nn.Module):
        def forward(self, x):
            return decorated(x).relu()

    model, x = Net(), torch.rand(3, 4)
    inner = decorated.__wrapped__.__wrapped__
    prepared = prepare_model(model, functions_to_exclude=[inner], example_inputs=x)
    loaded = round_trip(prepared, tmp_path)
    assert "decorated.__wrapped__.__wrapped__" in source(tmp_path)
    assert_equal_models(loaded, prepared, torch.rand(5, 4))
    assert torch.equal(loaded(x), model(x))


def test_torch_modules_with_settings_of_all_kinds_come_back(tmp_path):
    model = nn.Sequential(
        nn.Conv2d(3, 8, (3, 1), stride=2, padding=(1, 0), padding_mode="reflect"),
        nn.PReLU(8),
        nn.GroupNorm(2, 8, eps=1e-3, affine=False),
        nn.ConvTranspose2d(8, 4, 2, output_padding=0, bias=False),
        nn.LeakyReLU(0.3, inplace=True),
        nn.InstanceNorm2d(4, track_running_stats=True),
        nn.AdaptiveAvgPool2d((2, None)),
        nn.Upsample(scale_factor=2.0, mode="bilinear", align_corners=True),
        nn.Flatten(1),
    ).eval()
    prepared = prepare_model(model, example_inputs=IMAGE)
    assert_equal_models(round_trip(prepared, tmp_path), prepared, IMAGE)
    assert 'padding_mode="reflect"' in source(tmp_path)


def test_recurrent_and_attention_layers_come_back(tmp_path):
    class Layers(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(4, 6, num_layers=2, bidirectional=True)
            self.attention = nn.MultiheadAttention(12, 3, bias=False)
            self.encoder = nn.TransformerEncoderLayer(12, 3, 8, dropout=0.0)

        def forward(self, x):
            x, _ = self.lstm(x)
            x, _ = self.attention(x, x, x)
            return self.encoder(x)

    prepared = prepare_model(Layers().eval(), example_inputs=torch.randn(5, 2, 4))
    assert_equal_models(round_trip(prepared, tmp_path), prepared, torch.randn(5, 2, 4))
    assert "nn.LSTM(4, 6, num_layers=2, bidirectional=True)" in source(tmp_path)


def test_state_of_forward_goes_on_counting(tmp_path):
    class Counts(nn.Module):
        def __init__(self):
            super().__init__()
            self.calls = 3
            self.register_buffer("total", torch.zeros(1))

        def forward(self, x):
            self.calls += 1
            self.total += x.sum()
            return x * self.calls + self.total

    prepared = prepare_model(Counts(), example_inputs=torch.ones(2))
    loaded = round_trip(prepared, tmp_path)
    for _ in range(3):
        assert_same(loaded(torch.ones(2)), prepared(torch.ones(2)))


def test_a_parametrized_module_comes_back(tmp_path):
    class Normed(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.utils.parametrizations.weight_norm(nn.Conv1d(3, 4, 2))

        def forward(self, x):
            return self.conv(x).relu()

    prepared = prepare_model(Normed(), example_inputs=torch.randn(1, 3, 5))
    assert_equal_models(round_trip(prepared, tmp_path), prepared, torch.randn(2, 3, 6))


HOSTILE = [
    "x'); import os; exit(7) #",
    'quote " and \\ backslash',
    "new\nline\rand\x0cfeed\u2028",
    "class",
    "__private",
    "__dunder__",
    "ünïcode ﬁ",
    "forward",
    "graph",
    "code",
    "0",
    "n" * 10_000,
    "{braces} %s \x00",
]


class Anything(nn.Module):
    """Children and tensors of any name, past the checks of add_module."""

    def __init__(self, names):
        super().__init__()
        self.names = names
        for name in names:
            self._modules[name] = nn.Linear(3, 3)
            self._parameters["p" + name] = nn.Parameter(torch.rand(3))

    def forward(self, x):
        for name in self.names:
            x = F.relu(self._modules[name](x) + self._parameters["p" + name])
        return x


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: ascii(name[:20]))
def test_no_name_becomes_code(tmp_path, name):
    prepared = prepare_model(nn.Sequential(Anything([name]), nn.ReLU()), example_inputs=torch.randn(2, 3))
    loaded = round_trip(prepared, tmp_path)
    assert_equal_models(loaded, prepared, torch.randn(2, 3))
    for file in (tmp_path / "net").glob("*.py"):
        text = file.read_text()
        assert all(character.isprintable() or character == "\n" for character in text)
        calls = {
            getattr(node.func, "attr", getattr(node.func, "id", ""))
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.Call)
        }
        assert "exit" not in calls


class Shouts(float):
    def __repr__(self):
        return "__import__('os')._exit(9)"

    __str__ = __repr__


@pytest.mark.parametrize("base", [int, float, str, bytes, list])
def test_no_repr_becomes_code(tmp_path, base):
    value = type("Shouts", (base,), {"__repr__": Shouts.__repr__, "__str__": Shouts.__repr__})()
    model = nn.Sequential(Opaque(4, 3.0), nn.ReLU())
    model[0].extra = [{"a": value}]
    prepared = prepare_model(model, [model[0]], example_inputs=torch.randn(1, 4))
    with pytest.raises(UnsupportedError, match=r"object of class .*Shouts cannot be written"):
        save_source(prepared, tmp_path / "net")
    text = "def forward(self, x):\n    return F.leaky_relu(self.fc(x), self.slope)\n"
    model = written_by(text, "shouts.py", [])
    model.slope = Shouts(0.5)
    prepared = prepare_model(model, example_inputs=torch.ones(2, 3))
    assert_equal_models(round_trip(prepared, tmp_path), prepared, torch.randn(2, 3))
    assert "_exit" not in source(tmp_path)


@pytest.mark.parametrize(
    "text", [HOSTILE[0], HOSTILE[2], "\udc80", "\u202e", "", "n" * 10_000], ids=lambda t: ascii(t[:20])
)
def test_texts_of_the_model_come_back(tmp_path, text):
    class Talks(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Opaque(3)
            self.inner.notes = {text: [text, (text,), {text}, Path(text)]}
            self.mode = text

        def forward(self, items, mode=text):
            if mode == self.mode:
                items = {key: self.inner(value).relu() for key, value in items.items()}
            return {**items, (text, 1): torch.sin(items[text]), "mode": mode}

    model = Talks()
    prepared = prepare_model(model, [model.inner], example_inputs=({text: torch.ones(2, 3)},))
    loaded = round_trip(prepared, tmp_path)
    assert_equal_models(loaded, prepared, {text: torch.randn(2, 3)})
    assert loaded.inner.notes == model.inner.notes
    with pytest.raises(RuntimeError, match="argument 'mode' was"):
        loaded({text: torch.randn(2, 3)}, mode="other")


def test_hostile_class_names_become_plain_ones(tmp_path):
    inner = type("Bad'; import os #\n", (nn.Module,), {"forward": lambda self, x: x + self.w})()
    inner.w = nn.Parameter(torch.rand(2))
    outer = type("class", (nn.Module,), {"forward": lambda self, x: self.inner(x)})()
    outer.inner = inner
    prepared = prepare_model(outer, example_inputs=torch.rand(2))
    assert_equal_models(round_trip(prepared, tmp_path), prepared, torch.rand(2))
    names = {node.name for node in ast.walk(ast.parse(source(tmp_path))) if isinstance(node, ast.ClassDef)}
    assert names == {"class_", "Bad___import_os___"}


def written_by(text, filename, lines):
    """A model whose forward seems to stand in such a file."""
    space = {"F": F, "torch": torch, "__name__": __name__}
    exec(compile(text, filename, "exec"), space)
    linecache.cache[filename] = (len(lines), None, lines, filename)
    model = type("Net", (nn.Module,), {"forward": space["forward"]})()
    model.fc = nn.Linear(3, 3)
    return model.eval()


@pytest.mark.parametrize(
    ("filename", "line"),
    [
        ("evil\nraise SystemExit(9)\n.py", "raise SystemExit(9)\n"),
        ("returns.py", "return 1 \r raise SystemExit(9) \x0c \u2028 raise SystemExit(8) \x85 raise SystemExit(7)\n"),
        ("q\"\"\"'''\\.py", "\"\"\" ''' \\\n"),
        ("surrogate\udc80.py", "\udc80\n"),
        ("/a path/with\ttabs and spaces/\u202e.py", "\u202e raise SystemExit(9)\n"),
    ],
)
def test_files_and_lines_of_the_original_stay_comments(tmp_path, filename, line):
    model = written_by("def forward(self, x):\n    return F.relu(self.fc(x)) + 1\n", filename, ["\n", line])
    prepared = prepare_model(model, example_inputs=torch.randn(2, 3))
    loaded = round_trip(prepared, tmp_path)
    assert_equal_models(loaded, prepared, torch.randn(2, 3))
    for file in (tmp_path / "net").glob("*.py"):
        text = file.read_text()
        assert all(character.isprintable() or character == "\n" for character in text)
    assert "SystemExit" not in {getattr(node, "id", "") for node in ast.walk(ast.parse(source(tmp_path)))}


@pytest.mark.parametrize(
    "name",
    "self load nn torch F super object runtime None __init__ Buffer Shared math Sequential TiedState".split(),
)
def test_classes_may_have_names_that_the_source_uses(tmp_path, name):
    inner = type(name, (nn.Module,), {"forward": lambda self, x: x * self.p + torch.sin(x) * math.floor(len(x) / 2)})()
    inner.p = nn.Parameter(torch.rand(3))
    inner.register_buffer("spare", None)
    prepared = prepare_model(nn.Sequential(inner, nn.ReLU()), example_inputs=torch.ones(2, 3), hierarchy="keep")
    assert_equal_models(round_trip(prepared, tmp_path), prepared, torch.randn(2, 3))


@pytest.mark.parametrize("name", ["nn", "len", "input", "super", "type", "getattr", "module_relu", "_", "ünï", "load"])
def test_arguments_may_have_names_that_the_source_uses(tmp_path, name):
    text = f"def forward(self, {name}):\n    return torch.sin(F.relu(self.fc({name}))[..., :2]) + {name}.shape[0]\n"
    prepared = prepare_model(written_by(text, "arguments.py", []), example_inputs=torch.ones(2, 3))
    assert_equal_models(round_trip(prepared, tmp_path), prepared, torch.randn(4, 3))


def test_the_name_that_safetensors_keeps_is_refused(tmp_path):
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self._parameters["__metadata__"] = nn.Parameter(torch.rand(3))

        def forward(self, x):
            return x * self._parameters["__metadata__"]

    prepared = prepare_model(Odd(), example_inputs=torch.ones(3))
    with pytest.raises(UnsupportedError, match="'__metadata__', which safetensors keeps"):
        save_source(prepared, tmp_path / "net")
    assert list(tmp_path.iterdir()) == []


def test_folders_with_odd_names_work(tmp_path):
    prepared = prepare_model(Net().eval(), example_inputs=IMAGE)
    folder = tmp_path / "with space" / "quo'te ünï"
    assert_equal_models(load_source(save_source(prepared, folder)), prepared, IMAGE)


def test_private_names_are_not_mangled(tmp_path):
    prepared = prepare_model(Anything(["__a", "__b"]), example_inputs=torch.randn(1, 3))
    loaded = round_trip(prepared, tmp_path)
    assert_equal_models(loaded, prepared, torch.randn(2, 3))


def test_what_cannot_be_written_is_said_and_leaves_nothing(tmp_path):
    class Local(nn.Module):
        def forward(self, x):
            return x * 2

    model = nn.Sequential(Local(), nn.ReLU())
    prepared = prepare_model(model, [model[0]], example_inputs=torch.randn(2))
    with pytest.raises(UnsupportedError, match=r"'0' runs whole.*Local.*top level of a module"):
        save_source(prepared, tmp_path / "net")
    assert list(tmp_path.iterdir()) == []


def test_a_hook_is_refused(tmp_path):
    prepared = prepare_model(nn.Sequential(nn.Linear(2, 2)), example_inputs=torch.randn(1, 2))
    prepared[0].register_forward_hook(lambda module, args, output: output + 1)
    with pytest.raises(UnsupportedError, match="forward hook"):
        save_source(prepared, tmp_path / "net")


def test_an_edited_graph_comes_back_as_it_was_edited(tmp_path):
    prepared = prepare_model(Net().eval(), example_inputs=IMAGE)
    unchanged = prepared(IMAGE)
    softmax = next(node for node in prepared.graph.nodes if node.target == "module_softmax")
    with prepared.graph.inserting_after(softmax):
        tripled = prepared.graph.call_function(torch.mul, (softmax, 3.0))
    softmax.replace_all_uses_with(tripled, lambda user: user is not tripled)
    prepared.recompile()
    loaded = round_trip(prepared, tmp_path)
    assert_equal_models(loaded, prepared, IMAGE)
    assert torch.equal(loaded(IMAGE), unchanged * 3.0)


def test_targets_that_edit_the_graph_come_back(tmp_path):
    prepared = prepare_model(Net().eval(), example_inputs=IMAGE, target="torch.ao")
    assert_equal_models(round_trip(prepared, tmp_path), prepared, IMAGE)


def test_blocks_that_stay_callable_have_a_class_each(tmp_path):
    prepared = prepare_model(Net().eval(), example_inputs=IMAGE, hierarchy="keep")
    loaded = round_trip(prepared, tmp_path)
    assert_equal_models(loaded, prepared, torch.randn(3, 3, 12, 12))
    text = source(tmp_path)
    assert text.count("class ") == 2
    assert text.count("def forward(self, x") == 2
    assert "self.blocks = nn.Sequential(Block(), Block())" in text
    assert "x = self.blocks(x)" in text
    x = torch.randn(1, 4, 6, 6)
    assert torch.equal(loaded.blocks[1](x), prepared.blocks[1](x))


@pytest.mark.parametrize("option", ["decompose_attention", "layout_modules", "plain_outputs"])
def test_options_come_back(tmp_path, option):
    class Attends(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x):
            x = self.encoder(x)
            return self.attention(x, x, x)[0].transpose(1, 2).relu()

    prepared = prepare_model(Attends().eval(), example_inputs=torch.randn(2, 5, 8), **{option: True})
    assert_equal_models(round_trip(prepared, tmp_path), prepared, torch.randn(3, 6, 8))


def test_other_files_are_not_overwritten(tmp_path):
    prepared = prepare_model(nn.Sequential(nn.Linear(2, 2)), example_inputs=torch.randn(1, 2))
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ArgumentError, match=r"holds 'notes\.txt'"):
        save_source(prepared, tmp_path, overwrite=True)
    save_source(prepared, tmp_path / "net")
    with pytest.raises(ArgumentError, match="overwrite=True"):
        save_source(prepared, tmp_path / "net")
    assert_equal_models(
        load_source(save_source(prepared, tmp_path / "net", overwrite=True)), prepared, torch.ones(1, 2)
    )


def cut(file):
    file.write_bytes(file.read_bytes()[:-5])


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (cut, "no safetensors file, or not all of one"),
        (lambda file: file.write_bytes(b""), "no safetensors file"),
        (lambda file: file.write_bytes(b"\x01"), "no safetensors file"),
        (lambda file: file.write_bytes(b"junk" * 9), "no safetensors file"),
        (lambda file: file.write_bytes(b"\xff" * 8 + b"{}"), "no safetensors file"),
        (lambda file: torch.save({"0.weight": torch.ones(2, 2)}, file), "no safetensors file"),
        (lambda file: file.unlink(), r"FileNotFoundError.*weights\.safetensors"),
        (lambda file: save_file({"a": torch.ones(2)}, file), "hold 'a', which the model does not have"),
        (lambda file: save_file({"0.weight": torch.ones(2, 2)}, file), r"lack '0\.bias'"),
        (
            lambda file: save_file({"0.weight": torch.ones(3, 2)}, file),
            r"'0\.weight' of shape \(3, 2\), the model \(2, 2\)",
        ),
        (lambda file: (file.parent / "model.py").write_text("def ("), r"SyntaxError.*model\.py"),
        (lambda file: (file.parent / "model.py").unlink(), "ModuleNotFoundError"),
        (lambda file: (file.parent / "__init__.py").write_text(""), "no attribute 'load'"),
    ],
)
def test_a_damaged_package_is_refused_and_never_loaded_in_part(tmp_path, damage, said):
    folder = save_source(
        prepare_model(nn.Sequential(nn.Linear(2, 2)), example_inputs=torch.ones(1, 2)), tmp_path / "net"
    )
    damage(folder / "weights.safetensors")
    with pytest.raises(ArgumentError, match=f"net cannot be loaded: .*{said}"):
        load_source(folder)


@pytest.mark.parametrize("folder", [None, 3, "", ["net"]])
def test_a_folder_that_is_no_path(folder):
    prepared = prepare_model(nn.ReLU(), example_inputs=torch.ones(1))
    with pytest.raises(ArgumentError, match="folder must be a path, not "):
        save_source(prepared, folder)
    with pytest.raises(ArgumentError, match="folder must be a path, not "):
        load_source(folder)


def test_a_folder_that_cannot_be_written_is_the_callers_error(tmp_path):
    prepared = prepare_model(nn.ReLU(), example_inputs=torch.ones(1))
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ArgumentError, match="is a file, not a folder"):
        save_source(prepared, tmp_path / "file")
    with pytest.raises(OSError, match="file"):
        save_source(prepared, tmp_path / "file" / "net")
    assert (tmp_path / "file").read_text() == "mine"


def test_what_is_not_prepared_is_refused(tmp_path):
    with pytest.raises(ArgumentError, match="prepare_model returned, not a Linear"):
        save_source(nn.Linear(2, 2), tmp_path / "net")
    with pytest.raises(ArgumentError, match="no package"):
        load_source(tmp_path)


def test_a_model_on_meta_is_written_without_weights(tmp_path):
    prepared = prepare_model(Net().eval().to("meta"))
    with pytest.raises(UnsupportedError, match=r"meta device.*weights=False"):
        save_source(prepared, tmp_path / "net")
    loaded = load_source(save_source(prepared, tmp_path / "net", weights=False))
    assert list(loaded.state_dict()) == list(prepared.state_dict())
    assert loaded(IMAGE).shape == (2, 2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dtypes_come_back(tmp_path, dtype):
    prepared = prepare_model(nn.Sequential(nn.Linear(3, 2), nn.ReLU()).to(dtype))
    loaded = round_trip(prepared, tmp_path)
    assert loaded[0].weight.dtype is dtype
    assert_equal_models(loaded, prepared, torch.rand(2, 3, dtype=dtype))
