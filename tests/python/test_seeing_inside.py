"""What a preparation tells of itself: captures in the report, events of MODULIZE_LOG, graphs of MODULIZE_DUMP."""

import logging
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import modulize
from modulize import _core, prepare_model

ROOT = Path(__file__).resolve().parents[2]
LINE = {}  # marks of this file -> "file:line"
for number, text in enumerate(Path(__file__).read_text().splitlines(), 1):
    if mark := re.search(r"# mark (\w+)$", text):
        LINE[mark.group(1)] = f"{__file__}:{number}"


class Decides(nn.Module):
    def forward(self, x):
        if x.sum() > 0:  # mark decision
            x = x * 2
        return x + 1


class Straight(nn.Module):
    def forward(self, x):
        return x.relu() + 1


class KeepsAFunction(nn.Module):
    def forward(self, x):
        return through_numpy(x) + 1


def through_numpy(x):  # mark function
    return torch.from_numpy(x.numpy() * 2)


class Counts(nn.Module):
    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return x * self.calls


class HasModes(nn.Module):
    def forward(self, x):
        return x * 2 if self.training else x + 1


class LooksAtTheDtype(nn.Module):
    def forward(self, x):
        name = str(x.dtype)
        return x + len(name) * 0


class AsksForGradients(nn.Module):
    def forward(self, x):
        return x * 2 if torch.is_grad_enabled() else x + 1


class CallsInKeptCode(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = Decides()

    def forward(self, x):
        for row in x.tolist():
            if row[0] >= 0:
                x = self.inner(x)
        return x


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    """No test is under the settings of the shell, and none leaves a logger as it set it."""
    monkeypatch.delenv("MODULIZE_LOG", raising=False)
    monkeypatch.delenv("MODULIZE_DUMP", raising=False)
    yield
    monkeypatch.delenv("MODULIZE_LOG", raising=False)
    monkeypatch.delenv("MODULIZE_DUMP", raising=False)
    prepare_model(Straight(), example_inputs=torch.ones(2), verify=False)


def captures(model, *, x=None, **options):
    return prepare_model(model.eval(), example_inputs=torch.ones(2, 3) if x is None else x, **options).report.captures


def reasons(model, **options):
    return [capture["reason"] for capture in captures(model, **options)]


# --- the report ------------------------------------------------------------------------------------


def test_a_model_with_one_decision_is_captured_three_times():
    found = captures(Decides())
    assert [(c["reason"], c["detail"]) for c in found] == [
        ("first", ""),
        ("decision flipped", LINE["decision"]),
        ("other size", found[2]["detail"]),
    ]
    assert re.fullmatch(r"(\d+ rows? more)?(, )?(\d+ as \d+)?", found[2]["detail"])
    for capture in found:
        assert (capture["module"], capture["round"], capture["error"]) == ("", 0, "")
        assert capture["nodes"] >= 5
        assert 0 < capture["seconds"] < 60


def test_a_model_that_decides_nothing_is_captured_twice_and_once_unverified():
    assert reasons(Straight()) == ["first", "other size"]
    assert reasons(Straight(), verify=False) == ["first"]
    assert [c["reason"] for c in prepare_model(Straight()).report.captures] == ["first"]


def test_what_is_kept_begins_a_round():
    first, second, *others = captures(KeepsAFunction())
    assert (first["reason"], first["round"]) == ("first", 0)
    assert "numpy" in first["error"]
    assert (second["reason"], second["round"], second["error"]) == ("kept more", 1, "")
    assert "numpy" in second["detail"]
    assert all(c["round"] == 1 for c in others)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (Counts, "state"),
        (HasModes, "other mode"),
        (AsksForGradients, "question flipped"),
        (LooksAtTheDtype, "dtype tried"),
    ],
)
def test_every_kind_of_capture_says_what_it_is_for(model, reason):
    found = reasons(model())
    assert found[0] == "first"
    assert reason in found
    assert reason not in reasons(Straight())


def test_questions_that_are_no_branches_are_sorted_first():
    assert "questions sorted" in reasons(AsksForGradients(), on_dynamic="specialize")
    assert "questions sorted" not in reasons(AsksForGradients())


