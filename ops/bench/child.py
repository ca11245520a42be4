"""Runs a module in processes of its own, alone or as torchrun's ranks, and gives back what it prints."""

import os
import subprocess
import sys

CHILD_S_MAX = 4 * 3600
QUIET = {
    "DIFFUSERS_VERBOSITY": "error",
    "TRANSFORMERS_VERBOSITY": "error",
    "PYTHONWARNINGS": "ignore",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
}


def json_lines(module: str, *arguments: str, threads: int, ranks: int | None = None) -> list[str]:
    """The JSON objects that its processes print, a line each; their complaints go where ours go. Exits if it fails."""
    torchrun = ["torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}", "-m"]
    done = subprocess.run(
        [sys.executable, "-m", *([] if ranks is None else torchrun), module, *arguments],
        env={**os.environ, **QUIET, "OMP_NUM_THREADS": str(threads)},
        stdout=subprocess.PIPE,
        text=True,
        timeout=CHILD_S_MAX,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{module} ended with {done.returncode}")
    return [line for line in done.stdout.splitlines() if line.startswith("{")]
