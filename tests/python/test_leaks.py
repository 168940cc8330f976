"""No object of the engine outlives the interpreter: nanobind counts what is left at exit and says so."""

import subprocess
import sys
from pathlib import Path

import pytest

import preparations


def end(name: str, *options: str) -> subprocess.CompletedProcess[str]:
    script = Path(preparations.__file__)
    return subprocess.run([sys.executable, *options, script, name], capture_output=True, text=True, timeout=600)


@pytest.mark.parametrize("name", [function.__name__ for function in preparations.ENDS])
def test_nothing_is_left_when_a_process_ends(name):
    result = end(name)
    assert result.returncode == 0, result.stderr
    assert "nanobind" not in result.stderr
    assert "Exception ignored" not in result.stderr


def test_what_is_left_is_noticed():
    result = end("leaked")
    assert "nanobind: leaked 1 instances" in result.stderr


@pytest.mark.parametrize("name", ["held_by_a_global", "long_chain"])
def test_memory_is_sound(name):
    """Development mode: freed memory is overwritten, and writes beyond a block end the process."""
    result = end(name, "-X", "dev", "-W", "ignore")
    assert result.returncode == 0, result.stderr
    assert "nanobind" not in result.stderr
