"""Waits until a stack that is starting could take and run a job. `supervisor` calls `wait_until_ready`.

A stack is ready once the edge answers `/readyz` with 200 and `/health` shows a cluster of this run. The wait ends early
if a process ends, and otherwise if the process waited for makes no progress for `ready_within_s`.
"""

import subprocess
import time
from collections.abc import Callable
from http import HTTPStatus
from http.client import HTTPException

import msgspec
from msgspec import Struct

from contracts.process.start import left
from ops.local.http import ask
from ops.local.last_line import last_line, readable
from ops.local.paths import short
from ops.local.stack import CannotStart, Stack
from ops.local.supervisor_client import processes
from ops.local.work import work

POLL_S = 0.25
TAIL_LINES = 20
LINE_EVERY_S = 5.0
WORK_EVERY_S = 10.0
WORK_SHARE_MIN = 0.05  # of one core; a rank that waits for another takes less

Say = Callable[[str], None]


class Missing(Struct, frozen=True):
    """The thing that the stack still waits for, and the name of the process whose log says why."""

    what: str
    process: str


class StallDetector:
    """Tells a start that takes long from one that hangs: a process that loads a large model computes or reads.

    One detector serves one start. It compares the `work` of the process between measurements.
    """

    def __init__(self, within_s: float) -> None:
        self._within_s = within_s
        self._last = self._measured_at = time.monotonic()
        self._pid, self._work = 0, 0.0

    def stalled(self, pid: int) -> bool:
        """Return whether the process has done next to nothing for `within_s` seconds; a pid of 0 stands for no process.

        Call it again and again: the time runs from the last measurement with enough work, at first from the
        construction.
        """
        now = time.monotonic()
        if pid and now - self._measured_at >= min(WORK_EVERY_S, self._within_s / 2):
            done = work(pid)
            if pid == self._pid and done - self._work >= WORK_SHARE_MIN * (now - self._measured_at):
                self._last = now
            self._pid, self._work, self._measured_at = pid, done, now
        return now - self._last > self._within_s


class _StartReport:
    """Prints how a start goes: each new thing waited for, and every `LINE_EVERY_S` the last line of its log."""

    def __init__(self, stack: Stack, say: Say) -> None:
        self._stack, self._say = stack, say
        self._began = time.time()
        self._what = self._line = ""
        self._line_at = 0.0
        self._earlier_bytes = {file.stem: file.stat().st_size for file in stack.logs.glob("*.log")}

    def show(self, missing: Missing) -> None:
        """Print the missing thing if it is a new one, and the last line of its log if it is due and has changed."""
        now = time.time()
        if missing.what != self._what:
            self.say(f"waiting for {missing.what}")
            self._what, self._line_at = missing.what, now
        if now - self._line_at >= LINE_EVERY_S:
            line = last_line(self._stack.log(missing.process), after=self._earlier_bytes.get(missing.process, 0))
            if line and line != self._line:
                self.say(f"{missing.process}: {line}")
            self._line, self._line_at = line, now

    def say(self, text: str) -> None:
        """Print a line with the seconds since the start began."""
        self._say(f"{time.time() - self._began:6.1f} s  {text}")


def wait_until_ready(stack: Stack, supervisord: subprocess.Popen[bytes], say: Say) -> None:
    """Return once a job would be taken and run. Raises `CannotStart` if a process ends, or if the start stalls.

    `say` is given each line for the user.
    """
    began, pids = time.time(), dict[str, int]()
    say(f"starting broker, state, edge and a cluster (ranks: {stack.ranks}); logs in {short(stack.logs)}")
    stall, report = StallDetector(stack.ready_within_s), _StartReport(stack, say)
    while (missing := find_missing(stack, since=began)) is not None:
        _check_alive(stack, supervisord, pids)
        if stall.stalled(pids.get(missing.process, 0)):
            raise CannotStart(f"not ready within {stack.ready_within_s:.0f} s: still waiting for {missing.what}")
        report.show(missing)
        time.sleep(POLL_S)
    report.say("ready")


class _Cluster(Struct):
    """A cluster in the answer to `/health`; `started_at` is in seconds of Unix time."""

    started_at: float


class _Health(Struct):
    """The part of the answer to `/health` that is read here."""

    clusters: list[_Cluster] = []


class _Refusal(Struct):
    """The part of the edge's error body that is read here."""

    message: str = ""


def find_missing(stack: Stack, *, since: float) -> Missing | None:
    """Return what the stack still waits for, or None if a job would be taken and run.

    Asks the edge over HTTP. Only a cluster that started after `since` (Unix time) counts: an older heartbeat is an
    earlier run's.
    """
    try:
        ready, why = ask(f"{stack.url}/readyz", host=stack.host)
        status, health = ask(f"{stack.url}/health", host=stack.host)
    except (OSError, HTTPException):
        return Missing("the edge to answer", "edge")
    if ready != HTTPStatus.OK:
        reason = _reason(ready, why, expected=HTTPStatus.SERVICE_UNAVAILABLE)
        return Missing(f"the edge to be ready: {reason}", "provision" if "broker" in reason else "edge")
    clusters = _clusters(health)
    if status not in (HTTPStatus.OK, HTTPStatus.SERVICE_UNAVAILABLE) or clusters is None:
        return Missing(f"the edge to answer /health: {_reason(status, health)}", "edge")
    if not any(cluster.started_at >= since for cluster in clusters):
        return Missing("the cluster to load its model", "inference")
    return None


def _clusters(health: bytes) -> list[_Cluster] | None:
    """Return the clusters in a body of `/health`, or None if the body cannot be decoded."""
    try:
        return msgspec.json.decode(health, type=_Health).clusters
    except msgspec.DecodeError:
        return None


def _reason(status: int, answer: bytes, *, expected: int | None = None) -> str:
    """Return why a request was not served: the body's message if the status is `expected`, else the status with it."""
    try:
        message = msgspec.json.decode(answer, type=_Refusal).message
    except msgspec.DecodeError:
        message = ""
    if message and status == expected:
        return message
    return f"it answered {status}{f', {message}' if message else ''}"


def _check_alive(stack: Stack, supervisord: subprocess.Popen[bytes], pids: dict[str, int]) -> None:
    """Raise `CannotStart` if a process has ended: with the sentence that it left, or else with the end of its log.

    Every service waits for its dependencies; one that exits during start-up is misconfigured and would exit again.
    `pids` keeps the first pid of each process, and is added to here: a different one means that supervisord has
    restarted the process.
    """
    for sentence in left(stack.refusals).values():
        raise CannotStart(sentence)
    if supervisord.poll() is not None:
        raise CannotStart(_ended(stack, "supervisord"))
    for process in processes(stack.socket):
        again = process.pid and pids.setdefault(process.name, process.pid) != process.pid
        failed = process.statename in ("BACKOFF", "FATAL") or (process.statename == "EXITED" and process.exitstatus)
        if again or failed:
            for sentence in left(stack.refusals).values():  # may have been left since the first look
                raise CannotStart(sentence)
            raise CannotStart(_ended(stack, process.name))


def _ended(stack: Stack, name: str) -> str:
    """Return the sentence for a process that does not start, with the last `TAIL_LINES` of its log."""
    file = stack.log(name)
    lines = file.read_text(errors="replace").splitlines()[-TAIL_LINES:] if file.exists() else []
    return "\n".join([f"{name} does not start; the end of {short(file)}:", *(f"  {readable(line)}" for line in lines)])
