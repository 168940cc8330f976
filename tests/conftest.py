"""What all Python tests share."""

import os
import random
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def _seeded():
    """Every test starts from the same random numbers, whatever ran before it."""
    torch.manual_seed(0)
    random.seed(0)


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def build_folder() -> Path:
    """The CMake build of the development tree (MODULIZE_BUILD overrides build/)."""
    folder = Path(os.environ.get("MODULIZE_BUILD", ROOT / "build"))
    assert folder.is_dir(), f"no {folder}: run ./dev build"
    return folder


@pytest.fixture(scope="session")
def modulize_opt(build_folder: Path) -> Path:
    tool = build_folder / "modulize_opt"
    assert tool.is_file(), f"no {tool}: run ./dev build"
    return tool
