"""Checks a stack's ports and stores before any process starts, so that a wrong setting ends the start at once.

`supervisor` calls both checks. They start nothing and leave nothing behind.
"""

import errno
import socket

from contracts.process import log
from contracts.process.env import BadSetting
from contracts.stores import configured
from ops.local import address
from ops.local.stack import CannotStart, Stack

_PORT_ERRORS = (errno.EADDRINUSE, errno.EACCES)
"""Errors of `bind` that another port would avoid; every other error is the host's."""


def check_ports(stack: Stack) -> None:
    """Raise `CannotStart` if an address cannot be listened on; the sentence names the variable to change."""
    addresses = [
        ("SERVER_PORT", (stack.server_host, stack.server_port)),
        ("NATS_LISTEN", address.host_and_port(stack.nats_listen)),
        ("NATS_MONITOR", address.host_and_port(stack.nats_monitor)),
        *(("METRICS_PORT", (stack.server_host, port)) for port in stack.metrics_ports.values() if port),
    ]
    for variable, (host, port) in addresses:
        try:
            _bind(host, port)
        except (OSError, OverflowError, UnicodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            of_the_host = variable == "SERVER_PORT" and getattr(error, "errno", None) not in _PORT_ERRORS
            change = "SERVER_HOST" if of_the_host else variable
            raise CannotStart(
                f"cannot listen on {address.join(host, port)} ({reason}); set {change} to another one"
            ) from None


def check_stores(stack: Stack) -> None:
    """Raise `CannotStart` if a store takes no files now, for whatever reason.

    Writes to each store and deletes that again, and keeps the log silent meanwhile. A service that starts waits for a
    store that may recover, such as a full or read-only one. Whoever starts the whole stack is present and can mend it.
    """
    try:
        with log.silence():
            found = next(configured.troubles(stack.video_store_url, stack.scratch_store_url), None)
    except BadSetting as refusal:
        raise CannotStart(str(refusal)) from None
    if found is not None:
        raise CannotStart(str(found))


def _bind(host: str, port: int) -> None:
    """Bind a socket for a moment to every address of a host. Raises `OSError`, `OverflowError` or `UnicodeError`."""
    for family, _, _, _, each in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE):
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT is free
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if host == address.ANY_V6 else 1)
            probe.bind(each)
