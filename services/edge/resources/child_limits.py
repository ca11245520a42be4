"""The limits (rlimit) that a child of the edge sets for itself before it reads a stranger's bytes."""

import os
import resource
from contextlib import suppress

NICENESS = 10
KILL_AFTER_CPU_S = 2
"""CPU seconds between SIGXCPU, by which the edge knows the cause, and SIGKILL, which no child survives."""
FILES_MAX = 16
SCORE_FILE, KILLED_FIRST = "/proc/self/oom_score_adj", b"1000"
"""The score by which the kernel kills this process first when memory is short."""


def limit_this_process(*, cpu_s: int, memory_bytes: int, file_bytes: int) -> None:
    """Bound this process for good: CPU seconds (then SIGXCPU), address space, the size of a written file, descriptors.

    The edge gets the CPU first, and this process is the first to be killed when memory is short.
    """
    os.nice(NICENESS)
    with suppress(OSError):
        score = os.open(SCORE_FILE, os.O_WRONLY)
        os.write(score, KILLED_FIRST)
        os.close(score)
    for limit, soft, hard in (
        (resource.RLIMIT_CPU, cpu_s, cpu_s + KILL_AFTER_CPU_S),
        (resource.RLIMIT_AS, memory_bytes, memory_bytes),
        (resource.RLIMIT_NOFILE, FILES_MAX, FILES_MAX),
        (resource.RLIMIT_FSIZE, file_bytes, file_bytes),
        (resource.RLIMIT_CORE, 0, 0),
    ):
        resource.setrlimit(limit, (soft, hard))