def test_an_assertion_without_inputs():
    class Asserts(nn.Module):
        def forward(self, x):
            if x.sum() > 0:  # mark assertion
                raise ValueError
            return x + 1

    first, second, *_ = prepare_model(Asserts()).report.captures
    assert first["error"] == "ValueError"
    assert (second["reason"], second["detail"], second["error"]) == (
        "other side of an assertion",
        LINE["assertion"],
        "",
    )


def test_captures_of_modules_that_kept_code_calls_name_the_module():
    found = captures(CallsInKeptCode(), x=torch.tensor([[0.5, 0.1], [0.2, 0.3]]))
    inner = [c for c in found if c["module"] == "inner"]
    assert inner
    assert inner[0]["reason"] == "first"
    assert "decision flipped" in [c["reason"] for c in inner]


def test_a_preparation_that_begins_anew_counts_all_captures(monkeypatch):
    from modulize._prepare import attempts

    real, calls = attempts.verify_outputs, []

    def refuse_once(*args, **kwargs):
        calls.append(args)
        if len(calls) == 1:
            raise _core.VerificationError("they differ")
        return real(*args, **kwargs)

    monkeypatch.setattr(attempts, "verify_outputs", refuse_once)
    found = captures(Straight())
    assert [c["reason"] for c in found[:3]] == ["first", "other size", "kept more"]
    assert "they differ" in found[2]["detail"]


def test_all_reasons_that_are_given_are_in_the_table():
    known = [reason for reason, _ in _core.capture_reasons()]
    assert len(set(known)) == len(known)
    for model in (Decides, KeepsAFunction, Counts, HasModes, AsksForGradients, LooksAtTheDtype):
        assert set(reasons(model())) <= set(known)


def test_the_text_has_one_line_of_captures():
    report = prepare_model(Decides().eval(), example_inputs=torch.ones(2, 3)).report
    lines = [line for line in str(report).splitlines() if line.startswith("captured 3 times")]
    assert len(lines) == 1
    assert re.fullmatch(r"captured 3 times in \d+\.\d{3} s: first, decision flipped, other size", lines[0])
    assert report.as_dict()["captures"] == report.captures
    once = prepare_model(Straight(), example_inputs=torch.ones(2), verify=False).report
    assert "captured once in " in str(once)


def test_reports_from_before_have_no_captures():
    report = prepare_model(Straight(), example_inputs=torch.ones(2)).report
    state = report.__getstate__()
    del state["captures"]
    old = modulize.Report.__new__(modulize.Report)
    old.__setstate__(state)
    assert old.captures == []
    assert old.as_dict()["captures"] == []
    assert "captured once" not in str(old)
    assert pickle.loads(pickle.dumps(report)).captures == report.captures


# --- MODULIZE_LOG ----------------------------------------------------------------------------------


def events(caplog, category):
    return [r.getMessage() for r in caplog.records if r.name == f"modulize.{category}"]


def test_captures_are_told_with_round_reason_place_and_cost(monkeypatch, caplog):
    monkeypatch.setenv("MODULIZE_LOG", "capture")
    found = captures(Decides())
    told = events(caplog, "capture")
    assert len(told) == len(found) == 3
    for line, capture in zip(told, found):
        detail = f": {capture['detail']}" if capture["detail"] else ""
        expected = f"round 0: {capture['reason']}{detail}: {capture['nodes']} nodes, "
        assert line.startswith(expected)
        assert re.fullmatch(r"\d+\.\d ms", line[len(expected) :])
    assert {r.levelno for r in caplog.records} == {logging.DEBUG}
    assert {r.name for r in caplog.records} == {"modulize.capture"}


def test_what_ended_a_capture_is_told(monkeypatch, caplog):
    monkeypatch.setenv("MODULIZE_LOG", "capture,keep")
    captures(KeepsAFunction())
    assert re.match(r"round 0: first: ended after \d+ nodes by .*numpy", events(caplog, "capture")[0])
    assert events(caplog, "capture")[1].startswith("round 1: kept more: ")
    (kept,) = events(caplog, "keep")
    assert kept.startswith("round 0: ")
    assert kept.endswith(f" at {LINE['function']}: function 'through_numpy' is kept whole")


