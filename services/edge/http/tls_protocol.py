"""TLS of one connection, under the limits of every connection: its handshake has a time, and a place in the `Crowd`.

uvloop's own TLS protocol encrypts and decrypts. Given to a listener as usual, it would show a connection only once its
handshake is over, so that any number of clients could hold descriptors without one (slow loris).
"""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol, cast

import uvloop.loop

from contracts.process import log
from services.edge.http.certificates import Certificates
from services.edge.http.crowd import Crowd
from services.edge.http.limited_protocol import LimitedHttpProtocol
from services.edge.http.limits import HttpLimits
from services.edge.http.reader import READ_BYTES_MAX, Reader

HELD_BYTES_MAX = 64 * 1024
"""How much a connection holds of what is to be decrypted, and of what is encrypted, before its other side waits."""


class _UvloopTls(Protocol):
    """uvloop's TLS protocol, whose module has no types."""

    def get_buffer(self, n: int) -> memoryview: ...
    def buffer_updated(self, nbytes: int) -> None: ...
    def eof_received(self) -> None: ...
    def connection_made(self, transport: asyncio.BaseTransport) -> None: ...
    def connection_lost(self, exc: Exception | None) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...


class TlsProtocol(asyncio.BufferedProtocol):
    """The protocol that the raw transport sees: passes everything on to uvloop's TLS. One a connection.

    A member of the crowd, among those whose head is to come, from `connection_made` until the handshake is over. From
    then on the `LimitedHttpProtocol` of the connection is.
    """

    is_held_up = False
    """There is no upload yet."""

    def __init__(self, protocol: LimitedHttpProtocol, context: Any, crowd: Crowd, limits: HttpLimits) -> None:
        self._crowd, self._is_open = crowd, False
        self._transport: asyncio.Transport | None = None
        self._tls = cast(
            "_UvloopTls",
            vars(uvloop.loop)["SSLProtocol"](
                asyncio.get_running_loop(),
                _Decrypted(protocol, self._opened),
                context,
                None,
                server_side=True,
                ssl_handshake_timeout=limits.handshake_within_s,
                ssl_shutdown_timeout=limits.unread_within_s,
            ),
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the handshake, and join the crowd, which may reset this connection or another."""
        self._transport = cast("asyncio.Transport", transport)
        self._crowd.admit(self)
        if not transport.is_closing():
            self._tls.connection_made(transport)

    def _opened(self) -> None:
        """Leave the crowd to the protocol of HTTP: the handshake is over."""
        self._is_open = True
        self._crowd.leave(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the connection, lost for whatever reason."""
        if not self._is_open:
            self._crowd.leave(self)
            client = self._transport and self._transport.get_extra_info("peername")
            reason = getattr(exc, "reason", None) or "no handshake came in time, or the client left"
            log.get().debug("handshake_failed", client=client[0] if client else "", reason=reason)
        self._tls.connection_lost(exc)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  # the transport's wish, which does not matter
        return self._tls.get_buffer(READ_BYTES_MAX)[:READ_BYTES_MAX]

    def buffer_updated(self, nbytes: int) -> None:
        self._tls.buffer_updated(nbytes)

    def eof_received(self) -> None:
        self._tls.eof_received()

    def pause_writing(self) -> None:
        self._tls.pause_writing()

    def resume_writing(self) -> None:
        self._tls.resume_writing()

    # A member of the crowd.

    def end_upload(self) -> None:
        """Do nothing: there is no upload yet."""

    def drop(self) -> None:
        """Reset the connection at once."""
        if self._transport is not None:
            self._transport.abort()


class _Decrypted(Reader):
    """The reader of what was decrypted. Calls `opened` before the connection of HTTP begins."""

    def __init__(self, protocol: LimitedHttpProtocol, opened: Callable[[], None]) -> None:
        super().__init__(protocol)
        self._opened = opened

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._opened()
        plain = cast("Any", transport)
        plain.set_write_buffer_limits(high=HELD_BYTES_MAX)
        plain.set_read_buffer_limits(high=HELD_BYTES_MAX)
        super().connection_made(transport)


def encrypting(
    protocol: Callable[..., LimitedHttpProtocol], certificates: Certificates, crowd: Crowd, limits: HttpLimits
) -> Callable[..., TlsProtocol]:
    """Return a factory of encrypted connections, for `uvicorn.Config(http=…)`, from a factory of protocols."""

    def make(*arguments: Any, **named: Any) -> TlsProtocol:
        return TlsProtocol(protocol(*arguments, **named), certificates.context, crowd, limits)

    return make
