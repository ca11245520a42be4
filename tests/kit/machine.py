"""This checkout and this machine, for tests: where files and binaries stand, a free port. Starts no process."""

import sys
from pathlib import Path

from ops.local.ports import free_ports

REPOSITORY = Path(__file__).parents[2]
NATS_SERVER = str(Path(sys.executable).parent / "nats-server")

UNKNOWN_HOST = (
    "unshare",
    "--uts",
    "--user",
    "--map-root-user",
    "sh",
    "-c",
    'hostname gpu-7.invalid; exec "$@"',
    "sh",
)
"""Prefix for a command: inside it this machine has a name that resolves to no address."""


def free_port() -> int:
    return free_ports(1)[0]


def cpu_ns(pid: int) -> int:
    """Return the CPU time that a process has used, in nanoseconds. Threads that have ended are left out."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads)
