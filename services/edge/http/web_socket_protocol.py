"""uvicorn's WebSocket protocol with limits: incoming messages are small, answers to pings wait for a client that reads.

`limited_protocol` hands a connection over after the upgrade. This module is imported with the first one, because its
library (websockets) is no part of a start.
"""

import asyncio
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

from services.edge.http.clock import Clock
from services.edge.http.crowd import Crowd, Stage
from services.edge.http.limits import HttpLimits
from services.edge.http.refusals import MALFORMED, NO_HANDSHAKE


class LimitedWebSocketProtocol(WebSocketsSansIOProtocol):
    """A connection after its upgrade, and a member of the crowd. Lives until `connection_lost`.

    uvicorn sends a ping every 20 s and ends a connection whose client answers none for 20 s.
    """

    def __init__(self, *arguments: Any, crowd: Crowd, limits: HttpLimits, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._crowd, self._limits = crowd, limits

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection over, as one whose request is being answered."""
        super().connection_made(transport)
        self._output = Clock(self.loop, self.transport.abort)
        self._crowd.place(self, Stage.ANSWER)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the connection, lost for whatever reason, and leave the crowd."""
        self._crowd.leave(self)
        self._output.stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take more of the input, whose first piece is the whole request; answer 400 to one that cannot be read."""
        super().data_received(data)
        if not self.handshake_initiated and not self.transport.is_closing():
            self.transport.write(MALFORMED.encode())
            self.transport.close()

    def handle_connect(self, event: Request) -> None:
        """Take a handshake on, or answer 426 to one that is none. The library's own refusal lacks our headers."""
        if self.conn.accept(event).status_code == HTTPStatus.SWITCHING_PROTOCOLS:
            super().handle_connect(event)
            return
        self.handshake_initiated = self.handshake_complete = self.close_sent = True
        self.transport.write(NO_HANDSHAKE.encode())
        self.transport.close()

    def handle_parser_exception(self) -> None:
        """Close the connection, whose client breaks the protocol. uvicorn fails if the upgrade is not done yet."""
        if self.handshake_initiated:
            super().handle_parser_exception()

    def pause_writing(self) -> None:
        """Start the output clock, and read no more: each ping would be answered into a buffer that is full."""
        super().pause_writing()
        self._output.set(self._limits.unread_within_s)
        self.transport.pause_reading()
        self._crowd.place(self, Stage.DEAF)

    def resume_writing(self) -> None:
        """Stop the output clock: the client has read."""
        super().resume_writing()
        self._output.stop()
        if not self.read_paused:
            self.transport.resume_reading()
        self._crowd.place(self, Stage.ANSWER)

    # A member of the crowd.

    @property
    def is_held_up(self) -> bool:
        """Return False: this connection has no upload."""
        return False

    def end_upload(self) -> None:
        """Do nothing: this connection has no upload."""

    def drop(self) -> None:
        """Reset the connection at once."""
        self.transport.abort()

    def cut(self) -> bool:
        """End the connection as the service stops. Return whether a request was cut off."""
        was_open = not (self.close_sent or self.transport.is_closing())
        self.shutdown()
        return was_open