def test_decisions_are_told(monkeypatch, caplog):
    monkeypatch.setenv("MODULIZE_LOG", "explore")
    captures(Decides())
    assert events(caplog, "explore") == [
        "round 0: decisions on values, 1 of them: every combination is captured",
        "round 0: other sides, 1 and 0 that raise: merged",
    ]


def test_checks_and_those_that_are_not_needed_are_told(monkeypatch, caplog):
    class FreezesTheSize(nn.Module):
        def forward(self, x):
            text = str(x.shape[1])
            return x + len(text)

    monkeypatch.setenv("MODULIZE_LOG", "guards")
    prepared = prepare_model(AsksForGradients(), example_inputs=torch.ones(2, 3))
    assert "torch.is_grad_enabled: its answer decides" in events(caplog, "guards")
    assert prepared.report.questions == ["torch.is_grad_enabled"]
    caplog.clear()
    prepared = prepare_model(FreezesTheSize(), example_inputs=torch.ones(2, 12), verify=False)
    assert prepared.report.assumptions
    assert events(caplog, "guards") == [f"checked: {text}" for text in prepared.report.assumptions]


def test_passes_are_told_in_the_order_of_the_pipeline(monkeypatch, caplog):
    monkeypatch.setenv("MODULIZE_LOG", "passes")
    captures(Straight())
    told = [re.fullmatch(r"(\w+): (changed, now \d+ nodes|the same), \d+\.\d ms", e) for e in events(caplog, "passes")]
    assert all(told)
    names = [match.group(1) for match in told]
    assert names[:3] == ["kept_calls_to_modules", "name_as_torch_fx", "dead_code"]
    assert names[-1] == "outline_branches"
    assert set(names) <= set(_core.pass_names())
    changed = {match.group(1) for match in told if match.group(2) != "the same"}
    assert {"functional_to_module", "elementwise_to_module"} <= changed
    assert "outline_branches" not in changed


def test_nothing_is_told_unasked(caplog):
    with caplog.at_level(logging.INFO):
        captures(Decides())
    assert caplog.records == []


def test_a_logger_that_the_program_opens_is_told_without_the_variable(caplog):
    with caplog.at_level(logging.DEBUG, logger="modulize.passes"):
        captures(Straight())
    assert events(caplog, "passes")
    assert {r.name for r in caplog.records} == {"modulize.passes"}


def test_the_variable_is_read_at_every_preparation(monkeypatch, caplog):
    monkeypatch.setenv("MODULIZE_LOG", " capture , ")
    captures(Straight(), verify=False)
    assert len(caplog.records) == 1
    monkeypatch.setenv("MODULIZE_LOG", "")
    captures(Straight(), verify=False)
    assert len(caplog.records) == 1


def test_an_unknown_category_lists_those_there_are(monkeypatch):
    monkeypatch.setenv("MODULIZE_LOG", "capture,captures")
    with pytest.raises(modulize.ArgumentError, match=r"'captures'.*: capture, explore, keep, guards, passes$"):
        captures(Straight())


def run(code, **variables):
    environment = {**os.environ, **variables}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=120
    )


SCRIPT = """
import torch, modulize
modulize.prepare_model(torch.nn.ReLU(), example_inputs=torch.ones(2), verify=False)
"""


def test_events_go_to_stderr_and_to_the_program_s_own_handlers():
    alone = run(SCRIPT, MODULIZE_LOG="capture")
    assert alone.stdout == ""
    (line,) = [line for line in alone.stderr.splitlines() if "modulize" in line]
    assert re.fullmatch(r"\[modulize\.capture\] round 0: first: \d+ nodes, \d+\.\d ms", line)
    own = "import logging\nlogging.basicConfig(format='own %(message)s')" + SCRIPT
    with_own = run(own, MODULIZE_LOG="capture")
    (line,) = [line for line in with_own.stderr.splitlines() if "round 0" in line]
    assert line.startswith("own round 0: first: ")
    assert "modulize" not in run(SCRIPT).stderr


# --- MODULIZE_DUMP ---------------------------------------------------------------------------------


