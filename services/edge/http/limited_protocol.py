"""uvicorn's HTTP/1.1 protocol with the limits that it lacks: size and time of a request's head, a body that trickles
(slow loris), pipelined requests, an answer that nobody reads, how many connections there are.

Knows bytes and clocks. What a request means is the routes' business; how large a body may be, Litestar's.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from contracts.process import log
from services.edge.http.clock import Clock
from services.edge.http.crowd import PROBE_PATHS, Crowd, Stage
from services.edge.http.heads import fault, origin_form
from services.edge.http.pieces import Pieces
from services.edge.http.refusals import (
    CROWDED,
    MALFORMED,
    NO_UPGRADE,
    STOPPING,
    TOO_LARGE,
    TOO_MANY,
    TOO_SLOW,
    UPLOADS,
    Refusal,
    bad,
)
from services.edge.http.uploads import Upload

# Read when they are needed, so that a test may set others before it serves.
HEAD_BYTES_MAX = 64 * 1024
HEADERS_MAX = 128  # tiny ones cost far more memory than their bytes
PIPELINED_MAX = 20  # requests of one connection that wait for the answers before theirs
HEAD_WITHIN_S = 10.0
BODY_SILENCE_S_MAX = 60.0
BODY_WITHIN_S = 600.0  # the largest submission at 50 kB/s
UNREAD_WITHIN_S = 60.0
LINGER_S = 10.0  # closing at once would reset the connection, and an answer that is not read yet be lost with it

_BODY_HEADERS = (b"content-length", b"transfer-encoding")


class _Refused(Exception):
    """Ends the parsing of a request that has had its answer."""


class _Flow(FlowControl):
    """uvicorn's, which reads on at every answer. `is_held` while what was read before waits to be parsed."""

    is_held = False

    def resume_reading(self) -> None:
        if not self.is_held:
            super().resume_reading()


