"""Read a connection in pieces of 16 kB: uvloop otherwise hands a protocol up to 256 kB at once (backpressure)."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from services.edge.http.limited_protocol import LimitedHttpProtocol

if TYPE_CHECKING:
    from services.edge.http.web_socket_protocol import LimitedWebSocketProtocol

READ_BYTES_MAX = 16 * 1024

_buffer = memoryview(bytearray(READ_BYTES_MAX))
"""Shared by all connections of the event loop's thread: bytes are copied out before anything else is read."""


class Reader(asyncio.BufferedProtocol):
    """The protocol that the transport sees: passes everything on to a `LimitedHttpProtocol`. One a connection.

    After an upgrade it passes everything on to the WebSocket's protocol.
    """

    def __init__(self, protocol: LimitedHttpProtocol) -> None:
        self._protocol: LimitedHttpProtocol | LimitedWebSocketProtocol = protocol
        protocol.hand_over = self._hand_over

    def _hand_over(self, protocol: "LimitedWebSocketProtocol") -> None:
        """Pass everything on to another protocol from now on."""
        self._protocol = protocol

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  # the transport's wish, which does not matter
        return _buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._protocol.data_received(bytes(_buffer[:nbytes]))

    def eof_received(self) -> None:
        self._protocol.eof_received()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._protocol.connection_made(cast("asyncio.Transport", transport))  # a stream's; uvloop's is no subclass

    def connection_lost(self, exc: Exception | None) -> None:
        self._protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._protocol.resume_writing()


def reading(protocol: Callable[..., LimitedHttpProtocol]) -> Callable[..., Reader]:
    """Return a factory of readers, for `uvicorn.Config(http=…)`, from a factory of protocols."""

    def make(*arguments: Any, **named: Any) -> Reader:
        return Reader(protocol(*arguments, **named))

    return make
