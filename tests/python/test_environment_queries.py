"""Questions about the world around forward: one row each of core/ir/environment_queries.def."""

import functools
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from modulize import AssumptionError, prepare_model

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "core" / "ir" / "environment_queries.def"
ROWS = re.findall(r'^ENVIRONMENT_QUERY\("([\w.]+)", (\w+), ', TABLE.read_text(encoding="utf-8"), re.MULTILINE)
X = torch.linspace(-1, 1, 12).reshape(3, 4)


def function_of(question):
    return functools.reduce(getattr, question.split(".")[1:], torch)


def test_the_table_is_read_whole():
    assert len(ROWS) == TABLE.read_text(encoding="utf-8").count("\nENVIRONMENT_QUERY(")
    assert {answer for _, answer in ROWS} == {"truth", "flag", "setting", "dtype"}


def test_nothing_else_spells_a_question():
    names = {name for question, _ in ROWS for name in (question, question.rpartition(".")[2])}
    spelled = re.compile(r'"(' + "|".join(map(re.escape, sorted(names))) + r')"')
    sources = [
        path
        for folder in ("core", "bridge", "python")
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in (".cpp", ".h", ".def", ".py") and path != TABLE
    ]
    assert len(sources) > 200
    found = {str(path.relative_to(ROOT)) for path in sources if spelled.search(path.read_text(encoding="utf-8"))}
    # One saves the mode, the others ask for themselves.
    assert found == {
        "bridge/record/stand_ins.cpp",
        "bridge/world/checkpoint.cpp",
        "python/modulize/_runtime/checks.py",
    }


class Asks(nn.Module):
    def __init__(self, question):
        super().__init__()
        self.question = question

    def forward(self, x):
        return x * 2 if self.question() else x * 3


@pytest.mark.parametrize("question", [name for name, answer in ROWS if answer in ("truth", "flag")])
def test_a_question_whose_answer_decides_stands_in_the_graph(question):
    model = Asks(lambda: function_of(question)())
    prepared = prepare_model(model, example_inputs=X)
    assert question in str(prepared.report.captured)
    assert question in prepared.report.questions
    assert torch.equal(prepared(X), model(X))


class Holds(nn.Module):
    def __init__(self, question):
        super().__init__()
        self.question = question

    def forward(self, x):
        return x * len(str(self.question()))


@pytest.mark.parametrize("question", [name for name, answer in ROWS if answer == "setting"])
def test_a_setting_is_an_assumption(question):
    name = question.rpartition(".")[2]
    model = Holds(lambda: getattr(torch, name)())
    prepared = prepare_model(model, example_inputs=X)
    assert torch.equal(prepared(X), model(X))
    assert any(question in assumption for assumption in prepared.report.assumptions)


def test_a_dtype_is_asked_for_at_every_call():
    model = nn.Module()
    model.forward = lambda x: x.to(torch.get_default_dtype()) * 2
    prepared = prepare_model(model, example_inputs=X)
    torch.set_default_dtype(torch.float64)
    try:
        assert prepared(X).dtype is torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_setting_that_has_changed_is_named():
    model = Holds(lambda: torch.get_float32_matmul_precision())
    prepared = prepare_model(model, example_inputs=X)
    torch.set_float32_matmul_precision("high")
    try:
        with pytest.raises(AssumptionError, match=r"torch\.get_float32_matmul_precision"):
            prepared(X)
    finally:
        torch.set_float32_matmul_precision("highest")


class AsksInTurn(nn.Module):
    """Like the check of a mask in a language model: any of several questions, then a value."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def skips(self, x):
        if torch.compiler.is_exporting() or torch.compiler.is_compiling() or torch.jit.is_tracing():
            return False
        return bool((x > -2).all())

    def forward(self, x):
        y = self.fc(x)
        return y if self.skips(x) else y * (x > -2)


def reasons(prepared):
    return [capture["reason"] for capture in prepared.report.captures]


def test_every_world_is_captured_once():
    model = AsksInTurn().eval()
    prepared = prepare_model(model, example_inputs=X, verify=False)
    found = reasons(prepared)
    assert found.count("first") == 1
    assert found.count("question flipped") == 3
    assert found.count("questions sorted") == 0
    assert found.count("decision flipped") == 1
    assert len(found) == 5
    for x in (X, X * 5):
        assert torch.equal(prepared(x), model(x))
    # In a trace, the mask is always made.
    traced = torch.jit.trace(prepared, (X,))
    assert torch.equal(traced(X * 5), model(X * 5))


class AsksForNothing(nn.Module):
    def forward(self, x):
        if not (torch.jit.is_tracing() or torch.compiler.is_compiling()):
            self.note()
        return x + 1

    def note(self):
        return "an ordinary call"


def test_a_question_whose_answer_changes_nothing_costs_no_further_capture():
    prepared = prepare_model(AsksForNothing(), example_inputs=X, verify=False)
    assert set(reasons(prepared)) == {"first", "question flipped"}
    assert "is_tracing" not in str(prepared.report.captured)
    assert prepared.report.as_dict()["questions"] == []
    assert torch.equal(prepared(X), X + 1)


class AsksAgain(nn.Module):
    def forward(self, x):
        with torch.no_grad():
            y = x * 2 if torch.jit.is_tracing() else x * 3
        return y + (1 if torch.jit.is_tracing() else 2)


def test_what_is_asked_again_has_the_same_answer():
    model = AsksAgain()
    prepared = prepare_model(model, example_inputs=X, verify=False)
    assert reasons(prepared) == ["first", "question flipped"]
    assert torch.equal(prepared(X), X * 3 + 2)
    assert torch.equal(torch.jit.trace(prepared, (X,))(X * 2), X * 4 + 1)
