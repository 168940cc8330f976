"""Two processes over gloo: data-parallel and sharded training, and a checkpoint of the original's."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch.distributed.fsdp", reason="torch 2.6 and later")
SCRIPT = Path(__file__).with_name("distributed_training.py")


@pytest.mark.parametrize("model", ["cnn", "transformer"])
@pytest.mark.parametrize("way", ["ddp", "fsdp", "blocks", "checkpoint"])
def test_two_processes(way, model):
    if model == "transformer":
        pytest.importorskip("transformers")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TRANSFORMERS_VERBOSITY": "error"}
    done = subprocess.run(
        [*launch, str(SCRIPT), way, model], capture_output=True, text=True, timeout=300, env=environment
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert f"{way} {model}: equal" in done.stdout
