"""The command-line contract of modulize_opt."""

import re
import subprocess

import pytest

DEAD = """\
graph net {
  %x = placeholder x
  %unused: size = call_method size(%x)
  output %x
}
"""
CLEAN = """\
graph net {
  %x = placeholder x
  output %x
}
"""


@pytest.fixture
def opt(modulize_opt):
    def run(*arguments, text=None):
        result = subprocess.run([modulize_opt, *arguments], input=text, capture_output=True, text=True, timeout=60)
        return result.returncode, result.stdout, result.stderr

    return run


def test_without_passes_the_text_comes_back(opt, tmp_path):
    file = tmp_path / "net.mzir"
    file.write_text(DEAD)
    assert opt(file) == (0, DEAD, "")
    assert opt("-", text=DEAD) == (0, DEAD, "")


def test_passes_run_in_the_given_order(opt):
    assert opt("-", "--passes", "dead_code", text=DEAD) == (0, CLEAN, "")
    assert opt("-", "--passes=dead_code,dead_code", "--verify-each", text=DEAD) == (0, CLEAN, "")
    assert opt("-", "--pipeline", "--verify-each", text=DEAD) == (0, CLEAN, "")


def test_print_after_all_shows_each_graph_on_stderr(opt):
    status, out, err = opt("-", "--passes", "dead_code,dead_code", "--print-after-all", text=DEAD)
    assert (status, out) == (0, CLEAN)
    assert err == f"// after dead_code\n{CLEAN}// after dead_code (nothing modified)\n{CLEAN}"


def test_timing_has_one_line_a_pass_on_stderr(opt):
    status, out, err = opt("-", "--passes", "dead_code", "--timing", text=DEAD)
    assert (status, out) == (0, CLEAN)
    assert [line.split()[1:] for line in err.splitlines()] == [["ms", "parse"], ["ms", "dead_code"], ["ms", "print"]]


def test_list_passes_names_every_pass(opt, root):
    status, out, err = opt("--list-passes")
    folder = root / "core" / "passes"
    files = {path.stem for path in folder.glob("*.cpp")} - {path.stem for path in folder.glob("*.h")}
    assert (status, err) == (0, "")
    assert out.splitlines() == sorted(files)
    assert "dead_code" in files
    # The documentation has one row for each, in the order of the pipeline.
    section = (root / "docs" / "architecture.md").read_text().split("\n## Passes\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    pipeline = re.findall(r'^ +"(\w+)",$', (folder / "pipeline.cpp").read_text(), re.MULTILINE)
    assert rows == list(dict.fromkeys(pipeline))
    assert sorted(rows) == sorted(files)


def test_target_chooses_the_classes(opt):
    text = "graph net {\n  %x: tensor = placeholder x\n  %y: tensor = call_method add(%x, %x)\n  output %y\n}\n"
    torch = opt("-", "--pipeline", text=text)
    aimet = opt("-", "--pipeline", "--target", "aimet", text=text)
    assert (torch[0], aimet[0]) == (0, 0)
    assert "modulize.nn.Add" in torch[1]
    assert "aimet" in aimet[1]


def test_a_parse_error_names_file_line_and_column(opt, tmp_path):
    file = tmp_path / "bad.mzir"
    file.write_text(DEAD.replace("size(%x)", "size(%q)"))
    message = "3:36: expected a node defined above, found '%q'\n"
    assert opt(file) == (1, "", f"{file}:{message}")
    assert opt("-", text=file.read_text()) == (1, "", f"<stdin>:{message}")


def test_a_broken_invariant_is_an_error(opt):
    status, out, err = opt("-", text=CLEAN.replace("placeholder x", "call_module conv()"))
    assert (status, out) == (1, "")
    assert err.startswith("<stdin>: invariant 10: the module tree has no module 'conv'")


def test_a_missing_file_is_an_error(opt, tmp_path):
    assert opt(tmp_path / "none.mzir") == (1, "", f"{tmp_path / 'none.mzir'}: cannot read the file\n")
    assert opt(tmp_path)[0] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no file is given"),
        (["-", "-"], "one file at a time: '-' and '-' are given"),
        (["-", "--fast"], "unknown option '--fast'"),
        (["-", "--passes"], "--passes needs a value"),
        (
            ["-", "--passes", "dead_cod"],
            "no pass is called 'dead_cod'; did you mean 'dead_code'? (--list-passes shows them)",
        ),
        (["-", "--passes", "dead_code", "--pipeline"], "--passes and --pipeline exclude each other"),
        (["-", "--timing=yes"], "--timing takes no value"),
    ],
)
def test_wrong_usage_has_status_2_and_shows_the_usage(opt, arguments, message):
    status, out, err = opt(*arguments, text=DEAD)
    assert (status, out) == (2, "")
    assert err.startswith(f"modulize_opt: {message}\n\nusage: modulize_opt FILE|-")


def test_help_describes_every_option(opt):
    status, out, err = opt("--help")
    assert (status, err) == (0, "")
    for option in (
        "--passes",
        "--pipeline",
        "--target",
        "--verify-each",
        "--print-after-all",
        "--timing",
        "--list-passes",
    ):
        assert option in out
