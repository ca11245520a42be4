"""Processes of ours for tests: long-running services with a log, and commands that run to their end."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Protocol

from tests.kit.machine import REPOSITORY

STOP_WITHIN_S = 40

PLANTED = "planted-canary"
"""Stands in the prompts, URL queries and idempotency keys of the tests, and may stand in no log of any process."""


class _Running(Protocol):
    """A process that has been started, which is a `subprocess.Popen` or has its methods."""

    @property
    def pid(self) -> int: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, number: int, /) -> None: ...
    def kill(self) -> None: ...


class Process:
    """A process of ours, run as in production: started by its command, ended by a signal, its output kept in a file.

    Can be started again after its end; the file is appended to.
    """

    prefix: tuple[str, ...] = ()
    """Words before Python's own command line, such as `nsenter …`; empty for none."""

    def __init__(self, arguments: list[str], log: Path, **variables: str) -> None:
        self.log = log
        self._arguments, self._variables = arguments, variables
        self._running: _Running | None = None

    def start(self) -> "Process":
        with self.log.open("ab") as log:
            self._running = self._launch(log)
        return self

    def _launch(self, log: IO[bytes]) -> "_Running":
        return subprocess.Popen(
            [*self.prefix, sys.executable, *self._arguments],
            cwd=REPOSITORY,
            env=environment(**self._variables),
            stdout=log,
            stderr=subprocess.STDOUT,
        )

    @property
    def alive(self) -> bool:
        return self._running is not None and self._running.poll() is None

    @property
    def pid(self) -> int:
        assert self._running is not None
        return self._running.pid

    def send(self, number: int) -> None:
        assert self._running is not None
        self._running.send_signal(number)

    def wait(self, within_s: float) -> int:
        """Wait for the process to end by itself, and return its exit code."""
        assert self._running is not None
        return self._running.wait(within_s)

    def run(self, within_s: float) -> int:
        """Run the process to its end, and return its exit code; kill it if it takes longer."""
        self.start()
        try:
            return self.wait(within_s)
        finally:
            if self.alive:
                self.kill()

    def kill(self) -> None:
        assert self._running is not None
        self._running.kill()
        self._running.wait()
        self._check_log()

    def _check_log(self) -> None:
        assert PLANTED not in self.text, "a prompt, a query or a key stands in the log"

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, wait for the end and return the exit code; AssertionError if it has to be killed."""
        assert self._running is not None
        self._running.send_signal(number)
        try:
            code = self._running.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._running.kill()
            self._running.wait()
            raise AssertionError(f"{self._arguments} did not stop:\n{self.text[-2000:]}") from None
        self._check_log()
        return code

    @property
    def text(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The log's JSON lines."""
        return [json.loads(line) for line in self.text.splitlines() if line.startswith("{")]


def completed(*arguments: str, within_s: float, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments to its end, and return its exit code and output."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=REPOSITORY,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=within_s,
        check=False,
    )


def output_of(*arguments: str, within_s: float, **variables: str) -> str:
    """Return what Python prints with these arguments; an exit code other than 0 fails the test with its stderr."""
    done = completed(*arguments, within_s=within_s, **variables)
    assert done.returncode == 0, done.stderr
    return done.stdout


def environment(**variables: str) -> dict[str, str]:
    """Return the environment of a process of ours: `variables`, and the few of this process's that it may inherit."""
    inherited = {
        name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TMPDIR", "TEST_AUTH")
    }
    return {**inherited, "PYTHONUNBUFFERED": "1", **variables}


def cluster_parts(variable: str, value: str) -> dict[str, int]:
    """Return the pids of `rank 0`, `rank 1`, … and `torchrun` (their agent) of the cluster that has this variable."""
    return _parts(lambda folder: environ(folder).get(variable) == value)


def parts_by_log(cluster: Process) -> dict[str, int]:
    """Return the pids as `cluster_parts` does: those whose output goes to the cluster's log."""
    return _parts(lambda folder: (folder / "fd/1").readlink() == cluster.log)


def _parts(is_of_cluster: Callable[[Path], bool]) -> dict[str, int]:
    found: dict[str, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            name = (folder / "comm").read_text().strip()
            if (name == "torchrun" or name.startswith("rank ")) and is_of_cluster(folder):
                found[name] = int(folder.name)
    return found


def environ(folder: Path) -> dict[str, str]:
    """Return the environment of the process with this folder below /proc; empty if the process is gone."""
    try:
        pairs = (folder / "environ").read_text(errors="replace").split("\0") if folder.name.isdigit() else []
    except (FileNotFoundError, PermissionError, ProcessLookupError):
        return {}
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)
