"""uvicorn's HTTP/1.1 protocol with the limits that uvicorn lacks, against slow loris and other slow or greedy clients.

Limited are the size and the time of a request's head, the speed of a body, the number of pipelined requests, the time
in which an answer must be read, and the number of connections. `server` makes one protocol for each connection. What
passes goes to the routes by way of uvicorn; what does not is answered here, with a `Refusal`. Litestar limits the size
of a body.
"""

import asyncio
from collections.abc import Callable
from importlib import import_module
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from contracts.process import log
from services.edge.http.clock import Clock
from services.edge.http.crowd import PROBE_PATHS, Crowd, Stage
from services.edge.http.flow import HeldFlow
from services.edge.http.heads import BODY_HEADERS, Headers, body_length, fault, origin_form
from services.edge.http.limits import HttpLimits
from services.edge.http.pieces import Pieces
from services.edge.http.refusals import (
    CROWDED,
    MALFORMED,
    NO_PIPELINED_UPGRADE,
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

WEB_SOCKETS = b"/video/ws/"
"""The prefix of the paths that may become WebSockets."""


class _Refused(Exception):
    """Ends the parsing of a request that was refused: raised in a callback of the parser."""


class LimitedHttpProtocol(HttpToolsProtocol):
    """A connection to a client, and a member of its `Crowd`.

    The object lives from `connection_made` to `connection_lost`; a refusal makes the connection deaf to what follows.
    """

    _flow: HeldFlow
    _input: Clock
    """Runs while the client must send: a head, or more of a body."""
    _output: Clock
    """Runs while the client must read an answer."""
    _in_body = False
    _body_ends_by = 0.0
    _upload: Upload | None = None
    _running: RequestResponseCycle | None = None
    """The request that is being answered; uvicorn's `cycle` is the request that was parsed last."""
    _steps = 0
    """Counts heads, body parts and ends of requests: signs of progress in the input."""
    _stepless_bytes = 0
    """The bytes that were parsed since the last sign of progress."""
    _is_head_whole = False
    """Whether `headers` are all those of the request that is being read."""
    _is_probe = False
    _is_refused = False
    _is_handed_over = False
    hand_over: Callable[[Any], None]
    """Set by `reader`: has the transport speak to another protocol."""
    url = b""  # uvicorn sets it once a request has begun

    def __init__(
        self, *arguments: Any, crowd: Crowd, limits: HttpLimits, client_of: Callable[[str, Headers], str], **named: Any
    ) -> None:
        super().__init__(*arguments, **named)
        self._crowd, self._limits, self._pieces = crowd, limits, Pieces()
        self._client_of = client_of

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Begin the connection: set the time for its first head, and join the crowd, which may reset it or another."""
        super().connection_made(transport)
        self.flow = self._flow = HeldFlow(transport)
        self._input, self._output = Clock(self.loop, self._end_silence), Clock(self.loop, transport.abort)
        self._input.set(self._limits.head_within_s)
        self._crowd.admit(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the connection, lost for whatever reason: stop its clocks and its route, and leave the crowd."""
        self._crowd.leave(self)
        self._input.stop()
        self._output.stop()
        self._abandon()
        super().connection_lost(exc)

    # Input: pieces of bytes go to the parser.

    def data_received(self, data: bytes) -> None:
        """Parse more of the input. After a refusal the input is dropped."""
        if not self._is_refused:
            self._pieces.waiting += data
            self._parse()

    def _parse(self) -> None:
        """Parse the waiting input, until `pipelined_max` requests wait for their answers: then pause reading."""
        while self._pieces.waiting and len(self.pipeline) < self._limits.pipelined_max and not self._is_refused:
            self._parse_piece(self._pieces.next(of_head=not self._in_body))
        if self._is_refused or self._is_handed_over:
            return
        self._flow.is_held = self._pieces.waiting != b""
        if self._flow.is_held:
            self.flow.pause_reading()
        self._set_input_clock()
        self._settle()

    def _parse_piece(self, piece: bytes) -> None:
        """Parse a piece, and refuse the request after too many bytes without a sign of progress."""
        steps = self._steps
        super().data_received(piece)
        # Counted in bytes of input, since the parser reports a header only once it is whole. Within a body the count
        # bounds trailers and chunk extensions.
        self._stepless_bytes = self._stepless_bytes + len(piece) if steps == self._steps else 0
        if self._stepless_bytes > self._limits.head_bytes_max:
            self._refuse(TOO_LARGE)

    def _set_input_clock(self) -> None:
        """Start a body's clock anew at each byte, and a head's at its first byte only."""
        if self._in_body:
            self._input.set(min(self._limits.body_silence_s_max, self._body_ends_by - self.loop.time()))
        elif not self._input.runs and not self._is_answering:
            self._input.set(self._limits.head_within_s)

    @property
    def _is_answering(self) -> bool:
        """Return whether the request that was parsed last still waits for the end of its answer."""
        return bool(self.cycle) and not self.cycle.response_complete

    # Callbacks of the parser, which stops if one of them raises.

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header of the head. Trailers are dropped. Raises `_Refused` after `headers_max` headers."""
        if self._in_body:
            return  # a trailer, which may not become a header (RFC 9110, 6.5.1)
        if len(self.headers) >= self._limits.headers_max:
            self._refuse(TOO_MANY)
            raise _Refused
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin a request, or refuse its head and raise `_Refused`."""
        self._is_head_whole = True
        if (refusal := self._refusal_of_head(self._pieces.take_line())) is not None:
            self._refuse(refusal)
            raise _Refused
        super().on_headers_complete()
        self._steps += 1
        self._input.stop()
        now = self.loop.time()
        self._in_body, self._body_ends_by, self._upload = True, now + self._limits.body_within_s, Upload(now)
        self._pieces.body_left = body_length(self.headers) or 0

    def on_body(self, body: bytes) -> None:
        """Take a part of a body."""
        self._steps += 1
        if self._upload is not None:
            self._upload.received += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note the end of a request."""
        self._steps += 1
        self._in_body, self._upload, self._is_head_whole = False, None, False
        self._input.stop()
        super().on_message_complete()

    def _refusal_of_head(self, line: bytes) -> Refusal | None:
        """Return the refusal of the request whose head was parsed, or None. `line` is its request line.

        Puts the target into origin form, the host of an absolute one into the headers, and notes whether it is a probe.
        May end another connection or another upload to make room.
        """
        assert self.parser is not None  # noqa: S101  # the parser calls this
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > self._limits.head_bytes_max:
            return TOO_LARGE
        if (refusal := fault(line, self.headers)) is not None:
            return refusal
        # The parser takes the body of such a request for the next request.
        if self.parser.should_upgrade() and any(name in BODY_HEADERS for name, _ in self.headers):
            return NO_UPGRADE
        try:
            authority, self.url = origin_form(self.url)
        except ValueError as error:
            return bad(str(error))
        if self._should_upgrade() and self._is_answering:
            return NO_PIPELINED_UPGRADE
        if authority is not None:
            self.headers[:] = [(b"host", authority), *(header for header in self.headers if header[0] != b"host")]
        self._is_probe = self.url.partition(b"?")[0] in PROBE_PATHS
        if not self._is_probe and not self._crowd.has_room():
            return CROWDED
        if not self._pieces.holds_body(body_length(self.headers)) and not self._crowd.uploads.make_room():
            return UPLOADS
        return None

    def _should_upgrade(self) -> bool:
        """Return whether a request becomes a WebSocket; any other upgrade is left out, as HTTP allows."""
        is_get = self.parser is not None and self.parser.get_method() == b"GET"
        return is_get and self.url.startswith(WEB_SOCKETS) and self._get_upgrade() == b"websocket"

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: the request is answered without the upgrade."""

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over to the protocol of WebSockets, whose library comes with the first one."""
        module = import_module("services.edge.http.web_socket_protocol")
        self._is_handed_over = True
        self._input.stop()
        self._crowd.leave(self)
        self.connections.discard(self)
        protocol = module.LimitedWebSocketProtocol(
            config=self.config,
            server_state=self.server_state,
            app_state=self.app_state,
            crowd=self._crowd,
            limits=self._limits,
        )
        protocol.connection_made(self.transport)
        self.hand_over(protocol)
        head = b"".join(b"%b: %b\r\n" % header for header in self.headers)
        early, self._pieces.waiting = self._pieces.waiting, b""
        protocol.data_received(b"GET %b HTTP/1.1\r\n%b\r\n%b" % (self.url, head, early))

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    # Answers.

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # uvicorn's words; our answer has our shape
        """Refuse a request that the parser cannot read."""
        self._refuse(MALFORMED)

    def _refuse(self, refusal: Refusal) -> None:
        """Answer with the refusal, unless one was sent or the connection is closing, and drop all further input.

        Close without an answer if an earlier one is still to come: the client would take the refusal for that one.
        """
        if self._is_refused or self.transport.is_closing():
            return
        peer = "" if self.client is None else self.client[0]
        client = self._client_of(peer, self.headers) if self._is_head_whole else peer
        log.get().info("request_refused", status=refusal.status.value, reason=refusal.message, client=client)
        self._crowd.on_refusal(refusal.name)
        self._is_refused = True
        if self._is_answering and (self.pipeline or not self._in_body or self.cycle.response_started):
            self.transport.close()
            self._settle()
        else:
            self._answer(refusal)

    def _answer(self, refusal: Refusal) -> None:
        """Send a refusal as the last answer of the connection, which then lingers for up to `linger_s`."""
        self._unset_keepalive_if_required()
        self._abandon()  # the request may wait for the rest of a body that does not come
        self.transport.write(refusal.encode(self.url))
        if self.transport.can_write_eof():  # TLS cannot; the client sees by the head that no more comes
            self.transport.write_eof()
        self._input.set(self._limits.linger_s)
        self._settle()

    def _abandon(self) -> None:
        """Tell the route that the client has left, so that it stops working on the answer."""
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()

    def on_response_complete(self) -> None:
        """Go on with the next request, or with the end of a connection that is closing."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._output.set(self._limits.unread_within_s)
        elif self._in_body and self.cycle.response_complete:  # answered before the whole body was read
            self._body_ends_by = min(self._body_ends_by, self.loop.time() + self._limits.linger_s)
            self._set_input_clock()
        if self._pieces.waiting and not self._is_refused and not self.transport.is_closing():
            self._parse()
            self.flow.resume_reading()
        self._settle()

    def cut(self) -> bool:
        """End the connection, with a 503 if no answer has begun. Return whether a request was cut off."""
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

    # A member of the crowd.

    def _settle(self) -> None:
        """Report the stage of this connection to the crowd, and count its upload if it has one."""
        stage = self._stage()
        if stage is not Stage.UPLOAD:
            self._crowd.uploads.end(self)
        elif self._upload and self not in self._crowd.uploads:
            self._crowd.uploads.begin(self, self._upload)
        self._crowd.place(self, stage)

    def _stage(self) -> Stage:
        """Return the stage of this connection, by which the crowd chooses who makes way."""
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
        """Return whether the edge has paused reading, so that the client cannot send."""
        return self.flow.read_paused

    def end_upload(self) -> None:
        """Answer 408 to an upload that is too slow, and close."""
        self._refuse(TOO_SLOW)

    def drop(self) -> None:
        """Reset the connection at once."""
        self.transport.abort()

    # Clocks.

    def pause_writing(self) -> None:
        """Start the output clock: the client does not read."""
        super().pause_writing()
        self._output.set(self._limits.unread_within_s)
        self._settle()

    def resume_writing(self) -> None:
        """Stop the output clock: the client has read."""
        super().resume_writing()
        self._output.stop()
        self._settle()

    def timeout_keep_alive_handler(self) -> None:
        """Reset a connection that was idle for too long. To close it would wait for ever for an unread answer."""
        self.transport.abort()

    def _end_silence(self) -> None:
        """Reset the connection, whose client has not sent for too long, unless reading is paused: then wait anew."""
        if self.flow.read_paused:  # the edge does not read, so the client is not to blame
            self._input.set(self._limits.body_silence_s_max)
        else:
            self.transport.abort()
