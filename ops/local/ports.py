"""Free ports of this machine, for processes that will listen on them a moment later."""

import secrets
import socket
from contextlib import ExitStack, suppress
from pathlib import Path

FIRST = 10_240
EPHEMERAL_FIRST = 32_768
"""Where Linux begins to give ports to outgoing connections, unless the machine says otherwise."""
EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
TRIES_MAX = 1000


def free_ports(count: int) -> list[int]:
    """Return so many different ports of 127.0.0.1 that nobody listens on.

    None of them is an ephemeral port: the kernel could give such a one to any outgoing connection before the process
    listens on it. Raises `OSError` if none is found.
    """
    candidates = range(FIRST, max(FIRST + TRIES_MAX, _ephemeral_first()))
    with ExitStack() as held:  # all at once, so that no two are the same
        ports: list[int] = []
        for port in secrets.SystemRandom().sample(candidates, TRIES_MAX):  # two processes must not draw alike
            probe = held.enter_context(socket.socket())
            with suppress(OSError):
                probe.bind(("127.0.0.1", port))
                ports.append(port)
            if len(ports) == count:
                return ports
    raise OSError(f"of {TRIES_MAX} ports not {count} are free")


def _ephemeral_first() -> int:
    try:
        return int(EPHEMERAL_RANGE.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return EPHEMERAL_FIRST
