"""Runs a script on real torchrun ranks."""

import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from tests.conftest import REPOSITORY, environment

TORCHRUN_S = 500


def run_ranks(script: Path, ranks: int, checkpoint: Path, folder: Path) -> list[dict[str, torch.Tensor]]:
    """What each rank left behind in the folder."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    done = subprocess.run(
        [*command, str(script), str(checkpoint), str(folder)],
        cwd=REPOSITORY,
        env=environment(OMP_NUM_THREADS="1", TMPDIR=str(folder)),
        capture_output=True,
        text=True,
        timeout=TORCHRUN_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [load_file(folder / f"{rank}") for rank in range(ranks)]
