"""Processes of ours that are forked from one process which has imported torch, diffusers and the ranks.

`python -m inference.cluster` spends most of its CPU time on imports. A test that does not look at the start of a
process runs the same module as a `Forked` process: its variables, arguments, output and signals are those of a command.

The process from which they are forked is a fork server of the standard library. Each pytest process starts one of its
own at the first use, and it ends with the pytest process. It starts no thread, which a fork would not survive.
"""

import atexit
import gc
import os
import runpy
import subprocess
import sys
import tempfile
from multiprocessing import active_children, forkserver, get_context
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import IO

import pytest

from tests.kit.process import Process, environment

IMPORTED = ["inference.launch", "inference.ranks.agent"]
_context = get_context("forkserver")


class Forked(Process):
    """A process that runs the module of its arguments, `-m MODULE …`, as if Python had been started with them.

    Its entry in /proc shows the environment and the command of the fork server, not its own.
    """

    def __init__(self, arguments: list[str], log: Path, **variables: str) -> None:
        super().__init__(arguments, log, **variables)
        _start_server()  # it imports while the test makes what the process will need

    def _launch(self, log: IO[bytes]) -> "_Child":
        dash_m, *module_and_arguments = self._arguments
        assert dash_m == "-m" and not self.prefix
        variables = environment(**self._variables)
        child = _context.Process(target=_run, args=(module_and_arguments, log.name, variables))
        child.start()
        return _Child(child)


class _Child:
    """A forked process, with the methods of `subprocess.Popen` that `Process` calls."""

    def __init__(self, process: ForkServerProcess) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired(self._process.name, timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()


def _start_server() -> None:
    """Start the fork server, unless it runs, with the variables that the libraries read while they are imported."""
    _context.set_forkserver_preload(IMPORTED)
    with pytest.MonkeyPatch.context() as patch:
        for name in set(os.environ) - set(environment()):
            patch.delenv(name)
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "PYTORCH_NVML_BASED_CUDA_CHECK", "PYTHONUNBUFFERED"):
            patch.setenv(name, "1")
        forkserver.ensure_running()


@atexit.register
def _kill_what_is_left() -> None:
    """Keep the end of pytest from waiting for a process that a failed test has left running."""
    for child in active_children():
        child.kill()


def _run(module_and_arguments: list[str], log: str, variables: dict[str, str]) -> None:
    """Become the process that `python -m` would have made."""
    gc.freeze()
    os.environ.clear()
    os.environ.update(variables)
    tempfile.tempdir = None
    with Path(log).open("ab") as output, Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    sys.argv[1:] = module_and_arguments[1:]
    runpy.run_module(module_and_arguments[0], run_name="__main__", alter_sys=True)
