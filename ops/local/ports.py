"""Finds free ports of this machine, for processes that will listen on them a moment later. `stack` and tests use it."""

import secrets
import socket
from contextlib import ExitStack, suppress
from pathlib import Path

FIRST = 10_240
EPHEMERAL_FIRST = 32_768
"""The first port that Linux gives to outgoing connections by default."""
EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
TRIES_MAX = 1000


def free_ports(count: int) -> list[int]:
    """Return `count` different ports of 127.0.0.1 that no process listens on, drawn at random; they are not reserved.

    Ephemeral ports are avoided: the kernel could give one to an outgoing connection before the process listens on it.
    Raises `OSError` if too few are free among `TRIES_MAX`.
    """
    with ExitStack() as held:  # held until all are found, so that no two are the same
        ports: list[int] = []
        draw = secrets.SystemRandom()  # not seeded: two processes must not draw the same ports
        for port in draw.sample(candidates(), TRIES_MAX):
            probe = held.enter_context(socket.socket())
            with suppress(OSError):
                probe.bind(("127.0.0.1", port))
                ports.append(port)
            if len(ports) == count:
                return ports
    raise OSError(f"of {TRIES_MAX} ports not {count} are free")


def candidates() -> range:
    """Return the ports that are drawn from: below those that this machine gives to outgoing connections."""
    try:
        ephemeral_first = int(EPHEMERAL_RANGE.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        ephemeral_first = EPHEMERAL_FIRST
    return range(FIRST, max(FIRST + TRIES_MAX, ephemeral_first))
