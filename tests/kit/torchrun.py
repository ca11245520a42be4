"""Real ranks for a test: `python -m tests.kit.torchrun MODULE RANKS CHECKPOINT FOLDER` runs the module's `main`.

torchrun's own agent, itself forked, forks the ranks: imports take longer than most tests.
"""

import importlib
import sys
import uuid
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from tests.kit.forked import Forked

TORCHRUN_S = 500


def run_ranks(module: str, ranks: int, checkpoint: Path, folder: Path) -> list[dict[str, torch.Tensor]]:
    """Run `main(checkpoint, folder)` of the module on each rank; return the tensors each rank saved there."""
    arguments = ["-m", __name__, module, str(ranks), str(checkpoint), str(folder)]
    agent = Forked(arguments, folder / "log", OMP_NUM_THREADS="1", TMPDIR=str(folder))
    assert agent.run(within_s=TORCHRUN_S) == 0, agent.text
    return [load_file(folder / f"{rank}") for rank in range(ranks)]


def main(module: str, ranks: int, checkpoint: Path, folder: Path) -> None:
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=ranks,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",
        start_method="fork",
        max_restarts=0,
    )
    elastic_launch(config, importlib.import_module(module).main)(checkpoint, folder)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]))
