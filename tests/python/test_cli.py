"""The command line: what it writes and prints, and its exit codes."""

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from typer.testing import CliRunner

import modulize
from modulize import load_source, prepare_model
from modulize.cli.commands import app

NET = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, width=4, act="relu"):
        super().__init__()
        self.fc1 = nn.Linear(3, width)
        self.fc2 = nn.Linear(width, 2)
        self.act = getattr(torch, act)

    def forward(self, x, scale=None):
        x = self.fc2(self.act(self.fc1(x)))
        return x if scale is None else x * scale


class Straight(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.round() * 2

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class Escapes(nn.Module):
    def forward(self, x):
        return Straight.apply(x) + 1


ready = Net()
number = 3


def broken():
    raise KeyError("no such\\nthing")


def batch():
    return torch.ones(2, 3)


def keywords():
    return {"x": torch.ones(2, 3), "scale": torch.ones(1)}
"""


@pytest.fixture
def net(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "cli_net.py"
    file.write_text(NET)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield str(file)
    sys.modules.pop("cli_net", None)


def run(*arguments, code=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output + repr(result.exception)
    return result


def test_prepare_writes_source_page_and_report(net, tmp_path):
    out = tmp_path / "out folder"
    result = run("prepare", f"{net}:Net", "-i", "2x3", "-o", out)
    assert "Converted" in result.stdout
    assert sorted(file.name for file in out.iterdir()) == ["model", "report.html", "report.json"]
    assert json.loads((out / "report.json").read_text())["share"] == 1.0
    loaded = load_source(out / "model")
    assert type(loaded.module_relu) is nn.ReLU
    assert loaded(torch.ones(5, 3)).shape == (5, 2)


def test_prepare_replaces_only_when_told(net, tmp_path):
    run("prepare", f"{net}:Net", "-i", "2x3", "-o", tmp_path / "out", "-q")
    result = run("prepare", f"{net}:Net", "-i", "2x3", "-o", tmp_path / "out", "-q", code=3)
    assert "--force replaces it" in result.stderr
    result = run("prepare", f"{net}:Net", "-i", "2x3", "-o", tmp_path / "out", "-q", "--force")
    assert result.output == ""


def test_json_is_all_that_stdout_has(net, tmp_path):
    data = json.loads(run("prepare", f"{net}:Net", "-i", "2x3", "-o", tmp_path / "out", "--json").stdout)
    assert data["ok"] is True
    assert data["report"]["capture"] == "running"
    data = json.loads(run("report", f"{net}:Net", "--json").stdout)
    assert data["capture"] == "symbolic"
    data = json.loads(run("report", f"{net}:missing", "--json", code=3).stdout)
    assert data["error"] == {"type": "ArgumentError", "message": f"{net} has no 'missing'"}


def test_arguments_weights_and_keyword_inputs(net, tmp_path):
    from cli_net_source import Net  # the same file, imported by its own name

    model = Net(width=7)
    save_file(model.state_dict(), tmp_path / "net.safetensors")
    torch.save({"state_dict": model.state_dict()}, tmp_path / "net.pt")
    for weights in ("net.safetensors", "net.pt"):
        out = tmp_path / weights.replace(".", "_")
        source = (f"{net}:Net", "-a", "width=7", "-a", "act=tanh", "-w", weights)
        run("prepare", *source, "-i", "x=2x3", "-i", "scale=1:float32", "-o", out, "-q")
        loaded = load_source(out / "model")
        assert torch.equal(loaded.fc1.weight, model.fc1.weight)
        assert type(loaded.module_tanh) is nn.Tanh
        x = torch.ones(4, 3)
        expected = model.fc2(torch.tanh(model.fc1(x))) * 3
        assert torch.equal(loaded(x, scale=torch.tensor([3.0])), expected)


@pytest.fixture(autouse=True)
def _importable(tmp_path, monkeypatch):
    (tmp_path / "cli_net_source.py").write_text(NET)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("cli_net_source", None)


def test_a_checkpoint_with_code_is_not_executed(net, tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "owned"), "w"))

    torch.save({"fc1.weight": Evil()}, tmp_path / "evil.pt")
    result = run("report", f"{net}:Net", "-w", "evil.pt", code=3)
    assert "weights alone: it holds io.open; write it anew by torch.save(model.state_dict(), ...)" in result.stderr
    assert not (tmp_path / "owned").exists()


def test_a_constructor_that_raises_is_named(net):
    result = run("report", f"{net}:Net", "-a", "nonsense=3", code=3)
    assert "Net(nonsense=3) raises TypeError" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(("inputs", "scaled"), [("batch", False), ("keywords", True)])
def test_inputs_of_a_function(net, inputs, scaled):
    data = json.loads(run("report", f"{net}:Net", "--inputs", f"{net}:{inputs}", "--json").stdout)
    assert any(c["to"] == "modulize.nn.Multiply" for c in data["conversions"]) is scaled


def test_a_model_that_is_there_is_taken_as_it_is(net):
    assert json.loads(run("report", f"{net}:ready", "--json").stdout)["share"] == 1.0


def test_check_says_yes_and_no_by_its_exit_code(net):
    data = json.loads(run("check", f"{net}:Net", "-i", "2x3", "--json").stdout)
    assert data["ok"] is True
    assert data["before"]["ok"] is False
    assert {entry["result"] for entry in data["comparisons"]} == {"equal"}
    text = run("check", f"{net}:Net", "-i", "2x3").stdout
    assert text.index("error: functional") < text.index("after preparing") < text.index("eval  example")
    result = run("check", f"{net}:Escapes", "-i", "3x3", code=1)
    assert "Straight" in result.stdout


def test_report_writes_the_page(net, tmp_path):
    result = run("report", f"{net}:Net", "-i", "2x3", "--html", tmp_path / "page.html", "--compare")
    assert "<!doctype html>" in (tmp_path / "page.html").read_text()
    assert "another batch size" in result.stdout


def test_opt_runs_passes(tmp_path):
    prepared = prepare_model(nn.Sequential(nn.Linear(2, 2)), example_inputs=torch.ones(1, 2))
    text = "graph net {\n  %x = placeholder x\n  %y = call_function torch.relu(%x)\n  output %y\n}\n"
    (tmp_path / "net.mzir").write_text(text)
    assert "module module_relu = torch.nn.ReLU() for relu" in run("opt", tmp_path / "net.mzir").stdout
    assert run("opt", tmp_path / "net.mzir", "--passes", "dead_code").stdout == text
    assert "dead_code" in run("opt", "--list-passes").stdout.split("\n")
    assert "there is no pass 'nope'" in run("opt", tmp_path / "net.mzir", "--passes", "nope", code=2).stderr
    (tmp_path / "net.mzir").write_text(prepared.report.captured)
    assert run("opt", tmp_path / "net.mzir").stdout == prepared.report.shipped
    (tmp_path / "net.mzir").write_text("graph {")
    assert "1:" in run("opt", tmp_path / "net.mzir", code=3).stderr


def test_doctor_prepares_a_small_model():
    data = json.loads(run("doctor", "--json").stdout)
    assert data["ok"] is True
    assert data["torch"] == torch.__version__
    assert "a model can be prepared" in run("doctor").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("no_such_module_here:x",), "no_such_module_here is neither installed nor in this folder"),
        (("torch.nothing:x",), "there is no module 'torch.nothing'"),
        (("missing.py:Net",), "there is no file missing.py"),
        (("cli_net_source:number",), "neither a model nor a callable"),
        (("cli_net_source:batch",), "gives a Tensor, not a torch.nn.Module"),
        (("cli_net_source:broken",), "KeyError"),
        (("cli_net_source:Net", "-w", "none.pt"), "there is no file none.pt"),
        (("cli_net_source:Net", "--html", "no/such/page.html"), "there is no folder no/such"),
        (("cli_net_source:ready", "-a", "width=3"), "a model already"),
        (("cli_net_source:Net", "-i", "2x4"), "cli_net_source.py:14: mat1 and mat2"),
    ],
)
def test_what_goes_wrong_is_one_message(arguments, message):
    result = run("report", *arguments, code=3)
    assert message in " ".join(result.stderr.split())
    assert "Traceback" not in result.output


def test_weights_that_do_not_fit_are_said(tmp_path, net):
    save_file({"other": torch.ones(1)}, tmp_path / "other.safetensors")
    assert "does not fit the model" in run("report", f"{net}:Net", "-w", "other.safetensors", code=3).stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nocolon",), "is no reference"),
        (("cli_net_source:Net", "-i", "2by3"), "write 1x3x224x224"),
        (("cli_net_source:Net", "-i", "2x3:float33"), "torch has no dtype 'float33'"),
        (("cli_net_source:Net", "-i", "2x3", "--inputs", "cli_net_source:batch"), "not both"),
        (("cli_net_source:Net", "-a", "width"), "name=value"),
    ],
)
def test_what_cannot_be_read_is_wrong_usage(arguments, message):
    assert message in run("report", *arguments, code=2).stderr


def test_what_cannot_be_written_is_said_without_a_line_of_python(net, tmp_path):
    (tmp_path / "file").write_text("")
    text = run("prepare", f"{net}:Net", "-o", "file/out", code=3).stderr
    assert "NotADirectoryError: " in text
    assert "pathlib" not in text


def test_wrong_usage_is_exit_code_2():
    run("prepare", "x:y", code=2)  # no --out
    run("report", "x:y", "--target", "nothing", code=2)
    run("no-such-command", code=2)


@pytest.mark.parametrize("command", ["prepare", "check", "report", "opt"])
def test_help_has_examples(command):
    text = run(command, "--help").stdout
    assert f"modulize {command} " in text
    assert "Examples" in text


def test_prepare_compares_where_asked(net, tmp_path):
    out = tmp_path / "out"
    data = json.loads(run("prepare", f"{net}:Net", "-i", "2x3", "-o", out, "--compare", "--json").stdout)
    runs = data["report"]["comparisons"]
    assert [(run["mode"], run["result"]) for run in runs] == [("eval", "equal")] * 3 + [("train", "equal")] * 3
    assert "another batch size" in (out / "report.html").read_text()


@pytest.mark.parametrize("name", ["torch", "json", "sys"])
def test_a_file_hides_no_module(tmp_path, name):
    (tmp_path / f"{name}.py").write_text(NET)
    before = sys.modules[name]
    result = run("report", f"{tmp_path / name}.py:Net", code=3)
    assert f"has the name of the module {name}, which is loaded already: rename the file" in result.stderr
    assert sys.modules[name] is before


@pytest.mark.parametrize("name", ["net's", "a b", "my.net", "class", "ünï", "(red)x", "-x", "%s {x}"])
def test_files_may_have_any_other_name(tmp_path, monkeypatch, name):
    monkeypatch.setattr(sys, "path", [*sys.path])
    file = tmp_path / f"{name}.py"
    file.write_text(NET)
    run("prepare", f"{file}:Net", "-i", "2x3", "-o", tmp_path / name, "-q")
    assert load_source(tmp_path / name / "model")(torch.ones(5, 3)).shape == (5, 2)
    assert (tmp_path / name / "report.html").stat().st_size > 20_000
    sys.modules.pop(name.replace(".", "-"))


def test_lines_are_not_cut_to_the_width_of_a_terminal(net):
    lines = run("check", f"{net}:Escapes", "-i", "3x3", code=1).stdout.split("\n")
    assert any("error: functional" in line and line.endswith(f"{net}:30") for line in lines), lines


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize(
    ("words", "found"), [("modulize pre", "prepare"), ("modulize prepare x --target bre", "brevitas")]
)
def test_shells_complete_commands_and_targets(shell, words, found):
    asked = {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1), "_TYPER_COMPLETE_ARGS": words}
    environment = {
        **os.environ,
        **asked,
        "_MODULIZE_COMPLETE": f"complete_{shell}",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    code = "from modulize.cli import main; main()"
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert found in result.stdout
    assert "check" not in result.stdout


def test_completion_and_module_are_there():
    assert "--install-completion" in run("--help").stdout
    version = subprocess.run(
        [sys.executable, "-m", "modulize", "--version"], capture_output=True, text=True, check=True, timeout=120
    )
    assert version.stdout.strip() == modulize.__version__


def test_without_typer_the_message_names_the_extra():
    code = "import sys; sys.modules['typer'] = None; from modulize.cli import main; main()"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert result.returncode == 3
    assert "pip install 'modulize[cli]'" in result.stderr


@pytest.mark.parametrize(
    ("package", "extra", "action"),
    [
        ("safetensors", "export", "modulize.save_source(prepared, 'net')"),
        ("numpy", "export", "modulize.save_source(prepared, 'net')"),
        ("fast_sugiyama", "report", "prepared.report.save_html('net.html')"),
        ("rich", "report", "list(prepared.report.__rich_console__(None, None))"),
        ("safetensors", "export", "main(['report', 'net.py:Net', '-w', 'net.safetensors'])"),
        ("fast_sugiyama", "report", "main(['report', 'net.py:Net', '-i', '2x3', '--html', 'net.html'])"),
        ("rich", "cli", "main(['doctor'])"),
        ("typer", "cli", "main(['doctor'])"),
    ],
)
def test_what_is_missing_is_named_in_one_line(tmp_path, package, extra, action):
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "net.safetensors").write_bytes(b"")
    # As if it were not installed: found by no finder.
    code = (
        "import sys, importlib.abc\n"
        "class Hides(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] == {package!r}: raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Hides())\n"
        "import torch, modulize, modulize.cli\n"
        "def main(arguments):\n"
        "    sys.argv[1:] = arguments\n"
        "    modulize.cli.main()\n"
        "prepared = modulize.prepare_model(torch.nn.Linear(3, 2), example_inputs=torch.ones(1, 3))\n"
        f"{action}\n"
    )
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == (3 if action.startswith("main") else 1)
    # Without numpy, torch keeps what is alive at exit, and the development build says so.
    lines = result.stderr.partition("nanobind: leaked")[0].strip().split("\n")
    said = f"this needs the package {package}, which is not installed: pip install 'modulize[{extra}]'"
    assert lines[-1].endswith(said)
    assert len(lines) == 1 or not action.startswith("main")
    assert not [name for name in ("net", "net.html") if (tmp_path / name).exists()]


def test_the_package_itself_imports_no_extra():
    code = (
        "import sys\n"
        "for name in ('rich', 'typer', 'click', 'safetensors', 'fast_sugiyama'): sys.modules[name] = None\n"
        "import torch, modulize\n"
        "p = modulize.prepare_model(torch.nn.ReLU(), example_inputs=torch.ones(1))\n"
        "p.report.to_json(), p.report._repr_html_(), str(p.report), modulize.validate_model(p)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
