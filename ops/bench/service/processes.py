"""Starts the processes of the benchmark pinned to cores, and reads their CPU time and memory from /proc.

`stack` and `others` start what is measured and what surrounds it; `window` reads the CPU time.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from ops.local.paths import REPOSITORY

STOP_WITHIN_S = 30.0
START_WITHIN_S = 120.0
POLL_S = 0.002
TICK_MS = 1000 / os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")


class Cores(Struct, frozen=True):
    """The cores of this machine as `taskset` reads them.

    `service` is the one core of what is measured and its children, `two` are that and a second, and `rest` are for
    the broker, the state service and the load generator. On a machine with two cores `rest` is the second; with more,
    all but the first two.
    """

    service: str
    two: str
    rest: str
    count: int


def cores_of(available: Sequence[int]) -> Cores:
    """Return how these cores are shared out."""
    rest = available[2:] or available[-1:]
    return Cores(str(available[0]), ",".join(map(str, available[:2])), ",".join(map(str, rest)), len(available))


class Process:
    """A process on certain cores, its output in a file. Whoever starts a process stops it.

    The kernel kills the process if the benchmark dies.
    """

    def __init__(
        self, command: Sequence[str], log: Path, *, cores: str, folder: Path = REPOSITORY, **variables: str
    ) -> None:
        self.log = log
        self._command, self._cores, self._folder, self._variables = command, cores, folder, variables
        self._running: subprocess.Popen[bytes] | None = None

    def start(self) -> "Process":
        """Start the process. Its log is appended to."""
        pinned = ["setpriv", "--pdeathsig", "KILL", "taskset", "-c", self._cores, *self._command]
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        with self.log.open("ab") as log:
            self._running = subprocess.Popen(
                pinned,
                cwd=self._folder,
                env={**inherited, **self._variables},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        return self

    @property
    def pid(self) -> int:
        """Return the process id. Raises `RuntimeError` if the process does not run."""
        if self._running is None or self._running.poll() is not None:
            raise RuntimeError(f"{self._command} does not run; the end of its log:\n{self.text[-2000:]}")
        return self._running.pid

    @property
    def text(self) -> str:
        """Return what the process has written."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def wait_for(self, ready: Callable[[], bool]) -> float:
        """Return the seconds until `ready` returns True. Raises `RuntimeError` if the process ends before."""
        began = time.monotonic()
        while not ready():
            _ = self.pid
            if time.monotonic() - began > START_WITHIN_S:
                raise RuntimeError(f"{self._command} is not ready after {START_WITHIN_S:.0f} s:\n{self.text[-2000:]}")
            time.sleep(POLL_S)
        return time.monotonic() - began

    def wait(self) -> None:
        """Wait for the process to end well. Raises `RuntimeError` if it fails or takes longer than `START_WITHIN_S`."""
        if self._running is None or self._running.wait(START_WITHIN_S):
            raise RuntimeError(f"{self._command} has failed; the end of its log:\n{self.text[-2000:]}")

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End the process if it runs; kill it after `STOP_WITHIN_S`."""
        if self._running is None or self._running.poll() is not None:
            return
        self._running.send_signal(number)
        try:
            self._running.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._running.kill()
            self._running.wait()

    @property
    def cpu_ms(self) -> float:
        """Return the milliseconds of CPU time of the process and all its descendants, those that have ended too."""
        return sum(map(cpu_ms_of, [self.pid, *descendants(self.pid)]))

    @property
    def rss_mib(self) -> float:
        """Return the resident memory of the process alone, in MiB."""
        return memory_mib(self.pid, "status", "VmRSS")

    @property
    def pss_mib(self) -> float:
        """Return the memory of the process and its descendants in MiB, what they share counted once (PSS)."""
        return sum(memory_mib(pid, "smaps_rollup", "Pss") for pid in [self.pid, *descendants(self.pid)])


def cpu_ms_of(pid: int) -> float:
    """Return the CPU time of a process and of the children that it has reaped, in milliseconds; 0 if it is gone.

    Threads that live are read from schedstat, in nanoseconds; stat, in ticks of 10 ms, has threads that have ended too,
    and reaped children.
    """
    own = in_ticks = reaped = 0.0
    with suppress(OSError):
        times = [int(ticks) * TICK_MS for ticks in _stat(pid)[11:15]]
        in_ticks, reaped = sum(times[:2]), sum(times[2:])
        for thread in (PROC / str(pid) / "task").iterdir():
            with suppress(OSError):
                own += int((thread / "schedstat").read_text().split()[0]) / 1e6
    return max(own, in_ticks) + reaped


def descendants(pid: int) -> list[int]:
    """Return the ids of a process's children, their children, and so on."""
    children: dict[int, list[int]] = {}
    for folder in PROC.iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                children.setdefault(int(_stat(int(folder.name))[1]), []).append(int(folder.name))
    found = list(children.get(pid, ()))
    for child in found:  # grows while it is walked
        found += children.get(child, ())
    return found


def memory_mib(pid: int, file: str, field: str) -> float:
    """Return a field in kB of a file of /proc/PID, in MiB; 0 if there is none."""
    with suppress(OSError):
        for line in (PROC / str(pid) / file).read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) / 1024
    return 0.0


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat that follow the command's name: state, parent, and so on."""
    return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
