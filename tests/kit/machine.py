"""This checkout and this machine, for tests: where files and binaries stand, a free port. Starts no process."""

import itertools
import os
import random
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from ops.local.ports import candidates

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


WORKERS_MAX = 8
"""So many workers of one test run draw ports that no other of them draws."""


def _ports_of_this_worker() -> Iterator[int]:
    """Yield the ports of this worker in order, round and round, beginning anywhere."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    ports = candidates()[worker % WORKERS_MAX :: WORKERS_MAX]
    begin = random.randrange(len(ports))
    return itertools.cycle([*ports[begin:], *ports[:begin]])


_PORTS = _ports_of_this_worker()


def free_port(*hosts: str) -> int:
    """Return a port on which nothing listens at any of these addresses, 127.0.0.1 if there is none of them.

    It is not reserved, but nobody else draws it soon: other workers have other ports, and this one has had all its
    others before it draws this port again.
    """
    return next(port for port in _PORTS if all(_is_free(host, port) for host in hosts or ("127.0.0.1",)))


def _is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def cpu_ns(pid: int) -> int:
    """Return the CPU time that a process has used, in nanoseconds. Threads that have ended are left out."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads)
