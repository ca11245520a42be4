"""Finds the descendants of a process and ends them: a part that hangs must not keep the card from the next. Linux."""

import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")
POLL_S = 0.05
_STATE, _PARENT = 0, 1
"""Fields of /proc/PID/stat (proc(5)), counted after the process's name, which may hold blanks and brackets."""


def descendants(pid: int) -> list[int]:
    """Return the pids of all descendants of a process that live, children before grandchildren.

    Sessions and process groups play no part. A descendant whose parent has ended is not found.
    """
    parents = {int(folder.name): fields for folder in PROC.glob("[0-9]*") if (fields := _stat(folder))}
    found = [pid]
    for each in found:  # grows meanwhile
        found += [child for child, fields in parents.items() if int(fields[_PARENT]) == each]
    return [each for each in found[1:] if parents[each][_STATE] != "Z"]


def ranks_of(cluster: int) -> list[int]:
    """Return the pids of the ranks of an `inference.cluster`: children of its child, which is torchrun's agent."""
    near = {pid: int(_stat(PROC / str(pid))[_PARENT]) for pid in descendants(cluster)}
    return [pid for pid, parent in near.items() if near.get(parent) == cluster]


def command_line(pid: int) -> str:
    """Return the command line of a process, which a fork inherits; empty if the process is gone."""
    try:
        return (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def end(pids: Iterable[int], *, within_s: float) -> None:
    """Send SIGTERM to the processes, and SIGKILL to those that are left after `within_s`. They need not be children."""
    left = list(pids)
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + within_s
        while (left := [pid for pid in left if _lives(pid)]) and time.monotonic() < deadline:
            time.sleep(POLL_S)


def _lives(pid: int) -> bool:
    """Return whether a process lives; one that has ended and is not yet waited for does not."""
    fields = _stat(PROC / str(pid))
    return bool(fields) and fields[_STATE] != "Z"


def _stat(folder: Path) -> list[str]:
    """Return the fields of a process's /proc/PID/stat after its name; none if the process is gone."""
    try:
        return (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []
