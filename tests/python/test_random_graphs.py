"""The source generated from random graphs is Python: it compiles, before and after the passes, in every style."""

import subprocess

import pytest

from modulize import _core

COUNT = 400


@pytest.fixture(scope="module")
def texts(build_folder) -> list[str]:
    tool = build_folder / "tests" / "fuzz" / "modulize_random_graphs"
    assert tool.is_file(), f"no {tool}: run ./dev build"
    output = subprocess.run([tool, str(COUNT)], check=True, capture_output=True, text=True).stdout
    return output.split("// ===\n")


def test_random_graphs_are_many_and_differ(texts):
    assert len(texts) == COUNT
    assert len(set(texts)) > COUNT * 0.9
    assert sum(text.count("call_") for text in texts) > COUNT * 10


@pytest.mark.filterwarnings("ignore::SyntaxWarning")  # `1 is not 2`: operands are random too
@pytest.mark.parametrize("target", [None, "torch", "aimet"])
@pytest.mark.parametrize("access", ["attribute", "lookup"])
def test_generated_source_compiles(texts, target, access):
    for text in texts:
        graph = _core.graph_from_text(text)
        if target:
            graph = _core.pipeline(graph, target)
        for lines in (2000, 3):
            source = _core.generate_text(str(graph), access, lines)
            code = compile(source, "<random graph>", "exec")
            assert code.co_names[-1] == "forward", source