class Guarded(HttpToolsProtocol):
    """One connection, as one of a crowd."""

    _flow: _Flow
    _input: Clock
    _output: Clock
    _in_body = False
    _body_ends_by = 0.0
    _upload: Upload | None = None
    _running: RequestResponseCycle | None = None
    """The request that is being answered; uvicorn's `cycle` is the one that was parsed last."""
    _steps = 0  # heads, body parts and ends of requests: signs that what comes in gets on
    _stepless_bytes = 0
    _is_probe = False
    _is_refused = False

    def __init__(self, *arguments: Any, crowd: Crowd, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._crowd, self._pieces = crowd, Pieces()

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().connection_made(transport)
        self.flow = self._flow = _Flow(transport)
        self._input, self._output = Clock(self.loop, self._end_silence), Clock(self.loop, transport.abort)
        self._input.set(HEAD_WITHIN_S)
        self._crowd.admit(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._crowd.leave(self)
        self._input.stop()
        self._output.stop()
        self._abandon()
        super().connection_lost(exc)

    # What comes in.

    def data_received(self, data: bytes) -> None:
        if not self._is_refused:
            self._pieces.waiting += data
            self._parse()

    def _parse(self) -> None:
        """Parse what has come, until as many requests wait as may."""
        while self._pieces.waiting and len(self.pipeline) < PIPELINED_MAX and not self._is_refused:
            self._parse_piece(self._pieces.next(of_head=not self._in_body))
        if self._is_refused:
            return
        self._flow.is_held = self._pieces.waiting != b""
        if self._flow.is_held:
            self.flow.pause_reading()
        self._set_input_clock()
        self._settle()

    def _parse_piece(self, piece: bytes) -> None:
        steps = self._steps
        super().data_received(piece)
        # Counted by what was read, since the parser keeps a header to itself until it is whole. Within a body this
        # bounds trailers and chunk extensions.
        self._stepless_bytes = self._stepless_bytes + len(piece) if steps == self._steps else 0
        if self._stepless_bytes > HEAD_BYTES_MAX:
            self._refuse(TOO_LARGE)

    def _set_input_clock(self) -> None:
        """A body's clock begins anew with what it gets, a head's runs on from its first byte."""
        if self._in_body:
            self._input.set(min(BODY_SILENCE_S_MAX, self._body_ends_by - self.loop.time()))
        elif not self._input.runs and not self._is_answering:
            self._input.set(HEAD_WITHIN_S)

    @property
    def _is_answering(self) -> bool:
        return bool(self.cycle) and not self.cycle.response_complete

    # What the parser finds. To raise there ends the parsing.

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_body:
            return  # a trailer, which may not become a header (RFC 9110, 6.5.1)
        if len(self.headers) >= HEADERS_MAX:
            self._refuse(TOO_MANY)
            raise _Refused
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if (refusal := self._wrong_head(self._pieces.take_line())) is not None:
            self._refuse(refusal)
            raise _Refused
        super().on_headers_complete()
        self._steps += 1
        self._input.stop()
        now = self.loop.time()
        self._in_body, self._body_ends_by, self._upload = True, now + BODY_WITHIN_S, Upload(now)
        self._pieces.body_left = self._length() or 0

    def on_body(self, body: bytes) -> None:
        self._steps += 1
        if self._upload is not None:
            self._upload.received += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._steps += 1
        self._in_body, self._upload = False, None
        self._input.stop()
        super().on_message_complete()

    def _wrong_head(self, line: bytes) -> Refusal | None:
        assert self.parser is not None  # noqa: S101  # it is what calls us
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > HEAD_BYTES_MAX:
            return TOO_LARGE
        if (refusal := fault(line, self.headers)) is not None:
            return refusal
        # The parser takes the body of such a request for the next request.
        if self.parser.should_upgrade() and any(name in _BODY_HEADERS for name, _ in self.headers):
            return NO_UPGRADE
        try:
            authority, self.url = origin_form(self.url)
        except ValueError as error:
            return bad(str(error))
        if authority is not None:
            self.headers[:] = [(b"host", authority), *(header for header in self.headers if header[0] != b"host")]
        self._is_probe = self.url.partition(b"?")[0] in PROBE_PATHS
        if not self._is_probe and not self._crowd.has_room():
            return CROWDED
        if not self._pieces.holds_body(self._length()) and not self._crowd.uploads.make_room():
            return UPLOADS
        return None

    def _length(self) -> int | None:
        """Return how long the body is, which is checked by the parser; None if it comes in chunks."""
        sizes = [value.strip(b" \t") for name, value in self.headers if name in _BODY_HEADERS]
        if not sizes:
            return 0
        return int(sizes[0]) if sizes[0].isdigit() else None

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    # Answers.

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # uvicorn's words; ours come in our shape
        self._refuse(MALFORMED)

    def _refuse(self, refusal: Refusal) -> None:
        """Answer, and hear no more. Where an earlier answer is still to come, this one would be taken for it: close."""
        if self._is_refused or self.transport.is_closing():
            return
        log.get().info("request_refused", status=refusal.status.value, reason=refusal.message)
        self._is_refused = True
        if self._is_answering and (self.pipeline or not self._in_body or self.cycle.response_started):
            self.transport.close()
            self._settle()
        else:
            self._answer(refusal)

    def _answer(self, refusal: Refusal) -> None:
        self._unset_keepalive_if_required()
        self._abandon()  # it may wait for the rest of a body that does not come
        self.transport.write(refusal.encode())
        self.transport.write_eof()
        self._input.set(LINGER_S)
        self._settle()

    def _abandon(self) -> None:
        """Have whoever answers stop: nobody will hear it."""
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            self._output.set(UNREAD_WITHIN_S)
        elif self._in_body and self.cycle.response_complete:  # answered before all of it was read
            self._body_ends_by = min(self._body_ends_by, self.loop.time() + LINGER_S)
            self._set_input_clock()
        if self._pieces.waiting and not self._is_refused and not self.transport.is_closing():
            self._parse()
            self.flow.resume_reading()
        self._settle()

    def cut(self) -> bool:
        """End the connection, with a 503 if the answer has not begun; return whether a request was cut off by it."""
        if self._is_refused or self.transport.is_closing():
            return False
        self._is_refused = True
        running = None if self._running is None or self._running.response_complete else self._running
        self.pipeline.clear()
        if running is None or running.response_started:
            self._abandon()
            self.transport.close()
        else:
            self._answer(STOPPING)
        return running is not None

    # As one of the crowd.

    def _settle(self) -> None:
        """Tell the crowd where this connection is, and count its upload where there is one on its way."""
        stage = self._stage()
        if stage is not Stage.UPLOAD:
            self._crowd.uploads.end(self)
        elif self._upload and self not in self._crowd.uploads:
            self._crowd.uploads.begin(self, self._upload)
        self._crowd.place(self, stage)

    def _stage(self) -> Stage:
        if self._is_refused:
            return Stage.LINGER
        if self.transport.is_closing():
            return Stage.DEAF
        if not self._is_answering:
            if self._in_body:
                return Stage.LINGER
            return Stage.IDLE if self.cycle and not self._pieces.in_head else Stage.HEAD
        if self.flow.write_paused:
            return Stage.IDLE if self._is_probe else Stage.DEAF
        return Stage.UPLOAD if self._in_body else Stage.ANSWER

    @property
    def is_held_up(self) -> bool:
        return self.flow.read_paused

    def end_upload(self) -> None:
        self._refuse(TOO_SLOW)

    def drop(self) -> None:
        self.transport.abort()

    # Clocks.

    def pause_writing(self) -> None:
        super().pause_writing()
        self._output.set(UNREAD_WITHIN_S)
        self._settle()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._output.stop()
        self._settle()

    def timeout_keep_alive_handler(self) -> None:
        self.transport.abort()  # to close would wait for ever where the last answer is not read

    def _end_silence(self) -> None:
        if self.flow.read_paused:  # it is us who do not listen
            self._input.set(BODY_SILENCE_S_MAX)
        else:
            self.transport.abort()
