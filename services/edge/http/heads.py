"""Check the head of a request against request smuggling: only one reading of it may be possible (RFC 9110, RFC 9112).

Pure: bytes in, a refusal out. `limited_protocol` calls it before the routes see the request.
"""

import re
from collections.abc import Sequence
from http import HTTPStatus

from services.edge.http.refusals import Refusal, bad

PROTOCOLS = (b"HTTP/1.0", b"HTTP/1.1")
HOST_OPTIONAL = b"HTTP/1.0"
"""Probers speak HTTP/1.0 without a Host header, and a server may not insist on one (RFC 9112, 3.2)."""
CHUNKED = b"chunked"
BODY_HEADERS = (b"content-length", b"transfer-encoding")
"""A request with one of these headers has a body."""
ONCE = (
    b"content-length", b"content-type", b"expect", b"idempotency-key", b"if-range", b"last-event-id",
    b"origin", b"range", b"sec-fetch-site",
)  # fmt: skip
"""Headers that the edge reads and that may have one value only: of two values, readers would disagree which counts."""

_ABSOLUTE = re.compile(rb"https?://([^/?#@\\]+)([/?].*)?", re.IGNORECASE | re.DOTALL)

Headers = Sequence[tuple[bytes, bytes]]


def fault(request_line: bytes, headers: Headers) -> Refusal | None:
    """Return the refusal of a request with this line and these headers (names in lower case), or None."""
    protocol = request_line.rpartition(b" ")[2]
    names = [name for name, _ in headers]
    codings = [value.strip(b" \t").lower() for name, value in headers if name == b"transfer-encoding"]
    coding = b",".join(codings)
    if protocol not in PROTOCOLS:
        return bad("only HTTP/1.1 is spoken here")
    if names.count(b"host") > 1 or (b"host" not in names and protocol != HOST_OPTIONAL):
        return bad("a request must have exactly one Host header")
    if (twice := next((name for name in ONCE if names.count(name) > 1), None)) is not None:
        return bad(f"a request may have one {twice.decode().title()} header, this one has {names.count(twice)}")
    if codings and protocol == b"HTTP/1.0":
        return bad("a request of HTTP/1.0 cannot have a Transfer-Encoding")
    if codings and coding.rpartition(b",")[2].strip(b" \t") != CHUNKED:
        return bad("without chunked as its last Transfer-Encoding, the body of a request has no end")
    if codings and coding != CHUNKED:
        return Refusal(HTTPStatus.NOT_IMPLEMENTED, "the only Transfer-Encoding that is taken is chunked")
    return None


def body_length(headers: Headers) -> int | None:
    """Return the length of a request's body in bytes, which the parser checks: 0 for none, None for chunks."""
    sizes = [value.strip(b" \t") for name, value in headers if name in BODY_HEADERS]
    if not sizes:
        return 0
    return int(sizes[0]) if sizes[0].isdigit() else None


def origin_form(target: bytes) -> tuple[bytes | None, bytes]:
    """Return the authority in a request target, or None, and the target without the authority.

    A target in absolute form names the host, whatever the Host header says (RFC 9112, 3.2.2). Raises `ValueError`, safe
    to show, for a target with another scheme, with credentials, or in no known form.
    """
    if target.startswith(b"/") or target == b"*":
        return None, target
    if (match := _ABSOLUTE.fullmatch(target)) is None:
        raise ValueError("a request target is a path, or a whole address that begins with http:// or https://")
    rest = match[2] or b"/"
    return match[1], rest if rest.startswith(b"/") else b"/" + rest
