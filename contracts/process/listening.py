"""Open the sockets that a process listens on, first of all, so that a port in use ends the start.

The edge does so for clients, and every process with a `METRICS_PORT` for Prometheus.

`::` serves IPv4 too, as it does for most servers. A name means each of its addresses.
"""

import errno
import socket

from contracts.process.env import BadSetting

BACKLOG = 2048  # a burst of connections waits in the kernel, where a smaller backlog would turn some away for a second
ANY_V6 = "::"
_OF_THE_PORT = (errno.EADDRINUSE, errno.EACCES)


def listening(host: str, port: int, *, of: str = "SERVER") -> list[socket.socket]:
    """Return a listening socket for each address of the host. Raises `BadSetting` if one of them cannot be opened.

    `of` begins the names of the two settings, such as `SERVER_HOST` and `SERVER_PORT`.
    """
    opened: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, _, _, _, address in dict.fromkeys(found):
            opened.append(_listening_at(family, address, both=host == ANY_V6))
    except (OSError, UnicodeError) as error:
        for each in opened:
            each.close()
        raise BadSetting(_sentence(host, port, error, of)) from error
    return opened


def _listening_at(family: int, address: tuple[object, ...], *, both: bool) -> socket.socket:
    """Return a socket that listens at an address. `both` lets one of IPv6 serve IPv4 too. Raises `OSError`."""
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if both else 1)
        made.bind(address)
        made.listen(BACKLOG)
        made.setblocking(False)
    except OSError:
        made.close()
        raise
    return made


def _sentence(host: str, port: int, error: Exception, of: str) -> str:
    """Return the sentence for an operator: why the process cannot listen there, and which setting to change."""
    number = error.errno if isinstance(error, OSError) and not isinstance(error, socket.gaierror) else None
    variable = f"{of}_PORT" if number in _OF_THE_PORT else f"{of}_HOST"
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return f"cannot listen on {where} ({reason}); set {variable} to another one"
