"""The limits that a child of the edge gives itself before it looks at what a stranger sent. Knows nothing else."""

import os
import resource
from contextlib import suppress
from pathlib import Path

NICENESS = 10
KILL_AFTER_CPU_S = 2
"""From the signal that can be told from others on to the one that cannot be survived."""
FILES_MAX = 16
KILLED_FIRST = "1000"
"""For the kernel, when memory is short."""


def limit_this_process(*, cpu_s: int, memory_bytes: int, file_bytes: int) -> None:
    """Bound CPU time, memory, and the size of files written. The edge itself goes first, and is killed last."""
    os.nice(NICENESS)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(KILLED_FIRST)
    for limit, soft, hard in (
        (resource.RLIMIT_CPU, cpu_s, cpu_s + KILL_AFTER_CPU_S),
        (resource.RLIMIT_AS, memory_bytes, memory_bytes),
        (resource.RLIMIT_NOFILE, FILES_MAX, FILES_MAX),
        (resource.RLIMIT_FSIZE, file_bytes, file_bytes),
        (resource.RLIMIT_CORE, 0, 0),
    ):
        resource.setrlimit(limit, (soft, hard))
