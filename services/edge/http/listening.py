"""The sockets that an edge listens on, opened before anything else: what cannot be listened on ends the start.

`::` serves IPv4 too, as it does for most servers; a name is listened on at each of its addresses.
"""

import errno
import socket

from contracts.process.env import BadSetting

BACKLOG = 2048  # a burst of connections waits in the kernel, where the 257th of it would be turned away for a second
ANY_V6 = "::"
_OF_THE_PORT = (errno.EADDRINUSE, errno.EACCES)


def listening(host: str, port: int) -> list[socket.socket]:
    """Return a listening socket for each address of the host. Raises `BadSetting` if one cannot be had."""
    opened: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, _, _, _, address in dict.fromkeys(found):
            opened.append(_one(family, address, both=host == ANY_V6))
    except (OSError, UnicodeError) as error:
        for one in opened:
            one.close()
        raise BadSetting(_sentence(host, port, error)) from error
    return opened


def _one(family: int, address: tuple[object, ...], *, both: bool) -> socket.socket:
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


def _sentence(host: str, port: int, error: Exception) -> str:
    number = error.errno if isinstance(error, OSError) and not isinstance(error, socket.gaierror) else None
    variable = "SERVER_PORT" if number in _OF_THE_PORT else "SERVER_HOST"
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return f"cannot listen on {where} ({reason}); set {variable} to another one"
