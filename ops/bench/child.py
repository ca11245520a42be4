"""Runs a module in a process of its own, or as torchrun's ranks, and returns the JSON lines that it prints.

`engine`, `load` and `quality` measure through it, so that each measurement starts in a fresh process.
"""

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
    """Return the lines that begin with `{` of the standard output of the module's processes.

    `threads` is for each process; with `ranks` torchrun starts so many. Standard error is this process's. Ends this
    process if the module fails; raises `subprocess.TimeoutExpired` after `CHILD_S_MAX`.
    """
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
