"""Measures how much a process and its children have computed and read, so that `ready` tells a slow start from a hang.

Linux only: it reads /proc.
"""

import os
from collections import defaultdict
from pathlib import Path

PROC = Path("/proc")
READ_BYTES_PER_UNIT = 16 * 1024**2
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PARENT, _USER_TICKS, _SYSTEM_TICKS = 1, 11, 12
"""Fields of /proc/PID/stat (proc(5)), counted after the process's name, which may hold spaces and brackets."""


def work(pid: int) -> float:
    """Return the CPU seconds of a process and its descendants, plus one for each 16 MiB that they read from a disk.

    Children that have ended do not count. Return 0 for a process that is gone, and on a system without /proc.
    """
    fields = {int(folder.name): stat for folder in PROC.glob("[0-9]*") if (stat := _stat(folder))}
    children: dict[int, list[int]] = defaultdict(list)
    for child, stat in fields.items():
        children[int(stat[_PARENT])].append(child)
    done, left = 0.0, [pid] if pid in fields else []
    while left:
        each = left.pop()
        left += children[each]
        done += (int(fields[each][_USER_TICKS]) + int(fields[each][_SYSTEM_TICKS])) / _TICKS_PER_S
        done += _read_bytes(PROC / str(each)) / READ_BYTES_PER_UNIT
    return done


def _stat(folder: Path) -> list[str]:
    """Return the fields of a process's /proc/PID/stat after its name; none if the process is gone."""
    try:
        return (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def _read_bytes(folder: Path) -> int:
    """Return the bytes that a process read from a disk, through mapped pages too; 0 if they cannot be known."""
    try:
        lines = (folder / "io").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("read_bytes:")), 0)
