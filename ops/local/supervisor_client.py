"""What runs in a stack, and a way to stop and start single processes: supervisord's own XML-RPC over its socket."""

import socket
import xmlrpc.client
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

ANSWER_WITHIN_S = 5.0


class Process(Struct, frozen=True):
    """One process as supervisord sees it; `pid` is 0 while there is none."""

    name: str
    statename: str
    exitstatus: int
    pid: int


def processes(path: Path) -> list[Process]:
    """The processes of the supervisord that listens there; nothing while it does not answer."""
    try:
        with control(path) as server:
            return msgspec.convert(server.supervisor.getAllProcessInfo(), list[Process])
    except OSError:
        return []


def control(path: Path) -> xmlrpc.client.ServerProxy:
    """The supervisord that listens there: `with control(path) as server: server.supervisor.stopProcess("state")`."""
    return xmlrpc.client.ServerProxy("http://supervisord", transport=_OverSocket(path))


class _OverSocket(xmlrpc.client.Transport):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> HTTPConnection:
        connection = _SocketConnection(str(host), self._path)
        self._connection = host, connection  # where the parent's `close` looks for it
        return connection


class _SocketConnection(HTTPConnection):
    def __init__(self, host: str, path: Path) -> None:
        super().__init__(host)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(ANSWER_WITHIN_S)
        self.sock.connect(str(self._path))
