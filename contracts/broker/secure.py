"""nats-py's client with connections that begin securely: credentials, TLS without a downgrade. `client` extends it.

It works round three faults of nats-py 2.16. With `tls://` it speaks plain text to a server that does not ask for TLS,
as to anybody between who takes that word out of the server's first line (TLS stripping). The stream of a connection
over TLS is never told of its transport. And a carriage return in a file of credentials is taken for a part of the JWT.
"""

import asyncio
import ssl
from typing import Any
from urllib.parse import ParseResult

import nats.errors
from nats.aio.client import Srv
from nats.aio.transport import TcpTransport

from contracts.broker.errors import NoTls
from contracts.broker.quick import QuickClient
from contracts.process import credentials

_OVER_TCP = ("nats", "tls")


class Unreadable(nats.errors.Error):
    """The file of credentials holds none now. nats-py tries again, as it does with a server that is away."""


class SecureClient(QuickClient):
    """A client that speaks TLS alone with `tls://`, or if it was given certificates, and reads its credentials anew."""

    def _read_creds_user_jwt(self, creds: object) -> bytearray:
        """Return the JWT, empty for none, from the file as it is now. Raises `Unreadable`. For nats-py to call."""
        return bytearray(_held_by(str(creds)).jwt or b"")

    def _read_creds_user_nkey(self, creds: object) -> bytearray:
        """Return the seed, from the file as it is now. Raises `Unreadable`. For nats-py to call."""
        return bytearray(_held_by(str(creds)).seed)

    async def _connect_to_server(self, s: Srv) -> None:
        """Connect, and close the connection of the attempt before, which nats-py drops if the server said nothing."""
        if self._transport is not None:
            self._transport.close()
        elif s.uri.scheme in _OVER_TCP:
            self._transport = _Transport()
        await super()._connect_to_server(s)

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        """Take the server's first line, and its later ones. Raises `NoTls` before anything is said in plain text."""
        if initial_connection and self._wants_tls and not info.get("tls_required"):
            raise NoTls("the broker does not ask for TLS")
        await super()._process_info(info, initial_connection)

    @property
    def _wants_tls(self) -> bool:
        """Return whether the client may say nothing in plain text to the server that it is at; WebSockets see to it."""
        scheme = None if self._current_server is None else self._current_server.uri.scheme
        return scheme == "tls" or (scheme == "nats" and "tls" in self.options)


class _Transport(TcpTransport):
    """A TCP connection, whose stream also over TLS is told of its transport.

    Only then does it hold back a server that sends faster than is read, and end without a warning of asyncio.
    """

    def __bool__(self) -> bool:
        """Return True, also before there is a connection, so that nats-py makes no transport of its own."""
        return True

    async def connect_tls(
        self, uri: str | ParseResult, ssl_context: ssl.SSLContext, buffer_size: int, connect_timeout: int
    ) -> None:
        await super().connect_tls(uri, ssl_context, buffer_size, connect_timeout)
        if self._io_writer is not None:
            transport = self._io_writer.transport
            if isinstance(stream := transport.get_protocol(), asyncio.Protocol):  # None if the server has left again
                stream.connection_made(transport)


def _held_by(path: str) -> credentials.Credentials:
    """Return the credentials in a file. Raises `Unreadable`."""
    try:
        return credentials.read(path)
    except credentials.NoCredentials as error:
        raise Unreadable(f"NATS_CREDS: {error}") from error
