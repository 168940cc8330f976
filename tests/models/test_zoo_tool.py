"""./dev zoo outlives the models that crash or hang."""

import pytest

from measure import without_folders
from zoo import Worker, document, line_of, work


@pytest.fixture
def worker():
    made = Worker(work, False)
    yield made
    made.close()


def test_a_process_that_ends_costs_its_own_question_alone(worker):
    assert worker.ask(("no_such_library", None), 120) == "the process ended with 1"
    names = worker.ask(("ultralytics", None), 120)
    assert isinstance(names, list)
    assert "yolov8n" in names


def test_a_model_that_takes_too_long_is_given_up(worker):
    assert isinstance(worker.ask(("ultralytics", None), 120), list)
    assert worker.ask(("ultralytics", "yolov8n"), 0.01) == "no answer within 0 s"


def test_a_row_says_all_that_was_found(worker):
    row = worker.ask(("transformers", "vit"), 120)
    assert (row["prepared"], row["example"], row["values"], row["batch"]) == (True, "yes", "yes", "yes")
    assert row["size"] == "-"  # the original takes no other
    assert row["share"] == 1.0
    assert row["modules"] > 20
    assert "vit " in line_of(row)
    table = document([row])
    assert "| vit | yes | yes | yes | - |" in table
    assert "1 of 1 prepared" in table


def test_messages_name_no_folder_of_the_machine():
    text = "decision at /home/me/v/lib/python3.11/site-packages/timm/models/vit.py:7"
    assert without_folders({"a": [text, 1]}) == {"a": ["decision at timm/models/vit.py:7", 1]}
    assert (
        without_folders("frozen at /home/me/tests/models/measure.py:161: in") == "frozen at models/measure.py:161: in"
    )
