"""What this process may use of its machine: cores and memory. `normalise` has as many decoders as fit."""

import os
from contextlib import suppress
from pathlib import Path

GROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
"""The limit of a container (cgroup v2): a number of bytes, or `max`."""


def cores() -> int:
    """Return the number of cores that this process may run on."""
    return len(os.sched_getaffinity(0))


def memory_bytes(limit: Path = GROUP_LIMIT) -> int:
    """Return the bytes of memory of the machine, or of the container if that has fewer."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, ValueError):  # no container, or one without a limit
        return min(machine, int(limit.read_text()))
    return machine
