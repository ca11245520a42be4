"""A client of supervisord's XML-RPC over its Unix socket: lists the processes of a stack, stops and starts them.

`ready` polls `processes`; tests stop and start single processes through `control`.
"""

import socket
import xmlrpc.client
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

ANSWER_WITHIN_S = 5.0


class Process(Struct, frozen=True):
    """A process as supervisord sees it; `pid` is 0 while the process does not run."""

    name: str
    statename: str
    exitstatus: int
    pid: int


def processes(path: Path) -> list[Process]:
    """Return the processes of the supervisord at this socket, or none if it gives no answer in `ANSWER_WITHIN_S`."""
    try:
        with control(path) as server:
            return msgspec.convert(server.supervisor.getAllProcessInfo(), list[Process])
    except OSError:
        return []


def control(path: Path) -> xmlrpc.client.ServerProxy:
    """Return a proxy: `with control(path) as server: server.supervisor.stopProcess("state")`.

    Connects at the first call. Calls raise `OSError` if supervisord does not answer, and `xmlrpc.client.Fault` if it
    refuses.
    """
    return xmlrpc.client.ServerProxy("http://supervisord", transport=_OverSocket(path))


class _OverSocket(xmlrpc.client.Transport):
    """An XML-RPC transport over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> HTTPConnection:
        """Return a new connection to the socket; `host` only fills its `Host` header."""
        connection = _SocketConnection(str(host), self._path)
        self._connection = host, connection  # the parent class closes this
        return connection


class _SocketConnection(HTTPConnection):
    """An HTTP connection over a Unix socket."""

    def __init__(self, host: str, path: Path) -> None:
        super().__init__(host)
        self._path = path

    def connect(self) -> None:
        """Open the socket. Raises `OSError` if no process listens on it."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(ANSWER_WITHIN_S)
        self.sock.connect(str(self._path))
