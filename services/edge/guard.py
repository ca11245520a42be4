"""The HTTP protocol with limits that uvicorn's has not: a head's size and time, a body's silence, exactly one Host.

Knows bytes and clocks; what a request means is the routes' business.
"""

import asyncio
from http import HTTPStatus

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from services.edge.errors import ErrorBody

HEAD_BYTES_MAX = 64 * 1024
HEAD_WITHIN_S = 10.0
BODY_SILENCE_S_MAX = 15.0


class Guarded(HttpToolsProtocol):
    """For `uvicorn.Config(http=…)`; one a connection. The limits may be changed by a subclass."""

    head_within_s = HEAD_WITHIN_S
    body_silence_s_max = BODY_SILENCE_S_MAX

    _timer: asyncio.TimerHandle | None = None
    _in_head = True
    _head_bytes = 0
    _refusal = HTTPStatus.BAD_REQUEST, "this is not an HTTP request"

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().connection_made(transport)
        self._wait_for_more(self.head_within_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait_no_more()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():  # refused already, and the other side goes on talking
            return
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX:
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the request's head is too large")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0
        self._wait_for_more(self.head_within_s)

    def on_headers_complete(self) -> None:
        """Raises to refuse: the parser then ends the request by `send_400_response`."""
        self._in_head = False
        self._check_head()
        self._wait_for_more(self.body_silence_s_max)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._wait_for_more(self.body_silence_s_max)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._wait_no_more()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # ours says more, in our shape
        self._refuse(*self._refusal)

    def _check_head(self) -> None:
        if sum(len(name) + len(value) for name, value in self.headers) + len(self.url) > HEAD_BYTES_MAX:
            self._refusal = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the request's head is too large"
            raise ValueError(self._refusal)
        hosts = sum(name == b"host" for name, _ in self.headers)
        if hosts != 1:
            self._refusal = HTTPStatus.BAD_REQUEST, "a request names exactly one Host"
            raise ValueError(self._refusal)

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        if self.transport.is_closing():
            return
        body = msgspec.json.encode(ErrorBody(status.name, message))
        self.transport.write(
            f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
            + body
        )
        self.transport.close()

    def _wait_for_more(self, within_s: float) -> None:
        self._wait_no_more()
        self._timer = self.loop.call_later(within_s, self.transport.abort)

    def _wait_no_more(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
