"""uvicorn's HTTP/1.1 protocol with the limits that it lacks: size and time of a request's head, a body that trickles,
an answer that nobody reads, exactly one Host.

Knows bytes and clocks. What a request means is the routes' business; how large a body may be, Litestar's.
"""

import asyncio
from http import HTTPStatus

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from contracts import log
from services.edge.errors import ErrorBody

# Read when they are needed, so that a test may set others before it serves.
HEAD_BYTES_MAX = 64 * 1024
HEADERS_MAX = 128  # tiny ones cost far more memory than their bytes
HEAD_WITHIN_S = 10.0
BODY_SILENCE_S_MAX = 60.0
BODY_WITHIN_S = 600.0  # the largest submission at 50 kB/s
UNREAD_WITHIN_S = 60.0
LINGER_S = 10.0  # closing at once would reset the connection, and an answer that is not read yet be lost with it

VERSIONS = ("1.0", "1.1")
_BODY_HEADERS = (b"content-length", b"transfer-encoding")


class _Refused(Exception):
    """Ends the parsing of a request that has had its answer."""


class Guarded(HttpToolsProtocol):
    """One connection; for `uvicorn.Config(http=…)`."""

    _input_clock: asyncio.TimerHandle | None = None
    _output_clock: asyncio.TimerHandle | None = None
    _in_body = False
    _body_ends_by = 0.0
    _steps = 0  # body parts and ends of requests: signs that what comes in gets on
    _stepless_bytes = 0
    _is_refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().connection_made(transport)
        self._expect_input(HEAD_WITHIN_S)

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect_no_input()
        self._expect_no_reader()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        steps = self._steps
        super().data_received(data)
        if self._is_refused:
            return
        # Counted by what was read, since the parser keeps a header to itself until it is whole. Within a body this
        # bounds trailers and chunk extensions.
        self._stepless_bytes = self._stepless_bytes + len(data) if steps == self._steps else 0
        if self._stepless_bytes > HEAD_BYTES_MAX:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the head of the request is too large")
        else:
            self._set_input_clock()

    def _set_input_clock(self) -> None:
        """A body's clock begins anew with what it gets, a head's runs on from its first byte."""
        if self._in_body:
            self._expect_input(min(BODY_SILENCE_S_MAX, self._body_ends_by - self.loop.time()))
        elif self._input_clock is None and not self._is_answering:
            self._expect_input(HEAD_WITHIN_S)

    @property
    def _is_answering(self) -> bool:
        return bool(self.cycle) and not self.cycle.response_complete

    # What the parser finds. To raise there ends the parsing.

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_body:
            return  # a trailer, which may not become a header (RFC 9110, 6.5.1)
        if len(self.headers) >= HEADERS_MAX:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the request has too many headers")
            raise _Refused
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if (refusal := self._wrong_head()) is not None:
            self._refuse(*refusal)
            raise _Refused
        super().on_headers_complete()
        self._expect_no_input()
        self._in_body, self._body_ends_by = True, self.loop.time() + BODY_WITHIN_S

    def on_body(self, body: bytes) -> None:
        self._steps += 1
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._steps += 1
        self._in_body = False
        self._expect_no_input()
        super().on_message_complete()

    def _wrong_head(self) -> tuple[HTTPStatus, str] | None:
        assert self.parser is not None  # noqa: S101  # it is what calls us
        names = [name for name, _ in self.headers]
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > HEAD_BYTES_MAX:
            return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the head of the request is too large"
        if self.parser.get_http_version() not in VERSIONS:
            return HTTPStatus.BAD_REQUEST, "only HTTP/1.1 is spoken here"
        if names.count(b"host") != 1:
            return HTTPStatus.BAD_REQUEST, "a request must have exactly one Host header"
        # The parser takes the body of such a request for the next request.
        if self.parser.should_upgrade() and any(name in _BODY_HEADERS for name in names):
            return HTTPStatus.BAD_REQUEST, "a request with a body cannot ask for another protocol"
        return None

    # Answers.

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # uvicorn's words; ours come in our shape
        self._refuse(HTTPStatus.BAD_REQUEST, "this is not a well-formed HTTP/1.1 request")

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        """Answer, and hear no more. Where an earlier answer is still to come, this one would be taken for it: close."""
        if self._is_refused or self.transport.is_closing():
            return
        self._is_refused = True
        log.get().info("request_refused", status=status.value, reason=message)
        if self._is_answering and (self.pipeline or not self._in_body or self.cycle.response_started):
            self.transport.close()
            return
        self._unset_keepalive_if_required()
        if self._is_answering:  # it waits for the rest of this broken body
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.write(_answer(status, message))
        self.transport.write_eof()
        self._expect_input(LINGER_S)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            self._expect_reader()
        elif self._in_body and self.cycle.response_complete:  # answered before all of it was read
            self._body_ends_by = min(self._body_ends_by, self.loop.time() + LINGER_S)
            self._set_input_clock()

    # Clocks.

    def pause_writing(self) -> None:
        super().pause_writing()
        self._expect_reader()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._expect_no_reader()

    def timeout_keep_alive_handler(self) -> None:
        self.transport.abort()  # to close would wait for ever where the last answer is not read

    def _expect_input(self, within_s: float) -> None:
        self._expect_no_input()
        self._input_clock = self.loop.call_later(within_s, self._end_silence)

    def _expect_no_input(self) -> None:
        if self._input_clock is not None:
            self._input_clock.cancel()
            self._input_clock = None

    def _end_silence(self) -> None:
        if self.flow.read_paused:  # it is us who do not listen
            self._expect_input(BODY_SILENCE_S_MAX)
        else:
            self.transport.abort()

    def _expect_reader(self) -> None:
        self._expect_no_reader()
        self._output_clock = self.loop.call_later(UNREAD_WITHIN_S, self.transport.abort)

    def _expect_no_reader(self) -> None:
        if self._output_clock is not None:
            self._output_clock.cancel()
            self._output_clock = None


def _answer(status: HTTPStatus, message: str) -> bytes:
    body = msgspec.json.encode(ErrorBody(status.name, message))
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
