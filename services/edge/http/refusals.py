"""The answers that `limited_protocol` gives by itself, before or instead of the routes, in the routes' shape."""

from dataclasses import dataclass
from http import HTTPStatus

import msgspec

from services.edge.http import security_headers
from services.edge.payloads import RETRY_AFTER_S, ErrorBody
from services.edge.video_errors import as_video_error, speaks_v1


@dataclass(frozen=True)
class Refusal:
    """An answer that is the last of its connection. `error` is the name in the body: if empty, the status's own.

    `headers` are further ones, each a whole line of the head.
    """

    status: HTTPStatus
    message: str
    error: str = ""
    headers: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Return the `error` of the body."""
        return self.error or self.status.name

    def encode(self, path: bytes = b"") -> bytes:
        """Return the whole answer, head and body, as bytes for the socket, in the form for a request of this path."""
        ours = ErrorBody(self.name, self.message)
        is_v1 = speaks_v1(path.decode("latin-1"))
        body = msgspec.json.encode(as_video_error(self.status.value, ours)[1] if is_v1 else ours)
        head = (
            f"HTTP/1.1 {self.status.value} {self.status.phrase}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n"
            + "".join(f"{header}\r\n" for header in self.headers)
        )
        return head.encode() + security_headers.LINES + b"\r\n" + body


def bad(message: str) -> Refusal:
    """Return a refusal with the status 400."""
    return Refusal(HTTPStatus.BAD_REQUEST, message)


def _try_again(error: str, message: str) -> Refusal:
    """Return a refusal with the status 503, a message that asks to try again, and a `Retry-After`."""
    return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, f"{message}; try again", error, (f"Retry-After: {RETRY_AFTER_S}",))


TOO_LARGE = Refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the head of the request is too large")
TOO_MANY = Refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the request has too many headers")
MALFORMED = bad("this is not a well-formed HTTP/1.1 request")
NO_HANDSHAKE = Refusal(
    HTTPStatus.UPGRADE_REQUIRED,
    "a WebSocket is opened by a handshake of version 13 with a Sec-WebSocket-Key (RFC 6455)",
    headers=("Upgrade: websocket", "Sec-WebSocket-Version: 13"),
)
NO_UPGRADE = bad("a request with a body cannot ask for another protocol")
NO_PIPELINED_UPGRADE = bad("a request for another protocol cannot follow one that is not answered yet")
TOO_SLOW = Refusal(HTTPStatus.REQUEST_TIMEOUT, "the body of the request comes too slowly")
CROWDED = _try_again("OVERLOADED", "too many requests are being answered")
UPLOADS = _try_again("OVERLOADED", "too many uploads are on their way")
STOPPING = _try_again("UNAVAILABLE", "this edge stopped before it had an answer, so that the outcome is unknown")