def test_every_capture_and_every_pass_is_written_and_reads_back(monkeypatch, tmp_path):
    monkeypatch.setenv("MODULIZE_DUMP", str(tmp_path / "dump"))
    report = prepare_model(Decides().eval(), example_inputs=torch.ones(2, 3)).report
    files = sorted((tmp_path / "dump" / "001").iterdir())
    names = [file.name for file in files]
    assert names[:4] == [
        "001_capture_first.mzir",
        "002_capture_decision_flipped.mzir",
        "003_capture_other_size.mzir",
        "004_captured.mzir",
    ]
    assert names[4] == "005_pass_kept_calls_to_modules.mzir"
    assert names[-1].endswith("_pass_outline_branches.mzir")
    assert len({name[:3] for name in names}) == len(names)
    for file in files:
        text = file.read_text()
        assert text.startswith("// ")
        assert str(_core.Graph(text)) == text.partition("\n")[2]
    assert files[1].read_text().startswith(f"// decision flipped: {LINE['decision']}; round 0\n")
    assert str(_core.Graph(files[3].read_text())) == report.captured
    assert str(_core.Graph(files[-1].read_text())) == report.shipped


def test_a_capture_that_ended_early_leaves_what_it_has(monkeypatch, tmp_path):
    monkeypatch.setenv("MODULIZE_DUMP", str(tmp_path))
    captures(KeepsAFunction())
    text = (tmp_path / "001" / "001_capture_first.partial.txt").read_text()
    assert re.match(r"// first; round 0\n// ended by .*numpy.*\ngraph net \{\n", text)
    assert "%x" in text


def test_files_of_inner_modules_carry_their_path(monkeypatch, tmp_path):
    monkeypatch.setenv("MODULIZE_DUMP", str(tmp_path))
    captures(CallsInKeptCode(), x=torch.tensor([[0.5, 0.1], [0.2, 0.3]]))
    names = [file.name for file in (tmp_path / "001").iterdir()]
    assert [name for name in names if name.endswith("_capture_first_of_inner.mzir")]
    assert [name for name in names if name.endswith("_pass_dead_code_of_inner.mzir")]


def test_every_preparation_has_a_folder_of_its_own(monkeypatch, tmp_path):
    monkeypatch.setenv("MODULIZE_DUMP", str(tmp_path))
    captures(Straight())
    captures(Straight())
    assert sorted(folder.name for folder in tmp_path.iterdir()) == ["001", "002"]


def test_a_folder_that_cannot_be_made_is_said(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MODULIZE_DUMP", str(tmp_path / "file" / "inside"))
    with pytest.raises(modulize.ArgumentError, match=r"MODULIZE_DUMP names .*inside"):
        captures(Straight())


def test_nothing_is_written_unasked(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODULIZE_DUMP", "")
    captures(Straight())
    assert list(tmp_path.iterdir()) == []


# --- the documentation -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "form"), [("log_categories", "| `{}` | {} |"), ("capture_reasons", "| {} | {} |")], ids=str
)
def test_the_tables_of_the_documentation_are_the_engine_s(rows, form):
    page = (ROOT / "docs" / "seeing_inside.md").read_text()
    expected = "\n".join(form.format(*row) for row in getattr(_core, rows)())
    assert f"|---|---|\n{expected}\n\n" in page


class ReadsNumbers(nn.Module):
    def __init__(self, index):
        super().__init__()
        self.fc, self.index = nn.Linear(3, 3), index

    def forward(self, x):
        return self.fc(x) * float(x.detach().numpy().mean() + self.index)


class Other(nn.Module):
    def forward(self, x):
        return x.relu() + 1


def test_layers_that_are_alike_are_kept_together():
    model = nn.Sequential(*[layer for index in range(12) for layer in (ReadsNumbers(index), Other())]).eval()
    prepared = prepare_model(model, example_inputs=torch.ones(2, 3))
    rounds = [c["round"] for c in prepared.report.captures if not c["module"]]
    assert max(rounds) == 3
    assert len(prepared.report.kept) == 12
    x = torch.randn(4, 3)
    assert torch.equal(prepared(x), model(x))
